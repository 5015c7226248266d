//! The values that rules allow, in the form of server metadata.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::MetadataAllowlist;
use crate::rules::metadata::grants::in_order;

/// The values that a policy allows in registrations, in the terms of the server metadata document (RFC 8414, OpenID
/// Connect Discovery).
#[derive(Default)]
pub(crate) struct ServerMetadata {
    /// `None` if any grant type is allowed.
    grant_types: Option<BTreeSet<String>>,
    response_types: Option<BTreeSet<String>>,
    auth_methods: Option<BTreeSet<String>>,
    scopes: Option<BTreeSet<String>>,
    /// `true` if all clients become public ones.
    makes_public: bool,
    /// `true` if no client can register.
    is_closed: bool,
}

const NONE: &str = "none";

impl ServerMetadata {
    /// Creates the values that `rules` allow.
    pub(crate) fn new(rules: &MetadataAllowlist) -> Self {
        let (grant_types, response_types) = rules.grants.offered();
        let auth_methods = rules.auth_method.offered();
        let within = |member: &str, offered: BTreeSet<String>| match rules.operators.ceiling(member) {
            Some(ceiling) => offered.intersection(&ceiling).cloned().collect(),
            None => offered,
        };
        let scopes = match (rules.scope.ceiling(), rules.operators.ceiling("scope")) {
            (Some(scopes), Some(ceiling)) => Some(scopes.intersection(&ceiling).cloned().collect()),
            (scopes, ceiling) => scopes.or(ceiling),
        };
        Self {
            grant_types: Some(within("grant_types", grant_types)),
            response_types: Some(within("response_types", response_types)),
            auth_methods: Some(within("token_endpoint_auth_method", auth_methods)),
            scopes,
            makes_public: rules.auth_method.makes_public(),
            is_closed: false,
        }
    }

    /// Takes the registration endpoint out.
    pub(crate) fn without_registration(self) -> Self {
        Self { is_closed: true, ..self }
    }

    /// Returns the values that either of two policies allows: the document is the same for all callers.
    pub(crate) fn or(self, other: Self) -> Self {
        let either = |one: Option<BTreeSet<String>>, other: Option<BTreeSet<String>>| Some(&one? | &other?);
        Self {
            grant_types: either(self.grant_types, other.grant_types),
            response_types: either(self.response_types, other.response_types),
            auth_methods: either(self.auth_methods, other.auth_methods),
            scopes: either(self.scopes, other.scopes),
            makes_public: self.makes_public || other.makes_public,
            is_closed: self.is_closed && other.is_closed,
        }
    }

    /// Narrows `document`: see [`Preset::amend_server_metadata`](crate::Preset::amend_server_metadata).
    pub(crate) fn amend(&self, document: &mut Map<String, Value>) {
        // RFC 8414 section 2: "If omitted, the default value is "["authorization_code", "implicit"]"."
        let grants = narrow(document, GRANTS, self.grant_types.as_ref(), &["authorization_code", "implicit"], None);
        let responses = narrow(document, RESPONSES, self.response_types.as_ref(), &[], None);
        let public = self.makes_public.then_some(NONE);
        // "If omitted, the default is "client_secret_basic"".
        let methods = narrow(document, METHODS, self.auth_methods.as_ref(), &["client_secret_basic"], public);
        // A server that lists no scopes may have any.
        let scopes = document.contains_key(SCOPES) && narrow(document, SCOPES, self.scopes.as_ref(), &[], None);
        if methods && !strings(document, METHODS).iter().any(|method| method.ends_with("_jwt")) {
            document.remove("token_endpoint_auth_signing_alg_values_supported");
        }
        let closed = self.is_closed && remove_registration(document);
        if grants || responses || methods || scopes || closed {
            document.remove("signed_metadata");
        }
    }
}

const GRANTS: &str = "grant_types_supported";
const RESPONSES: &str = "response_types_supported";
const METHODS: &str = "token_endpoint_auth_methods_supported";
const SCOPES: &str = "scopes_supported";

/// Removes the registration endpoint, and its alias for mutual TLS (RFC 8705 section 5). Returns `true` if there was one.
fn remove_registration(document: &mut Map<String, Value>) -> bool {
    const ENDPOINT: &str = "registration_endpoint";
    let aliases = document.get_mut("mtls_endpoint_aliases").and_then(Value::as_object_mut);
    let alias = aliases.and_then(|aliases| aliases.remove(ENDPOINT)).is_some();
    document.remove(ENDPOINT).is_some() || alias
}

/// Narrows a list to the allowed values, with `always` in any case, in the server's order. Returns `true` if that
/// changed it.
fn narrow(
    document: &mut Map<String, Value>,
    member: &str,
    allowed: Option<&BTreeSet<String>>,
    default: &[&str],
    always: Option<&str>,
) -> bool {
    let Some(allowed) = allowed.filter(|allowed| !allowed.is_empty()) else { return false };
    let announced = match document.get(member) {
        Some(Value::Array(_)) => strings(document, member),
        _ => default.iter().map(ToString::to_string).collect(),
    };
    let mut left: Vec<String> = announced.into_iter().filter(|value| allowed.contains(&*in_order(value))).collect();
    if let Some(always) = always.filter(|always| !left.iter().any(|value| value == always)) {
        left.push(always.to_owned());
    }
    if left.is_empty() {
        left = allowed.iter().cloned().collect();
    }
    let left = Value::from(left);
    let changed = document.get(member) != Some(&left);
    document.insert(member.to_owned(), left);
    changed
}

fn strings(document: &Map<String, Value>, member: &str) -> Vec<String> {
    let values = document.get(member).and_then(Value::as_array).into_iter().flatten();
    values.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rules::{AuthMethod, Grants, MemberOperators, MetadataOperators, Scope};

    fn amended(rules: &MetadataAllowlist, mut document: Value) -> Value {
        ServerMetadata::new(rules).amend(document.as_object_mut().unwrap());
        document
    }

    #[test]
    fn absent_metadata_has_its_default() {
        let expected = json!({
            "grant_types_supported": ["authorization_code"], "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["none"],
        });
        assert_eq!(amended(&MetadataAllowlist::mcp(), json!({})), expected);
        let junk = json!({ "grant_types_supported": "all", "token_endpoint_auth_methods_supported": null });
        assert_eq!(amended(&MetadataAllowlist::mcp(), junk), expected);
    }

    #[test]
    fn dependent_metadata_is_removed_with_its_list() {
        let document = json!({
            "grant_types_supported": ["authorization_code", "refresh_token"], "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["private_key_jwt", "none"],
            "token_endpoint_auth_signing_alg_values_supported": ["ES256"],
            "revocation_endpoint_auth_methods_supported": ["private_key_jwt"],
            "signed_metadata": "e30.e30.e30", "scopes_supported": ["openid"],
        });
        let expected = json!({
            "grant_types_supported": ["authorization_code", "refresh_token"], "response_types_supported": ["code"],
            "token_endpoint_auth_methods_supported": ["none"],
            "revocation_endpoint_auth_methods_supported": ["private_key_jwt"], "scopes_supported": ["openid"],
        });
        assert_eq!(amended(&MetadataAllowlist::mcp(), document), expected);
        // A document that needs no change stays signed.
        let mut signed = expected;
        signed["signed_metadata"] = json!("e30.e30.e30");
        assert_eq!(amended(&MetadataAllowlist::mcp(), signed.clone()), signed);
    }

    #[test]
    fn a_closed_endpoint_is_not_announced() {
        let document = json!({
            "issuer": "https://as.example.com", "registration_endpoint": "https://as.example.com/register",
            "mtls_endpoint_aliases": { "token_endpoint": "https://m.example.com/t", "registration_endpoint": "https://m.example.com/r" },
            "signed_metadata": "e30.e30.e30",
        });
        let mut closed = document.clone();
        let metadata = ServerMetadata::default().without_registration();
        metadata.amend(closed.as_object_mut().unwrap());
        let left = json!({ "issuer": "https://as.example.com", "mtls_endpoint_aliases": { "token_endpoint": "https://m.example.com/t" } });
        assert_eq!(closed, left);
        let mut signed = json!({ "issuer": "https://as.example.com", "signed_metadata": "e30.e30.e30" });
        metadata.amend(signed.as_object_mut().unwrap());
        assert!(signed.get("signed_metadata").is_some(), "nothing was removed");
        let mut open = document.clone();
        ServerMetadata::default().amend(open.as_object_mut().unwrap());
        assert_eq!(open, document);
    }

    #[test]
    fn the_words_of_a_response_type_have_no_order() {
        let grants = Grants::new(["authorization_code", "implicit"], ["code", "code id_token"]).unwrap();
        let rules = MetadataAllowlist::oauth(grants, AuthMethod::one_of(["client_secret_basic", "private_key_jwt"]));
        let document = amended(
            &rules,
            json!({ "response_types_supported": ["id_token code", "code", "token"],
                "token_endpoint_auth_methods_supported": ["private_key_jwt", "client_secret_post"],
                "token_endpoint_auth_signing_alg_values_supported": ["ES256"] }),
        );
        assert_eq!(document["response_types_supported"], json!(["id_token code", "code"]));
        assert_eq!(document["token_endpoint_auth_methods_supported"], json!(["private_key_jwt"]));
        assert_eq!(document["token_endpoint_auth_signing_alg_values_supported"], json!(["ES256"]));
    }

    #[test]
    fn without_a_common_value_the_policy_is_announced() {
        let rules = MetadataAllowlist::oauth(Grants::authorization_code(), AuthMethod::one_of(["private_key_jwt"]));
        let document = amended(&rules, json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] }));
        assert_eq!(document["token_endpoint_auth_methods_supported"], json!(["private_key_jwt"]));
    }

    #[test]
    fn operators_and_scopes_count() {
        let only = |elements: &[&str]| MemberOperators {
            subset_of: elements.iter().map(|element| (*element).into()).collect(),
            ..MemberOperators::default()
        };
        let operators = MetadataOperators::default()
            .on("grant_types", only(&["authorization_code"]))
            .unwrap()
            .on("scope", only(&["read", "write"]))
            .unwrap();
        let scope = Scope::default().with_ceiling(["read", "admin"]).unwrap();
        let mut rules = MetadataAllowlist::mcp();
        (rules.operators, rules.scope) = (operators, scope);
        let document = json!({ "grant_types_supported": ["authorization_code", "refresh_token"],
            "scopes_supported": ["admin", "read", "write"] });
        let document = amended(&rules, document);
        assert_eq!(document["grant_types_supported"], json!(["authorization_code"]));
        assert_eq!(document["scopes_supported"], json!(["read"]));
        assert!(amended(&rules, json!({})).get("scopes_supported").is_none());
    }

    #[test]
    fn the_document_is_the_union_for_all_callers() {
        let confidential = AuthMethod::one_of(["client_secret_basic"]);
        let rules = MetadataAllowlist::oauth(Grants::authorization_code(), confidential);
        let both = ServerMetadata::new(&rules).or(ServerMetadata::new(&MetadataAllowlist::mcp()));
        let mut document = json!({ "token_endpoint_auth_methods_supported": ["client_secret_basic"] });
        both.amend(document.as_object_mut().unwrap());
        assert_eq!(document["token_endpoint_auth_methods_supported"], json!(["client_secret_basic", "none"]));
        let mut document = json!({ "grant_types_supported": ["password"] });
        ServerMetadata::default().or(ServerMetadata::new(&rules)).amend(document.as_object_mut().unwrap());
        assert_eq!(document, json!({ "grant_types_supported": ["password"] }));
    }
}
