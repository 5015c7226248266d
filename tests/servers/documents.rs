//! Attacks by clients that are named by the URL of a document, and on them: over real connections, through the whole stack. The hosts
//! of the documents are servers of the test with real certificates, to which their names are mapped. Everything is counted in packets,
//! documents and grants: nothing here measures time.
//!
//! `tests/data/documents/attacks.md` is the table of all attacks, with the test that shows each of them.

mod cache;
mod corpus;
mod demo;
mod exhaustion;
mod network;
mod node;
mod outage;
mod parameters;
mod rotation;
mod table;
mod trust;
mod web;
