//! Who we are to Redis and whom we believe to be Redis: read from files, checked as a whole, then one value.
//!
//! What is refused here would fail at the first handshake, with less to say about it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use secrecy::{ExposeSecret, SecretString};
use x509_parser::parse_x509_certificate;
use zeroize::Zeroizing;

use crate::reload::{Reading, fingerprint, read_regular};
use crate::secret::{Readers, Secret, refuse_readable_by_others};

const CA_FILE: &str = "redis.ca_file";
const CERT_FILE: &str = "redis.cert_file";
const KEY_FILE: &str = "redis.key_file";

/// Where the credentials are kept.
#[derive(Debug, Clone)]
pub struct CredentialFiles {
    /// The password of the ACL user.
    pub password: Secret,
    /// PEM file of the only authorities that are trusted for Redis' certificate.
    pub ca_file: PathBuf,
    /// PEM files of the client certificate (its chain may follow it) and of its key (mutual TLS).
    pub client: Option<(PathBuf, PathBuf)>,
    /// Who may read that key.
    pub readers: Readers,
}

/// Why a file cannot be used. Names the file, never what is in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {what}")]
pub struct CredentialFault {
    /// The configuration key that gives the file.
    pub key: &'static str,
    /// What is wrong and what to do, in one line.
    pub what: String,
}

/// Credentials that fit together and are in date. `Debug` shows nothing of them.
pub struct Credentials {
    pub(super) password: SecretString,
    pub(super) tls: Arc<ClientConfig>,
    authorities: Vec<CertificateDer<'static>>,
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
    pub fn read(files: &CredentialFiles, now: SystemTime) -> Result<Reading<Self>, Vec<CredentialFault>> {
        let now = unix_seconds(now);
        let mut faults = Vec::new();
        let password =
            files.password.read().map_err(|error| faults.push(fault("redis.password_file", error.to_string()))).ok();
        let authorities = authorities(&files.ca_file, now).map_err(|fault| faults.push(fault)).ok();
        let identity = |(certificate, key): &(PathBuf, PathBuf)| identity(certificate, key, files.readers, now);
        let identity = files.client.as_ref().map(identity).transpose();
        let identity = identity.map_err(|found| faults.extend(found)).ok();
        let (Some(password), Some(authorities), Some(identity)) = (password, authorities, identity) else {
            return Err(faults);
        };
        // A certificate has one key, so that need not be told apart.
        let chain = identity.as_ref().map(|identity| identity.cert.as_slice()).unwrap_or_default();
        let certificates = authorities.iter().chain(chain).map(|certificate| certificate.as_ref());
        let fingerprint = fingerprint([password.expose_secret().as_bytes()].into_iter().chain(certificates));
        let tls = Arc::new(client_config(authorities.clone(), identity)?);
        Ok(Reading { value: Self { password, tls, authorities }, fingerprint })
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
) -> Result<ClientConfig, Vec<CredentialFault>> {
    let mut trusted = RootCertStore::empty();
    // They were tried when they were read.
    trusted.add_parsable_certificates(authorities);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| vec![fault(CA_FILE, error.to_string())])?
        .with_root_certificates(trusted);
    Ok(match identity {
        None => config.with_no_client_auth(),
        Some(identity) => config.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(identity))),
    })
}

/// The authorities in date: a TLS library that is given an authority never looks at its dates.
fn authorities(path: &Path, now: i64) -> Result<Vec<CertificateDer<'static>>, CredentialFault> {
    let shown = path.display();
    let mut authorities = Vec::new();
    let mut out_of_date = None;
    for certificate in certificates(CA_FILE, path)? {
        if let Err(dates) = check_dates(CA_FILE, path, &certificate, now)? {
            out_of_date = Some(dates);
        } else {
            let usable = RootCertStore::empty().add(certificate.clone());
            usable.map_err(|_| fault(CA_FILE, format!("{shown} is no authority's certificate")))?;
            authorities.push(certificate);
        }
    }
    match out_of_date {
        Some(dates) if authorities.is_empty() => {
            let fix = "give the certificate of the CA that signs for Redis now, and check this machine's clock";
            Err(fault(CA_FILE, format!("{shown} {dates}: {fix}")))
        }
        _ => Ok(authorities),
    }
}

/// The client certificate with its key.
fn identity(certificate: &Path, key: &Path, readers: Readers, now: i64) -> Result<CertifiedKey, Vec<CredentialFault>> {
    let (chain, key) = match (chain(certificate, now), private_key(key, readers)) {
        (Ok(chain), Ok(key)) => (chain, key),
        (chain, key) => return Err([chain.err(), key.err()].into_iter().flatten().collect()),
    };
    let unusable = |what: &str| vec![fault(KEY_FILE, what)];
    let key = ring::sign::any_supported_type(&key).map_err(|_| {
        unusable("is of a kind that is not supported: make an ECDSA (P-256, P-384), Ed25519 or RSA key")
    })?;
    let identity = CertifiedKey::new(chain, key);
    match identity.keys_match() {
        Ok(()) => Ok(identity),
        Err(_) => Err(unusable("has to be the key of redis.cert_file: give the two that were made together")),
    }
}

fn chain(path: &Path, now: i64) -> Result<Vec<CertificateDer<'static>>, CredentialFault> {
    let chain = certificates(CERT_FILE, path)?;
    // The first one is ours; what follows only helps Redis to find the authority.
    if let Some(own) = chain.first()
        && let Err(dates) = check_dates(CERT_FILE, path, own, now)?
    {
        return Err(fault(CERT_FILE, format!("{} {dates}: renew it, and check this machine's clock", path.display())));
    }
    Ok(chain)
}

fn private_key(path: &Path, readers: Readers) -> Result<Zeroizing<PrivateKeyDer<'static>>, CredentialFault> {
    refuse_readable_by_others(path, readers).map_err(|error| fault(KEY_FILE, error.to_string()))?;
    let pem = Zeroizing::new(pem(KEY_FILE, path)?);
    PrivateKeyDer::from_pem_slice(&pem).map(Zeroizing::new).map_err(|_| {
        let what = "holds no private key in PEM that is not encrypted: give the key of redis.cert_file";
        fault(KEY_FILE, format!("{} {what}", path.display()))
    })
}

/// At least one certificate.
fn certificates(key: &'static str, path: &Path) -> Result<Vec<CertificateDer<'static>>, CredentialFault> {
    let pem = pem(key, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    certificates.ok().filter(|found| !found.is_empty()).ok_or_else(|| no_certificate(key, path))
}

fn pem(key: &'static str, path: &Path) -> Result<Vec<u8>, CredentialFault> {
    let shown = path.display();
    let bytes = read_regular(path).map_err(|error| fault(key, format!("cannot read {shown}: {error}")))?;
    if bytes.windows(10).any(|window| window == b"-----BEGIN") {
        return Ok(bytes);
    }
    let _wiped = Zeroizing::new(bytes);
    Err(fault(key, format!("{shown} is not a PEM file")))
}

/// Whether a certificate is in date; if not, since or until when.
fn check_dates(
    key: &'static str,
    path: &Path,
    certificate: &CertificateDer<'_>,
    now: i64,
) -> Result<Result<(), String>, CredentialFault> {
    let (_, parsed) = parse_x509_certificate(certificate).map_err(|_| no_certificate(key, path))?;
    let validity = parsed.validity();
    Ok(if now < validity.not_before.timestamp() {
        Err(format!("is not valid before {}", validity.not_before))
    } else if now >= validity.not_after.timestamp() {
        Err(format!("expired on {}", validity.not_after))
    } else {
        Ok(())
    })
}

fn no_certificate(key: &'static str, path: &Path) -> CredentialFault {
    fault(
        key,
        format!("{} holds no certificate, or one that is damaged: give a PEM file of certificates", path.display()),
    )
}

fn fault(key: &'static str, what: impl Into<String>) -> CredentialFault {
    CredentialFault { key, what: what.into() }
}

fn unix_seconds(now: SystemTime) -> i64 {
    i64::try_from(now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()).unwrap_or(i64::MAX)
}
