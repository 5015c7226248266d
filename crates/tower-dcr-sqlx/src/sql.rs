//! A ledger in SQL, shared by both databases.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use sqlx::migrate::{Migrate, Migration, MigrationType, Migrator};
use sqlx::{
    AssertSqlSafe, ColumnIndex, Database, Decode, Encode, Executor, IntoArguments, Pool, QueryBuilder, Row, SqlSafeStr,
    Type,
};

use crate::changes::{Answer, Change, find_variant, is_taken, replace_alike};
use crate::writes::Writes;
use tower_dcr::clients::{
    Block, Blocks, Client, ClientKey, Evictable, Filter, Fingerprint, Fingerprints, Group, Grouping, Insertion,
    LargestSource, Ledger, LedgerError, PushedRequests, Replacement, Source, Status, StoredResponse, TokenUses, Work,
};

/// The differences between the databases.
#[expect(unnameable_types, reason = "a bound of the ledgers, which are named by database")]
pub trait Dialect: Database<Connection: Migrate> {
    /// Begins a transaction that writes.
    const BEGIN: &'static str;
    /// Selects the row with the number of clients that count against the quota, and locks it.
    const LOCK_COUNT: &'static str;
    /// Whether the database has one writer at a time: then every change is one of a group.
    const ONE_WRITER: bool;
    /// The type of an ascending key that the database assigns and never reuses.
    const KEY: &'static str;
    /// Selects a row if the table of migrations exists.
    const HAS_MIGRATIONS: &'static str;
}

/// A ledger in an SQL database. Clones share one pool.
#[expect(unnameable_types, reason = "`SqliteLedger` and `PostgresLedger` are its names")]
pub struct SqlLedger<DB: Database> {
    pool: Pool<DB>,
    writes: Arc<Writes<DB>>,
}

/// The versions of the schema, in order. `{KEY}` stands for [`Dialect::KEY`]; the rest means the same in both databases
/// (`BIGINT` is the only integer of SQLite).
const MIGRATIONS: [&str; 7] = [
    include_str!("../migrations/1.sql"),
    include_str!("../migrations/2.sql"),
    include_str!("../migrations/3.sql"),
    include_str!("../migrations/4.sql"),
    include_str!("../migrations/5.sql"),
    include_str!("../migrations/6.sql"),
    include_str!("../migrations/7.sql"),
];

impl<DB> SqlLedger<DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
    usize: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
{
    #[cfg(all(test, feature = "sqlite"))]
    pub(crate) fn writes(&self) -> &Arc<Writes<DB>> {
        &self.writes
    }

    fn over(pool: Pool<DB>) -> Self {
        Self { writes: Writes::new(pool.clone()), pool }
    }

    /// Migrates the tables. Versions are recorded in a separate table: the pool is the user's, and so is
    /// `_sqlx_migrations`.
    pub(crate) async fn migrated(pool: Pool<DB>) -> Result<Self, LedgerError> {
        let ledger = Self::over(pool);
        // SQLite has no lock for migrations: of two processes that start with an empty file, one fails and then finds
        // this version. That can happen at each version.
        for _version in MIGRATIONS {
            if ledger.migrate(MIGRATIONS.len()).await.is_ok() {
                return Ok(ledger);
            }
        }
        ledger.migrate(MIGRATIONS.len()).await.map(|()| ledger)
    }

    /// Uses the tables unchanged. Rejects a database without tables, or with another version of them.
    pub(crate) async fn existing(pool: Pool<DB>) -> Result<Self, LedgerError> {
        let ledger = Self::over(pool);
        match ledger.check_version().await {
            Ok(()) => Ok(ledger),
            Err(error) => {
                // SQLite removes its files beside the database.
                ledger.pool.close().await;
                Err(error)
            }
        }
    }

    async fn check_version(&self) -> Result<(), LedgerError> {
        let has_migrations =
            QueryBuilder::new(DB::HAS_MIGRATIONS).build().fetch_optional(&self.pool).await.map_err(failed)?.is_some();
        if !has_migrations {
            return Err(LedgerError::new("the database is not a ledger: it has no table tower_dcr_migrations"));
        }
        let mut newest = QueryBuilder::new("SELECT MAX(version) AS version FROM tower_dcr_migrations WHERE success");
        let version: Option<i64> =
            newest.build().fetch_one(&self.pool).await.map_err(failed)?.try_get("version").map_err(failed)?;
        let (version, known) = (version.unwrap_or(0), i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX));
        let remedy = match version.cmp(&known) {
            Ordering::Equal => return Ok(()),
            Ordering::Less => "a server with this version of tower-dcr brings it up to date when it starts",
            Ordering::Greater => "use a newer version of tower-dcr",
        };
        let error = format!("the tables of the ledger have version {version}, and version {known} is needed: {remedy}");
        Err(LedgerError::new(error))
    }

    /// Runs the first `versions` migrations that the database does not have.
    async fn migrate(&self, versions: usize) -> Result<(), LedgerError> {
        let migrations = (1..).zip(MIGRATIONS).take(versions).map(|(version, sql)| {
            let sql = AssertSqlSafe(sql.replace("{KEY}", DB::KEY)).into_sql_str();
            Migration::new(version, "tower-dcr".into(), MigrationType::Simple, sql, false)
        });
        let mut migrator = Migrator::with_migrations(migrations.collect());
        migrator.dangerous_set_table_name("tower_dcr_migrations");
        let mut connection = self.pool.acquire().await.map_err(failed)?;
        migrator.run_direct(None, &mut *connection, false).await.map_err(LedgerError::new)
    }

    async fn one(&self, mut query: QueryBuilder<DB>) -> Result<Option<Client>, LedgerError> {
        query.build().fetch_optional(&self.pool).await.map_err(failed)?.as_ref().map(read_client).transpose()
    }

    async fn many(&self, mut query: QueryBuilder<DB>) -> Result<Vec<Client>, LedgerError> {
        query.build().fetch_all(&self.pool).await.map_err(failed)?.iter().map(read_client).collect()
    }

    async fn find_by(&self, column: &str, value: &str) -> Result<Option<Client>, LedgerError> {
        let mut query = select();
        query.push(column).push(" = ").push_bind(value.to_owned());
        self.one(query).await
    }

    /// Makes the changes of one statement, and returns the number of its rows.
    async fn change_rows(
        &self,
        statement: impl Fn() -> QueryBuilder<DB> + Send + Sync + 'static,
    ) -> Result<u64, LedgerError> {
        if DB::ONE_WRITER {
            return match self.writes.make(Change::Statement(Box::new(statement))).await? {
                Answer::Rows(rows) => Ok(rows),
                _ => Err(mistaken()),
            };
        }
        Ok(statement().build().fetch_all(&self.pool).await.map_err(failed)?.len() as u64)
    }

    /// Returns the values in which the clients of a group differ.
    async fn values_of(&self, by: Grouping, key: &str) -> Result<Vec<String>, LedgerError> {
        let mut query = match by {
            Grouping::NamesAcrossHosts => {
                QueryBuilder::new("SELECT DISTINCT redirect_hosts AS value FROM tower_dcr_clients AS c WHERE c.name = ")
            }
            Grouping::SoftwareAcrossHosts => QueryBuilder::new(
                "SELECT DISTINCT redirect_hosts AS value FROM tower_dcr_clients AS c WHERE c.software_id = ",
            ),
            Grouping::HostsAcrossNames => QueryBuilder::new(
                "SELECT DISTINCT c.name AS value FROM tower_dcr_redirect_hosts AS h \
                 JOIN tower_dcr_clients AS c ON c.id = h.client WHERE h.host = ",
            ),
            Grouping::Duplicates | Grouping::Families => return Ok(Vec::new()),
        };
        query.push_bind(key.to_owned()).push(" AND ").push(LIVE).push(" ORDER BY value LIMIT ");
        query.push_bind(i64::try_from(Group::MAX_VALUES).unwrap_or(i64::MAX));
        let rows = query.build().fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(|row| row.try_get("value").map_err(failed)).collect()
    }
}

impl<DB> Ledger for SqlLedger<DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
    usize: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
{
    async fn insert(&self, client: &Client, max_live: Option<u64>) -> Result<Insertion, LedgerError> {
        let max_live = max_live.map_or(i64::MAX, |max| i64::try_from(max).unwrap_or(i64::MAX));
        match self.writes.make(Change::Insert { client: client.clone(), max_live }).await? {
            Answer::Inserted(insertion) => Ok(*insertion),
            _ => Err(mistaken()),
        }
    }

    async fn replace(&self, client: &Client) -> Result<Replacement, LedgerError> {
        if !DB::ONE_WRITER {
            match replace_alike(client).build().fetch_optional(&self.pool).await {
                Ok(Some(_)) => return Ok(Replacement::Replaced),
                Ok(None) => {}
                Err(error) if is_taken(&error) => return Ok(Replacement::Taken),
                Err(error) => return Err(failed(error)),
            }
        }
        match self.writes.make(Change::Replace(client.clone())).await? {
            Answer::Replaced(replacement) => Ok(replacement),
            _ => Err(mistaken()),
        }
    }

    async fn remove(&self, client: &Client) -> Result<bool, LedgerError> {
        match self.writes.make(Change::Remove { key: client.key, version: client.version }).await? {
            Answer::Removed(removed) => Ok(removed),
            _ => Err(mistaken()),
        }
    }

    async fn get(&self, key: ClientKey) -> Result<Option<Client>, LedgerError> {
        let mut query = select();
        query.push("id = ").push_bind(key.0);
        self.one(query).await
    }

    async fn find(&self, client_id: &str) -> Result<Option<Client>, LedgerError> {
        self.find_by("client_id", client_id).await
    }

    async fn find_all(&self, client_id: &str, limit: u32) -> Result<Vec<Client>, LedgerError> {
        let mut query = select();
        push_client_id(&mut query, client_id);
        // The expressions are 0 or 1 in both databases.
        query.push(" ORDER BY CASE WHEN ").push(LIVE).push(" THEN 0 ELSE 1 END, ");
        query.push(
            "CASE WHEN last_used_at IS NULL THEN 1 ELSE 0 END, CASE WHEN reviewed_at IS NULL THEN 1 ELSE 0 END, ",
        );
        query.push("id DESC LIMIT ").push_bind(i64::from(limit));
        self.many(query).await
    }

    async fn find_variant(&self, client_id: &str, variant: &str) -> Result<Option<Client>, LedgerError> {
        self.one(find_variant(client_id, variant)).await
    }

    async fn has_in_other_case(&self, client_id: &str) -> Result<bool, LedgerError> {
        let mut query =
            QueryBuilder::new("SELECT id FROM tower_dcr_clients WHERE lower(COALESCE(client_id, shared_id)) = ");
        query.push_bind(client_id.to_ascii_lowercase());
        query.push(" AND COALESCE(client_id, shared_id) <> ").push_bind(client_id.to_owned());
        Ok(query.push(" LIMIT 1").build().fetch_optional(&self.pool).await.map_err(failed)?.is_some())
    }

    async fn find_by_dedup_key(&self, dedup_key: &str) -> Result<Option<Client>, LedgerError> {
        self.find_by("dedup_key", dedup_key).await
    }

    async fn page(&self, filter: &Filter, before: Option<ClientKey>, limit: u32) -> Result<Vec<Client>, LedgerError> {
        let mut query = select();
        query.push("id < ").push_bind(before.map_or(i64::MAX, |key| key.0));
        push_filter(&mut query, filter);
        query.push(" ORDER BY id DESC LIMIT ").push_bind(i64::from(limit));
        self.many(query).await
    }

    async fn due(&self, work: Work, limit: u32) -> Result<Vec<Client>, LedgerError> {
        let (column, condition, time) = match work {
            Work::Expire(time) => ("expires_at", LIVE, time),
            Work::Reconcile(time) => ("created_at", "status = 'registering'", time),
            Work::Deprovision(time) => ("deprovision_at", "deprovision_at IS NOT NULL", time),
            Work::Purge(time) => {
                let condition =
                    "status IN ('expired', 'revoked', 'failed') AND deprovision_at IS NULL AND registration <> ''";
                ("ended_at", condition, time)
            }
            Work::ShortenSource(time) => ("created_at", "source <> source_wide", time),
        };
        let mut query = select();
        query.push(condition).push(" AND ").push(column).push(" <= ").push_bind(time);
        query.push(" ORDER BY ").push(column).push(" LIMIT ").push_bind(i64::from(limit));
        self.many(query).await
    }

    async fn counts(&self) -> Result<Vec<(Status, u64)>, LedgerError> {
        let mut query = QueryBuilder::new("SELECT status, COUNT(*) AS clients FROM tower_dcr_clients GROUP BY status");
        let rows = query.build().fetch_all(&self.pool).await.map_err(failed)?;
        let read = |row: &DB::Row| {
            let status = row.try_get::<String, _>("status").map_err(failed)?.parse().map_err(LedgerError::new)?;
            Ok((status, row.try_get::<i64, _>("clients").map_err(failed)?.unsigned_abs()))
        };
        rows.iter().map(read).collect()
    }

    async fn timeline(&self, since: i64, step: i64) -> Result<Vec<(i64, u64)>, LedgerError> {
        let step = step.max(1);
        // From one step with records to the next, by the index: a step is counted as a range, and nothing is sorted.
        let mut query = QueryBuilder::new("WITH RECURSIVE steps (step) AS (SELECT MIN(created_at) / ");
        query.push_bind(step).push(" FROM tower_dcr_clients WHERE created_at >= ").push_bind(since);
        query.push(" UNION ALL SELECT (SELECT MIN(created_at) / ").push_bind(step);
        query.push(" FROM tower_dcr_clients WHERE created_at >= (steps.step + 1) * ").push_bind(step);
        query.push(") FROM steps WHERE steps.step IS NOT NULL) SELECT step, (SELECT COUNT(*) FROM tower_dcr_clients ");
        // One lower bound: of two, SQLite may look up the wrong one.
        query.push("WHERE created_at >= CASE WHEN steps.step * ").push_bind(step).push(" > ").push_bind(since);
        query.push(" THEN steps.step * ").push_bind(step).push(" ELSE ").push_bind(since);
        query.push(" END AND created_at < (steps.step + 1) * ").push_bind(step);
        query.push(") AS clients FROM steps WHERE step IS NOT NULL ORDER BY step");
        let rows = query.build().fetch_all(&self.pool).await.map_err(failed)?;
        let read = |row: &DB::Row| {
            Ok((
                row.try_get::<i64, _>("step").map_err(failed)? * step,
                row.try_get::<i64, _>("clients").map_err(failed)?.unsigned_abs(),
            ))
        };
        rows.iter().map(read).collect()
    }

    async fn groups(&self, by: Grouping, limit: u32) -> Result<Vec<Group>, LedgerError> {
        const CLIENTS: &str = "tower_dcr_clients AS c";
        let (key, from, condition, having) = match by {
            Grouping::Duplicates => ("c.digest", CLIENTS, "", "COUNT(*) > 1"),
            Grouping::Families => ("c.family", CLIENTS, "", "COUNT(*) > 1"),
            Grouping::NamesAcrossHosts => {
                ("c.name", CLIENTS, " AND c.name <> ''", "COUNT(DISTINCT c.redirect_hosts) > 1")
            }
            Grouping::SoftwareAcrossHosts => {
                ("c.software_id", CLIENTS, " AND c.software_id IS NOT NULL", "COUNT(DISTINCT c.redirect_hosts) > 1")
            }
            Grouping::HostsAcrossNames => (
                "h.host",
                "tower_dcr_redirect_hosts AS h JOIN tower_dcr_clients AS c ON c.id = h.client",
                " AND h.host <> 'loopback'",
                "COUNT(DISTINCT c.name) > 1",
            ),
        };
        let mut query = QueryBuilder::new("SELECT ");
        query.push(key).push(" AS key, MIN(c.client_name) AS client_name, COUNT(*) AS clients FROM ").push(from);
        query.push(" WHERE ").push(LIVE).push(condition);
        query.push(" GROUP BY ").push(key).push(" HAVING ").push(having);
        query.push(" ORDER BY clients DESC, key LIMIT ").push_bind(i64::from(limit));
        let rows = query.build().fetch_all(&self.pool).await.map_err(failed)?;
        let mut groups = Vec::with_capacity(rows.len());
        for row in &rows {
            let key: String = row.try_get("key").map_err(failed)?;
            let values = self.values_of(by, &key).await?;
            let clients = row.try_get::<i64, _>("clients").map_err(failed)?.unsigned_abs();
            groups.push(Group { key, client_name: row.try_get("client_name").map_err(failed)?, clients, values });
        }
        Ok(groups)
    }

    async fn largest_source(&self, of: Evictable, limit: u32) -> Result<LargestSource, LedgerError> {
        let row = largest_network(of).build().fetch_optional(&self.pool).await.map_err(failed)?;
        let Some(row) = row else { return Ok(LargestSource::default()) };
        let network: Option<String> = row.try_get("source_wide").map_err(failed)?;
        let mut query = select();
        push_evictable(&mut query, of);
        match network {
            None => _ = query.push(" AND source_wide IS NULL"),
            Some(network) => _ = query.push(" AND source_wide = ").push_bind(network),
        }
        query.push(" ORDER BY alive_since, id LIMIT ").push_bind(i64::from(limit));
        Ok(LargestSource {
            total: row.try_get::<i64, _>("total").map_err(failed)?.unsigned_abs(),
            clients: row.try_get::<i64, _>("clients").map_err(failed)?.unsigned_abs(),
            first: self.many(query).await?,
        })
    }

    async fn trim_spent(&self, before: i64, keep: u64) -> Result<u64, LedgerError> {
        // These don't count against the quota and have no redirect hosts, so nothing else changes.
        self.change_rows(move || {
            let mut query =
                QueryBuilder::new("DELETE FROM tower_dcr_clients WHERE id IN (SELECT id FROM tower_dcr_clients WHERE ");
            query.push(SPENT).push(" AND ended_at <= ").push_bind(before).push(" ORDER BY ended_at LIMIT ");
            query.push_bind(TRIMMED_AT_ONCE).push(") OR id IN (SELECT id FROM tower_dcr_clients WHERE ").push(SPENT);
            query.push(" ORDER BY ended_at DESC, id DESC LIMIT ").push_bind(TRIMMED_AT_ONCE);
            query.push(" OFFSET ").push_bind(i64::try_from(keep).unwrap_or(i64::MAX));
            query.push(") RETURNING id");
            query
        })
        .await
    }

    async fn surplus_documents(&self, keep: u64, limit: u32) -> Result<Vec<Client>, LedgerError> {
        let mut count = QueryBuilder::new("SELECT COUNT(*) AS clients FROM tower_dcr_clients WHERE ");
        count.push(LIVE_DOCUMENT);
        let count = count.build().fetch_one(&self.pool).await.map_err(failed)?;
        let live = count.try_get::<i64, _>("clients").map_err(failed)?.unsigned_abs();
        let surplus = live.saturating_sub(keep).min(u64::from(limit));
        if surplus == 0 {
            return Ok(Vec::new());
        }
        // Of each site, its most recently used client is in the first row, and goes last. Records are read at the end.
        let mut query = QueryBuilder::new("SELECT c.* FROM (SELECT * FROM (SELECT id, used, vouched, alive_since, ");
        query.push("ROW_NUMBER() OVER (PARTITION BY used, vouched, document_site ORDER BY alive_since DESC, id DESC) ");
        query.push("AS place FROM (SELECT id, CASE WHEN last_used_at IS NULL THEN 0 ELSE 1 END AS used, vouched, ");
        query.push("document_site, alive_since FROM tower_dcr_clients WHERE ").push(LIVE_DOCUMENT);
        query
            .push(" AND reviewed_at IS NULL) AS kinds) AS places ORDER BY ")
            .push("used, vouched, place DESC, alive_since, id LIMIT ");
        query.push_bind(i64::try_from(surplus).unwrap_or(i64::MAX));
        query.push(") AS e JOIN tower_dcr_clients AS c ON c.id = e.id ORDER BY ");
        query.push("e.used, e.vouched, e.place DESC, e.alive_since, e.id");
        self.many(query).await
    }

    async fn trim_elsewhere(&self, keep: u64) -> Result<u64, LedgerError> {
        // These don't count against the quota and have no redirect hosts, so nothing else changes.
        self.change_rows(move || {
            let mut query = QueryBuilder::new(
                "DELETE FROM tower_dcr_clients WHERE id IN (SELECT id FROM tower_dcr_clients \
             WHERE status IN ('pending', 'active') AND origin = 'elsewhere' ORDER BY alive_since DESC, id DESC LIMIT ",
            );
            query.push_bind(TRIMMED_AT_ONCE).push(" OFFSET ").push_bind(i64::try_from(keep).unwrap_or(i64::MAX));
            query.push(") RETURNING id");
            query
        })
        .await
    }
}

impl<DB> Blocks for SqlLedger<DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
    usize: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
{
    async fn block(&self, block: &Block) -> Result<bool, LedgerError> {
        let block = block.clone();
        let inserted = self.change_rows(move || {
            let mut query =
                QueryBuilder::new("INSERT INTO tower_dcr_blocks (kind, value, created_at, actor, reason) VALUES (");
            let mut values = query.separated(", ");
            values.push_bind(block.fingerprint.kind().to_owned()).push_bind(block.fingerprint.value().to_owned());
            values.push_bind(block.created_at).push_bind(block.actor.to_string()).push_bind(block.reason.clone());
            query.push(") ON CONFLICT DO NOTHING RETURNING created_at");
            query
        });
        Ok(inserted.await? > 0)
    }

    async fn unblock(&self, fingerprint: &Fingerprint) -> Result<bool, LedgerError> {
        let fingerprint = fingerprint.clone();
        let removed = self.change_rows(move || {
            let mut query = QueryBuilder::new("DELETE FROM tower_dcr_blocks WHERE ");
            push_fingerprint_key(&mut query, &fingerprint);
            query.push(" RETURNING created_at");
            query
        });
        Ok(removed.await? > 0)
    }

    async fn find_block(&self, fingerprints: &[Fingerprint]) -> Result<Option<Block>, LedgerError> {
        let mut query = QueryBuilder::new("SELECT * FROM tower_dcr_blocks WHERE ");
        for (index, fingerprint) in fingerprints.iter().enumerate() {
            query.push(if index == 0 { "(" } else { " OR (" });
            push_fingerprint_key(&mut query, fingerprint);
            query.push(")");
        }
        if fingerprints.is_empty() {
            return Ok(None);
        }
        query
            .push(" LIMIT 1")
            .build()
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?
            .as_ref()
            .map(read_block)
            .transpose()
    }

    async fn blocks(&self, before: Option<i64>, limit: u32) -> Result<Vec<Block>, LedgerError> {
        let mut query = QueryBuilder::new("SELECT * FROM tower_dcr_blocks WHERE created_at < ");
        query.push_bind(before.unwrap_or(i64::MAX)).push(" ORDER BY created_at DESC, kind, value LIMIT ");
        let rows = query.push_bind(i64::from(limit)).build().fetch_all(&self.pool).await.map_err(failed)?;
        rows.iter().map(read_block).collect()
    }
}

impl<DB> TokenUses for SqlLedger<DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
    usize: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
{
    async fn count_use(&self, token: &str, limit: u64) -> Result<bool, LedgerError> {
        if limit == 0 {
            return Ok(false);
        }
        let token = token.to_owned();
        let counted = self.change_rows(move || {
            let mut query = QueryBuilder::new("INSERT INTO tower_dcr_token_uses (token, uses) VALUES (");
            query.push_bind(token.clone()).push(", 1) ON CONFLICT (token) DO UPDATE SET ");
            query.push("uses = tower_dcr_token_uses.uses + 1 WHERE tower_dcr_token_uses.uses < ");
            query.push_bind(i64::try_from(limit).unwrap_or(i64::MAX)).push(" RETURNING uses");
            query
        });
        Ok(counted.await? > 0)
    }

    async fn return_use(&self, token: &str) -> Result<(), LedgerError> {
        let token = token.to_owned();
        let returned = self.change_rows(move || {
            let mut query =
                QueryBuilder::new("UPDATE tower_dcr_token_uses SET uses = uses - 1 WHERE uses > 0 AND token = ");
            query.push_bind(token.clone());
            query
        });
        returned.await.map(drop)
    }
}

impl<DB> PushedRequests for SqlLedger<DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
    usize: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
{
    async fn put_pushed(&self, request: &str, client_id: &str, expires_at: i64) -> Result<(), LedgerError> {
        let (request, client_id) = (request.to_owned(), client_id.to_owned());
        let put = self.change_rows(move || {
            let mut query = QueryBuilder::new("INSERT INTO tower_dcr_pushed (request, client_id, expires_at) VALUES (");
            let mut values = query.separated(", ");
            values.push_bind(request.clone()).push_bind(client_id.clone()).push_bind(expires_at);
            query.push(") ON CONFLICT (request) DO UPDATE SET ");
            query.push("client_id = excluded.client_id, expires_at = excluded.expires_at");
            query
        });
        put.await.map(drop)
    }

    async fn find_pushed(&self, request: &str, now: i64) -> Result<Option<String>, LedgerError> {
        let mut query = QueryBuilder::new("SELECT client_id FROM tower_dcr_pushed WHERE request = ");
        query.push_bind(request.to_owned()).push(" AND expires_at > ").push_bind(now);
        let row = query.build().fetch_optional(&self.pool).await.map_err(failed)?;
        row.map(|row| row.try_get("client_id")).transpose().map_err(failed)
    }

    async fn purge_pushed(&self, now: i64) -> Result<u64, LedgerError> {
        self.change_rows(move || {
            let mut query = QueryBuilder::new("DELETE FROM tower_dcr_pushed WHERE expires_at <= ");
            query.push_bind(now).push(" RETURNING expires_at");
            query
        })
        .await
    }
}

/// The number of records that one statement removes.
const TRIMMED_AT_ONCE: i64 = 1000;

/// The condition of the index on `ended_at`.
const SPENT: &str = "registration = '' AND deprovision_at IS NULL \
     AND (status = 'failed' OR (status = 'expired' AND (deprovision_attempts > 0 OR variant <> '')))";

/// The condition of the indices.
pub(crate) const LIVE: &str = "status IN ('registering', 'pending', 'active')";

/// The condition of the index.
const LIVE_DOCUMENT: &str = "status IN ('registering', 'pending', 'active') AND origin = 'document'";

pub(crate) fn select<DB: Database>() -> QueryBuilder<DB> {
    QueryBuilder::new("SELECT * FROM tower_dcr_clients WHERE ")
}

fn push_fingerprint_key<DB>(query: &mut QueryBuilder<DB>, fingerprint: &Fingerprint)
where
    DB: Database,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    query.push("kind = ").push_bind(fingerprint.kind().to_owned());
    query.push(" AND value = ").push_bind(fingerprint.value().to_owned());
}

/// Selects the network that holds most clients of that kind; in a tie, the one with the first client.
fn largest_network<DB: Database>(of: Evictable) -> QueryBuilder<DB> {
    let mut query =
        QueryBuilder::new("SELECT source_wide, COUNT(*) AS clients, CAST(SUM(COUNT(*)) OVER () AS BIGINT) AS total ");
    query.push("FROM tower_dcr_clients WHERE ");
    push_evictable(&mut query, of);
    query.push(" GROUP BY source_wide ORDER BY clients DESC, MIN(alive_since) LIMIT 1");
    query
}

/// Adds the condition of the indices.
fn push_evictable<DB: Database>(query: &mut QueryBuilder<DB>, of: Evictable) {
    query.push("status IN ('pending', 'active') AND origin = 'registered' AND reviewed_at IS NULL");
    query.push(match of {
        Evictable::Unused => " AND last_used_at IS NULL AND vouched = 0",
        Evictable::VouchedUnused => " AND last_used_at IS NULL AND vouched = 1",
        Evictable::Used => " AND last_used_at IS NOT NULL AND vouched = 0",
        Evictable::VouchedUsed => " AND last_used_at IS NOT NULL AND vouched = 1",
    });
}

/// Adds a condition for every record of a client.
fn push_client_id<DB>(query: &mut QueryBuilder<DB>, client_id: &str)
where
    DB: Database,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    query.push("(client_id = ").push_bind(client_id.to_owned());
    query.push(" OR shared_id = ").push_bind(client_id.to_owned()).push(")");
}

fn push_filter<DB>(query: &mut QueryBuilder<DB>, filter: &Filter)
where
    DB: Database,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    if !filter.statuses.is_empty() {
        query.push(" AND status IN (");
        let mut names = query.separated(", ");
        for status in &filter.statuses {
            names.push_bind(status.to_string());
        }
        query.push(")");
    }
    match &filter.fingerprint {
        None => {}
        Some(Fingerprint::Source(network)) => {
            query.push(" AND (source = ").push_bind(network.clone());
            query.push(" OR source_wide = ").push_bind(network.clone()).push(")");
        }
        Some(Fingerprint::ClientId(client_id)) => {
            query.push(" AND ");
            push_client_id(query, client_id);
        }
        // Every other kind is named after its column.
        Some(fingerprint) => {
            query.push(" AND ").push(fingerprint.kind()).push(" = ").push_bind(fingerprint.value().to_owned());
        }
    }
    if let Some(origin) = filter.origin {
        query.push(" AND origin = ").push_bind(origin.to_string());
    }
    if let Some(owner) = &filter.admitted_by {
        query.push(" AND admitted_by = ").push_bind(owner.clone());
    }
    let flags = [
        (filter.never_used, " AND last_used_at IS NULL"),
        (filter.used, " AND last_used_at IS NOT NULL"),
        (filter.endorsed, " AND (reviewed_at IS NOT NULL OR admitted_by IS NOT NULL OR statement_issuer IS NOT NULL)"),
        (filter.never_reviewed, " AND reviewed_at IS NULL"),
        (filter.held_change, " AND document_held_at IS NOT NULL"),
        (filter.failing_deprovisioning, " AND deprovision_at IS NOT NULL AND deprovision_error IS NOT NULL"),
    ];
    for (_, condition) in flags.into_iter().filter(|(set, _)| *set) {
        query.push(condition);
    }
    if let Some(time) = filter.idle_since {
        query.push(" AND alive_since < ").push_bind(time);
    }
    if let Some(time) = filter.expires_before {
        query.push(" AND expires_at < ").push_bind(time);
    }
    if let Some(time) = filter.stale_at {
        // The same condition as in `Client::is_stale`.
        query.push(" AND status = 'active' AND expires_at > ").push_bind(time);
        query.push(" AND ").push_bind(time).push(" - alive_since > expires_at - ").push_bind(time);
    }
}

pub(crate) fn read_client<R>(row: &R) -> Result<Client, LedgerError>
where
    R: Row,
    for<'c> &'c str: ColumnIndex<R>,
    for<'q> i64: Decode<'q, R::Database> + Type<R::Database>,
    for<'q> String: Decode<'q, R::Database> + Type<R::Database>,
{
    let text = |column: &str| row.try_get::<String, _>(column).map_err(failed);
    let optional = |column: &str| row.try_get::<Option<String>, _>(column).map_err(failed);
    let number = |column: &str| row.try_get::<i64, _>(column).map_err(failed);
    let time = |column: &str| row.try_get::<Option<i64>, _>(column).map_err(failed);
    let response = match (time("response_status")?, optional("response_body")?) {
        (Some(status), Some(body)) => {
            Some(StoredResponse { status: u16::try_from(status).map_err(LedgerError::new)?, body })
        }
        _ => None,
    };
    let hosts = text("redirect_hosts")?;
    let source = optional("source")?.zip(optional("source_wide")?);
    let mut prints = Fingerprints::default();
    prints.digest = text("digest")?;
    prints.family = text("family")?;
    prints.name = text("name")?;
    prints.redirect_set = text("redirect_set")?;
    prints.redirect_hosts = hosts.split(' ').filter(|host| !host.is_empty()).map(str::to_owned).collect();
    prints.client_name = optional("client_name")?;
    prints.software_id = optional("software_id")?;
    prints.source = source.map(|(narrow, wide)| Source { narrow, wide });
    let mut client = Client::draft(text("registration")?, prints, number("created_at")?);
    client.key = ClientKey(number("id")?);
    client.version = number("version")?;
    client.status = text("status")?.parse().map_err(LedgerError::new)?;
    client.origin = text("origin")?.parse().map_err(LedgerError::new)?;
    client.client_id = optional("client_id")?.or(optional("shared_id")?);
    client.variant = text("variant")?;
    client.response = response;
    client.dedup_key = optional("dedup_key")?;
    client.admitted_by = optional("admitted_by")?;
    client.rules = optional("rules")?;
    client.statement_issuer = optional("statement_issuer")?;
    client.policy = optional("policy")?;
    let identity = optional("identity")?.map(|json| serde_json::from_str(&json));
    client.identity = identity.transpose().map_err(LedgerError::new)?;
    let document = optional("document")?.map(|json| serde_json::from_str(&json));
    client.document = document.transpose().map_err(LedgerError::new)?;
    client.last_used_at = time("last_used_at")?;
    client.expires_at = time("expires_at")?;
    client.not_after = time("not_after")?;
    client.reviewed_at = time("reviewed_at")?;
    client.reviewed_by = optional("reviewed_by")?;
    client.ended_at = time("ended_at")?;
    client.ended_by = optional("ended_by")?.map(|actor| actor.parse()).transpose().map_err(LedgerError::new)?;
    client.reason = optional("reason")?;
    client.deprovisioning.due_at = time("deprovision_at")?;
    client.deprovisioning.attempts = u32::try_from(number("deprovision_attempts")?).unwrap_or(u32::MAX);
    client.deprovisioning.error = optional("deprovision_error")?;
    Ok(client)
}

fn read_block<R>(row: &R) -> Result<Block, LedgerError>
where
    R: Row,
    for<'c> &'c str: ColumnIndex<R>,
    for<'q> i64: Decode<'q, R::Database> + Type<R::Database>,
    for<'q> String: Decode<'q, R::Database> + Type<R::Database>,
{
    let kind: String = row.try_get("kind").map_err(failed)?;
    let value: String = row.try_get("value").map_err(failed)?;
    let stored = serde_json::json!({ "kind": kind, "value": value });
    let fingerprint: Fingerprint = serde_json::from_value(stored).map_err(LedgerError::new)?;
    let actor = row.try_get::<String, _>("actor").map_err(failed)?.parse().map_err(LedgerError::new)?;
    let created_at = row.try_get("created_at").map_err(failed)?;
    Ok(Block::new(fingerprint, created_at, actor, row.try_get::<String, _>("reason").map_err(failed)?))
}

/// Returns the error for an answer to another change.
fn mistaken() -> LedgerError {
    LedgerError::new("answer to another change")
}

/// Converts a database error.
pub(crate) fn failed(error: sqlx::Error) -> LedgerError {
    if is_outage(&error) { LedgerError::outage(error) } else { LedgerError::new(error) }
}

/// Returns `true` if the database is unreachable or rejects every write.
fn is_outage(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_)
        | sqlx::Error::PoolClosed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::Tls(_)
        | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(error) => error.code().is_some_and(|code| is_outage_code(&code)),
        _ => false,
    }
}

/// Returns `true` for the codes of an outage. SQLSTATE has five characters: connection exception, read-only
/// transaction, insufficient resources (a full disk, too many connections), operator intervention (a shutdown, a
/// timeout), system error. SQLite's are numbers, and the lowest byte is the kind: busy, locked, read-only, I/O error,
/// corrupt, full, can't be opened.
fn is_outage_code(code: &str) -> bool {
    match code.len() {
        5 => code == "25006" || ["08", "53", "57", "58"].iter().any(|class| code.starts_with(class)),
        _ => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6 | 8 | 10 | 11 | 13 | 14)),
    }
}

impl<DB: Database> Clone for SqlLedger<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), writes: Arc::clone(&self.writes) }
    }
}

impl<DB: Database> fmt::Debug for SqlLedger<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlLedger").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use tower_dcr::clients::Origin;

    use super::*;

    #[test]
    fn outages_do_not_depend_on_the_request() {
        for error in [
            sqlx::Error::PoolTimedOut,
            sqlx::Error::PoolClosed,
            sqlx::Error::WorkerCrashed,
            sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into()),
        ] {
            assert!(failed(error).is_outage());
        }
        assert!(!failed(sqlx::Error::RowNotFound).is_outage());
        assert!(!failed(sqlx::Error::ColumnNotFound("client_id".into())).is_outage());
    }

    #[test]
    fn outages_are_known_by_their_codes() {
        // Connection failure, read-only, disk full, too many connections, shutdown, statement timeout, I/O error.
        for code in ["08006", "25006", "53100", "53300", "57P01", "57014", "58030"] {
            assert!(is_outage_code(code), "{code}");
        }
        // A unique key, an invalid text, a deadlock, a missing column, an open transaction.
        for code in ["23505", "22021", "40P01", "42703", "25001"] {
            assert!(!is_outage_code(code), "{code}");
        }
        // SQLite: busy, locked, read-only, I/O error (reading), corrupt, full, can't be opened.
        for code in ["5", "6", "8", "266", "11", "13", "14"] {
            assert!(is_outage_code(code), "{code}");
        }
        // An SQL error, a constraint, a unique key, no code at all.
        for code in ["1", "19", "2067", ""] {
            assert!(!is_outage_code(code), "{code}");
        }
    }

    /// Two clients in tables of version 5: one in use, and one with a stored response.
    const CLIENTS_OF_VERSION_5: &str = "\
        INSERT INTO tower_dcr_clients (version, status, origin, client_id, registration, answer_status, answer_body, \
        repeat_key, digest, family, name, redirect_set, redirect_hosts, created_at, proven_at, alive_since, \
        deprovision_attempts, variant, vouched) VALUES \
        (3, 'active', 'registered', 'used', '{}', NULL, NULL, NULL, 'd1', 'f1', 'n1', 'r1', '', 10, 50, 50, 0, '', 0), \
        (1, 'active', 'registered', 'new', '{}', 201, '{\"client_id\":\"new\"}', 'key', 'd2', 'f2', 'n2', 'r2', '', 20, NULL, \
        20, 0, '', 0)";

    async fn has_the_clients_of_version_5(ledger: &impl Ledger) {
        let used = ledger.find("used").await.unwrap().unwrap();
        assert_eq!((used.version, used.created_at, used.last_used_at), (3, 10, Some(50)));
        assert_eq!((used.dedup_key, used.response), (None, None));
        let new = ledger.find_by_dedup_key("key").await.unwrap().unwrap();
        assert_eq!((new.client_id.as_deref(), new.last_used_at), (Some("new"), None));
        let body = r#"{"client_id":"new"}"#.into();
        assert_eq!(new.response, Some(StoredResponse { status: 201, body }));
        for (of, client) in [(Evictable::Used, "used"), (Evictable::Unused, "new")] {
            let first = ledger.largest_source(of, 1).await.unwrap().first;
            assert_eq!(first[0].client_id.as_deref(), Some(client), "{of:?}");
        }
        // It has the columns of documents, and none of the documents.
        assert_eq!(used.document, None);
        let documents = Filter { origin: Some(Origin::Document), ..Filter::default() };
        assert_eq!(ledger.page(&documents, None, 9).await.unwrap(), []);
        assert_eq!(ledger.surplus_documents(0, 9).await.unwrap(), []);
        // Keys are still unique.
        let mut equal = new.clone();
        equal.client_id = Some("other".into());
        assert_eq!(ledger.insert(&equal, None).await.unwrap(), Insertion::Exists(new));
    }

    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn a_sqlite_ledger_of_version_5_is_migrated() {
        let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        let pool = options.connect("sqlite::memory:").await.unwrap();
        SqlLedger::over(pool.clone()).migrate(5).await.unwrap();
        sqlx::raw_sql(CLIENTS_OF_VERSION_5).execute(&pool).await.unwrap();
        has_the_clients_of_version_5(&crate::SqliteLedger::new(pool).await.unwrap()).await;
    }

    #[cfg(feature = "postgres")]
    #[tokio::test]
    async fn a_postgres_ledger_of_version_5_is_migrated() {
        let Some(server) = test_support::databases::Postgres::start() else { return };
        let pool = server.fresh_database().await;
        SqlLedger::over(pool.clone()).migrate(5).await.unwrap();
        sqlx::raw_sql(CLIENTS_OF_VERSION_5).execute(&pool).await.unwrap();
        has_the_clients_of_version_5(&crate::PostgresLedger::new(pool).await.unwrap()).await;
    }

    /// A step is a range, so the records of the first and the last one count in part or in whole as the times say.
    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn the_timeline_counts_each_step_with_records() {
        let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        let pool = options.connect("sqlite::memory:").await.unwrap();
        let ledger = crate::SqliteLedger::new(pool).await.unwrap();
        assert_eq!(ledger.timeline(0, 10).await.unwrap(), []);
        for created_at in [9, 10, 12, 19, 20, 59, 60, 1_000_000] {
            ledger.insert(&Client::draft("{}", Fingerprints::default(), created_at), None).await.unwrap();
        }
        for (since, counts) in [
            (0, vec![(0, 1), (10, 3), (20, 1), (50, 1), (60, 1), (1_000_000, 1)]),
            (11, vec![(10, 2), (20, 1), (50, 1), (60, 1), (1_000_000, 1)]),
            (60, vec![(60, 1), (1_000_000, 1)]),
            (1_000_001, vec![]),
        ] {
            assert_eq!(ledger.timeline(since, 10).await.unwrap(), counts, "{since}");
        }
    }

    /// The documents that make room are found among documents, for any number of clients.
    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn documents_are_counted_in_an_index() {
        let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
        let pool = options.connect("sqlite::memory:").await.unwrap();
        drop(crate::SqliteLedger::new(pool.clone()).await.unwrap());
        for (condition, index) in [
            (LIVE_DOCUMENT.to_owned(), "documents"),
            ("document_host = 'a.example.com'".to_owned(), "document_host"),
            ("document_site = 'example.com'".to_owned(), "document_site"),
            ("document_held_at IS NOT NULL".to_owned(), "document_held"),
        ] {
            let sql = format!("EXPLAIN QUERY PLAN SELECT COUNT(*) FROM tower_dcr_clients WHERE {condition}");
            let plan = sqlx::query(AssertSqlSafe(sql)).fetch_all(&pool).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
            let wanted = format!("INDEX tower_dcr_clients_{index}");
            assert!(plan.iter().all(|step| step.contains(&wanted)), "{condition}: {plan:?}");
        }
    }

    /// The query for evictable clients reads only an index, for any number of clients.
    #[cfg(feature = "sqlite")]
    #[tokio::test]
    async fn the_largest_network_is_found_in_an_index() {
        for clients in [10_000_u32, 100_000] {
            let options = sqlx::sqlite::SqlitePoolOptions::new().max_connections(1);
            let pool = options.connect("sqlite::memory:").await.unwrap();
            let ledger = crate::SqliteLedger::new(pool.clone()).await.unwrap();
            // A tenth of each kind is used, half from one network.
            let fill = format!(
                "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {clients} - 1) \
                 INSERT INTO tower_dcr_clients (version, status, origin, client_id, registration, digest, family, name, \
                 redirect_set, redirect_hosts, source, source_wide, created_at, alive_since, last_used_at, vouched, \
                 deprovision_attempts) SELECT 1, 'active', 'registered', 'c' || i, '{{}}', i, i, i, i, '', i, \
                 CASE WHEN i % 2 = 0 THEN 'large' ELSE 'n' || (i % 5000) END, i, i, \
                 CASE WHEN i % 10 < 2 THEN i END, i % 10 = 1, 0 FROM n"
            );
            sqlx::raw_sql(AssertSqlSafe(fill)).execute(&pool).await.unwrap();
            for of in Evictable::ALL {
                let (index, share) = match of {
                    Evictable::Unused => ("unused", 8),
                    Evictable::VouchedUnused => ("unused", 0),
                    Evictable::Used | Evictable::VouchedUsed => ("used", 1),
                };
                let sql = format!("EXPLAIN QUERY PLAN {}", largest_network::<sqlx::Sqlite>(of).into_string());
                let plan = sqlx::query(AssertSqlSafe(sql)).fetch_all(&pool).await.unwrap();
                let plan: Vec<String> = plan.iter().map(|row| row.get("detail")).collect();
                let read: Vec<_> = plan.iter().filter(|step| step.contains("tower_dcr_clients")).collect();
                let wanted = format!("USING COVERING INDEX tower_dcr_clients_{index} (vouched=?");
                assert!(read.len() == 1 && read.iter().all(|step| step.contains(&wanted)), "{of:?}: {plan:?}");
                let found = ledger.largest_source(of, 16).await.unwrap();
                assert_eq!(found.total, u64::from(clients / 10 * share), "{of:?}");
            }
        }
    }
}
