//! The private CA and the certificates it signs (X.509 profile: RFC 5280).

use std::net::IpAddr;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::pki_types::DnsName;
use time::{Duration, OffsetDateTime};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

use super::{Error, files};

/// Ten years: replacing the CA means touching every peer.
const CA_LIFETIME: Duration = Duration::days(3653);
/// The longest that Apple's platforms accept for a certificate of a private CA
/// (<https://support.apple.com/en-us/103769>).
const LEAF_LIFETIME: Duration = Duration::days(825);
/// A certificate is valid from a little before it was made, for peers whose clock is behind.
const CLOCK_SKEW: Duration = Duration::hours(1);
/// The names under which servers are reached on one machine and in a compose or Kubernetes network.
const SERVER_NAMES: [&str; 5] = ["localhost", "127.0.0.1", "::1", "redis", "stratus"];

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    RedisServer,
    RedisClient,
    HttpsServer,
}

/// A certificate and its private key (PKCS #8), both in PEM with a newline at the end.
pub(super) struct Pair {
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

impl Pair {
    fn new(certificate: &rcgen::Certificate, key: &KeyPair) -> Self {
        Self { certificate: certificate.pem(), key: Zeroizing::new(key.serialize_pem()) }
    }
}

/// A CA that can sign.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    not_after: OffsetDateTime,
}

impl Authority {
    /// Makes a new CA. It may sign leaves only (path length 0, RFC 5280 section 4.2.1.9).
    pub(super) fn create(now: OffsetDateTime) -> Result<(Self, Pair), rcgen::Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Stratus CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.not_before = now - CLOCK_SKEW;
        params.not_after = params.not_before + CA_LIFETIME;
        let not_after = params.not_after;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let pair = Pair::new(&params.self_signed(&key)?, &key);
        Ok((Self { issuer: Issuer::new(params, key), not_after }, pair))
    }

    /// Loads a CA that is kept. rcgen would sign with any key for any certificate, and such certificates would only
    /// fail at the first handshake, so what has to hold is checked here.
    pub(super) fn load(certificate_file: &Path, key_file: &Path, now: OffsetDateTime) -> Result<Self, Error> {
        let unusable = |path: &Path, reason| Error::Unusable { path: path.to_owned(), reason };
        let pem = files::read(certificate_file)?;
        let (_, block) = parse_x509_pem(pem.as_bytes())
            .map_err(|_| unusable(certificate_file, "is not a certificate in PEM: restore it"))?;
        let parsed = block
            .parse_x509()
            .map_err(|_| unusable(certificate_file, "does not hold an X.509 certificate: restore it"))?;
        if !may_sign(&parsed) {
            return Err(unusable(certificate_file, "is not a CA certificate: put the CA that signs for Redis here"));
        }
        let not_after = parsed.validity().not_after.to_datetime();
        if not_after <= now {
            let reason = "has expired: move it, its key and the certificates it signed away to have all made anew";
            return Err(unusable(certificate_file, reason));
        }
        let key = KeyPair::from_pem(&files::read(key_file)?)
            .map_err(|_| unusable(key_file, "is not a private key in PEM (PKCS #8, not encrypted): restore it"))?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(unusable(key_file, "does not belong to the certificate beside it: restore the one that does"));
        }
        let issuer = Issuer::from_ca_cert_der(&block.contents.as_slice().into(), key)
            .map_err(|_| unusable(certificate_file, "has a form that cannot be signed with: restore the original"))?;
        Ok(Self { issuer, not_after })
    }

    /// Signs a new certificate for a new key. Server certificates carry `names`.
    pub(super) fn issue(&self, role: Role, names: &[SanType], now: OffsetDateTime) -> Result<Pair, rcgen::Error> {
        let mut params = CertificateParams::default();
        let (name, usages) = match role {
            // A replica shows the certificate of its server to the primary, as a client (tls-replication).
            Role::RedisServer => {
                ("redis", vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth])
            }
            Role::RedisClient => ("stratus", vec![ExtendedKeyUsagePurpose::ClientAuth]),
            Role::HttpsServer => ("stratus https", vec![ExtendedKeyUsagePurpose::ServerAuth]),
        };
        if role != Role::RedisClient {
            params.subject_alt_names = names.to_vec();
        }
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages;
        params.use_authority_key_identifier_extension = true;
        params.not_before = now - CLOCK_SKEW;
        // Past the end of its CA a certificate is worth nothing, so it does not claim more.
        params.not_after = (params.not_before + LEAF_LIFETIME).min(self.not_after);
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        Ok(Pair::new(&params.signed_by(&key, &self.issuer)?, &key))
    }
}

/// The subject alternative names of server certificates: the fixed ones, then `hosts` without duplicates.
pub(super) fn server_names(hosts: &[String]) -> Result<Vec<SanType>, Error> {
    let mut names = Vec::new();
    for host in SERVER_NAMES.into_iter().chain(hosts.iter().map(String::as_str)) {
        let name = server_name(host).ok_or_else(|| Error::BadHost { host: host.to_owned() })?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok(names)
}

fn server_name(host: &str) -> Option<SanType> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(SanType::IpAddress(address));
    }
    // DnsName is what clients parse; it takes a final dot, which does not belong in a certificate (RFC 5280 4.2.1.6).
    let name = DnsName::try_from(host).ok().filter(|_| !host.ends_with('.'))?;
    Some(SanType::DnsName(name.as_ref().to_ascii_lowercase().try_into().ok()?))
}

fn may_sign(certificate: &X509Certificate<'_>) -> bool {
    // Without the extension every use is allowed (RFC 5280 section 4.2.1.3).
    let usage = certificate.key_usage().ok().flatten().is_none_or(|usage| usage.value.key_cert_sign());
    certificate.is_ca() && usage
}

fn common_name(name: &str) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    subject
}
