//! `dcr clients`.

use std::error::Error;
use std::time::{Duration, UNIX_EPOCH};

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower_dcr::Preset;
use tower_dcr::clients::{
    Actor, AdminError, Block, Client, ClientKey, ClientPage, ClientQueue, ClientRef, Fingerprint, Grouping,
    LedgerError, Origin, Registrar, Revocation, Status,
};
use tower_dcr::documents::{ClientIdUrl, ClientIdUrlError, ClientIdUrlOptions, DocumentSettings};
use tower_dcr::registration::ParseError;
use tower_dcr::rules::{ConfigError, Decision, Evaluation, Rejection};

use super::ledger::Access;
use super::output::{Paint, escaped, painted};
use super::{DIFFERS, NOTHING, OK, Outcome, PolicyArg, REJECTED, cimd, compat, ledger, output, policy};

#[derive(Debug, Subcommand)]
pub(super) enum Clients {
    /// Lists clients, the newest first.
    List {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        limit: Limit,
        /// The clients to list.
        #[arg(long, value_parser = queues(), default_value = "all")]
        queue: ClientQueue,
    },
    /// Lists active clients that got no token for more than half of their lifetime, the newest first.
    Stale {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        limit: Limit,
        /// Lists clients that would be stale or expired under the lifetimes of another policy: a file, or the name of a
        /// preset. By default, the lifetimes in the records apply.
        #[arg(long, short, value_name = "FILE")]
        policy: Option<String>,
    },
    /// Lists registrations that occur more than once.
    Duplicates {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        limit: Limit,
    },
    /// Lists groups of clients with the same name and the same kind of redirect URIs.
    Families {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        limit: Limit,
    },
    /// Lists blocks on further registrations, the newest first.
    Blocks {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        limit: Limit,
    },
    /// Prints the whole record of a client.
    #[command(allow_missing_positional = true)]
    Show {
        #[command(flatten)]
        ledger: LedgerArg,
        /// The number of the record in `list`, if several have the `client_id`.
        #[arg(long, value_name = "NUMBER")]
        record: Option<i64>,
        /// The `client_id`.
        client_id: String,
    },
    /// Re-evaluates stored registrations and metadata documents under a policy.
    ///
    /// A document is judged as it is stored, by the rules for documents and `documents.admission`; nothing is fetched.
    /// Exit status: 0 if all would be accepted unchanged, 3 if some would be rewritten, 4 if some would be rejected, 5 if
    /// there is no client.
    Drift {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        limit: Limit,
        #[command(flatten)]
        policy: PolicyArg,
    },
    /// Approves a pending client or a changed metadata document, or records a review.
    #[command(allow_missing_positional = true)]
    Approve {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        act: Act,
        /// The policy that sets the lifetimes of clients: a file, or the name of a preset.
        #[arg(long, short, env = "DCR_POLICY", default_value = "mcp", value_name = "FILE")]
        policy: String,
        /// The digest of the version of the metadata document that was looked at, as `show` prints it.
        ///
        /// If another version waits by now, nothing is approved.
        #[arg(long, value_name = "SHA256", value_parser = sha256)]
        digest: Option<String>,
        /// The number of the record in `list`, if several have the `client_id`.
        #[arg(long, value_name = "NUMBER")]
        record: Option<i64>,
        /// The `client_id`.
        client_id: String,
    },
    /// Extends the lifetime of a client, at most to the expiry of its secret. Never shortens it.
    #[command(allow_missing_positional = true)]
    Extend {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        act: Act,
        /// The time from now: `90days`, `12h`.
        #[arg(long = "for", value_name = "TIME", value_parser = some_time)]
        time: Duration,
        /// The number of the record in `list`, if several have the `client_id`.
        #[arg(long, value_name = "NUMBER")]
        record: Option<i64>,
        /// The `client_id`.
        client_id: String,
    },
    /// Removes the record of a client, so that the server can use its `client_id` for another.
    ///
    /// For servers that lost their clients and issue the same ids again. Blocks stay. A gate treats the client as unknown,
    /// and lets it pass unless `gate.unknown = "reject"`: never remove a revoked client that the server still knows.
    #[command(allow_missing_positional = true)]
    Forget {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        act: Act,
        /// The number of the record in `list`; by default, all that have the `client_id`.
        #[arg(long, value_name = "NUMBER")]
        record: Option<i64>,
        /// The `client_id`.
        client_id: String,
    },
    /// Revokes clients, and blocks their registration: `unblock` removes the block.
    #[command(allow_missing_positional = true)]
    Revoke {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        act: Act,
        /// The number of the record in `list`, if several have the `client_id`.
        #[arg(long, value_name = "NUMBER")]
        record: Option<i64>,
        /// The `client_id`, which may be the URL of a metadata document that was never used; or a fingerprint that clients
        /// share, as `digest=…` (64 hexadecimal digits), `family=…` or `redirect_set=…` (32 each), `name=…`,
        /// `software_id=…`, `source=…`, `document_host=…` or `document_site=…`.
        target: String,
    },
    /// Removes a block on further registrations. Revoked clients stay revoked.
    ///
    /// The client of a metadata document begins anew when its URL is used the next time.
    #[command(allow_missing_positional = true)]
    Unblock {
        #[command(flatten)]
        ledger: LedgerArg,
        #[command(flatten)]
        operator: Operator,
        /// The reason. The output with `--json` has it; the record of the block is removed.
        #[arg(long, value_name = "TEXT", value_parser = not_blank)]
        reason: Option<String>,
        /// The blocked fingerprint, as `blocks` and `revoke` print it: `name=…`, `digest=…`.
        #[arg(value_name = "BLOCK")]
        target: String,
    },
    /// Lists known MCP clients that a policy would reject: by their registrations, and by their metadata documents.
    ///
    /// Documents are judged by `documents.admission` and the rules for documents. Exit status: 0 if none is rejected, 4 if some are.
    Compat {
        #[command(flatten)]
        policy: PolicyArg,
        /// Lists the others, too.
        #[arg(long)]
        all: bool,
    },
}

/// A ledger. No command creates one or changes its tables; commands that only read open it read-only.
#[derive(Args, Debug)]
pub(super) struct LedgerArg {
    /// The ledger: `sqlite:FILE`, `postgres://HOST/DATABASE`.
    #[arg(long = "ledger", short = 'l', env = LEDGER_VARIABLE, value_name = "URL", hide_env_values = true)]
    named: Option<String>,
    /// The ledger, instead of `--ledger`.
    #[arg(value_name = "LEDGER", required_unless_present = "named")]
    placed: Option<String>,
}

const LEDGER_VARIABLE: &str = "DCR_LEDGER";

#[derive(Args, Debug)]
pub(super) struct Limit {
    /// The maximum number to show.
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: u32,
}

#[derive(Args, Debug)]
pub(super) struct Operator {
    /// The name of the operator, for the record.
    #[arg(long, env = "USER", value_name = "NAME", value_parser = not_blank)]
    operator: String,
}

/// The operator and the reason: both are recorded.
#[derive(Args, Debug)]
pub(super) struct Act {
    #[command(flatten)]
    by: Operator,
    /// The reason, for the record.
    #[arg(long, value_name = "TEXT", value_parser = not_blank)]
    reason: String,
}

/// Parses a duration to add. Rejects zero.
fn some_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.as_millis() == 0 => Err("zero duration".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
    }
}

/// Rejects blank text: records are read later.
fn not_blank(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() { Err("empty text") } else { Ok(text.to_owned()) }
}

impl LedgerArg {
    pub(super) fn open(&self, access: Access, policy: Option<&Preset>) -> Result<(Runtime, Registrar), Box<dyn Error>> {
        let from_environment = || std::env::var(LEDGER_VARIABLE).ok();
        match (&self.placed, &self.named) {
            (Some(placed), Some(named)) if placed != named && from_environment().as_ref() != Some(named) => {
                Err(format!("two ledgers: {placed} and --ledger").into())
            }
            _ => ledger::open(self.url(), access, policy),
        }
    }

    /// Returns the URL. clap requires one of the two arguments.
    pub(super) fn url(&self) -> &str {
        self.placed.as_ref().or(self.named.as_ref()).map_or("", String::as_str)
    }
}

/// Reads the name of a queue.
fn queues() -> impl TypedValueParser<Value = ClientQueue> {
    PossibleValuesParser::new(ClientQueue::ALL.map(|queue| queue.to_string()))
        .try_map(|name| name.parse::<ClientQueue>())
}

impl Clients {
    pub(super) fn run(self, json: bool) -> Outcome {
        let url = self.ledger().map(|ledger| ledger.url().to_owned());
        self.act(json).map_err(|error| match url {
            Some(url) => ledger::named(&url, error),
            None => error,
        })
    }

    fn ledger(&self) -> Option<&LedgerArg> {
        match self {
            Self::List { ledger, .. }
            | Self::Stale { ledger, .. }
            | Self::Duplicates { ledger, .. }
            | Self::Families { ledger, .. }
            | Self::Blocks { ledger, .. }
            | Self::Show { ledger, .. }
            | Self::Drift { ledger, .. }
            | Self::Approve { ledger, .. }
            | Self::Extend { ledger, .. }
            | Self::Forget { ledger, .. }
            | Self::Revoke { ledger, .. }
            | Self::Unblock { ledger, .. } => Some(ledger),
            Self::Compat { .. } => None,
        }
    }

    fn act(self, json: bool) -> Outcome {
        match self {
            Self::List { ledger, limit, queue } => list(&ledger, limit.limit, queue, json),
            Self::Stale { ledger, limit, policy: None } => list(&ledger, limit.limit, ClientQueue::Stale, json),
            Self::Stale { ledger, limit, policy: Some(policy) } => stale_under(&ledger, limit.limit, &policy, json),
            Self::Duplicates { ledger, limit } => groups(&ledger, limit.limit, Grouping::Duplicates, json),
            Self::Families { ledger, limit } => groups(&ledger, limit.limit, Grouping::Families, json),
            Self::Blocks { ledger, limit } => blocks(&ledger, limit.limit, json),
            Self::Show { ledger, record, client_id } => show(&ledger, record.map(ClientKey), &client_id, json),
            Self::Drift { ledger, limit, policy } => drift(&ledger, limit.limit, &policy.policy, json),
            Self::Approve { ledger, act, policy, digest, record, client_id } => {
                let preset = policy::load(&policy)?;
                let (operator, reason) = (&*act.by.operator, &*act.reason);
                let policy = Some(&preset);
                let (record, digest) = (record.map(ClientKey), digest.as_deref());
                let change = Change { ledger: &ledger, policy, record, digest, time: None, json };
                change.run(&client_id, async |review, client| review.approve(client, operator, reason).await)
            }
            Self::Extend { ledger, act, time, record, client_id } => {
                let (operator, reason) = (&*act.by.operator, &*act.reason);
                let record = record.map(ClientKey);
                let change = Change { ledger: &ledger, policy: None, record, digest: None, time: Some(time), json };
                change.run(&client_id, async |review, client| review.extend(client, time, operator, reason).await)
            }
            Self::Forget { ledger, act, record, client_id } => {
                forget(&ledger, &act, record.map(ClientKey), &client_id, json)
            }
            Self::Revoke { ledger, act, record, target } => revoke(&ledger, &act, record.map(ClientKey), &target, json),
            Self::Unblock { ledger, operator, reason, target } => {
                unblock(&ledger, &operator.operator, reason.as_deref(), &target, json)
            }
            Self::Compat { policy, all } => compat::run(&policy.policy, all, json),
        }
    }
}

fn list(ledger: &LedgerArg, limit: u32, queue: ClientQueue, json: bool) -> Outcome {
    let (runtime, review) = ledger.open(Access::Read, None)?;
    let (clients, is_cut) =
        runtime.block_on(pages(limit, async |cursor, count| review.list(queue, cursor, count).await))?;
    print_list(&clients, is_cut, &review, json)
}

fn stale_under(ledger: &LedgerArg, limit: u32, policy: &str, json: bool) -> Outcome {
    let preset = policy::load(policy)?;
    let (runtime, review) = ledger.open(Access::Read, Some(&preset))?;
    let stale = async |cursor, count| review.stale(cursor, count).await;
    let (clients, is_cut) = runtime.block_on(pages(limit, stale))?;
    print_list(&clients, is_cut, &review, json)
}

/// Returns at most `limit` clients, and `true` if there are more.
async fn pages(
    limit: u32,
    mut page: impl AsyncFnMut(Option<ClientKey>, u32) -> Result<ClientPage, LedgerError>,
) -> Result<(Vec<Client>, bool), LedgerError> {
    let wanted = limit as usize;
    let (mut clients, mut cursor) = (Vec::new(), None);
    while clients.len() <= wanted {
        let more = u32::try_from(wanted + 1 - clients.len()).unwrap_or(u32::MAX);
        let page = page(cursor, more).await?;
        clients.extend(page.clients);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let is_cut = clients.len() > wanted;
    clients.truncate(wanted);
    Ok((clients, is_cut))
}

/// Returns the status of a client, or `stale`.
pub(super) fn state(client: &Client, now: i64) -> String {
    if client.is_stale(now) { "stale".to_owned() } else { client.status_at(now).to_string() }
}

fn print_list(clients: &[Client], is_cut: bool, review: &Registrar, json: bool) -> Outcome {
    if json {
        output::json(&clients.iter().map(|client| as_json(client, review)).collect::<Vec<_>>())?;
        return Ok(OK);
    }
    if !clients.is_empty() {
        let mut titles = vec!["CLIENT_ID", "STATE", "NAME", "REDIRECTS TO", "REGISTERED", "LAST USED", "IDENTITY"];
        let has_documents = clients.iter().any(|client| client.document.is_some());
        titles.extend(has_documents.then_some("DOCUMENT"));
        let mut table = output::table(&titles);
        for client in clients {
            let mut row = vec![
                escaped(&shown_id(client, clients)),
                state(client, review.now()),
                escaped(name(client).unwrap_or("-")),
                escaped(&client.fingerprints.redirect_hosts.join(" ")),
                day(Some(client.created_at)),
                day(client.last_used_at),
                client.identity.as_ref().map_or_else(|| "-".into(), |identity| escaped(&identity.to_string())),
            ];
            row.extend(has_documents.then(|| freshness(client, review.now()).unwrap_or_else(|| "-".to_owned())));
            table.add_row(row);
        }
        output::print_table(&table)?;
    }
    if is_cut {
        output::line("… and more: --limit COUNT")?;
    }
    Ok(OK)
}

/// Returns the state of the metadata document of a client, the gravest first.
fn freshness(client: &Client, now: i64) -> Option<String> {
    let document = client.document.as_ref()?;
    Some(match (&document.held, document.unreachable_since) {
        (Some(held), _) if held.until <= now => format!("suspended: {} not approved", held.change),
        (Some(held), _) => format!("{} to approve", held.change),
        (None, Some(since)) => format!("not usable since {}", time(since)),
        (None, None) if document.fresh_until <= now => {
            format!("to be fetched again since {}", time(document.fresh_until))
        }
        (None, None) => format!("fresh until {}", time(document.fresh_until)),
    })
}

/// Returns the `client_id`, with the record number if another listed client has the same.
fn shown_id(client: &Client, clients: &[Client]) -> String {
    let Some(id) = &client.client_id else { return "-".into() };
    let is_shared = !client.variant.is_empty()
        || clients.iter().any(|other| other.key != client.key && other.client_id == client.client_id);
    if is_shared { format!("{id} (record {})", client.key.0) } else { id.clone() }
}

fn as_json(client: &Client, review: &Registrar) -> Value {
    json!({
        "client_id": client.client_id, "record": client.key, "state": state(client, review.now()),
        "client_name": name(client), "registration": without_secrets(&client.registration), "family": client.fingerprints.family,
        "redirect_hosts": client.fingerprints.redirect_hosts, "created_at": client.created_at, "proven_at": client.last_used_at,
        "expires_at": client.expires_at, "reviewed_by": client.reviewed_by, "admitted_by": client.admitted_by,
        "statement_issuer": client.statement_issuer, "identity": client.identity, "policy": client.policy,
        "reason": client.reason, "origin": client.origin, "document": client.document,
        "document_host": client.document_host(),
    })
}

/// Returns a registration without secrets.
fn without_secrets(registration: &str) -> Option<Value> {
    let mut registration: Value = serde_json::from_str(registration).ok()?;
    for secret in ["client_secret", "registration_access_token"] {
        if let Some(value) = registration.get_mut(secret) {
            *value = "[redacted]".into();
        }
    }
    Some(registration)
}

fn name(client: &Client) -> Option<&str> {
    client.fingerprints.client_name.as_deref()
}

/// Formats a time to the second.
pub(super) fn time(milliseconds: i64) -> String {
    match u64::try_from(milliseconds) {
        Ok(since) => humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_millis(since)).to_string(),
        Err(_) => milliseconds.to_string(),
    }
}

/// Formats a day; the JSON has the time.
fn day(milliseconds: Option<i64>) -> String {
    match milliseconds {
        None => "-".into(),
        Some(since) => time(since).split('T').next().unwrap_or_default().to_owned(),
    }
}

/// Returns a fingerprint in the syntax of `revoke` and `unblock`.
pub(super) fn written(fingerprint: &Fingerprint) -> String {
    format!("{}={}", fingerprint.kind(), escaped(fingerprint.value()))
}

fn fingerprint_json(fingerprint: &Fingerprint) -> Value {
    json!({"kind": fingerprint.kind(), "value": fingerprint.value()})
}

fn show(ledger: &LedgerArg, record: Option<ClientKey>, client_id: &str, json: bool) -> Outcome {
    let (runtime, review) = ledger.open(Access::Read, None)?;
    let all = runtime.block_on(review.records(client_id))?;
    let is_named = |client: &&Client| record.is_none_or(|key| client.key == key);
    // Live records come first.
    let Some(client) = all.iter().find(is_named) else {
        return Err(match record {
            Some(key) => format!("record {} does not belong to client {client_id:?}", key.0).into(),
            None => AdminError::UnknownClient.into(),
        });
    };
    let others: Vec<i64> = all.iter().map(|other| other.key.0).filter(|key| *key != client.key.0).collect();
    let block = runtime.block_on(review.block_of(client))?;
    if json {
        let mut shown = as_json(client, &review);
        if let Some(shown) = shown.as_object_mut() {
            shown.extend(more_json(client, block.as_ref(), &others));
        }
        output::json(&shown)?;
        return Ok(OK);
    }
    for (title, text) in rows(client, block.as_ref(), &review) {
        output::line(format_args!("{title:<14}  {}", escaped(&text)))?;
    }
    if !others.is_empty() {
        let others = others.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        output::line(format_args!("{:<14}  {others}: see --record", "other records"))?;
    }
    print_registration("registration", &client.registration)?;
    if let Some(held) = client.document.as_ref().and_then(|document| document.held.as_ref()) {
        print_registration("after approval", &held.registration)?;
    }
    Ok(OK)
}

fn print_registration(title: &str, registration: &str) -> Result<(), Box<dyn Error>> {
    if let Some(registration) = without_secrets(registration) {
        output::line(title)?;
        for line in serde_json::to_string_pretty(&registration)?.lines() {
            output::line(format_args!("  {}", escaped(line)))?;
        }
    }
    Ok(())
}

/// Returns the members that `show` has in addition to those of `list`.
fn more_json(client: &Client, block: Option<&Block>, others: &[i64]) -> serde_json::Map<String, Value> {
    let more = json!({
        "variant": client.variant, "not_after": client.not_after, "rules": client.rules,
        "reviewed_at": client.reviewed_at, "ended_at": client.ended_at, "ended_by": client.ended_by,
        "deprovisioning": client.deprovisioning, "fingerprints": client.fingerprints, "other_records": others,
        "blocked": block.map(block_json), "digest": version(client),
    });
    match more {
        Value::Object(more) => more,
        _ => serde_json::Map::new(),
    }
}

/// Returns the known members of a record, each with a title.
fn rows(client: &Client, block: Option<&Block>, review: &Registrar) -> Vec<(&'static str, String)> {
    let by = |at: Option<i64>, by: Option<String>| {
        at.map(|at| [Some(time(at)), by].into_iter().flatten().collect::<Vec<_>>().join(" by "))
    };
    let prints = &client.fingerprints;
    let untold = &client.deprovisioning;
    let rows = [
        ("client_id", client.client_id.clone()),
        ("record", Some(client.key.0.to_string())),
        ("state", Some(state(client, review.now()))),
        ("origin", Some(client.origin.to_string())),
        ("published by", client.document_host().map(str::to_owned)),
        ("document", freshness(client, review.now())),
        ("digest", version(client).map(str::to_owned)),
        ("fetched", client.document.as_ref().map(|document| time(document.fetched_at))),
        ("name", name(client).map(str::to_owned)),
        ("identity", client.identity.as_ref().map(ToString::to_string)),
        ("redirects to", Some(prints.redirect_hosts.join(" ")).filter(|hosts| !hosts.is_empty())),
        ("registered", Some(time(client.created_at))),
        ("last used", client.last_used_at.map(time)),
        ("expires", client.expires_at.map(time)),
        ("secret expires", client.not_after.map(time)),
        ("admitted by", client.admitted_by.clone()),
        ("vouched for by", client.statement_issuer.clone()),
        ("rules", client.rules.clone()),
        ("policy", client.policy.clone()),
        ("reviewed", by(client.reviewed_at, client.reviewed_by.clone())),
        ("ended", by(client.ended_at, client.ended_by.as_ref().map(ToString::to_string))),
        ("reason", client.reason.clone()),
        ("deprovision", untold.due_at.map(|at| format!("{}, after {} attempts", time(at), untold.attempts))),
        ("last error", untold.error.clone()),
    ];
    let mut rows: Vec<_> = rows.into_iter().filter_map(|(title, text)| Some((title, text?))).collect();
    if !prints.digest.is_empty() {
        let host = client.document_host().map(|host| Fingerprint::DocumentHost(host.to_owned()));
        let site = client.document_site().map(|site| Fingerprint::DocumentSite(site.to_owned()));
        let all = prints.all().into_iter().chain(host).chain(site);
        rows.extend(all.map(|print| ("fingerprint", written(&print))));
    }
    rows.extend(
        block.map(|block| ("blocked", format!("{} by {}: {}", written(&block.fingerprint), block.actor, block.reason))),
    );
    rows
}

fn blocks(ledger: &LedgerArg, limit: u32, json: bool) -> Outcome {
    let (runtime, review) = ledger.open(Access::Read, None)?;
    let (found, is_cut) = runtime.block_on(newest_blocks(&review, limit as usize))?;
    if json {
        output::json(&found.iter().map(block_json).collect::<Vec<_>>())?;
        return Ok(OK);
    }
    if !found.is_empty() {
        let mut table = output::table(&["BLOCK", "SINCE", "BY", "REASON"]);
        for block in &found {
            let (by, reason) = (escaped(&block.actor.to_string()), escaped(&block.reason));
            table.add_row([written(&block.fingerprint), day(Some(block.created_at)), by, reason]);
        }
        output::print_table(&table)?;
    }
    if is_cut {
        output::line("… and more: --limit COUNT")?;
    }
    Ok(OK)
}

/// Returns the newest blocks, and `true` if there are more.
async fn newest_blocks(review: &Registrar, limit: usize) -> Result<(Vec<Block>, bool), LedgerError> {
    let mut found: Vec<Block> = Vec::new();
    let mut before = None;
    while found.len() <= limit {
        let page = review.blocks(before, 500).await?;
        let known = found.len();
        // Those of one millisecond are requested again: a page may end among them.
        before = page.last().map(|block| block.created_at.saturating_add(1));
        let is_new = |block: &Block, found: &[Block]| {
            !found.iter().rev().take(500).any(|other| other.fingerprint == block.fingerprint)
        };
        for block in page {
            if is_new(&block, &found) {
                found.push(block);
            }
        }
        if found.len() == known {
            break;
        }
    }
    let is_cut = found.len() > limit;
    found.truncate(limit);
    Ok((found, is_cut))
}

fn block_json(block: &Block) -> Value {
    json!({
        "kind": block.fingerprint.kind(), "value": block.fingerprint.value(), "created_at": block.created_at,
        "actor": block.actor, "reason": block.reason,
    })
}

fn unblock(ledger: &LedgerArg, operator: &str, reason: Option<&str>, target: &str, json: bool) -> Outcome {
    // Events use a colon.
    let (kind, value) = target.split_once(['=', ':']).ok_or_else(|| {
        format!("invalid block {target:?}: write it as `dcr clients blocks` prints it, such as name=…")
    })?;
    let fingerprint = match Fingerprint::parse(kind, value) {
        // Earlier versions stored blocks without checking them.
        Err(ConfigError::FingerprintDigits { .. }) => serde_json::from_value(json!({"kind": kind, "value": value}))?,
        parsed => parsed?,
    };
    let (runtime, review) = ledger.open(Access::Write, None)?;
    let actor = Actor::Operator(operator.to_owned());
    if !runtime.block_on(review.unblock(&fingerprint, &actor, reason.unwrap_or_default()))? {
        return Err(format!("{} is not blocked", written(&fingerprint)).into());
    }
    if json {
        output::json(&json!({"unblocked": fingerprint_json(&fingerprint), "reason": reason}))?;
    } else {
        output::line(format_args!("unblocked {}", written(&fingerprint)))?;
    }
    Ok(OK)
}

fn groups(ledger: &LedgerArg, limit: u32, by: Grouping, json: bool) -> Outcome {
    let (runtime, review) = ledger.open(Access::Read, None)?;
    let groups = runtime.block_on(review.groups(by, limit))?;
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

fn drift(ledger: &LedgerArg, limit: u32, named: &str, json: bool) -> Outcome {
    let (preset, _) = policy::rules(named)?;
    let only_reports = policy::only_reports(&preset);
    let preset = policy::enforcing(&preset);
    let (runtime, review) = ledger.open(Access::Read, Some(&preset))?;
    let documents = preset.document_settings();
    let mut found = Vec::new();
    let bar = output::progress(None, "clients");
    let counts = runtime.block_on(review.counts())?.into_iter();
    let counted = counts.filter(|(status, _)| matches!(status, Status::Pending | Status::Active));
    bar.set_length(counted.map(|(_, clients)| clients).sum());
    let [mut passing, mut rewritten, mut rejected, mut unreadable] = [0_u64; 4];
    let note = |client: &Client, evaluated: Result<&Evaluation, &ParseError>| {
        bar.inc(1);
        let (count, fate, why) = match (not_admitted(client, &documents), evaluated) {
            (Some(reason), _) => (&mut rejected, "refuse", reason),
            (None, Err(_)) => (&mut unreadable, "unreadable", String::new()),
            (None, Ok(evaluation)) => match (&evaluation.rejection, evaluation.decision()) {
                (Some(rejection), _) => (&mut rejected, "refuse", Rejection::description(rejection)),
                (None, Decision::Rewrite) => {
                    let findings = evaluation.findings.iter();
                    let why: Vec<String> =
                        findings.map(|finding| format!("{} {}", finding.rule, finding.field)).collect();
                    (&mut rewritten, "rewrite", why.join(", "))
                }
                (None, _) => {
                    passing += 1;
                    return;
                }
            },
        };
        *count += 1;
        if found.len() < limit as usize {
            let client_id = client.client_id.clone().unwrap_or_default();
            found.push((client_id, name(client).map(str::to_owned), fate, why, client.origin));
        }
    };
    runtime.block_on(review.drift(preset.policy(), &preset.document_policy(), note))?;
    bar.finish_and_clear();
    let checked = passing + rewritten + rejected + unreadable;
    if json {
        let clients: Vec<_> = found
            .iter()
            .map(|(id, name, fate, why, origin)| {
                json!({"client_id": id, "client_name": name, "fate": fate, "why": why, "origin": origin})
            })
            .collect();
        output::json(&json!({
            "checked": checked, "passing": passing, "rewritten": rewritten, "refused": rejected,
            "unreadable": unreadable, "report_only": only_reports, "clients": clients,
        }))?;
    } else {
        if !found.is_empty() {
            let mut table = output::table(&["CLIENT_ID", "NAME", "", "WHY"]);
            for (id, name, fate, why, _) in &found {
                // The JSON has the older word.
                let fate = if *fate == "refuse" { "reject" } else { fate };
                table.add_row([escaped(id), escaped(name.as_deref().unwrap_or("-")), fate.to_owned(), escaped(why)]);
            }
            output::print_table(&table)?;
        }
        let hidden = (checked - passing).saturating_sub(found.len() as u64);
        if hidden > 0 {
            output::line(format_args!("… and {hidden} more: --limit COUNT"))?;
        }
        let summary = format!(
            "{}: {} accepted, {} would be rewritten, {} rejected, {} unreadable",
            output::count(checked, "client"),
            passing,
            rewritten,
            rejected,
            unreadable
        );
        output::line(painted(&summary, if rejected > 0 { &Paint::Bad } else { &Paint::Good }))?;
        if only_reports {
            output::line("report-only: a server under this policy does not enforce all of that")?;
        }
    }
    Ok(match () {
        () if checked == 0 => NOTHING,
        () if rejected > 0 => REJECTED,
        () if passing < checked => DIFFERS,
        () => OK,
    })
}

/// Returns the reason for which the URL of a document is not admitted: no rule looks at it.
fn not_admitted(client: &Client, settings: &DocumentSettings) -> Option<String> {
    let url = client.client_id.as_deref().filter(|_| client.origin == Origin::Document)?;
    match cimd::parse(url, settings) {
        Ok(url) => cimd::admission(settings, &url).err().map(|reason| format!("admission: {reason}")),
        Err(error) => Some(error.to_string()),
    }
}

/// The approval or extension of one client.
struct Change<'a> {
    ledger: &'a LedgerArg,
    policy: Option<&'a Preset>,
    record: Option<ClientKey>,
    /// The version of the document that was looked at.
    digest: Option<&'a str>,
    /// The extension; `None` for an approval.
    time: Option<Duration>,
    json: bool,
}

impl Change<'_> {
    fn run(
        self,
        client_id: &str,
        act: impl AsyncFnOnce(&Registrar, ClientRef<'_>) -> Result<Client, AdminError>,
    ) -> Outcome {
        let (runtime, review) = self.ledger.open(Access::Write, self.policy)?;
        if let Some(key) = self.record {
            check_record(&runtime, &review, key, client_id)?;
        }
        let before = match self.record {
            Some(key) => runtime.block_on(review.record(key))?,
            // Live records come first.
            None => runtime.block_on(review.records(client_id))?.into_iter().next(),
        };
        let held;
        let client = match (self.digest, &before) {
            (Some(digest), Some(before)) => {
                check_version(before, digest)?;
                held = before.document.as_ref().and_then(|document| document.held.clone());
                ClientRef::Held(before.key, held.as_ref().map_or("", |held| &held.digest))
            }
            _ => self.record.map_or(ClientRef::Id(client_id), ClientRef::Record),
        };
        let client = runtime.block_on(act(&review, client)).map_err(|error| {
            let is_ambiguous = matches!(error, AdminError::Ambiguous);
            hinting(error, is_ambiguous)
        })?;
        let was_extended = before.is_none_or(|before| before.expires_at != client.expires_at);
        if self.json {
            let mut shown = as_json(&client, &review);
            if let (Some(shown), Some(_)) = (shown.as_object_mut(), self.time) {
                shown.insert("extended".to_owned(), was_extended.into());
            }
            output::json(&shown)?;
            return Ok(OK);
        }
        let unchanged = if self.time.is_some() && !was_extended { "unchanged: " } else { "" };
        let until = match (client.expires_at, self.time) {
            (_, None) => String::new(),
            (None, Some(_)) => ", and does not expire".to_owned(),
            (Some(at), Some(asked)) => format!(" until {}{}", time(at), limit_of(&client, at, asked, review.now())),
        };
        let state = state(&client, review.now());
        output::line(format_args!("{unchanged}{} is {state}{until}", escaped(client_id)))?;
        Ok(OK)
    }
}

/// Rejects the approval of another version of a document than the one that was looked at.
fn check_version(client: &Client, digest: &str) -> Result<(), Box<dyn Error>> {
    match version(client) {
        Some(version) if version == digest => Ok(()),
        Some(version) => {
            let look = "look at it with `dcr clients show`";
            Err(format!("another version of the document is there to approve: {look}; its digest is {version}").into())
        }
        None => Err("the client has no metadata document, so --digest does not apply".into()),
    }
}

/// Returns the digest of the version of the metadata document that an approval puts or keeps in force.
fn version(client: &Client) -> Option<&str> {
    let document = client.document.as_ref()?;
    Some(document.held.as_ref().map_or(&document.digest, |held| &held.digest))
}

/// Reads a digest in hexadecimal.
fn sha256(text: &str) -> Result<String, String> {
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_digest { Ok(text.to_ascii_lowercase()) } else { Err("64 hexadecimal digits are needed".to_owned()) }
}

/// Returns the reason why the lifetime differs from the requested one; empty if it does not.
fn limit_of(client: &Client, at: i64, asked: Duration, now: i64) -> String {
    // Tolerance for the time since the extension.
    const PASSED: i64 = 60_000;
    let asked = i64::try_from(asked.as_millis()).unwrap_or(i64::MAX);
    let given = at.saturating_sub(now);
    match () {
        () if given > asked => ", later than requested".to_owned(),
        () if given.saturating_add(PASSED) >= asked => String::new(),
        () if client.not_after == Some(at) => ", when its secret expires".to_owned(),
        () => format!(": limited to {} days, the maximum", given.saturating_add(PASSED) / DAY),
    }
}

const DAY: i64 = 24 * 3600 * 1000;

fn forget(ledger: &LedgerArg, act: &Act, record: Option<ClientKey>, client_id: &str, json: bool) -> Outcome {
    let (runtime, review) = ledger.open(Access::Write, None)?;
    let mut blocked = false;
    for client in runtime.block_on(review.records(client_id))? {
        let is_meant = record.is_none_or(|key| client.key == key);
        blocked = blocked || (is_meant && runtime.block_on(review.block_of(&client))?.is_some());
    }
    let actor = Actor::Operator(act.by.operator.clone());
    let forgotten = runtime.block_on(review.forget(client_id, record, &actor, &act.reason))?;
    if json {
        let revoked = forgotten.iter().filter(|client| client.status == Status::Revoked).count();
        output::json(&json!({"records": forgotten.len(), "revoked": revoked, "blocked": blocked}))?;
    } else {
        let records = output::count(forgotten.len() as u64, "record");
        let blocks = if blocked { "; blocks stay" } else { "" };
        output::line(format_args!("{records} of {} removed{blocks}", escaped(client_id)))?;
    }
    Ok(OK)
}

/// Rejects a record that does not belong to `client_id`.
fn check_record(runtime: &Runtime, review: &Registrar, key: ClientKey, client_id: &str) -> Result<(), Box<dyn Error>> {
    match runtime.block_on(review.record(key))? {
        Some(client) if client.client_id.as_deref() == Some(client_id) => Ok(()),
        _ => Err(format!("record {} does not belong to client {client_id:?}", key.0).into()),
    }
}

/// Returns the error, with a hint at `--record` if several records match.
fn hinting(error: impl Error + 'static, is_ambiguous: bool) -> Box<dyn Error> {
    if is_ambiguous {
        return format!("{error}, with --record NUMBER; `dcr clients list` has the numbers").into();
    }
    error.into()
}

fn revoke(ledger: &LedgerArg, act: &Act, record: Option<ClientKey>, target: &str, json: bool) -> Outcome {
    let (runtime, review) = ledger.open(Access::Write, None)?;
    let (operator, reason) = (&act.by.operator, &act.reason);
    let actor = Actor::Operator(operator.clone());
    let revoked = if let Some(key) = record {
        check_record(&runtime, &review, key, target)?;
        let mut revocation = Revocation::client(target, actor, reason);
        revocation.record = Some(key);
        runtime.block_on(review.revoke(revocation))?
    } else {
        let revocation = Revocation::new(read_target(target)?, actor, reason);
        runtime.block_on(review.revoke(revocation)).map_err(|error| {
            if let (AdminError::UnknownClient, Some(reason)) = (&error, no_document(target)) {
                return format!("{error}, and no URL of a metadata document: {reason}").into();
            }
            // It may be a mistyped kind.
            if let (AdminError::UnknownClient, Some((kind, value))) = (&error, target.split_once('='))
                && let Err(unknown) = Fingerprint::parse(kind, value)
            {
                return format!("{error}, and {unknown}").into();
            }
            let is_ambiguous = matches!(error, AdminError::Ambiguous);
            hinting(error, is_ambiguous)
        })?
    };
    if json {
        output::json(&json!({
            "clients": revoked.clients, "not_deprovisioned": revoked.not_deprovisioned,
            "blocked": revoked.blocked.as_ref().map(fingerprint_json),
        }))?;
        return Ok(OK);
    }
    output::line(format_args!("{} revoked", output::count(revoked.clients, "client")))?;
    match &revoked.blocked {
        Some(blocked) => output::line(format_args!("blocked {}", written(blocked)))?,
        None => output::line("nothing is blocked")?,
    }
    Ok(OK)
}

/// Returns the reason why an `https` URL is not that of a metadata document, under any settings.
fn no_document(target: &str) -> Option<ClientIdUrlError> {
    let target = target.strip_prefix("client_id=").unwrap_or(target);
    let port = target.parse::<http::Uri>().ok().and_then(|url| url.port_u16());
    let options = ClientIdUrlOptions { query: true, ports: port.into_iter().collect() };
    target.starts_with("https:").then(|| ClientIdUrl::parse_with(target, &options).err())?
}

/// Parses `kind=value` or a `client_id`.
fn read_target(target: &str) -> Result<Fingerprint, Box<dyn Error>> {
    match target.split_once('=') {
        // A client_id may contain any character; the kinds of fingerprints are few.
        Some((kind, value)) if Fingerprint::KINDS.contains(&kind) => Ok(Fingerprint::parse(kind, value)?),
        _ => Ok(Fingerprint::ClientId(target.to_owned())),
    }
}
