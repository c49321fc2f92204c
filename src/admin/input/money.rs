//! Amounts of money: decimal text to nano-USD and back, never through floating point.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::json::VERBATIM;

/// Digits after the point.
const DECIMALS: usize = 9;
/// The largest amount: the databases count in `i64`.
const MAX: u64 = i64::MAX.unsigned_abs();

/// Nano-USD. In JSON a string with a decimal number of USD, such as `"12.50"`; a number is read as
/// well, by its digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Usd(pub u64);

/// Nano-USD as LiteLLM's clients send it: a number, often one that was computed in floating point, so
/// digits beyond the ninth are dropped. An empty string is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaxUsd(pub Option<Usd>);

/// Why text is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// It is no decimal number of 0 or more.
    #[error("must be a decimal number of USD, 0 or more, such as \"12.50\"")]
    NotANumber,
    /// It has more digits after the point than are stored.
    #[error("must not have more than {DECIMALS} digits after the point")]
    TooFine,
    /// It is over 9,223,372,036 USD.
    #[error("must not be over 9223372036 USD")]
    TooMuch,
}

impl Usd {
    /// Reads a decimal number with an optional exponent, as JSON writes numbers (RFC 8259 section 6).
    ///
    /// # Errors
    /// [`MoneyError`].
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        match scaled(text)? {
            (amount, false) => Ok(amount),
            (_, true) => Err(MoneyError::TooFine),
        }
    }
}

/// The amount, and whether digits were dropped.
fn scaled(text: &str) -> Result<(Usd, bool), MoneyError> {
    use MoneyError::{NotANumber, TooMuch};
    let (number, exponent) = match text.split_once(['e', 'E']) {
        Some((number, exponent)) => (number, exponent.parse::<i32>().map_err(|_| NotANumber)?),
        None => (text, 0),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
    // Exponents beyond these bounds can only be mischief; within them the loop below is short.
    if !digits(whole) || !digits(fraction) || text.len() > 64 || exponent.abs() > 64 {
        return Err(NotANumber);
    }
    // The position of the point among all digits, and thus how many of them count.
    let point = i32::try_from(whole.len()).unwrap_or(i32::MAX) + exponent;
    let kept = usize::try_from(point + DECIMALS as i32).unwrap_or(0);
    let mut nano: u64 = 0;
    let mut dropped = false;
    let all = whole.bytes().chain(fraction.bytes());
    let present = whole.len() + fraction.len();
    for (position, digit) in
        all.chain(std::iter::repeat_n(b'0', kept.saturating_sub(present))).enumerate()
    {
        if position >= kept {
            dropped |= digit != b'0';
            continue;
        }
        nano = nano
            .checked_mul(10)
            .and_then(|nano| nano.checked_add(u64::from(digit - b'0')))
            .filter(|nano| *nano <= MAX)
            .ok_or(TooMuch)?;
    }
    Ok((Usd(nano), dropped))
}

/// A plain decimal number without needless zeros.
impl fmt::Display for Usd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, nano) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if nano == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{nano:09}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Usd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = verbatim(deserializer)?;
        Self::parse(text.trim_matches('"')).map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for LaxUsd {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = verbatim(deserializer)?;
        match text.trim_matches('"') {
            "" => Ok(Self(None)),
            text => scaled(text).map(|(amount, _)| Self(Some(amount))).map_err(D::Error::custom),
        }
    }
}

/// The JSON text of a value.
///
/// # Errors
/// Only where the reader of bodies fails.
pub fn verbatim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    struct Text;
    impl Visitor<'_> for Text {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a decimal number")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
            Ok(text.to_owned())
        }
    }
    deserializer.deserialize_newtype_struct(VERBATIM, Text)
}

impl PartialSchema for Usd {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .pattern(Some(r"^[0-9]+(\.[0-9]{1,9})?$"))
            .description(Some("An amount of USD as a decimal number."))
            .examples(["12.50"])
            .into()
    }
}

impl ToSchema for Usd {}

impl PartialSchema for LaxUsd {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::Number))
            .minimum(Some(0))
            .description(Some("An amount of USD."))
            .into()
    }
}

impl ToSchema for LaxUsd {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> Result<u64, MoneyError> {
        Usd::parse(text).map(|usd| usd.0)
    }

    #[test]
    fn amounts_are_exact() {
        assert_eq!(parse("0"), Ok(0));
        assert_eq!(parse("0.1"), Ok(100_000_000));
        assert_eq!(parse("12.50"), Ok(12_500_000_000));
        assert_eq!(parse("0.000000001"), Ok(1));
        assert_eq!(parse("9223372036.854775807"), Ok(MAX));
        assert_eq!(parse("1.10000000000"), Ok(1_100_000_000), "zeros are not digits too many");
    }

    #[test]
    fn exponents_are_understood_as_python_writes_them() {
        assert_eq!(parse("1e-05"), Ok(10_000));
        assert_eq!(parse("1.5E+3"), Ok(1_500_000_000_000));
        assert_eq!(parse("1e-9"), Ok(1));
        assert_eq!(parse("0e64"), Ok(0));
        assert_eq!(parse("1e-10"), Err(MoneyError::TooFine));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in [
            "", "-1", "+1", "1.", ".5", "1,5", "1.2.3", "NaN", "inf", "0x1", "1e", "1e99", "١",
            " 1",
        ] {
            assert_eq!(parse(text), Err(MoneyError::NotANumber), "{text}");
        }
        assert_eq!(parse("9223372036.854775808"), Err(MoneyError::TooMuch));
        assert_eq!(parse("1e30"), Err(MoneyError::TooMuch));
        assert_eq!(parse("0.0000000001"), Err(MoneyError::TooFine));
    }

    #[test]
    fn what_floating_point_left_over_is_dropped_where_that_is_asked_for() {
        let lax = |text| scaled(text).map(|(amount, _)| amount.0);
        assert_eq!(lax("0.30000000000000004"), Ok(300_000_000));
        assert_eq!(lax("1e-10"), Ok(0));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(nano in 0..=MAX) {
            prop_assert_eq!(parse(&Usd(nano).to_string()), Ok(nano));
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text in r"[0-9.eE+-]{0,70}") {
            parse(&text).ok();
        }
    }
}
