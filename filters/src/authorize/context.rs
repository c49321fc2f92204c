//! What is known of one request as a Cedar context.

use cedar_policy::{Context, RestrictedExpression};

use super::ask::{Action, Facts, ResourceKind};
use super::entities;
use super::uses::Uses;

const MS_PER_HOUR: i64 = 3_600_000;
const MS_PER_DAY: i64 = 24 * MS_PER_HOUR;

/// The context of a request, as far as policies look at it: what is not in `uses` is left out.
///
/// # Errors
/// A time outside the years 0 to 9999, which Cedar has no words for.
pub(super) fn context(
    environment: &str,
    action: Action,
    facts: &Facts,
    uses: Uses,
) -> Result<Context, String> {
    let mut pairs = Vec::with_capacity(8);
    let mut add = |name: &str, value| pairs.push((name.to_owned(), value));
    add("environment", RestrictedExpression::new_string(environment.to_owned()));
    if uses.contains(Uses::IP) {
        add("ip", RestrictedExpression::new_ip(facts.ip.to_canonical().to_string()));
    }
    if uses.contains(Uses::TIME) {
        let time = datetime(facts.now_ms).ok_or("the clock is outside the years 0 to 9999")?;
        add("time", RestrictedExpression::new_datetime(time));
    }
    if uses.contains(Uses::HOUR) {
        let hour = facts.now_ms.rem_euclid(MS_PER_DAY) / MS_PER_HOUR;
        add("hour", RestrictedExpression::new_long(hour));
    }
    if uses.contains(Uses::WEEKDAY) {
        // The first of January 1970 was a Thursday.
        let weekday = (facts.now_ms.div_euclid(MS_PER_DAY) + 3).rem_euclid(7) + 1;
        add("weekday", RestrictedExpression::new_long(weekday));
    }
    let infers = action.resource_kind() == ResourceKind::Model && action != Action::ListModels;
    if infers && uses.contains(Uses::STREAM) {
        add("stream", RestrictedExpression::new_bool(facts.stream));
    }
    if infers && uses.contains(Uses::ESTIMATED_TOKENS) {
        add("estimated_tokens", long(facts.estimated_tokens));
    }
    if infers && uses.contains(Uses::ESTIMATED_COST) {
        facts.estimated_cost.into_iter().for_each(|cost| add("estimated_cost", long(cost)));
    }
    if action == Action::CallTool && uses.contains(Uses::ARGUMENTS) {
        add("arguments", RestrictedExpression::new_entity_uid(entities::arguments_uid()));
    }
    Context::from_pairs(pairs).map_err(|error| error.to_string())
}

/// A number as Cedar counts. What is too large for it is more than any limit anyway.
fn long(value: u64) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::try_from(value).unwrap_or(i64::MAX))
}

/// Milliseconds since 1970 as RFC 3339 writes a time in UTC.
fn datetime(ms: i64) -> Option<String> {
    let (days, ms) = (ms.div_euclid(MS_PER_DAY), ms.rem_euclid(MS_PER_DAY));
    let (year, month, day) = civil(days);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let (seconds, ms) = (ms / 1000, ms % 1000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z"))
}

/// Year, month and day of a number of days since 1970, by the Gregorian calendar. Years are counted
/// from March, so that the day which leap years add is the last.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv6Addr};

    use cedar_policy::EvalResult;

    use super::*;

    fn at(now_ms: i64) -> Facts {
        Facts {
            ip: IpAddr::V6(Ipv6Addr::LOCALHOST),
            stream: true,
            estimated_tokens: u64::MAX,
            estimated_cost: Some(u64::MAX),
            now_ms,
        }
    }

    fn all(action: Action, facts: &Facts) -> Context {
        context("staging", action, facts, Uses::ALL).expect("a context")
    }

    #[test]
    fn the_time_is_told_in_three_ways() {
        for (ms, time, hour, weekday) in [
            (0, "1970-01-01T00:00:00.000Z", 0, 4),
            (-1, "1969-12-31T23:59:59.999Z", 23, 3),
            (951_827_696_789, "2000-02-29T12:34:56.789Z", 12, 2),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z", 0, 1),
            (1_790_899_199_000, "2026-10-01T23:59:59.000Z", 23, 4),
            (1_791_158_400_000, "2026-10-05T00:00:00.000Z", 0, 1),
            (-62_167_219_200_000, "0000-01-01T00:00:00.000Z", 0, 6),
            (253_402_300_799_999, "9999-12-31T23:59:59.999Z", 23, 5),
        ] {
            assert_eq!(datetime(ms).as_deref(), Some(time), "{ms}");
            let context = all(Action::ListModels, &at(ms));
            assert_eq!(context.get("hour"), Some(EvalResult::Long(hour)), "{time}");
            assert_eq!(context.get("weekday"), Some(EvalResult::Long(weekday)), "{time}");
            let Some(EvalResult::ExtensionValue(_)) = context.get("time") else {
                panic!("{time} is no time");
            };
        }
    }

    #[test]
    fn a_clock_that_is_far_off_is_no_time() {
        for ms in [i64::MIN, -62_167_219_200_001, 253_402_300_800_000, i64::MAX] {
            assert_eq!(datetime(ms), None);
            context("staging", Action::Messages, &at(ms), Uses::TIME).expect_err("no time");
            context("staging", Action::Messages, &at(ms), Uses::HOUR)
                .expect("an hour all the same");
        }
    }

    #[test]
    fn a_context_has_what_is_asked_for_and_fits_the_action() {
        let facts = at(0);
        let names = |context: Context| {
            let mut names: Vec<_> = context.into_iter().map(|(name, _)| name).collect();
            names.sort();
            names.join(" ")
        };
        assert_eq!(
            names(all(Action::Embeddings, &facts)),
            "environment estimated_cost estimated_tokens hour ip stream time weekday"
        );
        assert_eq!(names(all(Action::ListModels, &facts)), "environment hour ip time weekday");
        assert_eq!(
            names(all(Action::CallTool, &facts)),
            "arguments environment hour ip time weekday"
        );
        let some = |uses| context("staging", Action::Messages, &facts, uses).expect("a context");
        assert_eq!(names(some(Uses::NONE)), "environment");
        assert_eq!(names(some(Uses::IP | Uses::STREAM)), "environment ip stream");
        let unknown = Facts { estimated_cost: None, ..facts };
        let context = context("staging", Action::Messages, &unknown, Uses::ESTIMATED_COST);
        assert_eq!(names(context.expect("a context")), "environment");
    }

    #[test]
    fn numbers_that_cedar_cannot_count_to_are_the_largest_it_can() {
        let context = all(Action::Responses, &at(0));
        assert_eq!(context.get("estimated_tokens"), Some(EvalResult::Long(i64::MAX)));
        assert_eq!(context.get("estimated_cost"), Some(EvalResult::Long(i64::MAX)));
    }
}
