//! The client against servers: the embedded store, a scripted one, and a real lakeFS where one is given.

mod calls;
mod failures;
mod support;
mod transfers;
