use std::collections::BTreeSet;
use std::net::IpAddr;

use super::*;
use crate::audit::line::to_line;
use crate::audit::{Requester, Sources, document};
use crate::client_address::ClientAddress;
use crate::sync::lock;

#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<String>>>);

impl Kept {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.0))
    }
}

impl Sink for Kept {
    fn emit(&self, event: &Event) {
        lock(&self.0).push(to_line(event));
    }

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        lock(&self.0).push(to_line(event));
    }
}

const START: u64 = 1_767_225_600_000;

struct Log {
    kept: Kept,
    aggregator: Arc<Aggregator>,
    sources: Sources,
}

impl Log {
    fn new(sources: Sources) -> Self {
        let kept = Kept::default();
        Self { aggregator: Aggregator::new(kept.clone()), kept, sources }
    }

    fn attempt(&self, at: u64, address: &str, event: Event, judged: bool) {
        let address: IpAddr = address.parse().unwrap();
        let event = Event { time_ms: START + at, requester: self.sources.name(address), ..event };
        let named = || self.sources.network_name(address);
        self.aggregator.attempt(&event, judged, Some(self.sources.network(address)), named);
    }

    fn lifecycle(&self, at: i64, address: Option<&str>, action: LifecycleAction, id: &str) {
        let address: Option<IpAddr> = address.map(|address| address.parse().unwrap());
        let event = LifecycleEvent::new(i64::try_from(START).unwrap() + at, action)
            .of_client(Some(id))
            .coming_from(address.and_then(|address| self.sources.name(address)))
            .about("token");
        let named = || self.sources.network_name(address?);
        self.aggregator.lifecycle(&event, address.map(|address| self.sources.network(address)), named);
    }
}

fn event(operation: Operation, outcome: Outcome, rule: Option<&'static str>) -> Event {
    Event { rule, ..Event::new(START, operation, outcome) }
}

fn limited() -> Event {
    event(Operation::Create, Outcome::Limited, Some("rate-limit"))
}

/// Attempts that reached a rule are events each; of the others, the first is, and their number.
#[test]
fn only_free_attempts_are_summed() {
    use Operation::{Create, Delete, Read, Update};
    let with_status = |event: Event, status| Event { status: Some(status), ..event };
    let judged_by_rules = |event: Event| Event { rules: vec!["redirect-uris"], ..event };
    for (reason, event, judged, lines) in [
        ("a rate limit", limited(), false, 2),
        ("the redirect host quota", event(Create, Outcome::Limited, Some("redirect-host-quota")), true, 2),
        ("no initial access token", event(Create, Outcome::Rejected, Some("initial-access-token")), false, 2),
        ("no room in the audit log", event(Create, Outcome::Rejected, Some("audit")), false, 2),
        ("a guessed token, read", event(Read, Outcome::Failed, None), false, 2),
        ("a guessed token, deleted", event(Delete, Outcome::Failed, None), false, 2),
        ("a shared id", event(Read, Outcome::Rejected, Some("client-url")), false, 2),
        ("a guessed token, updated", with_status(judged_by_rules(event(Update, Outcome::Failed, None)), 401), true, 2),
        ("an unreadable body, 60 times", event(Create, Outcome::Rejected, Some("json")), true, 61),
        ("a repeat, 60 times", judged_by_rules(event(Create, Outcome::Deduplicated, None)), true, 61),
        ("a rule", judged_by_rules(event(Create, Outcome::Rejected, Some("redirect-uris"))), true, 100),
        (
            "an update, by a rule",
            with_status(judged_by_rules(event(Update, Outcome::Rejected, Some("scope"))), 400),
            true,
            100,
        ),
        ("an update, 60 times", judged_by_rules(event(Update, Outcome::Rewritten, None)), true, 61),
        ("a registration", event(Create, Outcome::Accepted, None), true, 100),
        ("less than asked for", event(Create, Outcome::Rewritten, None), true, 100),
        ("a handler that fails", judged_by_rules(event(Create, Outcome::Failed, None)), true, 100),
        ("a client that hung up", event(Create, Outcome::Abandoned, None), true, 100),
    ] {
        let log = Log::new(Sources::new(ClientAddress::new(), &Requester::None));
        for number in 0..100 {
            log.attempt(number, "192.0.2.1", event.clone(), judged);
        }
        let at_once = log.kept.take();
        drop(log.aggregator);
        let summed = log.kept.take();
        assert_eq!(at_once.len() + summed.len(), lines, "{reason}");
        if let [sum] = &*summed {
            let count = 100 - at_once.len();
            assert!(sum.contains(&format!(r#""until_ms":{},"count":{count},"#, START + 99)), "{reason}: {sum}");
        }
    }
    for action in [
        LifecycleAction::Rejected,
        LifecycleAction::UnregisteredClient,
        LifecycleAction::IdConflict,
        LifecycleAction::SoftwareIdConflict,
        LifecycleAction::LedgerFull,
    ] {
        let log = Log::new(Sources::new(ClientAddress::new(), &Requester::None));
        (0..100).for_each(|at| log.lifecycle(at, Some("192.0.2.1"), action, &format!("made-up-{at}")));
        let at_once = log.kept.take();
        drop(log.aggregator);
        let summed = log.kept.take();
        assert!(at_once.len() == 1 && at_once[0].contains("made-up-0"), "{at_once:?}");
        assert!(summed.len() == 1 && summed[0].contains(r#""count":99"#), "{summed:?}");
        assert!(!summed[0].contains("made-up"), "no client stands for the others: {summed:?}");
    }
    for action in [LifecycleAction::Revoked, LifecycleAction::Expired, LifecycleAction::Evicted] {
        let log = Log::new(Sources::new(ClientAddress::new(), &Requester::None));
        (0..100).for_each(|at| log.lifecycle(at, None, action, "client-1"));
        assert_eq!(log.kept.take().len(), 100, "{action:?}");
    }
}

/// A client that changes its registration again and again suppresses no events of other clients.
#[test]
fn a_flood_of_updates_is_summed() {
    let log = Log::new(Sources::new(ClientAddress::new(), &Requester::None));
    (0..1000).for_each(|at| log.lifecycle(at, Some("192.0.2.1"), LifecycleAction::Updated, "client-1"));
    log.lifecycle(1001, Some("192.0.2.2"), LifecycleAction::Updated, "client-2");
    let at_once = log.kept.take();
    assert!(at_once.len() == 61 && at_once[60].contains("client-2"), "{at_once:?}");
    drop(log.aggregator);
    let summed = log.kept.take();
    assert!(summed.len() == 1 && summed[0].contains(r#""count":940,"#), "{summed:?}");
    assert!(summed[0].contains("client-1"), "it is the same client in all of them: {summed:?}");
}

/// Hides a change that matters among many of another client that don't.
#[test]
fn no_change_hides_in_a_sum() {
    let log = Log::new(Sources::new(ClientAddress::new(), &Requester::None));
    let update = |client: &str, changed: &str, at: i64| {
        let event =
            LifecycleEvent::new(i64::try_from(START).unwrap() + at, LifecycleAction::Updated).of_client(Some(client));
        let event = event.changing("{}", &format!(r#"{{"{changed}":1}}"#));
        let source = log.sources.network("192.0.2.1".parse().unwrap());
        log.aggregator.lifecycle(&event, Some(source), || None);
    };
    (0..100).for_each(|at| update("client-1", "contacts", at));
    let _full = log.kept.take();
    update("client-2", "redirect_uris", 100);
    (101..200).for_each(|at| update("client-1", "software_version", at));
    update("client-1", "redirect_uris", 200);
    let lines = log.kept.take();
    assert!(lines.len() == 2 && lines[0].contains("client-2") && lines[1].contains("redirect_uris"), "{lines:?}");
    for client in ["client-3", "client-4"] {
        for number in 0..70 {
            let mut event = event(Operation::Update, Outcome::Accepted, None);
            event.client_id = Some(client.to_owned());
            log.attempt(300 + number, "192.0.2.1", event, true);
        }
    }
    let lines = log.kept.take();
    assert_eq!(lines.iter().filter(|line| line.contains("client-4")).count(), 60, "each client has its own");
}

/// However many sources and requests there are, the lines of a minute are bounded; and their counts add up.
#[test]
fn a_flood_can_not_fill_the_log() {
    let log = Log::new(Sources::new(ClientAddress::new(), &Requester::Address));
    let mut lines = Vec::new();
    let (minutes, each) = (3, 50_000_u64);
    for number in 0..minutes * each {
        let at = number * 60_000 / each;
        let address = format!("2001:db8:{:x}:{:x}::1", number % 5, number % 10_000);
        log.attempt(at, &address, limited(), false);
        log.lifecycle(
            i64::try_from(at).unwrap(),
            Some(&address),
            LifecycleAction::UnregisteredClient,
            &number.to_string(),
        );
        lines.extend(log.kept.take());
    }
    drop(log.aggregator);
    lines.extend(log.kept.take());
    assert!(lines.len() <= 3 * (2 * MAX_SOURCES + 2), "{}", lines.len());
    let counted = |kind: &str| -> u64 {
        let lines = lines.iter().filter(|line| line.contains(kind));
        let count = |line: &String| -> u64 {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["count"].as_u64().unwrap_or(1)
        };
        lines.map(count).sum()
    };
    assert_eq!(counted(r#""outcome":"limited""#), minutes * each);
    assert_eq!(counted(r#""action":"unregistered_client""#), minutes * each);
}

/// Rejected documents are long. Each has its event as long as it costs something; after the first ones of a minute, without
/// the document.
#[test]
fn rejected_documents_can_not_fill_the_log() {
    let log = Log::new(Sources::new(ClientAddress::new(), &Requester::Address));
    let body = bytes::Bytes::from(format!(r#"{{"client_name":"{}"}}"#, "x".repeat(10_000)));
    let (mut bytes, mut lines, mut documents) = (0, 0, 0);
    for minute in 0..2 {
        for number in 0..5_000_u64 {
            let mut event = event(Operation::Create, Outcome::Rejected, Some("redirect-uris"));
            event.rules = vec!["redirect-uris"];
            event.document = document::redact(&body, &BTreeSet::new());
            let address = format!("10.0.{}.{}", number / 250, number % 250);
            log.attempt(minute * 60_000 + number, &address, event, true);
            for line in log.kept.take() {
                (bytes, lines) = (bytes + line.len(), lines + 1);
                documents += u32::from(line.contains("xxxxxxxx"));
            }
        }
    }
    assert_eq!((lines, documents), (10_000, 2 * MAX_DOCUMENTS));
    assert!(bytes < 2 * (600 * 11_000 + 5_000 * 300), "{bytes}");
}

#[test]
fn a_sum_names_the_network_as_events_name_requesters() {
    let address = ClientAddress::new;
    let hashed = Sources::new(address(), &Requester::Hash(b"a key".to_vec(), None));
    let (one, all) = (hashed.name("2001:db8::1".parse().unwrap()), hashed.network_name("2001:db8::1".parse().unwrap()));
    assert!(one.as_ref().is_some_and(|name| name.len() == 32) && one != all);
    for (sources, first, sum) in [
        (Sources::new(address(), &Requester::None), None, None),
        (
            Sources::new(address(), &Requester::Address),
            Some("2001:db8::1".to_owned()),
            Some("2001:db8::/64".to_owned()),
        ),
        (hashed, one, all),
    ] {
        let log = Log::new(sources);
        log.attempt(0, "2001:db8::1", limited(), false);
        log.attempt(1, "2001:db8::2", limited(), false);
        log.attempt(2, "2001:db8:0:1::1", limited(), false);
        drop(log.aggregator);
        let requester = |line: &String| -> Option<String> {
            let event: serde_json::Value = serde_json::from_str(line).unwrap();
            event["requester"].as_str().map(str::to_owned)
        };
        let lines = log.kept.take();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert_eq!((requester(&lines[0]), requester(&lines[2])), (first, sum), "{lines:?}");
    }
    // An IPv4 address is a network by itself: both have one name.
    let v4: IpAddr = "192.0.2.7".parse().unwrap();
    let hashed = Sources::new(address(), &Requester::Hash(b"a key".to_vec(), None));
    assert_eq!(hashed.name(v4), hashed.network_name(v4));
    assert_eq!(Some(hashed.recorded("192.0.2.7/32")), hashed.name(v4));
}

#[test]
fn a_record_s_source_is_no_more_precise_than_requesters() {
    let address = ClientAddress::new;
    for (sources, source, shown) in [
        (Sources::new(address(), &Requester::None), "192.0.2.7/32", "192.0.2.0/24"),
        (Sources::new(address(), &Requester::None), "2001:db8:1:2::/64", "2001:db8:1::/48"),
        (Sources::new(address(), &Requester::None), "not a network", "not a network"),
        (Sources::new(address(), &Requester::Address), "192.0.2.7/32", "192.0.2.7"),
        (Sources::new(address(), &Requester::Address), "2001:db8:1:2::/64", "2001:db8:1:2::/64"),
    ] {
        assert_eq!(sources.recorded(source), shown, "{sources:?}");
    }
}

/// At the end of an interval the next event writes the sums, and without one a thread does.
#[test]
fn sums_are_written_at_the_end_of_the_interval() {
    let log = Log::new(Sources::new(ClientAddress::new(), &Requester::None));
    (0..5).for_each(|at| log.attempt(at, "192.0.2.1", limited(), false));
    assert_eq!(log.kept.take().len(), 1);
    log.attempt(59_999, "192.0.2.9", event(Operation::Create, Outcome::Accepted, None), true);
    assert_eq!(log.kept.take().len(), 1, "it is not due yet");
    log.attempt(60_000, "192.0.2.9", event(Operation::Create, Outcome::Accepted, None), true);
    let lines = log.kept.take();
    assert!(lines.len() == 2 && lines[0].contains(r#""count":4"#), "{lines:?}");
    log.attempt(60_001, "192.0.2.1", limited(), false);
    assert_eq!(log.kept.take().len(), 1, "the first of the next interval");

    let kept = Kept::default();
    let aggregator = Arc::new(Aggregator::with_interval(kept.clone(), Duration::from_millis(200)));
    (0..3).for_each(|_| aggregator.attempt(&limited(), false, None, || None));
    for _ in 0..500 {
        if lock(&kept.0).len() == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let lines = kept.take();
    assert!(lines.len() == 2 && lines[1].contains(r#""count":2"#), "{lines:?}");
}

/// A clock that is set back does not keep sums for ever, nor does it lose any.
#[test]
fn a_clock_that_is_set_back_loses_no_sum() {
    let log = Log::new(Sources::new(ClientAddress::new(), &Requester::None));
    log.attempt(3_600_000, "192.0.2.1", limited(), false);
    (0..3).for_each(|at| log.attempt(at, "192.0.2.1", limited(), false));
    assert_eq!(log.kept.take().len(), 1);
    log.aggregator.flush();
    let lines = log.kept.take();
    assert!(lines.len() == 1 && lines[0].contains(r#""count":3"#), "{lines:?}");
    log.aggregator.flush();
    assert!(log.kept.take().is_empty());
}
