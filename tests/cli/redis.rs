//! A redis-server on the shipped configuration and fresh secrets, and the settings of a service that uses it.

use std::path::{Path, PathBuf};

use stratus::demo::redis_server::RedisServer;
use stratus::provision;
use tempfile::TempDir;

use super::harness::{Settings, Upstream, runtime};

/// The key for the upstream in these tests.
pub(crate) const API_KEY: &str = "canary0key0of0the0upstream0a1b2c3";

/// The server, its secrets, and an upstream that is well.
pub(crate) struct Redis {
    pub(crate) server: RedisServer,
    pub(crate) upstream: Upstream,
    dir: TempDir,
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::start_with(|_| ())
    }

    /// Lets the folder of secrets be changed before the server reads it.
    pub(crate) fn start_with(change: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let secrets = dir.path().join("secrets");
        provision::init(&secrets, None, &[]).expect("secrets");
        change(&secrets);
        let server = runtime().block_on(RedisServer::start(dir.path(), 0)).expect("a redis-server");
        Self { server, upstream: Upstream::simulated(), dir }
    }

    pub(crate) fn stop(&mut self) {
        runtime().block_on(self.server.stop());
    }

    /// Starts another server on the same port and files.
    pub(crate) fn restart(&mut self) {
        let port = self.server.port();
        self.stop();
        self.server = runtime().block_on(RedisServer::start(self.dir.path(), port)).expect("a redis-server");
    }

    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.dir.path().join("secrets").join(name)
    }

    /// A service on this server. Its patience is longer than by default, for machines that are busy with tests.
    pub(crate) fn settings(&self) -> Settings {
        let file = |name: &str| self.secret(name).display().to_string();
        Settings::memory()
            .set("store.backend", "redis")
            .set("redis.url", self.server.url())
            .set("redis.password_file", file("redis-password"))
            .set("redis.ca_file", file("ca.crt"))
            .set("redis.cert_file", file("stratus.crt"))
            .set("redis.key_file", file("stratus.key"))
            .set("redis.connect_timeout_ms", 20_000)
            .set("redis.command_timeout_ms", 10_000)
            .set("encryption.keys_file", file("encryption-keys"))
            .set("admin.token_file", file("admin-token"))
            .set("upstream.base_url", self.upstream.url())
            .set("upstream.api_key", API_KEY)
            .set("upstream.connect_timeout_ms", 20_000)
            .set("server.request_timeout_ms", 30_000)
            .set("upstream.timeout_ms", 20_000)
    }

    /// What no output may hold: the contents of the secret files.
    pub(crate) fn secrets(&self) -> Vec<String> {
        let read = |name: &str| std::fs::read_to_string(self.secret(name)).expect("a secret");
        let keys = read("encryption-keys");
        let key = keys.trim().split_once(':').expect("a key").1;
        let private = read("stratus.key");
        let private = private.lines().nth(1).expect("a line of the key");
        [read("redis-password").trim(), read("admin-token").trim(), key, private].map(str::to_owned).to_vec()
    }
}

/// Rewrites the line of the user `stratus` in the user file.
pub(crate) fn change_users(secrets: &Path, change: impl FnOnce(String) -> String) {
    let file = secrets.join("redis-users.acl");
    let users = std::fs::read_to_string(&file).expect("the users");
    std::fs::write(&file, change(users)).expect("the users");
}
