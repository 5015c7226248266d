//! The HTML page.

use askama::Template;
use http::{Response, StatusCode};
use serde_json::{Map, Value};
use tower_dcr::clients::{Block, Client, ClientQueue, DocumentState, Grouping, HeldChange, Status};

use super::{Config, Done, PER_PAGE, PageBody, Parameters, Problem, answer, read_cursor, read_queue, shown, state};

const DAY: i64 = 24 * 3600 * 1000;
/// The number of days in the chart.
const DAYS: u16 = 30;
const BAR: i64 = 10;
const MAX_GROUPS: u32 = 10;

#[derive(Template)]
#[template(path = "clients.html")]
struct Page {
    base: String,
    operator: String,
    notice: String,
    chart: Chart,
    mix: Vec<Slice>,
    family_bars: Vec<FamilyBar>,
    tabs: Vec<Tab>,
    queue: ClientQueue,
    clients: Vec<ClientRow>,
    next: Option<i64>,
    groups: Vec<GroupTable>,
    blocks: Vec<BlockRow>,
}

struct Chart {
    days: u16,
    width: i64,
    most: u64,
    bars: Vec<Bar>,
}

struct Bar {
    x: i64,
    y: u64,
    height: u64,
    label: String,
}

struct Slice {
    name: Status,
    clients: u64,
    x: u64,
    width: u64,
}

struct FamilyBar {
    name: String,
    clients: u64,
    y: u64,
    text_y: u64,
    width: u64,
}

struct Tab {
    name: ClientQueue,
    title: &'static str,
    is_current: bool,
}

struct ClientRow {
    name: String,
    /// The claimed identity and its evidence.
    identity: String,
    /// The issuer of its software statement.
    issuer: String,
    client_id: String,
    raw_client_id: String,
    /// The key of the record: an action applies to one of several records with the same `client_id`.
    record: i64,
    state: String,
    note: String,
    hosts: Vec<String>,
    created: String,
    proven: String,
    expires: String,
    reviewed: String,
    is_actionable: bool,
    /// The host and site that publish its metadata document; empty without one.
    document_host: String,
    document_site: String,
    /// The freshness of the document.
    freshness: String,
    /// The digest of a change that waits for approval; empty without one.
    held: String,
    /// A description of it.
    change: String,
}

struct GroupTable {
    title: &'static str,
    explanation: &'static str,
    /// The kind of fingerprint that the group has in common; empty if there is none.
    kind: &'static str,
    rows: Vec<GroupRow>,
}

struct GroupRow {
    clients: u64,
    name: String,
    key: String,
    raw_key: String,
    values: Vec<String>,
}

struct BlockRow {
    kind: &'static str,
    value: String,
    raw_value: String,
    since: String,
    actor: String,
    reason: String,
}

/// Title, explanation and common fingerprint of each grouping.
const TABLES: [(Grouping, &str, &str, &str); 5] = [
    (Grouping::Families, "Families", "The same name and the same kind of redirect URIs.", "family"),
    (Grouping::Duplicates, "Duplicates", "Equal registrations.", "digest"),
    (
        Grouping::NamesAcrossHosts,
        "One name, different hosts",
        "Clients with one name that send their users to different hosts. One of them may imitate the other.",
        "name",
    ),
    (
        Grouping::HostsAcrossNames,
        "One host, different names",
        "Clients with different names that send their users to one host.",
        "",
    ),
    (
        Grouping::SoftwareAcrossHosts,
        "One software_id, different hosts",
        "Clients with one software_id that send their users to different hosts. One of them may imitate the other.",
        "software_id",
    ),
];

impl Config {
    pub(super) async fn page(&self, operator: &str, query: &Parameters) -> Result<Response<PageBody>, Problem> {
        let queue = read_queue(query)?;
        let list = self.registrar.list(queue, read_cursor(query)?, PER_PAGE).await?;
        let statuses = self.registrar.counts().await?;
        let registered_by_day = self.registrar.registered_by_day(DAYS).await?;
        let now = self.registrar.now();
        let mut groups = Vec::new();
        for (by, title, explanation, kind) in TABLES {
            let rows = self.registrar.groups(by, MAX_GROUPS).await?.into_iter().map(|group| GroupRow {
                clients: group.clients,
                name: shown::text(group.client_name.as_deref().unwrap_or("(no name)")),
                key: shown::host(&group.key),
                values: group.values.iter().map(|value| shown::host(value)).collect(),
                raw_key: group.key,
            });
            groups.push(GroupTable { title, explanation, kind, rows: rows.collect() });
        }
        let blocks = self.registrar.blocks(None, PER_PAGE).await?;
        let page = Page {
            base: self.base.clone(),
            operator: shown::text(operator),
            notice: query
                .get("done")
                .and_then(|code| Done::read(code))
                .map(|done| done.to_string())
                .unwrap_or_default(),
            chart: Chart::of(&registered_by_day, now),
            mix: mix(&statuses),
            family_bars: family_bars(groups.first().map_or(&[], |table| &table.rows)),
            tabs: tabs(queue),
            queue,
            clients: list.clients.iter().map(|client| ClientRow::of(client, now)).collect(),
            next: list.next.map(|key| key.0),
            groups,
            blocks: blocks.iter().map(|block| BlockRow::of(block, now)).collect(),
        };
        let html = page.render().map_err(|error| {
            tracing::error!(target: "tower_dcr::lifecycle", %error, "failed to render the administration page");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "page not rendered")
        })?;
        Ok(answer(StatusCode::OK, "text/html; charset=utf-8", html))
    }
}

impl Chart {
    fn of(registered_by_day: &[(i64, u64)], now: i64) -> Self {
        let today = now.div_euclid(DAY) * DAY;
        let most = registered_by_day.iter().map(|(_, clients)| *clients).max().unwrap_or(0);
        let bars = registered_by_day.iter().map(|(day, clients)| {
            let ago = (today - day) / DAY;
            // Rounded up, so that one client is visible.
            let height = (clients * 76).div_ceil(most.max(1));
            let label = match ago {
                0 => format!("today: {clients}"),
                1 => format!("yesterday: {clients}"),
                days => format!("{days} days ago: {clients}"),
            };
            Bar { x: (i64::from(DAYS) - 1 - ago) * BAR + 1, y: 80 - height, height, label }
        });
        Self { days: DAYS, width: i64::from(DAYS) * BAR, most, bars: bars.collect() }
    }
}

fn mix(statuses: &[(Status, u64)]) -> Vec<Slice> {
    let total: u64 = statuses.iter().map(|(_, clients)| clients).sum();
    let mut x = 0;
    let slices = Status::ALL.into_iter().filter_map(|status| {
        let (_, clients) = statuses.iter().find(|(known, clients)| *known == status && *clients > 0)?;
        let width = clients * 300 / total.max(1);
        let slice = Slice { name: status, clients: *clients, x, width };
        x += width;
        Some(slice)
    });
    slices.collect()
}

fn family_bars(families: &[GroupRow]) -> Vec<FamilyBar> {
    let most = families.iter().map(|family| family.clients).max().unwrap_or(1);
    let bars = (0..).zip(families.iter().take(5)).map(|(row, family)| FamilyBar {
        name: family.name.chars().take(40).collect(),
        clients: family.clients,
        y: row * 16 + 2,
        text_y: row * 16 + 12,
        width: (family.clients * 300).div_ceil(most),
    });
    bars.collect()
}

fn tabs(current: ClientQueue) -> Vec<Tab> {
    let title = |queue: ClientQueue| match queue {
        ClientQueue::All => "All",
        ClientQueue::Pending => "Waiting for approval",
        ClientQueue::NeverReviewed => "Never reviewed",
        ClientQueue::NeverUsed => "Never used",
        ClientQueue::Stale => "Stale",
        ClientQueue::ExpiringSoon => "Expiring soon",
        ClientQueue::Elsewhere => "Registered elsewhere",
        ClientQueue::Documents => "Metadata documents",
        ClientQueue::FailingDeprovisioning => "Deprovisioning failed",
        ClientQueue::Revoked => "Revoked",
        ClientQueue::Failed => "Failed",
        _ => "Other",
    };
    let tab = |queue: ClientQueue| Tab { name: queue, title: title(queue), is_current: queue == current };
    ClientQueue::ALL.into_iter().map(tab).collect()
}

impl ClientRow {
    fn of(client: &Client, now: i64) -> Self {
        let time = |time: Option<i64>, none: &str| time.map_or_else(|| none.to_owned(), |time| relative(time, now));
        let note = client.deprovisioning.error.as_ref().map(|error| format!("deprovisioning failed: {error}"));
        let raw_client_id = client.client_id.clone().unwrap_or_default();
        let held = client.document.as_ref().and_then(|document| document.held.as_ref());
        Self {
            name: shown::text(client.fingerprints.client_name.as_deref().unwrap_or("(no name)")),
            identity: client.identity.as_ref().map(ToString::to_string).unwrap_or_default(),
            issuer: client.statement_issuer.as_deref().map(shown::text).unwrap_or_default(),
            client_id: shown::text(&raw_client_id),
            is_actionable: matches!(client.status, Status::Pending | Status::Active) && !raw_client_id.is_empty(),
            raw_client_id,
            document_host: client.document_host().map(shown::host).unwrap_or_default(),
            document_site: client.document_site().map(shown::host).unwrap_or_default(),
            freshness: client.document.as_ref().map(|document| freshness(document, now)).unwrap_or_default(),
            held: held.map(|held| held.digest.clone()).unwrap_or_default(),
            change: held.map(|held| change(client, held, now)).unwrap_or_default(),
            record: client.key.0,
            state: state(client, now),
            note: note.or_else(|| client.reason.clone()).map(|note| shown::text(&note)).unwrap_or_default(),
            hosts: client.fingerprints.redirect_hosts.iter().map(|host| shown::host(host)).collect(),
            created: relative(client.created_at, now),
            proven: time(client.last_used_at, "never"),
            expires: time(client.expires_at, ""),
            reviewed: match (&client.reviewed_by, client.reviewed_at) {
                (Some(operator), Some(at)) => format!("{} by {}", relative(at, now), shown::text(operator)),
                _ => "never".to_owned(),
            },
        }
    }
}

impl BlockRow {
    fn of(block: &Block, now: i64) -> Self {
        Self {
            kind: block.fingerprint.kind(),
            value: shown::text(block.fingerprint.value()),
            raw_value: block.fingerprint.value().to_owned(),
            since: relative(block.created_at, now),
            actor: shown::text(&block.actor.to_string()),
            reason: shown::text(&block.reason),
        }
    }
}

fn freshness(document: &DocumentState, now: i64) -> String {
    match document.unreachable_since {
        Some(since) => format!("not usable since {}", relative(since, now)),
        None if document.fresh_until <= now => {
            format!("to be fetched again since {}", relative(document.fresh_until, now))
        }
        None => format!("fetched {}", relative(document.fetched_at, now)),
    }
}

/// Describes a change of a document: its kind, and the value of each member that it changes.
fn change(client: &Client, held: &HeldChange, now: i64) -> String {
    let read = |text: &str| serde_json::from_str::<Map<String, Value>>(text).unwrap_or_default();
    let (before, after) = (read(&client.registration), read(&held.registration));
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let value = |members: &Map<String, Value>, name: &str| members.get(name).map_or("absent".into(), Value::to_string);
    let changes = names.into_iter().filter(|name| before.get(*name) != after.get(*name));
    let changes =
        changes.map(|name| shown::text(&format!("{name}: {} → {}", value(&before, name), value(&after, name))));
    let changes = changes.collect::<Vec<_>>().join("; ");
    let end = if held.until <= now { "no sign-ins since" } else { "sign-ins end" };
    format!("{} seen {}, {end} {}: {changes}", held.change, relative(held.since, now), relative(held.until, now))
}

/// Returns the time relative to `now`, in the past or the future.
fn relative(time: i64, now: i64) -> String {
    let seconds = (now - time).unsigned_abs() / 1000;
    let (number, unit) = match seconds {
        0..60 => return "now".to_owned(),
        60..3600 => (seconds / 60, "min"),
        3600..86_400 => (seconds / 3600, "h"),
        _ => (seconds / 86_400, "d"),
    };
    if time > now { format!("in {number} {unit}") } else { format!("{number} {unit} ago") }
}
