//! Durations, sizes and counts as operators write them.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::SettingsError;

/// The longest duration accepted, which every reader of it can represent.
const MAXIMUM_DAYS: u64 = 999_999_999;

const SECONDS_A_DAY: u64 = 86_400;

/// A positive integer and `s`, `m`, `h` or `d`, such as `24h`.
///
/// # Errors
/// Names `name` and the form when `text` has another.
pub fn duration(name: &str, text: &str) -> Result<Duration, SettingsError> {
    let refuse = || SettingsError::value(name, "must be a positive duration such as 30s, 15m, 24h or 7d");
    let text = text.trim();
    let unit = text.chars().last().ok_or_else(refuse)?;
    let seconds = match unit.to_ascii_lowercase() {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => SECONDS_A_DAY,
        _ => return Err(refuse()),
    };
    let count = digits(&text[..text.len() - unit.len_utf8()]).ok_or_else(refuse)?;
    bounded(name, count, seconds, refuse)
}

/// As [`duration`], and `ms` for milliseconds too.
pub(crate) fn short_duration(name: &str, text: &str) -> Result<Duration, SettingsError> {
    let lower = text.trim().to_ascii_lowercase();
    let Some(milliseconds) = lower.strip_suffix("ms") else {
        return duration(name, text);
    };
    match digits(milliseconds).and_then(|digits| digits.parse().ok()) {
        Some(count) if count > 0 => Ok(Duration::from_millis(count)),
        _ => Err(SettingsError::value(name, "must be a positive duration such as 500ms, 1s or 5s")),
    }
}

/// A positive number of days, such as `30d`.
///
/// # Errors
/// Names `name` and the form when `text` has another.
pub fn days(name: &str, text: &str) -> Result<Duration, SettingsError> {
    let refuse = || SettingsError::value(name, "must be a positive number of days such as 30d");
    let text = text.trim();
    let count = text.strip_suffix(['d', 'D']).and_then(digits).ok_or_else(refuse)?;
    bounded(name, count, SECONDS_A_DAY, refuse)
}

fn bounded(
    name: &str,
    count: &str,
    unit_seconds: u64,
    refuse: impl Fn() -> SettingsError,
) -> Result<Duration, SettingsError> {
    // More digits than fit a number are a number that is too large.
    let count = count.parse::<u64>().unwrap_or(u64::MAX);
    if count == 0 {
        return Err(refuse());
    }
    match count.checked_mul(unit_seconds) {
        Some(seconds) if seconds <= MAXIMUM_DAYS * SECONDS_A_DAY => Ok(Duration::from_secs(seconds)),
        _ => Err(SettingsError::value(name, &format!("must not be longer than {MAXIMUM_DAYS}d"))),
    }
}

/// A decimal number and `KB`, `MB` or `GB` (powers of 1024), rounded up to whole bytes.
///
/// # Errors
/// Names `name` and the form when `text` has another, is zero or does not fit.
pub fn size(name: &str, text: &str) -> Result<u64, SettingsError> {
    let refuse = || SettingsError::value(name, "must be a size such as 512KB, 100MB or 1.5GB");
    let lower = text.trim().to_ascii_lowercase();
    let (number, unit) = [("kb", 1u128 << 10), ("mb", 1 << 20), ("gb", 1 << 30)]
        .iter()
        .find_map(|(suffix, unit)| Some((lower.strip_suffix(suffix)?.trim_end(), *unit)))
        .ok_or_else(refuse)?;
    let (whole, fraction) = match number.split_once('.') {
        Some((whole, fraction)) => (whole, digits(fraction).ok_or_else(refuse)?),
        None => (number, ""),
    };
    let whole = digits(whole).ok_or_else(refuse)?;
    if whole.len() > 1 && whole.starts_with('0') {
        return Err(refuse());
    }
    let bytes = whole
        .parse::<u64>()
        .ok()
        .and_then(|count| u128::from(count).checked_mul(unit))
        .map(|bytes| bytes + fraction_of(fraction, unit))
        .and_then(|bytes| u64::try_from(bytes).ok())
        .filter(|bytes| i64::try_from(*bytes).is_ok())
        .ok_or_else(|| SettingsError::value(name, "is too large"))?;
    if bytes == 0 {
        return Err(SettingsError::value(name, "must be greater than zero"));
    }
    Ok(bytes)
}

/// `0.fraction` of `unit`, rounded up.
fn fraction_of(fraction: &str, unit: u128) -> u128 {
    const EXACT_DIGITS: usize = 18;
    let fraction = fraction.trim_end_matches('0');
    let (exact, rest) = fraction.split_at(fraction.len().min(EXACT_DIGITS));
    let numerator = exact.bytes().fold(0u128, |sum, digit| sum * 10 + u128::from(digit - b'0'));
    // What lies beyond the exact digits can only lift the result to the next byte.
    let numerator = numerator * 10 + u128::from(!rest.is_empty());
    (numerator * unit).div_ceil(10u128.pow(exact.len() as u32 + 1))
}

/// A positive integer.
///
/// # Errors
/// Names `name`; "positive integer" for what is no number, "greater than zero" for zero.
pub fn positive_integer(name: &str, text: &str) -> Result<u64, SettingsError> {
    let text = text.trim();
    let refuse = || SettingsError::value(name, "must be a positive integer");
    match digits(text).ok_or_else(refuse)?.parse::<u64>() {
        Ok(0) => Err(SettingsError::value(name, "must be greater than zero")),
        Ok(count) if i64::try_from(count).is_ok() => Ok(count),
        _ => Err(SettingsError::value(name, "must be a positive integer below 9223372036854775808")),
    }
}

/// An integer within bounds.
///
/// # Errors
/// Names `name` and the bounds when `text` is none.
pub(crate) fn integer(name: &str, text: &str, bounds: RangeInclusive<u32>) -> Result<u32, SettingsError> {
    digits(text.trim())
        .and_then(|digits| digits.parse().ok())
        .filter(|count| bounds.contains(count))
        .ok_or_else(|| {
            SettingsError::value(
                name,
                &format!("must be an integer from {} to {}", bounds.start(), bounds.end()),
            )
        })
}

/// `text` if it is one or more ASCII digits.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{days, duration, positive_integer, short_duration, size};

    #[test]
    fn durations() {
        for (text, seconds) in [("1s", 1), ("2M", 120), ("24h", 86_400), ("30d", 2_592_000), (" 5s ", 5)] {
            assert_eq!(duration("X", text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for text in
            ["", "s", "0s", "-1s", "1 s", "1.5h", "1", "1w", "1ms", "é", "1é", "٣s", "99999999999999999999d"]
        {
            assert!(duration("X", text).unwrap_err().to_string().starts_with("X must "), "{text}");
        }
        assert_eq!(short_duration("X", "250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(short_duration("X", "2s").unwrap(), Duration::from_secs(2));
        for text in ["0ms", "ms", "x", "1.5ms"] {
            assert!(short_duration("X", text).is_err(), "{text}");
        }
    }

    #[test]
    fn days_only() {
        assert_eq!(days("X", "30D").unwrap(), Duration::from_secs(30 * 86_400));
        for text in ["", "d", "0d", "30", "30h", "30 d", "-1d"] {
            assert!(days("X", text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("100MB", 104_857_600),
            ("1kb", 1_024),
            ("1.5 GB", 1_610_612_736),
            ("0.0001KB", 1),
            ("1.0000000000000000000000001KB", 1_025),
            ("0.5MB", 524_288),
        ] {
            assert_eq!(size("X", text).unwrap(), bytes, "{text}");
        }
        for text in ["", "MB", "01MB", "1.MB", ".5MB", "-1MB", "1TB", "100", "1B", "1_0MB", "1e3KB"] {
            assert!(size("X", text).unwrap_err().to_string().contains("must be a size"), "{text}");
        }
        for text in ["0MB", "0.0GB"] {
            assert!(size("X", text).unwrap_err().to_string().contains("greater than zero"), "{text}");
        }
        assert!(size("X", "99999999999999999999GB").unwrap_err().to_string().contains("too large"));
    }

    #[test]
    fn integers() {
        assert_eq!(positive_integer("X", " 500 ").unwrap(), 500);
        for text in ["", "x", "-1", "1.0", "+1", "1_000", "²"] {
            assert!(
                positive_integer("X", text).unwrap_err().to_string().contains("positive integer"),
                "{text}"
            );
        }
        assert!(positive_integer("X", "0").unwrap_err().to_string().contains("greater than zero"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".*") {
            let _ = (duration("X", &text), short_duration("X", &text), days("X", &text));
            let _ = (size("X", &text), positive_integer("X", &text));
        }

        #[test]
        fn whole_sizes_are_exact(count in 1u64..1_000_000, unit in 1u32..=3) {
            let text = format!("{count}{}", ["KB", "MB", "GB"][unit as usize - 1]);
            prop_assert_eq!(size("X", &text).unwrap(), count << (10 * unit));
        }

        #[test]
        fn fractions_round_up(whole in 0u64..1_000, fraction in "[0-9]{1,12}") {
            let bytes = size("X", &format!("{whole}.{fraction}1MB")).unwrap() as f64;
            let exact = format!("{whole}.{fraction}1").parse::<f64>().unwrap() * 1_048_576.0;
            prop_assert!(bytes >= exact - 1e-3 && bytes < exact + 1.0 + 1e-3, "{} {}", bytes, exact);
        }

        #[test]
        fn durations_are_exact(count in 1u64..100_000) {
            prop_assert_eq!(duration("X", &format!("{count}m")).unwrap().as_secs(), count * 60);
        }
    }
}
