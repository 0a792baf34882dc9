//! Builds the switchable bugs in when `RAFTKIT_MUTANTS` is set: for the project's own tests of its tests, and never in a
//! build that anyone would run.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RAFTKIT_MUTANTS");
    println!("cargo::rustc-check-cfg=cfg(mutants)");
    if env::var_os("RAFTKIT_MUTANTS").is_none() {
        return;
    }
    let is_release = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if is_release || env::var_os("CARGO_CFG_DEBUG_ASSERTIONS").is_none() {
        println!(
            "cargo::error=RAFTKIT_MUTANTS builds known bugs in, for tests of the tests alone: unset it, or build \
             with the dev or test profile and debug assertions on"
        );
        return;
    }
    println!("cargo::rustc-cfg=mutants");
}
