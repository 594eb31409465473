//! A body as it is handed out: the upstream's bytes, their entity tag and their compressed forms, each made once. Of a
//! long body the zstd form alone is kept, if it pays, here as in the store: `packed` says why.

mod coding;
mod packed;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, OnceLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::demand::Demand;
pub use coding::Coding;
use packed::Packed;

/// Shorter bodies are kept and sent as they are. A weather body has 500 to 700 bytes and its head about 600: together
/// they fit one TCP segment (1460 bytes over Ethernet and IPv4), so that fewer bytes would arrive no sooner. In Redis they
/// are padded to one size anyway.
const MIN_BYTES: usize = 1024;
/// A compressed form that is longer than this share of the body is not used: what it saves is not worth the work of
/// whoever decompresses it.
const MAX_PERCENT: usize = 70;
/// What the forms of a packed body take beside their bytes: the table of forms, the tags, the counts of references, and what
/// the allocator adds. Rather too much than too little; `benches/footprint.rs` holds it against resident memory.
const PACKED_EXTRA_BYTES: usize = 1_300;

/// What the upstream sent, byte for byte, and what follows from it. Cheap to clone.
#[derive(Clone)]
pub struct Body(Arc<Prepared>);

struct Prepared {
    kept: Kept,
    tag: Bytes,
    /// Made when the first one is asked for: most bodies are too short for any.
    forms: OnceLock<Box<Forms>>,
    /// Beside the count of references, which every answer changes, too.
    demand: Demand,
}

/// What of the body is here.
enum Kept {
    Text(Bytes),
    /// In a box, so that short bodies take no more room than without it.
    Packed(Box<Packed>),
}

/// In the order of [`Coding::ALL`]; `None` inside means that it does not pay.
type Forms = [OnceLock<Option<Encoded>>; Coding::ALL.len()];

/// A compressed form of a body.
#[derive(Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The compressed bytes.
    pub bytes: Bytes,
    /// The strong entity tag of this form, with its quotes: that of the body with the coding's name inside the quotes.
    /// Forms that differ in their bytes must differ in their strong tags (RFC 9110, sections 8.8.1 and 8.8.3.3).
    pub tag: Bytes,
}

impl Body {
    /// What the upstream sent. A long body is compressed at once, if that pays: 0.2 ms for 16 KB.
    #[must_use]
    pub fn new(bytes: Bytes) -> Self {
        match Packed::frame(&bytes) {
            Some(frame) => Self::packed(frame, &bytes),
            None => Self::plain(bytes),
        }
    }

    /// A body that is kept as it is, because it is short, or will not be kept for long, or compressing it does not pay.
    #[must_use]
    pub fn plain(bytes: Bytes) -> Self {
        let tag = tag(&bytes);
        Self::with(Kept::Text(bytes), tag)
    }

    /// The body whose [`Self::stored`] form is this frame; `None` if it is damaged, or claims to be shorter than what is
    /// ever packed or longer than 1 MiB.
    pub(super) fn unpack(frame: Bytes) -> Option<Self> {
        let text = packed::unpack(&frame)?;
        Some(Self::packed(frame, &text))
    }

    fn packed(frame: Bytes, text: &[u8]) -> Self {
        let tag = tag(text);
        let encoded = Encoded { bytes: frame, tag: tag_of_form(&tag, Coding::Zstd) };
        Self::with(Kept::Packed(Box::new(Packed::new(encoded, text.len()))), tag)
    }

    fn with(kept: Kept, tag: Bytes) -> Self {
        Self(Arc::new(Prepared { kept, tag, forms: OnceLock::new(), demand: Demand::default() }))
    }

    /// What the upstream sent, for an answer. Of a packed body it is decompressed, 15 µs for 16 KB, unless other answers
    /// have it still or it is asked for often.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        match &self.0.kept {
            Kept::Text(text) => text.clone(),
            Kept::Packed(packed) => packed.answer(),
        }
    }

    /// How long what the upstream sent is.
    fn len(&self) -> usize {
        match &self.0.kept {
            Kept::Text(text) => text.len(),
            Kept::Packed(packed) => packed.text_len(),
        }
    }

    /// What is kept in the store, and whether it is packed: then [`Self::unpack`] makes the body of it, else
    /// [`Self::plain`].
    pub(super) fn stored(&self) -> (&Bytes, bool) {
        match &self.0.kept {
            Kept::Text(text) => (text, false),
            Kept::Packed(packed) => (&packed.encoded().bytes, true),
        }
    }

    /// The strong entity tag of [`Self::bytes`], with its quotes (RFC 9110, section 8.8.3): the first 16 bytes of their
    /// SHA-256 in base64url.
    #[must_use]
    pub fn tag(&self) -> &Bytes {
        &self.0.tag
    }

    /// Whether a compressed form is made at all: not of bodies under 1024 bytes.
    #[must_use]
    pub fn worth_encoding(&self) -> bool {
        self.len() >= MIN_BYTES
    }

    /// The form in `coding`, compressed at the first call and remembered; calls that come meanwhile wait for it. `None`
    /// if it does not pay: the body is short, or less than 30 % would be saved, or much less than with zstd.
    #[must_use]
    pub fn encoded(&self, coding: Coding) -> Option<Encoded> {
        if !self.worth_encoding() {
            return None;
        }
        if let (Coding::Zstd, Kept::Packed(packed)) = (coding, &self.0.kept) {
            return Some(packed.encoded().clone());
        }
        let forms = self.0.forms.get_or_init(Box::default);
        forms[coding as usize].get_or_init(|| self.encode(coding)).clone()
    }

    pub(super) fn demand(&self) -> &Demand {
        &self.0.demand
    }

    /// Takes over from the body before whether the text is kept beside its packed form. To be called before
    /// [`Self::max_bytes`], which counts that.
    pub(super) fn follow(&self, before: &Self) {
        if let (Kept::Packed(packed), Kept::Packed(earlier)) = (&self.0.kept, &before.0.kept) {
            packed.follow(earlier);
        }
    }

    fn encode(&self, coding: Coding) -> Option<Encoded> {
        let compressed = match &self.0.kept {
            Kept::Text(text) => coding.compress(text),
            Kept::Packed(packed) => coding.compress(&packed.text()),
        }?;
        if compressed.len() > self.max_form() {
            return None;
        }
        // A boxed slice has no spare room, which max_bytes() would not count.
        let bytes = Bytes::from(compressed.into_boxed_slice());
        Some(Encoded { bytes, tag: tag_of_form(&self.0.tag, coding) })
    }

    /// The longest form that is made beside what is kept. Recorded bodies have gzip forms that are up to 18 % longer than
    /// those in zstd, and brotli's up to 6 %: with the length of one known, less has to be set aside for the others.
    fn max_form(&self) -> usize {
        let pays = max_encoded(self.len());
        match &self.0.kept {
            Kept::Text(_) => pays,
            Kept::Packed(packed) => {
                let frame = packed.encoded().bytes.len();
                pays.min(frame + frame / 4 + 256)
            }
        }
    }

    /// How many bytes the body and all its compressed forms may come to, whether they were made or not: the weight for
    /// a cache that is bounded in bytes. The fixed cost of an entry (tags, pointers) is not in it.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        match &self.0.kept {
            Kept::Text(text) => {
                let forms = if self.worth_encoding() { Coding::ALL.len() } else { 0 };
                text.len().saturating_add(self.max_form().saturating_mul(forms))
            }
            Kept::Packed(packed) => {
                let text = if packed.text_stays() { packed.text_len() } else { 0 };
                let others = Coding::ALL.len() - 1;
                packed.encoded().bytes.len() + others * self.max_form() + text + PACKED_EXTRA_BYTES
            }
        }
    }
}

/// The longest compressed form that pays for a body of `len` bytes.
fn max_encoded(len: usize) -> usize {
    len.saturating_mul(MAX_PERCENT) / 100
}

fn tag(bytes: &[u8]) -> Bytes {
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(bytes)[..16])).into()
}

/// The tag of a form of the body with this tag.
fn tag_of_form(tag: &[u8], coding: Coding) -> Bytes {
    let open = tag.strip_suffix(b"\"").unwrap_or(tag);
    [open, b"-", coding.name().as_bytes(), b"\""].concat().into()
}

/// By their tags, which are digests of what the upstream sent.
impl PartialEq for Body {
    fn eq(&self, other: &Self) -> bool {
        self.0.tag == other.0.tag
    }
}

impl Eq for Body {}

/// The length only: the bytes say which place somebody asked about.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Body").field("len", &self.len()).finish_non_exhaustive()
    }
}

/// The length only, as for [`Body`].
impl fmt::Debug for Encoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoded").field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}
