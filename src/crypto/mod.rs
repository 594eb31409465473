//! Sealing, opening and naming: this module sees only bytes.
//!
//! - [`Keyring`] holds the encryption keys by id. The first seals, all open, and a record says which key sealed it, so
//!   nothing is ever opened by trying keys.
//! - [`envelope`] is the byte layout of a sealed record and what is authenticated with it.
//! - [`RecordName`] is what a record is called in Redis: a keyed digest, so that a list of all cities matches nothing.

pub mod envelope;
mod keyring;

pub use envelope::{OpenError, Opened, SealError, Times};
pub use keyring::{KeyFault, Keyring, RecordName, generate_key_line, key_ids};
