//! What is wrong between Stratus and Redis, in an operator's words: the same words in the log and in `stratus check`.

use std::fmt;
use std::io;

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::privileges;

/// Why Redis cannot be used. Two troubles are equal when an operator would do the same about both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    Unreachable,
    ConnectTimeout,
    CommandTimeout,
    Disconnected,
    NotTls,
    UnknownAuthority,
    WrongHostName,
    CertificateExpired,
    ClientCertificateMissing,
    ClientCertificateRefused,
    OtherTls,
    NotRedis,
    Excess,
    LoginRefused,
    NotAllowed(&'static str),
    TooManyRights,
    RightsNotProved,
    ReadOnly,
    Loading,
    SentinelsAway,
    PrimaryUnknown,
    FailedOver,
    NoCluster,
    InCluster,
    Other,
}

impl Trouble {
    /// What to say and what to do.
    fn texts(self) -> (&'static str, &'static str) {
        match self {
            Self::Unreachable => ("cannot be reached", "start it, or correct redis.url or redis.nodes"),
            Self::ConnectTimeout => (
                "does not answer a connection in time",
                "does redis.url name its tls-port? is it overloaded, or behind a firewall? see redis.connect_timeout_ms",
            ),
            Self::CommandTimeout => {
                ("does not answer a command in time", "is it overloaded? see redis.command_timeout_ms")
            }
            Self::Disconnected => ("closed the connection", "see its log"),
            Self::NotTls => ("does not speak TLS on this port", "point redis.url at its tls-port"),
            Self::UnknownAuthority => (
                "has a certificate from another authority",
                "redis.ca_file has to be the CA that signed its tls-cert-file",
            ),
            Self::WrongHostName => (
                "has a certificate for another host name",
                "use a name from the certificate in redis.url, or make one with `stratus init --host NAME`",
            ),
            Self::CertificateExpired => {
                ("has a certificate that is expired or not yet valid", "renew it, and check this machine's clock")
            }
            Self::ClientCertificateMissing => ("wants a client certificate", "set redis.cert_file and redis.key_file"),
            Self::ClientCertificateRefused => (
                "refuses our client certificate",
                "redis.cert_file has to be signed by its tls-ca-cert-file and in date",
            ),
            Self::OtherTls => ("failed the TLS handshake", "see its log"),
            Self::NotRedis => (
                "sends what no Redis sends",
                "does redis.url name a Redis, with nothing in between that changes bytes?",
            ),
            Self::Excess => (
                "sends more than was asked for",
                "is it yours? it has to be a Redis that only Stratus writes to; upstream.max_body_bytes is the longest body",
            ),
            Self::LoginRefused => {
                ("refuses the login", "redis.username and redis.password_file have to match its ACL file")
            }
            Self::NotAllowed(command) => not_allowed(command),
            Self::TooManyRights => {
                ("allows the user more than is used, which redis.require_least_privilege forbids", privileges::FIX)
            }
            Self::RightsNotProved => {
                ("does not let the user ask for its rights, which redis.require_least_privilege wants", privileges::FIX)
            }
            Self::ReadOnly => ("is a read-only replica", "point redis.url at the primary"),
            Self::Loading => ("is still loading its data", "wait"),
            Self::SentinelsAway => {
                ("has no Sentinel that answers", "the log has a line for each of redis.nodes; so has `stratus check`")
            }
            Self::PrimaryUnknown => {
                ("has Sentinels that know no such primary", "redis.sentinel_master has to be the name in sentinel.conf")
            }
            Self::NoCluster => (
                "is no node of a Redis Cluster",
                "set redis.topology to what it is, or `cluster-enabled yes` in its configuration",
            ),
            Self::InCluster => (
                "is a node of a Redis Cluster",
                "set redis.topology = \"cluster\" and redis.nodes, or name a Redis that has all keys",
            ),
            Self::FailedOver => ("has another primary now", "nothing: it is being connected to"),
            Self::Other => ("answers with an error", "see its log, or run `stratus check`"),
        }
    }

    /// What to say of whoever it is.
    pub(super) fn what(self) -> &'static str {
        self.texts().0
    }

    /// What to do about it.
    pub(super) fn fix(self) -> &'static str {
        self.texts().1
    }

    /// Sorts an error of the client library.
    pub(super) fn of(error: &RedisError) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => return Self::LoginRefused,
            ErrorKind::Server(ServerErrorKind::NoPerm) => return Self::NotAllowed(""),
            ErrorKind::Server(ServerErrorKind::ReadOnly) => return Self::ReadOnly,
            ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::MasterDown) => return Self::Loading,
            _ => {}
        }
        if matches!(error.code(), Some("WRONGPASS" | "NOAUTH")) {
            return Self::LoginRefused;
        }
        if error.is_timeout() {
            return Self::CommandTimeout;
        }
        // A refusal counts as dropped for the client library.
        if error.is_connection_dropped() && !error.is_connection_refusal() {
            return Self::Disconnected;
        }
        // What else can go wrong on the way: a name without an address, a network without a route.
        if error.is_io_error() { Self::Unreachable } else { Self::Other }
    }

    /// The same, with the name of the command that was not allowed.
    pub(super) fn with(self, command: &'static str) -> Self {
        if let Self::NotAllowed(_) = self { Self::NotAllowed(command) } else { self }
    }

    /// Sorts an error of the connection, be it of the network or of TLS.
    pub(super) fn of_io(error: &io::Error) -> Self {
        use io::ErrorKind as Kind;
        if let Some(error) = error.get_ref().and_then(|error| error.downcast_ref()) {
            return Self::of_tls(error);
        }
        match error.kind() {
            Kind::BrokenPipe | Kind::ConnectionReset | Kind::ConnectionAborted | Kind::UnexpectedEof => {
                Self::Disconnected
            }
            // The system's own, from a peer that acknowledges nothing.
            Kind::TimedOut => Self::CommandTimeout,
            // What else can go wrong on the way: a name without an address, a network without a route.
            _ => Self::Unreachable,
        }
    }

    fn of_tls(error: &rustls::Error) -> Self {
        use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error};
        match error {
            Error::InvalidCertificate(Certificate::NotValidForName | Certificate::NotValidForNameContext { .. }) => {
                Self::WrongHostName
            }
            Error::InvalidCertificate(
                Certificate::Expired
                | Certificate::ExpiredContext { .. }
                | Certificate::NotValidYet
                | Certificate::NotValidYetContext { .. },
            ) => Self::CertificateExpired,
            Error::InvalidCertificate(Certificate::UnknownIssuer | Certificate::BadSignature) => Self::UnknownAuthority,
            Error::AlertReceived(Alert::CertificateRequired) => Self::ClientCertificateMissing,
            Error::AlertReceived(
                Alert::UnknownCA | Alert::BadCertificate | Alert::CertificateExpired | Alert::CertificateUnknown,
            ) => Self::ClientCertificateRefused,
            Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::OtherTls,
        }
    }
}

/// What to say and what to do where the user may not run a command.
fn not_allowed(command: &str) -> (&'static str, &'static str) {
    match command {
        "GET" => ("does not allow the user GET", "its ACL needs +get on ~stratus:*"),
        "SET" => ("does not allow the user SET", "its ACL needs +set on ~stratus:*"),
        "UNLINK" => ("does not allow the user UNLINK", "its ACL needs +unlink on ~stratus:*"),
        "INCRBY" => ("does not allow the user INCRBY", "its ACL needs +incrby on ~stratus:*"),
        "SENTINEL" => (
            "does not allow the user SENTINEL GET-MASTER-ADDR-BY-NAME",
            "the Sentinels' own ACL needs +sentinel|get-master-addr-by-name",
        ),
        "CLUSTER SLOTS" => ("does not allow the user CLUSTER SLOTS", "its ACL needs +cluster|slots +asking"),
        "ASKING" => ("does not allow the user ASKING", "its ACL needs +cluster|slots +asking"),
        _ => ("does not allow the user a command", "its ACL needs +get +set +unlink +incrby on ~stratus:*"),
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Redis {}", self.texts().0)
    }
}
