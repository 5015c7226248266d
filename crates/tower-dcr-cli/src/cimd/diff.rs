//! `dcr cimd diff`.

use std::error::Error;

use clap::Args;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower_dcr::Preset;
use tower_dcr::clients::{AdminError, Block, Change, Client, Fingerprints, HeldChange, Origin, Registrar, Status};
use tower_dcr::documents::{DocumentError, Documents, VerifiedClient};

use super::{Hosts, admission, parse, with_client_id};
use crate::check::print_diff;
use crate::clients::{LedgerArg, state, time, written};
use crate::ledger::Access;
use crate::output::{Paint, escaped, painted};
use crate::{DIFFERS, OK, Outcome, PolicyArg, REJECTED, ledger, output, policy};

#[derive(Args, Debug)]
pub(crate) struct Diff {
    #[command(flatten)]
    ledger: LedgerArg,
    #[command(flatten)]
    policy: PolicyArg,
    #[command(flatten)]
    hosts: Hosts,
    /// The URL: the `client_id` of the client.
    #[arg(value_name = "URL")]
    url: String,
}

/// The document that is published now.
enum Live {
    Verified(VerifiedClient),
    Rejected(Stopped),
}

/// The step that rejects it.
struct Stopped {
    step: &'static str,
    reason: String,
    /// The kind of change. `None` if the URL is not even fetched.
    class: Option<Class>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Broken,
    Unreachable,
    Withdrawn,
}

/// The consequence at a server that fetches the document: its name in the JSON, a sentence, and the time at which it ends or begins.
struct Effect {
    name: &'static str,
    sentence: String,
    until: Option<i64>,
}

/// A record, the document that is published now, and their difference.
struct Compared<'a> {
    preset: &'a Preset,
    client: Client,
    live: Live,
    change: Option<Change>,
    block: Option<Block>,
    now: i64,
}

impl Diff {
    pub(super) fn run(self, json: bool) -> Outcome {
        let (preset, fingerprint) = policy::rules(&self.policy.policy)?;
        let named = |error| ledger::named(self.ledger.url(), error);
        let (runtime, registrar) = self.ledger.open(Access::Read, Some(&preset)).map_err(named)?;
        let client = self.record(&runtime, &registrar).map_err(named)?;
        let live = self.live(&runtime, &preset)?;
        let block = runtime.block_on(registrar.block_of(&as_if_recorded(&client, &live)));
        let block = block.map_err(|error| named(error.into()))?;
        let change = live.verified().and_then(|live| live.change_since(&client));
        let compared = Compared { preset: &preset, client, live, change, block, now: registrar.now() };
        if json {
            output::json(&compared.as_json(&fingerprint))?;
        } else {
            compared.print()?;
        }
        Ok(match compared.verdict() {
            "refuse" => REJECTED,
            "differs" => DIFFERS,
            _ => OK,
        })
    }

    /// Returns the record of the document.
    fn record(&self, runtime: &Runtime, registrar: &Registrar) -> Result<Client, Box<dyn Error>> {
        let records = runtime.block_on(registrar.records(&self.url))?;
        if records.iter().any(|client| client.origin == Origin::Registered) {
            return Err(format!("{:?} is the client_id of a registration, not of a document", self.url).into());
        }
        let is_seen = !records.is_empty();
        match records.into_iter().find(|client| client.origin == Origin::Document) {
            Some(client) => Ok(client),
            None if is_seen => {
                Err(format!("{:?} was seen in use, but its document was never fetched", self.url).into())
            }
            None => Err(AdminError::UnknownClient.into()),
        }
    }

    /// Fetches and judges the document as a server does it.
    fn live(&self, runtime: &Runtime, preset: &Preset) -> Result<Live, Box<dyn Error>> {
        let settings = preset.document_settings();
        let url = match parse(&self.url, &settings) {
            Ok(url) => url,
            Err(error) => return Ok(Live::Rejected(Stopped::by(&error))),
        };
        if let Err(reason) = admission(&settings, &url) {
            return Ok(Live::Rejected(Stopped { step: "admission", reason, class: None }));
        }
        let server = preset.clone().with_documents(Documents::new(self.hosts.fetcher()?));
        Ok(match runtime.block_on(server.resolve_document(&url, None)) {
            Ok(client) => Live::Verified(client),
            Err(error) => Live::Rejected(Stopped::by(&error)),
        })
    }
}

/// Returns the record with the fingerprints of the published document: one of them may be blocked.
fn as_if_recorded(client: &Client, live: &Live) -> Client {
    let mut next = client.clone();
    if let Some(live) = live.verified() {
        next.fingerprints = Fingerprints::of(live.registration(), false);
    }
    next
}

impl Live {
    fn verified(&self) -> Option<&VerifiedClient> {
        match self {
            Self::Verified(client) => Some(client),
            Self::Rejected(_) => None,
        }
    }

    fn stopped(&self) -> Option<&Stopped> {
        match self {
            Self::Verified(_) => None,
            Self::Rejected(stopped) => Some(stopped),
        }
    }
}

impl Stopped {
    fn by(error: &DocumentError) -> Self {
        let (step, class) = match error {
            DocumentError::Url(_) => ("url", None),
            DocumentError::NotAdmitted => ("admission", None),
            DocumentError::Json(_) => ("json", Some(Class::Broken)),
            DocumentError::ClientId => ("client_id", Some(Class::Broken)),
            DocumentError::Rejected(_) => ("rules", Some(Class::Broken)),
            error => match error.as_str() {
                "gone" => ("fetch", Some(Class::Withdrawn)),
                // The host names an address that is not public: an answer, and no outage.
                "address_rejected" => ("fetch", Some(Class::Broken)),
                _ => ("fetch", Some(Class::Unreachable)),
            },
        };
        Self { step, reason: output::causes(error), class }
    }
}

impl Class {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Unreachable => "unreachable",
            Self::Withdrawn => "withdrawn",
        }
    }
}

impl Effect {
    fn new(name: &'static str, sentence: impl Into<String>) -> Self {
        Self { name, sentence: sentence.into(), until: None }
    }

    fn until(name: &'static str, until: i64, sentence: impl Into<String>) -> Self {
        Self { until: Some(until), ..Self::new(name, sentence) }
    }
}

impl Compared<'_> {
    fn verdict(&self) -> &'static str {
        match (&self.live, self.change) {
            (Live::Rejected(_), _) => "refuse",
            (Live::Verified(_), Some(_)) => "differs",
            (Live::Verified(_), None) => "same",
        }
    }

    /// Returns the kind of change, in the words of ledgers.
    fn change(&self) -> Option<String> {
        let class = self.live.stopped().and_then(|stopped| stopped.class).map(|class| class.as_str().to_owned());
        class.or_else(|| self.change.map(|change| change.to_string()))
    }

    fn held(&self) -> Option<&HeldChange> {
        self.client.document.as_ref().and_then(|document| document.held.as_ref())
    }

    /// Returns `true` if the held change is the published document.
    fn is_held_version(&self, held: &HeldChange) -> bool {
        self.live.verified().is_some_and(|live| live.registration().canonical_bytes() == held.registration.as_bytes())
    }

    /// Returns `true` if other rules made another version of the same document.
    fn has_same_bytes(&self) -> bool {
        let digest = self.client.document.as_ref().map(|document| document.digest.as_str());
        self.live.verified().is_some_and(|live| digest == Some(live.digest().to_string().as_str()))
    }

    fn effect(&self) -> Effect {
        if let Some(block) = &self.block {
            let blocked = format!("{} is blocked: {}", written(&block.fingerprint), block.reason);
            return Effect::new("rejected", format!("the client is rejected: {blocked}"));
        }
        match (self.client.status_at(self.now), &self.live) {
            (Status::Active, Live::Verified(_)) => self.effect_of_change(),
            (Status::Active, Live::Rejected(stopped)) => self.effect_of_rejection(stopped),
            (Status::Pending, Live::Verified(_)) => {
                Effect::new("pending", "the client is rejected until an operator approves it")
            }
            (_, Live::Verified(_)) => {
                Effect::new("begins_anew", "the client has ended, and begins anew with its next use")
            }
            (_, Live::Rejected(_)) => Effect::new("rejected", "the client is rejected"),
        }
    }

    fn effect_of_change(&self) -> Effect {
        let waits = self.change.is_some_and(|change| change >= Change::Widening);
        match (self.held(), self.change) {
            (None, None) => Effect::new("none", "nothing changes"),
            (Some(_), None) => {
                Effect::new("hold_ends", "the version in force stays, and the change that waits is dropped")
            }
            (None, Some(_)) if !waits => Effect::new("in_force", "in force as soon as a server fetches it"),
            (Some(_), Some(_)) if !waits => {
                Effect::new("in_force", "in force as soon as a server fetches it, and the change that waits is dropped")
            }
            (Some(held), Some(_)) => self.effect_of_hold(held),
            (None, Some(_)) => Effect::new(
                "held",
                format!(
                    "held for approval; until then the version in force stays, at most for {}",
                    hold_time(self.preset)
                ),
            ),
        }
    }

    fn effect_of_hold(&self, held: &HeldChange) -> Effect {
        let version = if self.is_held_version(held) { "it" } else { "an earlier version" };
        if held.until <= self.now {
            let sentence = format!("new sign-ins are rejected: {version} was not approved in time");
            return Effect::until("suspended", held.until, sentence);
        }
        let stays = format!("{version} waits for approval; until then the version in force stays");
        let sentence = match held.until {
            i64::MAX => stays,
            until => format!("{stays}, at most until {}", time(until)),
        };
        Effect::until("held", held.until, sentence)
    }

    /// Returns the consequence of a document that is no longer accepted: the last version may stay for a while.
    fn effect_of_rejection(&self, stopped: &Stopped) -> Effect {
        if let Some(held) = self.held().filter(|held| held.until <= self.now) {
            return self.effect_of_hold(held);
        }
        let (Some(class), true) = (stopped.class, stopped.step != "rules") else {
            return Effect::new("rejected", "the client is rejected");
        };
        let fresh = self.client.document.as_ref().map_or(i64::MIN, |document| document.fresh_until);
        let grace = match class {
            Class::Unreachable => self.preset.document_settings().max_stale.as_millis(),
            Class::Broken | Class::Withdrawn => 0,
        };
        let until = fresh.saturating_add(i64::try_from(grace).unwrap_or(i64::MAX));
        let then = match class {
            Class::Broken => "the client is rejected",
            Class::Unreachable => "requests are told to try again later",
            Class::Withdrawn => "the client is rejected, and ends once the document is gone for an hour",
        };
        if until <= self.now {
            let name = if class == Class::Unreachable { "unavailable" } else { "rejected" };
            return Effect::until(name, until, format!("{then}, since {}", shown(until)));
        }
        Effect::until("goes_on", until, format!("the version in force stays until {}; then {then}", shown(until)))
    }

    /// Returns the stored document and the published one, each with its `client_id`.
    fn versions(&self) -> (Vec<u8>, Option<Vec<u8>>) {
        let stored = self.client.registration.as_bytes();
        let url = self.client.client_id.as_deref().unwrap_or_default();
        // That of a client that was revoked long ago is gone.
        let stored = with_client_id(stored, url).unwrap_or_else(|| b"{}".to_vec());
        (stored, self.live.verified().map(|live| live.document().to_vec()))
    }

    fn as_json(&self, fingerprint: &str) -> Value {
        let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
        let (stopped, effect, (before, after)) = (self.live.stopped(), self.effect(), self.versions());
        json!({
            "client_id": self.client.client_id,
            "record": self.client.key,
            "state": state(&self.client, self.now),
            "verdict": self.verdict(),
            "change": self.change(),
            "step": stopped.map(|stopped| stopped.step),
            "description": stopped.map(|stopped| &stopped.reason),
            "effect": effect.name,
            "effect_description": effect.sentence,
            "until": effect.until,
            "held": self.held(),
            "is_held_version": self.held().is_some_and(|held| self.is_held_version(held)),
            "same_bytes": self.has_same_bytes(),
            "policy": fingerprint,
            "report_only": policy::only_reports(self.preset),
            "before": parsed(&before),
            "after": after.as_deref().and_then(parsed),
        })
    }

    fn print(&self) -> Result<(), Box<dyn Error>> {
        match (self.live.stopped(), self.change) {
            (Some(Stopped { step, reason, .. }), _) => {
                output::line(format_args!("{}  {step}: {}", painted("reject", &Paint::Bad), escaped(reason)))?;
            }
            (None, Some(_)) => output::line(painted("differs", &Paint::Mild))?,
            (None, None) => output::line(painted("same", &Paint::Good))?,
        }
        for (title, text) in self.rows() {
            output::line(format_args!("{title:<9}  {}", escaped(&text)))?;
        }
        if policy::only_reports(self.preset) {
            output::line("report-only: a server under this policy enforces not all of its rules")?;
        }
        let (before, after) = self.versions();
        after.map_or(Ok(()), |after| print_diff(&before, &after))
    }

    /// Returns the known facts, each with a title.
    fn rows(&self) -> Vec<(&'static str, String)> {
        let document = self.client.document.as_deref();
        let times = document.map(|document| {
            format!(", fetched {}, fresh until {}", time(document.fetched_at), time(document.fresh_until))
        });
        let same_bytes = "the same bytes as before: other rules judge them now";
        let held = self.held().map(|held| {
            let version = if self.is_held_version(held) { ", this version" } else { "" };
            format!("{} since {}, until {}{version}", held.change, shown(held.since), shown(held.until))
        });
        let rows = [
            ("client_id", self.client.client_id.clone()),
            ("in force", Some(format!("{}{}", state(&self.client, self.now), times.unwrap_or_default()))),
            ("held", held),
            ("change", self.change()),
            ("published", (self.change.is_some() && self.has_same_bytes()).then(|| same_bytes.to_owned())),
            ("effect", Some(self.effect().sentence)),
        ];
        rows.into_iter().filter_map(|(title, text)| Some((title, text?))).collect()
    }
}

/// Returns a time, or `never`: `lifecycle.document_hold` may be that.
fn shown(milliseconds: i64) -> String {
    if milliseconds == i64::MAX { "never".to_owned() } else { time(milliseconds) }
}

/// Returns the time for which the version in force stays beside one that waits.
fn hold_time(preset: &Preset) -> String {
    let written = serde_json::to_value(preset).unwrap_or_default();
    let time = written.pointer("/lifecycle/document_hold").and_then(Value::as_str);
    let time = time.map_or_else(|| "24h by default".to_owned(), str::to_owned);
    format!("lifecycle.document_hold ({time})")
}
