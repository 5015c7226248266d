//! Today's rules over what was registered under those of yesterday.

use super::Registrar;
use crate::ledger::{Client, ClientKey, Filter, LedgerError, Origin, Status};
use crate::policy::{Finding, Policy, Review, Submission};
use crate::registration::{Limits, Registration};

/// How many stored registrations would fare in which way if they came today.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drift {
    /// Looked at.
    pub checked: u64,
    /// As they are.
    pub passing: u64,
    /// With less, or other than what is registered.
    pub rewritten: u64,
    /// Not at all.
    pub refused: u64,
    /// Not to be read any more.
    pub unreadable: u64,
}

/// How one stored registration fares, with how far the check has come.
#[derive(Debug)]
#[non_exhaustive]
pub struct Checked<'a> {
    /// The counts so far, this one included.
    pub so_far: Drift,
    /// How many there were when the check began.
    pub total: u64,
    /// The record.
    pub client: &'a Client,
    /// How it fares.
    pub verdict: Verdict,
}

/// What today's rules say about a stored registration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// It would pass as it is.
    Passes,
    /// It would be changed, by these findings.
    Rewritten(Vec<Finding>),
    /// It would be refused.
    Refused {
        /// The rule that would refuse it.
        rule: &'static str,
        /// Why, for people.
        description: String,
    },
    /// The record holds no registration that can be read.
    Unreadable,
}

const BATCH: u32 = 200;

impl Registrar {
    /// Runs `policy` over the registration of every live client, from the newest to the oldest: for the day on which the
    /// rules change. Nothing is changed by it; `on` hears of each client and can revoke what it wants to afterwards.
    /// Clients that were registered elsewhere have no registration, and are left out.
    ///
    /// ```
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use tower_dcr::ledger::MemoryLedger;
    /// use tower_dcr::policy::{MetadataAllowlist, RedirectUriGuard};
    /// use tower_dcr::registrar::{Checked, Registrar, Verdict};
    ///
    /// let registrar = Registrar::new(MemoryLedger::default());
    /// let today = (MetadataAllowlist::mcp(), RedirectUriGuard::strict());
    /// let drift = registrar
    ///     .drift(&today, |checked: &Checked<'_>| {
    ///         eprint!("\r{} of {}", checked.so_far.checked, checked.total);
    ///         if let Verdict::Refused { description, .. } = &checked.verdict {
    ///             println!("{:?}: {description}", checked.client.client_id);
    ///         }
    ///     })
    ///     .await?;
    /// assert_eq!(drift.refused, 0);
    /// # Ok::<_, tower_dcr::ledger::LedgerError>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// If the ledger can't be used.
    pub async fn drift(
        &self,
        policy: &impl Policy,
        mut on: impl FnMut(&Checked<'_>) + Send,
    ) -> Result<Drift, LedgerError> {
        let counts = self.ledger().counts().await?;
        let of_interest = |status: &Status| matches!(status, Status::Pending | Status::Active);
        let total = counts.iter().filter(|(status, _)| of_interest(status)).map(|(_, clients)| clients).sum();
        let filter =
            Filter { origin: Some(Origin::Registered), ..Filter::of_status([Status::Pending, Status::Active]) };
        let mut drift = Drift::default();
        let mut before: Option<ClientKey> = None;
        loop {
            let page = self.ledger().page(&filter, before, BATCH).await?;
            let Some(last) = page.last() else { return Ok(drift) };
            before = Some(last.key);
            for client in &page {
                let verdict = judge(policy, client);
                drift.checked += 1;
                match &verdict {
                    Verdict::Passes => drift.passing += 1,
                    Verdict::Rewritten(_) => drift.rewritten += 1,
                    Verdict::Refused { .. } => drift.refused += 1,
                    Verdict::Unreadable => drift.unreadable += 1,
                }
                on(&Checked { so_far: drift, total, client, verdict });
            }
        }
    }
}

fn judge(policy: &impl Policy, client: &Client) -> Verdict {
    let Ok(mut registration) = Registration::parse_with(client.registration.as_bytes(), &Limits::GENEROUS) else {
        return Verdict::Unreadable;
    };
    // Whom a token let in is judged by the rules that it named.
    let mut review = Review::registration().by(client.caller());
    if let Err(rejection) = policy.review(&mut Submission::new(&mut registration, &mut review)) {
        return Verdict::Refused { rule: rejection.rule(), description: rejection.description() };
    }
    if review.is_rewritten() { Verdict::Rewritten(review.findings().to_vec()) } else { Verdict::Passes }
}
