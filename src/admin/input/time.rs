//! Moments and spans: RFC 3339 and LiteLLM's `30d` to milliseconds, and back.

use std::fmt;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, Error};
use serde::{Serialize, Serializer};
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, SchemaFormat, SchemaType, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The end of what is stored as a moment: the year 9999.
const MAX_MOMENT: i64 = 253_402_300_799_999;

/// Milliseconds since the epoch. In JSON a string (RFC 3339).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub i64);

impl Moment {
    /// With six digits and `+00:00`, as Python writes it: its older versions can't read `Z`.
    pub fn python(self) -> String {
        let text = self.to_string();
        match text.strip_suffix('Z') {
            Some(rest) => {
                let (seconds, fraction) = rest.split_once('.').unwrap_or((rest, ""));
                format!("{seconds}.{fraction:0<6}+00:00")
            }
            None => text,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => timestamp.fmt(f),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.parse::<Timestamp>().map(Timestamp::as_millisecond) {
            Ok(moment @ 0..=MAX_MOMENT) => Ok(Self(moment)),
            _ => Err(D::Error::custom("must be a time such as 2030-01-31T12:00:00Z (RFC 3339)")),
        }
    }
}

/// A span of time as LiteLLM writes it: a whole number and `s`, `m`, `h`, `d`, `w` or `mo`. A month is
/// 30 days: a span has no beginning by which to know better.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    text: String,
    milliseconds: i64,
}

impl Span {
    /// The longest that is accepted: ten years.
    pub const MAX_MILLISECONDS: i64 = 10 * 366 * 24 * 3_600_000;

    /// Reads it; `None` if it is none, is empty or longer than ten years.
    pub fn parse(text: &str) -> Option<Self> {
        let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
        let (number, unit) = text.split_at(unit_at);
        let seconds: i64 = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 24 * 3600,
            "w" => 7 * 24 * 3600,
            "mo" => 30 * 24 * 3600,
            _ => return None,
        };
        let milliseconds = number.parse::<i64>().ok()?.checked_mul(seconds * 1000)?;
        (1..=Self::MAX_MILLISECONDS)
            .contains(&milliseconds)
            .then(|| Self { text: text.to_owned(), milliseconds })
    }

    pub fn milliseconds(&self) -> i64 {
        self.milliseconds
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(
                "must be a span of time such as 90s, 30m, 24h, 30d, 4w or 1mo, up to ten years",
            )
        })
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .into()
    }
}

impl ToSchema for Moment {}

impl PartialSchema for Span {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(SchemaType::Type(Type::String))
            .pattern(Some("^[0-9]+(s|m|h|d|w|mo)$"))
            .description(Some("A span of time."))
            .examples(["30d"])
            .into()
    }
}

impl ToSchema for Span {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn moment(text: &str) -> Option<i64> {
        serde_json::from_value::<Moment>(text.into()).ok().map(|moment| moment.0)
    }

    #[test]
    fn moments_are_rfc_3339_with_any_offset() {
        assert_eq!(moment("1970-01-01T00:00:01Z"), Some(1000));
        assert_eq!(moment("1970-01-01T01:00:00.250+01:00"), Some(250));
        for text in ["", "tomorrow", "2030-01-01", "2030-01-01T00:00:00", "1969-01-01T00:00:00Z"] {
            assert_eq!(moment(text), None, "{text}");
        }
        assert_eq!(Moment(1_700_000_000_123).to_string(), "2023-11-14T22:13:20.123Z");
        assert_eq!(Moment(1_700_000_000_120).python(), "2023-11-14T22:13:20.120000+00:00");
        assert_eq!(Moment(1_700_000_000_000).python(), "2023-11-14T22:13:20.000000+00:00");
    }

    #[test]
    fn spans_are_a_number_and_a_unit() {
        let table = [
            ("30s", 30),
            ("30m", 1800),
            ("24h", 86_400),
            ("30d", 2_592_000),
            ("1mo", 2_592_000),
            ("2w", 1_209_600),
        ];
        for (text, seconds) in table {
            assert_eq!(
                Span::parse(text).map(|span| span.milliseconds()),
                Some(seconds * 1000),
                "{text}"
            );
        }
        for text in
            ["", "30", "d", "0d", "-1d", "1.5h", "1y", "30 d", "99999999999999999999d", "4000d"]
        {
            assert_eq!(Span::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_moment_reads_as_it_was_written(ms in 0..=MAX_MOMENT) {
            prop_assert_eq!(moment(&Moment(ms).to_string()), Some(ms));
            prop_assert_eq!(moment(&Moment(ms).python()), Some(ms));
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text: String) {
            Span::parse(&text);
            moment(&text);
        }
    }
}
