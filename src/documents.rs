//! Client metadata documents: clients whose `client_id` is the URL of a document (draft-ietf-oauth-client-id-metadata-document).

mod admission;
pub(crate) mod client_id_url;
mod fetch;
mod read;
mod settings;

pub use admission::{Admission, Admitted, UrlPattern};
pub use client_id_url::{ClientIdUrl, ClientIdUrlError, ClientIdUrlOptions};
pub use fetch::{Fetch, FetchError, FetchRequest};
pub use read::{DocumentError, read};
pub use settings::DocumentSettings;
