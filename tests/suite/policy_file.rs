//! Policy files: what they can say, what is wrong with them, and that they and the builder say the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tower_dcr::client_address::{ClientAddress, ForwardedHeader};
use tower_dcr::initial_access::InitialAccess;
use tower_dcr::jwt::Issuer;
use tower_dcr::policy::{
    ApplicationType, AuthMethod, ClientName, Condition, Decorations, Grants, Jwks, MemberOperators, MetadataOperators,
    OnClaim, Policy, RedirectHostQuota, RedirectPattern, ReservedIdentity, Review, Scope, SoftwareStatements,
    Submission, Unwanted,
};
use tower_dcr::preset::PolicyFileError;
use tower_dcr::quota::Quota;
use tower_dcr::redirect_uri::RedirectClass;
use tower_dcr::registration::Limits;
use tower_dcr::{Preset, Registration, SecretInAnswer};

use crate::support::{Kept, Naive, behind, post, send};

fn oauth() -> Preset {
    let grants = Grants::new(["authorization_code", "client_credentials"], ["code"]).unwrap();
    Preset::oauth(grants, AuthMethod::one_of(["none", "private_key_jwt"]))
}

const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

/// What the rules make of a registration.
fn judge(preset: &Preset, body: &Value) -> Result<Value, String> {
    let mut registration = Registration::parse(body.to_string().as_bytes()).unwrap();
    let mut review = Review::registration();
    let verdict = preset.policy().review(&mut Submission::new(&mut registration, &mut review));
    verdict.map_err(|refused| refused.description())?;
    Ok(serde_json::from_slice(&registration.canonical_bytes()).unwrap())
}

/// Every builder method that says something a file can say, and the file.
#[expect(clippy::too_many_lines, reason = "a table")]
fn pairs() -> Vec<(Preset, &'static str)> {
    let mcp = Preset::mcp;
    let quota = |text: &str| text.parse::<Quota>().unwrap();
    let pattern = |text: &str| text.parse::<RedirectPattern>().unwrap();
    let acme = || {
        let acme = ReservedIdentity::new("Acme").unwrap().also_called(["Acme Cloud"]).unwrap();
        let acme = acme.with_https(["https://app.acme.com/*"]).unwrap().with_scheme("com.acme.app").unwrap();
        let acme = acme.with_relayed_scheme("acme-relay").unwrap().with_link_host("acme.com").unwrap();
        acme.with_domain("acme.com").unwrap().mixing_redirects()
    };
    vec![
        (mcp(), ""),
        (mcp(), "extends = 'mcp'"),
        (Preset::strict(), "extends = 'strict'"),
        (
            oauth(),
            "extends = 'oauth'
             [metadata.grants]
             grant_types = ['client_credentials', 'authorization_code']
             response_types = ['code']
             [metadata.token_endpoint_auth_method]
             one_of = ['none', 'private_key_jwt']",
        ),
        (mcp().report_only(), "report_only = true"),
        (
            mcp().with_limits(
                Limits::new().with_bytes(9000).with_depth(4).with_members(50).with_array(20).with_string(5000),
            ),
            "[body]
             max_bytes = 9000
             max_depth = 4
             max_members = 50
             max_array = 20
             max_string = 5000",
        ),
        (mcp().with_deadline(Duration::from_secs(3)), "body_deadline = '3s'"),
        (mcp().with_trusted_proxies(["10.0.0.0/8"]).unwrap(), "client_address.trusted_proxies = ['10.0.0.0/8']"),
        (
            mcp().with_client_address(
                ClientAddress::new().with_forwarded_header(ForwardedHeader::Forwarded).with_ipv6_prefix(56),
            ),
            "client_address.forwarded_header = 'forwarded'\nclient_address.ipv6_prefix = 56",
        ),
        (
            mcp().with_software_statements(
                SoftwareStatements::new([Issuer::new("https://directory.example.com", KEYS, ["ES256"]).unwrap()])
                    .unwrap()
                    .with_audience("https://auth.example.com")
                    .with_max_age(Duration::from_secs(3600))
                    .with_claims(["org_id"])
                    .single_use()
                    .required(),
            ),
            "[software_statements]
             audiences = ['https://auth.example.com']
             max_age = '1h'
             claims = ['org_id']
             single_use = true
             required = true
             [[software_statements.issuers]]
             name = 'https://directory.example.com'
             algorithms = ['ES256']
             [[software_statements.issuers.jwks.keys]]
             kty = 'EC'
             crv = 'P-256'
             x = 'f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU'
             y = 'x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0'",
        ),
        (mcp().with_address_quota(quota("120/minute, burst 600")), "rate_limit.address = '120/minute, burst 600'"),
        (mcp().with_global_quota(quota("5/second")), "rate_limit.global = '5/second'"),
        (
            mcp().without_rate_limits(),
            "rate_limit.address = 'off'\nrate_limit.global = 'off'\n[redirect_host_quota]\nquota = 'off'\nexempt = []",
        ),
        (
            mcp().with_redirect_host_quota(
                RedirectHostQuota::new(quota("7/hour")).with_exempt([pattern("https://a.example.com/*")]),
            ),
            "[redirect_host_quota]
             quota = '7/hour'
             exempt = ['https://a.example.com/*']",
        ),
        (mcp().with_secret_in_answer(SecretInAnswer::Strip), "answer.secret = 'strip'"),
        (
            mcp().with_secret_in_answer(SecretInAnswer::Allow(vec!["client_secret_basic".into()])),
            "answer.secret = { allow = ['client_secret_basic'] }",
        ),
        (mcp().with_answer(tower_dcr::AnswerLayer::new().without_normalising()), "answer.normalise = false"),
        (mcp().with_errors(tower_dcr::HandlerErrors::Pass), "answer.errors = 'pass'"),
        (mcp().with_public_url("https://as.example.com/").unwrap(), "answer.public_url = 'https://as.example.com'"),
        (mcp().with_requester(), "audit.requester = 'address'"),
        (mcp().with_document(), "audit.document = true"),
        (
            mcp()
                .map_redirect_uris(|guard| {
                    guard
                        .only_https([
                            pattern("https://*.example.com:443,8443/cb/*"),
                            RedirectPattern::regex("https://x[0-9]").unwrap(),
                        ])
                        .with_https_ports([443, 8443])
                        .with_localhost(false)
                        .with_reverse_domain_schemes(false)
                        .only_classes([RedirectClass::Https, RedirectClass::PrivateUse])
                        .refusing_unlisted()
                        .add_pattern(pattern("https://intranet/cb"))
                        .with_limits(3, 100)?
                        .with_private_use_schemes(["myapp"])
                })
                .unwrap(),
            "[redirect_uris]
             only_https = ['https://*.example.com:443,8443/cb/*', 'regex: https://x[0-9]']
             https_ports = [8443, 443]
             localhost = false
             reverse_domain_schemes = false
             classes = ['https', 'private_use']
             otherwise = 'reject'
             patterns = ['https://intranet/cb']
             max_count = 3
             max_bytes = 100
             private_use_schemes = ['myapp']",
        ),
        (
            mcp().map_redirect_uris(|guard| guard.add_private_use_scheme("com.example.app")).unwrap(),
            "redirect_uris.add_private_use_schemes = ['com.example.app']",
        ),
        (
            mcp()
                .map_metadata(|metadata| {
                    let metadata = metadata.map_members(|members| {
                        members
                            .with_openid_members()
                            .with_unknown(Unwanted::Refuse)
                            .with_unwanted(Unwanted::Refuse)
                            .add_member("tenant")?
                            .supply_member("realm", "main")?
                            .with_disposition("jwks_uri", Unwanted::Strip)
                    })?;
                    Ok(metadata
                        .with_grants(Grants::new(["authorization_code"], ["code"])?.refusing_others())
                        .with_auth_method(
                            AuthMethod::one_of(["none", "client_secret_post"])
                                .with_method_for("https://a.example.com/cb", "client_secret_post")?,
                        )
                        .with_scope(
                            Scope::any().with_ceiling(["read", "write"])?.with_default(["read"])?.refusing_others(),
                        )
                        .with_application_type(ApplicationType::as_sent())
                        .with_decorations(Decorations::refused().same_site())
                        .with_jwks(Jwks::new().with_limits(2, 999)?)
                        .with_client_name(ClientName::new().with_max_chars(40)?.with_reserved_words(["official"])?)
                        .with_operators(
                            MetadataOperators::new()
                                .on("client_name", MemberOperators::new().essential())?
                                .on("color", MemberOperators::new().one_of(["red"]))?,
                        ))
                })
                .unwrap(),
            "[metadata.members]
             openid = true
             unknown = 'reject'
             unwanted = 'reject'
             allow = ['tenant']
             supply = { realm = 'main' }
             dispositions = { jwks_uri = 'strip' }
             [metadata.grants]
             grant_types = ['authorization_code']
             response_types = ['code']
             otherwise = 'reject'
             [metadata.token_endpoint_auth_method]
             one_of = ['none', 'client_secret_post']
             otherwise = 'reject'
             by_redirect_uri = { 'https://a.example.com/cb' = 'client_secret_post' }
             [metadata.scope]
             ceiling = ['read', 'write']
             default = ['read']
             otherwise = 'reject'
             [metadata.application_type]
             infer = false
             unknown = 'reject'
             [metadata.decorations]
             otherwise = 'reject'
             same_site = true
             [metadata.jwks]
             max_keys = 2
             max_bytes = 999
             [metadata.client_name]
             max_chars = 40
             reserved_words = ['official']
             [metadata.policy]
             client_name = { essential = true }
             color = { one_of = ['red'] }",
        ),
        (
            mcp()
                .map_identity(|guard| {
                    guard
                        .with_contradicted_name(OnClaim::Mark)
                        .with_contradicted_link(OnClaim::Mark)
                        .with_contradicted_mention(OnClaim::Refuse)
                        .with_unverified(OnClaim::Refuse)
                        .map_identities(|known| Ok(known.reserve(acme()).release("Cursor")))
                })
                .unwrap(),
            "[identity]
             contradicted_name = 'mark'
             contradicted_link = 'mark'
             contradicted_mention = 'reject'
             unverified = 'reject'
             [[identity.identities.reserve]]
             name = 'Acme'
             also_called = ['Acme Cloud']
             https = ['https://app.acme.com/*']
             schemes = ['com.acme.app']
             relayed_schemes = ['acme-relay']
             link_hosts = ['acme.com']
             domains = ['acme.com']
             mixing_redirects = true
             [identity.identities]
             release = ['Cursor']",
        ),
        (
            mcp()
                .map_redirect_uris(|guard| Ok(guard.with_https_ports([443, 444])))
                .unwrap()
                .for_callers(
                    Condition::rules("partner").or(Condition::anonymous().not().and(Condition::token())),
                    |rules| {
                        rules.map_redirect_uris(|guard| Ok(guard.only_https([RedirectPattern::host("*.partner.com")?])))
                    },
                )
                .unwrap(),
            "redirect_uris.https_ports = [443, 444]
             [[callers]]
             when = { any = [{ rules = 'partner' }, { all = [{ not = 'anonymous' }, 'token'] }] }
             redirect_uris.only_https = ['https://*.partner.com/*']",
        ),
    ]
}

#[test]
fn the_builder_and_a_file_say_the_same() {
    for (built, file) in pairs() {
        let read = Preset::from_toml(file).unwrap_or_else(|error| panic!("{error}\n{file}"));
        assert_eq!(read.to_json(), built.to_json(), "{file}");
        assert_eq!(read.fingerprint(), built.fingerprint(), "{file}");
    }
}

#[test]
fn what_is_written_out_is_read_again() {
    for (built, file) in pairs() {
        let toml = built.to_toml().unwrap();
        let read = Preset::from_toml(&toml).unwrap_or_else(|error| panic!("{error}\n{file}\n{toml}"));
        assert_eq!(read.fingerprint(), built.fingerprint(), "{file}");
        let read = Preset::from_json(&built.to_json()).unwrap_or_else(|error| panic!("{error}\n{file}"));
        assert_eq!(read.fingerprint(), built.fingerprint(), "{file}");
    }
}

#[test]
fn every_setting_is_in_the_fingerprint() {
    let fingerprints: BTreeSet<String> = pairs().iter().skip(1).map(|(built, _)| built.fingerprint()).collect();
    assert_eq!(fingerprints.len(), pairs().len() - 1);
}

/// Other values that may be valid where `value` is.
fn others(value: &Value) -> Vec<Value> {
    match value {
        Value::Bool(value) => vec![json!(!value)],
        Value::Number(number) => number.as_u64().map(|number| json!(number + 1)).into_iter().collect(),
        // Whichever of these is read there.
        Value::String(text) => {
            let all = ["strip", "reject", "narrow", "substitute", "mark", "address", "forwarded", "off", "pass", "11s"];
            all.iter().filter(|other| *other != text).map(|other| json!(other)).collect()
        }
        Value::Array(elements) if elements.len() > 1 => vec![json!(elements[..elements.len() - 1])],
        Value::Array(elements) if elements.len() == 1 => {
            vec![json!([elements[0], "private_key_jwt"]), json!([1]), json!(["none"])]
        }
        _ => Vec::new(),
    }
}

/// The leaves of a policy, as the path to each.
fn leaves(value: &Value, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, value) in members {
                path.push(name.clone());
                leaves(value, path, found);
                path.pop();
            }
        }
        _ => found.push(path.clone()),
    }
}

#[test]
fn no_setting_of_the_effective_policy_is_dead() {
    let policy: Value = serde_json::from_str(&Preset::mcp().to_json()).unwrap();
    let mut found = Vec::new();
    leaves(&policy, &mut Vec::new(), &mut found);
    let (mut tried, mut left) = (0, Vec::new());
    for path in found.iter().filter(|path| *path != &["extends"]) {
        let value = path.iter().fold(&policy, |value, name| &value[name]);
        let file = |other: &Value| path.iter().rev().fold(other.clone(), |value, name| json!({ name: value }));
        let Some(changed) = others(value).iter().find_map(|other| Preset::from_json(&file(other).to_string()).ok())
        else {
            left.push(path.join("."));
            continue;
        };
        tried += 1;
        assert_ne!(changed.fingerprint(), Preset::mcp().fingerprint(), "{path:?}");
    }
    // Lists and tables that are empty in the preset are tried by the pairs above.
    let is_empty = |path: &String| {
        let value = path.split('.').fold(&policy, |value, name| &value[name]);
        value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
    };
    assert!(left.iter().all(is_empty), "{left:?}");
    assert!(tried > 35, "{tried}");
}

struct Wrong {
    file: &'static str,
    line: usize,
    key: &'static str,
    value: &'static str,
    message: &'static str,
    suggestion: &'static str,
}

const fn wrong(
    file: &'static str,
    (line, key, value): (usize, &'static str, &'static str),
    message: &'static str,
    suggestion: &'static str,
) -> Wrong {
    Wrong { file, line, key, value, message, suggestion }
}

#[test]
fn mistakes_are_named_with_their_place_and_a_way_out() {
    let rows = [
        wrong("extend = 'mcp'", (1, "extend", "extend"), "unknown field `extend`", "did you mean `extends`?"),
        wrong("extends = 'mpc'", (1, "extends", "'mpc'"), "unknown variant `mpc`", "did you mean `mcp`?"),
        wrong("extends = 7", (1, "extends", "7"), "invalid type", ""),
        wrong("\nextends = 'oauth'", (2, "extends", "'oauth'"), "needs metadata.grants.grant_types", ""),
        wrong(
            "[redirect_uri]\nlocalhost = true",
            (1, "redirect_uri", "redirect_uri"),
            "unknown field",
            "did you mean `redirect_uris`?",
        ),
        wrong(
            "[redirect_uris]\nlocalhost = 'yes'",
            (2, "redirect_uris.localhost", "'yes'"),
            "expected a boolean",
            "write true or false",
        ),
        wrong(
            "[redirect_uris]\nadd_patterns = ['https://a.example.com/*', 'https://*.com/*']",
            (2, "redirect_uris.add_patterns[1]", "'https://*.com/*'"),
            "wildcard below a top-level domain",
            "put the wildcard below a domain of yours",
        ),
        wrong(
            "[redirect_uris]\npatterns = ['https://a.example.com/a*']",
            (2, "redirect_uris.patterns[0]", "'https://a.example.com/a*'"),
            "does not stand behind its last slash",
            "a path ends with \"/*\"",
        ),
        wrong(
            "[redirect_uris]\npatterns = ['regex: (']",
            (2, "redirect_uris.patterns[0]", "'regex: ('"),
            "is not a regular expression",
            "",
        ),
        wrong(
            "[redirect_uris]\nprivate_use_schemes = [\n 'myapp',\n 'javascript']",
            (4, "redirect_uris.private_use_schemes[1]", "'javascript'"),
            "never allowed",
            "take it out",
        ),
        wrong(
            "[redirect_uris]\nprivate_use_schemes = ['MyApp://']",
            (2, "redirect_uris.private_use_schemes[0]", "'MyApp://'"),
            "is not a URI scheme",
            "write \"myapp\"",
        ),
        wrong(
            "[redirect_uris]\nmax_count = 0",
            (2, "redirect_uris.max_count", "0"),
            "nonzero",
            "write, for example, 10",
        ),
        wrong(
            "[redirect_uris]\nhttps_ports = [70000]",
            (2, "redirect_uris.https_ports[0]", "70000"),
            "expected u16",
            "",
        ),
        wrong(
            "[rate_limit]\naddress = '10 per minute'",
            (2, "rate_limit.address", "'10 per minute'"),
            "is no quota",
            "60/minute, burst 300",
        ),
        wrong("body_deadline = '10'", (1, "body_deadline", "'10'"), "is no time like", "7days"),
        wrong(
            "[lifecycle]\nidle = '7days'",
            (2, "lifecycle.idle", "'7days'"),
            "must be at least 2592000 s",
            "a shorter time breaks clients",
        ),
        wrong(
            "[metadata.grants]\ngrant_types = ['password']",
            (1, "metadata.grants", ""),
            "password must not be used",
            "take \"password\" out",
        ),
        wrong(
            "[metadata.grants]\notherwise = 'strip'",
            (2, "metadata.grants.otherwise", "'strip'"),
            "unknown variant `strip`",
            "known here are `narrow`, `reject`",
        ),
        wrong(
            "[metadata.members]\nallow = ['client_secret']",
            (2, "metadata.members.allow[0]", "'client_secret'"),
            "can't be allowed",
            "the server's alone",
        ),
        wrong(
            "[metadata.scope]\nceiling = ['read', 'a b']",
            (2, "metadata.scope.ceiling[1]", "'a b'"),
            "is not a scope token",
            "",
        ),
        wrong(
            "[metadata.policy.tenant]\none_off = ['a']",
            (2, "metadata.policy.tenant.one_off", "one_off"),
            "unknown field `one_off`",
            "did you mean `one_of`?",
        ),
        wrong(
            "[metadata.policy.client_id]\nessential = true",
            (1, "metadata.policy", ""),
            "only the server issues it",
            "OpenID Federation",
        ),
        wrong(
            "[identity]\nunverified = 'refused'",
            (2, "identity.unverified", "'refused'"),
            "unknown variant",
            "did you mean `reject`?",
        ),
        wrong(
            "[[identity.identities.reserve]]\nname = 'Acme'\nlink_hosts = ['https://ACME.com/']",
            (3, "identity.identities.reserve[0].link_hosts[0]", "'https://ACME.com/'"),
            "is not a public DNS name",
            "\"acme.com\"",
        ),
        wrong(
            "[[identity.identities.reserve]]\nhttps = []",
            (1, "identity.identities.reserve[0]", ""),
            "missing field `name`",
            "add `name = \"acme\"`",
        ),
        wrong(
            "[identity.identities]\nrelease = ['Claud']",
            (2, "identity.identities", "'Claud'"),
            "is not in the table",
            "did you mean `Claude`?",
        ),
        wrong("[[callers]]\nmetadata = {}", (1, "callers[0]", ""), "missing field `when`", "rules = \"partner\""),
        wrong("[[callers]]\nwhen = 'anybody'", (2, "callers[0].when", "'anybody'"), "unknown variant `anybody`", ""),
        wrong(
            "[[callers]]\nwhen = 'token'\nredirect_uris.https_ports = ['x']",
            (3, "callers[0].redirect_uris.https_ports[0]", "'x'"),
            "expected u16",
            "",
        ),
        wrong(
            "[client_address]\ntrusted_proxies = ['10.0.0.0/33']",
            (2, "client_address.trusted_proxies[0]", "'10.0.0.0/33'"),
            "neither an IP address nor a CIDR block",
            "10.0.0.0/8",
        ),
        wrong(
            "[initial_access_tokens]\ntokens = [{ sha256 = 'abc', owner = 'portal' }]",
            (2, "initial_access_tokens.tokens[0].sha256", "'abc'"),
            "is no SHA-256",
            "",
        ),
        wrong("[audit]\nrequester = 'hash'", (2, "audit.requester", "'hash'"), "can't be hashed without a key", ""),
        wrong(
            "[audit]\nrequester = 'hash'\nrequester_key_file = '/no/such/file'",
            (3, "audit.requester_key_file", "'/no/such/file'"),
            "/no/such/file",
            "",
        ),
        wrong(
            "[metadata.token_endpoint_auth_method]\none_of = ['client_secret_post']",
            (1, "metadata.token_endpoint_auth_method", ""),
            "can't be substituted",
            "otherwise = \"reject\"",
        ),
        wrong(
            "[metadata.grants]\nresponse_types = ['token']",
            (1, "metadata.grants", ""),
            "needs a grant type",
            "\"implicit\"",
        ),
        wrong("[answer]\nsecret = 'keep'", (2, "answer.secret", "'keep'"), "unknown variant `keep`", ""),
    ];
    let mut off = Vec::new();
    for Wrong { file, line, key, value, message, suggestion } in rows {
        let error = Preset::from_toml(file).expect_err(file);
        let right = (error.line(), error.key()) == (line, key)
            && (value.is_empty() || error.value() == Some(value))
            && error.message().contains(message)
            && error.suggestion().is_some_and(|found| found.contains(suggestion));
        if !right {
            off.push(format!("{file}\n{error}"));
        }
    }
    assert!(off.is_empty(), "{}", off.join("\n\n"));
}

#[test]
fn json_is_read_strictly_and_points_to_the_same_places() {
    let place = |text: &str| {
        let error = Preset::from_json(text).expect_err(text);
        (error.line(), error.column(), error.value().map(str::to_owned))
    };
    assert_eq!(place("{\n  \"body_deadline\": 10\n}"), (2, 20, Some("10".into())));
    assert_eq!(place("{\"redirect_uris\": {\"localhost\": true, \"localhost\": false}}").1, 39);
    assert_eq!(place("{\"report_only\": true,}").0, 1);
    assert_eq!(place("// no comment\n{}").0, 1);
    assert_eq!(place("").0, 1);
    assert_eq!(place("[]").2, Some("[]".into()));
    assert!(Preset::from_json(r#"{"$schema": "https://example.com/schema.json"}"#).is_ok());
    // A `null` removes a member, which TOML can't say.
    let preset = Preset::from_json(r#"{"metadata": {"policy": {"scope": {"value": null}}}}"#).unwrap();
    let client = json!({"redirect_uris": ["http://localhost/cb"], "scope": "read"});
    assert!(judge(&preset, &client).unwrap().get("scope").is_none());
    assert!(preset.to_toml().is_none());
}

#[test]
fn toml_that_is_none_is_named_with_its_line() {
    let error = Preset::from_toml("[redirect_uris]\nlocalhost = = true\n").unwrap_err();
    assert_eq!(error.line(), 2);
    let error = Preset::from_toml("a = 1\na = 2\n").unwrap_err();
    assert!(error.message().contains("duplicate"), "{error}");
    assert_eq!(error.line(), 2);
}

#[test]
fn errors_are_one_line_with_everything_in_it() {
    let error = Preset::from_toml("[redirect_uris]\nlocalhost = 'yes'").unwrap_err();
    assert_eq!(
        error.to_string(),
        "policy:2:13: redirect_uris.localhost: invalid type: string \"yes\", expected a boolean (found 'yes'); \
         write true or false, without quotation marks"
    );
    let error = Preset::from_file("/no/such/policy.toml").unwrap_err();
    assert!(error.to_string().starts_with("/no/such/policy.toml: can't be read: "), "{error}");
    assert_eq!(error.file(), Some(Path::new("/no/such/policy.toml")));
    let _: &(dyn std::error::Error + Send + Sync) = &error;
    let _: fn(&PolicyFileError) -> &str = PolicyFileError::text;
}

/// The rules that a file gives to some callers are those for everybody but for what it says of them.
#[test]
fn callers_have_rules_of_their_own() {
    let preset = Preset::from_toml(
        "[redirect_uris]
         classes = ['loopback']
         [[callers]]
         when = { redirects = ['https'] }
         redirect_uris.classes = ['https']
         metadata.policy.client_name.essential = true",
    )
    .unwrap();
    let client = |uri: &str, name: &str| json!({"redirect_uris": [uri], "client_name": name});
    assert!(judge(&preset, &client("http://localhost/cb", "")).is_ok());
    assert!(judge(&preset, &client("https://a.example.com/cb", "App")).is_ok());
    assert!(
        judge(&preset, &client("https://a.example.com/cb", "")).unwrap_err().starts_with("client_name is required")
    );
    assert!(judge(&preset, &client("myapp:/cb", "App")).is_err());
}

#[tokio::test]
async fn tokens_of_a_file_admit_those_who_have_them() {
    let digest = tower_dcr::registration::Digest::of(b"Vq3s8nR1xW7tB0yKd5Lc");
    let file = format!(
        "[initial_access_tokens]
         [[initial_access_tokens.tokens]]
         sha256 = '{digest}'
         owner = 'portal'
         rules = 'partner'
         expires_at = '2999-01-01T00:00:00Z'
         [[callers]]
         when = {{ rules = 'partner' }}"
    );
    let kept = Kept::default();
    let guard = Preset::from_toml(&file).unwrap().with_sink(kept.sink());
    let register = behind(&guard, &Naive::default());
    let body = r#"{"redirect_uris":["http://localhost/cb"]}"#;
    assert_eq!(send(&register, post(body)).await.status(), 401);
    let mut request = post(body);
    request.headers_mut().insert("authorization", "Bearer Vq3s8nR1xW7tB0yKd5Lc".parse().unwrap());
    assert_eq!(send(&register, request).await.status(), 201);
    let admitted = kept.take().pop().unwrap();
    assert_eq!(admitted.authorized_by.as_deref(), Some("portal"));
    assert_eq!(admitted.rules_for.as_deref(), Some("partner"));
    let same = InitialAccess::of("portal").with_rules("partner");
    assert_eq!(same.owner(), "portal");
}

#[tokio::test]
async fn every_event_has_the_fingerprint_of_the_policy() {
    let kept = Kept::default();
    let guard = Preset::from_toml("rate_limit.address = '2/hour'").unwrap().with_sink(kept.sink());
    let fingerprint = u64::from_str_radix(&guard.fingerprint(), 16).unwrap();
    let register = behind(&guard, &Naive::default());
    for body in [r#"{"redirect_uris":["http://localhost/cb"]}"#, "no json", "limited"] {
        send(&register, post(body)).await;
    }
    drop(tower::Service::call(&mut register.clone(), post("{}")));
    let events = kept.take();
    assert_eq!(events.len(), 4);
    assert_eq!(
        events.iter().map(|event| event.outcome.as_str()).collect::<Vec<_>>(),
        ["accepted", "refused", "limited", "abandoned"]
    );
    assert!(events.iter().all(|event| event.policy == Some(fingerprint)), "{events:?}");
}

#[tokio::test]
async fn an_event_holds_the_registration_if_that_is_wanted_without_what_is_nobodys_business() {
    let kept = Kept::default();
    let guard =
        Preset::from_toml("audit.document = true\nmetadata.members.allow = ['tenant']").unwrap().with_sink(kept.sink());
    let register = behind(&guard, &Naive::default());
    let body = json!({
        "redirect_uris": ["http://localhost/cb"], "client_name": "App \u{202e}", "tenant": "blue", "password": "hunter2",
        "client_secret": "s3cret", "contacts": ["a@example.com", "b@example.com"], "software_statement": "", "scope": "read",
        "jwks": {"keys": [{"kty": "oct", "k": "s3cret"}]}, "jwks_uri": "https://app.example.com/jwks",
    });
    send(&register, post(body.to_string())).await;
    let line = kept.lines().pop().unwrap();
    assert!(
        line.is_ascii() && !line.contains("s3cret") && !line.contains("hunter2") && !line.contains("@example"),
        "{line}"
    );
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        event["document"],
        json!({
            "redirect_uris": ["http://localhost/cb"], "client_name": "App \u{202e}", "tenant": "blue",
            "password": "[redacted]", "client_secret": "[redacted]", "contacts": ["[redacted]", "[redacted]"],
            "software_statement": "", "scope": "read", "jwks": "[redacted]", "jwks_uri": "https://app.example.com/jwks",
        })
    );
    // By default, it does not.
    let kept = Kept::default();
    send(&behind(&Preset::mcp().with_sink(kept.sink()), &Naive::default()), post(body.to_string())).await;
    assert!(!kept.lines().pop().unwrap().contains("document"));
}

/// `schema/policy.json` is for editors. To bring it up to date: `UPDATE_SCHEMA=1 cargo test policy_file`.
#[test]
fn the_schema_that_is_committed_is_that_of_the_types() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/policy.json");
    let schema = format!("{}\n", serde_json::to_string_pretty(&Preset::file_schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap() == schema, "run: UPDATE_SCHEMA=1 cargo test policy_file");
}

#[test]
fn the_schema_accepts_what_is_accepted_and_refuses_what_is_misspelt() {
    let schema = jsonschema::validator_for(&Preset::file_schema()).unwrap();
    for (built, file) in pairs() {
        let policy: Value = serde_json::from_str(&built.to_json()).unwrap();
        let errors: Vec<String> = schema.iter_errors(&policy).map(|error| error.to_string()).collect();
        assert!(errors.is_empty(), "{file}: {errors:?}");
        let policy: Value = toml::from_str::<Value>(file).unwrap();
        let errors: Vec<String> =
            schema.iter_errors(&policy).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{file}: {errors:?}");
    }
    for policy in [
        json!({"extend": "mcp"}),
        json!({"redirect_uris": {"localhost": "yes"}}),
        json!({"redirect_uris": {"add_localhost": [true]}}),
        json!({"metadata": {"policy": {"tenant": {"one_off": ["a"]}}}}),
        json!({"callers": [{"redirect_uris": {}}]}),
    ] {
        assert!(!schema.is_valid(&policy), "{policy}");
    }
    assert!(schema.is_valid(&json!({"$schema": "x", "redirect_uris": {"add_private_use_schemes": ["a.b"]}})));
}
