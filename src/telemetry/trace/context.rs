//! What a caller says of the trace that its request is part of: W3C Trace Context, level 2.
//!
//! Whoever can send a request can write these headers. What is not exactly as the standard has it counts
//! for nothing, and is never an error: the request begins a trace of its own.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::{SpanId, TraceId};

/// Trace, span and flags.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// What each tracing system on the way adds for itself.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The length of a `traceparent` of version 00.
const LENGTH: usize = 55;
/// The flag of a span that is recorded.
const SAMPLED: u8 = 1;
/// Members of a `tracestate`, and its bytes. The standard asks for no more to be passed on.
const MAX_MEMBERS: usize = 32;
const MAX_STATE: usize = 512;

/// The caller's span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// Its trace. Not zero.
    pub trace_id: TraceId,
    /// Itself. Not zero.
    pub span_id: SpanId,
    /// Whether the caller records it.
    pub sampled: bool,
}

impl Parent {
    /// Of a request with these headers, where it says one.
    pub fn of(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(TRACEPARENT).iter();
        let value = values.next()?;
        // Two are none: nobody knows which is meant.
        values.next().is_none().then(|| Self::parse(value.as_bytes())).flatten()
    }

    /// Reads the value of a `traceparent` (section 3.2).
    fn parse(text: &[u8]) -> Option<Self> {
        let (version, rest) = (hex(text.get(..2)?)?, text.get(LENGTH..)?);
        let longer = match version {
            0 => rest.is_empty(),
            0xff => false,
            // Of a later version, what is known of this one is read.
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !longer || [2, 35, 52].iter().any(|at| text[*at] != b'-') {
            return None;
        }
        let trace_id = hex(&text[3..35]).filter(|id| *id != 0)?;
        let span_id = hex(&text[36..52]).filter(|id| *id != 0)?;
        let flags = hex(&text[53..55])?;
        Some(Self {
            trace_id: TraceId::from(trace_id),
            span_id: SpanId::from(u64::try_from(span_id).ok()?),
            sampled: flags & u128::from(SAMPLED) != 0,
        })
    }
}

/// The number that up to 32 digits stand for, which must be in lower case.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number: u128, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

/// A `traceparent` for a span that is recorded.
pub fn traceparent(trace_id: TraceId, span_id: SpanId) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("00-{trace_id}-{span_id}-01")).ok()
}

/// The `tracestate` of a request, put together from all its lines; `None` where there is none, or one that
/// is not as the standard has it (section 3.3).
pub fn tracestate(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut text = Vec::new();
    let mut keys: Vec<&[u8]> = Vec::new();
    let lines = headers.get_all(TRACESTATE).iter();
    let members = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    for member in members.map(trim).filter(|member| !member.is_empty()) {
        let (key, value) = member.split_at(member.iter().position(|byte| *byte == b'=')?);
        if !is_key(key) || !is_value(&value[1..]) || keys.contains(&key) {
            return None;
        }
        keys.push(key);
        if !text.is_empty() {
            text.push(b',');
        }
        text.extend_from_slice(member);
        if keys.len() > MAX_MEMBERS || text.len() > MAX_STATE {
            return None;
        }
    }
    (!text.is_empty()).then(|| HeaderValue::from_bytes(&text).ok()).flatten()
}

/// Without the spaces and tabs around it, which are no part of it.
fn trim(member: &[u8]) -> &[u8] {
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t');
    let start = member.iter().position(|byte| !blank(byte)).unwrap_or(member.len());
    let end = member.iter().rposition(|byte| !blank(byte)).map_or(start, |last| last + 1);
    &member[start..end]
}

fn is_key(key: &[u8]) -> bool {
    let plain = |part: &[u8]| {
        part.iter().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-*/".contains(byte)
        })
    };
    let begins = |part: &[u8], digits| {
        part.first()
            .is_some_and(|first| first.is_ascii_lowercase() || (digits && first.is_ascii_digit()))
    };
    match key.iter().position(|byte| *byte == b'@') {
        None => key.len() <= 256 && begins(key, true) && plain(key),
        Some(at) => {
            let (tenant, system) = (&key[..at], &key[at + 1..]);
            tenant.len() <= 241
                && system.len() <= 14
                && begins(tenant, true)
                && begins(system, false)
                && plain(tenant)
                && plain(system)
        }
    }
}

fn is_value(value: &[u8]) -> bool {
    let fits = |byte: &u8| matches!(byte, 0x20..=0x2b | 0x2d..=0x3c | 0x3e..=0x7e);
    (1..=256).contains(&value.len())
        && value.iter().all(fits)
        && value.last().is_some_and(|last| *last != b' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn headers(name: &HeaderName, values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn parent(values: &[&str]) -> Option<Parent> {
        let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
        Parent::of(&headers(&TRACEPARENT, &values))
    }

    fn state(values: &[&str]) -> Option<String> {
        let values: Vec<_> = values.iter().map(|value| value.as_bytes()).collect();
        let state = tracestate(&headers(&TRACESTATE, &values))?;
        Some(state.to_str().unwrap().to_owned())
    }

    #[test]
    fn a_parent_is_read_as_the_standard_has_it() {
        let good = parent(&[GOOD]).unwrap();
        assert_eq!(good.trace_id.to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(good.span_id.to_string(), "b7ad6b7169203331");
        assert!(good.sampled);
        assert!(!parent(&[&GOOD.replace("-01", "-00")]).unwrap().sampled);
        // Flags that nobody knows yet.
        assert!(parent(&[&GOOD.replace("-01", "-ff")]).unwrap().sampled);
        // A later version may say more.
        for later in ["cc-{}", "cc-{}-what", "01-{}-"] {
            assert_eq!(parent(&[&later.replace("{}", &GOOD[3..])]), Some(good), "{later}");
        }
    }

    #[test]
    fn everything_else_is_none() {
        for bad in [
            "",
            "00",
            &GOOD[..54],
            &format!("{GOOD}-"),
            &format!("{GOOD}0"),
            &format!(" {GOOD}"),
            &GOOD.to_uppercase(),
            &GOOD.replacen("00", "ff", 1),
            &GOOD.replacen("00", "0x", 1),
            &GOOD.replace('-', "_"),
            &GOOD.replace("0af7651916cd43dd8448eb211c80319c", &"0".repeat(32)),
            &GOOD.replace("b7ad6b7169203331", &"0".repeat(16)),
            &GOOD.replace("b7ad", "+7ad"),
            &format!("01-{}x", &GOOD[3..]),
        ] {
            assert_eq!(parent(&[bad]), None, "{bad}");
        }
        assert_eq!(parent(&[]), None);
        assert_eq!(parent(&[GOOD, GOOD]), None);
    }

    #[test]
    fn a_state_is_one_line_of_whole_members() {
        let good = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE";
        assert_eq!(state(&[good]).as_deref(), Some(good));
        assert_eq!(state(&["rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE"]).as_deref(), Some(good));
        assert_eq!(state(&[" a=1 ,, b=2\t"]).as_deref(), Some("a=1,b=2"));
        assert_eq!(state(&["0tenant@sys=a b"]).as_deref(), Some("0tenant@sys=a b"));
        let many = |n: usize| (0..n).map(|n| format!("k{n}=v")).collect::<Vec<_>>().join(",");
        assert_eq!(state(&[&many(32)]), Some(many(32)));
        for bad in [
            "",
            ",",
            "a",
            "a=",
            "=a",
            "A=1",
            "a=1,a=2",
            "a b=1",
            "a=1=2",
            "a@b@c=1",
            "a@=1",
            "@a=1",
            "a@0b=1",
            "a=\u{e4}",
            &many(33),
            &format!("a={}", "x".repeat(257)),
            &format!("{}=x", "a".repeat(257)),
            &format!("a={0},b={0},c={0}", "x".repeat(200)),
        ] {
            assert_eq!(state(&[bad]), None, "{bad}");
        }
    }

    proptest! {
        /// What was written is what is read.
        #[test]
        fn a_parent_comes_through(trace in 1u128.., span in 1u64.., flags: u8) {
            let text = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
            let (trace_id, span_id) = (TraceId::from(trace), SpanId::from(span));
            let sampled = flags & 1 == 1;
            prop_assert_eq!(parent(&[&text]), Some(Parent { trace_id, span_id, sampled }));
            let ours = traceparent(trace_id, span_id).unwrap();
            let expected = Some(Parent { trace_id, span_id, sampled: true });
            prop_assert_eq!(Parent::of(&headers(&TRACEPARENT, &[ours.as_bytes()])), expected);
        }

        /// One byte that is changed makes another parent or none, and no panic.
        #[test]
        fn a_wrong_byte_is_seen(at in 0usize..55, byte in 0x20u8..0x7f) {
            let mut text = GOOD.as_bytes().to_vec();
            prop_assume!(text[at] != byte);
            text[at] = byte;
            let read = Parent::of(&headers(&TRACEPARENT, &[&text]));
            let valid = byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            let separator = matches!(at, 2 | 35 | 52);
            if !valid || separator {
                prop_assert_eq!(read, None);
            }
            // The flags have bits that don't count.
            if at < 53 && at > 2 {
                prop_assert_ne!(read, parent(&[GOOD]));
            }
        }

        #[test]
        fn nothing_panics(values in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..4)) {
            let legal = |bytes: &&Vec<u8>| HeaderValue::from_bytes(bytes).is_ok();
            let values: Vec<&[u8]> = values.iter().filter(legal).map(Vec::as_slice).collect();
            Parent::of(&headers(&TRACEPARENT, &values));
            tracestate(&headers(&TRACESTATE, &values));
        }

        /// A state that passes says the same when it is read again.
        #[test]
        fn a_state_stays(text in "[a-c0@=, x~]{0,40}") {
            if let Some(once) = state(&[&text]) {
                prop_assert_eq!(state(&[&once]), Some(once));
            }
        }
    }
}
