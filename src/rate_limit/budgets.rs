//! The budgets that registrations take from, and the [`Ticket`] by which the layers further in charge them.
//!
//! A limiter sees the head of a request only. The budgets that a registration takes from depend on the document, so the
//! limiter puts a [`Ticket`] into the request, and the layer that has judged the document charges it.

use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::{Budget, Denied, Limiter, Quota, RateLimit, RateLimits, Reservation, SharedQuotas, Spent, nonzero};
use crate::client_address::Source;
use crate::clock::Clock;
use crate::rules::{ErrorCode, Rejection};

/// The rule that rejects a request whose budget is spent.
pub(crate) const RULE: &str = "rate-limit";

/// A budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    /// Unproven registrations, by address.
    Address,
    /// The same, by IPv4 /24 and IPv6 /56.
    Prefix,
    /// The same, by IPv6 /48.
    WidePrefix,
    /// The same, in all.
    Global,
    /// The same, by IPv4 /24 and IPv6 /48, from the last third of the global budget.
    Newcomers,
    /// Registrations that a vendor's callback proves, by address and network.
    Proven,
    /// The same, in all.
    ProvenGlobal,
    /// Registrations that the ledger knows, by address and network.
    Deduplication,
    /// New registrations, by `software_id`.
    SoftwareId,
    /// Requests that are rejected before they are judged, by address and network.
    Unreadable,
    /// Requests that are read and judged, by address and network.
    Requests,
}

/// The number of slots.
const SLOTS: usize = 11;

impl Slot {
    /// All of them, those that others follow first.
    pub(crate) const ALL: [Self; SLOTS] = [
        Self::Address,
        Self::Global,
        Self::Prefix,
        Self::WidePrefix,
        Self::Newcomers,
        Self::Proven,
        Self::ProvenGlobal,
        Self::Deduplication,
        Self::SoftwareId,
        Self::Unreadable,
        Self::Requests,
    ];

    /// Returns the name in `RateLimit` fields and in the store of all nodes.
    const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Prefix => "prefix",
            Self::WidePrefix => "wide-prefix",
            Self::Global => "global",
            Self::Newcomers => "newcomers",
            Self::Proven => "proven",
            Self::ProvenGlobal => "proven-global",
            Self::Deduplication => "deduplication",
            Self::SoftwareId => "software-id",
            Self::Unreadable => "unreadable",
            Self::Requests => "requests",
        }
    }

    /// Returns the slot that a budget which is not set follows, and how many times its quota it has.
    const fn follows(self) -> Option<(Self, u32)> {
        match self {
            Self::Address | Self::Global | Self::Newcomers | Self::SoftwareId => None,
            Self::Prefix => Some((Self::Address, 3)),
            Self::WidePrefix | Self::Proven | Self::Requests => Some((Self::Address, 5)),
            Self::Deduplication => Some((Self::Address, 10)),
            Self::Unreadable => Some((Self::Address, 1)),
            Self::ProvenGlobal => Some((Self::Global, 20)),
        }
    }

    /// Returns the number of keys that there is room for. A bucket is in use for one interval of its quota after each
    /// request: filling a table takes its size divided by that interval, in requests a second.
    const fn buckets(self) -> usize {
        match self {
            Self::Address => Limiter::DEFAULT_BUCKETS,
            Self::Newcomers => 32_768,
            Self::Prefix
            | Self::WidePrefix
            | Self::Deduplication
            | Self::SoftwareId
            | Self::Unreadable
            | Self::Requests => 16_384,
            Self::Proven => 4096,
            Self::Global | Self::ProvenGlobal => 1,
        }
    }

    /// Returns the other quota over the same buckets: that of a network, or the part of the global budget that is not reserved
    /// for newcomers.
    const fn other(self, quota: Quota) -> Quota {
        match self {
            Self::Global => quota.two_thirds(),
            Self::Proven => quota.times(nonzero(2)),
            Self::Deduplication | Self::Unreadable | Self::Requests => quota.times(nonzero(20)),
            Self::Address
            | Self::Prefix
            | Self::WidePrefix
            | Self::Newcomers
            | Self::ProvenGlobal
            | Self::SoftwareId => quota,
        }
    }
}

/// The software of a registration, as the keys of its budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Software<'a> {
    /// The `software_id`, in the exact spelling.
    pub(crate) id: &'a str,
    /// The issuer of the software statement that vouches for it.
    pub(crate) issuer: Option<&'a str>,
}

/// The class of a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Every redirect URI is a callback of the vendor that it claims to be.
    Proven,
    /// Anything else.
    Unproven,
}

/// The default quota of unproven registrations of one address.
pub(crate) const ADDRESS: Quota = Quota::per_minute(nonzero(60)).allow_burst(nonzero(300));
/// The default quota of all unproven registrations.
pub(crate) const GLOBAL: Quota = Quota::per_minute(nonzero(600)).allow_burst(nonzero(3000));
/// The default quota of one network from the part that is reserved for newcomers.
const NEWCOMERS: Quota = Quota::per_hour(nonzero(12)).allow_burst(nonzero(6));

/// The budgets of one limiter.
#[derive(Clone, Debug)]
pub(crate) struct Budgets {
    limits: RateLimits,
    entries: [Option<Entry>; SLOTS],
    /// Shares the budgets of registrations; those of work are each node's own.
    pub(crate) shared: Option<SharedQuotas>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) report_only: bool,
}

#[derive(Clone, Debug)]
struct Entry {
    budget: Budget,
    /// The same buckets under another quota: see [`Slot::other`].
    other: Budget,
}

impl Entry {
    fn over(slot: Slot, limiter: Limiter) -> Self {
        let other = limiter.with_quota(slot.other(limiter.quota()));
        Self { budget: Budget::over(slot.name(), limiter), other: Budget::over(slot.name(), other) }
    }
}

impl Budgets {
    pub(crate) fn new(limits: &RateLimits, clock: Arc<dyn Clock>) -> Self {
        let entries = [const { None }; SLOTS];
        let mut budgets = Self { limits: *limits, entries, shared: None, clock, report_only: false };
        budgets.set(limits);
        budgets
    }

    fn entry(&self, slot: Slot) -> Option<&Entry> {
        self.entries.get(slot as usize)?.as_ref()
    }

    /// Returns whether a budget holds for an address or its networks.
    pub(crate) fn need_source(&self) -> bool {
        let is_by_source = |slot: &Slot| !matches!(slot, Slot::Global | Slot::ProvenGlobal | Slot::SoftwareId);
        Slot::ALL.iter().filter(|slot| is_by_source(slot)).any(|slot| self.entry(*slot).is_some())
    }

    /// Returns the limits that the budgets were made for.
    pub(crate) const fn limits(&self) -> &RateLimits {
        &self.limits
    }

    /// Changes the limits, over the existing buckets: a change of quota gives nothing back.
    pub(crate) fn set(&mut self, limits: &RateLimits) {
        self.limits = *limits;
        // Budgets come after those that they follow.
        for slot in Slot::ALL {
            let quota = match limits.limit(slot) {
                RateLimit::Quota(quota) => Some(quota),
                RateLimit::Default => self.default_quota(slot),
                RateLimit::Off => None,
            };
            let old = self.entry(slot).map(|entry| &entry.budget);
            if old.map(Budget::quota) == quota {
                continue;
            }
            let entry = quota.map(|quota| {
                let limiter = old.map(|old| old.limiter().with_quota(quota));
                Entry::over(slot, limiter.unwrap_or_else(|| Limiter::with_buckets(quota, slot.buckets())))
            });
            if let Some(place) = self.entries.get_mut(slot as usize) {
                *place = entry;
            }
        }
    }

    /// Returns the quota of a budget that is not set.
    fn default_quota(&self, slot: Slot) -> Option<Quota> {
        let quota_of = |slot| self.entry(slot).map(|entry| entry.budget.quota());
        match slot {
            Slot::Address => Some(ADDRESS),
            Slot::Global => Some(GLOBAL),
            Slot::Newcomers => quota_of(Slot::Address).and(quota_of(Slot::Global)).map(|_| NEWCOMERS),
            _ => slot.follows().and_then(|(leader, times)| Some(quota_of(leader)?.times(nonzero(times)))),
        }
    }

    /// Takes from the budgets of unproven registrations. A registration that finds the first two thirds of the global budget
    /// spent is a newcomer, if its network has registered little.
    pub(crate) fn take_unproven(
        &self,
        reservation: &mut Reservation,
        source: Option<&Source>,
        now: Duration,
        newcomer: bool,
    ) -> Result<(), Spent> {
        self.take_own(reservation, source, now)?;
        let Some(global) = self.entry(Slot::Global) else { return Ok(()) };
        let Some(newcomers) = self.entry(Slot::Newcomers) else {
            return reservation.take(&global.budget, |_| (), now);
        };
        let ordinary = (!newcomer).then(|| reservation.take(&global.other, |_| (), now));
        let spent = match ordinary {
            Some(Ok(())) => return Ok(()),
            Some(Err(spent)) => Some(spent),
            None => None,
        };
        let network = source.map(|source| source.network);
        let as_newcomer = reservation.take(&newcomers.budget, |mut hasher| network.hash(&mut hasher), now);
        let taken = as_newcomer.and_then(|()| reservation.take(&global.budget, |_| (), now));
        taken.map_err(|own| spent.unwrap_or(own))
    }

    /// Takes from the budgets of the source only.
    fn take_own(&self, reservation: &mut Reservation, source: Option<&Source>, now: Duration) -> Result<(), Spent> {
        if let Some(address) = self.entry(Slot::Address) {
            reservation.take(&address.budget, |hasher| feed_address(source, hasher), now)?;
        }
        let Some(source) = source else { return Ok(()) };
        if let Some(prefix) = self.entry(Slot::Prefix) {
            reservation.take(&prefix.budget, |mut hasher| source.prefix.hash(&mut hasher), now)?;
        }
        if let Some(wide) = self.entry(Slot::WidePrefix).filter(|_| source.has_wide_prefix()) {
            reservation.take(&wide.budget, |mut hasher| source.network.hash(&mut hasher), now)?;
        }
        Ok(())
    }

    /// Takes from a budget that holds for an address and, with a multiple of the quota, for its network.
    pub(crate) fn take_for(
        &self,
        slot: Slot,
        reservation: &mut Reservation,
        source: Option<&Source>,
        now: Duration,
    ) -> Result<(), Spent> {
        let Some(entry) = self.entry(slot) else { return Ok(()) };
        reservation.take(&entry.budget, |hasher| feed_address(source, hasher), now)?;
        if let Some(source) = source {
            reservation.take(&entry.other, |mut hasher| ("network", source.network).hash(&mut hasher), now)?;
        }
        match self.entry(Slot::ProvenGlobal).filter(|_| slot == Slot::Proven) {
            Some(all) => reservation.take(&all.budget, |_| (), now),
            None => Ok(()),
        }
    }

    /// Takes from the budget of a `software_id`. Strangers who write that of honest software do not spend the budget of what a
    /// callback proves, nor of what an issuer vouches for.
    fn take_software(
        &self,
        reservation: &mut Reservation,
        class: Class,
        software: Software<'_>,
        now: Duration,
    ) -> Result<(), Spent> {
        let Some(entry) = self.entry(Slot::SoftwareId) else { return Ok(()) };
        let key = (class == Class::Proven, software.issuer, software.id);
        reservation.take(&entry.budget, |mut hasher| key.hash(&mut hasher), now)
    }

    /// Takes from a budget of this node's own work. The reservation is committed.
    pub(crate) fn take_work(&self, slot: Slot, source: Option<&Source>) -> Result<Reservation, Spent> {
        let mut reservation = Reservation::new(None, &self.clock);
        self.take_for(slot, &mut reservation, source, self.clock.monotonic())?;
        reservation.commit_local();
        Ok(reservation)
    }

    /// Returns whether a budget is one of unproven registrations.
    pub(crate) fn is_unproven(budget: &str) -> bool {
        Slot::Address.name() == budget || Self::is_wide(budget)
    }

    /// Returns whether a budget is one that an address shares with others.
    pub(crate) fn is_wide(budget: &str) -> bool {
        [Slot::Prefix, Slot::WidePrefix].iter().any(|slot| slot.name() == budget) || Self::is_global(budget)
    }

    /// Returns whether a budget is one that all addresses share.
    pub(crate) fn is_global(budget: &str) -> bool {
        [Slot::Global, Slot::Newcomers].iter().any(|slot| slot.name() == budget)
    }
}

/// Writes the key of an address; nothing without one, so that all requests without an address share a bucket.
fn feed_address(source: Option<&Source>, mut hasher: &mut dyn Hasher) {
    if let Some(source) = source {
        source.address.hash(&mut hasher);
    }
}

/// Charges one request. It travels inward in the extensions of the request; clones are the same ticket.
#[derive(Clone, Debug)]
pub(crate) struct Ticket {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    budgets: Arc<Budgets>,
    source: Option<Source>,
    /// The body was read, and is a document.
    is_judged: AtomicBool,
    /// The request was charged to the budgets of proven registrations.
    is_proven: AtomicBool,
    /// The budget that was spent.
    spent: OnceLock<Budget>,
    /// The rejection of a registration that may pass as a duplicate only.
    unless_repeated: OnceLock<Rejection>,
}

impl Ticket {
    pub(crate) fn new(budgets: Arc<Budgets>, source: Option<Source>) -> Self {
        Self {
            inner: Arc::new(Inner {
                budgets,
                source,
                is_judged: AtomicBool::new(false),
                is_proven: AtomicBool::new(false),
                spent: OnceLock::new(),
                unless_repeated: OnceLock::new(),
            }),
        }
    }

    pub(crate) fn is_report_only(&self) -> bool {
        self.inner.budgets.report_only
    }

    pub(crate) fn source(&self) -> Option<&Source> {
        self.inner.source.as_ref()
    }

    /// Notes that the body was a document, which the rules judge.
    pub(crate) fn judge(&self) {
        self.inner.is_judged.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_judged(&self) -> bool {
        self.inner.is_judged.load(Ordering::Relaxed)
    }

    pub(crate) fn is_proven(&self) -> bool {
        self.inner.is_proven.load(Ordering::Relaxed)
    }

    /// Returns the budget that the request was rejected for.
    pub(crate) fn spent(&self) -> Option<&Budget> {
        self.inner.spent.get()
    }

    /// Lets the registration pass if the ledger knows it, and has it rejected otherwise.
    pub(crate) fn reject_unless_repeated(&self, rejection: Rejection) {
        _ = self.inner.unless_repeated.set(rejection);
    }

    /// Returns the rejection of a registration that the ledger does not know.
    pub(crate) fn unless_repeated(&self) -> Option<&Rejection> {
        self.inner.unless_repeated.get()
    }

    /// Takes from the budgets of the registration's class and of its software, on this node and in the shared store. The
    /// reservation is committed.
    pub(crate) async fn reserve(&self, class: Class, software: Option<Software<'_>>) -> Result<Reservation, Rejection> {
        let (mut newcomer, mut reservation) = (false, self.take(class, software, false)?);
        loop {
            match reservation.commit().await {
                Ok(()) => break,
                Err(Denied::Spent(spent)) if !newcomer && self.may_be_newcomer(class, &spent) => {
                    (newcomer, reservation) = (true, self.take(class, software, true)?);
                }
                Err(denied) => return Err(self.rejection(&denied)),
            }
        }
        let is_proven = class == Class::Proven && self.inner.budgets.entry(Slot::Proven).is_some();
        self.inner.is_proven.store(is_proven, Ordering::Relaxed);
        Ok(reservation)
    }

    /// Returns whether the shared store has only the part of the global budget left that is reserved for newcomers.
    fn may_be_newcomer(&self, class: Class, spent: &Spent) -> bool {
        class == Class::Unproven
            && spent.budget.name() == Slot::Global.name()
            && self.inner.budgets.entry(Slot::Newcomers).is_some()
    }

    fn take(&self, class: Class, software: Option<Software<'_>>, newcomer: bool) -> Result<Reservation, Rejection> {
        let (budgets, source) = (&self.inner.budgets, self.source());
        // Without a budget of its own a proven registration is like any other.
        let budget_class = if budgets.entry(Slot::Proven).is_some() { class } else { Class::Unproven };
        let now = budgets.clock.monotonic();
        let mut reservation = Reservation::new(budgets.shared.as_ref(), &budgets.clock);
        let taken = match budget_class {
            Class::Unproven => budgets.take_unproven(&mut reservation, source, now, newcomer),
            Class::Proven => budgets.take_for(Slot::Proven, &mut reservation, source, now),
        };
        let taken = taken.and_then(|()| match software {
            Some(software) => budgets.take_software(&mut reservation, class, software, now),
            None => Ok(()),
        });
        taken.map(|()| reservation).map_err(|spent| self.rejection(&Denied::Spent(spent)))
    }

    /// Takes from the budgets of the source for a document that a rule rejects: judging it was work, and no other source is to
    /// pay for that. Returns whether the budgets had a request left.
    pub(crate) fn charge_rejected(&self) -> bool {
        let budgets = &self.inner.budgets;
        let mut reservation = Reservation::new(None, &budgets.clock);
        let taken = budgets.take_own(&mut reservation, self.source(), budgets.clock.monotonic());
        taken.is_ok() && reservation.commit_local()
    }

    /// Returns the rejection for a budget that is spent, and remembers the budget.
    pub(crate) fn rejection(&self, denied: &Denied) -> Rejection {
        let (code, detail, retry_after) = match denied {
            Denied::Spent(spent) => {
                _ = self.inner.spent.set(spent.budget.clone());
                // Neither the budget nor its size: an attacker would learn how slow is slow enough. `rate_limit.fields`
                // shows them to clients that an operator trusts.
                let detail = if spent.budget.name() == Slot::SoftwareId.name() {
                    "too many registrations of this software_id, try again later"
                } else {
                    "too many registrations, try again later"
                };
                (ErrorCode::TooManyRequests, detail, spent.retry_after)
            }
            Denied::Unknown { retry_after } => {
                let detail = "rate limits unavailable, try again later";
                (ErrorCode::TemporarilyUnavailable, detail, *retry_after)
            }
        };
        Rejection::new(code, RULE, detail).with_retry_after(retry_after)
    }
}
