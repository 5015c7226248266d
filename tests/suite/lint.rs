//! Policies that undo a rule, and those that only look like it.

use std::str::FromStr;

use tower_dcr::Preset;
use tower_dcr::policy_file::Lint;

fn lints(policy: &str) -> Vec<Lint> {
    Preset::from_str(policy).unwrap_or_else(|error| panic!("{policy}: {error}")).lint(None)
}

const ERROR: bool = true;
const WARNING: bool = false;

/// The policy, the setting, the severity, and words of the message.
const FOUND: &[(&str, &str, bool, &str)] = &[
    (
        r"redirect_uris.patterns = ['regex: \w+://\w+\.\w+/cb']",
        "redirect_uris.patterns[0]",
        ERROR,
        "does not begin with a literal scheme",
    ),
    (
        r"redirect_uris.patterns = ['regex: https://app\.example\.com/cb|x.*']",
        "redirect_uris.patterns[0]",
        ERROR,
        "does not begin with a literal scheme",
    ),
    (
        r"redirect_uris.only_https = ['regex: https://[a-z.]+/cb']",
        "redirect_uris.only_https[0]",
        ERROR,
        "the domain is not literal",
    ),
    (
        r"redirect_uris.only_https = ['regex: https://[a-z]+\.github\.io/cb']",
        "redirect_uris.only_https[0]",
        ERROR,
        "public suffix",
    ),
    (
        r"redirect_uris.only_https = ['regex: https://app\.example\.com\S*']",
        "redirect_uris.only_https[0]",
        ERROR,
        "not anchored",
    ),
    (
        "client_address.trusted_proxies = ['0.0.0.0/1', '128.0.0.0/1']",
        "client_address.trusted_proxies",
        ERROR,
        "every address is a trusted proxy",
    ),
    ("client_address.trusted_proxies = ['::/1']", "client_address.trusted_proxies", ERROR, "every address"),
    ("client_address.trusted_proxies = ['64.0.0.0/6']", "client_address.trusted_proxies", WARNING, "a large part"),
    ("client_address.ipv6_prefix = 32", "client_address.ipv6_prefix", WARNING, "share one budget"),
    ("metadata.members.allow = ['skip_consent']", "metadata.members.allow", ERROR, "that only this server should"),
    ("metadata.members.allow = ['org', 'trusted']", "metadata.members.allow", ERROR, "that only this server should"),
    ("metadata.members.allow = ['redirectUris']", "metadata.members.allow", ERROR, "as redirect_uris"),
    ("metadata.policy.trusted.essential = true", "metadata.policy.trusted", ERROR, "that only this server should"),
    (
        "[[callers]]\nwhen = 'token'\nmetadata.members.allow = ['firstParty']",
        "callers[0].metadata.members.allow",
        ERROR,
        "that only this server should",
    ),
    (
        "redirect_uris.https_ports = [443, 22]",
        "redirect_uris.https_ports",
        ERROR,
        "port 22 belongs to another protocol",
    ),
    ("redirect_uris.https_ports = [0]", "redirect_uris.https_ports", ERROR, "port 0"),
    (
        "redirect_uris.only_https = ['https://app.example.com:443,25/*']",
        "redirect_uris.only_https[0]",
        ERROR,
        "port 25 belongs to another protocol",
    ),
    ("identity.identities.release = ['Claude']", "identity.identities.release", WARNING, "may call itself \"Claude\""),
    (
        "identity.identities = { known = false, reserve = [{ name = 'Acme' }] }",
        "identity.identities.known",
        WARNING,
        "any of the known names",
    ),
    (
        "identity.identities.reserve = [{ name = 'Acme', https = ['https://acme.com/cb', 'https://acme.com/*'] }]",
        "identity.identities.reserve[0].https[1]",
        WARNING,
        "every page at the root",
    ),
    (
        "identity.identities.reserve = [{ name = 'Acme', https = ['https://*.acme.com/cb'] }]",
        "identity.identities.reserve[0].https[0]",
        WARNING,
        "every host below",
    ),
    (
        "identity.identities.reserve = [{ name = 'X' }]",
        "identity.identities.reserve[0].name",
        WARNING,
        "fewer than three letters",
    ),
    (
        "[[callers]]\nwhen = 'token'\nidentity.identities.reserve = [{ name = 'Acme', also_called = ['Acme Go', 'a-c'] }]",
        "callers[0].identity.identities.reserve[0].also_called[1]",
        WARNING,
        "fewer than three letters",
    ),
    (
        "documents = { admission = 'listed', allow = ['https://chatgpt.com/oauth/*/client.json'] }",
        "documents.allow[0]",
        WARNING,
        "any id is valid there, so the entry proves the host only (chatgpt.com)",
    ),
    (
        "documents = { admission = 'listed', allow = ['https://a.github.io/c', 'https://a.github.io/*/c'] }",
        "documents.allow[1]",
        ERROR,
        "a.github.io publishes what its users upload",
    ),
    (
        "documents = { admission = 'listed', allow = ['https://raw.githubusercontent.com/*/*/main/c.json'] }",
        "documents.allow[0]",
        ERROR,
        "documents of anyone",
    ),
    (
        "documents = { admission = 'reporting', allow = ['https://bucket.s3.amazonaws.com/*'] }",
        "documents.allow[0]",
        ERROR,
        "documents of anyone",
    ),
    (
        "documents = { admission = 'listed', allow = ['https://cdn.jsdelivr.net/npm/*/c.json'] }",
        "documents.allow[0]",
        ERROR,
        "documents of anyone",
    ),
    (
        "documents = { admission = 'listed', allow = ['https://app.example.com:8443/c'] }",
        "documents.allow[0]",
        ERROR,
        "no effect: the client_id has a port that is not accepted",
    ),
    (
        "documents = { admission = 'listed', allow = ['https://app.example.com/c', 'https://app.example.com/c?v=2'] }",
        "documents.allow[1]",
        ERROR,
        "no effect: the client_id must not have a query",
    ),
    (
        "documents = { admission = 'listed', allow = ['https://as.example.com/c'], own_hosts = ['AS.example.com'] }",
        "documents.allow[0]",
        ERROR,
        "no effect: as.example.com is one of",
    ),
    ("documents.admission = 'listed'", "documents.admission", WARNING, "no document is admitted"),
    (
        "extends = 'strict'\ndocuments = { admission = 'listed', query = true }",
        "documents.admission",
        WARNING,
        "no document is admitted",
    ),
    (
        "documents.allow = ['https://app.example.com/c', 'https://app.example.com/*/c']",
        "documents.allow[1]",
        WARNING,
        "any id is valid there",
    ),
    ("documents.allow = ['https://a.github.io/*']", "documents.allow[0]", ERROR, "a.github.io publishes"),
    (
        "documents = { admission = 'off', allow = ['https://app.example.com/c'] }",
        "documents.allow",
        WARNING,
        "no effect: no URL",
    ),
    ("documents.admission = 'reporting'", "documents.admission", WARNING, "not enforced"),
    ("documents.own_hosts = ['https://as.example.com']", "documents.own_hosts", ERROR, "is not the name of a host"),
    (
        "documents.own_hosts = ['as.example.com', 'as.example.com:8443']",
        "documents.own_hosts",
        ERROR,
        "\"as.example.com:8443\" is not the",
    ),
    ("documents.own_hosts = ['127.0.0.1']", "documents.own_hosts", ERROR, "is not the name of a host"),
    ("documents.own_hosts = ['*.example.com']", "documents.own_hosts", ERROR, "is not the name of a host"),
    ("documents.own_hosts = ['']", "documents.own_hosts", ERROR, "is not the name of a host"),
    ("documents = { min_age = '2h', max_age = '1h' }", "documents.min_age", ERROR, "longer than documents.max_age"),
    ("documents.max_age = '30min'", "documents.default_age", WARNING, "no effect: not between"),
    ("documents.min_age = '2h'", "documents.default_age", WARNING, "no effect: not between"),
    ("documents.max_stale = '2days'", "documents.max_stale", WARNING, "more than one day"),
    ("documents.ports = [22]", "documents.ports", ERROR, "port 22 belongs to another protocol"),
    ("documents.fetches = 'off'", "documents.fetches", WARNING, "nothing limits"),
    ("documents.fetches_by_site = 'off'", "documents.fetches_by_site", WARNING, "at one site"),
    ("gate.grace = '10years'", "gate.grace", ERROR, "that was revoked meanwhile"),
    ("gate.max_age = '1year'", "gate.max_age", ERROR, "more than one hour: a client that is revoked on another node"),
    ("[initial_access_tokens]\nrequired = true", "initial_access_tokens.required", WARNING, "no client can register"),
    ("[initial_access_tokens]\nrequired = false", "initial_access_tokens", WARNING, "no effect"),
    ("gate.unknown = 'reject'\ngate.unidentified = 'pass'", "gate.unidentified", ERROR, "no effect"),
    ("gate.unidentified = 'pass'\ngate.anonymous_grants = ['x']", "gate.anonymous_grants", WARNING, "no effect"),
    ("gate.rules.scope = 'pass'\ngate.additional_scopes = ['x']", "gate.additional_scopes", ERROR, "no effect"),
    ("gate.rules.auth_method = 'pass'\ngate.exact_auth_method = true", "gate.exact_auth_method", ERROR, "no effect"),
    ("gate.rules.resource = 'pass'\ngate.resources = ['urn:x']", "gate.resources", ERROR, "no effect"),
    ("gate.resources = []", "gate.resources", WARNING, "allows no resource"),
    ("gate.resources = ['urn:x', 'https://MCP.example.com/']", "gate.resources[1]", ERROR, "no effect"),
    ("gate.resources = ['https://mcp.example.com:443']", "gate.resources[0]", ERROR, "no effect"),
    ("gate.resources = ['https://mcp.example.com./']", "gate.resources[0]", ERROR, "no effect"),
    ("gate.resources = ['https://mcp.example.com/a/../mcp']", "gate.resources[0]", ERROR, "no effect"),
    (
        "gate = { issuer = 'https://as.example.com', response_modes = ['query', 'form_post'] }",
        "gate.response_modes[1]",
        ERROR,
        "can't get the parameter iss",
    ),
    ("gate.rules.response_mode = 'pass'\ngate.response_modes = ['x']", "gate.response_modes", ERROR, "no effect"),
    (
        "gate.rules.pushed_request = 'pass'\ngate.require_pushed_requests = true",
        "gate.require_pushed_requests",
        ERROR,
        "no effect",
    ),
    ("gate.rules.redirect_uri = 'mark'", "gate.rules.redirect_uri", WARNING, "that no client registered"),
    ("gate.rules.pkce = 'mark'", "gate.rules.pkce", WARNING, "not enforced"),
    ("gate.rules.pkce = 'pass'", "gate.rules.pkce", WARNING, "off: the gate's rule pkce"),
    ("gate.unknown = 'reject'\nlifecycle.manage_unknown = true", "lifecycle.manage_unknown", WARNING, "get no token"),
    ("gate.unknown = 'reject'\ngate.danger_pass_without_ledger = true", "gate.unknown", WARNING, "only while"),
    (
        "lifecycle = { any_loopback_port = true, deduplication = false }",
        "lifecycle.any_loopback_port",
        WARNING,
        "no effect",
    ),
    (
        "lifecycle = { any_software_version = false, deduplication = false }",
        "lifecycle.any_software_version",
        WARNING,
        "no effect",
    ),
    (
        "metadata.scope.default = ['read']\nmetadata.policy.scope.add = ['offline_access']",
        "metadata.policy.scope.add",
        ERROR,
        "makes the default unreachable",
    ),
    (
        "metadata.policy.groups = { add = ['staff'], default = ['guests'] }",
        "metadata.policy.groups.add",
        ERROR,
        "makes the default unreachable",
    ),
    ("metadata.scope = { ceiling = ['a'], add = ['b'] }", "metadata.scope.add", ERROR, "above the ceiling"),
    ("metadata.scope.otherwise = 'default'", "metadata.scope.otherwise", ERROR, "there is no default"),
    ("body.max_string = 20", "body", WARNING, "known clients send more"),
    ("rate_limit.software_id = '600/minute, burst 3000'", "rate_limit.software_id", WARNING, "no effect"),
    ("rate_limit.address = 'off'", "rate_limit.address", WARNING, "nothing limits"),
    ("rate_limit.global = 'off'", "rate_limit.global", WARNING, "nothing limits"),
    ("redirect_host_quota.quota = 'off'", "redirect_host_quota.quota", WARNING, "nothing limits"),
    (
        "redirect_uris.danger_private_origins = ['http://n8n.lan:5678']",
        "redirect_uris.danger_private_origins",
        WARNING,
        "in clear text",
    ),
    (
        "[[callers]]\nwhen = 'token'\nredirect_uris.danger_private_origins = ['https://192.168.1.20']",
        "callers[0].redirect_uris.danger_private_origins",
        WARNING,
        "takes the place of https://192.168.1.20",
    ),
    ("lifecycle.hold = ['identity']\nreport_only_rules = ['identity']", "lifecycle.hold", ERROR, "only reports"),
    ("lifecycle.never_used = 'never'", "lifecycle.never_used", WARNING, "kept forever"),
    ("lifecycle.report_only_expiry = true", "lifecycle.report_only_expiry", WARNING, "past their limit go on"),
    ("lifecycle.max_clients = 1", "lifecycle.max_clients", WARNING, "fill the table"),
    ("lifecycle.max_documents = 1", "lifecycle.max_documents", WARNING, "fill the table"),
];

/// Quotas as large as they get are read back, and compared.
#[test]
fn enormous_quotas_are_compared() {
    for quota in ["100000/second", "1000000/second", "10000000/second", "10000000/minute"] {
        let lints = lints(&format!("rate_limit.address = '{quota}'"));
        assert!(lints.iter().any(|lint| lint.message.contains("one address can use up")), "{quota}: {lints:#?}");
    }
}

/// Policies without a lint.
const CLEAN: &[&str] = &[
    "documents.allow = ['https://app.example.com/c']",
    r"redirect_uris.only_https = ['regex: https://app[.]example[.]com/cb', 'https://claude.ai/*']
      redirect_uris.otherwise = 'narrow'
      redirect_uris.classes = ['https', 'loopback', 'private_use']",
    r"redirect_uris.patterns = ['regex: https://[a-z]+\.example\.com/cb', 'regex: https://app[.]example[.]com/cb']",
    r"redirect_uris.patterns = ['regex: https://(www\.)?example\.(com|net)/cb']",
    "redirect_uris.https_ports = [443, 8443, 10443]",
    "identity.identities.reserve = [{ name = 'IBM', https = ['https://ibm.com/cb/*'] }, { name = '微信' }]",
    "client_address.trusted_proxies = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', 'fc00::/7', '127.0.0.1', '::1']",
    "client_address.trusted_proxies = ['173.245.48.0/20', '104.16.0.0/13', '2606:4700::/32']",
    "client_address.ipv6_prefix = 56",
    "extends = 'strict'",
    "documents = { admission = 'listed', allow = ['https://raw.githubusercontent.com/a/b/main/c.json', 'https://a.github.io/c'] }",
    "documents = { admission = 'listed', allow = ['https://app.example.com:8443/c?v=2'], ports = [8443], query = true }",
    "documents.admission = 'off'",
    "documents.own_hosts = ['as.example.com', 'AS.example.org', 'as.internal', 'localhost']",
    "documents = { min_age = '1h', default_age = '1h', max_age = '1h' }",
    "documents = { max_age = '30min', default_age = '10min', max_stale = '1day', ports = [443, 8443] }",
    "documents = { fetches_by_address = 'off', refreshes = 'off' }",
    "metadata.members.allow = ['tenant', 'org_id', 'post_logout_redirect_uris', 'consent_page_uri']",
    "metadata.members.supply = { skip_consent = false }",
    "metadata.policy.trusted.value = false",
    "metadata.policy.tenant = { one_of = ['blue'], default = 'blue' }",
    "metadata.policy.groups = { default = ['guests', 'staff'], superset_of = ['staff'], otherwise = 'substitute' }",
    "metadata.scope = { default = ['read', 'offline_access'], add = ['offline_access'] }",
    "metadata.policy.scope.add = ['offline_access']",
    "metadata.scope = { ceiling = ['mcp'], default = ['mcp'], otherwise = 'default' }",
    "gate = { max_age = '1min', grace = '10min', unknown = 'reject' }",
    "gate = { unidentified = 'pass' }",
    "gate = { resources = ['https://mcp.example.com'], additional_scopes = ['x'], rules = { scope = 'reject' } }",
    "gate.resources = ['https://mcp.example.com', 'https://mcp.example.com:8443/mcp?x=1', 'http://localhost:8080/a/', 'urn:X:y']",
    "gate = { issuer = 'https://as.example.com', response_modes = ['query', 'fragment', 'jwt', 'form_post.jwt'] }",
    "lifecycle = { max_clients = 50000, idle = '36500days', never_used = '1year' }",
    "lifecycle = { max_clients = 50000, idle = 'never', never_used = 'never' }",
    "lifecycle.idle = 'never'",
    "lifecycle.hold = ['identity', 'redirect-uris']",
    "lifecycle = { any_loopback_port = true, manage_unknown = true }",
    "lifecycle.any_software_version = false",
    "rate_limit.software_id = '60/minute'",
    "[[initial_access_tokens.tokens]]
      sha256 = '2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b'
      owner = 'portal'",
    "[body]\nmax_bytes = 1048576\nmax_depth = 64",
    "registration = 'closed'",
    "registration = 'closed'\n[initial_access_tokens]\nrequired = true",
    "answer.management = 'strip'",
];

#[test]
fn lints_settings_that_undo_a_rule() {
    for (policy, key, is_error, message) in FOUND {
        let lints = lints(policy);
        let found =
            lints.iter().any(|lint| lint.key == *key && lint.is_error == *is_error && lint.message.contains(message));
        assert!(found, "{policy}: {lints:#?}");
        assert!(lints.iter().all(|lint| lint.suggestion.is_some()), "{lints:?}");
    }
}

#[test]
fn lints_no_similar_harmless_setting() {
    for policy in CLEAN {
        let mut lints = lints(policy);
        // A list of places does shut clients out, which is not a matter of this test.
        lints.retain(|lint| lint.key != "extends");
        assert_eq!(lints, [], "{policy}");
    }
}

/// A set is sorted, and the file is not.
#[test]
fn an_entry_of_a_set_is_named_and_shown_alike() {
    for list in ["own_hosts", "add_own_hosts"] {
        let policy =
            format!("[documents]\n{list} = [\n  'z.example.com:1',\n  'b.example.com',\n  'a.example.com:2',\n]");
        let path = std::env::temp_dir().join(format!("tower-dcr-lint-{list}-{}.toml", std::process::id()));
        std::fs::write(&path, &policy).unwrap();
        let found = Preset::lint_file(&path, None);
        std::fs::remove_file(&path).unwrap();
        let found = found.unwrap();
        for (host, line) in [("z.example.com:1", 3), ("a.example.com:2", 5)] {
            let of_host = |lint: &&Lint| lint.message.contains(&format!("{host:?}"));
            let lint = found.iter().find(of_host).unwrap_or_else(|| panic!("{list} {host}: {found:?}"));
            assert_eq!((&*lint.key, lint.line), ("documents.own_hosts", Some(line)), "{list} {host}");
            assert!(policy[lint.span.clone().unwrap()].contains(host), "{list} {host}: {lint:?}");
        }
        assert_eq!(found.len(), 2, "{list}: {found:?}");
    }
}

/// The way out that is named works.
#[test]
fn the_lint_for_tokens_that_do_not_exist_suggests_to_close_registration() {
    let tokens = "[initial_access_tokens]\nrequired = true";
    let names_it = |lint: &Lint| lint.to_string().contains("registration = \"closed\"");
    let lints_of_tokens = lints(tokens);
    assert!(lints_of_tokens.iter().any(names_it), "{lints_of_tokens:?}");
    assert_eq!(lints(&format!("registration = 'closed'\n{tokens}")), []);
}

/// The way out that is named works.
#[test]
fn the_lint_for_a_scope_ceiling_suggests_the_default() {
    let scope = "ceiling = ['mcp:read']\ndefault = ['mcp:read']";
    let narrow = lints(&format!("[metadata.scope]\n{scope}"));
    let names_it = |lint: &Lint| lint.to_string().contains("metadata.scope.otherwise = \"default\"");
    assert!(narrow.iter().any(names_it), "{narrow:?}");
    assert_eq!(lints(&format!("[metadata.scope]\n{scope}\notherwise = 'default'")), []);
}

/// Events exist only for marked requests.
#[test]
fn the_lint_for_a_rule_that_is_off_suggests_to_mark() {
    for (action, expected) in
        [("pass", "write \"mark\" to see what it would reject"), ("mark", "once the audit events show")]
    {
        let found = lints(&format!("gate.rules.pkce = '{action}'"));
        assert!(found.iter().any(|lint| lint.to_string().contains(expected)), "{action}: {found:?}");
    }
}
