//! The meaning of request methods.

/// The meaning of a request's method, the same in all layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MethodKind {
    /// `POST`: a new client (RFC 7591).
    Create,
    /// `PUT`: an update (RFC 7592 section 2.2).
    Update,
    /// `GET`, and `HEAD`, whose answer says as much of a token (RFC 7592 section 2.1).
    Read,
    /// `DELETE` (RFC 7592 section 2.3).
    Delete,
    /// `OPTIONS`: preflights of browsers.
    Options,
    /// Nothing that a registration endpoint has.
    Other,
}

impl MethodKind {
    pub(crate) fn of(method: &http::Method) -> Self {
        use http::Method;
        match *method {
            Method::POST => Self::Create,
            Method::PUT => Self::Update,
            Method::GET | Method::HEAD => Self::Read,
            Method::DELETE => Self::Delete,
            Method::OPTIONS => Self::Options,
            _ => Self::Other,
        }
    }

    /// Returns whether the body is a registration.
    pub(crate) const fn has_document(self) -> bool {
        matches!(self, Self::Create | Self::Update)
    }

    /// Returns whether it asks for something about a client that exists (RFC 7592).
    pub(crate) const fn is_management(self) -> bool {
        matches!(self, Self::Update | Self::Read | Self::Delete)
    }
}
