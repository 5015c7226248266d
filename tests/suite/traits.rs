//! What users rely on without seeing it: auto traits.

use tower_dcr::answer::Answer;
use tower_dcr::audit::Audit;
use tower_dcr::body::{BodyError, ResponseBody, ResponseFuture};
use tower_dcr::guard::Guard;
use tower_dcr::policy::{ConfigError, MetadataAllowlist, RedirectUriGuard, Review};
use tower_dcr::quota::Limiter;
use tower_dcr::rate_limit::RateLimit;
use tower_dcr::{
    AnswerLayer, AuditLayer, GuardLayer, Preset, RateLimitLayer, Registration, RegistrationBody, Rejection,
};

fn send<T: Send>() {}
fn send_sync<T: Send + Sync + Unpin>() {}
fn clone_send_sync<T: Clone + Send + Sync + 'static>() {}

#[test]
fn auto_traits_hold() {
    clone_send_sync::<Preset>();
    clone_send_sync::<GuardLayer<(MetadataAllowlist, RedirectUriGuard)>>();
    clone_send_sync::<RateLimitLayer>();
    clone_send_sync::<AuditLayer>();
    clone_send_sync::<AnswerLayer>();
    clone_send_sync::<Guard<(), RedirectUriGuard>>();
    clone_send_sync::<RateLimit<()>>();
    clone_send_sync::<Audit<()>>();
    clone_send_sync::<Answer<()>>();
    clone_send_sync::<Review>();
    clone_send_sync::<Rejection>();
    clone_send_sync::<Registration>();
    send_sync::<RegistrationBody>();
    send_sync::<ResponseBody<http_body_util::Full<bytes::Bytes>>>();
    send_sync::<BodyError>();
    send_sync::<ConfigError>();
    send_sync::<Limiter>();
    send::<ResponseFuture<(), ()>>();
}

/// No `P: Clone` is asked for.
#[test]
fn layers_are_clone_whatever_their_rule_is() {
    struct NotClone;
    impl tower_dcr::policy::Policy for NotClone {
        fn review(&self, _: &mut tower_dcr::policy::Submission<'_>) -> Result<(), Rejection> {
            Ok(())
        }
    }
    clone_send_sync::<GuardLayer<NotClone>>();
}
