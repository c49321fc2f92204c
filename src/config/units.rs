//! Sizes such as `1MiB` and durations such as `30s`.

use std::time::Duration;

/// Size suffixes with their factors, largest first.
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// Duration suffixes in milliseconds, largest first.
const DURATIONS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a size or a duration can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// Not a whole number with a unit.
    #[error("is not a whole number with a unit")]
    Malformed,
    /// No such unit.
    #[error("has an unknown unit")]
    UnknownUnit,
    /// A number where a unit is needed.
    #[error("has no unit")]
    NoUnit,
    /// Too large to represent.
    #[error("is too large")]
    TooLarge,
}

/// Reads a size in bytes: a whole number with `B`, `KiB`, `MiB`, `GiB`, `kB`, `MB` or `GB` behind
/// it, or with nothing for bytes. Case matters only so far that `KB` is not taken for `kB`'s double.
///
/// # Errors
/// No number, an unknown unit, or more than a `u64` holds.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let (number, unit) = split(text)?;
    let factor = if unit.is_empty() { 1 } else { factor(&SIZES, unit)? };
    number.checked_mul(factor).ok_or(UnitError::TooLarge)
}

/// Reads a duration: a whole number with `ms`, `s`, `m`, `h` or `d` behind it. A number alone is
/// refused, for nobody could tell its unit.
///
/// # Errors
/// No number, no or an unknown unit, or more than a `u64` of milliseconds holds.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let (number, unit) = split(text)?;
    if unit.is_empty() {
        return Err(UnitError::NoUnit);
    }
    let millis = number.checked_mul(factor(&DURATIONS, unit)?).ok_or(UnitError::TooLarge)?;
    Ok(Duration::from_millis(millis))
}

/// Writes a size with the largest binary unit that leaves a whole number.
pub fn format_size(bytes: u64) -> String {
    format(bytes, &SIZES[..3]).unwrap_or_else(|| bytes.to_string())
}

/// Writes a duration with the largest unit that leaves a whole number; below a millisecond, nothing
/// is kept.
pub fn format_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    // One day would be right, too; people write 24 hours.
    let units = if millis > DURATIONS[0].1 { &DURATIONS[..] } else { &DURATIONS[1..] };
    format(millis, units).unwrap_or_else(|| "0s".to_owned())
}

fn split(text: &str) -> Result<(u64, &str), UnitError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return Err(UnitError::Malformed);
    }
    let (number, unit) = text.split_at(digits);
    // `1.5s` and `1_000` would otherwise be complaints about a unit.
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    if !unit.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(UnitError::Malformed);
    }
    Ok((number.parse().map_err(|_| UnitError::TooLarge)?, unit))
}

fn factor(units: &[(&str, u64)], unit: &str) -> Result<u64, UnitError> {
    let found = units.iter().find(|(name, _)| *name == unit);
    found.map(|(_, factor)| *factor).ok_or(UnitError::UnknownUnit)
}

fn format(value: u64, units: &[(&str, u64)]) -> Option<String> {
    let divides = |&&(_, factor): &&(&str, u64)| value > 0 && value.is_multiple_of(factor);
    units.iter().find(divides).map(|(unit, factor)| format!("{}{unit}", value / factor))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes() {
        for (text, expected) in [
            ("1MiB", 1 << 20),
            ("512KiB", 512 << 10),
            ("1048576", 1 << 20),
            ("10MB", 10_000_000),
            ("1 GiB", 1 << 30),
            ("0", 0),
            ("7B", 7),
        ] {
            assert_eq!(parse_size(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            ("", UnitError::Malformed),
            ("MiB", UnitError::Malformed),
            ("-1", UnitError::Malformed),
            ("1.5MiB", UnitError::Malformed),
            ("1  MiB", UnitError::Malformed),
            ("1MiB ", UnitError::Malformed),
            ("1mib", UnitError::UnknownUnit),
            ("1KB", UnitError::UnknownUnit),
            ("99999999999999999999", UnitError::TooLarge),
            ("99999999999GiB", UnitError::TooLarge),
        ] {
            assert_eq!(parse_size(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn durations() {
        for (text, millis) in [
            ("30s", 30_000),
            ("500ms", 500),
            ("10m", 600_000),
            ("1h", 3_600_000),
            ("1d", 86_400_000),
            ("0s", 0),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, expected) in [
            ("30", UnitError::NoUnit),
            ("s", UnitError::Malformed),
            ("1.5s", UnitError::Malformed),
            ("1m30s", UnitError::Malformed),
            ("1M", UnitError::UnknownUnit),
            ("18446744073709551615h", UnitError::TooLarge),
        ] {
            assert_eq!(parse_duration(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn written_with_the_largest_unit() {
        assert_eq!(format_size(1 << 20), "1MiB");
        assert_eq!(format_size(1_500), "1500");
        assert_eq!(format_duration(Duration::from_secs(90)), "90s");
        assert_eq!(format_duration(Duration::from_secs(86_400)), "24h");
        assert_eq!(format_duration(Duration::from_secs(90 * 86_400)), "90d");
        assert_eq!(format_duration(Duration::from_secs(36 * 3_600)), "36h");
        assert_eq!(format_duration(Duration::from_millis(1_500)), "1500ms");
        assert_eq!(format_duration(Duration::ZERO), "0s");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes: u64, millis in 0..u64::MAX / 1_000) {
            prop_assert_eq!(parse_size(&format_size(bytes)).unwrap(), bytes);
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(parse_duration(&format_duration(duration)).unwrap(), duration);
        }

        #[test]
        fn nothing_panics(text in ".*") {
            let _ = (parse_size(&text), parse_duration(&text));
        }
    }
}
