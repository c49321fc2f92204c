use std::collections::HashSet;
use std::sync::Arc;

use sluicegate_filters::Usage;
use sluicegate_ledger::{
    Again, Dimension, Group, LedgerStore, MAX_ROWS, Row, RowsQuery, Total, UsageQuery,
};
use uuid::Uuid;

const DAY_MS: i64 = 86_400_000;

/// The `number`th row: of request `number`, all that a row may have, and a cost of `number`.
fn row(number: u64) -> Row<'static> {
    Row {
        request_id: Uuid::from_u128(u128::from(number)),
        attempt: 1,
        begun_at: 20_000 * DAY_MS + number.cast_signed(),
        ended_at: 20_000 * DAY_MS + number.cast_signed() + 5,
        instance: "one".into(),
        caller: "virtual_key".into(),
        key: Some(Uuid::from_u128(7)),
        user: Some("ann".into()),
        team: Some("red".into()),
        organization: Some("acme".into()),
        end_user: Some("visitor".into()),
        tags: vec!["blue".into(), "night".into()],
        endpoint: "chat_completions".into(),
        model: "large".into(),
        provider: "sim".into(),
        provider_model: "sim-1".into(),
        stream: true,
        status: Some(200),
        outcome: "complete".into(),
        usage: Usage {
            input: 11,
            cache_read: 2,
            cache_write_5m: 3,
            cache_write_1h: 4,
            output: 15,
            reasoning: 6,
            audio_input: 7,
            audio_output: 8,
        },
        estimated: true,
        cost: Some(number),
        price_version: Some("table".into()),
        held_tokens: 100,
        held_cost: 200,
        latency_ms: 5,
        first_token_ms: Some(3),
    }
}

/// A row with nothing that it may lack.
fn bare(number: u64) -> Row<'static> {
    Row {
        request_id: Uuid::from_u128(u128::from(number)),
        attempt: 1,
        begun_at: 20_000 * DAY_MS,
        ended_at: 20_000 * DAY_MS,
        instance: "one".into(),
        model: "large".into(),
        ..Row::default()
    }
}

async fn all(store: &dyn LedgerStore) -> Vec<Row<'static>> {
    let query = RowsQuery { limit: 10_000, ..RowsQuery::default() };
    store.rows(&query).await.unwrap()
}

async fn total(store: &dyn LedgerStore) -> Total {
    let query = UsageQuery { limit: 1, ..UsageQuery::default() };
    store.usage(&query).await.unwrap().remove(0).total
}

pub async fn any_row_comes_back_as_it_was_added(store: Arc<dyn LedgerStore>) {
    let most = Row {
        cost: Some(i64::MAX.cast_unsigned()),
        held_cost: i64::MAX.cast_unsigned(),
        attempt: u16::MAX,
        ..row(3)
    };
    let rows = [row(1), bare(2), most];
    assert_eq!(store.append(&rows).await.unwrap(), 3);
    let mut found = all(&*store).await;
    found.sort_by_key(|row| row.request_id);
    assert_eq!(found, rows);
}

pub async fn rows_that_are_there_are_left_as_they_are(store: Arc<dyn LedgerStore>) {
    assert_eq!(store.append(&[row(1), row(2)]).await.unwrap(), 2);
    let other = Row { cost: Some(1_000), ..row(2) };
    let second = Row { attempt: 2, ..row(2) };
    assert_eq!(store.append(&[other.clone(), row(3), second]).await.unwrap(), 2);
    assert_eq!(store.append(&[other, row(1)]).await.unwrap(), 0);
    let costs: HashSet<_> = all(&*store)
        .await
        .iter()
        .map(|row| (row.request_id.as_u128(), row.attempt, row.cost))
        .collect();
    let expected = [(1, 1, Some(1)), (2, 1, Some(2)), (2, 2, Some(2)), (3, 1, Some(3))];
    assert_eq!(costs, HashSet::from(expected));
    let total = total(&*store).await;
    assert_eq!((total.attempts, total.nano_usd), (4, 8));
}

pub async fn a_row_that_is_twice_among_them_is_added_once(store: Arc<dyn LedgerStore>) {
    assert_eq!(store.append(&[row(1), row(2), row(1)]).await.unwrap(), 2);
    let total = total(&*store).await;
    assert_eq!((total.attempts, total.nano_usd), (2, 3));
}

pub async fn totals_are_of_what_was_added(store: Arc<dyn LedgerStore>) {
    let free = Row { cost: None, estimated: false, ..row(2) };
    store.append(&[row(1), free]).await.unwrap();
    let expected = Total {
        attempts: 2,
        input_tokens: 2 * row(1).usage.total_input(),
        cached_tokens: 4,
        output_tokens: 30,
        nano_usd: 1,
        estimated: 1,
    };
    assert_eq!(total(&*store).await, expected);
}

pub async fn two_that_add_the_same_rows_count_them_once(store: Arc<dyn LedgerStore>) {
    let add = |from: u64| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let mut added = 0;
            for first in (from..from + 40).step_by(4) {
                let rows: Vec<_> = (first..first + 12).map(row).collect();
                added += store.append(&rows).await.unwrap();
            }
            added
        })
    };
    let (one, other) = (add(1), add(11));
    let added = one.await.unwrap() + other.await.unwrap();
    let total = total(&*store).await;
    let rows = all(&*store).await;
    assert_eq!((added, total.attempts), (58, 58));
    assert_eq!((rows.len(), total.nano_usd), (58, (1..=58).sum()));
}

pub async fn as_many_rows_as_may_be_are_added_at_once(store: Arc<dyn LedgerStore>) {
    // As many totals as rows.
    let own = |number: u64| Row { end_user: Some(format!("u{number}").into()), ..row(number) };
    let rows: Vec<_> = (1..=MAX_ROWS as u64).map(own).collect();
    assert_eq!(store.append(&rows).await.unwrap(), MAX_ROWS as u64);
    assert_eq!(all(&*store).await.len(), MAX_ROWS);
    let by = vec![Dimension::EndUser];
    let query = UsageQuery { by, limit: 10_000, ..UsageQuery::default() };
    assert_eq!(store.usage(&query).await.unwrap().len(), MAX_ROWS);
}

pub async fn usage_is_grouped_filtered_and_paged(store: Arc<dyn LedgerStore>) {
    let rows: Vec<_> = (0..12_u64)
        .map(|number| Row {
            ended_at: (20_000 + (number / 6).cast_signed()) * DAY_MS,
            team: [Some("blue".into()), Some("red".into()), None][number as usize % 3].clone(),
            cost: Some(1 << number),
            ..row(number)
        })
        .collect();
    store.append(&rows).await.unwrap();
    let cost = |bits: &[u64]| bits.iter().map(|bit| 1 << bit).sum::<u64>();
    let told = |groups: &[Group]| -> Vec<(Vec<String>, u64)> {
        groups.iter().map(|group| (group.values.clone(), group.total.nano_usd)).collect()
    };
    let group = |day: &str, team: &str, bits: &[u64]| (vec![day.into(), team.into()], cost(bits));
    let by = vec![Dimension::Day, Dimension::Team];
    let query = UsageQuery { by, limit: 4, ..UsageQuery::default() };
    let first = store.usage(&query).await.unwrap();
    let expected = [
        group("2024-10-04", "", &[2, 5]),
        group("2024-10-04", "blue", &[0, 3]),
        group("2024-10-04", "red", &[1, 4]),
        group("2024-10-05", "", &[8, 11]),
    ];
    assert_eq!(told(&first), expected);
    let after = Some(first.last().unwrap().values.clone());
    let rest = store.usage(&UsageQuery { after, ..query.clone() }).await.unwrap();
    let expected = [group("2024-10-05", "blue", &[6, 9]), group("2024-10-05", "red", &[7, 10])];
    assert_eq!(told(&rest), expected);
    let only = vec![(Dimension::Team, vec!["blue".into(), String::new()])];
    let query = UsageQuery {
        by: vec![Dimension::Team],
        days: Some((20_001, 20_002)),
        only,
        limit: 10,
        after: None,
    };
    let expected = [(vec![String::new()], cost(&[8, 11])), (vec!["blue".into()], cost(&[6, 9]))];
    assert_eq!(told(&store.usage(&query).await.unwrap()), expected);
}

pub async fn rows_are_filtered_and_paged_newest_first(store: Arc<dyn LedgerStore>) {
    let rows: Vec<_> = (1..=9_u64)
        .map(|number| Row {
            // Three begin at a time.
            begun_at: 20_000 * DAY_MS + (number / 3).cast_signed(),
            tags: if number % 2 == 0 {
                vec!["even".into(), "all".into()]
            } else {
                vec!["all".into()]
            },
            key: Some(Uuid::from_u128(u128::from(number % 2))),
            ..row(number)
        })
        .collect();
    store.append(&rows).await.unwrap();
    let numbers = |rows: Vec<Row<'_>>| rows.iter().map(|row| row.cost.unwrap()).collect::<Vec<_>>();
    let mut query = RowsQuery { limit: 4, ..RowsQuery::default() };
    let mut seen = Vec::new();
    loop {
        let page = store.rows(&query).await.unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some((last.begun_at, last.request_id, last.attempt));
        seen.extend(numbers(page));
    }
    assert_eq!(seen, [9, 8, 7, 6, 5, 4, 3, 2, 1]);
    let found = async |query: RowsQuery| numbers(store.rows(&query).await.unwrap());
    let query = || RowsQuery { limit: 100, ..RowsQuery::default() };
    assert_eq!(found(RowsQuery { tag: Some("even".into()), ..query() }).await, [8, 6, 4, 2]);
    assert!(found(RowsQuery { tag: Some("eve".into()), ..query() }).await.is_empty());
    let key = vec![(Dimension::Key, vec![Uuid::from_u128(1).to_string()])];
    assert_eq!(found(RowsQuery { only: key, ..query() }).await, [9, 7, 5, 3, 1]);
    let begun = Some((20_000 * DAY_MS + 1, 20_000 * DAY_MS + 2));
    assert_eq!(found(RowsQuery { begun, ..query() }).await, [5, 4, 3]);
    let request_id = Some(Uuid::from_u128(6));
    assert_eq!(found(RowsQuery { request_id, ..query() }).await, [6]);
}

pub async fn old_rows_are_forgotten_and_totals_stay(store: Arc<dyn LedgerStore>) {
    store.append(&(1..=9).map(row).collect::<Vec<_>>()).await.unwrap();
    assert_eq!(store.forget(row(4).begun_at).await.unwrap(), 3);
    assert_eq!(store.forget(row(4).begun_at).await.unwrap(), 0);
    assert_eq!(all(&*store).await.len(), 6);
    assert_eq!(total(&*store).await.attempts, 9);
}

pub async fn rows_that_may_be_there_are_added_once(store: Arc<dyn LedgerStore>) {
    let rows: Vec<_> = (1..=3).map(row).collect();
    let again = |added| Again { added, too_old: 0 };
    assert_eq!(store.append_again(&[]).await.unwrap(), again(0));
    assert_eq!(store.append_again(&rows[..2]).await.unwrap(), again(2));
    assert_eq!(store.append_again(&rows).await.unwrap(), again(1));
    assert_eq!(store.append_again(&[row(4), row(4)]).await.unwrap(), again(1));
    let total = total(&*store).await;
    assert_eq!((total.attempts, total.nano_usd), (4, 10));
}

pub async fn rows_that_were_forgotten_are_not_added_again(store: Arc<dyn LedgerStore>) {
    let rows: Vec<_> = (1..=10).map(row).collect();
    store.append(&rows[..9]).await.unwrap();
    assert_eq!(store.forget(row(4).begun_at).await.unwrap(), 3);
    let again = store.append_again(&rows).await.unwrap();
    assert_eq!(again, Again { added: 1, too_old: 3 });
    assert_eq!(total(&*store).await.attempts, 10);
    // What is forgotten later is not the earlier for it.
    assert_eq!(store.forget(row(1).begun_at).await.unwrap(), 0);
    assert_eq!(store.append_again(&rows[..3]).await.unwrap(), Again { added: 0, too_old: 3 });
    assert_eq!(all(&*store).await.len(), 7);
    // What nobody has sent before is new, however old it is.
    let late = Row { request_id: Uuid::from_u128(77), ..row(1) };
    assert_eq!(store.append(&[late]).await.unwrap(), 1);
    assert_eq!(total(&*store).await.attempts, 11);
}

pub async fn what_is_forgotten_while_it_is_added_again_counts_once(store: Arc<dyn LedgerStore>) {
    let rows: Vec<_> = (1..=60).map(row).collect();
    store.append(&rows).await.unwrap();
    let forgets = Arc::clone(&store);
    let forgetting = tokio::spawn(async move {
        for number in (3..=60).step_by(3) {
            forgets.forget(row(number).begun_at).await.unwrap();
        }
    });
    while !forgetting.is_finished() {
        let again = store.append_again(&rows).await.unwrap();
        assert_eq!(again.added, 0);
    }
    forgetting.await.unwrap();
    let total = total(&*store).await;
    assert_eq!((total.attempts, total.nano_usd), (60, (1..=60).sum()));
}

pub async fn an_id_stays(store: Arc<dyn LedgerStore>) {
    let id = store.id().await.unwrap();
    assert_eq!((id.get_version_num(), id.get_variant()), (4, uuid::Variant::RFC4122));
    assert_eq!(store.id().await.unwrap(), id);
}

pub async fn hostile_names_are_values(store: Arc<dyn LedgerStore>) {
    let name = "'); DROP TABLE ledger; -- $1 ? \"\u{1F980}";
    let hostile = Row {
        user: Some(name.into()),
        end_user: Some(name.into()),
        tags: vec![name.into()],
        ..row(1)
    };
    store.append(std::slice::from_ref(&hostile)).await.unwrap();
    let query = RowsQuery {
        only: vec![(Dimension::EndUser, vec![name.into()])],
        tag: Some(name.into()),
        limit: 2,
        ..RowsQuery::default()
    };
    assert_eq!(store.rows(&query).await.unwrap(), [hostile]);
    let query = UsageQuery {
        by: vec![Dimension::User],
        only: vec![(Dimension::User, vec![name.into()])],
        limit: 2,
        ..UsageQuery::default()
    };
    assert_eq!(store.usage(&query).await.unwrap().remove(0).values, [name]);
}
