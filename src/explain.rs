//! What each rule is for, and what it costs to loosen it.
//!
//! ```
//! let rule = tower_dcr::explain::rule("redirect-uris").unwrap();
//! assert!(rule.reference.contains("RFC 8252"));
//! ```

/// A rule, for people. `dcr explain` prints it.
///
/// ```
/// use tower_dcr::explain;
///
/// for rule in explain::RULES {
///     println!("{:<30} {}", rule.name, rule.protects);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Explanation {
    /// The stable name, as in audit events and error descriptions.
    pub name: &'static str,
    /// What it protects.
    pub protects: &'static str,
    /// Where that is written.
    pub reference: &'static str,
    /// What happens without it: a registration that it meets under the preset `mcp`, if it begins with `{`.
    pub attack: &'static str,
    /// How to loosen it: settings of a policy file, or the builder where there is none.
    pub loosen: &'static str,
    /// What that opens.
    pub opens: &'static str,
}

/// What is said of the rule called `name`.
#[must_use]
pub fn rule(name: &str) -> Option<&'static Explanation> {
    RULES.iter().find(|rule| rule.name == name)
}

/// All of them, in the order in which a request meets them.
pub const RULES: &[Explanation] = &[
    Explanation {
        name: "audit",
        protects: "Nobody registers without a record of it: while the audit sink can take no event, registrations wait.",
        reference: "RFC 7591 section 5 (abuse has to be seen to be met)",
        attack: "Fill the disk, then register what nobody will ever find.",
        loosen: "In code: a sink whose `is_ready` is true, such as `JsonLines` with `Overflow::Count`.",
        opens: "Registrations whose events are lost, and counted.",
    },
    Explanation {
        name: "rate-limit",
        protects: "The table of clients, and whoever has to look through it, from floods.",
        reference: "RFC 7591 section 5: rate-limit what \"an open registration endpoint\" takes; RFC 6585 section 4",
        attack: "Register ten thousand clients from one address, or from one IPv6 network.",
        loosen: "rate_limit.address = \"120/minute, burst 600\", or \"off\"; rate_limit.global likewise",
        opens: "As many clients as somebody has time for.",
    },
    Explanation {
        name: "initial-access-token",
        protects: "Registration from everybody who was not given a token.",
        reference: "RFC 7591 section 3.1, RFC 6750 section 3.1",
        attack: "Register without a token, with one that is over, or once more with one that admits one client.",
        loosen: "initial_access_tokens.required = false",
        opens: "Registration to anybody, by the rules for anonymous callers.",
    },
    Explanation {
        name: "origin",
        protects: "Registration from web pages of other origins, in the browser of somebody who may register.",
        reference: "RFC 6454; the Fetch standard, section 3.1",
        attack: "A page that registers a client from the browser of an employee, behind the firewall.",
        loosen: "initial_access_tokens.add_allowed_origins = [\"https://app.example.com\"]",
        opens: "Registration from pages of that origin.",
    },
    Explanation {
        name: "method",
        protects: "The handler from methods that the guard does not review.",
        reference: "RFC 7591 section 3.1, RFC 7592 section 2",
        attack: "PATCH /register, or PUT /register: a handler that takes it as POST registers without a token.",
        loosen: "Nothing does: put the layer on routes for registration only.",
        opens: "A way around every other rule.",
    },
    Explanation {
        name: "client-url",
        protects: "A client and its rules from a request whose URL the server reads as another client.",
        reference: "RFC 7592 section 2, RFC 3986 section 2.3",
        attack: "PUT /register/ID/ or /register/I%44 for a client that is revoked: unknown here, and the same to the server.",
        loosen: "client_url.in_query, client_url.trailing_slash, client_url.additional_characters, client_url.query_parameters: as the server spells them.",
        opens: "Nothing, if the server reads URLs like that.",
    },
    Explanation {
        name: "media-type",
        protects: "The handler from bodies that it reads and the guard does not.",
        reference: "RFC 7591 section 3.1 (application/json)",
        attack: "Send the registration as text/plain, or gzip-encoded: a guard that waves it through has reviewed nothing.",
        loosen: "Nothing does: decode bodies outside of the guard.",
        opens: "A way around every other rule.",
    },
    Explanation {
        name: "body",
        protects: "Memory and connections from bodies that are too large, too slow or broken off.",
        reference: "RFC 9110 sections 15.5.9 and 15.5.14",
        attack: "Send a gigabyte, or one byte a minute.",
        loosen: "body.max_bytes = 65536; body_deadline = \"30s\"",
        opens: "That much memory, and that much time, for each connection.",
    },
    Explanation {
        name: "strict-json",
        protects: "One reading of the body: what the rules see is what the handler sees.",
        reference: "RFC 8259 section 4 (duplicate names are unpredictable), RFC 7493",
        attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"redirect_uris\":[\"https://evil.example.net/\"]}",
        loosen: "Only limits can be changed: body.max_depth, body.max_members, body.max_array, body.max_string",
        opens: "Larger documents. Duplicates and trailing bytes stay refused.",
    },
    Explanation {
        name: "pinned-rules",
        protects: "Clients of a token from being judged by other rules than those that the token names.",
        reference: "RFC 7591 section 3.1",
        attack: "Rename the rules in the policy, and registrations with the old token get those for everybody.",
        loosen: "Add [[callers]] with when = { rules = \"NAME\" }.",
        opens: "What those rules let through.",
    },
    Explanation {
        name: "cases",
        protects: "Callers for whom there are no rules from being judged by none.",
        reference: "RFC 7591 section 5",
        attack: "Ask as somebody whom no condition is about.",
        loosen: "In code: `Cases::otherwise`.",
        opens: "What those rules let through.",
    },
    Explanation {
        name: "software-statement",
        protects: "Claims that count more than what was sent from being anybody's claims.",
        reference: "RFC 7591 sections 2.3 and 3.2.2, RFC 8725 section 3.1",
        attack: "A statement that is signed with `none`, or with the public key as an HMAC secret.",
        loosen: "[software_statements] with issuers = [{ name, jwks, algorithms }]",
        opens: "Whatever those issuers sign.",
    },
    Explanation {
        name: "known-members",
        protects: "The handler and its store from members that nobody expected (mass assignment).",
        reference: "RFC 7591 section 2: \"MUST ignore any client metadata … that it does not understand\"; sections 2.2 and 6",
        attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"skip_consent\":true,\"client_secret\":\"chosen by me\"}",
        loosen: "metadata.members.allow = [\"tenant\"]; metadata.members.openid = true; \
                 metadata.members.unknown = \"strip\" (instead of \"reject\")",
        opens: "Values of those members reach the handler as they were sent: put operators on them (metadata.policy).",
    },
    Explanation {
        name: "metadata-policy",
        protects: "What single members may be, in the operator's own words.",
        reference: "OpenID Federation 1.0 section 6.1.3; RFC 7591 section 3.2.1 (the server may reject, replace, substitute)",
        attack: "Ask for another tenant's clients: {\"tenant\":\"somebody else\"}",
        loosen: "metadata.policy.NAME.otherwise = \"substitute\", or take the operator out",
        opens: "Other values of that member.",
    },
    Explanation {
        name: "grant-types",
        protects: "Grants that the server did not mean to offer to strangers.",
        reference: "RFC 7591 sections 2 and 2.1; RFC 9700 section 2.4 (password MUST NOT be used)",
        attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"grant_types\":[\"client_credentials\"]}",
        loosen: "metadata.grants.add_grant_types = [\"client_credentials\"]; metadata.grants.otherwise = \"narrow\"",
        opens: "Tokens without a person, or without a redirect that anybody has looked at.",
    },
    Explanation {
        name: "response-types",
        protects: "Flows that put tokens into URLs, and clients from contradicting themselves.",
        reference: "RFC 7591 section 2.1; RFC 9700 section 2.1.2",
        attack: "{\"redirect_uris\":[\"https://app.example.com/cb\"],\"response_types\":[\"token\"]}",
        loosen: "metadata.grants.add_response_types = [\"code id_token\"], with the grant type that it needs",
        opens: "Tokens in the fragments of redirects.",
    },
    Explanation {
        name: "token-endpoint-auth-method",
        protects: "Public clients from secrets that they can't keep, and key-based ones from being made weaker.",
        reference: "RFC 7591 section 2 (absent means client_secret_basic); OAuth 2.1 section 2.4",
        attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"token_endpoint_auth_method\":\"private_key_jwt\"}",
        loosen: "metadata.token_endpoint_auth_method.one_of = [\"none\", \"client_secret_post\"], or one client's redirect URI \
                 in by_redirect_uri",
        opens: "Secrets in every copy of an application, which many clients then don't send.",
    },
    Explanation {
        name: "scope",
        protects: "Scopes that strangers are not to have.",
        reference: "RFC 6749 section 3.3; RFC 7591 section 2",
        attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"scope\":\"read \\\"\"}",
        loosen: "metadata.scope.add_ceiling = [\"admin\"]; metadata.scope.otherwise = \"narrow\"",
        opens: "Requests for those scopes at the authorization endpoint.",
    },
    Explanation {
        name: "application-type",
        protects: "Native clients from being taken for web clients, for which servers refuse loopback redirects.",
        reference: "OpenID Connect Dynamic Client Registration 1.0 section 2",
        attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"application_type\":\"web\"}",
        loosen: "metadata.application_type.infer = false",
        opens: "Failed sign-ins of Cursor and others, whose type contradicts their redirect URIs.",
    },
    Explanation {
        name: "decorations",
        protects: "People on the consent page, and the server that fetches a logo.",
        reference: "RFC 7591 section 5; OpenID Connect Dynamic Client Registration 1.0 section 9.1; CVE-2021-26715",
        attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"logo_uri\":\"https://169.254.169.254/latest/meta-data\"}",
        loosen: "metadata.decorations.otherwise = \"strip\"; metadata.decorations.same_site = false",
        opens: "Links to other sites. Executable ones and private networks stay out.",
    },
    Explanation {
        name: "dereferenced-uris",
        protects: "The server's own network from what the server fetches on a stranger's word.",
        reference: "OpenID Connect Dynamic Client Registration 1.0 sections 2 and 9; RFC 9700 section 4.11",
        attack: "jwks_uri: \"https://10.0.0.1/keys\"",
        loosen: "Nothing does: leave the member out of the policy (metadata.members.openid = false) instead.",
        opens: "Requests into your network.",
    },
    Explanation {
        name: "jwks",
        protects: "Private and symmetric keys from being stored, and the server from URLs in keys.",
        reference: "RFC 7591 section 2; RFC 7517 sections 4.6 and 5; RFC 7518 section 6",
        attack: "jwks: {\"keys\":[{\"kty\":\"oct\",\"k\":\"c2VjcmV0\"}]}",
        loosen: "metadata.jwks.max_keys = 20; metadata.jwks.max_bytes = 32768",
        opens: "Larger sets. Private keys stay refused.",
    },
    Explanation {
        name: "client-name",
        protects: "People from names that are not what they look like.",
        reference: "RFC 7591 sections 2.2 and 5; UTS #39 sections 5.1 and 5.4",
        attack: "{\"redirect_uris\":[\"http://localhost/cb\"],\"client_name\":\"\\u202eedualC\"}",
        loosen: "metadata.client_name.max_chars = 200; metadata.client_name.reserved_words = []",
        opens: "Names that push the rest of the page out of sight, or that lend a trust nobody has earned.",
    },
    Explanation {
        name: "redirect-uris",
        protects: "Authorization codes from going to somebody else.",
        reference: "RFC 8252 sections 7 and 8.4; RFC 9700 sections 2.1 and 4.1; RFC 7591 section 5",
        attack: "{\"redirect_uris\":[\"javascript:alert(document.cookie)\"]}",
        loosen: "redirect_uris.add_private_use_schemes = [\"com.example.app\"]; redirect_uris.add_patterns = \
                 [\"https://intranet.example/cb\"]; redirect_uris.otherwise = \"narrow\"",
        opens: "Codes to whoever owns that scheme on a person's computer, or that host. What is dangerous or has two readings \
                stays refused.",
    },
    Explanation {
        name: "identity",
        protects: "People from clients that claim to be somebody else.",
        reference: "RFC 7591 section 5: \"MUST treat all client metadata as self-asserted\"",
        attack: "{\"redirect_uris\":[\"https://attacker.example.net/cb\"],\"client_name\":\"CIaude\"}",
        loosen: "identity.contradicted_name = \"mark\"; identity.identities.release = [\"Cursor\"]",
        opens: "Imitations on the consent page, marked there if it shows the verdict.",
    },
    Explanation {
        name: "redirect-host-quota",
        protects: "The table of clients from one who has many addresses and one host.",
        reference: "RFC 7591 section 5",
        attack: "Register from a thousand addresses, each time for https://attacker.example.net/cb.",
        loosen: "redirect_host_quota.add_exempt = [\"https://app.example.com/*\"]; redirect_host_quota.quota = \"off\"",
        opens: "As many clients for that host as the other limits allow.",
    },
    Explanation {
        name: "lifecycle",
        protects: "What somebody has revoked from coming back by another registration, and the table from growing without end.",
        reference: "RFC 7592 section 5; RFC 7591 section 3.2.2",
        attack: "Register again what was revoked a minute ago: MCP clients do, by themselves.",
        loosen: "Take the block back (`Review`, or the review page); lifecycle.max_clients = 100000",
        opens: "The client that was revoked.",
    },
    Explanation {
        name: "answer",
        protects: "Clients from answers on which they fail: a success without a client_id, or with redirect URIs that were \
                   not asked for; a secret for a public client; errors and redirects that are no JSON.",
        reference: "RFC 7591 sections 3.2.1 and 3.2.2",
        attack: "A handler that answers 200 with an error in it, or mints a secret for every client and then wants to see it.",
        loosen: "answer.secret = \"strip\", or { allow = [\"client_secret_basic\"] }; answer.errors = \"pass\"",
        opens: "Clients that the server takes for confidential and that send no secret; errors that clients can't read.",
    },
    Explanation {
        name: "custom",
        protects: "What the operator's own rule says.",
        reference: "The documentation of this server",
        attack: "Whatever that rule is about.",
        loosen: "In code: `Preset::add_rule`.",
        opens: "Whatever that rule kept out.",
    },
];
