//! All integration tests, as one binary that is linked once.

mod corpus;
mod support;
