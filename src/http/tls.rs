//! HTTPS: what the public listener shows to callers, made of two files and made anew when they change.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::ring;
use rustls::server::NoServerSessionStorage;
use rustls::sign::SingleCertAndKey;
use rustls::version::{TLS12, TLS13};

use crate::certificate::{FileFault, PairFiles, ends_at};
use crate::reload::{Live, Reading, fingerprint};

/// HTTP/2 and HTTP/1.1 as they are called in a handshake (RFC 7301; RFC 9113, section 3.2), the better one first.
pub(super) const H2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

/// HTTPS on the public listener.
#[derive(Debug, Clone)]
pub struct Tls {
    /// What each new handshake is made with.
    pub handshakes: Live<Handshakes>,
    /// Where the certificate and its key are kept.
    pub files: PairFiles,
}

/// What handshakes are made with.
#[derive(Debug)]
pub struct Handshakes {
    /// The certificate, and all else.
    pub config: Arc<rustls::ServerConfig>,
    /// When the certificate ends, Unix seconds.
    pub ends_at_secs: Option<u64>,
}

/// Reads the certificate and its key as they are now and makes of them what handshakes need: TLS 1.3 and 1.2, HTTP/2 and
/// HTTP/1.1, sessions resumed by tickets (RFC 8446, section 2.2) that only this process can open and that end with the
/// certificate. Nothing is taken in before the handshake is done (no 0-RTT), so nothing can be replayed.
///
/// # Errors
/// Every fault of the two files; see [`PairFiles::read`].
pub fn read_tls(files: &PairFiles, now: SystemTime) -> Result<Reading<Handshakes>, Vec<FileFault>> {
    let pair = files.read(now)?;
    // A certificate has one key, so that need not be told apart.
    let fingerprint = fingerprint(pair.cert.iter().map(|certificate| certificate.as_ref()));
    let ends_at_secs = ends_at(pair.cert.get(..1).unwrap_or_default());
    let unusable = |error: rustls::Error| vec![FileFault::new(files.settings[0], error.to_string())];
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(pair)));
    config.alpn_protocols = vec![H2.to_vec(), HTTP_1_1.to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(unusable)?;
    // A ticket is kept by the caller. What we would keep for callers, they could fill.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Reading { value: Handshakes { config: Arc::new(config), ends_at_secs }, fingerprint })
}
