//! Auto traits, which users rely on implicitly.

use tower_dcr::audit::{JsonLines, JsonLinesSettings};
use tower_dcr::layers::{Layered, ResponseBody, ResponseFuture};
use tower_dcr::rate_limit::SharedQuotas;
use tower_dcr::rules::{ConfigError, Context, Draft, Evaluation, Policy, RedirectUris, Rule};
use tower_dcr::{
    Preset, Registration, Rejection,
    layers::{AuditLayer, PolicyLayer, RateLimitLayer, RegistrationBody, ResponseLayer},
};

fn send<T: Send>() {}
fn send_sync<T: Send + Sync + Unpin>() {}
fn clone_send_sync<T: Clone + Send + Sync + 'static>() {}

#[test]
fn auto_traits_hold() {
    clone_send_sync::<Preset>();
    clone_send_sync::<PolicyLayer>();
    clone_send_sync::<Policy>();
    clone_send_sync::<RateLimitLayer>();
    clone_send_sync::<AuditLayer>();
    clone_send_sync::<ResponseLayer>();
    clone_send_sync::<Layered<PolicyLayer, ()>>();
    clone_send_sync::<Layered<RateLimitLayer, ()>>();
    clone_send_sync::<Layered<AuditLayer, ()>>();
    clone_send_sync::<Layered<ResponseLayer, ()>>();
    clone_send_sync::<Evaluation>();
    clone_send_sync::<Context>();
    clone_send_sync::<Rejection>();
    clone_send_sync::<Registration>();
    send_sync::<RegistrationBody>();
    send_sync::<ResponseBody<http_body_util::Full<bytes::Bytes>>>();
    send_sync::<ConfigError>();
    send_sync::<SharedQuotas>();
    clone_send_sync::<Layered<Preset, ()>>();
    send::<ResponseFuture<String, ()>>();
    send::<ResponseFuture<String, (), ()>>();
}

/// No `R: Clone` is asked for.
#[test]
fn policies_are_clone_whatever_their_rule_is() {
    struct NotClone(std::sync::atomic::AtomicBool);
    impl Rule for NotClone {
        fn id(&self) -> &'static str {
            "not-clone"
        }

        fn check(&self, _: &mut Draft<'_>) -> Result<(), Rejection> {
            Ok(())
        }

        fn config(&self) -> serde_json::Value {
            self.0.load(std::sync::atomic::Ordering::Relaxed).into()
        }
    }
    let one: Box<dyn Rule> = Box::new(NotClone(true.into()));
    let policy = Policy::new((one, std::sync::Arc::new(NotClone(false.into()))));
    assert_eq!(policy.clone().fingerprint(), policy.fingerprint());
}

/// A `main` that returns an error prints it with `Debug`.
#[test]
fn errors_read_well_through_main() {
    let printed = |error: Box<dyn std::error::Error>| format!("{error:?}");
    let scheme = RedirectUris::mcp().add_private_use_scheme("javascript").unwrap_err();
    assert_eq!(printed(scheme.into()), "the scheme \"javascript\" is never allowed in a redirect URI");
    let audit = JsonLines::open("/no/such/folder/audit.jsonl", JsonLinesSettings::default()).unwrap_err();
    let audit = printed(audit.into());
    assert!(audit.starts_with("audit file /no/such/folder/audit.jsonl: "), "{audit}");
    assert_eq!(audit.matches("os error").count(), 1, "{audit}");
    let quota = "60 per fortnight".parse::<tower_dcr::rate_limit::Quota>().unwrap_err();
    assert!(printed(quota.into()).starts_with("\"60 per fortnight\" is not a quota"));
}
