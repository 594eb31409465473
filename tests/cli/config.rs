//! Faults of the configuration: all at once, a line each that names the key and the fix, exit code 2, nothing bound, and
//! no secret in any of them.

use std::net::TcpListener;

use rcgen::{CertificateParams, KeyPair};

use super::harness::{Folder, Settings, free_address, run, stratus, text};

/// Base64 of 32 and of 31 bytes.
const KEY: &str = "PwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY_OF_31_BYTES: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==";

#[test]
fn all_faults_are_listed_together_a_line_each_and_nothing_is_bound() {
    let folder = Folder::new();
    let token = folder.write_with_mode("token", "canary-token\n", 0o644);
    let key = folder.write("api-key", "canary-key-from-file\n");
    // Where nobody else listens: once it is free again, it stays free.
    let taken = TcpListener::bind(free_address()).unwrap();
    let (taken_address, admin) = (taken.local_addr().unwrap(), free_address());
    let toml = format!(
        r#"
[server]
listen = "{taken_address}"
[admin]
listen = "{admin}"
token_file = "{}"
[cache]
colour = "blue"
fresh_secs = "soon"
[redis]
url = "redis://127.0.0.1:6379"
password = "canary-password"
ca_file = "/nonexistent/ca.crt"
[upstream]
base_url = "http://api.openweathermap.org"
api_key = "canary-key"
api_key_file = "{}"
[encryption]
keys = """
a:{KEY_OF_31_BYTES}
b:{KEY}
b:{KEY}
"""
"#,
        text(&token),
        text(&key),
    );
    let file = folder.write("stratus.toml", &toml);

    let ran = run(&mut stratus(&["serve", "--config", text(&file)]));

    assert_eq!(ran.code, Some(2), "{ran:?}");
    let mut faults = ran.faults();
    for (key, fix) in [
        ("cache.colour", "config/default.toml lists them all"),
        ("cache.fresh_secs", "has to be a whole number"),
        ("redis.ca_file", "cannot read /nonexistent/ca.crt"),
        ("redis.url", "has to begin with rediss://"),
        ("upstream.api_key", "leave one of the two out"),
        ("upstream.base_url", "has to begin with https://"),
        ("encryption.keys", "key `a`: 31 bytes, but AES-256 needs 32"),
        ("encryption.keys", "key `b` stands there twice: give every key its own id"),
        ("admin.token_file", "chmod 600"),
        ("server.listen", "stop what listens there or choose another"),
    ] {
        let found = faults.iter().position(|line| line.starts_with(&format!("{key}: ")) && line.contains(fix));
        faults.remove(found.unwrap_or_else(|| panic!("{key}, {fix}: {ran:?}")));
    }
    assert!(faults.is_empty(), "nothing else: {faults:?}");
    assert!(ran.stdout.is_empty() && !ran.stderr.contains(KEY_OF_31_BYTES) && !ran.stderr.contains(KEY), "{ran:?}");
    ran.shows_no_secret();
    drop(taken);
    for address in [taken_address, admin] {
        TcpListener::bind(address).unwrap_or_else(|error| panic!("{address} is free: {error}"));
    }
}

#[test]
fn an_unknown_key_or_section_is_refused_by_its_full_name() {
    let settings = Settings::memory();
    settings.clone().set("foo", 1).run(&["serve"]).refused("foo", "there is no such key");
    settings.clone().set("cache.fresh_sec", 1).run(&["serve"]).refused("cache.fresh_sec", "config/default.toml");
    let folder = Folder::new();
    let serve = |toml: &str| {
        let file = folder.write("stratus.toml", toml);
        run(&mut settings.command(&["serve", "--config", text(&file)]))
    };
    serve("[sever]\nlisten = \"127.0.0.1:1\"\n").refused("sever.listen", "there is no such key");
    serve("[sever]\n").refused("sever", "there is no such key");
    serve("listen = \"127.0.0.1:1\"\n").refused("listen", "there is no such key");
}

#[test]
fn a_value_where_a_section_belongs_is_refused() {
    Settings::memory().set("redis", "x").run(&["serve"]).refused("redis", "is a section, not a value");
}

#[test]
fn a_wrong_type_is_refused_with_the_right_one_and_where_it_was_given_and_is_not_printed() {
    let ran = Settings::memory().set("server.max_connections", "canary").run(&["serve"]);
    ran.refused("server.max_connections", "has to be a whole number (given in the environment)");
    let folder = Folder::new();
    let file = folder.write("stratus.toml", "[access]\nrequired = \"canary\"\n[upstream]\napi_key = [\"canary\"]\n");
    let ran = run(&mut Settings::memory().command(&["serve", "--config", text(&file)]));
    assert_eq!(ran.faults().len(), 2, "{ran:?}");
    assert!(ran.faults().iter().any(|line| line.starts_with("access.required: has to be a boolean (given in ")));
    assert!(ran.faults().iter().any(|line| line.starts_with("upstream.api_key: has to be a string (given in ")));
    assert!(ran.faults().iter().all(|line| line.ends_with("stratus.toml)")), "{ran:?}");
    ran.shows_no_secret();
}

#[test]
fn a_number_out_of_range_is_refused_with_the_range() {
    let ran = Settings::memory().set("cache.fresh_secs", 0).run(&["serve"]);
    ran.refused("cache.fresh_secs", "is 0, but has to be from 1 to 2592000");
    // Milliseconds, perhaps.
    let ran = Settings::memory().set("server.shutdown_delay_secs", 5_000).run(&["serve"]);
    ran.refused("server.shutdown_delay_secs", "is 5000, but has to be from 0 to 600");
}

#[test]
fn a_configuration_file_that_is_missing_or_no_toml_is_named_and_its_text_is_not_printed() {
    let folder = Folder::new();
    let missing = folder.path().join("nowhere.toml");
    let ran = run(&mut Settings::memory().command(&["serve", "--config", text(&missing)]));
    ran.refused(text(&missing), "there is no such file");

    let broken = folder.write("broken.toml", "[redis]\nusername = \"me\"\npassword = \"canary\nurl = 1\n");
    let ran = run(&mut Settings::memory().command(&["serve", "--config", text(&broken)]));
    ran.refused(text(&broken), "line 3, column");
    let twice = folder.write("twice.toml", "[redis]\npassword = \"canary1\"\npassword = \"canary2\"\n");
    run(&mut Settings::memory().command(&["serve", "--config", text(&twice)])).refused(text(&twice), "line 3");
}

#[test]
fn a_secret_given_twice_is_refused() {
    let folder = Folder::new();
    let file = folder.write("key", "canary\n");
    let settings = Settings::memory().set("upstream.api_key", "canary").set("upstream.api_key_file", text(&file));
    settings.run(&["serve"]).refused("upstream.api_key", "is given together with upstream.api_key_file");
}

#[test]
fn a_secret_file_that_is_missing_empty_or_open_to_everybody_is_refused_in_one_line() {
    let folder = Folder::new();
    let missing = folder.path().join("nowhere");
    let empty = folder.write("empty", "\n");
    let open = folder.write_with_mode("open", "canary\n", 0o604);
    let redis = on_redis(&folder);
    for (path, fix) in [
        (&missing, "cannot read".to_owned()),
        (&empty, format!("{} is empty", text(&empty))),
        (&open, format!("chmod 600 {}", text(&open))),
    ] {
        for (settings, key) in [
            (Settings::memory(), "admin.token_file"),
            (Settings::memory(), "upstream.api_key_file"),
            (Settings::memory(), "encryption.keys_file"),
            (redis.clone().set("redis.password", ""), "redis.password_file"),
            (redis.clone().set("encryption.keys", ""), "encryption.keys_file"),
        ] {
            settings.set(key, text(path)).run(&["serve"]).refused(key, &fix);
        }
    }
}

#[test]
fn a_key_of_the_wrong_length_and_a_repeated_id_are_refused_without_showing_the_key() {
    let ran = Settings::memory().set("encryption.keys", format!("a:{KEY_OF_31_BYTES}")).run(&["serve"]);
    ran.refused("encryption.keys", "key `a`: 31 bytes, but AES-256 needs 32; make a key with `stratus key new`");
    assert!(!ran.stderr.contains(KEY_OF_31_BYTES), "{ran:?}");
    let folder = Folder::new();
    let file = folder.write("keys", &format!("a:{KEY}\na:{KEY}\n"));
    let ran = Settings::memory().set("encryption.keys_file", text(&file)).run(&["serve"]);
    ran.refused("encryption.keys_file", "key `a` stands there twice");
    assert!(!ran.stderr.contains(KEY), "{ran:?}");
}

/// A service on a Redis that it need not find.
fn on_redis(folder: &Folder) -> Settings {
    let authority =
        CertificateParams::default().self_signed(&KeyPair::generate().expect("a key")).expect("a certificate");
    let ca = folder.write("ca.crt", &authority.pem());
    Settings::memory()
        .set("store.backend", "redis")
        .set("redis.password", "canary")
        .set("redis.ca_file", text(&ca))
        .set("encryption.keys", format!("a:{KEY}"))
}

#[test]
fn redis_without_tls_or_with_a_login_in_its_address_is_refused_and_the_login_is_not_printed() {
    let folder = Folder::new();
    let with_url = |url: &str| on_redis(&folder).set("redis.url", url).run(&["serve"]);
    with_url("redis://127.0.0.1:6379").refused("redis.url", "has to begin with rediss:// (TLS)");
    with_url("rediss://me:canary@127.0.0.1:6380").refused("redis.url", "use redis.username and redis.password_file");
    with_url("rediss://canary@127.0.0.1:6380").refused("redis.url", "must not hold a user or password");
    with_url("rediss://127.0.0.1:6380/3").refused("redis.url", "has to be host and port only");
    with_url("rediss://127.0.0.1:canary").refused("redis.url", "is not a URL such as rediss://127.0.0.1:6380");
}

#[test]
fn redis_without_a_password_an_authority_or_half_a_certificate_is_refused() {
    let folder = Folder::new();
    on_redis(&folder).set("redis.password", "").run(&["serve"]).refused("redis.password", "give redis.password_file");
    on_redis(&folder).set("redis.ca_file", "").run(&["serve"]).refused("redis.ca_file", "`stratus init` makes one");
    let no_key = on_redis(&folder).set("encryption.keys", "").run(&["serve"]);
    no_key.refused("encryption.keys", "give encryption.keys_file (`stratus init` makes one)");
    let certificate = folder.write("stratus.crt", "-----BEGIN CERTIFICATE-----\n");
    let half = on_redis(&folder).set("redis.cert_file", text(&certificate));
    half.run(&["serve"]).refused("redis.cert_file", "needs both redis.cert_file and redis.key_file");
}

#[test]
fn an_upstream_without_tls_or_with_more_than_an_address_is_refused_and_not_printed() {
    let with_url = |url: &str| Settings::memory().set("upstream.base_url", url).run(&["serve"]);
    with_url("http://192.0.2.1").refused("upstream.base_url", "plain http:// is only for a host on loopback");
    with_url("https://me:canary@example.org").refused("upstream.base_url", "the key belongs in upstream.api_key");
    with_url("https://canary@example.org").refused("upstream.base_url", "the key belongs in upstream.api_key");
    let with_query = with_url("https://example.org?appid=canary");
    with_query.refused("upstream.base_url", "scheme, host, port and path only");
    with_url("canary").refused("upstream.base_url", "is not a URL such as https://api.openweathermap.org");
}

#[test]
fn a_port_in_use_is_told_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for key in ["server.listen", "admin.listen"] {
        let ran = Settings::memory().set(key, taken.local_addr().unwrap()).run(&["serve"]);
        ran.refused(key, "stop what listens there or choose another");
    }
}

#[test]
fn one_address_for_both_listeners_is_refused_once() {
    let address = free_address();
    let ran = Settings::memory().set("server.listen", address).set("admin.listen", address).run(&["serve"]);
    ran.refused("admin.listen", "is the same address as server.listen: give it another port");
}
