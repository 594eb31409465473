//! Sealing, opening and naming: this module sees only bytes.
//!
//! - [`Keyring`] holds the encryption keys by id. The first seals, all open, and a record says which key sealed it, so
//!   nothing is ever opened by trying keys. The ring can be replaced while it is in use.
//! - [`envelope`] is the byte layout of a sealed record and what is authenticated with it.
//! - [`RecordName`] is what a record is called in Redis: a keyed digest, so that a list of all cities matches nothing.
//!
//! ```
//! use stratus::crypto::{Keyring, OpenError, Padding, Times};
//!
//! let ring = Keyring::ephemeral()?;
//! let london = ring.names("london").remove(0);
//! let paris = ring.names("paris").remove(0);
//! let times = Times { fetched_at_ms: 1_000, expires_at_ms: 2_000 };
//!
//! let sealed = ring.seal(&london, times, b"12 degrees", Padding::Record)?;
//! assert_eq!(ring.open(&london, &sealed, 1_500).unwrap().content, b"12 degrees");
//! // Moved to another name, or past its end, it does not open.
//! assert_eq!(ring.open(&paris, &sealed, 1_500).unwrap_err(), OpenError::NotAuthentic);
//! assert_eq!(ring.open(&london, &sealed, 2_000).unwrap_err(), OpenError::Expired);
//! # Ok::<(), stratus::crypto::SealError>(())
//! ```

pub mod envelope;
mod key_file;
mod keyring;
mod xaes;

pub use envelope::{OpenError, Opened, OpenedCredential, Padding, SealError, Times, longest_sealed};
pub use key_file::{KeyFault, generate_key_line, key_ids};
pub use keyring::{KeyUse, Keyring, RecordName};
