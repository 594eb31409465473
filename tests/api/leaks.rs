//! Ways for a secret to get out that no request takes: a secret file that is replaced by a bad one, `Debug`, and the log at
//! its most talkative, whatever the upstream does wrong.

use std::collections::HashMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::json;
use stratus::config::{Config, Sources};
use tokio::time::timeout;

use crate::harness::canaries::everything_of;
use crate::harness::program::variable;
use crate::harness::{
    API_KEY, Answer, Canaries, PATIENCE, Program, Redis, Reply, ScriptedUpstream, Setup, TcpProxy, answer, body,
};
use crate::upstream_faults::{WORDS, faults};

/// What stands in a secret file by mistake.
const MISTAKEN: &str = "canary-pasted-into-the-wrong-file";

/// Ways to replace a secret file by one that is no good.
const REPLACEMENTS: [&str; 5] = ["another secret", "open to everybody", "empty", "not text", "a folder"];

fn replace(path: &Path, how: &str, good: &[u8]) {
    let write = |bytes: &[u8], mode: u32| {
        fs::write(path, bytes).expect("a file");
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("a mode");
    };
    match how {
        "another secret" => write(format!("{MISTAKEN}\n").as_bytes(), 0o600),
        "open to everybody" => write(good, 0o644),
        "empty" => write(b"\n", 0o600),
        "not text" => write(&[good, b"\xff"].concat(), 0o600),
        _ => {
            fs::remove_file(path).expect("a file");
            fs::create_dir(path).expect("a folder");
        }
    }
}

fn restore(path: &Path, good: &[u8]) {
    // Whichever it is.
    let _ = fs::remove_dir(path);
    fs::write(path, good).expect("a file");
    fs::set_permissions(path, Permissions::from_mode(0o600)).expect("a mode");
}

/// Waits until `/status` says one of these.
async fn until_status(program: &Program, words: &[&str]) {
    let status = || async { answer(program.admin_request(Method::GET, "/status")).await.text().to_owned() };
    let said = async {
        loop {
            let text = status().await;
            if words.iter().any(|words| text.contains(words)) {
                return;
            }
        }
    };
    assert!(timeout(PATIENCE, said).await.is_ok(), "{words:?} is not what it says: {}", status().await);
}

/// A question, a purge and the operators' pages.
async fn ask_around(program: &Program, token: &str, place: &str) -> Vec<Answer> {
    let purge = program.admin_request(Method::POST, "/purge").bearer_auth(token).json(&json!({"location": place}));
    let mut answers = vec![answer(purge).await, program.get(&format!("/weather/{place}")).await];
    for path in ["/status", "/metrics", "/readyz"] {
        answers.push(answer(program.admin_request(Method::GET, path)).await);
    }
    answers
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_gets_out_when_secret_files_are_replaced_by_bad_ones() {
    let (upstream, redis) = (ScriptedUpstream::start(Reply::json(200, body("Oslo"))).await, Redis::start().await);
    let proxy = TcpProxy::start(redis.server.port()).await;
    let secrets = Canaries::secrets_and(&redis, [MISTAKEN]);
    let key_file = redis.secret("upstream-key");
    restore(&key_file, API_KEY.as_bytes());
    let token = fs::read_to_string(redis.secret("admin-token")).expect("the token");
    let files: Vec<(PathBuf, Vec<u8>)> = ["upstream-key", "admin-token", "redis-password", "stratus.key"]
        .map(|name| (redis.secret(name), fs::read(redis.secret(name)).expect("a file")))
        .into();
    let setup = Setup::redis_through(&upstream, &redis, proxy.port()).set("upstream.api_key", "");
    let setup = setup.set("upstream.api_key_file", key_file.display()).set("log.filter", "trace");
    let program = setup.program().await;

    let mut answers = Vec::new();
    for (number, how) in REPLACEMENTS.into_iter().enumerate() {
        files.iter().for_each(|(path, good)| replace(path, how, good));
        program.reads_files_again(2 * number + 1).await;
        proxy.cut();
        until_status(&program, &["\"down\""]).await;
        proxy.mend().await;
        // A replica may also go on with what it had.
        until_status(&program, &["not usable", "refuses the login", "\"up\""]).await;
        answers.extend(ask_around(&program, token.trim(), &format!("town{number}")).await);
        files.iter().for_each(|(path, good)| restore(path, good));
        program.reads_files_again(2 * number + 2).await;
        until_status(&program, &["\"up\""]).await;
        answers.extend(ask_around(&program, token.trim(), &format!("village{number}")).await);
    }
    let log = program.stop().await.join("\n");
    assert!(log.contains("can be read by everybody") && log.contains(r#""level":"TRACE""#), "{log}");
    secrets.absent_from("the log", log.as_bytes());
    secrets.absent_from("answers", &everything_of(&answers));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_and_no_word_of_the_upstream_is_printed_whatever_it_does_wrong() {
    let redis = Redis::start().await;
    let secrets = Canaries::secrets(&redis);
    let words = Canaries::texts([WORDS]);
    for fault in faults() {
        let upstream = ScriptedUpstream::start(fault.reply).await;
        // In memory: replicas on one Redis would tell each other to leave the upstream alone.
        let setup = Setup::redis(&upstream, &redis).set("store.backend", "memory").set("log.filter", "trace");
        let program = setup.program().await;
        let answers = [program.get("/weather/Oslo").await, program.get("/weather/Bergen").await];
        assert!(!answers[0].status.is_success() && upstream.calls() > 0, "{}: {answers:?}", fault.name);
        let log = program.stop().await.join("\n");
        for (place, bytes) in [("the log", log.into_bytes()), ("answers", everything_of(&answers))] {
            let place = format!("{place}, {}", fault.name);
            secrets.absent_from(&place, &bytes);
            words.absent_from(&place, &bytes);
        }
    }
}

#[tokio::test]
async fn debug_shows_no_secret_of_what_holds_one() {
    let redis = Redis::start().await;
    let text = |name: &str| fs::read_to_string(redis.secret(name)).expect("a secret").trim().to_owned();
    let inline = [
        ("upstream.api_key", API_KEY.to_owned()),
        ("admin.token", text("admin-token")),
        ("redis.password", text("redis-password")),
        ("encryption.keys", text("encryption-keys")),
    ];
    let mut overrides = redis.settings(1);
    let from_files = Sources { overrides: overrides.clone(), ..Sources::default() };
    overrides.retain(|(key, _)| !inline.iter().any(|(secret, _)| key.strip_suffix("_file") == Some(secret)));
    let environment = HashMap::from(inline.clone().map(|(key, secret)| (variable(key), secret)));
    let in_environment = Sources { overrides: overrides.clone(), environment, ..Sources::default() };
    overrides.extend(inline.map(|(key, secret)| (key.to_owned(), secret)));
    let in_overrides = Sources { overrides, ..Sources::default() };

    for sources in [from_files, in_environment, in_overrides] {
        let config = Config::load(&sources).expect("no faults");
        let token = config.admin.token.as_ref().expect("a token").get();
        let shown = format!("{sources:?} {sources:#?} {config:?} {config:#?} {token:?}");
        assert!(shown.contains("admin") && shown.contains("keyring"), "{shown}");
        Canaries::secrets(&redis).absent_from("Debug", shown.as_bytes());
    }
    let careless = format!("{:?}", [text("admin-token"), text("redis-password")]);
    Canaries::texts([text("admin-token"), text("redis-password")]).all_in("Debug of texts", careless.as_bytes());
}
