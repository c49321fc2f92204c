//! Parts of lists. A cursor says after which record the next part begins, so records that are made or
//! deleted meanwhile shift nothing. What it holds is ours to change.

use super::super::error::ApiError;
use super::super::input::query::Query;
use crate::stores::{Page, Place};

/// Records of a page, unless asked otherwise.
const USUAL: u32 = 50;
/// Records of a page, at most.
const MOST: u32 = 500;

/// The part that `limit` and `cursor` of a query name, and one record more: it tells whether there is more.
///
/// # Errors
/// 422.
pub fn asked(query: &mut Query) -> Result<Page, ApiError> {
    let limit = query.number("limit", 1, MOST)?.unwrap_or(USUAL) + 1;
    match query.text("cursor") {
        None => Ok(Page::at(0, limit)),
        Some(cursor) => match read(&cursor) {
            Some(place) => Ok(Page::after(place, limit)),
            None => Err(ApiError::invalid("cursor", "is not one that a list gave")),
        },
    }
}

/// Takes away the record that is one too many, and gives the cursor of what comes after the others; `None`
/// after the last page.
pub fn cut<T>(page: &Page, items: &mut Vec<T>, place: impl Fn(&T) -> Place) -> Option<String> {
    let given = usize::try_from(page.limit).unwrap_or(usize::MAX) - 1;
    if items.len() <= given {
        return None;
    }
    items.truncate(given);
    items.last().map(place).as_ref().map(write)
}

fn write(place: &Place) -> String {
    use std::fmt::Write;
    let mut cursor = format!("{}_", place.created_at);
    for byte in place.id.bytes() {
        write!(cursor, "{byte:02x}").ok();
    }
    cursor
}

fn read(cursor: &str) -> Option<Place> {
    let (created_at, hex) = cursor.split_once('_')?;
    let digits: Option<Vec<u8>> =
        hex.chars().map(|digit| digit.to_digit(16).and_then(|d| u8::try_from(d).ok())).collect();
    let digits = digits?;
    let id = digits.chunks(2).map(|pair| match pair {
        [high, low] => Some(high << 4 | low),
        _ => None,
    });
    let id = String::from_utf8(id.collect::<Option<_>>()?).ok()?;
    Some(Place { created_at: created_at.parse().ok()?, id })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_where_there_is_more_is_there_a_cursor() {
        let place = |id: &i64| Place { created_at: *id, id: id.to_string() };
        let cut = |items: &mut Vec<i64>| super::cut(&Page::at(0, 3), items, place);
        let mut items = vec![9, 8, 7];
        assert_eq!(cut(&mut items).as_deref(), Some("8_38"));
        assert_eq!(items, [9, 8]);
        assert_eq!(cut(&mut items), None);
        assert_eq!(cut(&mut Vec::new()), None);
    }

    proptest! {
        #[test]
        fn a_cursor_reads_as_it_was_written(created_at: i64, id: String) {
            let place = Place { created_at, id };
            prop_assert_eq!(read(&write(&place)), Some(place));
        }

        #[test]
        fn any_text_is_judged_without_a_panic(text: String) {
            read(&text);
            read(&format!("1_{text}"));
        }
    }
}
