//! Two nodes on one PostgreSQL, racing: what was revoked never comes back.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tower_dcr::clients::Revocation;
use tower_dcr::clients::{Actor, Filter, Fingerprint, Ledger, Status};
use tower_dcr::clock::ManualClock;
use tower_dcr::layers::{GateEndpoint, GateLayer};
use tower_dcr_sqlx::PostgresLedger;

use crate::databases::Postgres;
use crate::world::{START, World, token};

type Gate = BoxCloneSyncService<Request<Body>, http::Response<tower_dcr::layers::ResponseBody<Body>>, Infallible>;

/// A node, and a gate that asks the ledger each time.
struct Node {
    world: World,
    gate: Gate,
}

impl Node {
    fn new(world: World) -> Self {
        let layer = GateLayer::new(GateEndpoint::Token, world.registrar.clone())
            .map_settings(|gate| gate.max_age = Some(Duration::ZERO));
        let handler = service_fn(async |_: Request<_>| Ok(http::Response::new(Body::from("a token"))));
        Self { world, gate: BoxCloneSyncService::new(ServiceBuilder::new().layer(layer).service(handler)) }
    }

    async fn gets_a_token(&self, id: &str) -> bool {
        self.gate.clone().oneshot(token(id)).await.unwrap().status() == 200
    }
}

fn pause() -> Duration {
    Duration::from_micros(rand::rng().random_range(0..12_000))
}

/// An application: registers, and uses its client.
async fn application(node: Arc<Node>, body: Value) -> Option<String> {
    tokio::time::sleep(pause()).await;
    let answer = node.world.register(&body).await;
    match answer.status {
        201 => {}
        400 => return None,
        other => panic!("{other}: {}", answer.text),
    }
    let id = answer.client_id();
    for _ in 0..2 {
        node.gets_a_token(&id).await;
    }
    Some(id)
}

/// Registers as something else, and changes into it.
async fn updater(node: Arc<Node>, name: String, mut body: Value) {
    let id = node.world.client(&name).await;
    tokio::time::sleep(pause()).await;
    body["client_id"] = id.clone().into();
    let put = Request::put(format!("/register/{id}")).header("content-type", "application/json");
    let answer = node.world.send(put.body(Body::from(body.to_string())).unwrap()).await;
    assert!(matches!(answer.status, 200 | 400 | 401), "{answer:?}");
    node.gets_a_token(&id).await;
}

async fn round(nodes: Arc<[Arc<Node>; 2]>, ledger: PostgresLedger, number: usize) {
    let name = format!("Application {number}");
    let body = json!({ "client_name": name, "redirect_uris": ["http://127.0.0.1:3118/callback"] });
    let target = match number % 3 {
        0 => Fingerprint::name(&name),
        1 => {
            let registration = tower_dcr::Registration::parse(body.to_string().as_bytes()).unwrap();
            let prints = tower_dcr::clients::Fingerprints::of(&registration, false);
            Fingerprint::Family(prints.family)
        }
        // By client_id: of one that is there already.
        _ => Fingerprint::ClientId(nodes[0].world.register(&body).await.client_id()),
    };
    let applications: Vec<_> =
        (0..6).map(|index| tokio::spawn(application(Arc::clone(&nodes[index % 2]), body.clone()))).collect();
    let by_id = matches!(target, Fingerprint::ClientId(_));
    let updaters: Vec<_> = (0..if by_id { 0 } else { 2 })
        .map(|index| tokio::spawn(updater(Arc::clone(&nodes[index]), format!("Clean {number}-{index}"), body.clone())))
        .collect();
    tokio::time::sleep(pause()).await;
    let revoker = nodes.choose(&mut rand::rng()).unwrap();
    let revocation = Revocation::new(target.clone(), Actor::Operator("alice".into()), "race");
    revoker.world.registrar.revoke(revocation).await.unwrap();
    // From here on nothing of it may be live, ever.
    let mut given_out = BTreeSet::new();
    for application in applications {
        given_out.extend(application.await.unwrap());
    }
    for updater in updaters {
        updater.await.unwrap();
    }
    if let Fingerprint::ClientId(id) = &target {
        given_out.insert(id.clone());
    }
    assert!(given_out.len() <= 1, "equal registrations got {given_out:?}");
    let filter = Filter { fingerprint: Some(Fingerprint::name(&name)), ..Filter::default() };
    let records = ledger.page(&filter, None, 100).await.unwrap();
    let live: Vec<_> = records.iter().filter(|client| client.status.is_live()).collect();
    assert!(live.is_empty(), "after the revocation of {target}: {live:?}");
    // Every issued client is in the ledger, revoked and deprovisioned.
    let by_id: HashMap<_, _> = records.iter().filter_map(|client| Some((client.client_id.clone()?, client))).collect();
    for id in &given_out {
        assert_eq!(by_id[id].status, Status::Revoked, "{id}");
        for node in nodes.iter() {
            assert!(!node.gets_a_token(id).await, "{id}");
        }
    }
    for node in nodes.iter() {
        assert_eq!(node.world.register(&body).await.status, 400, "registered again");
    }
}

/// Nothing that a stranger sends is a fault of the database.
#[tokio::test]
async fn no_request_causes_a_postgres_error() {
    let Some(database) = Postgres::start() else { return };
    let ledger = PostgresLedger::new(database.fresh_database().await).await.unwrap();
    let world = World::new(ledger);
    assert_eq!(world.token("a\0b").await.status, 400, "servers read it in two ways");
    assert_eq!(world.authorize("\0", "x").await.status, 400, "servers read it in two ways");
    // Long, and not to be compressed.
    let noise: String = (0..6000).map(|_| char::from(rand::rng().random_range(b'a'..=b'z'))).collect();
    let body = json!({ "client_name": &noise[..100], "software_id": noise, "redirect_uris": ["http://localhost/cb"] });
    let answer = world.register(&body).await;
    assert!(matches!(answer.status, 201 | 400), "{answer:?}");
    let long =
        json!({ "client_name": &noise[..100], "redirect_uris": [format!("https://a.example.com/{}", &noise[..1900])] });
    assert_eq!(world.register(&long).await.status, 201);
    assert_eq!(world.token(&noise).await.status, 401);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_client_never_returns() {
    let rounds: usize = std::env::var("RACE_ROUNDS").ok().and_then(|text| text.parse().ok()).unwrap_or(2000);
    let Some(database) = Postgres::start() else { return };
    let pool = database.fresh_database().await;
    let ledger = PostgresLedger::new(pool.clone()).await.unwrap();
    let (server, clock) = (Arc::default(), Arc::new(ManualClock::new(START)));
    let node = || World::around(Arc::clone(&server), Arc::clone(&clock), ledger.clone(), |registrar| registrar);
    let nodes = Arc::new([Arc::new(Node::new(node())), Arc::new(Node::new(node()))]);
    let mut running = tokio::task::JoinSet::new();
    for number in 0..rounds {
        if running.len() >= 6 {
            running.join_next().await.unwrap().unwrap();
        }
        running.spawn(round(Arc::clone(&nodes), ledger.clone(), number));
    }
    while let Some(ended) = running.join_next().await {
        ended.unwrap();
    }
    // The count that the quota goes by is what is there.
    // Only clients whose change was rejected are left.
    let live =
        ledger.page(&Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() }, None, 10_000).await.unwrap();
    assert!(live.iter().all(|client| client.fingerprints.name.starts_with("clean")), "{live:?}");
    let (counted,): (i64,) = sqlx::query_as("SELECT clients FROM tower_dcr_live").fetch_one(&pool).await.unwrap();
    assert_eq!(counted.unsigned_abs(), live.len() as u64);
}
