//! Audit events in a terminal: a readable line for each registration attempt, for each sign-in by a metadata document, and for
//! each change of a client. Files (`--audit`) and log pipelines ([`TracingSink`](tower_dcr::audit::TracingSink)) get the whole events.

use std::fmt::Write as _;
use std::io::{Write as _, stderr};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};
use tower_dcr::audit::{Event, LifecycleEvent, Outcome, Sink};
use tower_dcr::rules::visible;
use url::Url;

pub(crate) struct Lines;

impl Sink for Lines {
    fn emit(&self, event: &Event) {
        print(&attempt(event));
    }

    fn emit_lifecycle(&self, event: &LifecycleEvent) {
        print(&change(event));
    }
}

/// Prints a line for a sign-in that is accepted without a registration: the gate has verified the document of the client.
#[expect(clippy::disallowed_methods, reason = "the time of a line in a terminal")]
pub(crate) fn sign_in(client: &Map<String, Value>, redirect_uri: &str, url: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = u64::try_from(now.as_millis()).unwrap_or_default();
    let target = targets([redirect_uri].into_iter());
    let name = name(client.get("client_name"));
    print(&format!("{} {:<12} {name} -> {target}, signs in by its document {}", time(now), "accepted", short(url)));
}

fn print(line: &str) {
    // A closed terminal must not stop the server.
    let _gone = writeln!(stderr(), "{line}");
}

/// `12:03:44Z rejected     "Claude" -> javascript:, redirect-uris: uses a scheme that is never allowed`
fn attempt(event: &Event) -> String {
    let mut line = format!("{} {:<12}", time(event.time_ms), event.outcome.to_string());
    if let Some(count) = event.count {
        _ = write!(line, " {count} more");
    }
    if let Some(Value::Object(document)) = &event.document {
        let uris = document.get("redirect_uris").and_then(Value::as_array);
        let targets = targets(uris.into_iter().flatten().filter_map(Value::as_str));
        _ = write!(line, " {} -> {targets}", name(document.get("client_name")));
    }
    if matches!(event.outcome, Outcome::Accepted | Outcome::Deduplicated | Outcome::Rewritten) {
        if let Some(client_id) = &event.client_id {
            _ = write!(line, ", client {}", short(client_id));
        }
    } else {
        let reason = event.reason.as_deref().map(|reason| format!(": {}", visible(reason)));
        _ = write!(line, ", {}{}", event.rule.unwrap_or("no rule"), reason.unwrap_or_default());
    }
    line
}

/// `12:05:10Z revoked      "My App", client jN5…: imitates us`
fn change(event: &LifecycleEvent) -> String {
    let action = event.action.to_string().replace('_', " ");
    let mut line = format!("{} {action:<12}", time(event.time_ms.unsigned_abs()));
    if let Some(count) = event.count {
        _ = write!(line, " {count} more");
    }
    if let Some(name) = &event.client_name {
        _ = write!(line, " \"{}\",", short(name));
    }
    if let Some(client_id) = &event.client_id {
        _ = write!(line, " client {}", short(client_id));
    }
    if let Some(subject) = &event.subject {
        _ = write!(line, " {}", short(subject));
    }
    if let Some(reason) = event.reason.as_deref().filter(|reason| !reason.is_empty()) {
        _ = write!(line, ": {}", visible(reason));
    }
    line
}

/// Returns the time of the day in UTC.
fn time(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000 % (24 * 3600);
    format!("{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// Returns the name in quotes.
fn name(name: Option<&Value>) -> String {
    match name {
        None | Some(Value::Null) => "(no name)".to_owned(),
        Some(Value::String(name)) => format!("\"{}\"", short(name)),
        Some(_) => "(invalid name)".to_owned(),
    }
}

/// Returns the hosts that codes go to, each once; of other schemes, the scheme.
fn targets<'a>(uris: impl Iterator<Item = &'a str>) -> String {
    let mut targets: Vec<String> = Vec::new();
    for uri in uris {
        let target = match Url::parse(uri) {
            Ok(url) => match (url.scheme(), url.host_str()) {
                ("http" | "https", Some(host)) => short(host),
                (scheme, _) => format!("{}:", short(scheme)),
            },
            Err(_) => "(invalid URI)".to_owned(),
        };
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    let more = targets.len().saturating_sub(3);
    targets.truncate(3);
    match (targets.is_empty(), more) {
        (true, _) => "(no redirect URI)".to_owned(),
        (false, 0) => targets.join(" "),
        (false, more) => format!("{} and {more} more", targets.join(" ")),
    }
}

/// Returns the text for a terminal: at most 64 characters, with the invisible ones spelled out.
fn short(text: &str) -> String {
    let cut: String = text.chars().take(64).collect();
    let ellipsis = if cut.len() < text.len() { "…" } else { "" };
    format!("{}{ellipsis}", visible(&cut))
}
