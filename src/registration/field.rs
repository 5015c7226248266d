//! The names of members that specifications define.

/// The name of a member that a specification defines, as a number: rules find members by it without comparing text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field(pub(super) u8);

/// RFC 7591 and RFC 7592, OpenID Connect Dynamic Client Registration and its logout extensions, RFC 8705, RFC 9101,
/// RFC 9126 and RFC 9449.
const NAMES: [&str; 52] = [
    "application_type",
    "backchannel_logout_session_required",
    "backchannel_logout_uri",
    "client_id",
    "client_id_issued_at",
    "client_name",
    "client_secret",
    "client_secret_expires_at",
    "client_uri",
    "contacts",
    "default_acr_values",
    "default_max_age",
    "dpop_bound_access_tokens",
    "frontchannel_logout_session_required",
    "frontchannel_logout_uri",
    "grant_types",
    "id_token_encrypted_response_alg",
    "id_token_encrypted_response_enc",
    "id_token_signed_response_alg",
    "initiate_login_uri",
    "jwks",
    "jwks_uri",
    "logo_uri",
    "policy_uri",
    "post_logout_redirect_uris",
    "redirect_uris",
    "registration_access_token",
    "registration_client_uri",
    "request_object_signing_alg",
    "request_uris",
    "require_auth_time",
    "require_pushed_authorization_requests",
    "require_signed_request_object",
    "response_types",
    "scope",
    "sector_identifier_uri",
    "software_id",
    "software_statement",
    "software_version",
    "subject_type",
    "tls_client_auth_san_dns",
    "tls_client_auth_san_email",
    "tls_client_auth_san_ip",
    "tls_client_auth_san_uri",
    "tls_client_auth_subject_dn",
    "tls_client_certificate_bound_access_tokens",
    "token_endpoint_auth_method",
    "token_endpoint_auth_signing_alg",
    "tos_uri",
    "userinfo_encrypted_response_alg",
    "userinfo_encrypted_response_enc",
    "userinfo_signed_response_alg",
];

impl Field {
    pub(crate) const APPLICATION_TYPE: Self = Self::named("application_type");
    pub(crate) const BACKCHANNEL_LOGOUT_URI: Self = Self::named("backchannel_logout_uri");
    pub(crate) const CLIENT_ID: Self = Self::named("client_id");
    pub(crate) const CLIENT_ID_ISSUED_AT: Self = Self::named("client_id_issued_at");
    pub(crate) const CLIENT_NAME: Self = Self::named("client_name");
    pub(crate) const CLIENT_SECRET: Self = Self::named("client_secret");
    pub(crate) const CLIENT_SECRET_EXPIRES_AT: Self = Self::named("client_secret_expires_at");
    pub(crate) const CLIENT_URI: Self = Self::named("client_uri");
    pub(crate) const CONTACTS: Self = Self::named("contacts");
    pub(crate) const DEFAULT_ACR_VALUES: Self = Self::named("default_acr_values");
    pub(crate) const DEFAULT_MAX_AGE: Self = Self::named("default_max_age");
    pub(crate) const DPOP_BOUND_ACCESS_TOKENS: Self = Self::named("dpop_bound_access_tokens");
    pub(crate) const FRONTCHANNEL_LOGOUT_URI: Self = Self::named("frontchannel_logout_uri");
    pub(crate) const GRANT_TYPES: Self = Self::named("grant_types");
    pub(crate) const ID_TOKEN_ENCRYPTED_RESPONSE_ALG: Self = Self::named("id_token_encrypted_response_alg");
    pub(crate) const ID_TOKEN_ENCRYPTED_RESPONSE_ENC: Self = Self::named("id_token_encrypted_response_enc");
    pub(crate) const ID_TOKEN_SIGNED_RESPONSE_ALG: Self = Self::named("id_token_signed_response_alg");
    pub(crate) const INITIATE_LOGIN_URI: Self = Self::named("initiate_login_uri");
    pub(crate) const JWKS: Self = Self::named("jwks");
    pub(crate) const JWKS_URI: Self = Self::named("jwks_uri");
    pub(crate) const LOGO_URI: Self = Self::named("logo_uri");
    pub(crate) const POLICY_URI: Self = Self::named("policy_uri");
    pub(crate) const POST_LOGOUT_REDIRECT_URIS: Self = Self::named("post_logout_redirect_uris");
    pub(crate) const REDIRECT_URIS: Self = Self::named("redirect_uris");
    pub(crate) const REGISTRATION_ACCESS_TOKEN: Self = Self::named("registration_access_token");
    pub(crate) const REGISTRATION_CLIENT_URI: Self = Self::named("registration_client_uri");
    pub(crate) const REQUEST_OBJECT_SIGNING_ALG: Self = Self::named("request_object_signing_alg");
    pub(crate) const REQUEST_URIS: Self = Self::named("request_uris");
    pub(crate) const REQUIRE_AUTH_TIME: Self = Self::named("require_auth_time");
    pub(crate) const REQUIRE_PUSHED_AUTHORIZATION_REQUESTS: Self = Self::named("require_pushed_authorization_requests");
    pub(crate) const REQUIRE_SIGNED_REQUEST_OBJECT: Self = Self::named("require_signed_request_object");
    pub(crate) const RESPONSE_TYPES: Self = Self::named("response_types");
    pub(crate) const SCOPE: Self = Self::named("scope");
    pub(crate) const SECTOR_IDENTIFIER_URI: Self = Self::named("sector_identifier_uri");
    pub(crate) const SOFTWARE_ID: Self = Self::named("software_id");
    pub(crate) const SOFTWARE_STATEMENT: Self = Self::named("software_statement");
    pub(crate) const SOFTWARE_VERSION: Self = Self::named("software_version");
    pub(crate) const SUBJECT_TYPE: Self = Self::named("subject_type");
    pub(crate) const TLS_CLIENT_CERTIFICATE_BOUND_ACCESS_TOKENS: Self =
        Self::named("tls_client_certificate_bound_access_tokens");
    pub(crate) const TOKEN_ENDPOINT_AUTH_METHOD: Self = Self::named("token_endpoint_auth_method");
    pub(crate) const TOKEN_ENDPOINT_AUTH_SIGNING_ALG: Self = Self::named("token_endpoint_auth_signing_alg");
    pub(crate) const TOS_URI: Self = Self::named("tos_uri");
    pub(crate) const USERINFO_ENCRYPTED_RESPONSE_ALG: Self = Self::named("userinfo_encrypted_response_alg");
    pub(crate) const USERINFO_ENCRYPTED_RESPONSE_ENC: Self = Self::named("userinfo_encrypted_response_enc");
    pub(crate) const USERINFO_SIGNED_RESPONSE_ALG: Self = Self::named("userinfo_signed_response_alg");

    /// Returns the names of all fields.
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        NAMES.into_iter()
    }

    /// The field called `name`, by a look into a table and one comparison.
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

    pub(crate) fn name(self) -> &'static str {
        // Only `named` and `of` make these, from places in the list.
        NAMES.get(usize::from(self.0)).copied().unwrap_or_default()
    }

    /// How many there are.
    pub(crate) const COUNT: usize = NAMES.len();

    /// Each of them, once, below [`COUNT`](Self::COUNT).
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The field with this [`index`](Self::index).
    pub(crate) const fn nth(index: u8) -> Self {
        assert!((index as usize) < Self::COUNT, "there is no such field");
        Self(index)
    }

    /// Whether it may have a language tag: "human-readable client metadata values" (RFC 7591 section 2.2).
    pub(crate) fn is_human_readable(self) -> bool {
        matches!(self, Self::CLIENT_NAME | Self::CLIENT_URI | Self::LOGO_URI | Self::POLICY_URI | Self::TOS_URI)
    }

    /// Runs when it is compiled, and fails then for a name that is not in the list.
    #[expect(clippy::indexing_slicing, reason = "runs when it is compiled")]
    const fn named(name: &str) -> Self {
        let mut index = 0;
        while !same(NAMES[index as usize].as_bytes(), name.as_bytes()) {
            index += 1;
        }
        Self(index)
    }
}

const SLOTS: usize = 256;

/// By the place of its name, each field's number plus one; a field whose place is taken has the next free one.
#[expect(clippy::indexing_slicing, clippy::cast_possible_truncation, reason = "runs when it is compiled")]
static TABLE: [u8; SLOTS] = {
    let mut table = [0; SLOTS];
    let mut index = 0;
    while index < NAMES.len() {
        let mut at = place(NAMES[index].as_bytes());
        while table[at] != 0 {
            at = (at + 1) % SLOTS;
        }
        table[at] = index as u8 + 1;
        index += 1;
    }
    table
};

/// Where the search for a name begins: by its ends and its length, which tell these names apart well enough.
const fn place(name: &[u8]) -> usize {
    match name {
        [first, .., last] => (*first as usize * 3 + *last as usize + name.len() * 21) % SLOTS,
        _ => 0,
    }
}

#[expect(clippy::indexing_slicing, reason = "runs when it is compiled")]
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
        for (index, name) in NAMES.iter().enumerate() {
            let field = Field::of(name.as_bytes()).unwrap();
            assert_eq!((usize::from(field.0), field.name()), (index, *name));
        }
        assert!(NAMES.is_sorted(), "keep the list in order");
        for other in ["", "c", "client_i", "client_id ", "Client_id", "scopes", "scopf"] {
            assert_eq!(Field::of(other.as_bytes()), None, "{other}");
        }
    }
}
