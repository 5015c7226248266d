//! The callers: newcomers, applications that register at each start, users who sign in, attackers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Error;
use crate::node::Node;
use crate::tally::{Kind, Tally};

pub(crate) struct Callers {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

/// One caller.
#[derive(Clone)]
struct Caller {
    nodes: Arc<[String]>,
    http: reqwest::Client,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    number: usize,
}

impl Callers {
    /// So many of each kind.
    pub(crate) fn start(nodes: &[Node], each: usize, tally: &Arc<Tally>) -> Result<Self, Error> {
        let stop = Arc::<AtomicBool>::default();
        let nodes: Arc<[String]> = nodes.iter().map(|node| node.base().to_owned()).collect();
        // Longer than any wait for a store, so that every caller gets an answer.
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build()?;
        let mut tasks = JoinSet::new();
        for number in 0..each {
            let caller = Caller {
                nodes: Arc::clone(&nodes),
                http: http.clone(),
                tally: Arc::clone(tally),
                stop: Arc::clone(&stop),
                number,
            };
            tasks.spawn(caller.clone().newcomers());
            tasks.spawn(caller.clone().starts_again_and_again());
            tasks.spawn(caller.clone().signs_in());
            tasks.spawn(caller.attacks());
        }
        Ok(Self { stop, tasks })
    }

    /// Waits for the answers that are on their way.
    pub(crate) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Caller {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn a_node(&self) -> &str {
        self.nodes.choose(&mut rand::rng()).map_or("", String::as_str)
    }

    async fn register(&self, kind: Kind, from: &str, body: String) -> Option<String> {
        let (node, start) = (self.a_node(), Instant::now());
        let request = self.http.post(format!("{node}/register")).header("content-type", "application/json");
        let answer = request.header("x-forwarded-for", from).body(body).send().await;
        let Ok(answer) = answer else {
            self.tally.unanswered(kind);
            return None;
        };
        let status = answer.status().as_u16();
        self.tally.attempt(node);
        self.tally.answered(kind, status, start.elapsed());
        if matches!(status, 429 | 503) && kind != Kind::Attacker {
            // `Retry-After` says some seconds; who comes back at once spends a budget in vain.
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let client: Value = answer.json().await.unwrap_or_default();
        let client_id = client.get("client_id").and_then(Value::as_str).map(str::to_owned);
        client_id.filter(|_| status == 201)
    }

    /// New clients.
    async fn newcomers(self) {
        while self.goes_on() {
            let from = any_address();
            let name = format!("Editor {:016x}", rand::rng().random::<u64>());
            if let Some(client) = self.register(Kind::Newcomer, &from, metadata(&name, "http://127.0.0.1/cb")).await {
                self.tally.given(client);
            }
        }
    }

    /// The same registration at each start, which gets the same client each time.
    async fn starts_again_and_again(self) {
        let (from, name) = (any_address(), format!("Agent {}", self.number));
        let mut first = None;
        while self.goes_on() {
            let body = metadata(&name, "http://127.0.0.1:3118/callback");
            if let Some(client) = self.register(Kind::Repeater, &from, body).await {
                match &first {
                    None => {
                        self.tally.given(client.clone());
                        first = Some(client);
                    }
                    Some(first) if *first == client => {}
                    Some(first) => self.tally.wrong(format!("{name} was {first} and is {client}")),
                }
            }
        }
    }

    /// A registered client signs in, at any node.
    async fn signs_in(self) {
        while self.goes_on() {
            let Some(client) = self.tally.some_client() else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let form = format!("grant_type=authorization_code&code=x&client_id={client}");
            let start = Instant::now();
            let request = self.http.post(format!("{}/token", self.a_node()));
            let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
            match request.send().await {
                Ok(answer) => self.tally.answered(Kind::SignIn, answer.status().as_u16(), start.elapsed()),
                Err(_) => self.tally.unanswered(Kind::SignIn),
            }
        }
    }

    /// From few addresses: floods, dangerous redirects, imitated names, broken JSON.
    async fn attacks(self) {
        let bodies = [
            metadata("App", "javascript:alert(document.cookie)"),
            metadata("Claude", "https://claude.example.net/cb"),
            metadata("App", "https://a.example.com\\@evil.example/cb"),
            r#"{"redirect_uris":["http://127.0.0.1/cb"],"redirect_uris":["https://evil.example/cb"]}"#.into(),
            String::new(),
        ];
        while self.goes_on() {
            let from = format!("203.0.113.{}", self.number % 250);
            let mut body = bodies.choose(&mut rand::rng()).cloned().unwrap_or_default();
            if body.is_empty() {
                body =
                    metadata(&format!("Flood {:016x}", rand::rng().random::<u64>()), "https://app.evil-example.com/cb");
            }
            let Some(client) = self.register(Kind::Attacker, &from, body).await else {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            };
            self.tally.given(client);
        }
    }
}

fn metadata(name: &str, redirect_uri: &str) -> String {
    json!({ "client_name": name, "redirect_uris": [redirect_uri] }).to_string()
}

/// One of sixteen million.
fn any_address() -> String {
    std::net::Ipv4Addr::from(0x0a00_0000 | (rand::rng().random::<u32>() >> 8)).to_string()
}
