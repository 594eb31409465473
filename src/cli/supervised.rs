//! The service under a service manager: it is told when the service serves, how it stands with Redis, and whether it is alive.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::admin::reachable;
use crate::app::App;
use crate::service_manager::ServiceManager;
use crate::store::StoreState;

/// What is asked to see whether the service works. The figures come from everywhere: who gathers them has had every lock of
/// memory, cache, budget, breaker and vault.
const PROBE: &[u8] = b"GET /metrics HTTP/1.1\r\nHost: stratus\r\nConnection: close\r\n\r\n";
const WELL: &[u8] = b"HTTP/1.1 200 ";
/// An answer has some 30 KB.
const MAX_ANSWER_BYTES: u64 = 1024 * 1024;
/// How long the first answer may take, and the pause after one that did not come. When there is none for long, the service
/// manager's own limit ends it.
const FIRST_PATIENCE: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// Tells the service manager about the service, from now to its end.
///
/// The service is alive if it answers itself over the operators' listener: then connections are accepted, the runtime has time
/// for tasks and timers, and no lock is held for ever. The listener for apps is served by the task whose end is that of the
/// program. Redis and OpenWeatherMap do not count: a restart would mend neither.
pub(super) fn supervise(app: &App, manager: ServiceManager) {
    let Some(admin) = app.admin_address().map(reachable) else { return };
    let (mut store, of_redis) = (app.store_state(), app.store_kind() == "redis");
    tokio::spawn(async move {
        while !timeout(FIRST_PATIENCE, answers(admin)).await.unwrap_or(false) {
            sleep(FIRST_PAUSE).await;
        }
        let status = |state: &StoreState| status(of_redis, state);
        let mut told = status(&store.borrow_and_update());
        manager.ready(told);
        let telling = async {
            while store.changed().await.is_ok() {
                let now = status(&store.borrow_and_update());
                if now != told {
                    manager.status(now);
                    told = now;
                }
            }
        };
        tokio::join!(telling, manager.watchdog(|| answers(admin)));
    });
}

/// In a few words, for everybody.
fn status(of_redis: bool, store: &StoreState) -> &'static str {
    match (of_redis, store) {
        (false, _) => "serving; records in memory",
        (true, StoreState::Up) => "serving; Redis up",
        (true, _) => "serving; Redis away, answers come from memory and OpenWeatherMap",
    }
}

/// Whether the service answers a question over its operators' listener.
async fn answers(admin: SocketAddr) -> bool {
    ask(admin).await.is_ok_and(|answer| answer.starts_with(WELL))
}

async fn ask(admin: SocketAddr) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(admin).await?;
    stream.write_all(PROBE).await?;
    let mut answer = Vec::new();
    // To its end: who leaves earlier counts as a caller that gave up.
    stream.take(MAX_ANSWER_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}
