//! Keeps a link's connection: makes it anew with growing, jittered steps whenever it breaks, with new credentials, and when
//! another Redis has become the primary.
//!
//! Every connection reads the password and the certificates anew, and is used only after it proved that it may run our
//! commands and, where that is required, no others. Trouble is logged when it begins, changes or ends, not per request.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use super::cluster::Changes;
use super::credentials::Credentials;
use super::dial::Connection;
use super::link::{Link, Live, connect};
use super::node::Node;
use super::privileges::{Looker, Privileges};
use super::sentinel::Sentinels;
use super::trouble::Trouble;
use super::{RedisConfig, StoreState};
use crate::telemetry::Metrics;

/// First pause between two attempts to connect; doubles up to [`MAX_PAUSE`].
const MIN_PAUSE: Duration = Duration::from_millis(50);
/// So that Redis is used again at most this long after it is back.
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// A connection that lasted this long was a good one: the pauses begin small again.
const LASTED: Duration = Duration::from_secs(5);

/// Where a link leads.
pub(super) enum Target {
    /// To this one.
    Node(Node),
    /// To whoever is the primary.
    Primary(Sentinels),
}

impl Target {
    async fn node(&self) -> Result<Node, Trouble> {
        match self {
            Self::Node(node) => Ok(node.clone()),
            Self::Primary(sentinels) => sentinels.primary().await,
        }
    }

    /// Waits until it leads elsewhere than to `node`.
    async fn changed_from(&self, node: &Node) {
        match self {
            Self::Node(_) => std::future::pending().await,
            Self::Primary(sentinels) => sentinels.other_primary_than(node).await,
        }
    }
}

/// Who is told how a link fares.
pub(super) enum Observer {
    /// Nobody else has a part in the store: this is its state.
    Whole(Arc<Metrics>),
    /// It is one of several, and all of them are looked at together.
    Member(Arc<Changes>),
}

impl Observer {
    /// Before anybody hears of it, so that who then looks at the figures finds them so.
    fn count(&self, is_up: bool) {
        if let Self::Whole(metrics) = self {
            metrics.set_store_up(is_up);
        }
    }

    fn up(&self, node: &Node) {
        match self {
            Self::Whole(_) => tracing::info!("Redis is connected"),
            Self::Member(changes) => {
                changes.look();
                tracing::info!(%node, "a node of Redis is connected");
            }
        }
    }

    fn down(&self, trouble: Trouble, node: Option<&Node>, is_news: bool, was_up: bool) {
        match self {
            Self::Whole(_) => {
                if is_news {
                    tracing::warn!(fix = trouble.fix(), "{trouble}: answers come from upstream until it is back");
                }
            }
            Self::Member(changes) => {
                if was_up {
                    changes.broke();
                } else {
                    changes.look();
                }
                if is_news {
                    let node = node.map(tracing::field::display);
                    tracing::warn!(node, fix = trouble.fix(), "{trouble}: what this node has is missed meanwhile");
                }
            }
        }
    }
}

pub(super) struct Supervisor {
    link: Weak<Link>,
    target: Arc<Target>,
    /// Where it led last.
    node: Option<Node>,
    config: Arc<RedisConfig>,
    privileges: Arc<Privileges>,
    looker: Looker,
    observer: Observer,
    /// Tells of new credentials.
    replaced: watch::Receiver<()>,
    /// The credentials of the last connection that could be used.
    worked: Option<Arc<Credentials>>,
    /// The trouble that was logged last.
    trouble: Option<Trouble>,
    /// The trouble with new credentials that was logged last.
    new_trouble: Option<Trouble>,
}

impl Supervisor {
    pub(super) fn new(
        link: Weak<Link>,
        target: Target,
        config: Arc<RedisConfig>,
        privileges: Arc<Privileges>,
        observer: Observer,
    ) -> Self {
        let replaced = config.credentials.replaced();
        let (target, looker) = (Arc::new(target), privileges.newcomer());
        let (node, worked, trouble, new_trouble) = (None, None, None, None);
        Self { link, target, node, config, privileges, looker, observer, replaced, worked, trouble, new_trouble }
    }

    pub(super) async fn run(mut self, mut reports: mpsc::Receiver<(u64, Trouble)>) {
        let mut pause = MIN_PAUSE;
        let mut generation = 0;
        loop {
            let began = Instant::now();
            let trouble = match self.connect().await {
                Ok(connection) => match self.use_until_broken(connection, &mut generation, &mut reports).await {
                    Some(trouble) => trouble,
                    None => return,
                },
                Err(trouble) => trouble,
            };
            if !self.set_down(trouble) {
                return;
            }
            if began.elapsed() > LASTED || trouble == Trouble::FailedOver {
                pause = MIN_PAUSE;
            }
            // Who is no primary any more need not be tried again.
            let elsewhere = self.elsewhere();
            tokio::select! {
                () = sleep(jittered(pause)) => pause = (pause * 2).min(MAX_PAUSE),
                () = elsewhere => pause = MIN_PAUSE,
            }
        }
    }

    /// Has a connection used, and others after it that are made with new credentials; why the last one broke. `None` when
    /// nobody is left to serve.
    async fn use_until_broken(
        &mut self,
        mut connection: Connection,
        generation: &mut u64,
        reports: &mut mpsc::Receiver<(u64, Trouble)>,
    ) -> Option<Trouble> {
        loop {
            *generation += 1;
            let live = Arc::new(Live { connection, generation: *generation });
            if !self.set_up(Arc::clone(&live)) {
                return None;
            }
            connection = loop {
                let (privileges, elsewhere) = (Arc::clone(&self.privileges), self.elsewhere());
                let broken =
                    privileges.look_beside(self.looker, live.connection.commands.clone(), until_broken(&live, reports));
                tokio::select! {
                    broken = broken => return broken,
                    () = elsewhere => return Some(Trouble::FailedOver),
                    // The credentials live as long as this.
                    Ok(()) = self.replaced.changed() => {}
                }
                // Beside the old one, which stays if this does not work. Who uses the old one now keeps it to the end. That it
                // breaks meanwhile is not left until this has failed.
                let newest = self.config.credentials.get();
                let made = tokio::select! {
                    broken = until_broken(&live, reports) => return broken,
                    made = self.connect_with(newest) => made,
                };
                match made {
                    Ok(connection) => break connection,
                    Err(trouble) => self.new_credentials_fail(trouble),
                }
            };
        }
    }

    /// Waits until the target leads elsewhere than where it led last.
    fn elsewhere(&self) -> impl Future<Output = ()> + use<> {
        let (target, node) = (Arc::clone(&self.target), self.node.clone());
        async move {
            match node {
                Some(node) => target.changed_from(&node).await,
                None => std::future::pending().await,
            }
        }
    }

    /// A connection that may be used, with the newest credentials, or else with those that worked last: Redis may not know
    /// the new ones yet. Not with those if they trust an authority that is not to be trusted any more.
    async fn connect(&mut self) -> Result<Connection, Trouble> {
        // Each Sentinel has its own limit of time.
        self.node = Some(self.target.node().await?);
        self.replaced.mark_unchanged();
        let newest = self.config.credentials.get();
        let worked = self.worked.clone();
        let worked = worked.filter(|worked| !Arc::ptr_eq(worked, &newest) && newest.trust_as_much_as(worked));
        let elsewhere = self.elsewhere();
        let trouble = tokio::select! {
            // A machine that stands still takes the whole of its time.
            () = elsewhere => return Err(Trouble::FailedOver),
            made = self.connect_with(newest) => match made {
                Ok(connection) => return Ok(connection),
                Err(trouble) => trouble,
            },
        };
        let Some(worked) = worked else { return Err(trouble) };
        let connection = self.connect_with(worked).await.map_err(|_| trouble)?;
        self.new_credentials_fail(trouble);
        Ok(connection)
    }

    async fn connect_with(&mut self, credentials: Arc<Credentials>) -> Result<Connection, Trouble> {
        let node = self.node.as_ref().ok_or(Trouble::Unreachable)?;
        let mut connection = connect(&self.config, node, &credentials).await?;
        self.privileges.admit(self.looker, &mut connection.commands).await?;
        if Arc::ptr_eq(&credentials, &self.config.credentials.get()) {
            self.new_trouble = None;
        }
        self.worked = Some(credentials);
        Ok(connection)
    }

    fn new_credentials_fail(&mut self, trouble: Trouble) {
        if self.new_trouble.replace(trouble) != Some(trouble) {
            tracing::warn!(fix = trouble.fix(), "{trouble} with the new credentials: the old ones stay in use");
        }
    }

    /// Whether anybody is left to serve.
    fn set_up(&mut self, live: Arc<Live>) -> bool {
        let Some(link) = self.link.upgrade() else { return false };
        link.live.store(Some(live));
        self.observer.count(true);
        link.state.send_replace(StoreState::Up);
        self.trouble = None;
        if let Some(node) = &self.node {
            self.observer.up(node);
        }
        true
    }

    fn set_down(&mut self, trouble: Trouble) -> bool {
        let Some(link) = self.link.upgrade() else { return false };
        link.live.store(None);
        self.observer.count(false);
        let before = link.state.send_replace(StoreState::Down { reason: trouble.to_string(), fix: trouble.fix() });
        let is_news = self.trouble.replace(trouble) != Some(trouble);
        self.observer.down(trouble, self.node.as_ref(), is_news, before == StoreState::Up);
        true
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.privileges.forget(self.looker);
    }
}

/// Waits until somebody reports this connection broken or Redis closes it; `None` when the link is gone.
async fn until_broken(live: &Live, reports: &mut mpsc::Receiver<(u64, Trouble)>) -> Option<Trouble> {
    loop {
        tokio::select! {
            report = reports.recv() => match report {
                Some((reported, trouble)) if reported == live.generation => return Some(trouble),
                Some(_) => {}
                None => return None,
            },
            trouble = live.connection.closed() => return Some(trouble),
        }
    }
}

/// Up to a quarter less, so that a fleet does not come back in step.
fn jittered(pause: Duration) -> Duration {
    let random = getrandom::u32().unwrap_or(0) % 256;
    pause - pause * random / 1024
}
