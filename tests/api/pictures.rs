//! The pictures of the documentation, taken of the real program. `scripts/screenshots` runs this.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::browser::harness::{Browser, Look};

/// A picture: the name of its file, the page, and how it is looked at.
#[derive(Debug)]
struct Picture {
    name: &'static str,
    /// Each is opened until one looks as wished: it is not day everywhere.
    paths: &'static [&'static str],
    look: Look,
    /// When it is there, as an expression; and whether it looks as wished.
    ready: &'static str,
    wished: &'static str,
    /// What is clicked on before, and when that is done.
    click: Option<(&'static str, &'static str)>,
}

const PLACES: &[&str] =
    &["/#London", "/#Cape%20Town", "/#Tokyo", "/#New%20York,US", "/#Sydney", "/#Honolulu", "/#Reykjavik"];
const WEATHER: &str = "document.getElementById('answer').checkVisibility()";
const AGAIN: Option<(&str, &str)> = Some((
    "#again",
    "document.getElementById('result').textContent === 'HIT' && document.getAnimations().length === 0",
));

/// All of them. The sizes are fixed, so that a picture changes only where its page does.
const PICTURES: [Picture; 4] = [
    Picture {
        name: "page-light",
        paths: PLACES,
        look: Look { height: 1_240, ..Look::DESKTOP },
        ready: WEATHER,
        wished: "document.body.dataset.sky.endsWith('-day')",
        click: AGAIN,
    },
    Picture {
        name: "page-dark",
        paths: PLACES,
        look: Look { height: 1_240, ..Look::DESKTOP }.dark(),
        ready: WEATHER,
        wished: "document.body.dataset.sky.endsWith('-night')",
        click: AGAIN,
    },
    Picture {
        name: "page-phone",
        paths: PLACES,
        look: Look { height: 1_500, ..Look::PHONE },
        ready: WEATHER,
        wished: "document.body.dataset.sky.endsWith('-day')",
        click: AGAIN,
    },
    Picture {
        name: "docs",
        paths: &["/docs"],
        look: Look::DESKTOP,
        ready: "document.querySelector('.opblock')",
        wished: "document.querySelectorAll('.opblock-tag').length > 1",
        click: None,
    },
];

/// Starts the demo and gives where it listens.
async fn demo() -> (Child, SocketAddr) {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_stratus"))
        .args(["demo", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("the program");
    let mut lines = BufReader::new(demo.stdout.take().expect("a pipe")).lines();
    while let Some(line) = lines.next_line().await.expect("text") {
        if let Some((_, rest)) = line.split_once("listening public=") {
            let address = rest.split(' ').next().and_then(|address| address.parse().ok()).expect("an address");
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (demo, address);
        }
    }
    panic!("the demo ended")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes pictures: scripts/screenshots"]
async fn every_page_has_its_pictures() {
    let folder = std::env::var("STRATUS_PICTURES").expect("STRATUS_PICTURES: scripts/screenshots sets it");
    let (_demo, public) = demo().await;
    let browser = Browser::start().await;
    for picture in PICTURES {
        browser.look(picture.look).await;
        let mut as_wished = false;
        for path in picture.paths {
            browser.open("about:blank").await;
            browser.open(&format!("http://{public}{path}")).await;
            browser.until(picture.name, picture.ready).await;
            as_wished = browser.run(&format!("return {}", picture.wished)).await == true;
            if as_wished {
                break;
            }
        }
        assert!(as_wished, "{}", picture.name);
        if let Some((button, done)) = picture.click {
            browser.click(button).await;
            browser.until(picture.name, done).await;
            browser.run("document.activeElement.blur(); scrollTo(0, 0)").await;
        }
        let file = Path::new(&folder).join(picture.name).with_extension("png");
        std::fs::write(file, browser.picture().await).expect("a file");
    }
}
