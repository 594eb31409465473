//! A Redis that begins anew.

use tokio::time::timeout;

use super::{PATIENCE, Redis, Service};

impl Redis {
    /// Loses everything, and waits until the service has left so many names in it again. An inspector may look.
    pub(crate) async fn lose_everything(&mut self, service: &mut Service, names: usize) {
        self.server.stop().await;
        service.store_down().await;
        self.restart().await;
        service.store_up().await;
        let noted = async { while self.inspect(&["DBSIZE"]).await != format!("{names}\n") {} };
        timeout(PATIENCE, noted).await.expect("the service notices that Redis is empty");
    }
}
