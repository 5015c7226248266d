//! Client metadata documents: clients whose `client_id` is the URL of a document (draft-ietf-oauth-client-id-metadata-document).

mod admission;
mod budgets;
mod change;
pub(crate) mod client_id_url;
mod fetch;
mod flight;
mod freshness;
mod read;
mod resolver;
mod settings;
mod verified;

pub use admission::{Admission, Admitted, UrlPattern};
pub(crate) use change::classify;
pub use client_id_url::{ClientIdUrl, ClientIdUrlError, ClientIdUrlOptions};
pub use fetch::{Fetch, FetchError, FetchRequest};
pub use read::{DocumentError, read};
pub use resolver::Documents;
pub(crate) use resolver::{DocumentJudge, Standing, Wanted};
pub use settings::DocumentSettings;
pub(crate) use settings::host_of_issuer;
pub use verified::VerifiedClient;
