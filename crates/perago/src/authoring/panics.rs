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
    let backtrace = (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string());
    Panic { message, place, backtrace }
}
