//! Panics of bodies: what they say and where, caught for the attempt's failure.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::{Cell, RefCell};
use std::panic::{self, PanicHookInfo};

/// A panic of a body.
#[derive(Debug, Default)]
pub(super) struct Panic {
    message: String,
    place: String,
    backtrace: Option<String>,
}

impl Panic {
    /// What Conductor shows.
    pub(super) fn reason(&self) -> String {
        match (self.message.as_str(), self.place.as_str()) {
            ("", "") => "the body panicked".to_owned(),
            (message, "") => format!("the body panicked: {message}"),
            ("", place) => format!("the body panicked at {place}"),
            (message, place) => format!("the body panicked at {place}: {message}"),
        }
    }

    /// What the worker's log shows.
    pub(super) fn details(&self) -> String {
        match &self.backtrace {
            Some(backtrace) => format!("{}\n{backtrace}", self.reason()),
            None => format!("{}\nRUST_BACKTRACE=1 adds the backtrace", self.reason()),
        }
    }
}

thread_local! {
    static IN_BODY: Cell<bool> = const { Cell::new(false) };
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Keeps panics of bodies off standard error; all others are said there as before, once each.
pub(super) fn install() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if IN_BODY.get() {
            LAST.set(Some(panic_of(info)));
        } else {
            before(info);
        }
    }));
}

/// Runs a body that catches its own panic; returns what the panic said.
pub(super) fn noted<T>(body: impl FnOnce() -> T) -> (T, Option<Panic>) {
    LAST.set(None);
    IN_BODY.set(true);
    let returned = body();
    IN_BODY.set(false);
    (returned, LAST.take())
}

fn panic_of(info: &PanicHookInfo<'_>) -> Panic {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let message = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    let place = info.location().map(ToString::to_string).unwrap_or_default();
    let backtrace = Backtrace::capture();
    let is_there = backtrace.status() == BacktraceStatus::Captured;
    Panic { message, place, backtrace: is_there.then(|| of_the_author(&backtrace.to_string())) }
}

/// A backtrace without the machinery of panics before the author's code and our own after it.
fn of_the_author(backtrace: &str) -> String {
    let mut frames: Vec<Vec<&str>> = Vec::new();
    for line in backtrace.lines() {
        let is_place = line.trim_start().starts_with("at ");
        match frames.last_mut() {
            Some(frame) if is_place => frame.push(line),
            _ => frames.push(vec![line]),
        }
    }
    let is_panic = |frame: &Vec<&str>| {
        ["core::panicking::", "std::panicking::", "rust_begin_unwind"]
            .iter()
            .any(|name| frame[0].contains(name))
    };
    let is_ours = |frame: &Vec<&str>| frame[0].contains("perago::authoring::");
    // Those of our own hook come first.
    let first = frames.iter().position(is_panic).unwrap_or_default();
    let frames =
        frames[first..].iter().skip_while(|frame| is_panic(frame)).take_while(|frame| !is_ours(frame));
    frames.flatten().copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backtrace_holds_the_author_alone() {
        let backtrace = "   0: perago::authoring::panics::panic_of\n             at panics.rs:66:21\n   \
                         1: std::panicking::panic_with_hook\n   2: core::panicking::panic_fmt\n   \
                         3: app::decode\n             at src/main.rs:7:5\n   4: app::render\n   \
                         5: <impl perago::authoring::task::Task for app::render>::body::{{closure}}\n   6: main";
        assert_eq!(
            of_the_author(backtrace),
            "   3: app::decode\n             at src/main.rs:7:5\n   4: app::render"
        );
        assert_eq!(of_the_author(""), "");
    }
}
