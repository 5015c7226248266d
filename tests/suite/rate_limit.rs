//! The limiter in front of a handler.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use tower_dcr::clock::ManualClock;
use tower_dcr::rate_limit::{Quota, RateLimits};
use tower_dcr::rules::RedirectHostQuota;
use tower_dcr::{Preset, Rejection, layers::RateLimitLayer};

use crate::support::{Naive, behind, post, send};

fn per_minute(count: u32) -> Quota {
    Quota::per_minute(NonZeroU32::new(count).unwrap())
}

fn from(peer: [u8; 4], body: &str) -> Request<Full<Bytes>> {
    let mut request = post(body.to_owned());
    request.extensions_mut().insert(SocketAddr::from((peer, 1)));
    request
}

const GOOD: &str = r#"{"redirect_uris":["https://app.example.com/cb"]}"#;

#[tokio::test]
async fn a_rejection_has_retry_after() {
    let clock = Arc::new(ManualClock::new(Duration::from_secs(100)));
    let layer = RateLimitLayer::new()
        .map_limits(|limits| {
            *limits = RateLimits::OFF;
            limits.address = per_minute(40).allow_burst(NonZeroU32::MIN).into();
        })
        .with_clock(clock.clone());
    let service = behind(&layer, &Naive::default());
    assert_eq!(send(&service, from([10, 0, 0, 1], GOOD)).await.status(), StatusCode::CREATED);
    clock.advance(Duration::from_millis(300));
    let rejected = send(&service, from([10, 0, 0, 1], GOOD)).await;
    assert_eq!(rejected.status(), StatusCode::TOO_MANY_REQUESTS);
    // 1.2 seconds more: rounded up.
    assert_eq!(rejected.header("retry-after"), Some("2"));
    assert_eq!(rejected.header("ratelimit"), Some("\"address\";r=0;t=2"));
    assert_eq!(rejected.header("ratelimit-policy"), Some("\"address\";q=1;w=2"));
    assert_eq!(rejected.header("cache-control"), Some("no-store"));
    assert_eq!(rejected.json()["error"], "too_many_requests");
    assert_eq!(rejected.response.extensions().get::<Rejection>().unwrap().rule, "rate-limit");
    clock.advance(Duration::from_millis(1_200));
    assert_eq!(send(&service, from([10, 0, 0, 1], GOOD)).await.status(), StatusCode::CREATED);
    clock.advance(Duration::from_millis(1_499));
    let rejected = send(&service, from([10, 0, 0, 1], GOOD)).await;
    // A millisecond: a client that is told 0 would come back at once.
    assert_eq!(rejected.header("retry-after"), Some("1"));
}

#[tokio::test]
async fn reads_and_preflights_cost_nothing() {
    let service = behind(
        &RateLimitLayer::new().map_limits(|limits| {
            *limits = RateLimits::OFF;
            limits.address = per_minute(1).into();
        }),
        &Naive::default(),
    );
    for method in [Method::GET, Method::HEAD, Method::OPTIONS] {
        for _ in 0..5 {
            let mut request = from([10, 0, 0, 1], GOOD);
            *request.method_mut() = method.clone();
            assert_eq!(send(&service, request).await.status(), StatusCode::CREATED);
        }
    }
    assert_eq!(send(&service, from([10, 0, 0, 1], GOOD)).await.status(), StatusCode::CREATED);
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let mut request = from([10, 0, 0, 1], GOOD);
        *request.method_mut() = method;
        assert_eq!(send(&service, request).await.status(), StatusCode::TOO_MANY_REQUESTS);
    }
}

#[tokio::test]
async fn a_request_takes_from_all_budgets_or_from_none() {
    let layer = RateLimitLayer::new().map_limits(|limits| {
        *limits = RateLimits::OFF;
        limits.address = per_minute(3).into();
        limits.global = per_minute(4).into();
    });
    let service = behind(&layer, &Naive::default());
    let statuses = async |peer: [u8; 4], times: usize| {
        let mut statuses = Vec::new();
        for _ in 0..times {
            statuses.push(send(&service, from(peer, GOOD)).await.status().as_u16());
        }
        statuses
    };
    assert_eq!(statuses([10, 0, 0, 1], 4).await, [201, 201, 201, 429]);
    // The rejected one took nothing from the global budget: one is left.
    assert_eq!(statuses([10, 0, 0, 2], 2).await, [201, 429]);
}

/// Judging it was work: without that, requests after a spent host would be free.
#[tokio::test]
async fn a_spent_redirect_host_takes_from_the_address_and_from_no_other_host() {
    let naive = Naive::default();
    let preset = tower_dcr::mcp()
        .with_rate_limit(RateLimitLayer::new().map_limits(|limits| {
            *limits = RateLimits::OFF;
            limits.address = per_minute(3).into();
            limits.global = per_minute(3).into();
        }))
        .with_redirect_host_quota(RedirectHostQuota::new(per_minute(1)));
    let service = behind(&preset, &naive);
    let two_hosts = r#"{"redirect_uris":["https://a.example.com/cb","https://b.example.net/cb"]}"#;
    let a = r#"{"redirect_uris":["https://a.example.com/cb"]}"#;
    let b = r#"{"redirect_uris":["https://b.example.net/cb"]}"#;
    assert_eq!(send(&service, from([10, 0, 0, 1], a)).await.status(), StatusCode::CREATED);
    for _ in 0..5 {
        let rejected = send(&service, from([10, 0, 0, 1], two_hosts)).await;
        assert_eq!(rejected.status(), StatusCode::TOO_MANY_REQUESTS);
        assert!(rejected.header("retry-after").is_some());
    }
    assert_eq!(send(&service, from([10, 0, 0, 1], b)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    // The rejections cost neither the second host nor the global budget anything.
    assert_eq!(send(&service, from([10, 0, 0, 2], b)).await.status(), StatusCode::CREATED);
    assert_eq!(send(&service, from([10, 0, 0, 2], GOOD)).await.status(), StatusCode::TOO_MANY_REQUESTS, "a's domain");
}

/// Shared redirects are not counted by host.
#[tokio::test]
async fn shared_redirects_have_no_host_budget() {
    let preset = tower_dcr::mcp()
        .with_rate_limit(RateLimitLayer::new().map_limits(|limits| *limits = RateLimits::OFF))
        .with_redirect_host_quota(RedirectHostQuota::new(per_minute(1)));
    let service = behind(&preset, &Naive::default());
    for uri in ["http://localhost:1/cb", "https://claude.ai/api/mcp/auth_callback", "cursor://anysphere/cb"] {
        for peer in 20..30 {
            let body = format!(r#"{{"redirect_uris":["{uri}"]}}"#);
            assert_eq!(send(&service, from([10, 0, 0, peer], &body)).await.status(), StatusCode::CREATED, "{uri}");
        }
    }
}

#[tokio::test]
async fn rate_limit_fields_can_be_left_out() {
    let limits = RateLimitLayer::new().map_limits(|limits| {
        *limits = RateLimits::OFF;
        limits.global = per_minute(1).into();
        limits.fields = false;
    });
    for preset in [tower_dcr::mcp().with_rate_limit(limits), Preset::from_str(FIELDS_OFF).unwrap()] {
        let service = behind(&preset, &Naive::default());
        assert_eq!(send(&service, from([10, 0, 0, 1], GOOD)).await.status(), StatusCode::CREATED);
        let rejected = send(&service, from([10, 0, 0, 1], GOOD)).await;
        assert_eq!((rejected.status(), rejected.header("retry-after")), (StatusCode::TOO_MANY_REQUESTS, Some("60")));
        assert_eq!((rejected.header("ratelimit"), rejected.header("ratelimit-policy")), (None, None));
    }
}

const FIELDS_OFF: &str = "rate_limit = { address = 'off', global = '1/minute', fields = false }";

#[tokio::test]
async fn clones_and_routes_share_one_state() {
    let layer = RateLimitLayer::new().map_limits(|limits| {
        *limits = RateLimits::OFF;
        limits.address = per_minute(2).into();
    });
    let (one, other) = (behind(&layer, &Naive::default()), behind(&layer.clone(), &Naive::default()));
    assert_eq!(send(&one, from([10, 0, 0, 1], GOOD)).await.status(), StatusCode::CREATED);
    assert_eq!(send(&other.clone(), from([10, 0, 0, 1], GOOD)).await.status(), StatusCode::CREATED);
    assert_eq!(send(&one, from([10, 0, 0, 1], GOOD)).await.status(), StatusCode::TOO_MANY_REQUESTS);
    let preset = tower_dcr::mcp().map_rate_limit(|limits| limits.address = per_minute(1).into());
    let (one, other) = (behind(&preset, &Naive::default()), behind(&preset, &Naive::default()));
    assert_eq!(send(&one, from([10, 0, 0, 1], GOOD)).await.status(), StatusCode::CREATED);
    assert_eq!(send(&other, from([10, 0, 0, 1], GOOD)).await.status(), StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_budget_can_have_any_key() {
    let layer = RateLimitLayer::new().map_limits(|limits| *limits = RateLimits::OFF).add_budget(
        "tenant",
        per_minute(1),
        |head| head.headers.get("x-tenant").map(|tenant| tenant.as_bytes().to_vec()),
    );
    let service = behind(&layer, &Naive::default());
    let of = |tenant: &str| {
        let mut request = post(GOOD);
        request.headers_mut().insert("x-tenant", tenant.parse().unwrap());
        request
    };
    assert_eq!(send(&service, of("a")).await.status(), StatusCode::CREATED);
    assert_eq!(send(&service, of("b")).await.status(), StatusCode::CREATED);
    let rejected = send(&service, of("a")).await;
    assert_eq!(rejected.header("ratelimit-policy"), Some("\"tenant\";q=1;w=60"));
    // Without a key: one bucket for all of them.
    assert_eq!(send(&service, post(GOOD)).await.status(), StatusCode::CREATED);
    assert_eq!(send(&service, post(GOOD)).await.status(), StatusCode::TOO_MANY_REQUESTS);
}

/// The documented default budgets.
#[tokio::test]
async fn the_defaults_fit_hosted_clients_and_test_benches() {
    let service = behind(&tower_dcr::mcp(), &Naive::default());
    for _ in 0..300 {
        assert_eq!(send(&service, from([160, 79, 104, 10], GOOD)).await.status(), StatusCode::CREATED);
    }
}
