//! `dcr clients`.

use std::error::Error;
use std::time::{Duration, UNIX_EPOCH};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower_dcr::Registration;
use tower_dcr::ledger::{Client, ClientKey, Fingerprint, Grouping};
use tower_dcr::registrar::{Checked, RevokeError, Verdict};
use tower_dcr::review::{Queue, Review, ReviewError};

use super::output::{Paint, escaped, painted};
use super::{DIFFERS, OK, Outcome, PolicyArg, REFUSED, compat, ledger, output, policy};

#[derive(Debug, Subcommand)]
pub(super) enum Clients {
    /// Lists clients, the newest first.
    List {
        #[command(flatten)]
        ledger: LedgerArg,
        /// Which.
        #[arg(long, value_parser = queues(), default_value = "all")]
        queue: Queue,
    },
    /// Lists clients that got no token for half of their time, the newest first.
    Stale(LedgerArg),
    /// Lists registrations that are there more than once.
    Duplicates(LedgerArg),
    /// Lists clients with one name and one shape of redirect URIs.
    Families(LedgerArg),
    /// Says what today's policy makes of what was registered yesterday.
    ///
    /// Exit status: 0 if everything would pass, 3 if something would be rewritten, 4 if something would be refused.
    Drift {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        policy: PolicyArg,
    },
    /// Lets a pending client sign in, or notes that somebody looked at an active one.
    Approve {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        act: Act,
        /// Which record, by its number in `list`, if several have the `client_id`.
        #[arg(long, value_name = "NUMBER")]
        record: Option<i64>,
        /// The `client_id`.
        client_id: String,
    },
    /// Removes the record of a client, so that the server can give its `client_id` to another.
    ///
    /// For a server that lost its clients and gives out their ids again. What was blocked stays blocked. A gate takes the
    /// client for one that it does not know, and lets it pass unless `gate.unknown = "reject"`: forget no revoked client
    /// that the server still knows.
    Forget {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        who: Who,
        /// Which record, by its number in `list`; otherwise all that have the `client_id`.
        #[arg(long, value_name = "NUMBER")]
        record: Option<i64>,
        /// The `client_id`.
        client_id: String,
    },
    /// Ends clients, and keeps them out.
    Revoke {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        act: Act,
        /// Which record, by its number in `list`, if several have the `client_id`.
        #[arg(long, value_name = "NUMBER")]
        record: Option<i64>,
        /// The `client_id`, or what clients have in common, as `family=…`, `name=…`, `redirect_set=…`, `software_id=…` or
        /// `source=…`.
        target: String,
    },
    /// Says which of the clients that are known a policy would break.
    ///
    /// Exit status: 0 if none, 4 if some.
    Compat {
        #[command(flatten)]
        policy: PolicyArg,
        /// Lists those that it does not break, too.
        #[arg(long)]
        all: bool,
    },
}

#[derive(Args, Debug)]
pub(super) struct LedgerArg {
    /// The ledger: `sqlite:FILE`, `postgres://HOST/DATABASE`. Its tables are brought up to date.
    #[arg(long, short, env = "DCR_LEDGER", value_name = "URL", hide_env_values = true)]
    ledger: String,
    /// How many to show.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: u32,
}

/// Who does it, and why: both are in the record.
#[derive(Args, Debug)]
pub(super) struct Who {
    /// Who does it.
    #[arg(long, env = "USER", value_name = "NAME")]
    operator: String,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

/// Who does it and why, and how long clients live then.
#[derive(Args, Debug)]
pub(super) struct Act {
    #[command(flatten)]
    who: Who,
    /// The policy that says how long clients live: a file, or the name of a preset.
    #[arg(long, short, env = "DCR_POLICY", default_value = "mcp", value_name = "FILE")]
    policy: String,
}

/// Reads the name of a queue.
fn queues() -> impl TypedValueParser<Value = Queue> {
    PossibleValuesParser::new(Queue::ALL.map(Queue::as_str))
        .map(|name| Queue::ALL.into_iter().find(|queue| queue.as_str() == name).unwrap_or(Queue::All))
}

impl Clients {
    pub(super) fn run(self, json: bool) -> Outcome {
        match self {
            Self::List { ledger, queue } => list(&ledger, queue, json),
            Self::Stale(ledger) => list(&ledger, Queue::Stale, json),
            Self::Duplicates(ledger) => groups(&ledger, Grouping::Duplicates, json),
            Self::Families(ledger) => groups(&ledger, Grouping::Families, json),
            Self::Drift { ledger, policy } => drift(&ledger, &policy.policy, json),
            Self::Approve { ledger, act, record, client_id } => {
                approve(&ledger, &act, record.map(ClientKey), &client_id, json)
            }
            Self::Forget { ledger, who, record, client_id } => {
                forget(&ledger, &who, record.map(ClientKey), &client_id, json)
            }
            Self::Revoke { ledger, act, record, target } => revoke(&ledger, &act, record.map(ClientKey), &target, json),
            Self::Compat { policy, all } => compat::run(&policy.policy, all, json),
        }
    }
}

fn list(ledger: &LedgerArg, queue: Queue, json: bool) -> Outcome {
    let (runtime, review) = ledger::open(&ledger.ledger, None)?;
    let mut clients = Vec::new();
    let mut cursor = None;
    while clients.len() < ledger.limit as usize {
        let more = ledger.limit - u32::try_from(clients.len()).unwrap_or(u32::MAX);
        let page = runtime.block_on(review.list(queue, cursor, more))?;
        clients.extend(page.clients);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if json {
        output::json(&clients.iter().map(|client| as_json(client, &review)).collect::<Vec<_>>())?;
    } else if !clients.is_empty() {
        let mut table =
            output::table(&["CLIENT_ID", "STATE", "NAME", "REDIRECTS TO", "REGISTERED", "LAST USED", "IDENTITY"]);
        for client in &clients {
            table.add_row([
                escaped(&shown_id(client, &clients)),
                client.state(review.now()).as_str().to_owned(),
                escaped(&name(client).unwrap_or_else(|| "-".into())),
                escaped(&client.fingerprints.redirect_hosts.join(" ")),
                day(Some(client.created_at)),
                day(client.proven_at),
                client.identity.as_ref().map_or_else(|| "-".into(), |identity| escaped(&identity.to_string())),
            ]);
        }
        output::print_table(&table)?;
    }
    Ok(OK)
}

/// The `client_id`, and which record it is if another one here has the same.
fn shown_id(client: &Client, clients: &[Client]) -> String {
    let Some(id) = &client.client_id else { return "-".into() };
    let is_shared = !client.variant.is_empty()
        || clients.iter().any(|other| other.key != client.key && other.client_id == client.client_id);
    if is_shared { format!("{id} (record {})", client.key.0) } else { id.clone() }
}

fn as_json(client: &Client, review: &Review) -> Value {
    json!({
        "client_id": client.client_id, "record": client.key, "state": client.state(review.now()).as_str(), "client_name": name(client),
        "registration": serde_json::from_str::<Value>(&client.registration).ok(), "family": client.fingerprints.family,
        "redirect_hosts": client.fingerprints.redirect_hosts, "created_at": client.created_at, "proven_at": client.proven_at,
        "expires_at": client.expires_at, "reviewed_by": client.reviewed_by, "admitted_by": client.admitted_by,
        "identity": client.identity, "policy": client.policy, "reason": client.reason,
    })
}

fn name(client: &Client) -> Option<String> {
    Registration::parse(client.registration.as_bytes()).ok()?.string("client_name").map(str::to_owned)
}

/// A day as people write it; the time is in the JSON.
fn day(milliseconds: Option<i64>) -> String {
    let Some(since) = milliseconds.and_then(|milliseconds| u64::try_from(milliseconds).ok()) else { return "-".into() };
    let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(since)).to_string();
    time.split('T').next().unwrap_or_default().to_owned()
}

fn groups(ledger: &LedgerArg, by: Grouping, json: bool) -> Outcome {
    let (runtime, review) = ledger::open(&ledger.ledger, None)?;
    let groups = runtime.block_on(review.groups(by, ledger.limit))?;
    if json {
        output::json(&groups)?;
    } else if !groups.is_empty() {
        let mut table = output::table(&["CLIENTS", "NAME", "REVOKE ALL WITH"]);
        let kind = if by == Grouping::Duplicates { "digest" } else { "family" };
        for group in &groups {
            let name = group.client_name.as_deref().map_or_else(|| "-".into(), escaped);
            table.add_row([group.clients.to_string(), name, format!("{kind}={}", escaped(&group.key))]);
        }
        output::print_table(&table)?;
    }
    Ok(OK)
}

fn drift(ledger: &LedgerArg, named: &str, json: bool) -> Outcome {
    let (preset, _) = policy::rules(named)?;
    let (runtime, review) = ledger::open(&ledger.ledger, Some(&preset))?;
    let mut found = Vec::new();
    let bar = output::progress(None, "clients");
    let note = |checked: &Checked<'_>| {
        bar.set_length(checked.total);
        bar.inc(1);
        let (fate, why) = match &checked.verdict {
            Verdict::Passes => return,
            Verdict::Rewritten(findings) => {
                let why: Vec<String> =
                    findings.iter().map(|finding| format!("{} {}", finding.rule, finding.field)).collect();
                ("rewrite", why.join(", "))
            }
            Verdict::Refused { description, .. } => ("refuse", description.clone()),
            _ => ("unreadable", String::new()),
        };
        if found.len() < ledger.limit as usize {
            let id = checked.client.client_id.clone().unwrap_or_default();
            found.push((id, name(checked.client), fate, why));
        }
    };
    let drift = runtime.block_on(review.registrar().drift(preset.policy(), note))?;
    bar.finish_and_clear();
    if json {
        let clients: Vec<_> = found
            .iter()
            .map(|(id, name, fate, why)| json!({"client_id": id, "client_name": name, "fate": fate, "why": why}))
            .collect();
        output::json(&json!({
            "checked": drift.checked, "passing": drift.passing, "rewritten": drift.rewritten, "refused": drift.refused,
            "unreadable": drift.unreadable, "clients": clients,
        }))?;
    } else {
        if !found.is_empty() {
            let mut table = output::table(&["CLIENT_ID", "NAME", "", "WHY"]);
            for (id, name, fate, why) in &found {
                table.add_row([escaped(id), escaped(name.as_deref().unwrap_or("-")), (*fate).to_owned(), escaped(why)]);
            }
            output::print_table(&table)?;
        }
        let summary = format!(
            "{} clients: {} pass, {} would be rewritten, {} refused, {} can't be read",
            drift.checked, drift.passing, drift.rewritten, drift.refused, drift.unreadable
        );
        output::line(painted(&summary, if drift.refused > 0 { &Paint::Bad } else { &Paint::Good }))?;
    }
    Ok(match () {
        () if drift.refused > 0 => REFUSED,
        () if drift.passing < drift.checked => DIFFERS,
        () => OK,
    })
}

fn approve(ledger: &LedgerArg, act: &Act, record: Option<ClientKey>, client_id: &str, json: bool) -> Outcome {
    let preset = policy::load(&act.policy)?;
    let (runtime, review) = ledger::open(&ledger.ledger, Some(&preset))?;
    let client = match record {
        Some(key) => {
            check_record(&runtime, &review, key, client_id)?;
            runtime.block_on(review.approve_record(key, &act.who.operator, &act.who.reason))?
        }
        None => runtime.block_on(review.approve(client_id, &act.who.operator, &act.who.reason)).map_err(|error| {
            let is_ambiguous = matches!(error, ReviewError::Ambiguous);
            hinting(error, is_ambiguous)
        })?,
    };
    if json {
        output::json(&as_json(&client, &review))?;
    } else {
        output::line(format_args!("{} is {}", escaped(client_id), client.state(review.now()).as_str()))?;
    }
    Ok(OK)
}

fn forget(ledger: &LedgerArg, who: &Who, record: Option<ClientKey>, client_id: &str, json: bool) -> Outcome {
    let (runtime, review) = ledger::open(&ledger.ledger, None)?;
    let forgotten = runtime.block_on(review.forget(client_id, record, &who.operator, &who.reason))?;
    if json {
        output::json(&json!({"records": forgotten.records, "revoked": forgotten.revoked}))?;
    } else {
        let records = forgotten.records;
        output::line(format_args!("{records} records of {} removed; blocks stay", escaped(client_id)))?;
    }
    Ok(OK)
}

/// Says which record is meant, and not another.
fn check_record(runtime: &Runtime, review: &Review, key: ClientKey, client_id: &str) -> Result<(), Box<dyn Error>> {
    match runtime.block_on(review.record(key))? {
        Some(client) if client.client_id.as_deref() == Some(client_id) => Ok(()),
        _ => Err(format!("record {} is none of {client_id:?}", key.0).into()),
    }
}

/// An error, with how to name one of several records if that is what is missing.
fn hinting(error: impl Error + 'static, is_ambiguous: bool) -> Box<dyn Error> {
    if is_ambiguous {
        return format!("{error}, with --record NUMBER; `dcr clients list` has the numbers").into();
    }
    error.into()
}

fn revoke(ledger: &LedgerArg, act: &Act, record: Option<ClientKey>, target: &str, json: bool) -> Outcome {
    let (runtime, review) = ledger::open(&ledger.ledger, None)?;
    let revoked = match record {
        Some(key) => {
            check_record(&runtime, &review, key, target)?;
            runtime.block_on(review.revoke_record(target, key, &act.who.operator, &act.who.reason))?
        }
        None => {
            let target = read_target(target)?;
            runtime.block_on(review.revoke(target, &act.who.operator, &act.who.reason)).map_err(|error| {
                let is_ambiguous = matches!(error, RevokeError::Ambiguous);
                hinting(error, is_ambiguous)
            })?
        }
    };
    if json {
        output::json(&json!({"clients": revoked.clients, "not_deprovisioned": revoked.not_deprovisioned}))?;
    } else {
        output::line(format_args!("{} clients revoked", revoked.clients))?;
    }
    Ok(OK)
}

/// `kind=value`, or a `client_id`.
fn read_target(target: &str) -> Result<Fingerprint, Box<dyn Error>> {
    match target.split_once('=') {
        // A client_id may have any character in it; a kind of fingerprint is one of a few.
        Some((kind, value)) if Fingerprint::from_parts(kind, "").is_some() => Ok(Fingerprint::parse(kind, value)?),
        _ => Ok(Fingerprint::ClientId(target.to_owned())),
    }
}
