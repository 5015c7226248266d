//! Registered clients: the ledger that stores them, the registrar that decides about them, and their administration.

pub(crate) mod admin;
#[cfg(feature = "identity")]
pub(crate) mod consent;
pub(crate) mod ledger;
pub(crate) mod registrar;

pub use admin::{ClientPage, ClientQueue, ClientRef};
#[cfg(feature = "identity")]
pub use consent::{ConsentFacts, Destination};
pub use ledger::{
    Actor, Block, Blocks, Client, ClientKey, Deprovisioning, Evictable, Filter, Fingerprint, Fingerprints, Group,
    Grouping, Insertion, LargestSource, Ledger, LedgerError, MemoryLedger, Origin, PushedRequests, Replacement, Source,
    Status, StoredResponse, TokenUses, Work,
};
pub use registrar::{AdminError, LifecycleSettings, MaintenanceReport, Registrar, Revocation, RevocationReport};
