//! Who we are to Redis and whom we believe to be Redis: read from files, checked as a whole, then one value.
//!
//! What is refused here would fail at the first handshake, with less to say about it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rustls::crypto::ring;
use rustls::pki_types::CertificateDer;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};

use crate::certificate::{FileFault, PairFiles, certificates, check_dates, ends_at};
use crate::reload::{Reading, fingerprint};
use crate::secret::Secret;
use crate::telemetry::CertificateReport;

const CA_FILE: &str = "redis.ca_file";

/// Where the credentials are kept.
#[derive(Debug, Clone)]
pub struct CredentialFiles {
    /// The password of the ACL user.
    pub password: Secret,
    /// PEM file of the only authorities that are trusted for Redis' certificate.
    pub ca_file: PathBuf,
    /// The client certificate and its key (mutual TLS).
    pub client: Option<PairFiles>,
}

/// Credentials that fit together and are in date. `Debug` shows nothing of them.
pub struct Credentials {
    pub(super) password: SecretString,
    pub(super) tls: Arc<ClientConfig>,
    authorities: Vec<CertificateDer<'static>>,
    /// When our own certificate ends, Unix seconds.
    client_ends_at: Option<u64>,
    /// The same of the certificate that Redis showed last; 0 if it has not shown one yet.
    server_ends_at: AtomicU64,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    /// Reads and checks all files as they are now.
    ///
    /// # Errors
    /// Every fault, not only the first: a file cannot be read or is not PEM, others can read the key, the key is not
    /// that of the certificate, the client certificate is out of date at `now`, or every certificate of the authority is.
    pub fn read(files: &CredentialFiles, now: SystemTime) -> Result<Reading<Self>, Vec<FileFault>> {
        let mut faults = Vec::new();
        let password = files
            .password
            .read()
            .map_err(|error| faults.push(FileFault::new("redis.password_file", error.to_string())))
            .ok();
        let authorities = authorities(&files.ca_file, now).map_err(|fault| faults.push(fault)).ok();
        let identity = files.client.as_ref().map(|pair| pair.read(now)).transpose();
        let identity = identity.map_err(|found| faults.extend(found)).ok();
        let (Some(password), Some(authorities), Some(identity)) = (password, authorities, identity) else {
            return Err(faults);
        };
        // A certificate has one key, so that need not be told apart.
        let chain = identity.as_ref().map(|identity| identity.cert.as_slice()).unwrap_or_default();
        let certificates = authorities.iter().chain(chain).map(|certificate| certificate.as_ref());
        let fingerprint = fingerprint([password.expose_secret().as_bytes()].into_iter().chain(certificates));
        let client_ends_at = ends_at(chain.get(..1).unwrap_or_default());
        let tls = Arc::new(client_config(authorities.clone(), identity)?);
        let server_ends_at = AtomicU64::default();
        Ok(Reading { value: Self { password, tls, authorities, client_ends_at, server_ends_at }, fingerprint })
    }

    /// Redis has shown this certificate, with those of its authorities after it.
    pub(super) fn note_server(&self, shown: &[CertificateDer<'_>]) {
        if let Some(end) = ends_at(shown.get(..1).unwrap_or_default()) {
            self.server_ends_at.store(end, Ordering::Relaxed);
        }
    }

    /// When the certificates end that connections to Redis need.
    pub fn certificates(&self) -> Vec<CertificateReport> {
        let server = Some(self.server_ends_at.load(Ordering::Relaxed)).filter(|end| *end > 0);
        [
            ("redis_client", self.client_ends_at),
            ("redis_authority", ends_at(&self.authorities)),
            ("redis_server", server),
        ]
        .into_iter()
        .filter_map(|(name, end)| Some(CertificateReport { name, ends_at_secs: end? }))
        .collect()
    }

    /// Whether whoever `other` takes for Redis may be taken for Redis with these, too.
    pub(super) fn trust_as_much_as(&self, other: &Self) -> bool {
        other.authorities.iter().all(|authority| self.authorities.contains(authority))
    }
}

/// TLS 1.3, or 1.2 with a Redis on an older library. The only authorities are those given.
fn client_config(
    authorities: Vec<CertificateDer<'static>>,
    identity: Option<CertifiedKey>,
) -> Result<ClientConfig, Vec<FileFault>> {
    let mut trusted = RootCertStore::empty();
    // They were tried when they were read.
    trusted.add_parsable_certificates(authorities);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| vec![FileFault::new(CA_FILE, error.to_string())])?
        .with_root_certificates(trusted);
    Ok(match identity {
        None => config.with_no_client_auth(),
        Some(identity) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
    })
}

/// The authorities in date: a TLS library that is given an authority never looks at its dates.
fn authorities(path: &Path, now: SystemTime) -> Result<Vec<CertificateDer<'static>>, FileFault> {
    let shown = path.display();
    let mut authorities = Vec::new();
    let mut out_of_date = None;
    for certificate in certificates(CA_FILE, path)? {
        if let Err(dates) = check_dates(CA_FILE, path, &certificate, now)? {
            out_of_date = Some(dates);
        } else {
            let usable = RootCertStore::empty().add(certificate.clone());
            usable.map_err(|_| FileFault::new(CA_FILE, format!("{shown} is no authority's certificate")))?;
            authorities.push(certificate);
        }
    }
    match out_of_date {
        Some(dates) if authorities.is_empty() => {
            let fix = "give the certificate of the CA that signs for Redis now, and check this machine's clock";
            Err(FileFault::new(CA_FILE, format!("{shown} {dates}: {fix}")))
        }
        _ => Ok(authorities),
    }
}
