//! stub
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// A body as the upstream sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body(Arc<(Bytes, Bytes)>);
impl Body {
    /// Prepares.
    pub fn new(bytes: Bytes) -> Self {
        let tag = format!("\"{}\"", URL_SAFE_NO_PAD.encode(&Sha256::digest(&bytes)[..16]));
        Self(Arc::new((bytes, Bytes::from(tag))))
    }
    /// Bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.0.0
    }
    /// Tag.
    pub fn tag(&self) -> &Bytes {
        &self.0.1
    }
    /// Max.
    pub fn max_bytes(&self) -> usize {
        self.0.0.len()
    }
}
