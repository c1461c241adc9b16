//! The workspace engine over the lakeFS client: against the embedded store of both kinds, and against a real server
//! where `PERAGO_TEST_LAKEFS=1` and the `LAKECTL_*` variables name one.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests fail like tests and may speak"
)]

mod attempts;
mod names;
mod properties;
mod publications;
mod scene;
