//! The import arrows: who may know whom. A new arrow is a decision, made here and in `src/lib.rs`. And that SECURITY.md
//! names tests that exist, and that nothing came into the dependencies that must not.

#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Importer, then whom it may import. `app` is the composition root and may know everyone.
const ARROWS: [(&str, &[&str]); 21] = [
    ("main", &["cli"]),
    (
        "cli",
        &[
            "app",
            "clock",
            "config",
            "consumers",
            "credentials",
            "crypto",
            "demo",
            "hardening",
            "provision",
            "service_manager",
            "store",
            "telemetry",
            "upstream",
            "weather",
        ],
    ),
    (
        "app",
        &[
            "cache",
            "clock",
            "config",
            "credentials",
            "demo",
            "http",
            "limits",
            "reload",
            "store",
            "telemetry",
            "upstream",
        ],
    ),
    (
        "config",
        &["cache", "certificate", "consumers", "crypto", "http", "reload", "secret", "store", "telemetry", "upstream"],
    ),
    ("demo", &["config", "http", "provision"]),
    (
        "http",
        &["cache", "certificate", "clock", "consumers", "credentials", "limits", "reload", "telemetry", "weather"],
    ),
    ("consumers", &["limits", "telemetry", "weather"]),
    ("cache", &["clock", "crypto", "store", "telemetry", "weather"]),
    ("credentials", &["crypto", "store"]),
    ("store", &["certificate", "clock", "crypto", "reload", "rights", "secret", "telemetry"]),
    ("upstream", &["clock", "credentials", "crypto", "reload", "store", "telemetry", "weather"]),
    ("limits", &["crypto", "store", "telemetry", "weather"]),
    ("provision", &["crypto", "rights"]),
    ("certificate", &["reload", "secret"]),
    ("rights", &[]),
    ("crypto", &[]),
    ("weather", &[]),
    ("telemetry", &[]),
    ("secret", &[]),
    ("reload", &[]),
    ("service_manager", &[]),
];

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

/// The module that a file belongs to and its text, less its tests.
fn modules() -> Vec<(String, PathBuf, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    rust_files(&src)
        .into_iter()
        .filter(|path| path.file_name().unwrap() != "lib.rs" && !path.to_str().unwrap().contains("tests.rs"))
        .map(|path| {
            let relative = path.strip_prefix(&src).unwrap();
            let first = relative.components().next().unwrap().as_os_str().to_str().unwrap();
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
            (first.trim_end_matches(".rs").to_owned(), path, code)
        })
        .collect()
}

/// The modules of this crate that a text names, less those in comments; `main` is a crate of its own and says `stratus`.
fn imports(module: &str, code: &str) -> BTreeSet<String> {
    let root = if module == "main" { "stratus::" } else { "crate::" };
    let name = |rest: &str| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect::<String>();
    code.lines()
        .map(|line| line.split("//").next().unwrap())
        .flat_map(|line| {
            line.match_indices(root).map(|(at, found)| name(&line[at + found.len()..])).collect::<Vec<_>>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn every_file_imports_only_what_its_module_may_know() {
    let mut wrong = Vec::new();
    for (module, path, code) in modules() {
        let Some((_, allowed)) = ARROWS.iter().find(|(importer, _)| *importer == module) else {
            assert!(imports(&module, &code).is_empty(), "{} imports, but `{module}` has no arrows", path.display());
            continue;
        };
        for import in imports(&module, &code) {
            if import != module && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{}: {module} -> {import}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_list_of_arrows_names_none_that_is_not_used() {
    let modules = modules();
    for (importer, allowed) in ARROWS {
        let used: BTreeSet<_> = modules
            .iter()
            .filter(|(module, ..)| module == importer)
            .flat_map(|(module, _, code)| imports(module, code))
            .collect();
        for import in allowed {
            assert!(used.contains(*import), "{importer} -> {import} is allowed but unused");
        }
    }
}

#[test]
fn redis_and_the_upstream_api_are_each_known_in_one_place() {
    for (module, path, code) in modules() {
        let code: String = code.lines().map(|line| line.split("//").next().unwrap()).collect();
        let path = path.to_str().unwrap();
        assert!(!code.contains("redis::cmd") || path.contains("store/redis"), "{path} speaks to Redis");
        assert!(!code.contains("axum") || ["http", "demo"].contains(&module.as_str()), "{path} knows axum");
        // The table of what can be asked, how it is asked, and who plays the one that is asked.
        let may_know = ["weather/endpoint/table.rs", "upstream/openweather.rs"].iter().any(|file| path.ends_with(file));
        let knows_api = code.contains("\"/data/2.5") || code.contains("/data/2.5/weather\"");
        assert!(!knows_api || may_know || path.contains("demo/simulated"), "{path} knows the API");
    }
}

/// The tests that a page names: what it has in backticks and is as long as the name of a promise.
fn tests_named(page: &str) -> BTreeSet<String> {
    let name = regex::Regex::new("`([a-z][a-z0-9_]{24,})`").unwrap();
    name.captures_iter(page).map(|found| found[1].to_owned()).collect()
}

#[test]
fn every_claim_of_the_security_pages_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = fs::read_to_string(root.join("SECURITY.md")).unwrap();
    let code: String = [root.join("src"), root.join("tests")]
        .iter()
        .flat_map(|dir| rust_files(dir))
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    let standard = fs::read_to_string(root.join("docs/asvs.md")).unwrap();
    let names = tests_named(&page);
    assert!(names.len() > 40, "they are found at all");
    for name in names.union(&tests_named(&standard)) {
        assert!(code.contains(&format!("fn {name}(")), "`{name}` is named as a proof, but is no test");
    }
    // Each row of the table has at least one.
    let claims = page.split("| claim | test |").nth(1).unwrap().split("\n\n").next().unwrap();
    for row in claims.lines().skip(2).filter(|row| !row.starts_with("| **")) {
        assert!(!tests_named(row).is_empty(), "no proof: {row}");
    }
}

/// What `name = "…"` and the like say in each package of a lock file.
fn packages(lock_file: &str) -> Vec<[Option<String>; 4]> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(lock_file);
    let text = fs::read_to_string(path).unwrap();
    let packages = text.split("[[package]]").skip(1).map(|package| {
        ["name", "version", "source", "checksum"].map(|field| {
            let line = package.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(" = "))?;
            Some(line.trim_matches('"').to_owned())
        })
    });
    packages.collect()
}

/// Another implementation of TLS beside rustls and ring would be one more to keep an eye on.
const OTHER_TLS: [&str; 11] = [
    "aws-lc-fips-sys",
    "aws-lc-rs",
    "aws-lc-sys",
    "boring",
    "boring-sys",
    "graviola",
    "mbedtls",
    "native-tls",
    "openssl",
    "openssl-sys",
    "s2n-tls",
];

/// What is known about one version says nothing about another.
const ONE_VERSION: [&str; 16] = [
    "aead",
    "aes",
    "aes-gcm",
    "cipher",
    "ctr",
    "digest",
    "ghash",
    "hkdf",
    "hmac",
    "ring",
    "rustls",
    "rustls-webpki",
    "secrecy",
    "sha2",
    "subtle",
    "zeroize",
];

#[test]
fn there_is_one_tls_provider_and_one_version_of_everything_that_touches_keys() {
    let names: Vec<_> = packages("Cargo.lock").into_iter().map(|[name, ..]| name.unwrap()).collect();
    for other in OTHER_TLS {
        assert!(!names.iter().any(|name| name == other), "{other} is in Cargo.lock");
    }
    for single in ONE_VERSION {
        assert_eq!(names.iter().filter(|name| *name == single).count(), 1, "versions of {single} in Cargo.lock");
    }
}

#[test]
fn every_dependency_comes_from_one_registry_with_a_checksum() {
    for (lock_file, own) in [("Cargo.lock", &["stratus"][..]), ("fuzz/Cargo.lock", &["stratus", "stratus-fuzz"])] {
        let mut sources = BTreeSet::new();
        for [name, version, source, checksum] in packages(lock_file) {
            let (name, version) = (name.unwrap(), version.unwrap());
            // A package without a source lies in a folder.
            assert_eq!(source.is_none(), own.contains(&name.as_str()), "{lock_file}: {name} {version}");
            let hexadecimal = |text: &String| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            assert!(source.is_none() || checksum.as_ref().is_some_and(hexadecimal), "{lock_file}: {name} {version}");
            sources.extend(source);
        }
        assert_eq!(sources.len(), 1, "{lock_file}: {sources:?}");
        assert!(sources.iter().all(|source| source.starts_with("registry+https://")), "{lock_file}: {sources:?}");
    }
}

#[test]
fn unsafe_code_is_forbidden_which_no_attribute_can_undo() {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml")).unwrap();
    let lints = manifest.split("[lints.rust]\n").nth(1).unwrap().split("\n[").next().unwrap();
    assert!(lints.lines().any(|line| line == "unsafe_code = \"forbid\""), "{lints}");
}
