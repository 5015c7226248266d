//! The bodies between the layers, and how a request becomes one.

mod future;
mod gathered;
mod headers;
mod media_type;
mod read;
mod refusal;
mod request;
mod response;
mod review;
mod unread;

pub use future::{AnswerFuture, ResponseFuture, Unchanged};
pub(crate) use future::{Finish, Finished};
pub(crate) use headers::{ask_for_plain_answer, describe_body, forget_old_body};
pub(crate) use media_type::MediaType;
pub(crate) use read::{ReadError, drain, is_encoded, is_form, is_json, read};
pub(crate) use refusal::{forbid_storing, refuse};
pub use request::{BodyError, RegistrationBody};
pub(crate) use response::{ANSWER_LIMITS, ReadAnswer, has_document, read_answer};
pub use response::{ReplayBody, ResponseBody};
pub(crate) use review::attach;
pub(crate) use unread::{Unread, announce_close};
