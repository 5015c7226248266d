//! Another policy while requests are on their way.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tower_dcr::clients::{MemoryLedger, Registrar, Status};
use tower_dcr::layers::{GateEndpoint, InitialAccess, StaticTokens};
use tower_dcr::redirect_uri::RedirectClass;
use tower_dcr::rules::ErrorCode;
use tower_dcr::rules::{Condition, Policy, rule};
use tower_dcr::{Preset, layers::InitialAccessTokenLayer};

use crate::folder::Folder;
use crate::support::{Kept, Naive, behind, eventually, logged, post, send};

const LOOPBACK: &str = r#"{"redirect_uris":["http://localhost/cb"]}"#;
const HOSTED: &str = r#"{"redirect_uris":["https://app.example.com/cb"]}"#;

#[tokio::test]
async fn a_reload_applies_to_the_next_request() {
    let kept = Kept::default();
    let guard = tower_dcr::mcp().with_sink(kept.sink()).reloadable();
    let register = behind(&guard, &Naive::default());
    assert_eq!(send(&register, post(HOSTED)).await.status(), 201);
    let next = Preset::from_str("redirect_uris.classes = ['loopback']").unwrap();
    guard.replace(&next).unwrap();
    assert_eq!(send(&register, post(HOSTED)).await.status(), 400);
    assert_eq!(send(&register, post(LOOPBACK)).await.status(), 201);
    let fingerprints: Vec<_> = kept.take().iter().map(|event| format!("{:016x}", event.policy.unwrap())).collect();
    assert_eq!(fingerprints, [tower_dcr::mcp().fingerprint(), next.fingerprint(), next.fingerprint()]);
    assert_eq!(guard.preset().fingerprint(), next.fingerprint());
}

/// The log tells whether the policy or its shadow has changed.
#[test]
fn the_log_names_the_changed_policy() {
    let folder = Folder::new("reload-log");
    let path = folder.0.join("policy.toml");
    let (with, without) = ("shadow.policy = 'next.toml'\n", "");
    let (strict, mcp) = (tower_dcr::strict().fingerprint(), tower_dcr::mcp().fingerprint());
    let rows = [
        ("it is tried", with, "extends = 'strict'", "another shadow policy is tried", Some(&strict)),
        ("as before", with, "extends = 'strict'\n# Soon.", "read again and is the same", Some(&strict)),
        ("another one", with, "extends = 'mcp'", "another shadow policy is tried", Some(&mcp)),
        ("no more", without, "extends = 'mcp'", "no shadow policy is tried any more", None),
        ("a policy", "report_only = true", "", "another registration policy is in force", None),
        ("both", with, "extends = 'strict'", "another registration policy is in force", Some(&strict)),
    ];
    let guard = tower_dcr::mcp().reloadable();
    for (reason, policy, next, message, shadow) in rows {
        folder.write("policy.toml", policy).write("next.toml", next);
        let lines = logged(tracing::Level::INFO, || guard.reload(&path).unwrap());
        let line = lines.iter().find(|line| line.contains("tower_dcr::reload")).unwrap();
        assert!(line.contains(message), "{reason}: {line}");
        assert!(line.contains(&format!("fingerprint=\"{}\"", guard.preset().fingerprint())), "{reason}: {line}");
        let said = line.split_once("shadow=\"").map(|(_, rest)| rest.split('"').next().unwrap());
        assert_eq!(said, shadow.map(String::as_str), "{reason}: {line}");
    }
}

#[tokio::test]
async fn a_reload_keeps_spent_budgets() {
    let guard =
        Preset::from_str("rate_limit.address = '5/hour'\nredirect_host_quota.quota = '2/hour'").unwrap().reloadable();
    let register = behind(&guard, &Naive::default());
    for expected in [201, 201, 429] {
        assert_eq!(send(&register, post(HOSTED)).await.status(), expected, "of one host");
    }
    guard.replace(&Preset::from_str("rate_limit.address = '5/hour'\nredirect_host_quota.quota = '2/hour'\nreport_only = false\nbody_deadline = '9s'").unwrap()).unwrap();
    assert_eq!(send(&register, post(HOSTED)).await.status(), 429, "the host is still known");
    assert_eq!(send(&register, post(LOOPBACK)).await.status(), 201);
    assert_eq!(send(&register, post(LOOPBACK)).await.status(), 429, "and so is the address");
    // A larger quota lets more of them in, and counts what was used.
    guard.replace(&Preset::from_str("rate_limit.address = '5/hour, burst 7'").unwrap()).unwrap();
    for expected in [201, 201, 429] {
        assert_eq!(send(&register, post(LOOPBACK)).await.status(), expected);
    }
    guard.replace(&Preset::from_str("rate_limit.address = 'off'").unwrap()).unwrap();
    assert_eq!(send(&register, post(LOOPBACK)).await.status(), 201);
}

#[tokio::test]
async fn settings_in_code_survive_a_reload() {
    let kept = Kept::default();
    let no_bots = rule("no-bots", |draft| match draft.registration().string("client_name") {
        Some("bot") => Err(draft.reject(ErrorCode::InvalidClientMetadata, "not you")),
        _ => Ok(()),
    });
    let registrar = Registrar::new(MemoryLedger::default());
    let guard = tower_dcr::mcp().add_rule(no_bots).with_sink(kept.sink()).with_registrar(registrar).reloadable();
    let register = behind(&guard, &Naive::default());
    let bot = r#"{"redirect_uris":["http://localhost/cb"],"client_name":"bot"}"#;
    assert_eq!(send(&register, post(bot)).await.status(), 400);
    assert_eq!(send(&register, post(LOOPBACK)).await.status(), 201);
    guard.replace(&tower_dcr::strict()).unwrap();
    guard.replace(&tower_dcr::mcp()).unwrap();
    assert_eq!(send(&register, post(bot)).await.status(), 400);
    assert_eq!(send(&register, post(LOOPBACK)).await.status(), 201);
    let outcomes: Vec<_> = kept.take().iter().map(|event| event.outcome.to_string()).collect();
    assert_eq!(outcomes, ["rejected", "accepted", "rejected", "deduplicated"], "the ledger is still the same");
}

/// Rules in code that are for some callers stay with them.
#[tokio::test]
async fn rules_in_code_stay_with_their_callers() {
    let never = rule("never", |draft| Err(draft.reject(ErrorCode::InvalidClientMetadata, "not you")));
    let hosted = Condition::Redirects(vec![RedirectClass::Https]);
    let built = tower_dcr::mcp()
        .for_callers(hosted, |mut rules| {
            rules.additional = Policy::new((rules.additional, never));
            Ok(rules)
        })
        .unwrap();
    let guard = built.clone().reloadable();
    let register = behind(&guard, &Naive::default());
    for policy in [
        built.clone(),
        Preset::from_str("body_deadline = '9s'\n[[callers]]\nwhen = { redirects = ['https'] }").unwrap(),
    ] {
        guard.replace(&policy).unwrap();
        assert_eq!(send(&register, post(HOSTED)).await.status(), 400);
        assert_eq!(send(&register, post(LOOPBACK)).await.status(), 201);
    }
    let without = tower_dcr::mcp().for_callers(Condition::Redirects(vec![RedirectClass::Https]), Ok).unwrap();
    assert_ne!(built.fingerprint(), without.fingerprint());
}

/// Tokens that are set in code stay required after a reload.
#[tokio::test]
async fn a_reload_keeps_required_tokens() {
    let tokens = || {
        let tokens = StaticTokens::new().add("Vq3s8nR1xW7tB0yKd5Lc", InitialAccess::of("portal")).unwrap();
        Box::new(tower_dcr::mcp().with_initial_access_tokens(InitialAccessTokenLayer::new(tokens)))
    };
    let listed = Box::new(
        Preset::from_str(
            "initial_access_tokens.tokens = [{ owner = 'portal', \
         sha256 = '2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b' }]",
        )
        .unwrap(),
    );
    for (first, second, status, reason) in [
        (tokens(), Box::new(tower_dcr::mcp().report_only()), 201, "what only observes lets everybody pass"),
        (tokens(), Box::new(tower_dcr::strict()), 401, "a file says nothing of those in code"),
        (listed.clone(), tokens(), 401, "those in code instead of listed ones"),
        (tokens(), listed.clone(), 401, "listed ones instead of those in code"),
        (listed, Box::new(tower_dcr::mcp()), 201, "listed ones that are no longer listed"),
    ] {
        let guard = first.reloadable();
        let register = behind(&guard, &Naive::default());
        assert_eq!(send(&register, post(LOOPBACK)).await.status(), 401, "{reason}");
        guard.replace(&second).unwrap();
        let native = r#"{"redirect_uris":["http://127.0.0.1/cb"]}"#;
        assert_eq!(send(&register, post(native)).await.status(), status, "{reason}");
    }
}

/// A file changes what it names of the registrar, for the gate, too; what it no longer names is as it was built.
#[tokio::test]
async fn lifetimes_and_gates_follow() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let registrar =
        Registrar::new(MemoryLedger::default()).map_settings(|lifecycle| lifecycle.never_used = Some(DAY * 2)).unwrap();
    let guard = Preset::from_str("lifecycle.idle = '180days'\ngate.unknown = 'reject'").unwrap();
    let guard = guard.with_registrar(registrar.clone());
    let lifetimes = |never_used: Duration, idle: Duration, approval: Option<Duration>| {
        let written = format!("never_used: {never_used:?}, idle: {idle:?}, approval: {approval:?}");
        let shown = format!("{registrar:?}");
        assert!(shown.contains(&written), "{written} in {shown}");
    };
    // Before any request.
    lifetimes(DAY * 2, DAY * 180, None);
    let guard = guard.reloadable();
    let token = tower::Layer::layer(
        &guard.gate(GateEndpoint::Token, registrar.clone()),
        tower::service_fn(async |_: http::Request<_>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(http_body_util::Full::<bytes::Bytes>::default()))
        }),
    );
    let by_nobody = async || {
        let request = http::Request::post("/token").header("content-type", "application/x-www-form-urlencoded");
        let body = http_body_util::Full::<bytes::Bytes>::from("grant_type=authorization_code&client_id=nobody");
        send(&token, request.body(body).unwrap()).await.status()
    };
    assert_eq!(by_nobody().await, 401);
    guard.replace(&Preset::from_str("lifecycle.approval = '1day'").unwrap()).unwrap();
    lifetimes(DAY * 2, DAY * 90, Some(DAY));
    assert_eq!(by_nobody().await, 200);
    let register = behind(&guard, &Naive::default());
    assert_eq!(send(&register, post(LOOPBACK)).await.status(), 201);
    let client = registrar.client("client-1").await.unwrap().unwrap();
    assert_eq!(client.status, Status::Pending, "approval is wanted now");
    assert_eq!(client.policy.as_deref(), Some(&*guard.preset().fingerprint()));
    guard.replace(&tower_dcr::mcp()).unwrap();
    lifetimes(DAY * 2, DAY * 90, None);
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_the_next_valid_one_applies() {
    let folder = std::env::temp_dir().join(format!("tower-dcr-reload-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("policy.toml");
    let write = |text: &str| {
        let beside = folder.join("policy.toml.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, &path).unwrap();
    };
    write("report_only = true");
    let guard = Preset::from_file(&path).unwrap().reloadable();
    let handle = guard.clone();
    let first = handle.preset().fingerprint();
    // Long beside the pauses below, so that a busy machine does not put two looks between two writes.
    let every = Duration::from_millis(100);
    let watching = tokio::spawn(handle.clone().watch(path.clone(), every));
    let changed_from = async |old: &str| {
        eventually("the policy changes", async || handle.preset().fingerprint() != old).await;
        handle.preset().fingerprint()
    };
    write("report_onyl = false");
    let error = handle.reload(&path).unwrap_err();
    assert!(
        error.to_string().ends_with(
            "policy.toml:1:1: report_onyl: unknown key \"report_onyl\" (found report_onyl); did you mean `report_only`?"
        ),
        "{error}"
    );
    assert_eq!(handle.preset().fingerprint(), first);
    write("");
    let second = changed_from(&first).await;
    assert_eq!(second, tower_dcr::mcp().fingerprint());
    // A writer that is not done yet: every look finds another length.
    for length in 1..20 {
        std::fs::write(&path, format!("report_only = true\n{}", "#".repeat(length))).unwrap();
        std::thread::sleep(every / 5);
        // The watcher has the thread for one look at most.
        tokio::task::yield_now().await;
        assert_eq!(handle.preset().fingerprint(), second, "after {length}");
    }
    let third = changed_from(&second).await;
    assert_eq!(third, tower_dcr::mcp().report_only().fingerprint(), "now it is done");
    write("");
    assert_eq!(changed_from(&third).await, second);
    // Images and package stores give all files one time, and two policies can be equally long.
    let write_at_noon = |policy: &str| {
        write(&format!("{policy:<40}"));
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(std::time::UNIX_EPOCH + Duration::from_secs(43_200)).unwrap();
    };
    write_at_noon("extends = 'strict'");
    let strict = changed_from(&second).await;
    assert_eq!(strict, tower_dcr::strict().fingerprint());
    write_at_noon("extends = 'mcp'");
    assert_eq!(changed_from(&strict).await, second);
    std::fs::remove_file(&path).unwrap();
    tokio::time::sleep(every * 4).await;
    assert_eq!(handle.preset().fingerprint(), second, "a file that is gone is no policy");
    write("extends = 'strict'");
    assert_eq!(changed_from(&second).await, tower_dcr::strict().fingerprint());
    watching.abort();
    std::fs::remove_dir_all(folder).unwrap();
}

/// Tasks register as fast as they can while the policy goes to and fro: each is judged by one of the two, as a whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reload_drops_no_request_and_mixes_no_policies() {
    let kept = Kept::default();
    let file = |scope: &str| {
        Preset::from_str(&format!(
            "rate_limit = {{ address = 'off', global = 'off' }}
             metadata.policy.scope.value = '{scope}'
             metadata.policy.client_name.value = '{scope}'"
        ))
        .unwrap()
    };
    let (one, other) = (file("one"), file("other"));
    let naive = Naive::default();
    let guard = one.clone().with_sink(kept.sink()).reloadable();
    let (register, handle) = (behind(&guard, &naive), guard.clone());
    let (done, swaps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let swapping = {
        let (done, swaps, one, other) = (Arc::clone(&done), Arc::clone(&swaps), one.clone(), other.clone());
        std::thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                handle.replace(&other).unwrap();
                handle.replace(&one).unwrap();
                swaps.fetch_add(2, Ordering::Relaxed);
            }
        })
    };
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let register = register.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..250 {
                assert_eq!(send(&register, post(LOOPBACK)).await.status(), 201);
                tokio::task::yield_now().await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    swapping.join().unwrap();
    let seen = naive.seen();
    assert_eq!((seen.len(), kept.take().len()), (2000, 2000));
    for body in &seen {
        let registration = tower_dcr::Registration::parse(body).unwrap();
        assert_eq!(registration.string("scope"), registration.string("client_name"));
    }
    assert!(swaps.load(Ordering::Relaxed) > 2);
}
