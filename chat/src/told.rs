//! What providers tell, read leniently: counts and the fields of errors.
//!
//! A count that is negative or no number is taken as not told, one beyond [`Usage::MAX_COUNT`] is cut to it: a provider's
//! slip must neither fail a request nor overflow a budget.

use std::borrow::Cow;

use crate::{
    Usage,
    json::{Fault, Kind, Reader},
};

/// Reads an object, a field at a time: `field` takes the value, or leaves it by giving `false`. Keys that come twice are
/// read twice.
#[inline]
pub fn object<'a, E: From<Fault>>(
    reader: &mut Reader<'a>,
    mut field: impl FnMut(&str, &mut Reader<'a>) -> Result<bool, E>,
) -> Result<(), E> {
    reader.open_object()?;
    let mut first = true;
    while let Some(key) = reader.next_key(first)? {
        first = false;
        if !field(&key, reader)? {
            reader.skip()?;
        }
    }
    Ok(())
}

/// As [`object`], for a value that may be of another kind; then nothing of it is read.
#[inline]
pub fn object_if<'a, E: From<Fault>>(
    reader: &mut Reader<'a>,
    field: impl FnMut(&str, &mut Reader<'a>) -> Result<bool, E>,
) -> Result<bool, E> {
    if reader.kind()? != Kind::Object {
        reader.skip()?;
        return Ok(false);
    }
    object(reader, field).map(|()| true)
}

/// Reads an array, an element at a time; a value of another kind has none.
#[inline]
pub fn array_if<'a, E: From<Fault>>(
    reader: &mut Reader<'a>,
    mut element: impl FnMut(&mut Reader<'a>) -> Result<(), E>,
) -> Result<(), E> {
    if reader.kind()? != Kind::Array {
        reader.skip()?;
        return Ok(());
    }
    reader.open_array()?;
    let mut first = true;
    while reader.next_element(first)? {
        first = false;
        element(reader)?;
    }
    Ok(())
}

/// A string; `None` for a value of another kind.
#[inline]
pub fn text<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, Fault> {
    if reader.kind()? == Kind::String {
        return reader.string().map(Some);
    }
    reader.skip()?;
    Ok(None)
}

/// A count, at most [`Usage::MAX_COUNT`]; `None` where it is none.
pub fn count(reader: &mut Reader<'_>) -> Result<Option<u64>, Fault> {
    if reader.kind()? != Kind::Number {
        reader.skip()?;
        return Ok(None);
    }
    let number = reader.number()?;
    Ok(match number.as_u64() {
        Some(count) => Some(count.min(Usage::MAX_COUNT)),
        None => {
            let value = number.as_f64();
            // The cast saturates.
            (value.is_finite() && value >= 0.0).then_some((value as u64).min(Usage::MAX_COUNT))
        }
    })
}

/// A text of a provider's for people: bounded, since it comes from elsewhere.
pub fn message(text: &str) -> String {
    const MAX_CHARS: usize = 2_048;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_counts_are_ignored_or_cut() {
        for (raw, expected) in [
            ("7", Some(7)),
            ("0", Some(0)),
            ("-5", None),
            ("\"7\"", None),
            ("null", None),
            ("{\"a\":[1]}", None),
            ("1e999", None),
            ("12.9", Some(12)),
            ("1e3", Some(1_000)),
            ("1e30", Some(Usage::MAX_COUNT)),
            ("18446744073709551615", Some(Usage::MAX_COUNT)),
            ("99999999999999999999999999", Some(Usage::MAX_COUNT)),
        ] {
            let mut reader = Reader::new(raw);
            assert_eq!(count(&mut reader).unwrap(), expected, "{raw}");
            reader.end().unwrap();
        }
    }

    #[test]
    fn messages_are_bounded() {
        assert_eq!(message("short"), "short");
        assert_eq!(message(&"é".repeat(5_000)).chars().count(), 2_051);
    }
}
