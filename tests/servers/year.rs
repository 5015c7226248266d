//! A year of a population like that which operators describe, with the layers and without.
//!
//! The population, each from a report: applications that register each time they start with the
//! same metadata (42 of 58 stored clients of one server were byte-identical), or with a new loopback port each time; ones
//! that register once and refresh for months, with long pauses; ones whose approval page is closed, and that register
//! again the next morning (34 records of one client in a morning); and floods.

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tower_dcr::clients::{Filter, Ledger, MemoryLedger, Status};

use crate::world::{DAY, Server, World};

/// The use of an application by a person.
#[derive(Clone, Copy, PartialEq)]
enum Habit {
    /// Registers at each start, with the same metadata.
    AtEachStart,
    /// Registers at each start, and listens on another port.
    AtEachStartOnAnyPort,
    /// Registers once, and keeps what it got.
    Keeps,
}

struct Person {
    name: String,
    habit: Habit,
    /// Days between two uses: at least, and at most.
    pauses: (u32, u32),
    next_day: u32,
    kept: Option<String>,
}

/// The result of the year.
#[derive(Debug)]
struct Outcome {
    live: usize,
    most: usize,
    sign_ins: u32,
    broken: u32,
    anew: u32,
}

fn population(rng: &mut StdRng) -> Vec<Person> {
    let mut people = Vec::new();
    let mut add = |number, product: &str, habit, pauses: (u32, u32)| {
        for index in 0..number {
            // Half of the products put the machine or the server's name behind their own.
            let name = if habit == Habit::Keeps { format!("{product} (host-{index})") } else { product.to_owned() };
            people.push(Person { name, habit, pauses, next_day: rng.random_range(0..30), kept: None });
        }
    };
    add(25, "Claude Code", Habit::AtEachStart, (1, 3));
    add(10, "Cursor", Habit::AtEachStart, (1, 7));
    add(25, "Zed", Habit::AtEachStartOnAnyPort, (1, 4));
    add(20, "mcp-remote", Habit::Keeps, (1, 2));
    add(15, "Weekend Tool", Habit::Keeps, (7, 30));
    add(10, "Quarterly Report", Habit::Keeps, (60, 89));
    add(5, "Once A Year", Habit::Keeps, (150, 200));
    people
}

impl Person {
    fn metadata(&self, rng: &mut StdRng) -> Value {
        let port = if self.habit == Habit::AtEachStartOnAnyPort { rng.random_range(1024..=65535) } else { 33418 };
        json!({
            "client_name": self.name,
            "redirect_uris": [format!("http://127.0.0.1:{port}/callback")],
            "token_endpoint_auth_method": "none",
        })
    }

    /// One sign-in, as released clients do it: with what was kept, or else with a new registration.
    async fn sign_in(&mut self, world: &World, rng: &mut StdRng, outcome: &mut Outcome) {
        outcome.sign_ins += 1;
        if let Some(kept) = self.kept.clone().filter(|_| self.habit == Habit::Keeps) {
            let answer = world.token(&kept).await;
            if answer.status == 200 {
                return;
            }
            // On "invalid_client" they forget and register; on anything else they are stuck.
            if answer.error() != "invalid_client" {
                outcome.broken += 1;
                return;
            }
            outcome.anew += 1;
        }
        let metadata = self.metadata(rng);
        let answer = world.register(&metadata).await;
        let id = answer.client_id();
        let redirect_uri = metadata["redirect_uris"][0].as_str().unwrap();
        let signed_in = answer.status == 201
            && world.authorize(&id, redirect_uri).await.status == 200
            && world.token(&id).await.status == 200;
        outcome.broken += u32::from(!signed_in);
        self.kept = Some(id);
    }
}

/// The same server with nothing around it.
fn bare(server: &Arc<Server>) -> Router {
    use axum::routing::get;
    Router::new()
        .route("/register", post(crate::world::create))
        .route("/authorize", get(|| async { "consent" }))
        .route("/token", post(crate::world::give_token))
        .with_state(Arc::clone(server))
}

async fn year(mut world: World, protected: bool) -> Outcome {
    let mut rng = StdRng::seed_from_u64(7591);
    let mut people = population(&mut rng);
    let mut outcome = Outcome { live: 0, most: 0, sign_ins: 0, broken: 0, anew: 0 };
    if !protected {
        world.app = bare(&world.server);
    }
    for day in 0..365 {
        for person in &mut people {
            if person.next_day == day {
                person.sign_in(&world, &mut rng, &mut outcome).await;
                person.next_day += rng.random_range(person.pauses.0..=person.pauses.1);
            }
        }
        // A person opens an editor, sees the approval page, and closes it.
        for attempt in 0..5 {
            let body = json!({ "client_name": "Editor", "redirect_uris": [format!("https://editor.example.com/cb?a={attempt}")] });
            world.register(&body).await;
        }
        // A flood, twice a month.
        if day % 15 == 14 {
            for number in 0..200 {
                let body = json!({ "client_name": format!("flood {day} {number}"), "redirect_uris": ["https://flood.example.org/cb"] });
                world.register(&body).await;
            }
        }
        if protected {
            world.registrar.maintain_once().await.unwrap();
        }
        outcome.most = outcome.most.max(world.server.clients.lock().unwrap().len());
        world.clock.advance(DAY);
    }
    outcome.live = world.server.clients.lock().unwrap().len();
    outcome
}

#[tokio::test]
async fn a_year() {
    let ledger = MemoryLedger::default();
    let with = World::with(ledger.clone(), |registrar| {
        registrar
            .map_settings(|lifecycle| {
                lifecycle.any_loopback_port = Some(true);
                lifecycle.max_clients = Some(std::num::NonZeroU64::new(1000).unwrap());
            })
            .unwrap()
    });
    let with = year(with, true).await;
    let without = year(World::new(MemoryLedger::default()), false).await;
    println!("with the layers: {with:?}\nwithout:         {without:?}");
    assert_eq!(with.sign_ins, without.sign_ins, "the same year");
    assert_eq!((with.broken, without.broken), (0, 0), "not one honest sign-in is broken");
    assert!(with.live * 10 <= without.live, "at least 90 % fewer: {} of {}", with.live, without.live);
    let live =
        ledger.page(&Filter { statuses: Status::LIVE.to_vec(), ..Filter::default() }, None, 2000).await.unwrap().len();
    assert_eq!(live, with.live, "the ledger and the server agree");
}
