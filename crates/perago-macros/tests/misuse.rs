//! What authors read who use the attribute wrongly: the compiler's messages, as they stand in the files beside the cases.
//!
//! After a change of a message: `TRYBUILD=overwrite cargo test -p perago-macros --test misuse`, and read the difference.

#[test]
fn every_misuse_is_named_where_it_stands() {
    trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
}
