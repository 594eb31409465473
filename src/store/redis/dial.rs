//! One connection to Redis: TCP, TLS with nobody but the configured authority, a bound on what comes in, the login.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
#[cfg(target_os = "linux")]
use std::time::Duration;

use futures_util::future::select_ok;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo};
use rustls::pki_types::ServerName;
use secrecy::ExposeSecret;
use socket2::SockRef;
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::RedisConfig;
use super::bounded::{Bounded, Wrong};
use super::credentials::Credentials;
use super::node::Node;
use super::trouble::Trouble;

/// Unacknowledged data older than this means a dead peer (Linux `TCP_USER_TIMEOUT`), which timeouts alone do not find.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(3);
/// Commands in the client library's queue; larger writes are batched better.
const PIPELINE_COMMANDS: usize = 1024;

/// Who to be in Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Login {
    /// The configured user.
    Configured,
    /// Nobody: to see whether that is refused.
    None,
}

/// A connection. It is closed when this is dropped.
pub(super) struct Connection {
    pub(super) commands: MultiplexedConnection,
    closed: CancellationToken,
    wrong: Wrong,
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Waits until it cannot be used any more, and tells why.
    pub(super) async fn closed(&self) -> Trouble {
        self.closed.cancelled().await;
        self.trouble().unwrap_or(Trouble::Disconnected)
    }

    /// What went wrong with the connection itself, if anything did: it says more than the error of a command.
    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.wrong.trouble()
    }
}

/// Dials a Redis or a Sentinel and logs in. The caller limits the time.
pub(super) async fn dial(
    config: &RedisConfig,
    node: &Node,
    credentials: &Credentials,
    login: Login,
) -> Result<Connection, Trouble> {
    let host = node.host.as_str();
    let addresses = lookup_host((host, node.port)).await.map_err(|error| Trouble::of_io(&error))?;
    let handshakes: Vec<_> = addresses.map(|address| Box::pin(handshake(host, address, credentials))).collect();
    if handshakes.is_empty() {
        return Err(Trouble::Unreachable);
    }
    let (stream, _slower) = select_ok(handshakes).await.map_err(|error| match Trouble::of_io(&error) {
        Trouble::CommandTimeout => Trouble::ConnectTimeout,
        trouble => trouble,
    })?;
    let stream = Bounded::new(stream, config.longest_value);
    let wrong = stream.wrong();

    let closed = CancellationToken::new();
    let closing = closed.clone();
    let settings = AsyncConnectionConfig::new()
        // The caller and the link limit the time.
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(PIPELINE_COMMANDS)
        // Redis has nothing to say unasked, so whatever it pushes is not kept.
        .set_push_sender(move |push: PushInfo| {
            if push.kind == PushKind::Disconnection {
                closing.cancel();
            }
            Ok::<_, std::convert::Infallible>(())
        });
    let login = login_settings(config, credentials, login);
    let (commands, driver) = MultiplexedConnection::new_with_config(&login, stream, settings)
        .await
        .map_err(|error| wrong.trouble().unwrap_or_else(|| Trouble::of(&error)))?;
    // However the driver ends, there is no connection after it.
    let ending = closed.clone().drop_guard();
    let _driver = AbortOnDropHandle::new(tokio::spawn(async move {
        let _ending = ending;
        driver.await;
    }));
    Ok(Connection { commands, closed, wrong, _driver })
}

fn login_settings(config: &RedisConfig, credentials: &Credentials, login: Login) -> RedisConnectionInfo {
    // Otherwise the library names itself to Redis by a command that the user is not allowed to run.
    let settings = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP3).set_skip_set_lib_name();
    match login {
        Login::Configured => settings.set_username(&config.username).set_password(credentials.password.expose_secret()),
        Login::None => settings,
    }
}

async fn handshake(host: &str, address: SocketAddr, credentials: &Credentials) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(&stream).set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(Arc::clone(&credentials.tls)).connect(name, stream).await?;
    credentials.note_server(stream.get_ref().1.peer_certificates().unwrap_or_default());
    Ok(stream)
}
