//! TLS as the peers of the service speak it, on the secrets of a Redis.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The name by which everything is reached here.
pub(crate) fn loopback() -> ServerName<'static> {
    ServerName::from(IpAddr::from(Ipv4Addr::LOCALHOST))
}

/// A client with the service's certificate.
pub(crate) fn client(secrets: &Path) -> TlsConnector {
    let (chain, key) = pair(secrets, "stratus");
    let config = ClientConfig::builder().with_root_certificates(authority(secrets));
    TlsConnector::from(Arc::new(config.with_client_auth_cert(chain, key).expect("a pair")))
}

/// A server with Redis' certificate, which wants one of the same authority, as Redis does.
pub(crate) fn server(secrets: &Path, versions: &[&'static SupportedProtocolVersion]) -> TlsAcceptor {
    let clients = WebPkiClientVerifier::builder(Arc::new(authority(secrets))).build().expect("an authority");
    let (chain, key) = pair(secrets, "redis");
    let config = ServerConfig::builder_with_protocol_versions(versions).with_client_cert_verifier(clients);
    TlsAcceptor::from(Arc::new(config.with_single_cert(chain, key).expect("a pair")))
}

fn authority(secrets: &Path) -> RootCertStore {
    let mut authority = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(secrets.join("ca.crt")).expect("a PEM file") {
        authority.add(certificate.expect("a certificate")).expect("an authority");
    }
    authority
}

fn pair(secrets: &Path, name: &str) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = CertificateDer::pem_file_iter(secrets.join(format!("{name}.crt"))).expect("a PEM file");
    let chain = chain.collect::<Result<_, _>>().expect("certificates");
    (chain, PrivateKeyDer::from_pem_file(secrets.join(format!("{name}.key"))).expect("a key"))
}
