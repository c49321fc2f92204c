//! When a limit begins anew.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Unit, Zoned};

/// When a limit begins anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Window {
    /// Never.
    Lifetime,
    /// It holds in every interval of this many milliseconds, wherever it begins.
    Rolling { ms: i64 },
    /// Every so many milliseconds, counted from the epoch (1970-01-01, midnight in UTC).
    Fixed { ms: i64 },
    /// With each calendar period of a time zone.
    Calendar { period: Period, zone: Zone },
}

/// A calendar period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    Hour,
    Day,
    /// From Monday on.
    Week,
    Month,
    Year,
}

/// A named time zone.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    name: Arc<str>,
    zone: TimeZone,
}

/// The present part of a window: which of the units that were ever used count now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// All.
    Always,
    /// Those of the last `ms` milliseconds, counted in buckets of `bucket_ms`.
    Rolling { ms: i64, bucket_ms: i64 },
    /// Those from `start` on. At `end` the next period begins. Milliseconds since the epoch.
    Period { start: i64, end: i64 },
}

/// Buckets in a rolling window. A unit counts for up to one bucket longer than the window.
const BUCKETS: i64 = 60;

impl Window {
    /// The part of the window that holds `now_ms`, in milliseconds since the epoch.
    pub fn span(&self, now_ms: i64) -> Span {
        match self {
            Self::Lifetime => Span::Always,
            Self::Rolling { ms } => Span::Rolling { ms: *ms, bucket_ms: (ms / BUCKETS).max(1) },
            Self::Fixed { ms } => {
                let start = now_ms - now_ms.rem_euclid((*ms).max(1));
                Span::Period { start, end: start.saturating_add((*ms).max(1)) }
            }
            Self::Calendar { period, zone } => period.containing(now_ms, &zone.zone),
        }
    }
}

/// The longest window of a number of units of time, in milliseconds: ten years.
const LONGEST_MS: i64 = 10 * 366 * 86_400_000;

impl Window {
    /// The window that a person writes: `1m`, `12h` or `30d` for one that rolls; `hour`, `day`, `week`,
    /// `month` or `year` for the calendar's in `zone`; `lifetime`; or a counter's own word, such as
    /// `day-Europe/Berlin`. `None`: no such window, or one of over ten years.
    pub fn from_words(words: &str, zone: &Zone) -> Option<Self> {
        if let Some(period) = Period::from_name(words) {
            return Some(Self::Calendar { period, zone: zone.clone() });
        }
        let digits = words.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            let window: Self = words.parse().ok()?;
            return match window {
                Self::Rolling { ms } | Self::Fixed { ms } if ms > LONGEST_MS => None,
                window => Some(window),
            };
        }
        let (number, unit) = words.split_at(digits);
        let unit: i64 = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 7 * 86_400_000,
            _ => return None,
        };
        let ms = number.parse::<i64>().ok()?.checked_mul(unit)?;
        (1..=LONGEST_MS).contains(&ms).then_some(Self::Rolling { ms })
    }
}

/// The word by which counters know the window: it never changes for the same window.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lifetime => f.write_str("lifetime"),
            Self::Rolling { ms } => write!(f, "rolling-{ms}ms"),
            Self::Fixed { ms } => write!(f, "fixed-{ms}ms"),
            Self::Calendar { period, zone } => write!(f, "{}-{}", period.name(), zone.name),
        }
    }
}

/// The window of that word.
impl FromStr for Window {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        if word == "lifetime" {
            return Ok(Self::Lifetime);
        }
        let (kind, rest) = word.split_once('-').ok_or(())?;
        let ms = || rest.strip_suffix("ms").and_then(|ms| ms.parse().ok()).filter(|ms| *ms > 0);
        match kind {
            "rolling" => Ok(Self::Rolling { ms: ms().ok_or(())? }),
            "fixed" => Ok(Self::Fixed { ms: ms().ok_or(())? }),
            _ => {
                let period = Period::from_name(kind).ok_or(())?;
                Ok(Self::Calendar { period, zone: Zone::named(rest).ok_or(())? })
            }
        }
    }
}

impl Period {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Hour, Self::Day, Self::Week, Self::Month, Self::Year];

    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }

    /// The period of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|period| period.name() == name)
    }

    fn containing(self, now_ms: i64, zone: &TimeZone) -> Span {
        let bounds = || -> Option<(i64, i64)> {
            let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(zone.clone());
            let start = self.start(&now)?;
            let end = self.next(&start)?;
            Some((start.timestamp().as_millisecond(), end.timestamp().as_millisecond()))
        };
        // Outside the years -9999 to 9999 there is no calendar.
        let (start, end) = bounds().unwrap_or((now_ms, i64::MAX));
        Span::Period { start, end }
    }

    fn start(self, now: &Zoned) -> Option<Zoned> {
        let day = now.date();
        let first = match self {
            Self::Hour => {
                return now
                    .round(
                        jiff::ZonedRound::new().smallest(Unit::Hour).mode(jiff::RoundMode::Trunc),
                    )
                    .ok();
            }
            Self::Day => day,
            Self::Week => {
                day.checked_sub(i64::from(day.weekday().since(Weekday::Monday)).days()).ok()?
            }
            Self::Month => day.first_of_month(),
            Self::Year => day.first_of_year(),
        };
        first.to_zoned(now.time_zone().clone()).ok()
    }

    fn next(self, start: &Zoned) -> Option<Zoned> {
        let span = match self {
            Self::Hour => return start.checked_add(1.hour()).ok(),
            Self::Day => 1.day(),
            Self::Week => 1.week(),
            Self::Month => 1.month(),
            Self::Year => 1.year(),
        };
        let next = start.date().checked_add(span).ok()?;
        next.to_zoned(start.time_zone().clone()).ok()
    }
}

impl Zone {
    /// The zone of that name in the IANA database, such as `Europe/Berlin`.
    pub fn named(name: &str) -> Option<Self> {
        let zone = TimeZone::get(name).ok()?;
        Some(Self { name: zone.iana_name().unwrap_or(name).into(), zone })
    }

    pub fn utc() -> Self {
        Self { name: "UTC".into(), zone: TimeZone::UTC }
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl Span {
    /// The bucket that a unit used at `now_ms` is counted in, by its beginning.
    pub fn bucket(&self, now_ms: i64) -> i64 {
        match *self {
            Self::Always => 0,
            Self::Rolling { bucket_ms, .. } => now_ms - now_ms.rem_euclid(bucket_ms),
            Self::Period { start, .. } => start,
        }
    }

    /// When what was used in a bucket stops to count. `None`: never.
    pub fn forgets(&self, bucket: i64) -> Option<i64> {
        match *self {
            Self::Always => None,
            Self::Rolling { ms, bucket_ms } => {
                Some(bucket.saturating_add(bucket_ms).saturating_add(ms))
            }
            Self::Period { start, end } => Some(if bucket < start { i64::MIN } else { end }),
        }
    }

    /// Whether what was used in a bucket counts at `now_ms`.
    pub fn counts(&self, bucket: i64, now_ms: i64) -> bool {
        self.forgets(bucket).is_none_or(|end| end > now_ms)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    fn calendar(period: Period, zone: &str) -> Window {
        Window::Calendar { period, zone: Zone::named(zone).unwrap() }
    }

    #[test]
    fn calendar_periods_begin_where_the_zone_says() {
        let now = ms("2026-03-29T00:30:00Z");
        for (window, start, end) in [
            // The day on which Berlin's clocks go forward has 23 hours.
            (
                calendar(Period::Day, "Europe/Berlin"),
                "2026-03-28T23:00:00Z",
                "2026-03-29T22:00:00Z",
            ),
            (calendar(Period::Day, "UTC"), "2026-03-29T00:00:00Z", "2026-03-30T00:00:00Z"),
            (calendar(Period::Week, "UTC"), "2026-03-23T00:00:00Z", "2026-03-30T00:00:00Z"),
            (
                calendar(Period::Month, "Europe/Berlin"),
                "2026-02-28T23:00:00Z",
                "2026-03-31T22:00:00Z",
            ),
            (calendar(Period::Year, "UTC"), "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (
                calendar(Period::Hour, "Asia/Kolkata"),
                "2026-03-29T00:30:00Z",
                "2026-03-29T01:30:00Z",
            ),
        ] {
            let expected = Span::Period { start: ms(start), end: ms(end) };
            assert_eq!(window.span(now), expected, "{window}");
        }
        for window in [
            Window::Lifetime,
            Window::Rolling { ms: 60_000 },
            Window::Fixed { ms: 7 },
            calendar(Period::Month, "Etc/GMT-5"),
        ] {
            assert_eq!(window.to_string().parse(), Ok(window));
        }
        assert_eq!(calendar(Period::Day, "europe/berlin").to_string(), "day-Europe/Berlin");
    }

    #[test]
    fn windows_are_read_as_people_write_them() {
        let berlin = Zone::named("Europe/Berlin").unwrap();
        for (words, window) in [
            ("1m", "rolling-60000ms"),
            ("90s", "rolling-90000ms"),
            ("2w", "rolling-1209600000ms"),
            ("month", "month-Europe/Berlin"),
            ("day-Asia/Kolkata", "day-Asia/Kolkata"),
            ("fixed-5000ms", "fixed-5000ms"),
            ("lifetime", "lifetime"),
        ] {
            let read = Window::from_words(words, &berlin).map(|window| window.to_string());
            assert_eq!(read.as_deref(), Some(window), "{words}");
        }
        for words in
            ["", "0m", "1", "m", "1mo", "1y", "day-", "day-Mars/Olympus", "3661d", "-1m", "1.5h"]
        {
            assert_eq!(Window::from_words(words, &berlin), None, "{words}");
        }
        assert_eq!(Window::from_words(&format!("rolling-{}ms", i64::MAX), &berlin), None);
    }

    proptest! {
        #[test]
        fn periods_tile_time(
            now in 0_i64..4_102_444_800_000,
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Pacific/Apia"]),
            period in prop::sample::select(vec![Period::Hour, Period::Day, Period::Week, Period::Month, Period::Year]),
        ) {
            let window = calendar(period, zone);
            let Span::Period { start, end } = window.span(now) else { panic!("no period") };
            prop_assert!(start <= now && now < end);
            prop_assert_eq!(window.span(start), Span::Period { start, end });
            prop_assert_eq!(window.span(end - 1), Span::Period { start, end });
            let Span::Period { start: next, .. } = window.span(end) else { panic!("no period") };
            prop_assert_eq!(next, end);
        }

        #[test]
        fn a_unit_counts_for_at_least_its_window(now in 0_i64..1 << 40, ms in 1_i64..1 << 33) {
            let span = Window::Rolling { ms }.span(now);
            let bucket = span.bucket(now);
            prop_assert!(span.counts(bucket, now + ms - 1));
            prop_assert!(!span.counts(bucket, now + ms + (ms / BUCKETS).max(1)));
        }
    }
}
