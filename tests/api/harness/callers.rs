//! Callers of a kind that no client library plays: over TLS as they like it, over HTTP/2 with a hand on every frame.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::http::{HeaderMap, Request, StatusCode};
use h2::client::SendRequest;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::tls::loopback;
use super::{PATIENCE, Setup};

/// What `stratus init` makes, for a service with HTTPS.
pub(crate) struct HttpsFiles(TempDir);

impl HttpsFiles {
    pub(crate) fn make() -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        stratus::provision::init(&dir.path().join("secrets"), None, &[]).expect("secrets");
        Self(dir)
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.0.path().join("secrets")
    }

    /// The same service with HTTPS.
    pub(crate) fn on(&self, setup: Setup) -> Setup {
        let file = |name: &str| self.dir().join(name).display().to_string();
        setup.set("server.tls_cert_file", file("https.crt")).set("server.tls_key_file", file("https.key"))
    }

    /// A caller that trusts the authority, and speaks these versions of TLS and these protocols in them.
    pub(crate) fn caller(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_protocol_versions(versions).with_root_certificates(roots(&self.dir()));
        let mut config = config.with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }

    /// The usual caller, in HTTP/2.
    pub(crate) fn h2_caller(&self) -> Arc<ClientConfig> {
        self.caller(rustls::DEFAULT_VERSIONS, &[b"h2"])
    }

    /// The usual caller, in HTTP/1.1.
    pub(crate) fn h1_caller(&self) -> Arc<ClientConfig> {
        self.caller(rustls::DEFAULT_VERSIONS, &[b"http/1.1"])
    }
}

fn roots(secrets: &Path) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(secrets.join("ca.crt")).expect("a PEM file") {
        roots.add(certificate.expect("a certificate")).expect("an authority");
    }
    roots
}

/// A connection with TLS.
pub(crate) async fn shake(address: SocketAddr, caller: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let stream = timeout(PATIENCE, TcpStream::connect(address)).await.expect("a connection in time")?;
    shake_on(stream, caller).await
}

/// TLS on a connection that is there.
pub(crate) async fn shake_on(stream: TcpStream, caller: &Arc<ClientConfig>) -> io::Result<TlsStream<TcpStream>> {
    let shaken = TlsConnector::from(Arc::clone(caller)).connect(loopback(), stream);
    timeout(PATIENCE, shaken).await.expect("a handshake in time")
}

/// Asks once over HTTP/1.1, on a connection that stays, and gives the head and the body in one.
pub(crate) async fn ask_h1(stream: &mut TlsStream<TcpStream>, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it is taken");
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"}") {
        let read = timeout(PATIENCE, stream.read_buf(&mut bytes)).await.expect("an answer in time").expect("an answer");
        assert!(read > 0, "closed after {:?}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A connection of HTTP/2, driven by a task until it ends.
pub(crate) async fn h2(stream: TlsStream<TcpStream>, builder: &h2::client::Builder) -> SendRequest<bytes::Bytes> {
    let (send, connection) = timeout(PATIENCE, builder.handshake(stream)).await.expect("in time").expect("HTTP/2");
    // How it ends is for the streams to tell.
    tokio::spawn(async move { connection.await.ok() });
    send
}

/// An answer over HTTP/2.
#[derive(Debug)]
pub(crate) struct H2Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// Asks once over HTTP/2.
pub(crate) async fn ask_h2(send: &SendRequest<bytes::Bytes>, path: &str) -> Result<H2Answer, h2::Error> {
    let asked = async {
        let request = Request::get(format!("https://127.0.0.1{path}")).body(()).expect("a request");
        let (response, _) = send.clone().ready().await?.send_request(request, true)?;
        let (parts, mut stream) = response.await?.into_parts();
        let mut body = Vec::new();
        while let Some(chunk) = stream.data().await {
            let chunk = chunk?;
            stream.flow_control().release_capacity(chunk.len())?;
            body.extend_from_slice(&chunk);
        }
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok(H2Answer { status: parts.status, headers: parts.headers, body })
    };
    timeout(PATIENCE, asked).await.expect("an answer in time")
}

/// A frame of HTTP/2 (RFC 9113, section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What a client begins with: the preface and its settings, here none.
pub(crate) fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".as_slice(), &frame(4, 0, 0, &[])].concat()
}

/// The head of a GET in HPACK (RFC 7541), without a dynamic table.
pub(crate) fn head(path: &str) -> Vec<u8> {
    let literal = |name: u8, value: &str| {
        let length = u8::try_from(value.len()).expect("a short value");
        [&[name, length], value.as_bytes()].concat()
    };
    // GET, https, :path and :authority of the static table.
    [vec![0x82, 0x87], literal(0x04, path), literal(0x01, "test")].concat()
}
