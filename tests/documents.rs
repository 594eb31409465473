//! The pages for people: nothing they point at is missing, and each can be found.

#![allow(clippy::unwrap_used, reason = "a page that cannot be read is a failed test")]

use std::path::{Path, PathBuf};

use regex::Regex;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The pages directly in a folder of the repository.
fn pages(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "md")).collect()
}

/// What a page links to in this repository, without fragments.
fn links(page: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(page).unwrap();
    let link = Regex::new(r##"\]\(([^)\s#]+)[^)]*\)|(?:src|href|srcset)="([^"#]+)""##).unwrap();
    let found = link.captures_iter(&text).map(|found| found.get(1).or(found.get(2)).unwrap().as_str().to_owned());
    found.filter(|target| !target.contains("://") && !target.starts_with("mailto:")).collect()
}

#[test]
fn every_link_of_a_page_leads_somewhere() {
    let mut seen = 0;
    for folder in ["", "docs", "deploy/kubernetes", "examples"] {
        for page in pages(folder) {
            for target in links(&page) {
                seen += 1;
                let path = page.parent().unwrap().join(&target);
                assert!(path.exists(), "{} links to {target}, which is not there", page.display());
            }
        }
    }
    assert!(seen > 50, "only {seen} links were found: are they read?");
}

#[test]
fn every_page_of_the_docs_is_in_their_index() {
    let index = root().join("docs/README.md");
    let listed = links(&index);
    for page in pages("docs") {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(name == "README.md" || listed.iter().any(|target| target == name), "{name} is not in docs/README.md");
    }
}
