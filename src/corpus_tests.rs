//! What the fuzz targets check, on the inputs that were kept of them: `fuzz/corpus`, one folder a target.

use std::fs;
use std::path::Path;

/// The checks name this crate as the fuzz targets see it.
#[allow(unreachable_pub, reason = "they are public to the fuzz targets, which are crates of their own")]
#[path = "../fuzz/src/lib.rs"]
mod checks;

/// Runs `check` on every input; a failure is reported after the name of its file.
fn holds_for_all(target: &str, check: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let inputs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(!inputs.is_empty());
    for path in inputs {
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
    }
}

#[test]
fn whatever_a_configuration_says_there_is_a_fault_or_none_and_no_secret_is_shown() {
    let ground = checks::configuration::Ground::new();
    assert!(ground.path().is_dir());
    holds_for_all("configuration", |input| ground.check(input));
}

#[test]
fn whatever_comes_from_a_store_opens_only_if_it_was_sealed_like_this() {
    holds_for_all("envelope", checks::envelope::check);
}

#[test]
fn whatever_a_request_says_the_answer_is_one_of_the_contract_and_repeats_nothing() {
    holds_for_all("headers", checks::headers::check);
}

#[test]
fn whatever_a_place_is_called_it_has_one_spelling_and_asks_for_nothing_else() {
    holds_for_all("location", checks::location::check);
}

#[test]
fn whatever_is_asked_on_openweathermaps_paths_has_one_spelling_and_asks_for_nothing_else() {
    holds_for_all("question", checks::question::check);
}

#[test]
fn whatever_the_upstream_answers_only_weather_is_believed() {
    holds_for_all("upstream_body", checks::upstream_body::check);
}
