//! The bodies between the layers, and how a request becomes one.

mod future;
mod read;
mod refusal;
mod request;
mod response;

pub use future::ResponseFuture;
pub(crate) use read::{ReadError, is_json, read};
pub(crate) use refusal::{forbid_storing, refuse};
pub use request::{BodyError, RegistrationBody};
pub use response::ResponseBody;
pub(crate) use response::{ANSWER_LIMITS, ReadAnswer, is_json_answer, read_answer};
