//! What must hold for any bytes: one `check` for each fuzz target, which panics if it does not. The tests of the service run
//! them, too, on the committed corpora (`src/corpus_tests.rs`).

pub mod configuration;
pub mod envelope;
pub mod headers;
mod input;
pub mod location;
pub mod question;
pub mod upstream_body;
