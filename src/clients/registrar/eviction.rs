//! Making room at the quota.

use std::time::Duration;

use super::admission::busy;
use super::records::MAX_SHARING;
use super::{Failure, REGISTRATION_TIMEOUT, Registrar, milliseconds};
use crate::audit::LifecycleAction;
use crate::clients::ledger::{Actor, Client, Evictable, LargestSource, LedgerError, Replacement, Status, Work};

/// The most clients that one registration ends.
const MAX_AT_ONCE: u64 = 16;

const REASON: &str = "made room for another client";

impl Registrar {
    /// Ends clients to make room for another, or rejects it: see the docs of [`Registrar`](Registrar#the-quota).
    pub(super) async fn make_room(&self) -> Result<(), Failure> {
        let max_clients = match self.settings().max_clients {
            Some(clients) => clients.get(),
            // The ledger has a bound of its own.
            None => self.ledger().counts().await?.iter().map(|(_, clients)| clients).sum(),
        };
        let before = self.now().saturating_sub(milliseconds(REGISTRATION_TIMEOUT));
        let mut made = false;
        for client in self.ledger().due(Work::Reconcile(before), 16).await? {
            made |= self.abandon_registration(client).await?;
        }
        if made {
            return Ok(());
        }
        let at_once = (max_clients / 1000).clamp(1, MAX_AT_ONCE);
        // A flood of registrations costs its sender nothing, so never used clients go first. If they always went first, a
        // table that is full of used ones would leave newcomers no time to sign in; so a tenth of the table is theirs, and
        // clients that were used give way to it where one network has more than its share. Many people share the few networks
        // of a hosted application.
        let [tenth, hundredth] = [10, 100].map(|part| (max_clients / part).max(1));
        // The kinds that are evicted in turn, with the number that may stay of a kind, and of one network.
        let steps = [
            (Evictable::Unused, tenth, hundredth),
            (Evictable::VouchedUnused, tenth, hundredth),
            (Evictable::Used, u64::MAX, hundredth),
            (Evictable::VouchedUsed, u64::MAX, tenth),
            (Evictable::Unused, 0, 0),
            (Evictable::VouchedUnused, 0, 0),
        ];
        for (kind, of_kind, of_network) in steps {
            let found = self.ledger().largest_source(kind, u32::try_from(at_once).unwrap_or(1)).await?;
            let surplus = found.total.saturating_sub(of_kind).max(found.clients.saturating_sub(of_network));
            let surplus = usize::try_from(surplus).unwrap_or(usize::MAX);
            if surplus > 0 && !found.first.is_empty() {
                for client in found.first.iter().take(surplus) {
                    self.evict(client).await?;
                }
                // If they had all changed, others were evicted, and the caller tries again.
                return Ok(());
            }
        }
        self.emit(&self.event(LifecycleAction::LedgerFull));
        let counts = self.ledger().counts().await?;
        let is_asking = counts.iter().any(|(status, clients)| *status == Status::Registering && *clients > 0);
        // Registrations that the server has not answered hold places for a minute at most.
        Err(busy(if is_asking { REGISTRATION_TIMEOUT } else { Duration::from_secs(300) }))
    }

    /// Ends clients among `all`, the records of one `client_id`, until there is room for one more: never used ones, of the
    /// network that has most. Returns `true` if there is room. Young ones too: otherwise an attacker could keep all others
    /// from registering.
    pub(super) async fn make_room_among(&self, all: &[Client]) -> Result<bool, LedgerError> {
        let mut live: Vec<&Client> = all.iter().filter(|known| known.status.is_live()).collect();
        while live.len() >= MAX_SHARING {
            let kinds = [Evictable::Unused, Evictable::VouchedUnused];
            let first = kinds.into_iter().find_map(|of| LargestSource::among(live.iter().copied(), of, 1).first.pop());
            let Some(first) = first else { return Ok(false) };
            if !self.evict(&first).await? {
                return Ok(false);
            }
            live.retain(|known| known.key != first.key);
        }
        Ok(true)
    }

    /// Ends `client` and empties its record: an attacker who fills the table again and again would otherwise fill the disk.
    /// Returns `false` if it was changed meanwhile.
    async fn evict(&self, client: &Client) -> Result<bool, LedgerError> {
        let mut evicted = client.clone();
        self.end(&mut evicted, Status::Expired, Actor::System, REASON);
        evicted.empty();
        let is_evicted = self.ledger().replace(&evicted).await? == Replacement::Replaced;
        if is_evicted {
            // No new epoch: a flood would otherwise empty the caches of gates at each registration.
            self.emit(&self.event_of(LifecycleAction::Evicted, client).by(&Actor::System).because(REASON));
        }
        Ok(is_evicted)
    }
}
