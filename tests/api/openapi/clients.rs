//! The clients of `examples/`, as their README has them started, against a real service.

use std::path::{Path, PathBuf};
use std::process::Output;

use tokio::process::Command;

use super::service;
use crate::harness::{PATIENCE, Service};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What starts each client.
fn clients() -> [Vec<PathBuf>; 3] {
    let script = |program: &str, file: &str| vec![program.into(), Path::new(ROOT).join("examples").join(file)];
    // Beside the program that is tested.
    let programs = Path::new(env!("CARGO_BIN_EXE_stratus")).parent().expect("a folder");
    let client = programs.join("examples/client");
    assert!(client.exists(), "`cargo test` builds it; with --test, `cargo build --tests --example client` before");
    [script("node", "javascript/weather.mjs"), script("python3", "python/weather.py"), vec![client]]
}

/// Runs a client to its end. One that cannot be started fails the test: scripts/test installs what they need.
async fn run(client: &[PathBuf], service: &Service, place: &str) -> Output {
    let mut command = Command::new(&client[0]);
    command.args(&client[1..]).arg(place).env("STRATUS_URL", format!("http://{}", service.public)).kill_on_drop(true);
    for proxy in ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    // So that nothing is left beside the file.
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    let ran = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends");
    ran.unwrap_or_else(|error| panic!("{} cannot be started: {error}", client[0].display()))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_prints_the_weather_and_how_fresh_it_is() {
    let (_upstream, service) = service().await;
    let miss = service.get("/weather/Z%C3%BCrich,CH").await.json();
    let (degrees, sky) = (miss["main"]["temp"].as_f64().expect("degrees"), miss["weather"][0]["description"].clone());
    let sky = sky.as_str().expect("words");
    let name = miss["name"].as_str().expect("a name");
    for client in clients() {
        let ran = run(&client, &service, "Zürich,CH").await;
        let printed = String::from_utf8_lossy(&ran.stdout).into_owned();
        assert_eq!((ran.status.code(), ran.stderr.len()), (Some(0), 0), "{client:?}: {ran:?}");
        assert_eq!(printed, format!("{name}: {degrees:.1} °C, {sky} (HIT, 300 s fresh)\n"), "{client:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_client_tells_an_error_as_the_service_does() {
    let (_upstream, service) = service().await;
    for (place, path) in [("Atlantis", "/weather/Atlantis"), ("12", "/weather/12")] {
        let problem = service.get(path).await.json();
        let sentence = problem["detail"].as_str().expect("a sentence");
        for client in clients() {
            let ran = run(&client, &service, place).await;
            let told = String::from_utf8_lossy(&ran.stderr).into_owned();
            assert_eq!((ran.status.code(), ran.stdout.len()), (Some(1), 0), "{client:?}: {ran:?}");
            assert_eq!(told.trim_end(), sentence, "{client:?}");
        }
    }
}
