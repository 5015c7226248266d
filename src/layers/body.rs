//! The request and response bodies that the layers exchange.

mod begun;
mod evaluation;
mod future;
mod gathered;
mod headers;
mod read;
mod rejection;
mod request;
mod response;
mod unread;

pub(crate) use evaluation::attach;
pub use future::ResponseFuture;
pub(crate) use future::{Answered, Finish, Finished, Unchanged, forward, forward_reporting};
pub(crate) use headers::{ask_for_plain_answer, describe_body, forget_old_body, forget_replaced_body};
pub(crate) use read::{ReadError, drain, is_encoded, is_form, is_json, read};
pub(crate) use rejection::{JSON, answer, describe, forbid_storing, reject, unavailable, unreadable};
pub use request::RegistrationBody;
pub use response::ResponseBody;
pub(crate) use response::{
    ANSWER_LIMITS, has_document, is_coded, issued_client_id, judge_document, read_answer, read_or_pass,
};
pub(crate) use unread::{Unread, announce_close};

/// The error of a body, and of a server's own function.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;
