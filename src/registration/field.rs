//! The client metadata fields that specifications define, in one table.

use Acceptance::{Always, Never, Openid, OptIn, Updates, Verified, WithGrant, WithMethod};
use JsonType::{Bool, Number, Object, String, Strings};
use UriUse::{Callback, Displayed, Fetched, FetchedWithHash, NotFollowed, NotUri, Redirect};

/// A client metadata field, as its place in [`FIELDS`]: rules find members by it without comparing text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field(pub(super) u8);

/// A row of [`FIELDS`].
pub(crate) struct Row {
    name: &'static str,
    json_type: JsonType,
    acceptance: Acceptance,
    uri: UriUse,
    human_readable: bool,
    redacted: bool,
    informational: bool,
}

/// The JSON type that a field's specification gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JsonType {
    Bool,
    Number,
    Object,
    String,
    /// An array of strings.
    Strings,
}

/// The servers that accept a field from clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Acceptance {
    /// Every server: RFC 7591 section 2 without keys and URIs that the server fetches, and OpenID's `application_type`.
    Always,
    /// OpenID Providers.
    Openid,
    /// Servers that offer this grant type.
    WithGrant(&'static str),
    /// Servers that offer this authentication method.
    WithMethod(&'static str),
    /// Servers whose operator lets it through by name.
    OptIn,
    /// Servers that verify it (RFC 7591 section 2.3): nothing else lets it through.
    Verified,
    /// None in a registration, since the server issues it; clients send it back in updates (RFC 7592 section 2.2).
    Updates,
    /// None: the server issues it (RFC 7591 section 3.2.1, RFC 7592 section 3).
    Never,
}

/// The use that servers and browsers make of a field's URI, or of each URI in its list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UriUse {
    /// The field holds no URI.
    NotUri,
    /// Receives authorization codes and tokens: judged by the rule about redirect URIs.
    Callback,
    /// Linked or shown as an image on the consent page.
    Displayed,
    /// Requested by the server, or by a browser on the server's behalf.
    Fetched,
    /// Requested by the server, without its fragment, which is a hash.
    FetchedWithHash,
    /// Opened by the user's browser at the end of a flow.
    Redirect,
    /// Compared or returned, but not requested.
    NotFollowed,
}

/// The grant type of CIBA (OpenID Connect Client-Initiated Backchannel Authentication section 4).
pub(crate) const CIBA: &str = "urn:openid:params:grant-type:ciba";

/// The method of clients with a certificate of a known authority (RFC 8705 section 2.1).
pub(crate) const TLS_CLIENT_AUTH: &str = "tls_client_auth";

/// Every field of RFC 7591 and RFC 7592, OpenID Connect Dynamic Client Registration and its logout extensions, RFC 8705,
/// RFC 9101, RFC 9126, RFC 9396, RFC 9449, RFC 9701, JARM, CIBA, UMA 2.0 and OpenID Federation, sorted by name.
///
/// A new field is a row here and a row of test values in `rules/metadata/members/field_values.rs`. Everything else follows
/// from the row: the JSON type that is required, the presets that accept the field, the checks of its URIs, its language
/// tags, its redaction in audit events.
#[rustfmt::skip]
const FIELDS: &[Row] = &[
    row("application_type", String, Always),
    row("authorization_details_types", Strings, OptIn),
    row("authorization_encrypted_response_alg", String, OptIn),
    row("authorization_encrypted_response_enc", String, OptIn),
    row("authorization_signed_response_alg", String, OptIn),
    row("backchannel_authentication_request_signing_alg", String, WithGrant(CIBA)),
    row("backchannel_client_notification_endpoint", String, WithGrant(CIBA)).uri(Fetched),
    row("backchannel_logout_session_required", Bool, Openid),
    row("backchannel_logout_uri", String, Openid).uri(Fetched),
    row("backchannel_token_delivery_mode", String, WithGrant(CIBA)),
    row("backchannel_user_code_parameter", Bool, WithGrant(CIBA)),
    row("claims_redirect_uris", Strings, OptIn).uri(Redirect),
    row("client_id", String, Updates),
    row("client_id_issued_at", Number, Never),
    row("client_name", String, Always).human_readable(),
    row("client_registration_types", Strings, OptIn),
    row("client_secret", String, Updates).redacted(),
    row("client_secret_expires_at", Number, Never),
    row("client_uri", String, Always).uri(Displayed).human_readable(),
    row("contacts", Strings, Always).redacted().informational(),
    row("default_acr_values", Strings, Openid),
    row("default_max_age", Number, Openid),
    row("dpop_bound_access_tokens", Bool, Openid),
    row("frontchannel_logout_session_required", Bool, Openid),
    row("frontchannel_logout_uri", String, Openid).uri(Fetched),
    row("grant_types", Strings, Always),
    row("id_token_encrypted_response_alg", String, Openid),
    row("id_token_encrypted_response_enc", String, Openid),
    row("id_token_signed_response_alg", String, Openid),
    row("initiate_login_uri", String, Openid).uri(Fetched),
    row("introspection_encrypted_response_alg", String, OptIn),
    row("introspection_encrypted_response_enc", String, OptIn),
    row("introspection_signed_response_alg", String, OptIn),
    row("jwks", Object, Openid).redacted(),
    row("jwks_uri", String, Openid).uri(Fetched),
    row("logo_uri", String, Always).uri(Displayed).human_readable(),
    row("organization_name", String, OptIn),
    row("policy_uri", String, Always).uri(Displayed).human_readable(),
    row("post_logout_redirect_uris", Strings, Openid).uri(Redirect),
    row("redirect_uris", Strings, Always).uri(Callback),
    row("registration_access_token", String, Never).redacted(),
    row("registration_client_uri", String, Never).uri(NotFollowed),
    row("request_object_encryption_alg", String, Openid),
    row("request_object_encryption_enc", String, Openid),
    row("request_object_signing_alg", String, Openid),
    row("request_uris", Strings, Openid).uri(FetchedWithHash),
    row("require_auth_time", Bool, Openid),
    row("require_pushed_authorization_requests", Bool, Openid),
    row("require_signed_request_object", Bool, Openid),
    row("response_types", Strings, Always),
    row("scope", String, Always),
    row("sector_identifier_uri", String, Openid).uri(Fetched),
    row("signed_jwks_uri", String, OptIn).uri(Fetched),
    row("software_id", String, Always),
    row("software_statement", String, Verified).redacted(),
    row("software_version", String, Always).informational(),
    row("subject_type", String, Openid),
    row("tls_client_auth_san_dns", String, WithMethod(TLS_CLIENT_AUTH)),
    row("tls_client_auth_san_email", String, WithMethod(TLS_CLIENT_AUTH)),
    row("tls_client_auth_san_ip", String, WithMethod(TLS_CLIENT_AUTH)),
    row("tls_client_auth_san_uri", String, WithMethod(TLS_CLIENT_AUTH)).uri(NotFollowed),
    row("tls_client_auth_subject_dn", String, WithMethod(TLS_CLIENT_AUTH)),
    row("tls_client_certificate_bound_access_tokens", Bool, Openid),
    row("token_endpoint_auth_method", String, Always),
    row("token_endpoint_auth_signing_alg", String, Openid),
    row("tos_uri", String, Always).uri(Displayed).human_readable(),
    row("userinfo_encrypted_response_alg", String, Openid),
    row("userinfo_encrypted_response_enc", String, Openid),
    row("userinfo_signed_response_alg", String, Openid),
];

impl Row {
    const fn uri(self, uri: UriUse) -> Self {
        Self { uri, ..self }
    }

    /// May have a language tag: "human-readable client metadata values" (RFC 7591 section 2.2).
    const fn human_readable(self) -> Self {
        Self { human_readable: true, ..self }
    }

    /// Is left out of audit events: a secret, a key, a signed statement, or a way to reach a person.
    const fn redacted(self) -> Self {
        Self { redacted: true, ..self }
    }

    /// Changes no decision: an update of it needs no new review, and audit events of such updates may be summed up.
    const fn informational(self) -> Self {
        Self { informational: true, ..self }
    }
}

const fn row(name: &'static str, json_type: JsonType, acceptance: Acceptance) -> Row {
    Row { name, json_type, acceptance, uri: NotUri, human_readable: false, redacted: false, informational: false }
}

impl Field {
    pub(crate) const APPLICATION_TYPE: Self = Self::named("application_type");
    pub(crate) const AUTHORIZATION_ENCRYPTED_RESPONSE_ALG: Self = Self::named("authorization_encrypted_response_alg");
    pub(crate) const AUTHORIZATION_ENCRYPTED_RESPONSE_ENC: Self = Self::named("authorization_encrypted_response_enc");
    pub(crate) const AUTHORIZATION_SIGNED_RESPONSE_ALG: Self = Self::named("authorization_signed_response_alg");
    pub(crate) const BACKCHANNEL_AUTHENTICATION_REQUEST_SIGNING_ALG: Self =
        Self::named("backchannel_authentication_request_signing_alg");
    pub(crate) const BACKCHANNEL_CLIENT_NOTIFICATION_ENDPOINT: Self =
        Self::named("backchannel_client_notification_endpoint");
    pub(crate) const BACKCHANNEL_TOKEN_DELIVERY_MODE: Self = Self::named("backchannel_token_delivery_mode");
    pub(crate) const CLIENT_ID: Self = Self::named("client_id");
    pub(crate) const CLIENT_NAME: Self = Self::named("client_name");
    pub(crate) const CLIENT_SECRET: Self = Self::named("client_secret");
    pub(crate) const CLIENT_SECRET_EXPIRES_AT: Self = Self::named("client_secret_expires_at");
    pub(crate) const CLIENT_URI: Self = Self::named("client_uri");
    pub(crate) const CONTACTS: Self = Self::named("contacts");
    pub(crate) const FRONTCHANNEL_LOGOUT_URI: Self = Self::named("frontchannel_logout_uri");
    pub(crate) const GRANT_TYPES: Self = Self::named("grant_types");
    pub(crate) const ID_TOKEN_ENCRYPTED_RESPONSE_ALG: Self = Self::named("id_token_encrypted_response_alg");
    pub(crate) const ID_TOKEN_ENCRYPTED_RESPONSE_ENC: Self = Self::named("id_token_encrypted_response_enc");
    pub(crate) const ID_TOKEN_SIGNED_RESPONSE_ALG: Self = Self::named("id_token_signed_response_alg");
    pub(crate) const INTROSPECTION_ENCRYPTED_RESPONSE_ALG: Self = Self::named("introspection_encrypted_response_alg");
    pub(crate) const INTROSPECTION_ENCRYPTED_RESPONSE_ENC: Self = Self::named("introspection_encrypted_response_enc");
    pub(crate) const INTROSPECTION_SIGNED_RESPONSE_ALG: Self = Self::named("introspection_signed_response_alg");
    pub(crate) const JWKS: Self = Self::named("jwks");
    pub(crate) const JWKS_URI: Self = Self::named("jwks_uri");
    pub(crate) const REDIRECT_URIS: Self = Self::named("redirect_uris");
    pub(crate) const REGISTRATION_ACCESS_TOKEN: Self = Self::named("registration_access_token");
    pub(crate) const REGISTRATION_CLIENT_URI: Self = Self::named("registration_client_uri");
    pub(crate) const REQUEST_OBJECT_ENCRYPTION_ALG: Self = Self::named("request_object_encryption_alg");
    pub(crate) const REQUEST_OBJECT_ENCRYPTION_ENC: Self = Self::named("request_object_encryption_enc");
    pub(crate) const REQUEST_OBJECT_SIGNING_ALG: Self = Self::named("request_object_signing_alg");
    pub(crate) const REQUEST_URIS: Self = Self::named("request_uris");
    pub(crate) const REQUIRE_PUSHED_AUTHORIZATION_REQUESTS: Self = Self::named("require_pushed_authorization_requests");
    pub(crate) const REQUIRE_SIGNED_REQUEST_OBJECT: Self = Self::named("require_signed_request_object");
    pub(crate) const RESPONSE_TYPES: Self = Self::named("response_types");
    pub(crate) const SCOPE: Self = Self::named("scope");
    pub(crate) const SECTOR_IDENTIFIER_URI: Self = Self::named("sector_identifier_uri");
    pub(crate) const SIGNED_JWKS_URI: Self = Self::named("signed_jwks_uri");
    pub(crate) const SOFTWARE_ID: Self = Self::named("software_id");
    pub(crate) const SOFTWARE_VERSION: Self = Self::named("software_version");
    pub(crate) const SOFTWARE_STATEMENT: Self = Self::named("software_statement");
    pub(crate) const SUBJECT_TYPE: Self = Self::named("subject_type");
    pub(crate) const TLS_CLIENT_AUTH_SAN_DNS: Self = Self::named("tls_client_auth_san_dns");
    pub(crate) const TLS_CLIENT_AUTH_SAN_EMAIL: Self = Self::named("tls_client_auth_san_email");
    pub(crate) const TLS_CLIENT_AUTH_SAN_IP: Self = Self::named("tls_client_auth_san_ip");
    pub(crate) const TLS_CLIENT_AUTH_SAN_URI: Self = Self::named("tls_client_auth_san_uri");
    pub(crate) const TLS_CLIENT_AUTH_SUBJECT_DN: Self = Self::named("tls_client_auth_subject_dn");
    pub(crate) const TOKEN_ENDPOINT_AUTH_METHOD: Self = Self::named("token_endpoint_auth_method");
    pub(crate) const TOKEN_ENDPOINT_AUTH_SIGNING_ALG: Self = Self::named("token_endpoint_auth_signing_alg");
    pub(crate) const USERINFO_ENCRYPTED_RESPONSE_ALG: Self = Self::named("userinfo_encrypted_response_alg");
    pub(crate) const USERINFO_ENCRYPTED_RESPONSE_ENC: Self = Self::named("userinfo_encrypted_response_enc");
    pub(crate) const USERINFO_SIGNED_RESPONSE_ALG: Self = Self::named("userinfo_signed_response_alg");

    /// Number of fields.
    pub(crate) const COUNT: usize = FIELDS.len();

    /// Returns all fields, sorted by name.
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        (0_u8..).take(Self::COUNT).map(Self)
    }

    /// Returns the field called `name`, by one look into a table and one comparison.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        let mut at = place(name);
        while let Some(found @ 1..) = TABLE.get(at) {
            let field = Self(found - 1);
            if field.name().as_bytes() == name {
                return Some(field);
            }
            at = (at + 1) % SLOTS;
        }
        None
    }

    #[expect(clippy::indexing_slicing, reason = "`named`, `of` and `all` make fields from places in the table")]
    const fn row(self) -> &'static Row {
        &FIELDS[self.index()]
    }

    pub(crate) const fn name(self) -> &'static str {
        self.row().name
    }

    /// Returns a number below [`COUNT`](Self::COUNT), another one for each field.
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }

    pub(crate) const fn json_type(self) -> JsonType {
        self.row().json_type
    }

    pub(crate) const fn acceptance(self) -> Acceptance {
        self.row().acceptance
    }

    pub(crate) const fn uri(self) -> UriUse {
        self.row().uri
    }

    /// Returns `true` if the field may have a language tag (RFC 7591 section 2.2).
    pub(crate) const fn is_human_readable(self) -> bool {
        self.row().human_readable
    }

    /// Returns `true` if audit events leave the value out.
    pub(crate) const fn is_redacted(self) -> bool {
        self.row().redacted
    }

    /// Returns `true` if a change of the field needs no new review.
    pub(crate) const fn is_informational(self) -> bool {
        self.row().informational
    }

    /// Returns `true` if the server issues the field, and no registration may have it.
    pub(crate) const fn is_server_issued(self) -> bool {
        match self.acceptance() {
            Updates | Never => true,
            Always | Openid | WithGrant(_) | WithMethod(_) | OptIn | Verified => false,
        }
    }

    /// Returns the field called `name`. Evaluated by the compiler, which fails for a name without a row.
    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    pub(crate) const fn named(name: &str) -> Self {
        let mut index = 0;
        while !same(FIELDS[index as usize].name.as_bytes(), name.as_bytes()) {
            index += 1;
        }
        Self(index)
    }
}

impl JsonType {
    /// Returns `true` for a JSON value of this type.
    pub(crate) fn fits(self, value: &serde_json::Value) -> bool {
        match self {
            Self::Bool => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::Object => value.is_object(),
            Self::String => value.is_string(),
            Self::Strings => value.as_array().is_some_and(|list| list.iter().all(serde_json::Value::is_string)),
        }
    }

    pub(crate) const fn requirement(self) -> &'static str {
        match self {
            Self::Bool => "must be a boolean",
            Self::Number => "must be a number",
            Self::Object => "must be an object",
            Self::String => "must be a string",
            Self::Strings => "must be an array of strings",
        }
    }
}

const SLOTS: usize = 256;

/// Each field's index plus one, at the slot of its name or the next free one; 0 in empty slots.
#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "evaluated by the compiler")]
static TABLE: [u8; SLOTS] = {
    let mut table = [0; SLOTS];
    let mut index = 0;
    while index < FIELDS.len() {
        let mut at = place(FIELDS[index].name.as_bytes());
        while table[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        table[at] = index as u8 + 1;
        index += 1;
    }
    table
};

/// Returns the slot at which the search for a name begins, computed from its first and last byte and its length.
const fn place(name: &[u8]) -> usize {
    match name {
        [first, .., last] => (*first as usize * 3 + *last as usize + name.len() * 21) % SLOTS,
        _ => 0,
    }
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut index = 0;
    while index < a.len() && index < b.len() && a[index] == b[index] {
        index += 1;
    }
    index == a.len() && index == b.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_found_and_no_other() {
        for field in Field::all() {
            assert_eq!(Field::of(field.name().as_bytes()), Some(field), "{}", field.name());
        }
        assert!(FIELDS.is_sorted_by_key(|row| row.name), "keep the table in order");
        for other in ["", "c", "client_i", "client_id ", "Client_id", "scopes", "scopf"] {
            assert_eq!(Field::of(other.as_bytes()), None, "{other}");
        }
    }

    /// Names say much of what a row has to: a column that was forgotten shows.
    #[test]
    fn flags_of_fields_match_their_names() {
        for field in Field::all() {
            let name = field.name();
            let ends = |suffixes: &[&str]| suffixes.iter().any(|suffix| name.ends_with(suffix));
            let leads_somewhere = ends(&["_uri", "_uris", "_endpoint"]);
            assert_eq!(field.uri() != NotUri, leads_somewhere, "{name}: use of its URIs");
            let is_secret = ends(&["_secret", "_token", "_statement", "jwks", "_password", "contacts"]);
            assert_eq!(field.is_redacted(), is_secret, "{name}: redaction");
            assert!(!ends(&["_at"]) || field.is_server_issued(), "{name}: a time of the server");
            assert!(!ends(&["_uris"]) || field.json_type() == Strings, "{name}: a list");
            assert!(field.uri() != Displayed || field.is_human_readable(), "{name}: language tags");
        }
    }
}
