//! stub

pub mod clock;
pub mod event;
pub mod policy;
pub mod quota;
pub mod redirect_uri;
pub mod registration;
pub mod rejection;

pub use registration::Registration;
