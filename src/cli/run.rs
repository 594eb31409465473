//! `stratus serve` and `stratus demo`.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::supervised::supervise;
use super::{Failed, fail, faulty, say};
use crate::app::{App, Listeners, Opening};
use crate::clock::Clock;
use crate::config::{Config, Sources};
use crate::demo::Demo;
use crate::service_manager::{Inherited, ServiceManager};
use crate::telemetry::{LogConfig, LogGuard, install_log};

pub(super) async fn serve(sources: Sources, sockets: Inherited, open: &[String]) -> Result<(), Failed> {
    let (config, listeners) = prepare(sources, sockets).await?;
    let _log = start_log(&config.log, open)?;
    raise_file_limit(config.server.sockets());
    let signals = Signals::listen()?;
    let app = App::start(config, listeners, Clock::system()).await.map_err(|error| fail(2, error))?;
    let manager = ServiceManager::of_this_process();
    if let Some(manager) = &manager {
        supervise(&app, manager.clone());
    }
    signals.heed(&app, manager);
    app.run().await;
    Ok(())
}

pub(super) async fn demo(listen: SocketAddr, redis: bool, open: &[String]) -> Result<(), Failed> {
    // First of all, so that an early Ctrl-C leaves no files behind.
    let signals = Signals::listen()?;
    let demo = Demo::start(redis).await.map_err(|error| fail(1, error))?;
    let mut sources = demo.sources();
    let admin = demo_admin(listen).await;
    sources.overrides.push(("server.listen".to_owned(), listen.to_string()));
    sources.overrides.push(("admin.listen".to_owned(), admin.to_string()));
    let (config, listeners) = prepare(sources, Inherited::default()).await?;
    let _log = start_log(&config.log, open)?;
    let app = App::start(config, listeners, Clock::system()).await.map_err(|error| fail(1, error))?;
    let address = app.public_address().unwrap_or(listen);
    let host = match address.ip() {
        ip if ip.is_unspecified() || ip == Ipv4Addr::LOCALHOST => format!("localhost:{}", address.port()),
        _ => address.to_string(),
    };
    say("Stratus demo: the weather is SIMULATED, made up by this program, not OpenWeatherMap's.");
    say(format!("Records are sealed with XAES-256-GCM and kept in {}.", demo.store()));
    say("Try it, twice (a MISS, then a HIT):");
    say(format!("\n    curl -i {host}/weather/London\n"));
    say(format!("Or open http://{host}/ in a browser."));
    if let Some(admin) = app.admin_address() {
        say(format!("The operators' dashboard is at http://localhost:{}/", admin.port()));
    }
    say("Ctrl-C stops it.");
    signals.heed(&app, None);
    app.run().await;
    demo.stop().await;
    Ok(())
}

/// Installs the log and tells what of this process's memory is still open.
fn start_log(config: &LogConfig, open: &[String]) -> Result<LogGuard, Failed> {
    let log = install_log(config).map_err(|error| fail(1, format!("the log cannot be written: {error}")))?;
    for what in open {
        tracing::warn!("{what}");
    }
    Ok(log)
}

/// The demo's admin listener has no flag, so it must not be in anybody's way: the next port, or any that is free.
async fn demo_admin(listen: SocketAddr) -> SocketAddr {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    match listen.port().checked_add(1) {
        Some(next) if listen.port() != 0 => {
            let next = SocketAddr::from((Ipv4Addr::LOCALHOST, next));
            if tokio::net::TcpListener::bind(next).await.is_ok() { next } else { any }
        }
        _ => any,
    }
}

/// Reads the configuration and opens both sockets. All faults of both are told together, and then nothing is bound. The
/// sources end here: they may hold secrets as plain text.
async fn prepare(mut sources: Sources, sockets: Inherited) -> Result<(Config, Listeners), Failed> {
    // Where a socket is there already, its address is the one that counts: what the configuration asks of addresses holds
    // for it, too.
    for (key, socket) in [("server.listen", &sockets.public), ("admin.listen", &sockets.admin)] {
        if let Some(address) = socket.as_ref().and_then(|socket| socket.local_addr().ok()) {
            sources.overrides.push((key.to_owned(), address.to_string()));
        }
    }
    let [public, admin] = Config::listen_addresses(&sources);
    // The same address twice is reported by the configuration.
    let admin = admin.filter(|admin| Some(*admin) != public || admin.port() == 0);
    let opening = |socket: Option<_>, address: Option<SocketAddr>| {
        socket.map(Opening::Inherited).or_else(|| address.map(Opening::Bind))
    };
    let listeners = Listeners::open(opening(sockets.public, public), opening(sockets.admin, admin)).await;
    match (Config::load(&sources), listeners) {
        (Ok(config), Ok(listeners)) => Ok((config, listeners)),
        (config, listeners) => {
            let mut faults = config.err().unwrap_or_default();
            faults.extend(listeners.err().unwrap_or_default());
            Err(faulty(&faults))
        }
    }
}

/// Each connection takes a file descriptor, and the usual soft limit is 1024: raises it as far as this process may.
fn raise_file_limit(sockets: usize) {
    /// For everything else: the admin listener, Redis, the upstream, secret files, the log.
    const OTHERS: u64 = 512;
    let needed = sockets as u64 + OTHERS;
    match rlimit::increase_nofile_limit(needed) {
        Ok(limit) if limit >= needed => {}
        Ok(limit) => tracing::warn!(
            limit,
            needed,
            "fewer files may be open than server.max_connections needs: raise `ulimit -n`"
        ),
        Err(error) => tracing::warn!("the limit of open files could not be raised: {error}"),
    }
}

/// SIGTERM (a supervisor), SIGINT (Ctrl-C) and SIGHUP (read the files again), from when they are listened for: one that
/// comes while the service starts is kept until it can be heeded.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn listen() -> Result<Self, Failed> {
        let listen = |kind| signal(kind).map_err(|error| fail(1, format!("cannot listen for signals: {error}")));
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hang_up: listen(SignalKind::hangup())?,
        })
    }

    /// Lets the first that asks for it begin the ordered end. Nobody in front has to notice where a person presses Ctrl-C, and
    /// who asks twice has waited long enough: then no time is left for callers to go elsewhere. The service manager, if
    /// there is one, is told of each.
    fn heed(mut self, app: &App, manager: Option<ServiceManager>) {
        let (stopping, hurrying, reloading) = (app.stopping(), app.hurrying(), app.reloading());
        tokio::spawn(async move {
            loop {
                let hurries = tokio::select! {
                    _ = self.terminate.recv() => stopping.is_cancelled(),
                    _ = self.interrupt.recv() => true,
                    _ = self.hang_up.recv() => {
                        let (reloading, manager) = (reloading.clone(), manager.clone());
                        // Beside it: a file system that hangs must not hold up the end.
                        tokio::spawn(async move {
                            if let Some(manager) = &manager {
                                manager.reloading();
                            }
                            reloading.look().await;
                            if let Some(manager) = &manager {
                                manager.reloaded();
                            }
                            tracing::info!("the files of the configuration were read again");
                        });
                        continue;
                    }
                };
                if hurries {
                    hurrying.cancel();
                }
                if let Some(manager) = manager.as_ref().filter(|_| !stopping.is_cancelled()) {
                    manager.stopping("stopping: requests in flight may finish");
                }
                stopping.cancel();
            }
        });
    }
}
