//! One file a command.

pub(crate) mod check;
pub(crate) mod completion;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod extract;
pub(crate) mod gc;
pub(crate) mod pause;
pub(crate) mod run;
pub(crate) mod start;
pub(crate) mod status;
