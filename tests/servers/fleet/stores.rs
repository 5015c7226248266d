//! The stores of shared budgets, each held to the conformance suite.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use redis::cluster::ClusterClient;
use test_support::support::eventually;
use tower_dcr::rate_limit::{Bucket, Quota, QuotaDecision, QuotaStore};
use tower_dcr_redis::RedisStore;

use super::redis_server::{self, Connect as _};
use crate::databases;

#[tokio::test]
async fn redis_conforms() {
    let Some(server) = redis_server::start() else { return };
    tower_dcr_conformance::quota_store(&RedisStore::new(server.manager().await), tokio::time::sleep).await;
    // Another prefix is another world.
    let other = RedisStore::new(server.connection().await).with_prefix("other").unwrap();
    tower_dcr_conformance::quota_store(&other, tokio::time::sleep).await;
    // Scripts that the server forgets are sent again.
    server.command(&["SCRIPT", "FLUSH"]).await;
    let bucket = [Bucket::new("flushed", Quota::per_hour(NonZeroU32::MIN), "a")];
    assert_eq!(other.take(&bucket).await.unwrap(), QuotaDecision::Taken);
    server.command(&["SCRIPT", "FLUSH"]).await;
    other.release(&bucket).await.unwrap();
}

#[tokio::test]
async fn a_redis_cluster_conforms() {
    // A cluster of one node checks slots like any other.
    let Some(server) = databases::redis(&["--cluster-enabled", "yes"]) else { return };
    server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]).await;
    eventually("the cluster is up", async || {
        let info: redis::Value = server.command(&["CLUSTER", "INFO"]).await;
        format!("{info:?}").contains("cluster_state:ok")
    })
    .await;
    let client = ClusterClient::new([format!("redis://127.0.0.1:{}", server.port())]).unwrap();
    let store = RedisStore::new(client.get_async_connection().await.unwrap());
    tower_dcr_conformance::quota_store(&store, tokio::time::sleep).await;
}

/// Each key expires when its bucket is full, and a rejection writes none.
#[tokio::test]
async fn keys_expire_when_their_bucket_is_full() {
    let Some(server) = redis_server::start() else { return };
    let store = RedisStore::new(server.connection().await);
    let quota = Quota::per_second(NonZeroU32::new(10).unwrap()).allow_burst(NonZeroU32::MIN);
    let all = Bucket::new("all", Quota::per_second(NonZeroU32::new(10).unwrap()), &());
    let mut taken = 0;
    for key in 0..100 {
        taken += u32::from(
            store.take(&[Bucket::new("short", quota, &key), all.clone()]).await.unwrap() == QuotaDecision::Taken,
        );
    }
    let keys: BTreeSet<String> = redis::cmd("KEYS").arg("*").query_async(&mut server.connection().await).await.unwrap();
    assert!(keys.iter().all(|key| key.starts_with("{tower-dcr}:short:") || key.starts_with("{tower-dcr}:all:")));
    assert!(keys.len() <= taken as usize + 1 && taken < 50, "{taken}: {keys:?}");
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(server.command(&["DBSIZE"]).await, redis::Value::Int(0));
}
