//! What authors read who use the attribute wrongly: the compiler's messages, as they stand in the files beside the cases.
//!
//! After a change of a message: `TRYBUILD=overwrite cargo test -p perago-suite --test misuse`, and read the difference.

use std::env;
use std::process::Command;

/// The compiler that the files of `misuse/types` were written with: half of their words are its own.
const COMPILER: &str = "rustc 1.95.";

#[test]
fn every_misuse_is_named_where_it_stands() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/misuse/*.rs");
    let compiler = env::var_os("RUSTC").unwrap_or("rustc".into());
    let version = Command::new(compiler).arg("--version").output().unwrap().stdout;
    if version.starts_with(COMPILER.as_bytes()) {
        cases.compile_fail("tests/misuse/types/*.rs");
    } else {
        eprintln!("tests/misuse/types: NOT RUN, they are for {COMPILER}x");
    }
}
