//! The wire to Redis with TLS taken away: ends it as Redis would, writes down what was in it, and talks TLS to the real one.
//! Whoever holds Redis' own private key can do this.

use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::harness::Redis;
use crate::harness::proxy::{Door, locked};

/// Its port, and what has passed.
pub(super) struct OpenedWire {
    door: Door,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl OpenedWire {
    pub(super) fn start(redis: &Redis) -> Self {
        let certificates = |name: &str| {
            let pem = CertificateDer::pem_file_iter(redis.secret(name)).expect("certificates");
            pem.map(|certificate| certificate.expect("a certificate")).collect::<Vec<_>>()
        };
        let key = |name: &str| PrivateKeyDer::from_pem_file(redis.secret(name)).expect("a key");
        let mut roots = RootCertStore::empty();
        certificates("ca.crt").into_iter().for_each(|root| roots.add(root).expect("an authority"));
        let (server, client) = (ServerConfig::builder().with_no_client_auth(), ClientConfig::builder());
        let server = server.with_single_cert(certificates("redis.crt"), key("redis.key")).expect("Redis' certificate");
        let client = client.with_root_certificates(roots);
        let client = client.with_client_auth_cert(certificates("stratus.crt"), key("stratus.key")).expect("ours");
        let (acceptor, connector) = (TlsAcceptor::from(Arc::new(server)), TlsConnector::from(Arc::new(client)));

        let (seen, port) = (Arc::new(Mutex::new(Vec::new())), redis.server.port());
        let noted = Arc::clone(&seen);
        let door = Door::open(move |stream| {
            let (acceptor, connector, seen) = (acceptor.clone(), connector.clone(), Arc::clone(&noted));
            Box::pin(async move {
                // An error concerns one connection, whose client will notice.
                let _ = forward(stream, port, &acceptor, &connector, &seen).await;
            })
        });
        Self { door, seen }
    }

    pub(super) fn port(&self) -> u16 {
        self.door.port()
    }

    /// Everything that passed, both ways.
    pub(super) fn bytes_seen(&self) -> Vec<u8> {
        locked(&self.seen).clone()
    }
}

async fn forward(
    stream: TcpStream,
    port: u16,
    acceptor: &TlsAcceptor,
    connector: &TlsConnector,
    seen: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let (from_client, to_client) = split(acceptor.accept(stream).await?);
    let redis = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await?;
    let name = ServerName::try_from("localhost").expect("a name");
    let (from_redis, to_redis) = split(connector.connect(name, redis).await?);
    tokio::try_join!(pump(from_client, to_redis, seen), pump(from_redis, to_client, seen)).map(drop)
}

async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    seen: &Mutex<Vec<u8>>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        locked(seen).extend_from_slice(&buffer[..read]);
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
    }
}
