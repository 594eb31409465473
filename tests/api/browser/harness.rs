//! A real browser: headless Chromium, driven over WebDriver (W3C) by a chromedriver of its own.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fantoccini::actions::{InputSource, KeyAction, KeyActions};
use fantoccini::wd::{Capabilities, TimeoutConfiguration, WebDriverCompatibleCommand};
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use url::Url;

pub(crate) use fantoccini::key::Key;

/// Nothing in a browser takes this long, unless it is broken: a machine that stands still for seconds is not.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// What browsers say of every answer that is no success. It is no fault of a page.
const OF_ANSWERS: &str = "Failed to load resource: the server responded with a status of";

/// Addresses that no network is needed for.
const INSIDE: [&str; 5] = ["about", "chrome", "chrome-untrusted", "data", "devtools"];

/// How somebody looks at a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) dark: bool,
    /// Whether they prefer less motion.
    pub(crate) still: bool,
}

impl Look {
    pub(crate) const DESKTOP: Self = Self { width: 1_280, height: 900, dark: false, still: false };
    pub(crate) const PHONE: Self = Self { width: 360, height: 740, dark: false, still: false };

    pub(crate) const fn dark(self) -> Self {
        Self { dark: true, ..self }
    }
}

/// A request that a page made.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) url: Url,
    /// In lower case.
    pub(crate) headers: Vec<(String, String)>,
    /// What came back over the wire, head included; 0 if nothing did.
    pub(crate) bytes: u64,
}

/// A running browser, which ends when this is dropped.
pub(crate) struct Browser {
    client: Client,
    driver: Child,
    _folder: TempDir,
}

impl Browser {
    /// Starts one, with nothing in it.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut driver = Command::new("chromedriver")
            .arg("--port=0")
            // What it leaves behind goes with the folder.
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("chromedriver: scripts/test-pages installs it");
        let port = port_of(&mut driver).await;
        let mut client = ClientBuilder::new(HttpConnector::new());
        client.capabilities(capabilities(&folder.path().join("profile")));
        let client = client.connect(&format!("http://127.0.0.1:{port}")).await.expect("a browser");
        let patience = TimeoutConfiguration::new(Some(PATIENCE), Some(PATIENCE), None);
        client.update_timeouts(patience).await.expect("timeouts");
        let browser = Self { client, driver, _folder: folder };
        browser.look(Look::DESKTOP).await;
        // The browser's own first page is not what is tested.
        browser.open("about:blank").await;
        for kind in ["browser", "performance"] {
            browser.log(kind).await;
        }
        browser
    }

    /// Changes the window and the colours and motion that its user prefers.
    pub(crate) async fn look(&self, look: Look) {
        let size =
            json!({"width": look.width, "height": look.height, "deviceScaleFactor": 1, "mobile": look.width < 500});
        self.devtools("Emulation.setDeviceMetricsOverride", size).await;
        let scheme = json!({"name": "prefers-color-scheme", "value": if look.dark { "dark" } else { "light" }});
        let motion = if look.still { "reduce" } else { "no-preference" };
        let motion = json!({"name": "prefers-reduced-motion", "value": motion});
        self.devtools("Emulation.setEmulatedMedia", json!({ "features": [scheme, motion] })).await;
    }

    /// Opens an address and waits until the page is loaded.
    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.expect("a page");
    }

    pub(crate) async fn reload(&self) {
        self.client.refresh().await.expect("a page");
    }

    /// As with the button.
    pub(crate) async fn back(&self) {
        self.client.back().await.expect("a page");
    }

    pub(crate) async fn address(&self) -> Url {
        self.client.current_url().await.expect("an address")
    }

    /// Runs the body of a function in the page and gives what it returns.
    pub(crate) async fn run(&self, script: &str) -> Value {
        self.client.execute(script, Vec::new()).await.expect("a script that runs")
    }

    /// Waits until an expression is true in the page; `what` is for the report.
    pub(crate) async fn until(&self, what: &str, expression: &str) {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             const look = () => {{ if ({expression}) done(); else setTimeout(look, 20); }};
             look();"
        );
        if let Err(error) = self.client.execute_async(&script, Vec::new()).await {
            panic!("never: {what}: {error}; the page says: {}", self.run("return document.body.innerText").await);
        }
    }

    /// Waits until the element with this id is seen and contains these words.
    pub(crate) async fn shows(&self, id: &str, words: &str) {
        let (id, words) = (json!(id), json!(words));
        let seen = format!("const e = document.getElementById({id}); return e.checkVisibility() && e.innerText");
        let condition = format!("((() => {{ {seen}; }})() || '').includes({words})");
        self.until(&format!("{words} in {id}"), &condition).await;
    }

    /// What can be read in the element with this id; nothing if it is not seen.
    pub(crate) async fn text(&self, id: &str) -> String {
        let id = json!(id);
        let script =
            format!("const e = document.getElementById({id}); return e.checkVisibility() ? e.innerText.trim() : ''");
        self.run(&script).await.as_str().expect("text").to_owned()
    }

    /// Clicks on what a CSS selector finds, as a mouse does.
    pub(crate) async fn click(&self, selector: &str) {
        let found = self.client.find(fantoccini::Locator::Css(selector)).await;
        found.unwrap_or_else(|error| panic!("{selector}: {error}")).click().await.expect("a click");
    }

    /// Types text where the focus is.
    pub(crate) async fn type_text(&self, text: &str) {
        self.strike(text.chars()).await;
    }

    /// Presses keys, one after the other.
    pub(crate) async fn press(&self, keys: &[Key]) {
        self.strike(keys.iter().map(|key| char::from(*key))).await;
    }

    async fn strike(&self, keys: impl Iterator<Item = char>) {
        let strokes = keys.fold(KeyActions::new("keyboard".to_owned()), |actions, value| {
            actions.then(KeyAction::Down { value }).then(KeyAction::Up { value })
        });
        self.client.perform_actions(strokes).await.expect("a keyboard");
    }

    /// A PNG of the window.
    pub(crate) async fn picture(&self) -> Vec<u8> {
        self.client.screenshot().await.expect("a picture")
    }

    /// What the console says since it was last asked, warnings and errors, less what it says of answers that are no success.
    pub(crate) async fn complaints(&self) -> Vec<String> {
        let lines = self.log("browser").await;
        let serious = lines.iter().filter(|line| matches!(line["level"].as_str(), Some("WARNING" | "SEVERE")));
        let messages = serious.map(|line| line["message"].as_str().unwrap_or_default().to_owned());
        messages.filter(|message| !message.contains(OF_ANSWERS)).collect()
    }

    /// Waits until the console complains of something with these words.
    pub(crate) async fn complains_of(&self, words: &str) {
        let told = async { while !self.complaints().await.iter().any(|line| line.contains(words)) {} };
        tokio::time::timeout(PATIENCE, told).await.unwrap_or_else(|_| panic!("nobody complains of: {words}"));
    }

    /// The requests that were made since it was last asked, in order.
    pub(crate) async fn requests(&self) -> Vec<Sent> {
        let mut sent: Vec<(Value, Sent)> = Vec::new();
        for line in self.log("performance").await {
            let text = line["message"].as_str().unwrap_or_default();
            let event: Value = serde_json::from_str(text).expect("an event");
            let (event, id) = (&event["message"], &event["message"]["params"]["requestId"]);
            match event["method"].as_str() {
                Some("Network.requestWillBeSent") => sent.push((id.clone(), request(&event["params"]["request"]))),
                Some("Network.loadingFinished") => {
                    // In bytes, but written with a decimal point.
                    let bytes = event["params"]["encodedDataLength"].as_f64().unwrap_or_default() as u64;
                    sent.iter_mut().filter(|(of, _)| of == id).for_each(|(_, sent)| sent.bytes = bytes);
                }
                _ => {}
            }
        }
        // The icon of a tab is an address that holds its own content.
        sent.into_iter().map(|(_, sent)| sent).filter(|sent| !INSIDE.contains(&sent.url.scheme())).collect()
    }

    /// What axe-core finds wrong for people who see, hear or move less well (WCAG 2.2 AA, and good practice).
    pub(crate) async fn barriers(&self) -> Vec<String> {
        let file = std::env::var("STRATUS_AXE").expect("STRATUS_AXE: scripts/test-pages sets it");
        let axe = std::fs::read_to_string(file).expect("axe-core");
        let script = format!(
            "{axe};
             const done = arguments[arguments.length - 1];
             const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
             // What is half there is not yet as it will be seen.
             Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => 0)))
               .then(() => axe.run(document, {{ runOnly: tags }}))
               .then(({{ violations, passes }}) => done([passes.length, ...violations.map(({{ id, nodes }}) =>
                 id + ': ' + nodes.map(({{ html, failureSummary }}) => html + ' ' + failureSummary).join('; '))]),
                 (error) => done(['', String(error)]));"
        );
        let found = self.client.execute_async(&script, Vec::new()).await.expect("axe-core");
        let found: Vec<_> = found.as_array().expect("a list").clone();
        assert!(found[0].as_u64().is_some_and(|passed| passed > 10), "axe-core looked at hardly anything: {found:?}");
        found[1..].iter().map(|barrier| barrier.as_str().unwrap_or_default().to_owned()).collect()
    }

    /// What the page has left in the browser: cookies, storage, databases, caches, service workers.
    pub(crate) async fn left_behind(&self) -> Value {
        let script = "const done = arguments[arguments.length - 1];
            Promise.all([indexedDB.databases(), caches.keys(), navigator.serviceWorker.getRegistrations()])
              .then((lists) => done([document.cookie, ...Object.keys(localStorage), ...Object.keys(sessionStorage), ...lists.flat()]
                .filter((one) => one !== '')), (error) => done([String(error)]));";
        self.client.execute_async(script, Vec::new()).await.expect("a script that runs")
    }

    /// Process ids of the driver, the browser and all that they have started.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        descendants(self.driver.id().expect("it runs"))
    }

    async fn devtools(&self, cmd: &str, params: Value) {
        let command = Extension { path: "goog/cdp/execute", body: json!({"cmd": cmd, "params": params}) };
        self.client.issue_cmd(command).await.expect("a command of the developer tools");
    }

    async fn log(&self, kind: &str) -> Vec<Value> {
        let log = self.client.issue_cmd(Extension { path: "se/log", body: json!({ "type": kind }) }).await;
        log.expect("a log").as_array().expect("a list").clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver alone would leave its browser for a while.
        let own = self.driver.id().map(descendants).unwrap_or_default();
        for pid in own.into_iter().filter_map(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
            // One that has gone by itself is fine.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}

/// Whether a process is there and not just waiting for its parent to notice its end.
pub(crate) fn runs(pid: u32) -> bool {
    let state = stat(pid).and_then(|stat| stat.split(' ').nth(1).map(|state| !matches!(state, "Z" | "X")));
    state.unwrap_or(false)
}

/// What stands behind the name of a process in its stat: state, parent and so on.
fn stat(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(stat.rsplit_once(')')?.1.to_owned())
}

/// A process and all below it.
fn descendants(root: u32) -> BTreeSet<u32> {
    let parent = |pid| stat(pid).and_then(|stat| stat.split(' ').nth(2)?.parse().ok());
    let all =
        std::fs::read_dir("/proc").expect("Linux").filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let all: Vec<(u32, u32)> = all.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = BTreeSet::from([root]);
    loop {
        let before = found.len();
        let children: Vec<_> = all.iter().filter(|(_, parent)| found.contains(parent)).map(|(pid, _)| *pid).collect();
        found.extend(children);
        if found.len() == before {
            return found;
        }
    }
}

/// Waits until the driver says on which port it listens.
async fn port_of(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().expect("a pipe")).lines();
    let port = async {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some((_, port)) = line.split_once("started successfully on port ") {
                return port.trim_end_matches('.').parse().expect("a port");
            }
        }
        panic!("chromedriver does not start")
    };
    let port = tokio::time::timeout(PATIENCE, port).await.expect("chromedriver starts");
    // What else it prints has to go somewhere.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    port
}

fn capabilities(profile: &Path) -> Capabilities {
    let arguments = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-proxy-server",
        "--hide-scrollbars",
    ];
    let mut arguments: Vec<_> = arguments.map(str::to_owned).to_vec();
    arguments.push(format!("--user-data-dir={}", profile.display()));
    let mut options = json!({ "args": arguments });
    // Where it has another name than chromedriver looks for.
    if let Ok(program) = std::env::var("STRATUS_CHROMIUM") {
        options["binary"] = program.into();
    }
    let logs = json!({"browser": "ALL", "performance": "ALL"});
    [("goog:chromeOptions".to_owned(), options), ("goog:loggingPrefs".to_owned(), logs)].into_iter().collect()
}

fn request(told: &Value) -> Sent {
    let headers = told["headers"].as_object().into_iter().flatten();
    let headers =
        headers.map(|(name, value)| (name.to_ascii_lowercase(), value.as_str().unwrap_or_default().to_owned()));
    let url = told["url"].as_str().and_then(|url| Url::parse(url).ok()).expect("an address");
    Sent { url, headers: headers.collect(), bytes: 0 }
}

/// A command that WebDriver itself does not have.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        (Method::POST, Some(self.body.to_string()))
    }
}
