//! `/admin/v1/usage`: what was used and paid, in totals and attempt by attempt.

use std::borrow::Cow;

use axum::response::IntoResponse;
use http::header::CONTENT_TYPE;
use http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Map, Value};
use sluicegate_ledger::{Dimension, Group, Row, RowsQuery, Total, UsageQuery};
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::call::{Answer, Call, ok};
use super::super::error::ApiError;
use super::super::input::csv::Csv;
use super::super::input::money::Usd;
use super::super::input::query::Query;
use super::super::input::time::Moment;
use super::super::service::usage;
use super::quotas::MoneyView;

/// Groups or rows of a part, at most.
const MOST: u32 = 1_000;
/// Dimensions by which totals are asked for, at most.
const MOST_DIMENSIONS: usize = 4;
/// In an answer of CSV: where the next part begins.
const CURSOR: HeaderName = HeaderName::from_static("x-sluicegate-cursor");

/// Totals.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsagePage {
    /// In the order of what they are grouped by.
    pub items: Vec<UsageView>,
    /// Where the next part begins; absent in the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A group's total.
#[derive(Debug, Serialize, ToSchema)]
pub struct UsageView {
    /// What the group has in common, by dimension. `null`: none.
    #[schema(value_type = Object)]
    pub group: Map<String, Value>,
    /// Attempts that reached a provider.
    pub attempts: u64,
    /// Cached ones included.
    pub input_tokens: u64,
    pub cached_tokens: u64,
    pub output_tokens: u64,
    /// Attempts whose tokens are an estimate.
    pub estimated: u64,
    pub cost: MoneyView,
}

/// Attempts.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowsPage {
    /// Newest first.
    pub items: Vec<RowView>,
    /// Where the next part begins; absent in the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// An attempt that reached a provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct RowView {
    /// `x-request-id` of the answer.
    pub request_id: Uuid,
    /// From 1 on.
    pub attempt: u16,
    pub begun_at: Moment,
    pub ended_at: Moment,
    pub instance: String,
    /// How the caller was identified: `key`, `token`, `master`, `anonymous`.
    pub caller: String,
    pub key: Option<Uuid>,
    pub user: Option<String>,
    pub team: Option<String>,
    pub organization: Option<String>,
    pub end_user: Option<String>,
    pub tags: Vec<String>,
    pub endpoint: String,
    /// The model asked for.
    pub model: String,
    pub provider: String,
    /// The model's name there.
    pub provider_model: String,
    pub stream: bool,
    /// The provider's.
    pub status: Option<u16>,
    /// How it ended.
    pub outcome: String,
    /// Tokens by kind, those that are not 0.
    #[schema(value_type = Object)]
    pub tokens: Map<String, Value>,
    /// Whether they are an estimate.
    pub estimated: bool,
    /// `null`: there is no price.
    pub cost: Option<MoneyView>,
    pub price_version: Option<String>,
    /// What was held before it was forwarded.
    pub held_tokens: u64,
    pub held_cost: MoneyView,
    pub latency_ms: u64,
    pub first_token_ms: Option<u64>,
}

/// The parameters of the totals.
pub const TOTALS: &[(&str, &str)] = &[
    (
        "group_by",
        "Up to four of `day`, `key`, `user`, `team`, `organization`, `end_user`, `model`, `provider`, with commas between. Absent: one total.",
    ),
    ("from", "The first day, in UTC: `2026-01-31`. Absent: from the beginning."),
    ("to", "The last day, itself included."),
    ("key", "Only this key's, by id."),
    ("user", "Only this user's."),
    ("team", "Only this team's."),
    ("organization", "Only this organization's."),
    ("end_user", "Only this end user's."),
    ("model", "Only of this model, as callers name it."),
    ("provider", "Only of this provider."),
    ("limit", "Groups of this part, 1 to 1000; 100 unless given."),
    ("cursor", "Where to begin."),
    ("format", "`json`, unless given, or `csv`."),
];
/// The parameters of the attempts.
pub const ROWS: &[(&str, &str)] = &[
    TOTALS[1],
    TOTALS[2],
    TOTALS[3],
    TOTALS[4],
    TOTALS[5],
    TOTALS[6],
    TOTALS[7],
    TOTALS[8],
    TOTALS[9],
    ("tag", "Only with this tag."),
    ("request_id", "Only of this request."),
    ("limit", "Attempts of this part, 1 to 1000; 100 unless given."),
    TOTALS[11],
    TOTALS[12],
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Csv,
}

pub async fn totals(mut call: Call) -> Answer {
    let query = &mut call.query;
    let by = group_by(query.text("group_by").as_deref())?;
    let days = days(query)?;
    let only = only(query)?;
    let limit = usize::try_from(query.number("limit", 1, MOST)?.unwrap_or(100)).unwrap_or(100);
    let after = query.text("cursor").map(|cursor| read_cursor(&cursor, by.len())).transpose()?;
    let format = format(query)?;
    query.finish()?;
    let asked = UsageQuery { by: by.clone(), days, only, after, limit: limit + 1 };
    let mut groups = usage::totals(&call.services, &call.actor, asked).await?;
    let more = groups.len() > limit && !by.is_empty();
    groups.truncate(limit);
    let cursor = groups.last().filter(|_| more).map(|group| write_cursor(&group.values));
    if format == Format::Csv {
        return Ok(csv(totals_csv(&by, &groups), cursor.as_deref()));
    }
    let items = groups.into_iter().map(|group| UsageView::of(&by, group)).collect();
    Ok(ok(UsagePage { items, cursor }))
}

pub async fn rows(mut call: Call) -> Answer {
    let query = &mut call.query;
    let begun = days(query)?.map(usage::in_ms);
    let only = only(query)?;
    let tag = query.text("tag");
    let request_id = query.text("request_id").map(|text| id("request_id", &text)).transpose()?;
    let limit = usize::try_from(query.number("limit", 1, MOST)?.unwrap_or(100)).unwrap_or(100);
    let after = query.text("cursor").map(|cursor| read_place(&cursor)).transpose()?;
    let format = format(query)?;
    query.finish()?;
    let asked = RowsQuery { begun, request_id, only, tag, after, limit: limit + 1 };
    let mut rows = usage::rows(&call.services, &call.actor, asked).await?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let cursor = rows.last().filter(|_| more).map(write_place);
    if format == Format::Csv {
        return Ok(csv(rows_csv(&rows), cursor.as_deref()));
    }
    let items = rows.into_iter().map(RowView::from).collect();
    Ok(ok(RowsPage { items, cursor }))
}

fn group_by(text: Option<&str>) -> Result<Vec<Dimension>, ApiError> {
    let mut by = Vec::new();
    for name in text.into_iter().flat_map(|text| text.split(',')).map(str::trim) {
        let Some(dimension) = Dimension::from_name(name) else {
            let known: Vec<_> = Dimension::ALL.iter().map(|known| known.name()).collect();
            let reason = format!("must be some of {}", known.join(", "));
            return Err(ApiError::invalid("group_by", reason));
        };
        if by.contains(&dimension) {
            return Err(ApiError::invalid("group_by", "names one twice"));
        }
        by.push(dimension);
    }
    if by.len() > MOST_DIMENSIONS {
        let reason = format!("must not name more than {MOST_DIMENSIONS}");
        return Err(ApiError::invalid("group_by", reason));
    }
    Ok(by)
}

fn days(query: &mut Query) -> Result<Option<(i64, i64)>, ApiError> {
    let (from, to) = (query.text("from"), query.text("to"));
    usage::days(["from", "to"], from.as_deref(), to.as_deref())
}

fn only(query: &mut Query) -> Result<Vec<(Dimension, Vec<String>)>, ApiError> {
    let mut only = Vec::new();
    for dimension in Dimension::ALL.into_iter().filter(|it| *it != Dimension::Day) {
        let Some(value) = query.text(dimension.name()) else { continue };
        let value = match dimension {
            Dimension::Key => id("key", &value)?.to_string(),
            _ => value,
        };
        if value.contains('\0') {
            return Err(ApiError::invalid(dimension.name(), "must not hold NUL characters"));
        }
        only.push((dimension, vec![value]));
    }
    Ok(only)
}

fn id(field: &'static str, text: &str) -> Result<Uuid, ApiError> {
    Uuid::try_parse(text).map_err(|_| ApiError::invalid(field, "must be an id (a UUID)"))
}

fn format(query: &mut Query) -> Result<Format, ApiError> {
    match query.text("format").as_deref() {
        None | Some("json") => Ok(Format::Json),
        Some("csv") => Ok(Format::Csv),
        Some(_) => Err(ApiError::invalid("format", "must be one of `json`, `csv`")),
    }
}

fn write_cursor(values: &[String]) -> String {
    use std::fmt::Write;
    let text = serde_json::to_string(values).unwrap_or_default();
    text.bytes().fold(String::with_capacity(2 * text.len()), |mut hex, byte| {
        write!(hex, "{byte:02x}").ok();
        hex
    })
}

fn read_cursor(cursor: &str, dimensions: usize) -> Result<Vec<String>, ApiError> {
    let read = || {
        let digits: Option<Vec<u8>> = cursor
            .chars()
            .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect();
        let bytes = digits?
            .chunks(2)
            .map(|pair| match pair {
                [high, low] => Some(high << 4 | low),
                _ => None,
            })
            .collect::<Option<Vec<u8>>>()?;
        let values: Vec<String> = serde_json::from_slice(&bytes).ok()?;
        let good = values.len() == dimensions && values.iter().all(|value| !value.contains('\0'));
        good.then_some(values)
    };
    read().ok_or_else(no_cursor)
}

fn write_place(row: &Row<'_>) -> String {
    format!("{}_{}_{}", row.begun_at, row.request_id.simple(), row.attempt)
}

fn read_place(cursor: &str) -> Result<(i64, Uuid, u16), ApiError> {
    let read = || {
        let mut parts = cursor.splitn(3, '_');
        let begun_at = parts.next()?.parse().ok()?;
        let request_id = Uuid::try_parse(parts.next()?).ok()?;
        Some((begun_at, request_id, parts.next()?.parse().ok()?))
    };
    read().ok_or_else(no_cursor)
}

fn no_cursor() -> ApiError {
    ApiError::invalid("cursor", "is not one that a list gave")
}

fn csv(csv: Csv, cursor: Option<&str>) -> axum::response::Response {
    let kind = [(CONTENT_TYPE, "text/csv; charset=utf-8; header=present")];
    let mut response = (kind, csv.into_text()).into_response();
    if let Some(cursor) = cursor.and_then(|cursor| HeaderValue::try_from(cursor).ok()) {
        response.headers_mut().insert(CURSOR, cursor);
    }
    response
}

fn totals_csv(by: &[Dimension], groups: &[Group]) -> Csv {
    let names = by.iter().map(|dimension| dimension.name());
    let mut csv = Csv::with_head(names.chain([
        "attempts",
        "input_tokens",
        "cached_tokens",
        "output_tokens",
        "estimated",
        "cost_usd",
        "cost_nano_usd",
    ]));
    for Group { values, total } in groups {
        let numbers = [
            total.attempts,
            total.input_tokens,
            total.cached_tokens,
            total.output_tokens,
            total.estimated,
        ];
        let numbers = numbers.into_iter().map(|number| number.to_string());
        let cost = [Usd(total.nano_usd).to_string(), total.nano_usd.to_string()];
        csv.line(values.iter().cloned().chain(numbers).chain(cost));
    }
    csv
}

fn rows_csv(rows: &[Row<'static>]) -> Csv {
    let mut csv = Csv::with_head([
        "request_id",
        "attempt",
        "begun_at",
        "ended_at",
        "caller",
        "key",
        "user",
        "team",
        "organization",
        "end_user",
        "tags",
        "endpoint",
        "model",
        "provider",
        "provider_model",
        "stream",
        "status",
        "outcome",
        "input_tokens",
        "output_tokens",
        "estimated",
        "cost_usd",
        "latency_ms",
    ]);
    for row in rows {
        let maybe = |text: &Option<Cow<'static, str>>| text.as_deref().unwrap_or("").to_owned();
        csv.line([
            row.request_id.to_string(),
            row.attempt.to_string(),
            Moment(row.begun_at).to_string(),
            Moment(row.ended_at).to_string(),
            row.caller.to_string(),
            row.key.map_or_else(String::new, |key| key.to_string()),
            maybe(&row.user),
            maybe(&row.team),
            maybe(&row.organization),
            maybe(&row.end_user),
            row.tags.join(" "),
            row.endpoint.to_string(),
            row.model.to_string(),
            row.provider.to_string(),
            row.provider_model.to_string(),
            row.stream.to_string(),
            row.status.map_or_else(String::new, |status| status.to_string()),
            row.outcome.to_string(),
            row.usage.total_input().to_string(),
            row.usage.output.to_string(),
            row.estimated.to_string(),
            row.cost.map_or_else(String::new, |cost| Usd(cost).to_string()),
            row.latency_ms.to_string(),
        ]);
    }
    csv
}

impl UsageView {
    fn of(by: &[Dimension], Group { values, total }: Group) -> Self {
        let Total { attempts, input_tokens, cached_tokens, output_tokens, nano_usd, estimated } =
            total;
        let value = |value: String| if value.is_empty() { Value::Null } else { value.into() };
        let group = by.iter().zip(values).map(|(by, it)| (by.name().to_owned(), value(it)));
        Self {
            group: group.collect(),
            attempts,
            input_tokens,
            cached_tokens,
            output_tokens,
            estimated,
            cost: MoneyView::of(nano_usd),
        }
    }
}

impl From<Row<'static>> for RowView {
    fn from(row: Row<'static>) -> Self {
        let maybe = |text: Option<Cow<'static, str>>| text.map(Cow::into_owned);
        let kinds = row.usage.kinds().into_iter().filter(|(_, tokens)| *tokens > 0);
        Self {
            request_id: row.request_id,
            attempt: row.attempt,
            begun_at: Moment(row.begun_at),
            ended_at: Moment(row.ended_at),
            instance: row.instance.into_owned(),
            caller: row.caller.into_owned(),
            key: row.key,
            user: maybe(row.user),
            team: maybe(row.team),
            organization: maybe(row.organization),
            end_user: maybe(row.end_user),
            tags: row.tags.into_iter().map(Cow::into_owned).collect(),
            endpoint: row.endpoint.into_owned(),
            model: row.model.into_owned(),
            provider: row.provider.into_owned(),
            provider_model: row.provider_model.into_owned(),
            stream: row.stream,
            status: row.status,
            outcome: row.outcome.into_owned(),
            tokens: kinds.map(|(kind, tokens)| (kind.to_owned(), tokens.into())).collect(),
            estimated: row.estimated,
            cost: row.cost.map(MoneyView::of),
            price_version: maybe(row.price_version),
            held_tokens: row.held_tokens,
            held_cost: MoneyView::of(row.held_cost),
            latency_ms: row.latency_ms,
            first_token_ms: row.first_token_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_read_as_they_were_written() {
        let values = ["2026-01-31".to_owned(), "a\"b,é".to_owned()];
        assert_eq!(read_cursor(&write_cursor(&values), 2).unwrap(), values);
        for cursor in ["", "zz", "5b", &write_cursor(&values[..1])] {
            assert!(read_cursor(cursor, 2).is_err(), "{cursor}");
        }
        let row = Row { begun_at: 5, request_id: Uuid::from_u128(7), attempt: 3, ..Row::default() };
        assert_eq!(read_place(&write_place(&row)).unwrap(), (5, Uuid::from_u128(7), 3));
        for cursor in ["", "1", "1_2_3", "x_00000000000000000000000000000007_3"] {
            assert!(read_place(cursor).is_err(), "{cursor}");
        }
    }

    #[test]
    fn groups_are_named_once_each() {
        let by = group_by(Some("day, team")).unwrap();
        assert_eq!(by, [Dimension::Day, Dimension::Team]);
        assert_eq!(group_by(None).unwrap(), []);
        for text in ["colour", "day,day", "day,,team", "day,key,user,team,model"] {
            assert!(group_by(Some(text)).is_err(), "{text}");
        }
    }
}
