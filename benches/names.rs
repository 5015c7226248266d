//! The cost of a name that was not seen before.

#[path = "support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use support::{Case, compare, figure};
use tower_dcr::Registration;
use tower_dcr::rules::{ClientIdentity, ClientName, Context, Policy};

static NUMBER: AtomicU64 = AtomicU64::new(0);

/// Judges a client with that name. Names are parsed and compared with reserved ones.
fn judge(policy: &Policy, name: &str) -> bool {
    let body = format!("{{\"client_name\":\"{name}\",\"redirect_uris\":[\"http://127.0.0.1:33418/callback\"]}}");
    let registration = Registration::parse(body.as_bytes()).expect("a registration");
    policy.evaluate(registration, &Context::registration()).rejection.is_none()
}

fn next() -> u64 {
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

fn main() {
    let policy = Policy::new((ClientName::default(), ClientIdentity::default()));
    let judge = |name: &str| assert!(judge(&policy, name), "{name}");
    let figures = compare(
        "a name",
        vec![
            Case::new("seen before", || judge("Example MCP Client (my-server0000000)")),
            Case::new("new, ASCII", || judge(&format!("Example MCP Client (my-server{:07})", next()))),
            Case::new("new, ASCII, one word of capitals and digits", || judge(&format!("X7kQ9ZtR{:07}Wm3", next()))),
            Case::new("new, accents", || judge(&format!("Éxámplè Çlïent für Zürich {:07}", next()))),
            Case::new("new, Cyrillic", || judge(&format!("Пример клиента для сервера {:07}", next()))),
            Case::new("new, Japanese", || judge(&format!("サーバーに接続する例のアプリ {:07}", next()))),
            Case::new("new, Hindi", || judge(&format!("सर्वर के लिए एक उदाहरण {:07}", next()))),
        ],
    );
    if let Some((seen, others)) = figures.split_first() {
        for (figure_of, name) in others.iter().zip(["ASCII", "one word", "accents", "Cyrillic", "Japanese", "Hindi"]) {
            figure(&format!("{name}: more than a name seen before"), figure_of.cost - seen.cost);
        }
    }
}
