//! Sockets that the service manager has opened for the program (systemd.socket(5)): they stay open when the program ends, so
//! that who connects while it is restarted waits a moment instead of being refused.

use std::io;
use std::net::TcpListener;

use listenfd::ListenFd;
use socket2::SockRef;

/// The names under which sockets are given.
const PUBLIC: &str = "public";
const ADMIN: &str = "admin";

/// Listening sockets that were there before the program; each takes the place of an address of the configuration.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For apps, instead of `server.listen`.
    pub public: Option<TcpListener>,
    /// For operators, instead of `admin.listen`.
    pub admin: Option<TcpListener>,
}

/// Why sockets of the service manager cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InheritedError {
    /// What the environment says is not what sd_listen_fds(3) says.
    #[error("LISTEN_FDS, LISTEN_PID or LISTEN_FDNAMES do not fit the sockets that are there: {0}")]
    Environment(io::Error),
    /// More than two.
    #[error("the service manager gives {0} sockets, and there is use for two: `public` and `admin`")]
    TooMany(usize),
    /// A name that says nothing.
    #[error(
        "the service manager gives a socket named {0:?}: set FileDescriptorName= to `public` or `admin`, or give both of one \
         name, that for apps first"
    )]
    UnknownName(String),
    /// A name that comes twice.
    #[error("the service manager gives two sockets named `{0}`: one of them is to be `public` and one `admin`")]
    Twice(&'static str),
    /// Something that no connection comes from.
    #[error(
        "what the service manager gives as `{0}` is no TCP socket that listens: use ListenStream= with an address or a port"
    )]
    NotListening(&'static str),
}

/// Takes the sockets that the service manager has opened for this process; none is the usual case. To be called once, and
/// before there are other threads, since it takes what it has read out of the environment.
///
/// # Errors
/// See [`InheritedError`].
pub fn inherited() -> Result<Inherited, InheritedError> {
    // Strict about whom they are for, and whether they are there.
    if sd_notify::listen_fds().map_err(InheritedError::Environment)?.len() == 0 {
        return Ok(Inherited::default());
    }
    let names = sd_notify::listen_fds_with_names().map_err(InheritedError::Environment)?;
    let names: Vec<_> = names.map(|(_, name)| name).collect();
    let mut sockets = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for (index, role) in roles(&names)?.into_iter().enumerate() {
        let socket = sockets.take_tcp_listener(index).ok().flatten().filter(is_listening);
        let socket = Some(socket.ok_or(InheritedError::NotListening(role))?);
        if role == PUBLIC {
            inherited.public = socket;
        } else {
            inherited.admin = socket;
        }
    }
    Ok(inherited)
}

fn is_listening(socket: &TcpListener) -> bool {
    SockRef::from(socket).is_listener().unwrap_or(false)
}

/// What each socket is for: by its name, or if one unit opened both and gave them one name, by their order.
fn roles(names: &[String]) -> Result<Vec<&'static str>, InheritedError> {
    let by_name = |name: &String| [PUBLIC, ADMIN].into_iter().find(|role| role == name);
    match names {
        [first, second] if first == second => match by_name(first) {
            None => Ok(vec![PUBLIC, ADMIN]),
            Some(role) => Err(InheritedError::Twice(role)),
        },
        [] | [_] | [_, _] => {
            names.iter().map(|name| by_name(name).ok_or_else(|| InheritedError::UnknownName(name.clone()))).collect()
        }
        _ => Err(InheritedError::TooMany(names.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_apart_by_name_or_by_order_where_one_unit_opened_both() {
        let roles = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
            roles(&names).map_err(|error| error.to_string())
        };
        let good: [(&[&str], &[&str]); 7] = [
            (&[], &[]),
            (&["public"], &[PUBLIC]),
            (&["admin"], &[ADMIN]),
            (&["public", "admin"], &[PUBLIC, ADMIN]),
            (&["admin", "public"], &[ADMIN, PUBLIC]),
            (&["stratus.socket", "stratus.socket"], &[PUBLIC, ADMIN]),
            // What sd-notify calls them where there are no names.
            (&["unknown", "unknown"], &[PUBLIC, ADMIN]),
        ];
        for (names, expected) in good {
            assert_eq!(roles(names).as_deref(), Ok(expected), "{names:?}");
        }
        let bad: [(&[&str], &str); 6] = [
            (&["unknown"], "FileDescriptorName="),
            (&["http", "ops"], "\"http\""),
            (&["public", "ops"], "\"ops\""),
            (&["public", "public"], "two sockets named `public`"),
            (&["admin", "admin"], "two sockets named `admin`"),
            (&["public", "admin", "more"], "3 sockets"),
        ];
        for (names, part) in bad {
            assert!(roles(names).is_err_and(|error| error.contains(part)), "{names:?}");
        }
    }
}
