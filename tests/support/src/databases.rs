//! Databases for tests, each in a server that was started for it.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

pub use crate::servers::{Postgres, Redis, TempDir};
use crate::there::is_there;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// A Redis; `None` if there is none on this machine and tests may skip.
pub fn redis(arguments: &[&str]) -> Option<Redis> {
    let server = Redis::start(arguments);
    is_there("redis-server", server.is_some());
    server
}

/// A PostgreSQL; `None` if there is none on this machine and tests may skip.
pub fn postgres_in(dir: TempDir, settings: &[&str]) -> Option<Postgres> {
    let server = Postgres::start_in(dir, settings);
    is_there("PostgreSQL", server.is_some());
    server
}

impl Postgres {
    pub fn start() -> Option<Self> {
        postgres_in(TempDir::new("postgres"), &["max_connections=200"])
    }

    pub fn options(&self, database: &str) -> PgConnectOptions {
        PgConnectOptions::new().host("127.0.0.1").port(self.port()).username("test").database(database)
    }

    /// A connection pool to an empty database.
    pub async fn fresh_database(&self) -> PgPool {
        let name = format!("test_{}", COUNTER.fetch_add(1, Ordering::Relaxed));
        let admin = self.connect("postgres").await;
        sqlx::query(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).execute(&admin).await.unwrap();
        admin.close().await;
        self.connect(&name).await
    }

    pub async fn connect(&self, database: &str) -> PgPool {
        for _ in 0..200 {
            let pool = PgPoolOptions::new().max_connections(16);
            if let Ok(pool) = pool.connect_with(self.options(database)).await {
                return pool;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("no PostgreSQL at port {}", self.port());
    }
}
