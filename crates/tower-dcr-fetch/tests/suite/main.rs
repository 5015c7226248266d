//! Fetches from servers on this machine: their names are mapped there, their certificates are real.
//!
//! Each step of a fetch has a test that fails without it. Those in `src` need connections to public addresses, which are not opened:
//!
//! | step | test |
//! | --- | --- |
//! | the name is looked up with its final dot | `resolve::tests::a_name_is_looked_up_with_its_final_dot` in `src` |
//! | 16 look-ups at the same time | `resolve::tests::a_name_that_hangs_keeps_its_place_until_it_ends` in `src` |
//! | a name is resolved within a second | `fetcher::tests::each_step_has_a_time_limit` in `src` |
//! | 16 answers at most | `fetcher::tests::one_rejected_address_rejects_the_name` in `src` |
//! | every answer is classified | the same, and `reach::no_inner_address_is_connected_to` |
//! | denied networks | `fetcher::tests::denied_networks_are_rejected` in `src` |
//! | the address inside a translator's is judged | `fetcher::tests::behind_a_translator_the_inner_address_is_judged` in `src` |
//! | the checked address is dialled, on the URL's port | `fetcher::tests::a_name_is_resolved_once_and_its_checked_address_is_dialled` in `src` |
//! | two addresses at most, the second in time | `fetcher::tests::two_addresses_are_tried_of_both_families` in `src` |
//! | a connection within two seconds | `fetcher::tests::each_step_has_a_time_limit` in `src` |
//! | the peer is public, and the one that was asked for | `fetcher::tests::the_address_of_the_peer_is_checked` in `src` |
//! | only the mapped host is mapped | `fetcher::tests::a_host_is_mapped_by_its_whole_name` in `src` |
//! | the certificate is the host's, and valid | `tls::only_a_valid_certificate_of_the_host_is_accepted` |
//! | TLS 1.2 at least | `tls::an_older_protocol_is_rejected` |
//! | ALPN is `http/1.1` | `tls::http_1_1_is_negotiated`, `tls::another_protocol_is_rejected` |
//! | no session is kept | `tls::a_fetch_knows_nothing_of_another` |
//! | the fields of the request | `http::the_request_has_these_fields` |
//! | the fields of the response: size, number | `http::a_head_has_limits`, `http::a_head_in_parts_has_the_same_limit` |
//! | one length | `http::an_ambiguous_length_is_rejected` |
//! | status, media type, coding, announced length | `http::a_head_is_checked_before_the_body` |
//! | bytes of the body | `http::a_body_has_a_limit` |
//! | a body is complete | `http::a_body_that_ends_early_is_rejected` |
//! | bytes of the connection | `http::a_flood_ends_by_its_bytes` |
//! | the time limit of handshake, head and body | `http::everything_slow_ends` |
//! | the connection is closed | `http::the_connection_is_closed` |
//! | redirects are not followed | `http::redirects_are_not_followed` |
//! | a fetch goes on without its caller | `reach::a_fetch_goes_on_without_its_caller` |
//! | proxies of the environment are not used | `reach::proxies_of_the_environment_are_not_used` |
#![cfg(test)]

mod addresses;
mod client_id_url;
mod http;
mod reach;
mod site;
mod tls;
