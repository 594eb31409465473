//! What a Redis server does with the generated files and the shipped `redis.conf`: whom it lets in, and to do what.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, ErrorKind, RedisConnectionInfo, RedisResult, ServerErrorKind, Value, cmd};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::demo::redis_server::RedisServer;
use crate::provision;

async fn server() -> (tempfile::TempDir, RedisServer) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    provision::init(&dir.path().join("secrets"), None, &[]).unwrap();
    let server = RedisServer::start(dir.path(), 0).await.unwrap();
    (dir, server)
}

/// Somebody who connects with the certificate of that name (or none), and logs in as `stratus` or not at all.
struct Peer {
    secrets: PathBuf,
    port: u16,
    certificate: Option<&'static str>,
    login: bool,
}

fn client(dir: &Path, server: &RedisServer, certificate: Option<&'static str>, login: bool) -> Peer {
    Peer { secrets: dir.join("secrets"), port: server.port(), certificate, login }
}

impl Peer {
    fn tls(&self) -> ClientConfig {
        let file = |name: &str| self.secrets.join(name);
        let mut authority = RootCertStore::empty();
        authority.add(CertificateDer::from_pem_file(file("ca.crt")).unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(authority);
        let Some(name) = self.certificate else { return config.with_no_client_auth() };
        let certificate = CertificateDer::from_pem_file(file(&format!("{name}.crt"))).unwrap();
        let key = PrivateKeyDer::from_pem_file(file(&format!("{name}.key"))).unwrap();
        config.with_client_auth_cert(vec![certificate], key).unwrap()
    }
}

async fn run(peer: &Peer, words: &[&str]) -> RedisResult<Value> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, peer.port)).await?;
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TlsConnector::from(Arc::new(peer.tls())).connect(name, stream).await?;
    let mut settings = RedisConnectionInfo::default().set_skip_set_lib_name();
    if peer.login {
        let password = std::fs::read_to_string(peer.secrets.join("redis-password")).unwrap();
        settings = settings.set_username("stratus").set_password(password.trim_end());
    }
    let (mut connection, driver) =
        MultiplexedConnection::new_with_config(&settings, stream, AsyncConnectionConfig::new()).await?;
    // It ends with the connection.
    tokio::spawn(driver);
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    command.query_async(&mut connection).await
}

#[tokio::test]
async fn the_user_may_do_its_commands_on_its_keys_and_nothing_else() {
    let (dir, server) = server().await;
    let stratus = client(dir.path(), &server, Some("stratus"), true);

    run(&stratus, &["SET", "stratus:a", "1", "PX", "60000"]).await.unwrap();
    assert_eq!(run(&stratus, &["GET", "stratus:a"]).await.unwrap(), Value::BulkString(b"1".to_vec()));
    assert_eq!(run(&stratus, &["UNLINK", "stratus:a"]).await.unwrap(), Value::Int(1));
    assert_eq!(run(&stratus, &["INCRBY", "stratus:n", "3"]).await.unwrap(), Value::Int(3));

    let refused = "PING|KEYS *|SCAN 0|FLUSHALL|CONFIG GET requirepass|CONFIG SET dir /tmp|EVAL return(1) 0|ACL LIST|INFO|\
        MONITOR|REPLICAOF localhost 1|SHUTDOWN NOSAVE|SUBSCRIBE stratus:a|CLIENT LIST|MODULE LIST|\
        DEL stratus:a|GET other:a|SET other:a 1|UNLINK other:a|INCRBY other:n 1";
    for line in refused.split('|') {
        let words: Vec<&str> = line.split(' ').collect();
        let error = run(&stratus, &words).await.expect_err(line);
        assert_eq!(error.kind(), ErrorKind::Server(ServerErrorKind::NoPerm), "{line}: {error}");
    }
    // Off for everyone, which Redis looks at before it looks at the user.
    let error = run(&stratus, &["DEBUG", "SLEEP", "0"]).await.unwrap_err();
    assert!(error.to_string().contains("DEBUG command not allowed"), "{error}");
}

#[tokio::test]
async fn strangers_are_refused() {
    let (dir, server) = server().await;

    let nobody = client(dir.path(), &server, Some("stratus"), false);
    let error = run(&nobody, &["PING"]).await.unwrap_err();
    assert!(error.to_string().contains("Authentication required"), "{error}");

    // The password alone is not enough, nor is a certificate of another purpose or another CA.
    run(&client(dir.path(), &server, None, true), &["PING"]).await.unwrap_err();
    run(&client(dir.path(), &server, Some("https"), true), &["PING"]).await.unwrap_err();
    let other = tempfile::tempdir().unwrap();
    let secrets = other.path().join("secrets");
    provision::init(&secrets, None, &[]).unwrap();
    for shared in ["ca.crt", "redis-password"] {
        std::fs::copy(dir.path().join("secrets").join(shared), secrets.join(shared)).unwrap();
    }
    run(&client(other.path(), &server, Some("stratus"), true), &["PING"]).await.unwrap_err();
    let plain = Client::open(format!("redis://127.0.0.1:{}", server.port())).unwrap();
    assert!(plain.get_multiplexed_async_connection().await.is_err());

    // The test would pass against a dead server, too.
    run(&client(dir.path(), &server, Some("stratus"), true), &["GET", "stratus:a"]).await.unwrap();
}
