//! Where settings come from, and which one wins.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use secrecy::ExposeSecret;
use stratus::config::{Config, Sources};
use stratus::store::StoreConfig;

use super::harness::{Folder, Service, Settings, free_address, run, stratus, text};

fn load(files: &[PathBuf], environment: &[(&str, &str)]) -> Config {
    let environment: HashMap<_, _> =
        environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let sources = Sources { files: files.to_vec(), environment, overrides: Vec::new() };
    Config::load(&sources).expect("no faults")
}

const MEMORY: (&str, &str) = ("STRATUS__STORE__BACKEND", "memory");

#[test]
fn the_environment_wins_over_later_files_over_earlier_files_over_the_defaults() {
    let folder = Folder::new();
    let first = folder.write("1.toml", "[cache]\nfresh_secs = 1\nstale_if_error_secs = 1\n[server]\ndrain_secs = 1\n");
    let second = folder.write("2.toml", "[cache]\nfresh_secs = 2\nstale_if_error_secs = 2\n");
    let config = load(&[first.clone(), second.clone()], &[MEMORY, ("STRATUS__CACHE__FRESH_SECS", "3")]);
    assert_eq!(config.cache.policy.fresh, Duration::from_secs(3));
    assert_eq!(config.cache.policy.stale_if_error, Duration::from_secs(2));
    assert_eq!(config.server.drain, Duration::from_secs(1));
    assert_eq!(config.cache.policy.stale_while_revalidate, Duration::from_secs(60));
    assert_eq!(load(&[second, first], &[MEMORY]).cache.policy.fresh, Duration::from_secs(1));
}

#[test]
fn the_program_takes_its_files_in_the_order_of_its_arguments_and_its_environment_last() {
    let folder = Folder::new();
    let addresses = [free_address(), free_address(), free_address()];
    let file = |index: usize| {
        let toml = format!("[admin]\nlisten = \"{}\"\n", addresses[index]);
        folder.write(&format!("{index}.toml"), &toml).display().to_string()
    };
    let (first, second) = (file(0), file(1));
    let with_environment = Settings::memory().set("admin.listen", addresses[2]);
    // Nobody listens there, and the complaint names the address in force.
    let asked = |order: [&str; 2], command: &mut std::process::Command| {
        let ran = run(command.args(["--config", order[0], "--config", order[1]]));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        ran.stderr
    };
    let bare = || stratus(&["healthcheck"]);
    assert!(asked([&first, &second], &mut bare()).contains(&addresses[1].to_string()));
    assert!(asked([&second, &first], &mut bare()).contains(&addresses[0].to_string()));
    assert!(
        asked([&first, &second], &mut with_environment.command(&["healthcheck"])).contains(&addresses[2].to_string())
    );
}

#[test]
fn a_list_is_an_array_in_a_file_and_comma_separated_in_the_environment() {
    let folder = Folder::new();
    let file = folder.write("a.toml", "[server]\nallow_origins = [\"https://a.example\", \"https://b.example\"]\n");
    assert_eq!(load(&[file], &[MEMORY]).server.allow_origins, ["https://a.example", "https://b.example"]);
    let list = ("STRATUS__SERVER__ALLOW_ORIGINS", "https://a.example, https://b.example:8443,");
    assert_eq!(load(&[], &[MEMORY, list]).server.allow_origins, ["https://a.example", "https://b.example:8443"]);
    let none = ("STRATUS__SERVER__ALLOW_ORIGINS", "");
    assert!(load(&[], &[MEMORY, none]).server.allow_origins.is_empty());
}

#[test]
fn a_secret_that_looks_like_a_number_or_a_truth_stays_as_it_is() {
    let folder = Folder::new();
    let authority = CertificateParams::default().self_signed(&KeyPair::generate().unwrap()).unwrap();
    let ca = folder.write("ca.crt", &authority.pem());
    let key = "a:PwECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    for secret in ["0123456", "1e5", "true", "0x10", "00", " padded "] {
        let file = folder.write("secret", &format!("{secret}\n"));
        let config = load(
            &[folder.write("a.toml", &format!("[upstream]\napi_key = \"{secret}\"\n"))],
            &[
                ("STRATUS__REDIS__PASSWORD", secret),
                ("STRATUS__ADMIN__TOKEN_FILE", text(&file)),
                ("STRATUS__REDIS__CA_FILE", text(&ca)),
                ("STRATUS__ENCRYPTION__KEYS", key),
            ],
        );
        let StoreConfig::Redis(redis) = config.store else { panic!("Redis is the default") };
        assert_eq!(redis.files.password.read().unwrap().expose_secret(), secret);
        assert_eq!(config.admin.token.unwrap().get().expose_secret(), secret);
        assert_eq!(config.upstream.api_key.unwrap().get().expose_secret(), secret);
    }
}

#[test]
fn variables_that_kubernetes_makes_for_a_service_named_stratus_do_not_count() {
    let mut command = Settings::memory().command(&["serve"]);
    command.envs([
        ("STRATUS_PORT", "tcp://10.0.0.1:3000"),
        ("STRATUS_PORT_3000_TCP_ADDR", "10.0.0.1"),
        ("STRATUS_SERVICE_HOST", "10.0.0.1"),
        ("STRATUS_SERVER_LISTEN", "10.0.0.1:3000"),
        ("STRATUS", "x"),
    ]);
    let service = Service::start(&mut command);
    assert!(service.public.ip().is_loopback());
}
