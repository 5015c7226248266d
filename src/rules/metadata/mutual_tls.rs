//! The subjects of certificates that clients authenticate with.

use std::net::IpAddr;

use serde_json::Value as Json;

use crate::registration::{Field, TLS_CLIENT_AUTH};
use crate::rules::{Draft, ErrorCode, Rejection, Rule, RuleDocs, documented};

/// Checks that a client of mutual TLS names one subject, and that no other client names any. Part of a policy that offers
/// the method.
#[derive(Clone, Debug)]
pub(super) struct MutualTls;

pub(crate) static DOCS: RuleDocs = RuleDocs {
    id: "mutual-tls",
    protects: "Clients of mutual TLS from certificates that are not theirs.",
    reference: "RFC 8705 section 2.1.2",
    attack: "token_endpoint_auth_method: \"tls_client_auth\" without a subject",
    loosen: "Not possible: do not offer tls_client_auth instead.",
    opens: "Authentication with any certificate of the authority, or with that of either subject.",
    replayable: true,
};

const SUBJECTS: [Field; 5] = [
    Field::TLS_CLIENT_AUTH_SAN_DNS,
    Field::TLS_CLIENT_AUTH_SAN_EMAIL,
    Field::TLS_CLIENT_AUTH_SAN_IP,
    Field::TLS_CLIENT_AUTH_SAN_URI,
    Field::TLS_CLIENT_AUTH_SUBJECT_DN,
];

impl Rule for MutualTls {
    documented!(DOCS, with a configuration of its own);

    fn check(&self, draft: &mut Draft<'_>) -> Result<(), Rejection> {
        let document = draft.registration();
        let authenticates = document.string_at(Field::TOKEN_ENDPOINT_AUTH_METHOD) == Some(TLS_CLIENT_AUTH);
        let mut subjects = SUBJECTS.into_iter().filter(|field| document.at(*field).is_some());
        let (first, second) = (subjects.next(), subjects.next());
        let address = document.string_at(Field::TLS_CLIENT_AUTH_SAN_IP);
        // "A client using the tls_client_auth authentication method MUST use exactly one of the below metadata parameters
        // to indicate the certificate subject value".
        let (field, detail) = match (authenticates, first, second) {
            (true, None, _) => (Field::TOKEN_ENDPOINT_AUTH_METHOD, "needs the subject of a certificate"),
            (true, _, Some(second)) => (second, "is a second subject"),
            (false, Some(first), _) => (first, "is of clients that authenticate with tls_client_auth"),
            // "either dotted decimal notation (for IPv4) or colon-delimited hexadecimal (for IPv6 …)".
            _ if address.is_some_and(|address| address.parse::<IpAddr>().is_err()) => {
                (Field::TLS_CLIENT_AUTH_SAN_IP, "is no IP address")
            }
            _ => return Ok(()),
        };
        Err(draft.reject(ErrorCode::InvalidClientMetadata, detail).with_field(field.name()))
    }

    fn config(&self) -> Json {
        Json::Null
    }
}
