//! Places between two steps on files, where tests end the process.

#[cfg(test)]
use std::cell::Cell;

#[cfg(test)]
thread_local! {
    static LEFT: Cell<Option<u32>> = const { Cell::new(None) };
}

/// A place where a kill must lose and double nothing. Does nothing outside tests.
#[inline]
pub(crate) fn point() {
    #[cfg(test)]
    LEFT.with(|left| match left.get() {
        Some(0) => {
            left.set(None);
            std::panic::panic_any(Crash);
        }
        count => left.set(count.map(|count| count - 1)),
    });
}

/// What a test's crash unwinds with.
#[cfg(test)]
#[derive(Debug)]
pub(crate) struct Crash;

/// Runs `steps` and ends it at the place after `points` others. None if it came to its end before.
#[cfg(test)]
pub(crate) fn at(points: u32, steps: impl FnOnce()) -> Option<Crash> {
    LEFT.set(Some(points));
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(steps));
    LEFT.set(None);
    match result {
        Ok(()) => None,
        Err(payload) => match payload.downcast::<Crash>() {
            Ok(crash) => Some(*crash),
            Err(other) => std::panic::resume_unwind(other),
        },
    }
}
