//! Policy files: what they can say, what is wrong with them, and that they and the builder say the same.

use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value, json};
use tower_dcr::client_address::{ClientAddress, ForwardedHeader};
use tower_dcr::policy_file::Lint;
use tower_dcr::rate_limit::{Quota, RateLimits};
use tower_dcr::redirect_uri::RedirectClass;
use tower_dcr::registration::Limits;
use tower_dcr::rules::Issuer;
use tower_dcr::rules::{
    AbsentGrants, Action, AuthMethod, ClientName, Condition, ConfigError, Context, Grants, Jwks, MemberOperators,
    RedirectHostQuota, RedirectPattern, ReservedIdentity, SoftwareStatements,
};
use tower_dcr::{
    Preset, Registration,
    layers::{AuditLayer, RateLimitLayer, ResponseLayer},
};

use crate::support::{Kept, Naive, behind, changed, outcome, post, send};

fn oauth() -> Preset {
    let grants = Grants::new(["authorization_code", "client_credentials"], ["code"]).unwrap();
    tower_dcr::oauth(grants, AuthMethod::one_of(["none", "private_key_jwt"]))
}

const KEYS: &str = r#"{"keys":[{"kty":"EC","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;

/// Returns the result of a registration under the rules.
fn judge(preset: &Preset, body: &Value) -> Result<Value, String> {
    let registration = Registration::parse(body.to_string().as_bytes()).unwrap();
    outcome(&preset.policy().evaluate(registration, &Context::registration()))
}

/// Every builder method that says something a file can say, and the file.
#[expect(clippy::too_many_lines, reason = "a table")]
fn pairs() -> Vec<(Preset, &'static str)> {
    let mcp = tower_dcr::mcp;
    let quota = |text: &str| text.parse::<Quota>().unwrap();
    let pattern = |text: &str| text.parse::<RedirectPattern>().unwrap();
    let acme = || {
        changed(ReservedIdentity::new("Acme"), |it| {
            it.also_called = vec!["Acme Cloud".into()];
            it.https = vec!["https://app.acme.com/*".into()];
            it.schemes = ["com.acme.app".into()].into();
            it.relayed_schemes = ["acme-relay".into()].into();
            it.link_hosts = ["acme.com".into()].into();
            it.domains = ["acme.com".into()].into();
            it.mixing_redirects = true;
            it.source = Some("https://docs.acme.com/oauth".into());
            it.checked = Some("2026-11-29".into());
        })
    };
    vec![
        (mcp(), ""),
        (mcp(), "extends = 'mcp'"),
        (tower_dcr::strict(), "extends = 'strict'"),
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
            mcp().with_report_only_rules(["identity", "scope"]).unwrap(),
            "report_only_rules = ['identity']\nadd_report_only_rules = ['scope']",
        ),
        (mcp().map_answer(ResponseLayer::report_only), "answer.report_only = true"),
        (
            mcp().with_body(Limits { max_bytes: 9000, max_depth: 4, max_members: 50, max_array: 20, max_string: 5000 }),
            "[body]
             max_bytes = 9000
             max_depth = 4
             max_members = 50
             max_array = 20
             max_string = 5000",
        ),
        (mcp().with_body_deadline(Duration::from_secs(3)), "body_deadline = '3s'"),
        (mcp().with_trusted_proxies(["10.0.0.0/8"]).unwrap(), "client_address.trusted_proxies = ['10.0.0.0/8']"),
        (
            mcp().with_client_address(
                ClientAddress::new().with_forwarded_header(ForwardedHeader::Forwarded).with_ipv6_prefix(56),
            ),
            "client_address.forwarded_header = 'forwarded'\nclient_address.ipv6_prefix = 56",
        ),
        (
            mcp().with_software_statements({
                let mut statements =
                    SoftwareStatements::new([Issuer::new("https://directory.example.com", KEYS, ["ES256"]).unwrap()])
                        .unwrap();
                statements.audiences.push("https://auth.example.com".into());
                statements.max_age = Some(Duration::from_secs(3600));
                statements.claims.extend(["org_id"].map(Into::into));
                statements.single_use = true;
                statements.required = true;
                statements
            }),
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
        (
            mcp().map_rate_limit(|limits| limits.address = quota("120/minute, burst 600").into()),
            "rate_limit.address = '120/minute, burst 600'",
        ),
        (mcp().map_rate_limit(|limits| limits.global = quota("5/second").into()), "rate_limit.global = '5/second'"),
        (
            mcp().with_rate_limit(RateLimitLayer::new().map_limits(|limits| {
                limits.prefix = quota("61/minute").into();
                limits.wide_prefix = quota("62/minute").into();
                limits.newcomers = quota("63/hour").into();
                limits.proven = quota("64/minute").into();
                limits.proven_global = quota("65/minute").into();
                limits.deduplication = quota("66/minute").into();
                limits.software_id = quota("69/minute").into();
                limits.unreadable = quota("67/minute").into();
                limits.requests = quota("68/minute").into();
                limits.fields = false;
            })),
            "[rate_limit]
             prefix = '61/minute'
             wide_prefix = '62/minute'
             newcomers = '63/hour'
             proven = '64/minute'
             proven_global = '65/minute'
             deduplication = '66/minute'
             software_id = '69/minute'
             unreadable = '67/minute'
             requests = '68/minute'
             fields = false",
        ),
        (
            mcp().with_rate_limit(RateLimitLayer::new().map_limits(|limits| {
                *limits = RateLimits::OFF;
                limits.address = quota("30/minute").into();
            })),
            "rate_limit = { address = '30/minute', global = 'off', prefix = 'off', wide_prefix = 'off', proven = 'off', \
             deduplication = 'off', unreadable = 'off', requests = 'off' }",
        ),
        (
            mcp().without_rate_limits(),
            "rate_limit.address = 'off'\nrate_limit.global = 'off'\n[redirect_host_quota]\nquota = 'off'\nexempt = []",
        ),
        (
            mcp().with_redirect_host_quota(changed(RedirectHostQuota::new(quota("7/hour")), |it| {
                it.exempt = Vec::from([pattern("https://a.example.com/*")]);
            })),
            "[redirect_host_quota]
             quota = '7/hour'
             exempt = ['https://a.example.com/*']",
        ),
        (mcp().map_answer(|answer| answer.with_secret(Action::Strip)), "answer.secret = 'strip'"),
        (
            mcp().map_answer(|answer| answer.with_secret_methods(["client_secret_basic"])),
            "answer.secret = { allow = ['client_secret_basic'] }",
        ),
        (mcp().map_answer(|answer| answer.with_normalise(false)), "answer.normalise = false"),
        (mcp().map_answer(ResponseLayer::pass_errors), "answer.errors = 'pass'"),
        (mcp().with_public_url("https://as.example.com/").unwrap(), "answer.public_url = 'https://as.example.com'"),
        (mcp().map_audit(AuditLayer::with_requester), "audit.requester = 'address'"),
        (mcp().map_audit(AuditLayer::with_document), "audit.document = true"),
        (
            mcp().map_audit(|audit| audit.with_request_id_header("x-request-id".parse().unwrap())),
            "audit.request_id_header = 'X-Request-Id'",
        ),
        (
            mcp()
                .map_rules(|mut rules| {
                    let mut uris = rules.redirect_uris;
                    uris.only_https =
                        Some(vec![pattern("https://*.example.com:443,8443/cb/*"), pattern("regex: https://x[0-9]")]);
                    uris.https_ports = [443, 8443].into();
                    uris.localhost = false;
                    uris.reverse_domain_schemes = false;
                    uris.unlisted_schemes = Action::Mark;
                    uris.classes = vec![RedirectClass::Https, RedirectClass::PrivateUse];
                    uris.otherwise = Action::Reject;
                    uris.patterns.push(pattern("https://intranet/cb"));
                    rules.redirect_uris = uris.with_limits(3, 100)?.with_private_use_schemes(["myapp"])?;
                    Ok(rules)
                })
                .unwrap(),
            "[redirect_uris]
             only_https = ['https://*.example.com:443,8443/cb/*', 'regex: https://x[0-9]']
             https_ports = [8443, 443]
             localhost = false
             reverse_domain_schemes = false
             unlisted_schemes = 'mark'
             classes = ['https', 'private_use']
             otherwise = 'reject'
             patterns = ['https://intranet/cb']
             max_count = 3
             max_bytes = 100
             private_use_schemes = ['myapp']",
        ),
        (
            mcp()
                .map_rules(|mut rules| {
                    rules.redirect_uris = rules.redirect_uris.add_private_use_scheme("com.example.app")?;
                    Ok(rules)
                })
                .unwrap(),
            "redirect_uris.add_private_use_schemes = ['com.example.app']",
        ),
        (
            mcp()
                .map_rules(|mut rules| {
                    rules.metadata.members = rules
                        .metadata
                        .members
                        .add_member("tenant")?
                        .supply_member("realm", "main")?
                        .with_disposition("jwks_uri", Action::Strip)?;
                    rules.metadata.members.openid = true;
                    rules.metadata.members.unknown = Action::Reject;
                    rules.metadata.members.unwanted = Action::Reject;
                    rules.metadata.grants = Grants::new(["authorization_code"], ["code"])?;
                    rules.metadata.grants.absent = Some(AbsentGrants::Offered);
                    rules.metadata.grants.otherwise = Action::Reject;
                    rules.metadata.auth_method = AuthMethod::one_of(["none", "client_secret_post"])
                        .with_method_for("https://a.example.com/cb", "client_secret_post")?;
                    rules.metadata.scope = rules
                        .metadata
                        .scope
                        .with_ceiling(["read", "write"])?
                        .with_default(["read"])?
                        .with_add(["write"])?;
                    rules.metadata.scope.otherwise = Action::Reject;
                    rules.metadata.application_type.infer = false;
                    rules.metadata.application_type.unknown = Action::Reject;
                    rules.metadata.decorations.otherwise = Action::Reject;
                    rules.metadata.decorations.same_site = true;
                    rules.metadata.jwks = rules.metadata.jwks.with_limits(2, 999)?;
                    rules.metadata.client_name =
                        rules.metadata.client_name.with_max_chars(40)?.with_reserved_words(["official"])?;
                    rules.metadata.client_name.overlong = Action::Reject;
                    let mut essential = MemberOperators::default();
                    essential.essential = Some(true);
                    let mut red = MemberOperators::default();
                    red.one_of = vec!["red".into()];
                    rules.metadata.operators =
                        rules.metadata.operators.on("client_name", essential)?.on("color", red)?;
                    Ok(rules)
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
             add = ['write']
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
             overlong = 'reject'
             reserved_words = ['official']
             [metadata.policy]
             client_name = { essential = true }
             color = { one_of = ['red'] }",
        ),
        (
            mcp()
                .map_rules(|mut rules| {
                    rules.identity.contradicted_name = Action::Mark;
                    rules.identity.contradicted_link = Action::Mark;
                    rules.identity.contradicted_mention = Action::Reject;
                    rules.identity.unverified = Action::Reject;
                    rules.identity.identities = rules.identity.identities.reserve(acme())?.release("Cursor");
                    Ok(rules)
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
             source = 'https://docs.acme.com/oauth'
             checked = '2026-11-29'
             [identity.identities]
             release = ['Cursor']",
        ),
        (
            mcp()
                .map_rules(|mut rules| {
                    rules.redirect_uris.https_ports = [443, 444].into();
                    Ok(rules)
                })
                .unwrap()
                .for_callers(
                    Condition::Any(vec![
                        Condition::Rules("partner".into()),
                        Condition::All(vec![Condition::Not(Box::new(Condition::Anonymous)), Condition::Token]),
                    ]),
                    |mut rules| {
                        rules.redirect_uris.only_https =
                            Some(Vec::from(["https://*.partner.com/*".parse::<RedirectPattern>()?]));
                        Ok(rules)
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
        let read = Preset::from_str(file).unwrap_or_else(|error| panic!("{error}\n{file}"));
        assert_eq!(serde_json::to_value(&read).unwrap(), serde_json::to_value(&built).unwrap(), "{file}");
        assert_eq!(read.fingerprint(), built.fingerprint(), "{file}");
    }
}

#[test]
fn a_written_policy_reads_back_as_the_same() {
    for (built, file) in pairs() {
        let toml = built.to_toml().unwrap();
        let read = Preset::from_str(&toml).unwrap_or_else(|error| panic!("{error}\n{file}\n{toml}"));
        assert_eq!(read.fingerprint(), built.fingerprint(), "{file}");
        let read =
            Preset::from_str(&serde_json::to_string(&built).unwrap()).unwrap_or_else(|error| panic!("{error}\n{file}"));
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
            let all = [
                "strip",
                "reject",
                "narrow",
                "substitute",
                "mark",
                "authorization_code",
                "address",
                "forwarded",
                "off",
                "pass",
                "closed",
                "11s",
                "same_site",
            ];
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
    let policy: Value = serde_json::to_value(tower_dcr::mcp()).unwrap();
    let mut found = Vec::new();
    leaves(&policy, &mut Vec::new(), &mut found);
    let (mut tried, mut left) = (0, Vec::new());
    for path in found.iter().filter(|path| *path != &["extends"]) {
        let value = path.iter().fold(&policy, |value, name| &value[name]);
        let file = |other: &Value| path.iter().rev().fold(other.clone(), |value, name| json!({ name: value }));
        let Some(changed) = others(value).iter().find_map(|other| Preset::from_str(&file(other).to_string()).ok())
        else {
            left.push(path.join("."));
            continue;
        };
        tried += 1;
        assert_ne!(changed.fingerprint(), tower_dcr::mcp().fingerprint(), "{path:?}");
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
fn errors_have_a_place_and_a_suggestion() {
    let rows = [
        wrong("extend = 'mcp'", (1, "extend", "extend"), "unknown key \"extend\"", "did you mean `extends`?"),
        wrong("extends = 'mpc'", (1, "extends", "'mpc'"), "unknown value \"mpc\"", "did you mean `mcp`?"),
        wrong("extends = 7", (1, "extends", "7"), r#"expected one of "mcp", "strict", "oauth""#, ""),
        wrong("\nextends = 'oauth'", (2, "extends", "'oauth'"), "needs metadata.grants.grant_types", ""),
        wrong(
            "[redirect_uri]\nlocalhost = true",
            (1, "redirect_uri", "redirect_uri"),
            "unknown key",
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
            "0 is out of range: it must be at least 1",
            "write 1 or more",
        ),
        wrong(
            "[redirect_uris]\nhttps_ports = [70000]",
            (2, "redirect_uris.https_ports[0]", "70000"),
            "expected a whole number from 0 to 65535",
            "",
        ),
        wrong(
            "[rate_limit]\naddress = '10 per minute'",
            (2, "rate_limit.address", "'10 per minute'"),
            "is not a quota",
            "60/minute, burst 300",
        ),
        wrong(
            "[rate_limit]\nglobal = '0/minute'",
            (2, "rate_limit.global", "'0/minute'"),
            "allows nothing",
            "600/minute",
        ),
        wrong(
            "[rate_limit]\nproven = '1/hour, burst 1000'",
            (2, "rate_limit.proven", "'1/hour, burst 1000'"),
            "30 days",
            "dcr explain",
        ),
        wrong(
            "[redirect_host_quota]\nquota = '10000001/second'",
            (2, "redirect_host_quota.quota", "'10000001/second'"),
            "limits nothing",
            "60/minute, burst 600",
        ),
        wrong("body_deadline = '10'", (1, "body_deadline", "'10'"), "is not a time like", "7days"),
        wrong(
            "[lifecycle]\nidle = '7days'",
            (2, "lifecycle.idle", "'7days'"),
            "must be at least 30 days, not 7 days",
            "write \"30 days\" or more: a shorter time breaks honest clients",
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
            "unknown value \"strip\"",
            "known here are `narrow`, `reject`",
        ),
        wrong(
            "[metadata.members]\nallow = ['client_secret']",
            (2, "metadata.members.allow[0]", "'client_secret'"),
            "can't be allowed",
            "only the server issues it",
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
            "unknown key \"one_off\"",
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
            "unknown value",
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
            "missing key \"name\"",
            "add `name = \"acme\"`",
        ),
        wrong(
            "[identity.identities]\nrelease = ['Claud']",
            (2, "identity.identities", "'Claud'"),
            "is not in the table",
            "did you mean `Claude`?",
        ),
        wrong("[[callers]]\nmetadata = {}", (1, "callers[0]", ""), "missing key \"when\"", "rules = \"partner\""),
        wrong("[[callers]]\nwhen = 'anybody'", (2, "callers[0].when", "'anybody'"), "unknown value \"anybody\"", ""),
        wrong(
            "[[callers]]\nwhen = 'token'\nredirect_uris.https_ports = ['x']",
            (3, "callers[0].redirect_uris.https_ports[0]", "'x'"),
            "expected a whole number from 0 to 65535",
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
        wrong(
            "[audit]\nrequest_id_header = 'x request'",
            (2, "audit.request_id_header", "'x request'"),
            "is not a header name",
            "",
        ),
        wrong(
            "[audit]\nchain_key_file = '/no/such/file'",
            (2, "audit.chain_key_file", "'/no/such/file'"),
            "/no/such/file",
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
            "can't be replaced",
            "otherwise = \"reject\"",
        ),
        wrong(
            "[metadata.grants]\nresponse_types = ['token']",
            (1, "metadata.grants", ""),
            "needs a grant type",
            "\"implicit\"",
        ),
        wrong("[answer]\nsecret = 'keep'", (2, "answer.secret", "'keep'"), "unknown value \"keep\"", ""),
        wrong(
            "[answer]\nsecret = 'allow'",
            (2, "answer.secret", "'allow'"),
            "expected a value for this word",
            "{ allow = [\"client_secret_basic\"] }",
        ),
        wrong(
            "[[callers]]\nwhen = 'rules'",
            (2, "callers[0].when", "'rules'"),
            "expected a value for this word",
            "{ rules = \"partner\" }",
        ),
        wrong(
            "[[callers]]\nwhen = { token = 'a' }",
            (2, "callers[0].when", ""),
            "expected a word that stands alone",
            "",
        ),
        wrong(
            "shadow = 'next.toml'",
            (1, "shadow", ""),
            "expected a table",
            "`[shadow]`, in brackets, and its keys below: `policy = \"next.toml\"`",
        ),
        wrong("lifecycle = 5", (1, "lifecycle", "5"), "expected a table", "never_used = \"7days\""),
        wrong("client_url = true", (1, "client_url", "true"), "expected a table", "in_query = true"),
        wrong(
            "initial_access_tokens = true",
            (1, "initial_access_tokens", "true"),
            "expected a table",
            "required = true",
        ),
        wrong("metadata.policy = true", (1, "metadata.policy", "true"), "expected a table", "`[metadata.policy]`"),
        wrong(
            "[callers]\nwhen = 'token'",
            (1, "callers", ""),
            "expected a list, in brackets",
            "`[[callers]]`, in double brackets",
        ),
        wrong(
            "report_only_rules = 'identity'",
            (1, "report_only_rules", "'identity'"),
            "expected a list",
            "[\"identity\"]",
        ),
        wrong(
            "report_only_rules = ['body']",
            (1, "report_only_rules[0]", "'body'"),
            "the rule `body` can't be report-only",
            "take it out",
        ),
        wrong(
            "redirect_uris.add_private_use_schemes = ['http']",
            (1, "redirect_uris.add_private_use_schemes[0]", "'http'"),
            "is not a private-use scheme",
            "redirect_uris.classes",
        ),
        wrong(
            "redirect_uris.only_https = ['https://app.example.com/([']",
            (1, "redirect_uris.only_https[0]", "'https://app.example.com/(['"),
            "a bracket",
            "begin a regular expression with \"regex: \"",
        ),
        wrong(
            "redirect_uris.add_patterns = [{ host = 'a' }]",
            (1, "redirect_uris.add_patterns", ""),
            "expected a text, in quotation marks",
            "\"https://app.example.com/oauth/*\"",
        ),
        wrong(
            "redirect_uris.add_patterns = 'https://app.example.com/cb'",
            (1, "redirect_uris.add_patterns", "add_patterns"),
            "`add_patterns` must be a list, and so must `patterns`",
            "write `add_patterns = […]` to add to a list",
        ),
        wrong(
            "redirect_uris.add_only_https = 'https://app.example.com/cb'",
            (1, "redirect_uris.add_only_https", "add_only_https"),
            "`add_only_https` must be a list",
            "write `add_only_https = […]`",
        ),
        wrong(
            "redirect_uris.add_localhost = [true]",
            (1, "redirect_uris.add_localhost", "add_localhost"),
            "and so must `localhost`",
            "or `localhost = …` to replace a value",
        ),
        wrong(
            "documents.allow = ['https://a.example.com/c', 'https://*.example.com/c.json']",
            (1, "documents.allow[1]", "'https://*.example.com/c.json'"),
            "the URL pattern \"https://*.example.com/c.json\": a host can't be a pattern",
            "list each host",
        ),
        wrong(
            "documents.allow = ['http://app.example.com/c.json']",
            (1, "documents.allow[0]", "'http://app.example.com/c.json'"),
            "the URL pattern \"http://app.example.com/c.json\"",
            "[\"https://app.example.com/oauth/*/client.json\"]",
        ),
        wrong(
            "documents.allow = [7]",
            (1, "documents.allow[0]", "7"),
            "expected a text",
            "https://app.example.com/oauth/",
        ),
        wrong("documents.own_hosts = 7", (1, "documents.own_hosts", "7"), "expected a list", "[\"as.example.com\"]"),
        wrong("documents.ports = ['x']", (1, "documents.ports[0]", "'x'"), "expected a whole number", "[8443]"),
        wrong("body_deadline = ['10s']", (1, "body_deadline", ""), "expected a time like", ""),
    ];
    let mut off = Vec::new();
    for Wrong { file, line, key, value, message, suggestion } in rows {
        let error = Preset::from_str(file).expect_err(file);
        let mistake = &error.mistakes[0];
        let right = (mistake.line, &*mistake.key) == (Some(line), key)
            && (value.is_empty() || found(mistake) == value)
            && mistake.message.contains(message)
            && mistake.suggestion.as_ref().is_some_and(|found| found.to_string().contains(suggestion));
        if !right {
            off.push(format!("{file}\n{error}"));
        }
    }
    assert!(off.is_empty(), "{}", off.join("\n\n"));
}

/// Returns the text at the mistake.
fn found(mistake: &Lint) -> &str {
    &mistake.text.as_ref().unwrap()[mistake.span.clone().unwrap()]
}

/// A list is no table: its elements would be taken for keys, by their order.
#[test]
fn rejects_a_list_in_place_of_a_table() {
    for (file, key, suggestion) in [
        ("lifecycle = ['365days']", "lifecycle", "write `[lifecycle]` once, in single brackets"),
        ("lifecycle = [5]", "lifecycle", "write `[lifecycle]` once, in single brackets"),
        ("lifecycle = []", "lifecycle", "write `[lifecycle]` once, in single brackets"),
        ("body = [1000]", "body", "write `[body]` once, in single brackets"),
        ("[[answer]]\nreport_only = true", "answer", "write `[answer]` once, in single brackets"),
        ("[[metadata.scope]]\ndefault = ['a']", "metadata.scope", "write `[metadata.scope]` once"),
        ("metadata.policy = []", "metadata.policy", "write `[metadata.policy]`"),
        ("metadata.policy.tenant = [['a']]", "metadata.policy.tenant", "write `[metadata.policy.tenant]` once"),
        ("callers = [['token']]", "callers[0]", "in braces"),
        ("identity.identities.reserve = [['Acme']]", "identity.identities.reserve[0]", "in braces"),
        ("initial_access_tokens.tokens = [['abc', 'portal']]", "initial_access_tokens.tokens[0]", "in braces"),
        ("[[initial_access_tokens]]\nrequired = true", "initial_access_tokens", "in single brackets"),
        ("shadow = ['next.toml']", "shadow", "in single brackets"),
    ] {
        let error = Preset::from_str(file).expect_err(file);
        let [mistake] = &error.mistakes[..] else { panic!("{error}") };
        assert_eq!(mistake.key, key, "{error}");
        assert!(mistake.message.starts_with("expected a table"), "{error}");
        assert!(mistake.suggestion.as_ref().unwrap().to_string().contains(suggestion), "{error}");
    }
    assert!(Preset::from_str(r#"{"lifecycle": ["365days"]}"#).is_err());
}

/// Words of Rust and serde mean nothing to who writes a policy.
#[test]
fn errors_contain_no_terms_of_rust() {
    let schema = Preset::file_schema();
    let keys = |kind: &Value| kind["properties"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    for key in keys(&schema).iter().filter(|key| *key != "$schema") {
        for value in ["5", "1.5", "true", "'x'", "[]", "[[]]", "[{}]", "{ x = 1 }", "1979-05-27"] {
            let Err(error) = Preset::from_str(&format!("{key} = {value}")) else { continue };
            let said = &error.mistakes[0].message;
            for word in ["struct", "sequence", "newtype", "unit", "map", "invalid type", "variant index", "enum"] {
                assert!(!said.contains(word), "{key} = {value}: {error}");
            }
            assert!(error.mistakes[0].suggestion.is_some(), "{key} = {value}: {error}");
        }
    }
}

#[test]
fn json_is_read_strictly_and_points_to_the_same_places() {
    let place = |text: &str| {
        let error = Preset::from_str(text).expect_err(text);
        let mistake = &error.mistakes[0];
        (mistake.line.unwrap(), mistake.column.unwrap(), found(mistake).to_owned())
    };
    assert_eq!(place("{\n  \"body_deadline\": 10\n}"), (2, 20, "10".into()));
    assert_eq!(place("{\"redirect_uris\": {\"localhost\": true, \"localhost\": false}}").1, 39);
    assert_eq!(place("{\"report_only\": true,}").0, 1);
    // Anything else than an object is read as TOML.
    assert_eq!(place("// no comment\n{}").0, 1);
    assert_eq!(place("[]").0, 1);
    assert!(Preset::from_str(r#"{"$schema": "https://example.com/schema.json"}"#).is_ok());
    // The word of earlier versions.
    assert!(Preset::from_str("gate.unknown = \"refuse\"\nanswer.secret = \"refuse\"\n").is_ok());
    // A `null` removes a member, which TOML can't say.
    let preset = Preset::from_str(r#"{"metadata": {"policy": {"scope": {"value": null}}}}"#).unwrap();
    let client = json!({"redirect_uris": ["http://localhost/cb"], "scope": "read"});
    assert!(judge(&preset, &client).unwrap().get("scope").is_none());
    assert!(preset.to_toml().is_none());
}

#[test]
fn invalid_toml_is_reported_with_its_line() {
    let error = Preset::from_str("[redirect_uris]\nlocalhost = = true\n").unwrap_err();
    assert_eq!(error.mistakes[0].line, Some(2));
    let error = Preset::from_str("a = 1\na = 2\n").unwrap_err();
    assert!(error.mistakes[0].message.contains("duplicate"), "{error}");
    assert_eq!(error.mistakes[0].line, Some(2));
}

#[test]
fn errors_are_one_line_with_everything_in_it() {
    let error = Preset::from_str("[redirect_uris]\nlocalhost = 'yes'").unwrap_err();
    assert_eq!(
        error.to_string(),
        "policy:2:13: redirect_uris.localhost: expected a boolean (found 'yes'); \
         write true or false, without quotation marks"
    );
    let error = Preset::from_file("/no/such/policy.toml").unwrap_err();
    assert!(error.to_string().starts_with("/no/such/policy.toml: can't be read: "), "{error}");
    assert_eq!(error.mistakes[0].file.as_deref(), Some(Path::new("/no/such/policy.toml")));
    let _: &(dyn std::error::Error + Send + Sync) = &error;
}

/// All that is wrong with a file is said in one run, in the order of the file; what follows from it is not.
#[test]
fn all_mistakes_of_a_file_are_named_in_its_order() {
    let keys = |text: &str| -> Vec<String> {
        let error = Preset::from_str(text).expect_err(text);
        error.mistakes.into_iter().map(|mistake| mistake.key).collect()
    };
    for (text, expected, reason) in [
        (
            "extends = 'mpc'\nreport_onyl = true\n[redirect_uris]\nlocalhost = 'yes'\nmax_count = 0\n\
             add_private_use_schemes = ['a.b', 'javascript', '*', 'c.d', 'MyApp']\n[lifecycle]\nidle = '7days'\napproval = true\n\
             [identity.identities]\nrelease = ['Claud', 'Claude', 'Cursr']\n[[callers]]\nwhen = 'anybody'\n\
             redirect_uris.https_ports = [443, 'x']\n[[callers]]\nmetadata.grants.otherwise = 'strip'",
            &[
                "extends",
                "report_onyl",
                "redirect_uris.localhost",
                "redirect_uris.max_count",
                "redirect_uris.add_private_use_schemes[1]",
                "redirect_uris.add_private_use_schemes[2]",
                "redirect_uris.add_private_use_schemes[4]",
                "lifecycle.idle",
                "lifecycle.approval",
                "identity.identities",
                "identity.identities",
                "callers[0].when",
                "callers[0].redirect_uris.https_ports[1]",
                "callers[1]",
                "callers[1].metadata.grants.otherwise",
            ][..],
            "every kind",
        ),
        (
            "[redirect_uris]\nlocalhost = 'x'\n[[callers]]\nwhen = 'token'",
            &["redirect_uris.localhost"],
            "callers inherit",
        ),
        (
            "extends = 'oauth'\n[metadata.grants]\ngrant_type = ['authorization_code']\n\
             [metadata.token_endpoint_auth_method]\none_of = ['none']",
            &["metadata.grants.grant_type"],
            "a misspelt key is not missing as well",
        ),
        ("extends = 'oauth'\nbody_deadline = 10", &["extends", "body_deadline"], "what is missing is said once"),
        ("[[callers]]\nwhen = 7\nmetadata = 8", &["callers[0].when", "callers[0].metadata"], "the condition is there"),
        (
            "[audit]\nrequester = 'hash'\nrequester_key_file = '/no/such/file'\ndocumnet = true",
            &["audit.requester_key_file", "audit.documnet"],
            "the key is not missing as well",
        ),
        (
            "[metadata.policy]\ntenant = { one_off = ['a'] }\nclient_id = { essential = true }\nscope = { value = 7 }",
            &["metadata.policy.tenant.one_off", "metadata.policy", "metadata.policy"],
            "one member after the other",
        ),
    ] {
        assert_eq!(keys(text), expected, "{reason}");
    }
    let many: Vec<String> = (0..200).map(|number| format!("key_{number} = 1")).collect();
    assert_eq!(keys(&many.join("\n")).len(), 50);
}

#[test]
fn a_broken_policy_reads_well_through_main() {
    let error = Preset::from_str("report_onyl = true\n\n[lifecycle]\n\tapproval = true\n").unwrap_err();
    let boxed: Box<dyn std::error::Error> = error.clone().into();
    assert_eq!(
        format!("{boxed:?}"),
        "policy:1:1: report_onyl: unknown key \"report_onyl\" (found report_onyl); did you mean `report_only`?\n  |\n\
         1 | report_onyl = true\n  | ^^^^^^^^^^^\n\n\
         policy:4:13: lifecycle.approval: expected a time like \"90s\", \"2h 30m\" or \"7days\" \
         (found true); write, for example, \"24h\"\n  |\n4 |  approval = true\n  |             ^^^^"
    );
    assert_eq!(error.to_string().lines().count(), 2);
    assert_eq!(error.mistakes.len(), 2);
}

/// Every limit of a file has a floor and a ceiling; what is said of one that is broken can be written.
#[test]
fn limits_have_floors_and_ceilings() {
    for (key, wrong, bound) in [
        ("body.max_depth", "100000", "64"),
        ("body.max_depth", "1", "2"),
        ("body.max_bytes", "1000000000", "1048576"),
        ("body.max_bytes", "0", "2"),
        ("body.max_members", "0", "1"),
        ("body.max_members", "100000", "1000"),
        ("body.max_array", "100000", "1000"),
        ("body.max_string", "2000000", "1048576"),
        ("body_deadline", "'0s'", "\"100ms\""),
        ("body_deadline", "'1day'", "\"10 minutes\""),
        ("client_address.ipv6_prefix", "0", "32"),
        ("client_address.ipv6_prefix", "129", "128"),
        ("metadata.client_name.max_chars", "100000", "256"),
        ("metadata.client_name.max_chars", "0", "1"),
        ("metadata.jwks.max_keys", "1000", "100"),
        ("metadata.jwks.max_bytes", "-1", "1"),
        ("redirect_uris.max_count", "0", "1"),
        ("redirect_uris.max_count", "100000", "1000"),
        ("redirect_uris.max_bytes", "1000000", "16384"),
        ("lifecycle.never_used", "'1min'", "\"1 hour\""),
        ("lifecycle.idle", "'1day'", "\"30 days\""),
        ("lifecycle.approval", "'1s'", "\"1 hour\""),
        ("lifecycle.idle", "'101years'", "\"100 years\""),
        ("lifecycle.retention", "'1000years'", "\"100 years\""),
        ("gate.max_age", "'1000years'", "\"100 years\""),
        ("gate.grace", "'1000years'", "\"100 years\""),
    ] {
        let error = Preset::from_str(&format!("{key} = {wrong}")).expect_err(key);
        let mistake = &error.mistakes[0];
        let suggestion = mistake.suggestion.as_ref().unwrap().to_string();
        assert_eq!((&*mistake.key, found(mistake)), (key, wrong), "{error}");
        assert!(mistake.message.contains(bound.trim_matches('"')), "{error}");
        assert!(suggestion.starts_with(&format!("write {bound} or ")), "{error}");
        let suggested = Preset::from_str(&format!("{key} = {bound}"));
        assert!(suggested.is_ok(), "what is suggested: {suggested:?}");
    }
    // A hundred years, as "never", is accepted.
    assert!(Preset::from_str("lifecycle.idle = '36500days'").is_ok());
}

/// The builder has the same bounds: a number counts as the bound where there is no error to be returned.
#[test]
fn limits_of_the_builder_have_the_same_bounds() {
    let largest = Limits {
        max_bytes: usize::MAX,
        max_depth: usize::MAX,
        max_members: usize::MAX,
        max_array: usize::MAX,
        max_string: usize::MAX,
    };
    let smallest = Limits { max_bytes: 0, max_depth: 0, max_members: 0, max_array: 0, max_string: 0 };
    for (limits, deadline, bits) in [(largest, Duration::MAX, 255), (smallest, Duration::ZERO, 0)] {
        let preset = tower_dcr::mcp()
            .with_body(limits)
            .with_body_deadline(deadline)
            .with_client_address(ClientAddress::new().with_ipv6_prefix(bits));
        let read = Preset::from_str(&serde_json::to_string(&preset).unwrap()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(read.fingerprint(), preset.fingerprint());
    }
    for error in [
        ClientName::default().with_max_chars(0).unwrap_err(),
        ClientName::default().with_max_chars(257).unwrap_err(),
        Jwks::default().with_limits(0, 1).unwrap_err(),
        Jwks::default().with_limits(1, usize::MAX).unwrap_err(),
    ] {
        assert!(matches!(error, ConfigError::OutOfRange { .. }), "{error}");
    }
}

/// No suggestion repeats what was rejected.
#[test]
fn suggestions_are_accepted() {
    for (file, with) in [
        ("redirect_uris.add_private_use_schemes = ['*']", None),
        ("redirect_uris.add_private_use_schemes = ['my app']", None),
        ("redirect_uris.add_private_use_schemes = ['https']", None),
        (
            "redirect_uris.add_private_use_schemes = ['MyApp:']",
            Some("redirect_uris.add_private_use_schemes = ['myapp']"),
        ),
        ("identity.identities.reserve = [{ name = 'A', link_hosts = ['*'] }]", None),
    ] {
        let error = Preset::from_str(file).expect_err(file);
        let suggestion = error.mistakes[0].suggestion.as_ref().unwrap().to_string();
        match with {
            None => assert!(!suggestion.starts_with("write \"") && !suggestion.contains("like \"*"), "{error}"),
            Some(with) => assert!(suggestion == "write \"myapp\"" && Preset::from_str(with).is_ok(), "{error}"),
        }
    }
}

/// A client keeps what it asks for, gets what is added, and the whole default if it asks for nothing.
#[test]
fn added_scopes_keep_the_default() {
    let preset = Preset::from_str(
        "[metadata.scope]\nceiling = ['read', 'write', 'offline_access']\ndefault = ['read', 'write', 'offline_access']\n\
         add = ['offline_access']\notherwise = 'default'",
    )
    .unwrap();
    for (asked, expected, reason) in [
        (None, "offline_access read write", "asks for nothing"),
        (Some("read"), "read offline_access", "keeps what it asks for"),
        (Some("offline_access read"), "offline_access read", "has it"),
        (Some("read openid"), "read offline_access", "loses what is above the ceiling"),
        (Some("openid profile"), "offline_access read write", "nothing is left"),
        (Some(""), "offline_access read write", "an empty list is none"),
    ] {
        let mut client = json!({"redirect_uris": ["http://localhost/cb"]});
        if let Some(asked) = asked {
            client["scope"] = json!(asked);
        }
        assert_eq!(judge(&preset, &client).unwrap()["scope"], expected, "{reason}");
    }
    let without_default = Preset::from_str("metadata.scope.add = ['offline_access']").unwrap();
    let client = json!({"redirect_uris": ["http://localhost/cb"]});
    assert!(judge(&without_default, &client).unwrap().get("scope").is_none(), "the server's default stays");
    for policy in ["metadata.grants.otherwise = 'default'", "redirect_uris.otherwise = 'default'"] {
        assert!(Preset::from_str(policy).is_err(), "{policy}: there is none");
    }
}

/// OpenID Federation 1.0 section 6.1.3.1.
#[test]
fn operators_go_together_as_the_standard_says() {
    for (operators, is_ok, reason) in [
        ("{ essential = false }", true, "says nothing, and is no mistake"),
        ("{ }", false, "is nothing at all"),
        ("{ value = ['a', 'b'], add = ['b'] }", true, "add is within value"),
        ("{ value = ['a'], add = ['b'] }", false, "add is not within value"),
        ("{ value = 'a', add = ['a'] }", false, "value is no list"),
    ] {
        let read = Preset::from_str(&format!("metadata.policy.groups = {operators}"));
        assert_eq!(read.is_ok(), is_ok, "{reason}: {read:?}");
    }
    for (member, operators, is_ok, reason) in [
        ("post_logout_redirect_uris", "{ default = 'https://a.example.com/' }", false, "a list"),
        ("post_logout_redirect_uris", "{ default = ['https://a.example.com/'] }", true, "a list"),
        ("post_logout_redirect_uris", "{ add = [1] }", false, "of strings"),
        ("post_logout_redirect_uris", "{ one_of = ['https://a.example.com/'] }", false, "which no client can meet"),
        ("client_name", "{ value = ['App'] }", false, "a string"),
        ("client_name", "{ add = ['App'] }", false, "no list"),
        ("client_name#fr", "{ value = 7 }", false, "language-tagged ones, too"),
        ("scope", "{ add = ['read'] }", true, "a list in a string"),
        ("scope", "{ default = ['read'] }", false, "but a string"),
        ("default_max_age", "{ default = '60' }", false, "a number"),
        ("default_max_age", "{ default = 60 }", true, "a number"),
        ("require_auth_time", "{ value = 'true' }", false, "a boolean"),
        ("jwks", "{ value = [] }", false, "an object"),
        ("tenant", "{ value = ['a', 1] }", true, "the server's own"),
    ] {
        let read = Preset::from_str(&format!("[metadata.policy]\n'{member}' = {operators}"));
        assert_eq!(read.is_ok(), is_ok, "{member} {operators}: {reason}: {read:?}");
    }
    assert!(Preset::from_str("metadata.members.supply = { jwks_uri = ['x'] }").is_err());
    assert!(Preset::from_str("metadata.members.supply = { jwks_uri = 'https://a.example.com/' }").is_ok());
}

/// The rules of callers are the general ones, except for their own settings.
#[test]
fn callers_have_rules_of_their_own() {
    let preset = Preset::from_str(
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
async fn tokens_of_a_file_admit_their_holders() {
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
    let guard = Preset::from_str(&file).unwrap().with_sink(kept.sink());
    let register = behind(&guard, &Naive::default());
    let body = r#"{"redirect_uris":["http://localhost/cb"]}"#;
    assert_eq!(send(&register, post(body)).await.status(), 401);
    let mut request = post(body);
    request.headers_mut().insert("authorization", "Bearer Vq3s8nR1xW7tB0yKd5Lc".parse().unwrap());
    assert_eq!(send(&register, request).await.status(), 201);
    let admitted = kept.take().pop().unwrap();
    assert_eq!(admitted.authorized_by.as_deref(), Some("portal"));
    assert_eq!(admitted.rules_for.as_deref(), Some("partner"));
}

#[tokio::test]
async fn every_event_has_the_fingerprint_of_the_policy() {
    let kept = Kept::default();
    let guard = Preset::from_str("rate_limit.address = '1/hour'").unwrap().with_sink(kept.sink());
    let fingerprint = u64::from_str_radix(&guard.fingerprint(), 16).unwrap();
    let register = behind(&guard, &Naive::default());
    let good = r#"{"redirect_uris":["http://localhost/cb"]}"#;
    for body in [good, "no json", good] {
        send(&register, post(body)).await;
    }
    drop(tower::Service::call(&mut register.clone(), post("{}")));
    let events = kept.take();
    assert_eq!(events.len(), 4);
    assert_eq!(
        events.iter().map(|event| event.outcome.to_string()).collect::<Vec<_>>(),
        ["accepted", "rejected", "limited", "abandoned"]
    );
    assert!(events.iter().all(|event| event.policy == Some(fingerprint)), "{events:?}");
}

#[tokio::test]
async fn events_hold_the_redacted_registration_on_request() {
    let kept = Kept::default();
    let guard =
        Preset::from_str("audit.document = true\nmetadata.members.allow = ['tenant']").unwrap().with_sink(kept.sink());
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
    send(&behind(&tower_dcr::mcp().with_sink(kept.sink()), &Naive::default()), post(body.to_string())).await;
    assert!(!kept.lines().pop().unwrap().contains("document"));
}

/// `schema/policy.json` is for editors. To bring it up to date: `UPDATE_SCHEMA=1 cargo test policy_file`.
#[test]
fn the_committed_schema_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("schema/policy.json");
    let schema = format!("{}\n", serde_json::to_string_pretty(&Preset::file_schema()).unwrap());
    if std::env::var_os("UPDATE_SCHEMA").is_some() {
        std::fs::write(&path, &schema).unwrap();
    }
    assert!(std::fs::read_to_string(&path).unwrap() == schema, "run: UPDATE_SCHEMA=1 cargo test policy_file");
}

#[test]
fn the_schema_accepts_valid_files_and_rejects_misspelt_keys() {
    let schema = jsonschema::validator_for(&Preset::file_schema()).unwrap();
    for (built, file) in pairs() {
        let policy: Value = serde_json::to_value(&built).unwrap();
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
    assert!(schema.is_valid(&json!({"metadata": {"client_name": {"add_reserved_words": ["official"]}}})));
}

/// The key of the chain is read with the policy, from beside it, and shown nowhere.
#[test]
fn the_key_of_the_chain_comes_from_its_file() {
    let folder = std::env::temp_dir().join(format!("tower-dcr-chain-key-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("key"), "0123456789abcdef\n").unwrap();
    std::fs::write(folder.join("short"), "0123456789abcde\n").unwrap();
    let policy = |key: &str| {
        let file = folder.join("policy.toml");
        std::fs::write(&file, format!("[audit]\nchain_key_file = '{key}'\n")).unwrap();
        Preset::from_file(&file)
    };
    let preset = policy("key").unwrap();
    assert!(preset.chain_key().is_some() && tower_dcr::mcp().chain_key().is_none());
    let shown = preset.to_toml().unwrap();
    assert!(shown.contains("chain_key_file = \"key\"") && !shown.contains("0123456789abcdef"), "{shown}");
    let short = policy("short").unwrap_err();
    let mistake = &short.mistakes[0];
    assert_eq!((mistake.line, &*mistake.key), (Some(2), "audit.chain_key_file"));
    assert!(mistake.message.contains("less than 16 bytes"), "{short}");
    std::fs::remove_dir_all(&folder).unwrap();
}
