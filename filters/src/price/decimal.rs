//! Exact decimals, read and written without floats.

/// A fraction of a unit this small beside a whole number is the noise of the float that it once
/// was: one part in this many.
const NOISE: u128 = 1_000_000;

/// The most digits of a number that are read.
const MAX_DIGITS: usize = 30;

/// Why a text is no decimal that can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// It is not digits with at most one point between them.
    #[error("is not a decimal number")]
    Malformed,
    /// It has more decimals than can be kept.
    #[error("has more than {0} decimals")]
    TooFine(u32),
    /// It is beyond the highest value.
    #[error("is too large")]
    TooLarge,
}

/// Reads a plain decimal such as `0.15` as a whole number of `10^-decimals`.
///
/// # Errors
/// It has a sign, an exponent, more decimals than `decimals` (zeros at the end do not count), or is
/// more than `max`.
pub fn parse(text: &str, decimals: u32, max: u64) -> Result<u64, DecimalError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return Err(DecimalError::Malformed);
    }
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > decimals as usize {
        return Err(DecimalError::TooFine(decimals));
    }
    let width = decimals as usize;
    let joined = format!("{}{fraction:0<width$}", whole.trim_start_matches('0'));
    if joined.len() > MAX_DIGITS {
        return Err(DecimalError::TooLarge);
    }
    let value = if joined.is_empty() { Ok(0) } else { joined.parse::<u64>() };
    value.ok().filter(|value| *value <= max).ok_or(DecimalError::TooLarge)
}

/// Reads a number of JSON (RFC 8259, section 6), exponent and all, as a whole number of
/// `10^-decimals`, rounded up. A difference of less than a millionth from the next lower whole number is
/// taken for the noise of a float and dropped; what is not zero never becomes zero.
///
/// # Errors
/// It is no number, negative, has more than 30 digits that matter, or is more than `max`.
pub fn parse_json_number(text: &str, decimals: u32, max: u64) -> Result<u64, DecimalError> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent),
        None => (text, "0"),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) if !fraction.is_empty() => (whole, fraction),
        Some(_) => return Err(DecimalError::Malformed),
        None => (mantissa, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(DecimalError::Malformed);
    }
    let exponent: i32 = exponent.parse().map_err(|_| DecimalError::Malformed)?;
    let fraction = fraction.trim_end_matches('0');
    let joined = format!("{whole}{fraction}");
    let digits = joined.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    if digits.len() > MAX_DIGITS {
        return Err(DecimalError::Malformed);
    }
    let value: u128 = digits.parse().map_err(|_| DecimalError::Malformed)?;
    let shift = i64::from(exponent) + i64::from(decimals) - fraction.len() as i64;
    let whole = match u32::try_from(shift) {
        Ok(shift) => 10u128.checked_pow(shift).and_then(|factor| value.checked_mul(factor)),
        Err(_) => Some(divided_up(value, shift.unsigned_abs())),
    };
    let whole = whole.and_then(|whole| u64::try_from(whole).ok());
    whole.filter(|whole| *whole <= max).ok_or(DecimalError::TooLarge)
}

/// `value / 10^places`, rounded up but for noise; `value` is not zero and below `10^MAX_DIGITS`.
fn divided_up(value: u128, places: u64) -> u128 {
    let divisor = u32::try_from(places).ok().and_then(|places| 10u128.checked_pow(places));
    let Some(divisor) = divisor else { return 1 };
    let (whole, rest) = (value / divisor, value % divisor);
    let noise = rest.checked_mul(NOISE).is_some_and(|rest| rest <= divisor);
    if whole > 0 && noise { whole } else { whole + u128::from(rest > 0) }
}

/// Writes a whole number of `10^-decimals` as a plain decimal that [`parse`] reads back.
pub fn format(value: u64, decimals: u32) -> String {
    let width = decimals as usize + 1;
    let mut text = format!("{value:0>width$}");
    let point = text.len() - decimals as usize;
    let end = text.trim_end_matches('0').len().max(point);
    text.truncate(end);
    if end > point {
        text.insert(point, '.');
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn plain_decimals() {
        for (text, expected) in [
            ("0.15", Ok(150_000)),
            ("2", Ok(2_000_000)),
            ("000.0750000000", Ok(75_000)),
            ("0.000001", Ok(1)),
            ("0", Ok(0)),
            ("0.0000001", Err(DecimalError::TooFine(6))),
            ("100.000001", Err(DecimalError::TooLarge)),
            ("99999999999999999999999999999999999", Err(DecimalError::TooLarge)),
            ("", Err(DecimalError::Malformed)),
            (".5", Err(DecimalError::Malformed)),
            ("5.", Err(DecimalError::Malformed)),
            ("1.2.3", Err(DecimalError::Malformed)),
            ("-1", Err(DecimalError::Malformed)),
            ("+1", Err(DecimalError::Malformed)),
            ("1e-6", Err(DecimalError::Malformed)),
            ("1,5", Err(DecimalError::Malformed)),
            ("\u{0661}", Err(DecimalError::Malformed)),
        ] {
            assert_eq!(parse(text, 6, 100_000_000), expected, "{text}");
        }
    }

    #[test]
    fn numbers_of_json() {
        for (text, expected) in [
            ("1.5e-07", Ok(150_000)),
            ("2.5E-6", Ok(2_500_000)),
            ("0.00001", Ok(10_000_000)),
            ("1e0", Ok(1_000_000_000_000)),
            ("0", Ok(0)),
            ("0.0", Ok(0)),
            ("0e99999", Ok(0)),
            ("8.333e-11", Ok(84)),
            ("4.9999999999999996e-06", Ok(5_000_000)),
            ("5.000000000000001e-06", Ok(5_000_000)),
            ("1e-13", Ok(1)),
            ("1e-400", Ok(1)),
            ("1e-2147483648", Ok(1)),
            ("1.1", Err(DecimalError::TooLarge)),
            ("1e400", Err(DecimalError::TooLarge)),
            ("1e99999999999", Err(DecimalError::Malformed)),
            ("-1e-7", Err(DecimalError::Malformed)),
            ("1.e5", Err(DecimalError::Malformed)),
            (".1", Err(DecimalError::Malformed)),
            ("1e", Err(DecimalError::Malformed)),
            ("\"1e-7\"", Err(DecimalError::Malformed)),
            ("null", Err(DecimalError::Malformed)),
        ] {
            assert_eq!(parse_json_number(text, 12, 1_000_000_000_000), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value: u64, decimals in 0u32..15) {
            prop_assert_eq!(parse(&format(value, decimals), decimals, u64::MAX), Ok(value));
        }

        #[test]
        fn both_readers_agree(value in 0u64..1_000_000_000_000) {
            let text = format(value, 12);
            prop_assert_eq!(parse_json_number(&text, 12, u64::MAX), Ok(value));
            prop_assert_eq!(parse_json_number(&format!("{value}e-12"), 12, u64::MAX), Ok(value));
        }

        #[test]
        fn nothing_panics(text in "[0-9eE.+-]{0,40}|.{0,20}", decimals in 0u32..15) {
            let _ = (parse(&text, decimals, u64::MAX), parse_json_number(&text, decimals, u64::MAX));
        }
    }
}
