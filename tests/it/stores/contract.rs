//! What every store does. Each case gets a store of its own, with nothing in it.

mod concurrency;
mod feed;
mod ledger;
mod lists;
mod lookups;
mod records;
mod rules;
pub mod samples;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use sluicegate::stores::Store;
use sluicegate_ledger::LedgerStore;

use crate::support::soon;

type Case<S> = (&'static str, fn(Arc<S>) -> Pin<Box<dyn Future<Output = ()> + Send>>);

macro_rules! cases {
    ($cases:ident: $port:ty; $($module:ident::{$($name:ident),* $(,)?}),* $(,)?) => {
        const $cases: &[Case<$port>] = &[$($(
            (concat!(stringify!($module), "::", stringify!($name)), |store| {
                Box::pin($module::$name(store))
            }),
        )*)*];
    };
}

cases! {
    RECORDS: dyn Store;
    records::{
        a_record_is_created_read_updated_and_deleted,
        any_record_comes_back_as_it_was_stored,
        hostile_text_is_stored_as_it_is,
        a_megabyte_of_metadata_is_stored,
    },
    rules::{
        a_stale_version_is_refused,
        what_does_not_exist_is_not_found,
        identifiers_are_unique,
        an_alias_of_a_key_is_unique,
        a_hash_leads_to_one_key,
        what_does_not_exist_cannot_be_referred_to,
        an_organization_in_use_cannot_be_deleted,
        a_deleted_team_takes_its_keys_with_it,
        a_deleted_user_takes_keys_and_memberships_with_them,
        what_one_database_could_not_hold_is_refused,
        a_refused_write_leaves_nothing_behind,
    },
    lookups::{
        a_key_is_found_by_its_hash_with_its_owner,
        a_previous_hash_finds_its_key,
        a_key_without_an_organization_has_that_of_its_team,
        an_owner_is_what_is_stored_of_the_names,
    },
    lists::{
        lists_are_ordered_newest_first_and_paged,
        keys_are_filtered,
        teams_are_filtered,
        users_are_filtered,
        a_page_after_a_place_is_not_shifted_by_what_comes_before,
        an_impossible_page_is_refused,
    },
    feed::{
        each_write_is_in_the_feed_in_order,
        a_long_feed_is_given_in_parts,
        whoever_missed_forgotten_changes_is_told,
        a_write_wakes_whoever_waits,
    },
    concurrency::{
        of_two_updates_of_one_version_one_wins,
        of_two_keys_with_one_alias_one_is_created,
        no_change_is_skipped_while_many_write,
        an_abandoned_call_leaves_the_store_usable,
    },
}

cases! {
    LEDGER: dyn LedgerStore;
    ledger::{
        any_row_comes_back_as_it_was_added,
        rows_that_are_there_are_left_as_they_are,
        a_row_that_is_twice_among_them_is_added_once,
        totals_are_of_what_was_added,
        two_that_add_the_same_rows_count_them_once,
        as_many_rows_as_may_be_are_added_at_once,
        usage_is_grouped_filtered_and_paged,
        rows_are_filtered_and_paged_newest_first,
        old_rows_are_forgotten_and_totals_stay,
        rows_that_may_be_there_are_added_once,
        rows_that_were_forgotten_are_not_added_again,
        what_is_forgotten_while_it_is_added_again_counts_once,
        an_id_stays,
        hostile_names_are_values,
    },
}

/// Runs all cases, and fails with the names of those that failed.
pub async fn check<S: Store + LedgerStore>(mut open: impl AsyncFnMut() -> Arc<S>) {
    let mut failed = Vec::new();
    for (name, case) in RECORDS {
        failed.extend(run(open().await, name, |store| case(store)).await);
    }
    for (name, case) in LEDGER {
        failed.extend(run(open().await, name, |store| case(store)).await);
    }
    let cases = RECORDS.len() + LEDGER.len();
    assert!(failed.is_empty(), "{} of {cases} cases failed: {failed:#?}", failed.len());
}

/// Runs one, and gives its name if it failed.
async fn run<S: Store>(
    store: Arc<S>,
    name: &'static str,
    case: impl FnOnce(Arc<S>) -> Pin<Box<dyn Future<Output = ()> + Send>>,
) -> Option<&'static str> {
    let (kind, started) = (store.name(), Instant::now());
    let failed = soon(name, tokio::spawn(case(store))).await.is_err();
    eprintln!("{kind}: {name}: {:?}", started.elapsed());
    failed.then_some(name)
}
