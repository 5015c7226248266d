//! The changes of a ledger in SQL.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use sqlx::{ColumnIndex, Connection, Database, Decode, Encode, Executor, IntoArguments, QueryBuilder, Row, Type};
use tower_dcr::clients::{Client, ClientKey, Insertion, LedgerError, Origin, Replacement, Status};

use crate::sql::{Dialect, LIVE, failed, read_client, select};

/// The columns of a record, in the order of [`push_values`].
const COLUMNS: [&str; 42] = [
    "version",
    "status",
    "origin",
    "client_id",
    "registration",
    "response_status",
    "response_body",
    "dedup_key",
    "digest",
    "family",
    "name",
    "redirect_set",
    "redirect_hosts",
    "client_name",
    "software_id",
    "source",
    "source_wide",
    "admitted_by",
    "created_at",
    "last_used_at",
    "alive_since",
    "expires_at",
    "not_after",
    "reviewed_at",
    "reviewed_by",
    "ended_at",
    "ended_by",
    "reason",
    "deprovision_at",
    "deprovision_attempts",
    "deprovision_error",
    "identity",
    "rules",
    "policy",
    "variant",
    "shared_id",
    "statement_issuer",
    "vouched",
    "document",
    "document_host",
    "document_site",
    "document_held_at",
];

/// The number of times that an insertion is tried again: a record in its way may be removed before it is read.
const MAX_ATTEMPTS: usize = 16;

/// The largest number of rows in one statement. One is prepared for each power of two.
const MAX_ROWS: usize = 16;

/// A change that is made in a transaction, and made again if that is rolled back for the error of another member.
pub(crate) enum Change<DB: Database> {
    /// Inserts a client, unless another is equal or `max_live` clients count against the quota.
    Insert { client: Client, max_live: i64 },
    /// Replaces a record of the same version.
    Replace(Client),
    /// Removes a record of that version.
    Remove { key: ClientKey, version: i64 },
    /// Runs a statement that leaves clients as they are.
    Statement(Box<dyn Fn() -> QueryBuilder<DB> + Send + Sync>),
}

/// An answer to a change.
pub(crate) enum Answer {
    Inserted(Box<Insertion>),
    Replaced(Replacement),
    Removed(bool),
    /// The number of rows that the statement returned.
    Rows(u64),
}

/// A transaction.
struct Group<'c, DB: Database> {
    connection: &'c mut DB::Connection,
    /// The number of clients that count against the quota.
    live: i64,
    /// Redirect hosts of clients, which are inserted at the end.
    hosts: Vec<(String, ClientKey)>,
}

/// Makes the changes, and returns an answer for each.
///
/// The row with the number of clients is locked before any other: one order of locks prevents deadlocks.
pub(crate) async fn run_all<DB>(
    connection: &mut DB::Connection,
    changes: &[Change<DB>],
) -> Result<Vec<Answer>, LedgerError>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
{
    let locked = QueryBuilder::new(DB::LOCK_COUNT).build().fetch_one(&mut *connection).await.map_err(failed)?;
    let before: i64 = locked.try_get("clients").map_err(failed)?;
    let mut group = Group { connection, live: before, hosts: Vec::new() };
    let mut answers: Vec<Option<Answer>> = changes.iter().map(|_| None).collect();
    group.insert_many(changes, &mut answers).await?;
    if DB::ONE_WRITER {
        group.replace_many(changes, &mut answers).await?;
    }
    let mut all = Vec::with_capacity(changes.len());
    for (change, answer) in changes.iter().zip(answers) {
        all.push(match answer {
            Some(answer) => answer,
            None => group.run(change).await?,
        });
    }
    group.finish(before).await?;
    Ok(all)
}

impl<DB> Group<'_, DB>
where
    DB: Dialect,
    DB::Arguments: IntoArguments<DB>,
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    for<'c> &'c str: ColumnIndex<DB::Row>,
    for<'q> i64: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> String: Encode<'q, DB> + Decode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
{
    /// Inserts public clients, many in a statement. Leaves those without an answer that are not inserted.
    async fn insert_many(&mut self, changes: &[Change<DB>], answers: &mut [Option<Answer>]) -> Result<(), LedgerError> {
        // A row that is returned belongs to the member with its key.
        let mut by_key = HashMap::new();
        let mut clients = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            if let Change::Insert { client, max_live } = change
                && client.counts_against_quota()
                && let Some(key) = &client.dedup_key
                && self.live.saturating_add_unsigned(clients.len() as u64) < *max_live
                && let Entry::Vacant(vacant) = by_key.entry(key.as_str())
            {
                vacant.insert(index);
                clients.push(client);
            }
        }
        for clients in in_powers_of_two(&clients) {
            for row in insert(clients).build().fetch_all(&mut *self.connection).await.map_err(failed)? {
                let key: String = row.try_get("dedup_key").map_err(failed)?;
                if let Some(index) = by_key.get(key.as_str())
                    && let (Some(Change::Insert { client, .. }), Some(answer)) =
                        (changes.get(*index), answers.get_mut(*index))
                {
                    *answer = Some(Answer::Inserted(Box::new(Insertion::Inserted(self.inserted(client, &row)?))));
                }
            }
        }
        Ok(())
    }

    /// Replaces records of live clients, many in a statement. Leaves those without an answer that are not replaced.
    async fn replace_many(
        &mut self,
        changes: &[Change<DB>],
        answers: &mut [Option<Answer>],
    ) -> Result<(), LedgerError> {
        let mut by_key = HashMap::new();
        let mut clients = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            if let Change::Replace(client) = change
                && client.counts_against_quota()
                && let Entry::Vacant(vacant) = by_key.entry(client.key)
            {
                vacant.insert(index);
                clients.push(client);
            }
        }
        for clients in in_powers_of_two(&clients) {
            let rows = match replace_many(clients).build().fetch_all(&mut *self.connection).await {
                Ok(rows) => rows,
                // The statement changed nothing, and one of its rows has a key of another record.
                Err(error) if is_taken(&error) => continue,
                Err(error) => return Err(failed(error)),
            };
            for row in rows {
                let key = ClientKey(row.try_get("id").map_err(failed)?);
                if let Some(answer) = by_key.get(&key).and_then(|index| answers.get_mut(*index)) {
                    *answer = Some(Answer::Replaced(Replacement::Replaced));
                }
            }
        }
        Ok(())
    }

    async fn run(&mut self, change: &Change<DB>) -> Result<Answer, LedgerError> {
        Ok(match change {
            Change::Insert { client, max_live } => Answer::Inserted(Box::new(self.insert(client, *max_live).await?)),
            Change::Replace(client) => Answer::Replaced(self.replace(client).await?),
            Change::Remove { key, version } => Answer::Removed(self.remove(*key, *version).await?),
            Change::Statement(statement) => {
                Answer::Rows(statement().build().fetch_all(&mut *self.connection).await.map_err(failed)?.len() as u64)
            }
        })
    }

    async fn insert(&mut self, client: &Client, max_live: i64) -> Result<Insertion, LedgerError> {
        if client.counts_against_quota() && self.live >= max_live {
            return Ok(self.holder(client).await?.map_or(Insertion::Full, Insertion::Exists));
        }
        for _ in 0..MAX_ATTEMPTS {
            let mut insert = insert(&[client]);
            if let Some(row) = insert.build().fetch_optional(&mut *self.connection).await.map_err(failed)? {
                return self.inserted(client, &row).map(Insertion::Inserted);
            }
            if let Some(holder) = self.holder(client).await? {
                return Ok(Insertion::Exists(holder));
            }
        }
        Err(LedgerError::new("insertion prevented by a record that comes and goes"))
    }

    async fn replace(&mut self, client: &Client) -> Result<Replacement, LedgerError> {
        let Some(current) = self.current(client.key, client.version).await? else {
            return Ok(Replacement::Outdated);
        };
        // In PostgreSQL, a statement that fails ends the transaction.
        let mut savepoint = self.connection.begin().await.map_err(failed)?;
        match replace(client).push(" RETURNING id").build().fetch_optional(&mut *savepoint).await {
            Ok(Some(_)) => savepoint.commit().await.map_err(failed)?,
            Ok(None) => return savepoint.rollback().await.map(|()| Replacement::Outdated).map_err(failed),
            Err(error) if is_taken(&error) => {
                return savepoint.rollback().await.map(|()| Replacement::Taken).map_err(failed);
            }
            Err(error) => return Err(failed(error)),
        }
        self.live += i64::from(client.counts_against_quota()) - i64::from(current.is_counted);
        if current.redirect_hosts != client.fingerprints.redirect_hosts.join(" ") {
            let mut delete = QueryBuilder::new("DELETE FROM tower_dcr_redirect_hosts WHERE client = ");
            delete.push_bind(client.key.0).build().execute(&mut *self.connection).await.map_err(failed)?;
            self.add_hosts(client.key, client);
        }
        Ok(Replacement::Replaced)
    }

    async fn remove(&mut self, key: ClientKey, version: i64) -> Result<bool, LedgerError> {
        let Some(current) = self.current(key, version).await? else { return Ok(false) };
        let mut delete = QueryBuilder::new("DELETE FROM tower_dcr_clients WHERE id = ");
        delete.push_bind(key.0).push(" AND version = ").push_bind(version).push(" RETURNING id");
        let removed = delete.build().fetch_optional(&mut *self.connection).await.map_err(failed)?.is_some();
        if removed {
            self.live -= i64::from(current.is_counted);
        }
        Ok(removed)
    }

    /// Returns the record as inserted in that row.
    fn inserted(&mut self, client: &Client, row: &DB::Row) -> Result<Client, LedgerError> {
        let mut inserted = client.clone();
        (inserted.key, inserted.version) = (ClientKey(row.try_get("id").map_err(failed)?), 1);
        self.live += i64::from(client.counts_against_quota());
        self.add_hosts(inserted.key, client);
        Ok(inserted)
    }

    fn add_hosts(&mut self, key: ClientKey, client: &Client) {
        self.hosts.extend(client.fingerprints.redirect_hosts.iter().map(|host| (host.clone(), key)));
    }

    /// Returns the record that prevents the insertion of `client`; `None` if there is none.
    async fn holder(&mut self, client: &Client) -> Result<Option<Client>, LedgerError> {
        if let Some(key) = &client.dedup_key {
            let mut query = select();
            query.push("dedup_key = ").push_bind(key.clone());
            if let Some(row) = query.build().fetch_optional(&mut *self.connection).await.map_err(failed)? {
                return read_client(&row).map(Some);
            }
        }
        let Some(id) = &client.client_id else { return Ok(None) };
        let mut query = find_variant(id, &client.variant);
        let row = query.build().fetch_optional(&mut *self.connection).await.map_err(failed)?;
        row.as_ref().map(read_client).transpose()
    }

    /// Returns `None` if the version has changed.
    async fn current(&mut self, key: ClientKey, version: i64) -> Result<Option<Current>, LedgerError> {
        let mut query = QueryBuilder::new("SELECT status, origin, redirect_hosts FROM tower_dcr_clients WHERE id = ");
        query.push_bind(key.0).push(" AND version = ").push_bind(version);
        let row = query.build().fetch_optional(&mut *self.connection).await.map_err(failed)?;
        let Some(row) = row else { return Ok(None) };
        let status: Status = row.try_get::<String, _>("status").map_err(failed)?.parse().map_err(LedgerError::new)?;
        let origin: Origin = row.try_get::<String, _>("origin").map_err(failed)?.parse().map_err(LedgerError::new)?;
        let is_counted = status.is_live() && origin == Origin::Registered;
        Ok(Some(Current { is_counted, redirect_hosts: row.try_get("redirect_hosts").map_err(failed)? }))
    }

    /// Writes what the changes have added up to.
    async fn finish(self, before: i64) -> Result<(), LedgerError> {
        for hosts in in_powers_of_two(&self.hosts) {
            let mut insert = QueryBuilder::new("INSERT INTO tower_dcr_redirect_hosts (host, client) ");
            insert.push_values(hosts, |mut row, (host, client)| {
                row.push_bind(host.clone()).push_bind(client.0);
            });
            insert.build().execute(&mut *self.connection).await.map_err(failed)?;
        }
        if self.live != before {
            let mut count = QueryBuilder::new("UPDATE tower_dcr_live SET clients = ");
            count.push_bind(self.live).build().execute(&mut *self.connection).await.map_err(failed)?;
        }
        Ok(())
    }
}

/// Splits rows for statements of few lengths, each of which is prepared once.
fn in_powers_of_two<T>(mut rows: &[T]) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = (1 << rows.len().checked_ilog2()?).min(MAX_ROWS);
        let (first, rest) = rows.split_at_checked(length)?;
        rows = rest;
        Some(first)
    })
}

/// The parts of a record that are stored twice.
struct Current {
    /// Whether it counts against the quota.
    is_counted: bool,
    redirect_hosts: String,
}

/// Selects the record of `client_id` with that variant.
pub(crate) fn find_variant<DB>(client_id: &str, variant: &str) -> QueryBuilder<DB>
where
    DB: Database,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    let mut query = select();
    if variant.is_empty() {
        query.push("client_id = ").push_bind(client_id.to_owned());
    } else {
        query.push("shared_id = ").push_bind(client_id.to_owned());
        query.push(" AND variant = ").push_bind(variant.to_owned());
    }
    query
}

/// Inserts records, unless others have their keys. Returns the rows that were inserted.
fn insert<DB>(clients: &[&Client]) -> QueryBuilder<DB>
where
    DB: Database,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("INSERT INTO tower_dcr_clients (");
    query.push(COLUMNS.join(", ")).push(") ");
    query.push_values(clients, |mut row, client| {
        row.push_bind(1_i64);
        push_values(client, |value| match value {
            Value::Number(number) => _ = row.push_bind(number),
            Value::Text(text) => _ = row.push_bind(text),
        });
    });
    query.push(" ON CONFLICT DO NOTHING RETURNING id, dedup_key");
    query
}

/// Updates the record if its version has not changed.
fn replace<DB>(client: &Client) -> QueryBuilder<DB>
where
    DB: Database,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("UPDATE tower_dcr_clients SET version = ");
    query.push_bind(client.version + 1);
    let mut columns = COLUMNS.iter().skip(1);
    push_values(client, |value| {
        query.push(", ").push(columns.next().copied().unwrap_or_default()).push(" = ");
        match value {
            Value::Number(number) => _ = query.push_bind(number),
            Value::Text(text) => _ = query.push_bind(text),
        }
    });
    query.push(" WHERE id = ").push_bind(client.key.0).push(" AND version = ").push_bind(client.version);
    query
}

/// Updates the record if, besides, it has these redirect hosts and counts against the quota as `client` does: then no other
/// table changes.
pub(crate) fn replace_alike<DB>(client: &Client) -> QueryBuilder<DB>
where
    DB: Database,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    let mut query = replace(client);
    query.push(if client.counts_against_quota() { " AND (" } else { " AND NOT (" }).push(LIVE);
    query.push(" AND origin = 'registered') AND redirect_hosts = ");
    query.push_bind(client.fingerprints.redirect_hosts.join(" ")).push(" RETURNING id");
    query
}

/// Updates records of clients that count against the quota, if they have these versions and redirect hosts and count already.
/// Returns the `id`s of those that were updated.
fn replace_many<DB>(clients: &[&Client]) -> QueryBuilder<DB>
where
    DB: Database,
    for<'q> i64: Encode<'q, DB> + Type<DB>,
    for<'q> Option<i64>: Encode<'q, DB>,
    for<'q> Option<String>: Encode<'q, DB>,
    for<'q> String: Encode<'q, DB> + Type<DB>,
{
    let mut query = QueryBuilder::new("WITH new (id, ");
    query.push(COLUMNS.join(", ")).push(") AS (");
    query.push_values(clients, |mut row, client| {
        row.push_bind(client.key.0).push_bind(client.version);
        push_values(client, |value| match value {
            Value::Number(number) => _ = row.push_bind(number),
            Value::Text(text) => _ = row.push_bind(text),
        });
    });
    query.push(") UPDATE tower_dcr_clients SET version = new.version + 1");
    for column in COLUMNS.iter().skip(1) {
        query.push(", ").push(column).push(" = new.").push(column);
    }
    query.push(" FROM new WHERE tower_dcr_clients.id = new.id AND tower_dcr_clients.version = new.version ");
    query
        .push("AND tower_dcr_clients.redirect_hosts = new.redirect_hosts AND tower_dcr_clients.origin = 'registered' ");
    query.push("AND tower_dcr_clients.").push(LIVE).push(" RETURNING id");
    query
}

/// Returns `true` if another record has a key of this one.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

enum Value {
    Number(Option<i64>),
    Text(Option<String>),
}

/// Calls `push` with the value of every column except the version, in the order of [`COLUMNS`].
fn push_values(client: &Client, mut push: impl FnMut(Value)) {
    let prints = &client.fingerprints;
    let mut text = |value: Option<&str>| push(Value::Text(value.map(str::to_owned)));
    text(Some(&client.status.to_string()));
    text(Some(&client.origin.to_string()));
    // Unique across variants: see `shared_id` at the end.
    text(client.client_id.as_deref().filter(|_| client.variant.is_empty()));
    text(Some(&client.registration));
    push(Value::Number(client.response.as_ref().map(|response| i64::from(response.status))));
    let mut text = |value: Option<&str>| push(Value::Text(value.map(str::to_owned)));
    text(client.response.as_ref().map(|response| &*response.body));
    text(client.dedup_key.as_deref());
    text(Some(&prints.digest));
    text(Some(&prints.family));
    text(Some(&prints.name));
    text(Some(&prints.redirect_set));
    text(Some(&prints.redirect_hosts.join(" ")));
    text(prints.client_name.as_deref());
    text(prints.software_id.as_deref());
    text(prints.source.as_ref().map(|source| &*source.narrow));
    text(prints.source.as_ref().map(|source| &*source.wide));
    text(client.admitted_by.as_deref());
    let times = [Some(client.created_at), client.last_used_at, Some(client.alive_since()), client.expires_at];
    times.into_iter().chain([client.not_after, client.reviewed_at]).for_each(|time| push(Value::Number(time)));
    push(Value::Text(client.reviewed_by.clone()));
    push(Value::Number(client.ended_at));
    push(Value::Text(client.ended_by.as_ref().map(ToString::to_string)));
    push(Value::Text(client.reason.clone()));
    push(Value::Number(client.deprovisioning.due_at));
    push(Value::Number(Some(i64::from(client.deprovisioning.attempts))));
    push(Value::Text(client.deprovisioning.error.clone()));
    // Every identity has a JSON form.
    push(Value::Text(client.identity.as_ref().and_then(|identity| serde_json::to_string(identity).ok())));
    push(Value::Text(client.rules.clone()));
    push(Value::Text(client.policy.clone()));
    push(Value::Text(Some(client.variant.clone())));
    push(Value::Text(client.client_id.clone().filter(|_| !client.variant.is_empty())));
    push(Value::Text(client.statement_issuer.clone()));
    push(Value::Number(Some(i64::from(client.is_vouched_for()))));
    // Every state has a JSON form.
    push(Value::Text(client.document.as_ref().and_then(|document| serde_json::to_string(document).ok())));
    push(Value::Text(client.document_host().map(str::to_owned)));
    push(Value::Text(client.document_site().map(str::to_owned)));
    let held = client.document.as_ref().and_then(|document| document.held.as_ref());
    push(Value::Number(held.map(|held| held.since)));
}
