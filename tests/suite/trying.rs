//! Trying a policy: a shadow beside it, single rules, answers, the ledger and gates that only report.

use std::convert::Infallible;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tower::{Layer, service_fn};
use tower_dcr::audit::{Event, LifecycleAction, LifecycleEvent, Outcome, Sink};
use tower_dcr::clients::{Actor, MemoryLedger};
use tower_dcr::clients::{Registrar, Revocation};
use tower_dcr::layers::ResponseBody;
use tower_dcr::rate_limit::Quota;
use tower_dcr::registration::Limits;
use tower_dcr::rules::{Action, Disposition, RedirectHostQuota, SoftwareStatements, rule};
use tower_dcr::{
    ClientUrl, Preset, Rejection,
    layers::{GateEndpoint, GateLayer, GateSettings, RegistrationBody},
};

use crate::folder::Folder;
use crate::signer::Signer;
use crate::support::{Kept, Naive, Read, behind, eventually, logged, post, send};

const LOOPBACK: &str = r#"{"redirect_uris":["http://127.0.0.1/cb"]}"#;
const HOSTED: &str = r#"{"redirect_uris":["https://app.example.com/cb"]}"#;
const EVIL: &str = r#"{"redirect_uris":["javascript:alert(1)"]}"#;
const GREEDY: &str = r#"{"redirect_uris":["http://127.0.0.1/cb"],"skip_consent":true}"#;

/// Sends `body` through `preset`, and returns the answer, the body that the handler saw, and the event.
async fn attempt(preset: &Preset, request: Request<Full<Bytes>>) -> (Read, Option<Bytes>, Event) {
    let (kept, naive) = (Kept::default(), Naive::default());
    let answer = send(&behind(&preset.clone().with_sink(kept.sink()), &naive), request).await;
    (answer, naive.seen().pop(), kept.take().pop().unwrap())
}

#[tokio::test]
async fn a_shadow_is_reported_and_not_enforced() {
    let only_loopback = || Preset::from_str("redirect_uris.classes = ['loopback']").unwrap();
    let small = || tower_dcr::mcp().with_body(Limits { max_bytes: 50, ..Limits::default() });
    let rows = vec![
        (
            tower_dcr::mcp(),
            tower_dcr::strict(),
            GREEDY,
            201,
            Outcome::Rewritten,
            Outcome::Rejected,
            Some("known-members"),
        ),
        (
            tower_dcr::strict(),
            tower_dcr::mcp(),
            GREEDY,
            400,
            Outcome::Rejected,
            Outcome::Rewritten,
            Some("known-members"),
        ),
        (tower_dcr::mcp(), only_loopback(), HOSTED, 201, Outcome::Accepted, Outcome::Rejected, Some("redirect-uris")),
        (only_loopback(), tower_dcr::mcp(), HOSTED, 400, Outcome::Rejected, Outcome::Accepted, None),
        (tower_dcr::mcp(), tower_dcr::strict(), EVIL, 400, Outcome::Rejected, Outcome::Rejected, Some("redirect-uris")),
        (tower_dcr::mcp(), tower_dcr::mcp(), LOOPBACK, 201, Outcome::Accepted, Outcome::Accepted, None),
        (
            tower_dcr::mcp().report_only(),
            tower_dcr::mcp(),
            EVIL,
            201,
            Outcome::Accepted,
            Outcome::Rejected,
            Some("redirect-uris"),
        ),
        (
            tower_dcr::mcp(),
            tower_dcr::mcp().report_only(),
            EVIL,
            400,
            Outcome::Rejected,
            Outcome::Rejected,
            Some("redirect-uris"),
        ),
        (tower_dcr::mcp(), small(), GREEDY, 201, Outcome::Rewritten, Outcome::Rejected, Some("body")),
    ];
    for (enforced, shadow, body, status, in_force, outcome, rule) in rows {
        let fingerprint = shadow.fingerprint();
        let (answer, _, event) = attempt(&enforced.with_shadow(shadow), post(body)).await;
        let report = event.shadow.as_ref().unwrap();
        assert_eq!(answer.status().as_u16(), status, "{body}");
        assert_eq!((report.in_force, report.outcome, report.rule), (in_force, outcome, rule), "{body}");
        assert_eq!(report.policy.map(|policy| format!("{policy:016x}")), Some(fingerprint), "{body}");
        assert!(report.findings.iter().all(|finding| !finding.enforced), "{body}");
        let line = serde_json::to_value(&event).unwrap();
        assert_eq!(line["shadow"]["outcome"], outcome.to_string(), "{body}");
    }
    let (_, _, event) = attempt(&tower_dcr::mcp(), post(LOOPBACK)).await;
    assert!(event.shadow.is_none(), "there is none");
    let (_, _, event) = attempt(&tower_dcr::mcp().with_shadow(tower_dcr::strict()), post("{")).await;
    assert!(event.shadow.is_none(), "no document was there");
}

/// With a shadow or without, every request of the corpus has the same answer, reaches the handler as the same bytes, and is
/// the same event.
#[tokio::test]
async fn a_shadow_changes_no_request_or_answer() {
    let corpus = include_str!("../data/clients.jsonl").lines().chain(include_str!("../data/attacks.jsonl").lines());
    let bodies = corpus.map(|line| serde_json::from_str::<Value>(line).unwrap()).filter(|row| row["body"].is_object());
    let kept = Kept::default();
    let preset = tower_dcr::mcp().without_rate_limits().with_sink(kept.sink());
    let shadowed = preset.clone().with_shadow(tower_dcr::strict());
    let attempt = async |preset: &Preset, body: &str| {
        let naive = Naive::default();
        let answer = send(&behind(preset, &naive), post(body.to_owned())).await;
        (answer, naive.seen().pop(), kept.take().pop().unwrap())
    };
    let mut differing = 0;
    for body in bodies.map(|row| row["body"].to_string()) {
        let (answer, forwarded, event) = attempt(&preset, &body).await;
        let (shadowed, forwarded_too, mut event_too) = attempt(&shadowed, &body).await;
        assert_eq!((answer.status(), &answer.body, forwarded), (shadowed.status(), &shadowed.body, forwarded_too));
        match event_too.shadow.take() {
            Some(report) => differing += usize::from(report.outcome != report.in_force),
            None => assert!(matches!(event.rule, Some("body" | "strict-json")), "{body}"),
        }
        assert_eq!((event.outcome, event.rule, &event.rules), (event_too.outcome, event_too.rule, &event_too.rules));
        assert_eq!(event.findings, event_too.findings, "{body}");
        assert_eq!(event.policy, event_too.policy);
    }
    assert!(differing > 100, "the two policies differ: {differing}");
}

#[tokio::test]
async fn an_update_has_a_shadow_and_is_about_its_client_under_any_policy() {
    let preset = tower_dcr::mcp().with_shadow(tower_dcr::strict()).with_client_url(ClientUrl::default());
    let put = |id: &str| {
        let body = format!(r#"{{"client_id":"{id}","redirect_uris":["http://localhost/cb"],"client_name":"A"}}"#);
        let request = Request::put("/register/c").header("content-type", "application/json");
        request.body(Full::new(Bytes::from(body))).unwrap()
    };
    let (answer, _, event) = attempt(&preset, put("c")).await;
    let report = event.shadow.unwrap();
    assert!(answer.status().is_success(), "{}", answer.status());
    assert!(report.outcome != Outcome::Rejected || report.rule != Some("client-url"));
    let (answer, _, event) = attempt(&preset, put("other")).await;
    assert_eq!((answer.status().as_u16(), event.shadow.unwrap().rule), (400, Some("client-url")));
}

/// Only the policy in force charges budgets and single uses.
#[tokio::test]
async fn a_shadow_charges_no_budget_and_no_single_use() {
    let one = || RedirectHostQuota::new("1/hour".parse::<Quota>().unwrap());
    let three = || RedirectHostQuota::new("3/hour".parse::<Quota>().unwrap());
    // The same buckets, as a policy file that is read has them.
    let folder = Folder::new("shadow-budgets");
    folder.write("next.toml", "redirect_host_quota.quota = '1/hour'\nrate_limit.address = '1/hour'");
    folder.write("policy.toml", "redirect_host_quota.quota = '3/hour'\nshadow.policy = 'next.toml'");
    for preset in [
        tower_dcr::mcp()
            .with_redirect_host_quota(three())
            .with_shadow(tower_dcr::mcp().with_redirect_host_quota(one())),
        Preset::from_file(folder.0.join("policy.toml")).unwrap(),
    ] {
        let kept = Kept::default();
        let service = behind(&preset.with_sink(kept.sink()), &Naive::default());
        let mut statuses = Vec::new();
        for number in 0..4 {
            let body = format!(r#"{{"redirect_uris":["https://app.example.com/{number}"]}}"#);
            statuses.push(send(&service, post(body)).await.status().as_u16());
        }
        assert_eq!(statuses, [201, 201, 201, 429]);
        let outcomes: Vec<Outcome> = kept.take().into_iter().map(|event| event.shadow.unwrap().outcome).collect();
        assert_eq!(outcomes, [Outcome::Accepted; 4], "a shadow has no budgets");
    }

    let signer = Signer::new("https://directory.example.com");
    let mut statements = SoftwareStatements::new([signer.issuer()]).unwrap();
    statements.single_use = true;
    let preset = || tower_dcr::mcp().with_software_statements(statements.clone());
    let service = behind(&preset().with_shadow(preset()), &Naive::default());
    let statement = signer.sign(&json!({ "jti": "1", "software_id": "s" }));
    let body = json!({ "redirect_uris": ["http://localhost/cb"], "software_statement": statement }).to_string();
    assert_eq!(
        send(&service, post(body.clone())).await.status(),
        201,
        "the shadow, which is first, has not used it up"
    );
    assert_eq!(send(&service, post(body)).await.status(), 400);
}

/// Rules in code stay when another file is put in force, so they are part of a shadow from a file. They can tell that they
/// are run for one, and one that panics there takes no request with it.
#[tokio::test]
async fn rules_in_code_are_run_for_a_shadow_too() {
    let folder = Folder::new("shadow-code");
    folder.write("next.toml", "extends = 'strict'").write("policy.toml", "shadow.policy = 'next.toml'");
    let runs: Arc<[AtomicUsize; 2]> = Arc::default();
    let seen = Arc::clone(&runs);
    let counting = rule("counting", move |draft| {
        seen[usize::from(draft.is_shadow())].fetch_add(1, Ordering::SeqCst);
        Ok(())
    });
    let preset = Preset::from_file(folder.0.join("policy.toml")).unwrap().add_rule(counting);
    let (_, _, event) = attempt(&preset, post(LOOPBACK)).await;
    assert_eq!(runs.each_ref().map(|runs| runs.load(Ordering::SeqCst)), [1, 1]);
    let policy = event.shadow.unwrap().policy.map(|policy| format!("{policy:016x}"));
    let handle = preset.clone().reloadable();
    handle.replace(&Preset::from_file(folder.0.join("next.toml")).unwrap()).unwrap();
    assert_eq!(policy, Some(handle.preset().fingerprint()), "as it would be in force");

    let panicking = rule("panicking", |_| panic!("a rule that is tried"));
    let (answer, _, event) =
        attempt(&tower_dcr::mcp().with_shadow(tower_dcr::mcp().add_rule(panicking)), post(LOOPBACK)).await;
    assert_eq!((answer.status(), event.shadow), (StatusCode::CREATED, None));
}

#[test]
fn a_shadow_is_read_and_checked_with_the_policy_that_names_it() {
    let folder = Folder::new("shadow-files");
    std::fs::create_dir_all(folder.0.join("policies")).unwrap();
    folder
        .write("policies/next.toml", "extends = 'strict'")
        .write("policies/next.json", r#"{"extends":"strict"}"#)
        .write("policies/broken.toml", "extends = 'mcp'\n\n[redirect_uris]\nlocalhosts = true")
        .write("policies/nested.toml", "[shadow]\npolicy = 'next.toml'")
        .write("policies/own.toml", "[shadow]\npolicy = 'own.toml'");
    let read = |shadow: &str| {
        folder.write("policies/policy.toml", &format!("extends = 'mcp'\n[shadow]\n{shadow}"));
        Preset::from_file(folder.0.join("policies/policy.toml"))
    };
    for name in ["next.toml", "./next.toml", "../policies/next.toml", "next.json"] {
        let preset = read(&format!("policy = '{name}'")).unwrap();
        assert_eq!(
            preset.shadow().unwrap().fingerprint(),
            tower_dcr::strict().fingerprint(),
            "{name}: beside the policy"
        );
        assert_eq!(preset.fingerprint(), tower_dcr::mcp().fingerprint(), "{name}: what is enforced is the same");
        assert!(preset.to_toml().unwrap().contains(&format!("[shadow]\npolicy = {name:?}")), "{name}: it is shown");
    }
    let rows = [
        ("policy = 'none.toml'", "policy.toml:3:10: shadow.policy: the shadow policy ", "no such file"),
        ("polcy = 'next.toml'", "policy.toml:3:1: shadow.polcy: unknown key", "a setting that there is not"),
        ("policy = 'broken.toml'", "broken.toml:4:1: redirect_uris.localhosts: unknown key", "a mistake in it"),
        ("policy = 'nested.toml'", "nested.toml:1:1: shadow: a shadow policy has no shadow", "one of its own"),
        ("policy = 'own.toml'", "own.toml:1:1: shadow: a shadow policy has no shadow", "itself"),
        ("policy = 'policy.toml'", "policy.toml:2:1: shadow: a shadow policy has no shadow", "the policy"),
        ("policy = '.'", "policy.toml:3:10: shadow.policy: the shadow policy ", "a folder"),
    ];
    for (shadow, expected, reason) in rows {
        let error = read(shadow).unwrap_err().to_string();
        assert!(error.contains(expected), "{reason}: {error}");
    }
    let nested = tower_dcr::mcp().with_shadow(tower_dcr::strict().with_shadow(tower_dcr::mcp()));
    assert!(nested.shadow().unwrap().shadow().is_none());
}

#[tokio::test]
async fn a_shadow_is_reloaded_with_its_policy_and_when_its_own_file_changes() {
    let folder = Folder::new("shadow-reload");
    let path = folder.0.join("policy.toml");
    folder.write("one.toml", "extends = 'mcp'").write("policy.toml", "shadow.policy = 'one.toml'");
    let kept = Kept::default();
    let guard = Preset::from_file(&path).unwrap().with_sink(kept.sink()).reloadable();
    let (handle, register) = (guard.clone(), behind(&guard, &Naive::default()));
    let rule = async || {
        send(&register, post(HOSTED)).await;
        kept.take().pop().unwrap().shadow.map(|shadow| shadow.rule)
    };
    assert_eq!(rule().await, Some(None));
    folder.write("two.toml", "redirect_uris.classes = ['loopback']").write("policy.toml", "shadow.policy = 'two.toml'");
    handle.reload(&path).unwrap();
    assert_eq!(rule().await, Some(Some("redirect-uris")));
    folder.write("two.toml", "redirect_uris.clases = []");
    handle.reload(&path).unwrap_err();
    assert_eq!(rule().await, Some(Some("redirect-uris")), "a shadow that can't be meant changes nothing");

    folder.write("two.toml", "redirect_uris.classes = ['loopback']");
    let watching = tokio::spawn(handle.clone().watch(path.clone(), Duration::from_millis(5)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    folder.write("two.toml", "extends = 'mcp' # another length");
    eventually("the shadow accepts", async || rule().await == Some(None)).await;
    folder.write("policy.toml", "extends = 'mcp'");
    eventually("the shadow is gone", async || rule().await.is_none()).await;
    watching.abort();
}

#[tokio::test]
async fn a_rule_is_reported_by_its_name() {
    let file = |text: &str| Preset::from_str(text).unwrap();
    for preset in [
        tower_dcr::strict().with_report_only_rules(["known-members", "redirect-uris"]).unwrap(),
        file("extends = 'strict'\nreport_only_rules = ['known-members', 'redirect-uris']"),
        file("extends = 'strict'\nadd_report_only_rules = ['known-members', 'redirect-uris']"),
        file(
            "extends = 'strict'\nreport_only_rules = ['known-members', 'redirect-uris']
             [[callers]]\nwhen = 'anonymous'\nmetadata.client_name.max_chars = 50",
        ),
    ] {
        let (answer, forwarded, event) = attempt(&preset, post(GREEDY)).await;
        assert_eq!((answer.status().as_u16(), event.outcome), (201, Outcome::Accepted));
        let forwarded: Value = serde_json::from_slice(&forwarded.unwrap()).unwrap();
        assert_eq!(forwarded["skip_consent"], true, "as if there were no such rule");
        let rejected: Vec<_> =
            event.findings.iter().filter(|finding| finding.disposition == Disposition::Rejected).collect();
        let [rejected] = rejected[..] else { panic!("{rejected:?}") };
        assert_eq!((rejected.rule, rejected.enforced), ("known-members", false));
        assert_eq!(attempt(&preset, post(EVIL)).await.0.status(), 201);
        let greedy = r#"{"redirect_uris":["http://127.0.0.1/cb"],"grant_types":["password"]}"#;
        assert_eq!(attempt(&preset, post(greedy)).await.0.status(), 400, "the others are enforced");
    }
    let listed = tower_dcr::strict().with_report_only_rules(["scope"]).unwrap();
    assert_ne!(listed.fingerprint(), tower_dcr::strict().fingerprint());
    assert_eq!(listed.fingerprint(), file("extends = 'strict'\nreport_only_rules = ['scope']").fingerprint());
    for (name, suggestion) in [
        ("redirect_uris", "did you mean `redirect-uris`?"),
        ("identities", "did you mean `identity`?"),
        ("strict-json", "take it out"),
    ] {
        let error = Preset::from_str(&format!("report_only_rules = ['scope', '{name}']")).unwrap_err();
        assert_eq!(error.mistakes[0].key, "report_only_rules[1]", "{error}");
        assert!(error.mistakes[0].suggestion.as_ref().unwrap().to_string().starts_with(suggestion), "{error}");
        tower_dcr::mcp().with_report_only_rules([name]).unwrap_err();
    }
}

/// Each of the limits has a switch of its own.
#[tokio::test]
async fn one_report_only_limit_leaves_the_other_enforced() {
    for (reported, status, rule) in
        [("rate-limit", 429, "redirect-host-quota"), ("redirect-host-quota", 429, "rate-limit"), ("scope", 429, "")]
    {
        let policy = format!(
            "report_only_rules = ['{reported}']
             lifecycle.report_only = true
             rate_limit.address = '1/hour, burst 2'
             redirect_host_quota.quota = '1/hour, burst 2'"
        );
        for ledger in [false, true] {
            let preset = Preset::from_str(&policy).unwrap();
            let registrar = Registrar::new(MemoryLedger::default());
            let preset = if ledger { preset.with_registrar(registrar) } else { preset };
            let service = behind(&preset.with_sink(Kept::default().sink()), &Naive::default());
            let body = |number: usize| format!(r#"{{"redirect_uris":["https://app.example.com/{number}"]}}"#);
            for number in 0..2 {
                assert_eq!(send(&service, post(body(number))).await.status(), 201, "{reported}");
            }
            let limited = send(&service, post(body(2))).await;
            let by = limited.response.extensions().get::<Rejection>().map(|rejection| rejection.rule);
            assert_eq!((limited.status().as_u16(), ledger), (status, ledger), "{reported}");
            assert!(rule.is_empty() || by == Some(rule), "{reported}: {by:?}");
        }
    }
}

#[tokio::test]
async fn limits_and_tokens_are_reported_by_their_names() {
    let limited = Preset::from_str(
        "report_only_rules = ['rate-limit', 'redirect-host-quota']
         rate_limit.address = '1/hour'
         redirect_host_quota.quota = '1/hour'",
    );
    let kept = Kept::default();
    let service = behind(&limited.unwrap().with_sink(kept.sink()), &Naive::default());
    for _ in 0..3 {
        assert_eq!(send(&service, post(HOSTED)).await.status(), 201);
    }
    let would_have = |event: &Event| -> Vec<&str> {
        let rejected = event.findings.iter().filter(|finding| finding.disposition == Disposition::Rejected);
        rejected.inspect(|finding| assert!(!finding.enforced)).map(|finding| finding.rule).collect()
    };
    let events = kept.take();
    assert_eq!(would_have(&events[0]), [] as [&str; 0]);
    assert_eq!(would_have(&events[1]), ["redirect-host-quota", "rate-limit"]);

    let digest = "0".repeat(64);
    let tokens = format!("initial_access_tokens.tokens = [{{ owner = 'a', sha256 = '{digest}' }}]");
    for (policy, status) in
        [(tokens.clone(), 401), (format!("report_only_rules = ['initial-access-token']\n{tokens}"), 201)]
    {
        let (answer, _, event) = attempt(&Preset::from_str(&policy).unwrap(), post(LOOPBACK)).await;
        assert_eq!(answer.status().as_u16(), status, "{policy}");
        assert_eq!(event.findings.iter().filter(|finding| finding.rule == "initial-access-token").count(), 1);
    }
}

type Headers<'a> = &'a [(&'static str, &'a str)];

/// The answer and the event of a registration that the handler answers like this.
async fn answered(preset: &Preset, status: u16, headers: Headers<'_>, answer: &str) -> (Read, Event) {
    let (kept, answer) = (Kept::default(), Bytes::copy_from_slice(answer.as_bytes()));
    let headers: Vec<(&'static str, String)> = headers.iter().map(|(name, value)| (*name, (*value).into())).collect();
    let service = preset.clone().with_sink(kept.sink()).layer(service_fn(move |_: Request<RegistrationBody>| {
        let response =
            headers.iter().fold(Response::builder().status(status), |r, (name, value)| r.header(*name, value));
        std::future::ready(Ok::<_, Infallible>(response.body(Full::new(answer.clone())).unwrap()))
    }));
    (send(&service, post(LOOPBACK)).await, kept.take().pop().unwrap())
}

#[tokio::test]
async fn report_only_answers_pass_unchanged() {
    let json = [("content-type", "application/json")];
    let coded = [("content-type", "application/json"), ("content-encoding", "gzip")];
    let away = [("location", "https://other.example.com/register")];
    let long = format!(r#"{{"client_id":"c","x":"{}"}}"#, "x".repeat(400_000));
    let rows: [(u16, Headers<'_>, &str, &str); 8] = [
        (201, &json, r#"{"client_id":"c","client_secret":"s","token_endpoint_auth_method":"client_secret_basic"}"#, ""),
        (200, &json, r#"{"error":"no room"}"#, "client_id"),
        (201, &json, r#"{"client_id":7}"#, "client_id"),
        (201, &json, r#"{"client_id":"c","redirect_uris":["https://evil.example.net/cb"]}"#, "redirect_uris"),
        (201, &json, "<html>", ""),
        (201, &coded, "zzz", "content-encoding"),
        (307, &away, "", ""),
        (201, &json, &long, ""),
    ];
    let reporting = [
        tower_dcr::mcp().map_answer(tower_dcr::layers::ResponseLayer::report_only),
        Preset::from_str("answer.report_only = true").unwrap(),
    ];
    for (status, headers, body, field) in rows {
        let (rejected, _) = answered(&tower_dcr::mcp(), status, headers, body).await;
        assert!(rejected.status().is_server_error(), "enforced: {status} {}", &body[..body.len().min(80)]);
        for preset in &reporting {
            let (answer, event) = answered(preset, status, headers, body).await;
            assert_eq!((answer.status().as_u16(), &answer.body[..]), (status, body.as_bytes()));
            for (name, value) in headers {
                assert_eq!(answer.header(name), Some(*value), "{body}");
            }
            let found = event.findings.iter().find(|finding| finding.rule == "answer").unwrap();
            assert_eq!(
                (found.disposition, found.enforced, &*found.field),
                (Disposition::Rejected, false, field),
                "{status}"
            );
        }
    }
    // Valid members have no finding, and are unchanged.
    let plain = r#"{ "client_id": "c", "client_uri": null }"#;
    let (answer, event) = answered(&reporting[0], 200, &json, plain).await;
    assert_eq!((answer.status().as_u16(), &answer.body[..]), (200, plain.as_bytes()));
    assert!(event.findings.iter().all(|finding| finding.rule != "answer") && event.client_id.as_deref() == Some("c"));
    let stripping = tower_dcr::mcp().map_answer(|answer| answer.with_secret(Action::Strip));
    assert_ne!(stripping.fingerprint(), reporting[0].fingerprint());
}

/// Keeps events of both kinds.
#[derive(Clone, Default)]
struct Both(Arc<Mutex<(Vec<Event>, Vec<LifecycleEvent>)>>);

impl Sink for Both {
    fn emit(&self, event: &Event) {
        self.0.lock().unwrap().0.push(event.clone());
    }

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        self.0.lock().unwrap().1.push(event.clone());
    }
}

impl Both {
    /// Returns the rules that would have rejected, by the last event.
    fn reported(&self) -> Vec<&'static str> {
        let event = self.0.lock().unwrap().0.pop().unwrap();
        let rejected = event.findings.iter().filter(|finding| finding.disposition == Disposition::Rejected);
        rejected.inspect(|finding| assert!(!finding.enforced)).map(|finding| finding.rule).collect()
    }

    fn refused_at_gates(&self) -> Vec<LifecycleEvent> {
        let events = std::mem::take(&mut self.0.lock().unwrap().1);
        events.into_iter().filter(|event| event.action == LifecycleAction::Rejected).collect()
    }
}

fn managing(method: http::Method, path: &str, body: &'static str) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    request.body(Full::new(Bytes::from_static(body.as_bytes()))).unwrap()
}

#[tokio::test]
async fn a_report_only_ledger_reports_its_rejections() {
    use http::Method;
    for (settings, reports) in [
        ("lifecycle.report_only = true", true),
        ("report_only = true", true),
        ("report_only = true\nlifecycle.report_only = false", false),
        ("", false),
    ] {
        let events = Both::default();
        let registrar = Registrar::new(MemoryLedger::default()).with_sink(events.clone());
        let naive = Naive::default();
        let enforced = behind(&tower_dcr::mcp().with_registrar(registrar.clone()), &naive);
        assert_eq!(send(&enforced, post(LOOPBACK)).await.json()["client_id"], "client-1");
        let operator = Actor::Operator("alice".into());
        registrar.revoke(Revocation::client("client-1", operator, "imitates")).await.unwrap();

        let preset = Preset::from_str(settings).unwrap().with_registrar(registrar).with_sink(events.clone());
        let service = behind(&preset, &naive);
        let body = r#"{"client_id":"client-1","redirect_uris":["http://localhost/cb"]}"#;
        let rows = [
            (post(LOOPBACK), "registered again"),
            (managing(Method::PUT, "/register/client-1", body), "updated"),
            (managing(Method::GET, "/register/client-1", ""), "read"),
            (managing(Method::DELETE, "/register/client-1", ""), "deleted"),
        ];
        for (request, what) in rows {
            // A body that is only observed passes the ledger by.
            let sees = !settings.starts_with("report_only")
                || request.method() != Method::POST && request.method() != Method::PUT;
            let status = send(&service, request).await.status();
            assert_eq!(status.is_success(), reports || !sees, "{settings:?}: {what}: {status}");
            if reports && sees {
                assert_eq!(events.reported(), ["lifecycle"], "{settings}: {what}");
            }
        }
    }
}

/// The gate in front of a handler that says what it was sent.
async fn gated(gate: &GateLayer, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let service = gate.layer(service_fn(async |request: Request<ResponseBody<Full<Bytes>>>| {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let head = format!("{} {} {:?}\n", parts.method, parts.uri, parts.headers);
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::from([head.as_bytes(), &body].concat())))
    }));
    let answer = send(&service, request).await;
    (answer.status(), String::from_utf8(answer.body.to_vec()).unwrap())
}

/// A gate, a request, and what is wrong with it.
type Row<'a> = (GateLayer, Box<dyn Fn() -> Request<Full<Bytes>> + 'a>, &'a str);

#[tokio::test]
async fn a_report_only_gate_passes_every_request_unchanged() {
    const FORM: &str = "application/x-www-form-urlencoded";
    let events = Both::default();
    let registrar = Registrar::new(MemoryLedger::default())
        .with_sink(events.clone())
        .map_settings(|lifecycle| lifecycle.deduplication = Some(false))
        .unwrap();
    let register = behind(&tower_dcr::mcp().with_registrar(registrar.clone()), &Naive::default());
    for path in ["a", "b"] {
        send(&register, post(format!(r#"{{"redirect_uris":["https://app.example.com/{path}"]}}"#))).await;
    }
    let operator = Actor::Operator("alice".into());
    registrar.revoke(Revocation::client("client-1", operator, "imitates")).await.unwrap();
    let form = |body: &str| {
        let request = Request::post("/x").header("content-type", FORM);
        request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).unwrap()
    };
    let get = |query: &str| Request::get(format!("/x?{query}")).body(Full::default()).unwrap();
    let multipart = || {
        let request = Request::post("/x").header("content-type", "multipart/form-data; boundary=x");
        request.header("content-encoding", "gzip").body(Full::new(Bytes::from_static(b"--x--"))).unwrap()
    };
    let patch = || Request::patch("/x").body(Full::new(Bytes::from_static(b"client_id=client-2"))).unwrap();
    let odd_get = || Request::get("/x?client_id=client-2&client_id=client-1").body(Full::new(Bytes::from_static(b"z")));
    let long = format!("client_id=client-2&x={}", "x".repeat(200_000));
    let token = || GateLayer::new(GateEndpoint::Token, registrar.clone());
    let authorization = || GateLayer::new(GateEndpoint::Authorization, registrar.clone());
    let rows: Vec<Row<'_>> = vec![
        (token(), Box::new(|| form("client_id=client-1&grant_type=refresh_token")), "revoked"),
        (token(), Box::new(|| form("client_id=nobody&grant_type=refresh_token")), "unknown"),
        (token(), Box::new(|| form("grant_type=refresh_token&refresh_token=r")), "unidentified"),
        (token(), Box::new(|| form("client_id=client-2&client_id=client-1")), "ambiguous"),
        (token(), Box::new(|| form(&long)), "too large"),
        (token(), Box::new(multipart), "a media type that is not read"),
        (token(), Box::new(patch), "a method that is not read"),
        (
            authorization(),
            Box::new(|| get("client_id=client-2&redirect_uri=https://evil.example.net/cb")),
            "a foreign redirect",
        ),
        (authorization(), Box::new(|| odd_get().unwrap()), "a repeated parameter, and a body"),
        (authorization(), Box::new(|| get("client_id=client-1")), "revoked, at the page"),
    ];
    let strict = |gate: &mut GateSettings| gate.unknown = Some(Action::Reject);
    let reporting = |gate: &mut GateSettings| gate.report_only = Some(true);
    for (gate, request, reason) in rows {
        let (enforced, _) = gated(&gate.clone().map_settings(strict), request()).await;
        assert!(enforced.is_client_error(), "enforced: {reason}");
        assert!(events.refused_at_gates().iter().all(|event| event.enforced), "enforced: {reason}");
        let (parts, body) = request().into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let as_it_came = [format!("{} {} {:?}\n", parts.method, parts.uri, parts.headers).as_bytes(), &body].concat();
        let (status, seen) = gated(&gate.map_settings(strict).map_settings(reporting), request()).await;
        assert!(status == 200 && seen.as_bytes() == as_it_came, "{reason}: {status} {}", &seen[..seen.len().min(300)]);
        let reported = events.refused_at_gates();
        assert_eq!(reported.len(), 1, "{reason}");
        assert!(!reported[0].enforced && reported[0].reason.is_some() && reported[0].subject.is_some(), "{reason}");
        assert_eq!(serde_json::to_value(&reported[0]).unwrap()["enforced"], false, "{reason}");
    }
    // A client that may go on does, and nothing is reported.
    let gate = token().map_settings(strict).map_settings(reporting);
    let (status, _) = gated(&gate, form("client_id=client-2&grant_type=authorization_code&code=c")).await;
    assert_eq!((status, events.refused_at_gates().len()), (StatusCode::OK, 0));
}

#[tokio::test]
async fn a_policy_file_overrides_gate_settings_in_code() {
    let registrar = Registrar::new(MemoryLedger::default());
    let request = || {
        let request = Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        request.body(Full::new(Bytes::from_static(b"grant_type=refresh_token&client_id=nobody"))).unwrap()
    };
    for (policy, enforced, reported) in
        [("", 401, 200), ("gate.report_only = true", 200, 200), ("gate.report_only = false", 401, 401)]
    {
        let gate = Preset::from_str(policy).unwrap().gate(GateEndpoint::Token, registrar.clone());
        for (report_only, status) in [(None, enforced), (Some(true), reported)] {
            let gate = gate.clone().map_settings(|gate| {
                (gate.unknown, gate.report_only) = (Some(Action::Reject), report_only);
            });
            assert_eq!(gated(&gate, request()).await.0.as_u16(), status, "{policy}");
        }
    }
}

/// The lines at the level `WARN` that `act` brings about.
fn warned(act: impl FnOnce()) -> Vec<String> {
    logged(tracing::Level::WARN, act)
}

#[test]
fn the_log_says_at_the_start_that_nothing_is_enforced() {
    let says = |preset: Preset| {
        let lines = warned(|| drop(preset.reloadable()));
        lines.iter().filter(|line| line.contains("tower_dcr::setup: nothing is enforced")).count()
    };
    assert_eq!(says(tower_dcr::mcp().report_only()), 1);
    assert_eq!(says(Preset::from_str("report_only = true").unwrap()), 1);
    assert_eq!(says(tower_dcr::mcp()), 0);
    assert_eq!(
        says(tower_dcr::mcp().with_shadow(tower_dcr::strict().report_only())),
        0,
        "a shadow enforces nothing anyway"
    );
    // And when such a policy is put in force later.
    let handle = tower_dcr::mcp().reloadable();
    let lines = warned(|| handle.replace(&tower_dcr::mcp().report_only()).unwrap());
    assert!(
        handle.preset().is_report_only() && lines.iter().any(|line| line.contains("nothing is enforced")),
        "{lines:?}"
    );
}

/// At the level that fits, which is not said once more in words.
#[test]
fn the_log_has_lints_at_their_level() {
    let policy = "[gate]\ngrace = '30days'\n[lifecycle]\nreport_only = true";
    let lines = warned(|| drop(Preset::from_str(policy).unwrap().reloadable()));
    let of =
        |key: &str| lines.iter().find(|line| line.contains(key)).unwrap_or_else(|| panic!("{lines:?}")).trim_start();
    assert!(of("gate.grace").starts_with("ERROR tower_dcr::setup: gate.grace: "), "{lines:?}");
    assert!(of("lifecycle.report_only").starts_with("WARN tower_dcr::setup: lifecycle.report_only: "), "{lines:?}");
}

#[test]
fn the_policy_among_the_examples_protects() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/policy.toml");
    let preset = Preset::from_file(path).unwrap();
    assert!(!preset.is_report_only());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for (body, status) in [(LOOPBACK, 201), (EVIL, 400), (HOSTED, 400)] {
        assert_eq!(runtime.block_on(attempt(&preset, post(body))).0.status().as_u16(), status, "{body}");
    }
}
