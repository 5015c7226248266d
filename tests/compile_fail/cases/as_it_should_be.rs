//! The corrected form of each mistake.

use std::convert::Infallible;
use std::error::Error;
use std::num::NonZeroU32;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use tower::{Service, ServiceBuilder, service_fn};
use tower_dcr::audit::Event;
use tower_dcr::layers::{InitialAccess, StaticTokens};
use tower_dcr::clients::MemoryLedger;
use tower_dcr::rules::rule;
use tower_dcr::rate_limit::{Bucket, QuotaDecision, QuotaStore, SharedQuotas};
use tower_dcr::clients::Registrar;
use tower_dcr::layers::{InitialAccessTokenLayer, RegistrationBody};

struct Unlimited;

impl QuotaStore for Unlimited {
    async fn take(&self, _: &[Bucket]) -> Result<QuotaDecision, Box<dyn Error + Send + Sync>> {
        Ok(QuotaDecision::Taken)
    }

    async fn release(&self, _: &[Bucket]) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}

fn serve(_: impl Service<Request<Incoming>>) {}

fn main() {
    let tokens = StaticTokens::new().add("Vq3s8nR1xW7tB0yKd5Lc", InitialAccess::of("portal")).unwrap();
    let registrar = Registrar::new(MemoryLedger::default())
        .with_deprovision(async |_client_id: String| Ok(()))
        .with_still_in_use(async |_client_id: String| Ok(true));
    let guard = tower_dcr::mcp()
        .add_rule(rule("named", |_| Ok(())))
        .with_sink(|event: &Event| println!("{event:?}"))
        .with_initial_access_tokens(InitialAccessTokenLayer::new(tokens))
        .with_shared_quotas(SharedQuotas::new(Unlimited, NonZeroU32::MIN))
        .with_registrar(registrar);
    serve(ServiceBuilder::new().layer(guard).service(service_fn(async |request: Request<RegistrationBody>| {
        let _ = request;
        Ok::<_, Infallible>(Response::new(Full::<Bytes>::default()))
    })));
}
