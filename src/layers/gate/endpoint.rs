//! The table of endpoints with a gate, one row each.

use http::Method;

use super::grant::DEVICE_CODE;
use super::rules::{self, GateRule};
use crate::registration::CIBA;

/// An endpoint that a [`GateLayer`](crate::layers::GateLayer) protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GateEndpoint {
    /// The authorization endpoint (RFC 6749 section 3.1).
    Authorization,
    /// The token endpoint (RFC 6749 section 3.2). Its successful responses also record the use of clients.
    Token,
    /// The pushed authorization request endpoint (RFC 9126).
    PushedAuthorization,
    /// The device authorization endpoint (RFC 8628).
    DeviceAuthorization,
    /// The backchannel authentication endpoint (OpenID Connect CIBA Core section 7). Its successful responses also record the
    /// use of clients in push mode, which get their tokens elsewhere.
    BackchannelAuthentication,
    /// The introspection endpoint (RFC 7662), for its use by clients.
    Introspection,
    /// The revocation endpoint (RFC 7009). Ambiguous requests are rejected, but no client for its state, since revoking
    /// tokens is always allowed.
    Revocation,
}

impl GateEndpoint {
    /// Returns the row of the table.
    pub(super) const fn row(self) -> &'static Endpoint {
        match self {
            Self::Authorization => &AUTHORIZATION,
            Self::Token => &TOKEN,
            Self::PushedAuthorization => &PUSHED_AUTHORIZATION,
            Self::DeviceAuthorization => &DEVICE_AUTHORIZATION,
            Self::BackchannelAuthentication => &BACKCHANNEL_AUTHENTICATION,
            Self::Introspection => &INTROSPECTION,
            Self::Revocation => &REVOCATION,
        }
    }
}

/// A row of the table: the properties in which endpoints differ.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "properties that do not depend on each other")]
pub(super) struct Endpoint {
    /// The name of the endpoint in events and metrics.
    pub(super) name: &'static str,
    /// The methods that go on; any other is answered with 405.
    pub(super) methods: &'static [Method],
    /// The sender of the requests.
    pub(super) sender: Sender,
    /// The form of a rejection.
    pub(super) rejection: RejectionForm,
    /// Set if clients that have ended, are not approved or are unknown are rejected.
    pub(super) judges_client: bool,
    /// The rules about requests of registered clients, in the order in which they run.
    pub(super) rules: &'static [&'static GateRule],
    /// The grant type of its requests, if they name none.
    pub(super) grant_type: Option<&'static str>,
    /// Set if its responses hold tokens or other secrets, which no cache may keep (RFC 6749 section 5.1).
    pub(super) holds_secrets: bool,
    /// Set if it takes the `request_uri` of a request that was pushed or is kept elsewhere.
    pub(super) takes_request_uri: bool,
    /// Set if its clients authenticate themselves, and sign their request objects with a private key.
    pub(super) is_for_confidential: bool,
    /// The decision about requests that name no client.
    pub(super) unnamed: Unnamed,
    /// Set if the metadata document of a client is fetched here.
    pub(super) fetching: Fetching,
    /// The consequence of a successful response.
    pub(super) success: Success,
    /// The responses which show that the server has lost a client.
    pub(super) loss: Loss,
}

/// The sender of the requests, which decides the places where the client and its credentials may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sender {
    /// The browser of a person. Parameters are in the query, in the form or in both; parameters of token requests are a
    /// login form's own; any scheme of `Authorization` and any cookie passes; a `POST` may be a step of a consent form.
    Browser,
    /// The client itself. Parameters of a `POST` are in the body, except for `client_id`, which counts as missing in
    /// the query; schemes and cookies that may name another client are rejected.
    Client,
}

/// The form of a rejection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RejectionForm {
    /// A page if `Accept` names `text/html`, else JSON; 400, and never 401 or a redirect (RFC 6749 section 4.1.2.1). A
    /// foreign redirect URI is `invalid_client`, since a new registration solves the problem.
    Page,
    /// JSON; 401 with a challenge for `invalid_client` (RFC 6749 section 5.2).
    Json,
}

/// The decision about a request that names no client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unnamed {
    /// Passes unless unknown clients are rejected: a form of the server's own.
    Pass,
    /// Passes with a bearer token, and otherwise as [`Pass`](Self::Pass): a resource server.
    PassWithToken,
    /// Asks the server for the owner of the grant, passes grants that may be anonymous, and rejects others.
    AskForOwner,
    /// Rejects unless the settings pass such requests.
    Reject,
}

/// The fetches of metadata documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetching {
    /// Only where a grant begins: all other endpoints know a client from memory or the ledger, or reject it without a packet.
    Never,
    /// A document that is unknown, or not fresh any more.
    IfDue,
}

/// The consequence of a successful response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Success {
    /// None.
    Pass,
    /// The use of the client is recorded. The response is withheld if the client has ended meanwhile.
    RecordUse,
    /// The same for clients in push mode, whose tokens do not come from the token endpoint (CIBA section 10.3.1).
    RecordUseInPushMode,
    /// The `request_uri` in the response is recorded as the client's. The response is withheld if that fails.
    RecordPushed,
}

/// The responses which show that the server has lost a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// None.
    Never,
    /// A 401 to a client that only gave its name: nothing else could be wrong.
    Unauthorized,
    /// Two client errors within an hour, since others are sent to the client by a redirect. Any other response resets
    /// the count.
    TwoErrors,
}

/// An endpoint that clients call. The rows below name what differs.
const OF_CLIENTS: Endpoint = Endpoint {
    name: "",
    methods: &[Method::GET, Method::HEAD, Method::OPTIONS, Method::POST],
    sender: Sender::Client,
    rejection: RejectionForm::Json,
    judges_client: true,
    rules: &[],
    grant_type: None,
    holds_secrets: true,
    takes_request_uri: true,
    is_for_confidential: false,
    unnamed: Unnamed::Reject,
    fetching: Fetching::Never,
    success: Success::Pass,
    loss: Loss::Never,
};

/// RFC 6749 section 3.1.
pub(super) static AUTHORIZATION: Endpoint = Endpoint {
    name: "authorization",
    sender: Sender::Browser,
    rejection: RejectionForm::Page,
    rules: rules::AUTHORIZATION,
    holds_secrets: false,
    unnamed: Unnamed::Pass,
    fetching: Fetching::IfDue,
    loss: Loss::TwoErrors,
    ..OF_CLIENTS
};

/// RFC 6749 section 3.2.
pub(super) static TOKEN: Endpoint = Endpoint {
    name: "token",
    rules: rules::TOKEN,
    unnamed: Unnamed::AskForOwner,
    success: Success::RecordUse,
    loss: Loss::Unauthorized,
    ..OF_CLIENTS
};

/// RFC 9126. Section 2.1: a request that is pushed has no `request_uri`.
pub(super) static PUSHED_AUTHORIZATION: Endpoint = Endpoint {
    name: "pushed_authorization",
    rules: rules::PUSHED_AUTHORIZATION,
    takes_request_uri: false,
    fetching: Fetching::IfDue,
    success: Success::RecordPushed,
    ..OF_CLIENTS
};

/// RFC 8628.
pub(super) static DEVICE_AUTHORIZATION: Endpoint = Endpoint {
    name: "device_authorization",
    rules: rules::DEVICE_AUTHORIZATION,
    grant_type: Some(DEVICE_CODE),
    ..OF_CLIENTS
};

/// CIBA. Section 7.1: "The Client MUST authenticate to the Backchannel Authentication Endpoint". Section 7.1.1 has `request`,
/// "secured with an asymmetric signature", and no `request_uri`.
pub(super) static BACKCHANNEL_AUTHENTICATION: Endpoint = Endpoint {
    name: "backchannel_authentication",
    rules: rules::BACKCHANNEL_AUTHENTICATION,
    grant_type: Some(CIBA),
    takes_request_uri: false,
    is_for_confidential: true,
    success: Success::RecordUseInPushMode,
    ..OF_CLIENTS
};

/// RFC 7662.
pub(super) static INTROSPECTION: Endpoint =
    Endpoint { name: "introspection", rules: rules::INTROSPECTION, unnamed: Unnamed::PassWithToken, ..OF_CLIENTS };

/// RFC 7009: revoking a token is always allowed.
pub(super) static REVOCATION: Endpoint =
    Endpoint { name: "revocation", judges_client: false, holds_secrets: false, unnamed: Unnamed::Pass, ..OF_CLIENTS };

impl Endpoint {
    /// Returns `true` if each redirect URI is compared with the registered ones.
    pub(super) fn compares_redirect_uri(&self) -> bool {
        self.rules.iter().any(|rule| std::ptr::eq(*rule, rules::REDIRECT_URI))
    }
}

#[cfg(test)]
pub(super) const ALL: [GateEndpoint; 7] = [
    GateEndpoint::Authorization,
    GateEndpoint::Token,
    GateEndpoint::PushedAuthorization,
    GateEndpoint::DeviceAuthorization,
    GateEndpoint::BackchannelAuthentication,
    GateEndpoint::Introspection,
    GateEndpoint::Revocation,
];
