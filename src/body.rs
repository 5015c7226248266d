//! The bodies between the layers, and how a request becomes one.

mod future;
mod gathered;
mod headers;
mod managed;
mod media_type;
mod read;
mod refusal;
mod request;
mod response;
mod review;

pub use future::{AnswerFuture, ResponseFuture, Unchanged};
pub(crate) use future::{Finish, Finished};
pub(crate) use headers::{ask_for_plain_answer, describe_body, forget_old_body};
pub(crate) use managed::ManagedBy;
pub use managed::{client_in_path, client_in_query};
pub(crate) use media_type::MediaType;
pub(crate) use read::{ReadError, is_encoded, is_form, is_json, read};
pub(crate) use refusal::{forbid_storing, refuse};
pub use request::{BodyError, RegistrationBody};
pub(crate) use response::{
    ANSWER_LIMITS, ReadAnswer, has_document, is_coded, issued_client_id, read_answer, read_or_pass,
};
pub use response::{ReplayBody, ResponseBody};
pub(crate) use review::attach;

/// Methods that neither create nor change a client (`DELETE` ends one): there is nothing to review or to record.
pub(crate) fn registers_nothing(method: &http::Method) -> bool {
    use http::Method;
    matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS)
}
