#![no_main]

use std::sync::LazyLock;

use stratus_fuzz::configuration::Ground;

static GROUND: LazyLock<Ground> = LazyLock::new(Ground::new);

libfuzzer_sys::fuzz_target!(
    // Relative paths lead nowhere else, either.
    init: std::env::set_current_dir(GROUND.path()).expect("a folder that was just made"),
    |data: &[u8]| GROUND.check(data)
);
