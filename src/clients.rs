//! Registered clients: the ledger that stores them, the registrar that decides about them, and their administration.
//!
//! A [`Registrar`] over a [`Ledger`] is the entry to all of it: give it to the [preset](crate::Preset::with_registrar) and to a
//! [gate](crate::layers::GateLayer). The [chapter on clients](crate::docs::clients) shows a server with both.

pub(crate) mod admin;
#[cfg(feature = "identity")]
pub(crate) mod consent;
pub(crate) mod ledger;
pub(crate) mod registrar;

pub use admin::{ClientPage, ClientQueue, ClientRef};
#[cfg(feature = "identity")]
pub use consent::{ConsentFacts, Destination};
pub use ledger::{
    Actor, Block, Blocks, Change, Client, ClientKey, Deprovisioning, DocumentState, Evictable, Filter, Fingerprint,
    Fingerprints, Group, Grouping, HeldChange, Insertion, LargestSource, Ledger, LedgerError, MemoryLedger, Origin,
    PushedRequests, Replacement, Source, Status, StoredResponse, TokenUses, Work,
};
pub use registrar::{AdminError, LifecycleSettings, MaintenanceReport, Registrar, Revocation, RevocationReport};
