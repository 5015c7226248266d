//! One node: an authorization server with the guard, and how the fleet starts it.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Args;
use rand::distr::{Alphanumeric, SampleString};
use serde_json::{Map, Value, json};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tower_dcr::audit::{JsonLines, JsonLinesSettings, Overflow};
use tower_dcr::clients::Registrar;
use tower_dcr::layers::{GateEndpoint, GateLayer};
use tower_dcr::rate_limit::{RateLimit, SharedQuotas};
use tower_dcr::rules::Action;
use tower_dcr_redis::RedisStore;
use tower_dcr_sqlx::PostgresLedger;

use crate::Error;

#[derive(Args)]
pub(crate) struct Settings {
    #[arg(long)]
    redis: u16,
    #[arg(long)]
    postgres: u16,
    #[arg(long)]
    nodes: NonZeroU32,
    #[arg(long)]
    audit: PathBuf,
}

pub(crate) fn database(port: u16) -> PgConnectOptions {
    PgConnectOptions::new().host("127.0.0.1").port(port).username("test").database("postgres")
}

/// Callers are told apart by `X-Forwarded-For`, as behind a proxy.
const PROXY: &str = "127.0.0.0/8";

pub(crate) async fn serve(settings: Settings) -> Result<(), Error> {
    let redis = redis::Client::open(format!("redis://127.0.0.1:{}", settings.redis))?;
    let shared = SharedQuotas::new(RedisStore::new(redis.get_connection_manager().await?), settings.nodes);
    let pool = PgPoolOptions::new().max_connections(16).connect_with(database(settings.postgres)).await?;
    let audit = JsonLines::open(
        &settings.audit,
        JsonLinesSettings { overflow: Overflow::Reject, max_bytes: u64::MAX, ..Default::default() },
    )?;
    let registrar = Registrar::new(PostgresLedger::new(pool).await?).with_sink(audit.clone());
    // More than the defaults, since the fleet is to be at full rate.
    let quota: RateLimit = "60000/minute, burst 60000".parse()?;
    let guard = tower_dcr::mcp()
        .with_shared_quotas(shared)
        .map_rate_limit(|limits| limits.global = quota)
        .with_peer_address(|extensions| extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
        .with_trusted_proxies([PROXY])?
        .with_registrar(registrar.clone())
        .with_sink(audit.clone());
    let summed = guard.clone();
    let flushed = audit.clone();
    let app = Router::new()
        .route("/register", post(register).layer(guard))
        .route(
            "/token",
            post(token).layer(
                GateLayer::new(GateEndpoint::Token, registrar).map_settings(|gate| gate.unknown = Some(Action::Reject)),
            ),
        )
        .route(
            "/flush",
            get(async move || {
                format!("{}", {
                    summed.flush_audit();
                    flushed.flush();
                    flushed.lost()
                })
            }),
        );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

/// A server that accepts every client.
async fn register(Json(mut client): Json<Map<String, Value>>) -> (StatusCode, Json<Map<String, Value>>) {
    client.insert("client_id".into(), Alphanumeric.sample_string(&mut rand::rng(), 22).into());
    (StatusCode::CREATED, Json(client))
}

async fn token() -> Json<Value> {
    Json(json!({ "access_token": Alphanumeric.sample_string(&mut rand::rng(), 22), "token_type": "Bearer" }))
}

/// A node in a process of its own.
pub(crate) struct Node {
    process: Child,
    base: String,
    audit: PathBuf,
}

impl Node {
    pub(crate) fn start(redis: u16, postgres: u16, nodes: NonZeroU32, audit: PathBuf) -> Result<Self, Error> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("node")
            .args(["--redis", &redis.to_string(), "--postgres", &postgres.to_string(), "--nodes", &nodes.to_string()])
            .arg("--audit")
            .arg(&audit)
            .stdout(Stdio::piped())
            .spawn()?;
        let output = process.stdout.take().ok_or("a node has no output")?;
        let mut lines = BufReader::new(output).lines().map_while(Result::ok);
        let base = lines.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
        Ok(Self { process, base: base.ok_or("a node does not listen")?, audit })
    }

    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) fn audit(&self) -> &Path {
        &self.audit
    }

    /// Has it write the events that wait; how many were lost.
    pub(crate) async fn flush(&self) -> Result<u64, Error> {
        Ok(reqwest::get(format!("{}/flush", self.base)).await?.text().await?.parse()?)
    }

    /// Resident memory.
    pub(crate) fn kibibytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _gone = self.process.kill();
        let _status = self.process.wait();
    }
}
