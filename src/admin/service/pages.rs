//! Parts of lists. A cursor says where the next part begins; what it holds is ours to change.

use super::super::error::ApiError;
use super::super::input::query::Query;
use crate::stores::Page;

/// Records of a page, unless asked otherwise.
const USUAL: u32 = 50;
/// Records of a page, at most.
const MOST: u32 = 500;

/// The part that `limit` and `cursor` of a query name.
///
/// # Errors
/// 422.
pub fn asked(query: &mut Query) -> Result<Page, ApiError> {
    let limit = query.number("limit", 1, MOST)?.unwrap_or(USUAL);
    let offset = match query.text("cursor") {
        None => 0,
        Some(cursor) => cursor
            .strip_prefix('o')
            .and_then(|offset| offset.parse().ok())
            .ok_or_else(|| ApiError::invalid("cursor", "is not one that a list gave"))?,
    };
    Ok(Page { offset, limit })
}

/// The cursor after a page of `items` out of `total`.
pub fn next(page: &Page, items: usize, total: u64) -> Option<String> {
    let next = page.offset + items as u64;
    (items > 0 && next < total).then(|| format!("o{next}"))
}
