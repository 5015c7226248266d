//! Floods, from one machine or many, and the honest clients beside them: the figures of `docs/rate-limits.md`.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use tower::Service;
use tower_dcr::clients::MemoryLedger;
use tower_dcr::clients::Registrar;
use tower_dcr::clock::{Clock, ManualClock};
use tower_dcr::rate_limit::{Bucket, Quota, QuotaDecision, QuotaStore, RateLimits, SharedQuotas};
use tower_dcr::rules::{Context, Policy, RedirectHostQuota};
use tower_dcr::{Preset, Registration, Rejection, layers::RateLimitLayer};

use crate::support::{Kept, Naive, behind, post, send};

/// The default limits by a clock that stands until it is moved.
#[derive(Clone, Debug)]
struct Hand(Arc<ManualClock>);

impl Clock for Hand {
    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }

    fn unix_time(&self) -> Duration {
        self.0.unix_time()
    }
}

impl Hand {
    fn new() -> Self {
        Self(Arc::new(ManualClock::new(Duration::from_secs(1_000_000))))
    }

    fn limits(&self) -> RateLimitLayer {
        RateLimitLayer::new().with_clock(Arc::new(self.clone()))
    }

    fn preset(&self) -> Preset {
        tower_dcr::mcp()
            .with_rate_limit(self.limits())
            .with_redirect_host_quota(RedirectHostQuota::with_clock(RedirectHostQuota::DEFAULT, self.clone()))
            .with_sink(|_: &tower_dcr::audit::Event| {})
    }

    fn wait(&self, seconds: u64) {
        self.0.advance(Duration::from_secs(seconds));
    }
}

const CLAUDE: &str = r#"{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"]}"#;

/// A program on a person's computer, each with a name of its own.
fn native(number: usize) -> String {
    format!(r#"{{"client_name":"App {number}","redirect_uris":["http://127.0.0.1/cb"]}}"#)
}

fn hosted(host: &str) -> String {
    format!(r#"{{"redirect_uris":["https://{host}/cb"]}}"#)
}

fn from(address: impl Into<IpAddr>, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    by(address, post(body))
}

fn by(address: impl Into<IpAddr>, mut request: Request<Full<Bytes>>) -> Request<Full<Bytes>> {
    request.extensions_mut().insert(SocketAddr::new(address.into(), 4711));
    request
}

/// An address of the /24 with this number.
fn v4(network: u32, host: u8) -> Ipv4Addr {
    Ipv4Addr::from(0x2c00_0000 + (network << 8) + u32::from(host))
}

/// An address of the /64 with this number, in the /48 with that one.
fn v6(site: u16, subnet: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2a00, 1, site, subnet, 0, 0, 0, 1)
}

/// Returns the status, and the rule behind it.
async fn answer<S, R>(service: &S, request: Request<Full<Bytes>>) -> (u16, Option<&'static str>)
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<R>> + Clone,
    S::Error: std::fmt::Debug,
    R: http_body::Body<Data: Send, Error: std::fmt::Debug>,
{
    let read = send(service, request).await;
    (read.status().as_u16(), read.response.extensions().get::<Rejection>().map(|rejection| rejection.rule))
}

/// Returns the number of accepted registrations.
async fn admitted<S, R>(service: &S, requests: impl IntoIterator<Item = Request<Full<Bytes>>>) -> usize
where
    S: Service<Request<Full<Bytes>>, Response = http::Response<R>> + Clone,
    S::Error: std::fmt::Debug,
    R: http_body::Body<Data: Send, Error: std::fmt::Debug>,
{
    let mut admitted = 0;
    for request in requests {
        admitted += usize::from(answer(service, request).await.0 == 201);
    }
    admitted
}

#[tokio::test]
async fn one_address_registers_300_at_once_and_60_a_minute() {
    let hand = Hand::new();
    let service = behind(&hand.preset(), &Naive::default());
    let flood = || (0..400).map(|number| from(v4(0, 1), native(number)));
    assert_eq!(admitted(&service, flood()).await, 300);
    hand.wait(60);
    assert_eq!(admitted(&service, flood()).await, 60);
    assert_eq!(admitted(&service, [from(v4(0, 2), native(0))]).await, 1, "its neighbour");
}

#[tokio::test]
async fn a_network_has_three_or_five_times_as_much_as_an_address() {
    for (network, at_once, a_minute) in
        [("an IPv4 /24", 900, 180), ("an IPv6 /56", 900, 180), ("an IPv6 /48", 1500, 300)]
    {
        let hand = Hand::new();
        let service = behind(&hand.preset(), &Naive::default());
        let address = |number: usize| -> IpAddr {
            let number = u16::try_from(number % 200).unwrap();
            match network {
                "an IPv4 /24" => v4(0, u8::try_from(number).unwrap()).into(),
                "an IPv6 /56" => v6(0, number).into(),
                _ => v6(0, number << 8).into(),
            }
        };
        let flood = || (0..1700).map(|number| from(address(number), native(number)));
        assert_eq!(admitted(&service, flood()).await, at_once, "{network}");
        hand.wait(60);
        assert_eq!(admitted(&service, flood()).await, a_minute, "{network}");
        assert_eq!(admitted(&service, [from(v4(9, 1), native(0)), from(v6(9, 0), native(0))]).await, 2, "{network}");
    }
}

/// NAT64, 6to4 and Teredo are budgets of the IPv4 address that is behind them.
#[tokio::test]
async fn carried_addresses_have_the_budget_of_the_ipv4_address() {
    for address in
        ["64:ff9b::2c00:1", "2002:2c00:1::1", "2002:2c00:1:ffff::7", "2001:0:1:2:3:4:d3ff:fffe", "::ffff:44.0.0.1"]
    {
        let hand = Hand::new();
        let service = behind(&hand.preset(), &Naive::default());
        let flood = (0..300).map(|number| from(v4(0, 1), native(number)));
        assert_eq!(admitted(&service, flood).await, 300);
        let carried: Ipv6Addr = address.parse().unwrap();
        assert_eq!(admitted(&service, [from(carried, native(1))]).await, 0, "{address}");
    }
}

#[tokio::test]
async fn hosts_count_by_registrable_domain() {
    let judge = async |rule: &RedirectHostQuota, host: &str| {
        let registration = Registration::parse(hosted(host).as_bytes()).unwrap();
        let mut evaluation = Policy::new(rule.clone()).evaluate(registration, &Context::registration());
        evaluation.commit().await.is_ok() && evaluation.rejection.is_none()
    };
    for (one, other, shares, reason) in [
        ("h0.attacker.net", "h1.attacker.net", true, "wildcard DNS is free"),
        ("attacker.net", "a.b.c.attacker.net", true, "at any depth"),
        ("a.attacker.co.uk", "b.attacker.co.uk", true, "below a suffix of two labels"),
        ("one.co.uk", "two.co.uk", false, "two owners"),
        ("one.github.io", "two.github.io", false, "two customers of a platform"),
        ("a.one.github.io", "b.one.github.io", true, "one customer of a platform"),
        ("a.one.workers.dev", "b.two.workers.dev", false, "two accounts of a platform"),
        ("a.one.workers.dev", "b.one.workers.dev", true, "one account of a platform"),
        ("a.nobodys-tld", "b.nobodys-tld", false, "a top-level domain that is not on the list"),
        ("a.x.nobodys-tld", "b.x.nobodys-tld", true, "a domain below it"),
        ("app.example.com", "app.example.org", false, "two domains"),
    ] {
        let rule = RedirectHostQuota::new(Quota::per_hour(NonZeroU32::MIN));
        assert!(judge(&rule, one).await, "{one}");
        assert_eq!(!judge(&rule, other).await, shares, "{one} {other}: {reason}");
    }
}

/// One document may have several names below one domain, and takes once.
#[tokio::test]
async fn twenty_names_below_one_domain_have_one_budget() {
    let quota = RedirectHostQuota::new("5/minute".parse().unwrap());
    let service = behind(&tower_dcr::mcp().with_redirect_host_quota(quota), &Naive::default());
    let both = r#"{"redirect_uris":["https://x.attacker.net/cb","https://y.attacker.net/cb"]}"#;
    assert_eq!(answer(&service, from(v4(0, 1), both)).await, (201, None));
    let flood = (0..20).map(|number| from(v4(0, number), hosted(&format!("h{number}.attacker.net"))));
    assert_eq!(admitted(&service, flood).await, 4);
    let platform = (0..20).map(|number| from(v4(0, number), hosted(&format!("h{number}.github.io"))));
    assert_eq!(admitted(&service, platform).await, 20);
}

/// An address that goes on after its redirect host is spent pays like one that registers.
#[tokio::test]
async fn a_spent_redirect_host_still_costs_the_address() {
    let hand = Hand::new();
    let quota = RedirectHostQuota::with_clock("5/minute".parse().unwrap(), hand.clone());
    let service = behind(&hand.preset().with_redirect_host_quota(quota), &Naive::default());
    let (mut judged, mut unread) = (0, 0);
    for _ in 0..2000 {
        match answer(&service, from(v4(0, 1), hosted("attacker.net"))).await {
            (429, Some("rate-limit")) => unread += 1,
            (_, Some("redirect-host-quota") | None) => judged += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((judged, unread), (1500, 500));
    assert_eq!(admitted(&service, [from(v4(0, 1), native(1))]).await, 0, "the address has paid");
    let others = (0..200).map(|number| from(v4(1 + number, 1), native(0)));
    assert_eq!(admitted(&service, others).await, 200, "and nobody else");
}

/// A repeat takes from a budget of its own, and passes although its address, its network and everybody are spent.
#[tokio::test]
async fn repeats_pass_during_a_flood_up_to_their_own_budget() {
    let hand = Hand::new();
    let preset = hand.preset().with_registrar(Registrar::new(MemoryLedger::default()));
    let naive = Naive::default();
    let service = behind(&preset, &naive);
    assert_eq!(answer(&service, from(v4(0, 1), native(0))).await, (201, None));
    assert_eq!(answer(&service, from(v4(0, 1), hosted("app.example.com"))).await, (201, None));
    // Ten networks spend the global budget, this one its own, and another one that of the domain.
    for network in 0..12 {
        let flood = (0..300).map(|number| from(v4(network, 1), native(1 + number)));
        admitted(&service, flood).await;
        let flood = (0..300).map(|number| from(v4(network, 2), hosted(&format!("h{number}.example.com"))));
        admitted(&service, flood).await;
    }
    let newcomer = from(v4(0, 1), native(9999));
    assert_eq!(answer(&service, newcomer).await, (429, Some("rate-limit")));
    let made = naive.seen().len();
    hand.wait(1);
    let repeats = (0..3000).map(|number| {
        let body = if number % 2 == 0 { native(0) } else { hosted("app.example.com") };
        from(v4(0, 1), body)
    });
    assert_eq!(admitted(&service, repeats).await, 3000);
    assert_eq!(naive.seen().len(), made, "nothing was registered");
    assert_eq!(answer(&service, from(v4(0, 1), native(0))).await, (429, Some("rate-limit")), "ten times, and no more");
    hand.wait(1);
    assert_eq!(admitted(&service, (0..20).map(|_| from(v4(0, 1), native(0)))).await, 10);
}

/// Only repeats pass a spent limit.
#[tokio::test]
async fn without_a_deduplication_budget_repeats_are_still_found() {
    let hand = Hand::new();
    let limits = RateLimitLayer::new()
        .map_limits(|limits| {
            *limits = RateLimits::OFF;
            limits.global = "1/hour".parse().unwrap();
        })
        .with_clock(Arc::new(hand.clone()));
    let preset = hand.preset().with_rate_limit(limits).with_registrar(Registrar::new(MemoryLedger::default()));
    let kept = Kept::default();
    let naive = Naive::default();
    let service = behind(&preset.with_sink(kept.sink()), &naive);
    assert_eq!(answer(&service, from(v4(0, 1), native(0))).await, (201, None));
    for _ in 0..3 {
        assert_eq!(answer(&service, from(v4(0, 1), native(1))).await, (429, Some("rate-limit")));
    }
    assert_eq!(answer(&service, from(v4(0, 1), native(0))).await, (201, None));
    assert_eq!(naive.seen().len(), 1);
    let outcomes: Vec<_> = kept.take().iter().map(|event| event.outcome.to_string()).collect();
    assert_eq!(outcomes, ["accepted", "limited", "deduplicated"], "the other two are summed");
}

/// A self-hosted client's users share one domain, and with it a budget that any caller can spend.
#[tokio::test]
async fn a_domain_s_budget_can_be_spent_by_strangers() {
    let hand = Hand::new();
    let service = behind(&hand.preset(), &Naive::default());
    let stranger = |number: usize| {
        let body = format!(r#"{{"redirect_uris":["https://hosted.example.org/{number}"]}}"#);
        from(v4(u32::try_from(number % 3).unwrap(), 1), body)
    };
    assert_eq!(admitted(&service, (0..700).map(stranger)).await, 600);
    let user = r#"{"redirect_uris":["https://hosted.example.org/oauth/callback"]}"#;
    assert_eq!(answer(&service, from(v4(9, 1), user)).await, (429, Some("redirect-host-quota")));
    assert_eq!(admitted(&service, [from(v4(9, 1), native(0)), from(v4(9, 1), hosted("other.example.net"))]).await, 2);
    // Exempt, it has no budget of its own.
    let mut exempt = RedirectHostQuota::with_clock(RedirectHostQuota::DEFAULT, hand.clone());
    exempt.exempt = vec!["https://hosted.example.org/*".parse().unwrap()];
    let service = behind(&hand.preset().with_redirect_host_quota(exempt), &Naive::default());
    assert_eq!(admitted(&service, (0..700).map(stranger)).await, 700);
    assert_eq!(admitted(&service, [from(v4(9, 1), user)]).await, 1);
}

/// Rejections by a rule are events while they charge the address, and are summed after that.
#[tokio::test]
async fn rejected_documents_beyond_the_budget_are_summed() {
    let hand = Hand::new();
    let kept = Kept::default();
    let service = behind(
        &hand.preset().with_sink(kept.sink()).map_audit(tower_dcr::layers::AuditLayer::with_document),
        &Naive::default(),
    );
    let evil = r#"{"redirect_uris":["javascript:alert(1)"]}"#;
    for _ in 0..1000 {
        assert_eq!(answer(&service, from(v4(0, 1), evil)).await, (400, Some("redirect-uris")));
    }
    // The first of those that cost nothing is told, too.
    assert_eq!(kept.take().len(), 301);
}

/// Requests of every kind that are rejected before evaluation.
fn garbage(number: usize) -> Request<Full<Bytes>> {
    let typed = |kind: &str| Request::post("/register").header("content-type", kind);
    let large = format!(r#"{{"client_name":"{}"}}"#, "x".repeat(20_000));
    match number % 6 {
        0 => typed("text/plain").body(native(number).into()).unwrap(),
        1 => post("{"),
        2 => Request::put("/register").header("content-type", "application/json").body(native(0).into()).unwrap(),
        3 => post(large),
        4 => Request::patch("/register").body(Full::default()).unwrap(),
        _ => Request::get("/register/guess").header("authorization", "Bearer x").body(Full::default()).unwrap(),
    }
}

/// 330 requests a second of garbage from 1,000 addresses, for half a minute, and two newcomers a second.
#[tokio::test]
async fn garbage_from_a_thousand_addresses_locks_no_newcomer_out() {
    let hand = Hand::new();
    let handler = tower::service_fn(async |request: Request<tower_dcr::layers::RegistrationBody>| {
        let status = if request.method() == http::Method::GET { 401 } else { 201 };
        let answer = http::Response::builder().status(status).header("content-type", "application/json");
        Ok::<_, std::convert::Infallible>(answer.body(Full::<Bytes>::from(r#"{"client_id":"c"}"#)).unwrap())
    });
    let service = tower::Layer::layer(&hand.preset(), handler);
    let (mut honest, mut number) = (0, 0);
    for second in 0..30_u32 {
        for _ in 0..330 {
            let address = v4(u32::try_from(number / 250 % 4).unwrap(), u8::try_from(number % 250).unwrap());
            let (status, _) = answer(&service, by(address, garbage(number))).await;
            assert_ne!(status, 201);
            number += 1;
        }
        // One from far away, and one from an address that sends garbage.
        honest += admitted(&service, [from(v4(100 + second, 1), native(0)), from(v4(0, 7), native(number))]).await;
        hand.wait(1);
    }
    assert_eq!(honest, 60);
}

/// Garbage of one address has an end, and does not shut out newcomers there until it has spent twice.
#[tokio::test]
async fn garbage_of_one_address_spends_a_budget_of_its_own() {
    let hand = Hand::new();
    let service = behind(&hand.preset(), &Naive::default());
    let mut statuses = std::collections::BTreeMap::<u16, usize>::new();
    for number in 0..1000 {
        let kind = if number % 2 == 0 { 0 } else { 4 };
        *statuses.entry(answer(&service, by(v4(0, 1), garbage(kind))).await.0).or_default() += 1;
    }
    assert_eq!(statuses, [(405, 150), (415, 150), (429, 700)].into());
    let newcomers = (0..300).map(|number| from(v4(0, 1), native(number)));
    assert_eq!(admitted(&service, newcomers).await, 300);
    // The head does not show that these are broken.
    let broken = async || answer(&service, from(v4(0, 2), "{")).await;
    let mut read = 0;
    while broken().await.0 == 400 {
        read += 1;
    }
    assert_eq!(read, 300 + 1500);
    assert_eq!(admitted(&service, [from(v4(0, 2), native(0)), from(v4(0, 3), native(0))]).await, 1);
}

/// Guessing registration access tokens takes from the same budget, by address and by network.
#[tokio::test]
async fn guesses_are_limited_by_address_and_network() {
    let hand = Hand::new();
    let handler = tower::service_fn(async |_: Request<tower_dcr::layers::RegistrationBody>| {
        Ok::<_, std::convert::Infallible>(http::Response::builder().status(401).body(Full::<Bytes>::default()).unwrap())
    });
    let service = tower::Layer::layer(&hand.preset(), handler);
    let guess = |address: IpAddr| by(address, Request::get("/register/c").body(Full::default()).unwrap());
    let mut guesses = 0;
    while answer(&service, guess(v4(0, 1).into())).await.0 == 401 {
        guesses += 1;
    }
    assert_eq!(guesses, 300);
    let mut guesses = 0;
    while answer(&service, guess(v6(0, guesses / 250).into())).await.0 == 401 {
        guesses += 1;
    }
    assert_eq!(guesses, 20 * 300);
}

/// Updates that the server rejects are guesses as well, although a ledger may have to record one that succeeds.
#[tokio::test]
async fn failed_updates_spend_nothing_that_newcomers_need() {
    let hand = Hand::new();
    let handler = tower::service_fn(async |request: Request<tower_dcr::layers::RegistrationBody>| {
        let status = if request.method() == http::Method::PUT { 401 } else { 201 };
        let answer = http::Response::builder().status(status).header("content-type", "application/json");
        Ok::<_, std::convert::Infallible>(answer.body(Full::<Bytes>::from(r#"{"client_id":"c"}"#)).unwrap())
    });
    let service = tower::Layer::layer(&hand.preset().with_registrar(Registrar::new(MemoryLedger::default())), handler);
    let update = |address: Ipv4Addr| {
        let put = Request::put("/register/c").header("content-type", "application/json");
        let body = r#"{"client_id":"c","redirect_uris":["http://127.0.0.1/cb"]}"#;
        by(address, put.body(Full::from(body)).unwrap())
    };
    for number in 0..4000_u32 {
        let address = v4(number / 200, u8::try_from(number % 200).unwrap());
        assert_eq!(answer(&service, update(address)).await.0, 401);
    }
    let mut guesses = 0;
    while answer(&service, update(v4(100, 1))).await.0 == 401 {
        guesses += 1;
    }
    assert_eq!(guesses, 300);
    assert_eq!(answer(&service, from(v4(100, 1), native(0))).await, (201, None));
}

/// Registrations that would be admitted, from 1,000 addresses in four networks and then in forty: those whose network
/// registers little still find room.
#[tokio::test]
async fn a_flood_leaves_a_third_to_newcomers() {
    for networks in [4, 40] {
        let hand = Hand::new();
        let service = behind(&hand.preset(), &Naive::default());
        let (mut honest, mut number) = (0, 0);
        for second in 0..30_u32 {
            let flood = (0..330).map(|_| {
                number += 1;
                from(v4(number % networks, u8::try_from(number / networks % 250).unwrap()), native(number as usize))
            });
            admitted(&service, flood).await;
            honest += admitted(&service, (0..2).map(|n| from(v4(1000 + second * 2 + n, 1), native(0)))).await;
            hand.wait(1);
        }
        assert_eq!(honest, 60, "{networks} networks");
    }
}

/// A remaining risk: 2,000 from anywhere, and then six from each of 167 networks, spend the global budget.
#[tokio::test]
async fn a_botnet_of_many_networks_spends_the_third_of_newcomers() {
    let hand = Hand::new();
    let service = behind(&hand.preset(), &Naive::default());
    let flood = (0..2400).map(|number| from(v4(number / 300, u8::try_from(number % 250).unwrap()), native(0)));
    assert_eq!(admitted(&service, flood).await, 2000 + 6 * 2, "two networks come to their third late");
    let bots = (0..1200).map(|number| from(v4(100 + number / 6, 1), native(0)));
    assert_eq!(admitted(&service, bots).await, 1000 - 6 * 2);
    assert_eq!(answer(&service, from(v4(5000, 1), native(0))).await, (429, Some("rate-limit")));
    hand.wait(60);
    // Afterwards as many a minute as all may register, for whom it is the first.
    let newcomers = (0..700).map(|number| from(v4(6000 + number, 1), native(0)));
    assert_eq!(admitted(&service, newcomers).await, 600);
}

/// Users of a hosted client share one address, which an attacker floods, and the global budget is spent.
#[tokio::test]
async fn proven_registrations_pass_beside_a_flood() {
    let hand = Hand::new();
    let service = behind(&hand.preset(), &Naive::default());
    for network in 0..4 {
        for host in 0..3 {
            admitted(&service, (0..300).map(|number| from(v4(network, host), native(number)))).await;
        }
    }
    assert_eq!(answer(&service, from(v4(0, 0), native(0))).await, (429, Some("rate-limit")));
    let users = (0..1500).map(|_| from(v4(0, 0), CLAUDE));
    assert_eq!(admitted(&service, users).await, 1500);
    assert_eq!(answer(&service, from(v4(0, 0), CLAUDE)).await, (429, Some("rate-limit")));
    hand.wait(60);
    assert_eq!(admitted(&service, (0..400).map(|_| from(v4(0, 0), CLAUDE))).await, 300);
}

/// A stranger who registers a vendor's callback spends the budget of their own address and network only.
#[tokio::test]
async fn other_networks_do_not_spend_a_hosted_clients_budget() {
    let hand = Hand::new();
    let limits = hand.limits().map_limits(|limits| {
        limits.address = "2/hour".parse().unwrap();
        limits.global = "10/hour".parse().unwrap();
    });
    let service = behind(&hand.preset().with_rate_limit(limits), &Naive::default());
    // By address 10, by network 20, in all 200.
    let strangers = async |networks: std::ops::Range<u32>| {
        let flood = networks
            .flat_map(|network| (0..5).flat_map(move |host| (0..11).map(move |_| from(v4(network, host), CLAUDE))));
        admitted(&service, flood).await
    };
    assert_eq!(strangers(0..1).await, 20);
    assert_eq!(strangers(1..9).await, 160);
    assert_eq!(admitted(&service, (0..12).map(|_| from(v4(100, 1), CLAUDE))).await, 10, "the vendor");
    // A remaining risk: ten networks at full rate spend the budget of all proven registrations. Others are not affected.
    assert_eq!(strangers(9..11).await, 10);
    assert_eq!(answer(&service, from(v4(101, 1), CLAUDE)).await, (429, Some("rate-limit")));
    assert_eq!(answer(&service, from(v4(101, 1), native(0))).await, (201, None));
}

/// Without those budgets, a default that follows nothing is none.
#[tokio::test]
async fn without_a_budget_of_addresses_there_is_none_of_networks() {
    let preset = Preset::from_str("rate_limit = { address = 'off', global = 'off' }").unwrap();
    let service = behind(&preset, &Naive::default());
    let flood = (0..2000).map(|number| from(v4(0, 1), native(number)));
    assert_eq!(admitted(&service, flood).await, 2000);
}

/// A layer that stands alone gives back what the answer shows to be garbage.
#[tokio::test]
async fn a_rate_limit_layer_alone_charges_unreadable_requests() {
    let hand = Hand::new();
    let guard = tower_dcr::layers::PolicyLayer::new(tower_dcr::rules::RedirectUris::mcp());
    let stack = tower::ServiceBuilder::new().layer(hand.limits()).layer(guard);
    let naive = Naive::default();
    let service = stack.service(behind(&tower::layer::util::Identity::new(), &naive));
    for number in 0..4000_u32 {
        let address = v4(number / 250, u8::try_from(number % 250).unwrap());
        assert_eq!(answer(&service, from(address, "{")).await.0, 400);
    }
    let newcomers = (0..300).map(|number| from(v4(0, 1), native(number)));
    assert_eq!(admitted(&service, newcomers).await, 300);
}

/// Counts for all nodes, and forgets nothing.
#[derive(Clone, Default)]
struct Store(Arc<std::sync::Mutex<std::collections::HashMap<(&'static str, u128), u32>>>);

impl QuotaStore for Store {
    async fn take(&self, buckets: &[Bucket]) -> Result<QuotaDecision, Box<dyn Error + Send + Sync>> {
        let mut taken = self.0.lock().unwrap();
        let count = |bucket: &Bucket| (bucket.budget, bucket.key);
        let is_spent = |bucket: &Bucket| taken.get(&count(bucket)).is_some_and(|n| *n >= bucket.quota.burst().get());
        if let Some(index) = buckets.iter().position(is_spent) {
            return Ok(QuotaDecision::Spent { index, retry_after: Duration::from_secs(7) });
        }
        for bucket in buckets {
            *taken.entry(count(bucket)).or_default() += 1;
        }
        Ok(QuotaDecision::Taken)
    }

    async fn release(&self, buckets: &[Bucket]) -> Result<(), Box<dyn Error + Send + Sync>> {
        let mut taken = self.0.lock().unwrap();
        for bucket in buckets {
            *taken.entry((bucket.budget, bucket.key)).or_default() -= 1;
        }
        Ok(())
    }
}

/// One node spends what is not left to newcomers, and another one lets those in; what is proven is another budget there, too.
#[tokio::test]
async fn newcomers_and_proven_registrations_pass_at_other_nodes() {
    let (hand, store) = (Hand::new(), Store::default());
    let node = || {
        let shared = SharedQuotas::new(store.clone(), NonZeroU32::new(2).unwrap()).reject_on_outage();
        let limits = hand.limits().map_limits(|limits| {
            limits.address = "4/hour".parse().unwrap();
            limits.global = "9/hour".parse().unwrap();
        });
        behind(&hand.preset().with_rate_limit(limits).with_shared_quotas(shared), &Naive::default())
    };
    let (one, other) = (node(), node());
    let flood = (0..12).map(|number| from(v4(0, number % 3), native(0)));
    assert_eq!(admitted(&one, flood).await, 9, "six, and three as newcomers");
    assert_eq!(answer(&other, from(v4(1, 1), native(0))).await, (429, Some("rate-limit")));
    assert_eq!(answer(&other, from(v4(1, 1), CLAUDE)).await, (201, None));

    let (hand, store) = (Hand::new(), Store::default());
    let node = || {
        let shared = SharedQuotas::new(store.clone(), NonZeroU32::new(2).unwrap()).reject_on_outage();
        let limits = hand.limits().map_limits(|limits| limits.global = "9/hour".parse().unwrap());
        let limits = limits.map_limits(|limits| limits.newcomers = "1/hour".parse().unwrap());
        behind(&hand.preset().with_rate_limit(limits).with_shared_quotas(shared), &Naive::default())
    };
    let (one, other) = (node(), node());
    assert_eq!(admitted(&one, (0..12).map(|_| from(v4(0, 1), native(0)))).await, 7);
    assert_eq!(admitted(&other, (0..3).map(|_| from(v4(1, 1), native(0)))).await, 1, "the store says it is spent");
    assert_eq!(admitted(&other, (0..3).map(|_| from(v4(2, 1), native(0)))).await, 1);
    assert_eq!(answer(&other, from(v4(3, 1), native(0))).await.0, StatusCode::TOO_MANY_REQUESTS.as_u16());
}

fn software(id: &str, number: usize) -> String {
    format!(
        r#"{{"client_name":"App {number}","redirect_uris":["http://127.0.0.1/cb"],"software_id":{id},"software_version":"{number}"}}"#
    )
}

/// By default one application may register from any number of hosts.
#[tokio::test]
async fn a_software_id_has_no_budget_by_default() {
    let hand = Hand::new();
    let service = behind(&hand.preset(), &Naive::default());
    let fleet = (0..500).map(|number| from(v4(u32::try_from(number).unwrap(), 1), software(r#""app""#, number)));
    assert_eq!(admitted(&service, fleet).await, 500);
}

#[tokio::test]
async fn one_software_id_has_one_budget() {
    let hand = Hand::new();
    let preset = hand
        .preset()
        .with_rate_limit(hand.limits().map_limits(|limits| limits.software_id = "4/minute".parse().unwrap()));
    let service = behind(&preset, &Naive::default());
    let fleet = |id: &'static str| (0..20).map(move |number| from(v4(number, 1), software(id, number as usize)));
    assert_eq!(admitted(&service, fleet(r#""app""#)).await, 4, "from any network");
    let rejected = send(&service, from(v4(99, 1), software(r#""app""#, 99))).await;
    assert_eq!(
        (rejected.status(), rejected.json()["error"].as_str()),
        (StatusCode::TOO_MANY_REQUESTS, Some("too_many_requests"))
    );
    let description = rejected.json()["error_description"].as_str().unwrap().to_owned();
    assert!(description.contains("of this software_id"), "{description}");
    assert_eq!(rejected.header("ratelimit"), Some(r#""software-id";r=0;t=15"#));
    // Another spelling is another id.
    for lookalike in [r#""App""#, r#""app ""#, r#"" app""#, r#""аpp""#, r#""ap\u200bp""#, r#""app\u0301""#] {
        assert_eq!(admitted(&service, fleet(lookalike)).await, 4, "{lookalike}");
    }
    // One spelling in JSON or another is the same id.
    assert_eq!(admitted(&service, fleet(r#""\u0061pp""#)).await, 0);
    // Others are not affected, nor are those without an id, nor what a vendor's callback proves.
    assert_eq!(admitted(&service, [from(v4(1, 1), native(1))]).await, 1);
    let proven =
        r#"{"client_name":"Claude","redirect_uris":["https://claude.ai/api/mcp/auth_callback"],"software_id":"app"}"#;
    assert_eq!(admitted(&service, (0..6).map(|_| from(v4(1, 1), proven))).await, 4, "with a budget of its own");
    hand.wait(15);
    assert_eq!(admitted(&service, fleet(r#""app""#)).await, 1);
}

/// A rejected registration of one id takes nothing from the others, and repeats take nothing from it.
#[tokio::test]
async fn repeats_and_rejected_documents_cost_the_software_nothing() {
    let hand = Hand::new();
    let limits = hand.limits().map_limits(|limits| limits.software_id = "2/hour".parse().unwrap());
    let preset = hand.preset().with_rate_limit(limits).with_registrar(Registrar::new(MemoryLedger::default()));
    let service = behind(&preset, &Naive::default());
    let same = || from(v4(1, 1), software(r#""app""#, 1));
    assert_eq!(admitted(&service, (0..50).map(|_| same())).await, 50, "known after the first");
    let evil = r#"{"redirect_uris":["javascript:alert(1)"],"software_id":"app"}"#;
    assert_eq!(admitted(&service, (0..50).map(|_| from(v4(2, 1), evil))).await, 0);
    let other = |name: &str| from(v4(3, 1), software(r#""app""#, 1).replace("App 1", name));
    assert_eq!(admitted(&service, [other("Two"), other("Three")]).await, 1);
    assert_eq!(admitted(&service, [same()]).await, 1, "a known one passes when the budget is spent");
}

/// One table of fixed size: ids that find no room share a bucket, and none gets more than its quota.
#[tokio::test]
async fn new_software_ids_do_not_refill_a_spent_one() {
    let hand = Hand::new();
    let limits = hand.limits().map_limits(|limits| {
        *limits = RateLimits::OFF;
        limits.software_id = "1/hour".parse().unwrap();
    });
    let service = behind(&hand.preset().with_rate_limit(limits), &Naive::default());
    let one = || from(v4(1, 1), software(r#""app""#, 1));
    assert_eq!(admitted(&service, [one()]).await, 1);
    let others = (0..17_000).map(|number| from(v4(1, 1), software(&format!("\"app {number}\""), 1)));
    let found_room = admitted(&service, others).await;
    assert!((8_000..=16_384).contains(&found_room), "{found_room}");
    assert_eq!(admitted(&service, [one()]).await, 0);
}

/// All nodes have one budget.
#[tokio::test]
async fn a_software_id_is_limited_on_all_nodes() {
    let hand = Hand::new();
    let store = SharedQuotas::new(Store::default(), NonZeroU32::new(2).unwrap());
    let node = || {
        let limits = hand.limits().map_limits(|limits| limits.software_id = "3/hour".parse().unwrap());
        behind(&hand.preset().with_rate_limit(limits).with_shared_quotas(store.clone()), &Naive::default())
    };
    let (one, two) = (node(), node());
    let fleet = || (0..5).map(|number| from(v4(number, 1), software(r#""app""#, number as usize)));
    assert_eq!(admitted(&one, fleet()).await, 3);
    assert_eq!(admitted(&two, fleet()).await, 0);
}
