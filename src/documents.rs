//! Client metadata documents: clients whose `client_id` is the URL of a document (draft-ietf-oauth-client-id-metadata-document).

mod client_id_url;
mod fetch;

pub use client_id_url::{ClientIdUrl, ClientIdUrlError, ClientIdUrlOptions};
pub use fetch::{Fetch, FetchError, FetchRequest};
