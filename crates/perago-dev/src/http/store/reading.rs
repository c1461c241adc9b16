//! Ranges of bytes, as lakeFS and as an object store read them.

use std::ops::Range;

/// What a `Range` header asks of an object.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Everything: there is no header.
    Whole,
    /// These bytes, clipped to the object.
    Part(Range<u64>),
    /// Nothing that the object has; whether the size is worth telling.
    Unsatisfiable {
        /// Whether the answer names the object's size.
        tells_size: bool,
    },
    /// The end of an empty object, on which the server stumbles.
    EndOfNothing,
    /// Not a range.
    Malformed(&'static str),
}

/// Reads a `Range` header against an object's size.
pub(super) fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some(header) = header else { return Wanted::Whole };
    if header.is_empty() {
        return Wanted::Malformed("empty value is not allowed");
    }
    let Some(ranges) = header.strip_prefix("bytes=").filter(|ranges| are_ranges(ranges)) else {
        return Wanted::Malformed(
            "string doesn't match the regular expression \"^bytes=((\\d*-\\d*,? ?)+)$\"",
        );
    };
    let bounds = ranges.split_once('-').map(|(start, end)| (start.parse().ok(), end.parse().ok()));
    match bounds {
        _ if ranges.contains([',', ' ']) => Wanted::Unsatisfiable { tells_size: false },
        Some((Some(start), Some(end))) if start > end => Wanted::Unsatisfiable { tells_size: false },
        Some((Some(start), _)) if start >= size => Wanted::Unsatisfiable { tells_size: true },
        Some((Some(start), end)) => {
            let end: Option<u64> = end;
            Wanted::Part(start..end.map_or(size, |end| end.saturating_add(1).min(size)))
        }
        Some((None, Some(0))) => Wanted::Unsatisfiable { tells_size: true },
        Some((None, Some(_))) if size == 0 => Wanted::EndOfNothing,
        Some((None, Some(length))) => Wanted::Part(size.saturating_sub(length)..size),
        _ => Wanted::Unsatisfiable { tells_size: false },
    }
}

/// Whether a text has the form `1-2`, `1-`, `-2`, or several of them.
fn are_ranges(text: &str) -> bool {
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
        let Some(after) = rest.strip_prefix('-') else { return false };
        rest = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
        rest = rest.strip_prefix(',').unwrap_or(rest);
        rest = rest.strip_prefix(' ').unwrap_or(rest);
        if rest.is_empty() {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Wanted, wanted};

    #[test]
    fn ranges_are_clipped_to_the_object() {
        for (header, expected) in [
            ("bytes=1-2", Wanted::Part(1..3)),
            ("bytes=7-99", Wanted::Part(7..10)),
            ("bytes=7-", Wanted::Part(7..10)),
            ("bytes=-3", Wanted::Part(7..10)),
            ("bytes=-99", Wanted::Part(0..10)),
            ("bytes=-0", Wanted::Unsatisfiable { tells_size: true }),
            ("bytes=10-", Wanted::Unsatisfiable { tells_size: true }),
            ("bytes=5-2", Wanted::Unsatisfiable { tells_size: false }),
            ("bytes=0-1,4-5", Wanted::Unsatisfiable { tells_size: false }),
        ] {
            assert_eq!(wanted(Some(header), 10), expected, "{header}");
        }
        assert_eq!(wanted(None, 10), Wanted::Whole);
        assert_eq!(wanted(Some("bytes=-1"), 0), Wanted::EndOfNothing);
        for header in ["bytes=abc", "items=0-1", "0-1", "", "bytes= 1-2"] {
            assert!(matches!(wanted(Some(header), 10), Wanted::Malformed(_)), "{header}");
        }
    }
}
