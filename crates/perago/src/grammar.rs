//! The grammar of the command line, in the words of the authoring language that it serves.

use std::ffi::OsStr;
use std::path::Path;

use clap::builder::PossibleValuesParser;
use clap::{Arg, Command, CommandFactory as _};

use crate::arguments::Arguments;
use crate::{Host, Targets};

/// The commands that take what is to be run.
const WITH_TARGET: [&str; 4] = ["check", "extract", "run", "start"];

/// The commands and options for `host`, whose program was started as `program`.
pub(crate) fn command(host: &Host, program: Option<&OsStr>) -> Command {
    let mut command = Arguments::command();
    if host.demo.is_none() {
        command = command.mut_subcommand("demo", |demo| demo.hide(true));
    }
    let Targets::Tasks(names) = &host.targets else { return command };
    if let Some(name) = program.and_then(|program| Path::new(program).file_name()) {
        let name = name.to_string_lossy().into_owned();
        command = command.bin_name(name.clone()).name(name);
    }
    command = command.mut_subcommand("check", |check| {
        check.about("Check a task and the configuration, without any server")
    });
    for name in WITH_TARGET {
        command = command.mut_subcommand(name, |verb| verb.mut_arg("module", |target| task(target, names)));
    }
    command
}

/// A task of the binary by its name; the only one need not be named.
fn task(target: Arg, names: &[String]) -> Arg {
    let target = target
        .value_name("TASK")
        .help("Name of a task of this program")
        .value_parser(PossibleValuesParser::new(names));
    match names {
        [only] => target.required(false).default_value(only.clone()),
        _ => target,
    }
}
