//! A Redis that begins anew.

use stratus::crypto::{Keyring, RecordName};
use tokio::time::timeout;

use super::inspector::names_of;
use super::{PATIENCE, Redis, Service};

impl Redis {
    /// Loses everything, and waits until the service has noticed and left in it what it knows of these subjects, too. An
    /// inspector may look.
    pub(crate) async fn lose_everything(&mut self, service: &mut Service, known: &[&str]) {
        self.server.stop().await;
        service.store_down().await;
        self.restart().await;
        service.store_up().await;
        let ring = std::fs::read_to_string(self.secret("encryption-keys")).expect("the keys");
        let ring = Keyring::parse(&ring).expect("good keys");
        let subjects = ["budget epoch", "budget quiet"].iter().chain(known);
        let names: Vec<_> = subjects.map(|subject| names_of(&ring, subject).swap_remove(0)).collect();
        let exists: Vec<_> = ["EXISTS"].into_iter().chain(names.iter().map(RecordName::as_str)).collect();
        let noted = async { while self.inspect(&exists).await != format!("{}\n", names.len()) {} };
        timeout(PATIENCE, noted).await.expect("the service notices that Redis is empty");
    }
}
