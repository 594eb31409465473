//! The certificates that we show, to Redis and to callers: read from PEM files with their keys, and checked as a whole.
//!
//! What is refused here would fail at the first handshake, with less to say about it.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::reload::read_regular;
use crate::secret::{Readers, refuse_readable_by_others};

/// Why a file cannot be used. Names the file, never what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct FileFault {
    /// The configuration key that gives the file.
    pub key: &'static str,
    /// What is wrong and what to do, in one line.
    pub what: String,
}

impl FileFault {
    /// A fault of the file that this setting names.
    pub fn new(key: &'static str, what: impl Into<String>) -> Self {
        Self { key, what: what.into() }
    }
}

/// Where a certificate and its key are kept.
#[derive(Debug, Clone)]
pub struct PairFiles {
    /// The settings that name the two files.
    pub settings: [&'static str; 2],
    /// PEM file of the certificate; its chain may follow it.
    pub certificate: PathBuf,
    /// PEM file of its key, not encrypted.
    pub key: PathBuf,
    /// Who may read the key.
    pub readers: Readers,
}

impl PairFiles {
    /// Reads and checks both files as they are now.
    ///
    /// # Errors
    /// Every fault, not only the first: a file cannot be read or is not PEM, others can read the key, it is not that of
    /// the certificate, or the certificate is out of date at `now`.
    pub fn read(&self, now: SystemTime) -> Result<CertifiedKey, Vec<FileFault>> {
        let (chain, key) = match (self.chain(now), self.private_key()) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
        };
        let [certificate_setting, key_setting] = self.settings;
        let unusable = |what: String| vec![FileFault::new(key_setting, what)];
        let key = ring::sign::any_supported_type(&key).map_err(|_| {
            let what = "is of a kind that is not supported: make an ECDSA (P-256, P-384), Ed25519 or RSA key";
            unusable(what.to_owned())
        })?;
        let pair = CertifiedKey::new(chain, key);
        match pair.keys_match() {
            Ok(()) => Ok(pair),
            Err(_) => {
                let what = format!("has to be the key of {certificate_setting}: give the two that were made together");
                Err(unusable(what))
            }
        }
    }

    fn chain(&self, now: SystemTime) -> Result<Vec<CertificateDer<'static>>, FileFault> {
        let (setting, path) = (self.settings[0], &self.certificate);
        let chain = certificates(setting, path)?;
        // The first one is ours; what follows only helps the other side to find the authority.
        if let Some(own) = chain.first()
            && let Err(dates) = check_dates(setting, path, own, now)?
        {
            let what = format!("{} {dates}: renew it, and check this machine's clock", path.display());
            return Err(FileFault::new(setting, what));
        }
        Ok(chain)
    }

    fn private_key(&self) -> Result<Zeroizing<PrivateKeyDer<'static>>, FileFault> {
        let [certificate_setting, setting] = self.settings;
        refuse_readable_by_others(&self.key, self.readers)
            .map_err(|error| FileFault::new(setting, error.to_string()))?;
        let pem = Zeroizing::new(pem(setting, &self.key)?);
        PrivateKeyDer::from_pem_slice(&pem).map(Zeroizing::new).map_err(|_| {
            let what = "holds no private key in PEM that is not encrypted: give the key of";
            FileFault::new(setting, format!("{} {what} {certificate_setting}", self.key.display()))
        })
    }
}

/// The certificates in a PEM file, at least one.
///
/// # Errors
/// It cannot be read, or one in it is damaged, or there is none.
pub fn certificates(setting: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let pem = pem(setting, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    certificates.ok().filter(|found| !found.is_empty()).ok_or_else(|| no_certificate(setting, path))
}

/// Whether a certificate is in date; if not, since or until when.
///
/// # Errors
/// It is damaged.
pub fn check_dates(
    setting: &'static str,
    path: &Path,
    certificate: &CertificateDer<'_>,
    now: SystemTime,
) -> Result<Result<(), String>, FileFault> {
    let now = i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| no_certificate(setting, path))?;
    let validity = parsed.validity();
    Ok(if now < validity.not_before.timestamp() {
        Err(format!("is not valid before {}", validity.not_before))
    } else if now >= validity.not_after.timestamp() {
        Err(format!("expired on {}", validity.not_after))
    } else {
        Ok(())
    })
}

/// When the first of some certificates ends, Unix seconds; `None` if there is none, or none that can be read.
pub fn ends_at(certificates: &[CertificateDer<'_>]) -> Option<u64> {
    let end = |certificate| {
        let (_, parsed) = parse_x509_certificate(certificate).ok()?;
        u64::try_from(parsed.validity().not_after.timestamp()).ok()
    };
    certificates.iter().filter_map(|certificate| end(certificate)).min()
}

fn pem(setting: &'static str, path: &Path) -> Result<Vec<u8>, FileFault> {
    let shown = path.display();
    let bytes = read_regular(path).map_err(|error| FileFault::new(setting, format!("cannot read {shown}: {error}")))?;
    if bytes.windows(10).any(|window| window == b"-----BEGIN") {
        return Ok(bytes);
    }
    let _wiped = Zeroizing::new(bytes);
    Err(FileFault::new(setting, format!("{shown} is not a PEM file")))
}

fn no_certificate(setting: &'static str, path: &Path) -> FileFault {
    let what = "holds no certificate, or one that is damaged: give a PEM file of certificates";
    FileFault::new(setting, format!("{} {what}", path.display()))
}
