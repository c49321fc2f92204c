//! When a token is valid: `exp`, `nbf` and `iat` (RFC 7519 sections 4.1.4 to 4.1.6).

use std::time::Duration;

use serde_json::{Map, Value};

use super::error::JwtError;

/// The last second of the year 9999. What is beyond is no time but a mistake, or an attempt at one.
const LAST_SECOND: i64 = 253_402_300_799;

/// Sees that a token is valid at `now_ms`, give or take `leeway`; until when it is, in
/// milliseconds.
pub(super) fn check(
    claims: &Map<String, Value>,
    now_ms: i64,
    leeway: Duration,
) -> Result<i64, JwtError> {
    let leeway = i64::try_from(leeway.as_millis()).unwrap_or(i64::MAX);
    let expiry = time(claims, "exp")?.ok_or_else(|| JwtError::MissingClaim("exp".to_owned()))?;
    let until = expiry.saturating_add(leeway);
    // "On or after" that time it is not accepted any more.
    if now_ms >= until {
        return Err(JwtError::Expired { ago_ms: now_ms.abs_diff(expiry) });
    }
    let latest = now_ms.saturating_add(leeway);
    if let Some(begin) = time(claims, "nbf")?.filter(|begin| *begin > latest) {
        return Err(JwtError::NotYetValid { in_ms: begin.abs_diff(now_ms) });
    }
    if let Some(issued) = time(claims, "iat")?.filter(|issued| *issued > latest) {
        return Err(JwtError::IssuedInFuture { in_ms: issued.abs_diff(now_ms) });
    }
    Ok(until)
}

/// A NumericDate (RFC 7519 section 2) in milliseconds: seconds, whole or with a fraction.
fn time(claims: &Map<String, Value>, name: &'static str) -> Result<Option<i64>, JwtError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let Value::Number(number) = value else { return Err(JwtError::NotATime(name)) };
    let milliseconds = match (number.as_i64(), number.as_f64()) {
        (Some(seconds), _) if (0..=LAST_SECOND).contains(&seconds) => seconds * 1000,
        // Not negative and small enough, so the cast only cuts the fraction off.
        (None, Some(seconds)) if (0.0..=LAST_SECOND as f64).contains(&seconds) => {
            (seconds * 1000.0) as i64
        }
        _ => return Err(JwtError::NotATime(name)),
    };
    Ok(Some(milliseconds))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn at(now_ms: i64, claims: Value) -> Result<i64, JwtError> {
        let Value::Object(claims) = claims else { panic!("a test's claims are an object") };
        check(&claims, now_ms, Duration::from_secs(30))
    }

    #[test]
    fn a_token_is_valid_from_its_beginning_to_its_end_with_leeway_at_both() {
        let claims = || json!({"nbf": NOW, "iat": NOW, "exp": NOW + 60});
        let until = (NOW + 90) * 1000;
        for valid in [(NOW - 30) * 1000, NOW * 1000, (NOW + 60) * 1000, until - 1] {
            assert_eq!(at(valid, claims()), Ok(until), "{valid}");
        }
        assert_eq!(at(until, claims()), Err(JwtError::Expired { ago_ms: 30_000 }));
        let early = (NOW - 30) * 1000 - 1;
        assert_eq!(at(early, claims()), Err(JwtError::NotYetValid { in_ms: 30_001 }));
        let claims = json!({"iat": NOW, "exp": NOW + 60});
        assert_eq!(at(early, claims), Err(JwtError::IssuedInFuture { in_ms: 30_001 }));
    }

    #[test]
    fn fractions_count_to_the_millisecond() {
        assert_eq!(at(1000, json!({"exp": 1.5})), Ok(31_500));
        assert_eq!(at(1000, json!({"exp": 1.7e9})), Ok(1_700_000_030_000));
        let refused = at(1000, json!({"exp": 100, "nbf": 31.001}));
        assert_eq!(refused, Err(JwtError::NotYetValid { in_ms: 30_001 }));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        assert_eq!(at(0, json!({})), Err(JwtError::MissingClaim("exp".to_owned())));
        for value in [
            json!(null),
            json!("1700000000"),
            json!(true),
            json!([1]),
            json!(-1),
            json!(-0.5),
            json!(LAST_SECOND + 1),
            json!(u64::MAX),
            json!(i64::MIN),
            json!(1e300),
        ] {
            assert_eq!(at(0, json!({"exp": value})), Err(JwtError::NotATime("exp")), "{value}");
            let claims = json!({"exp": 1, "nbf": value});
            assert_eq!(at(0, claims), Err(JwtError::NotATime("nbf")), "{value}");
            let claims = json!({"exp": 1, "iat": value});
            assert_eq!(at(0, claims), Err(JwtError::NotATime("iat")), "{value}");
        }
        assert_eq!(at(0, json!({"exp": LAST_SECOND})), Ok((LAST_SECOND + 30) * 1000));
    }
}
