use std::sync::Arc;

use sluicegate::stores::records::{MemberRole, PreviousHash, UserRole};
use sluicegate::stores::{KeyFilter, Page, Place, Store, StoreError, TeamFilter, UserFilter};

use super::samples::{ALL, hash, key, member, organization, team, user};

pub async fn lists_are_ordered_newest_first_and_paged(store: Arc<dyn Store>) {
    let times = [("b", 3), ("B", 3), ("a", 3), ("é", 3), ("old", 1), ("new", 9), ("neg", -5)];
    for (id, created_at) in times {
        let (mut organization, mut team, mut user) = (organization(id), team(id), user(id));
        organization.created_at = created_at;
        team.created_at = created_at;
        team.members = vec![member(id, MemberRole::User)];
        user.created_at = created_at;
        store.create_organization(&organization).await.unwrap();
        store.create_team(&team).await.unwrap();
        store.create_user(&user).await.unwrap();
    }
    // Of one age, by the bytes of their identifiers.
    let wanted = ["new", "é", "b", "a", "B", "old", "neg"];
    let organizations = store.organizations(&ALL).await.unwrap();
    assert_eq!(organizations.items.iter().map(|item| &item.id).collect::<Vec<_>>(), wanted);
    assert_eq!(organizations.total, 7);
    let teams = store.teams(&TeamFilter::default(), &ALL).await.unwrap();
    assert_eq!(teams.items.iter().map(|item| &item.id).collect::<Vec<_>>(), wanted);
    assert!(teams.items.iter().all(|team| team.members[0].user == team.id));
    let users = store.users(&UserFilter::default(), &ALL).await.unwrap();
    assert_eq!(users.items.iter().map(|item| &item.id).collect::<Vec<_>>(), wanted);

    for (offset, limit, wanted) in
        [(0, 2, &wanted[..2]), (2, 3, &wanted[2..5]), (5, 9, &wanted[5..]), (7, 1, &[])]
    {
        let page = store.organizations(&Page::at(offset, limit)).await.unwrap();
        assert_eq!(page.items.iter().map(|item| &item.id).collect::<Vec<_>>(), wanted);
        assert_eq!(page.total, 7);
    }
    let beyond = store.organizations(&Page::at(u64::MAX, 1)).await.unwrap();
    assert!(beyond.items.is_empty() && beyond.total == 7);

    for number in 1..=20 {
        store.create_key(&key(number)).await.unwrap();
    }
    let page = Page::at(5, 3);
    let keys = store.keys(&KeyFilter::default(), &page).await.unwrap();
    assert_eq!(keys.items, [key(15), key(14), key(13)]);
    assert_eq!(keys.total, 20);
}

pub async fn a_page_after_a_place_is_not_shifted_by_what_comes_before(store: Arc<dyn Store>) {
    let place = |created_at, id: &str| Place { created_at, id: id.to_owned() };
    for (id, created_at) in [("b", 3), ("B", 3), ("a", 3), ("old", 1), ("new", 9)] {
        let (mut organization, mut team, mut user) = (organization(id), team(id), user(id));
        organization.created_at = created_at;
        team.created_at = created_at;
        user.created_at = created_at;
        store.create_organization(&organization).await.unwrap();
        store.create_team(&team).await.unwrap();
        store.create_user(&user).await.unwrap();
    }
    let page = Page::after(place(3, "b"), 2);
    let organizations = store.organizations(&page).await.unwrap();
    assert_eq!(organizations.items.iter().map(|item| &*item.id).collect::<Vec<_>>(), ["a", "B"]);
    assert_eq!(organizations.total, 5, "those before are counted");
    let teams = store.teams(&TeamFilter::default(), &page).await.unwrap();
    assert_eq!(teams.items.iter().map(|item| &*item.id).collect::<Vec<_>>(), ["a", "B"]);
    let users = store.users(&UserFilter::default(), &page).await.unwrap();
    assert_eq!(users.items.iter().map(|item| &*item.id).collect::<Vec<_>>(), ["a", "B"]);
    let gone = Page::after(place(3, "ab"), 9);
    let after = store.organizations(&gone).await.unwrap();
    let ids: Vec<_> = after.items.iter().map(|item| &*item.id).collect();
    assert_eq!(ids, ["a", "B", "old"], "a place whose record is gone is still a place");

    for number in 1..=9 {
        store.create_key(&key(number)).await.unwrap();
    }
    let page = Page::after(place(key(5).created_at, &key(5).id.to_string()), 2);
    store.delete_key(key(7).id).await.unwrap();
    store.create_key(&key(20)).await.unwrap();
    let keys = store.keys(&KeyFilter::default(), &page).await.unwrap();
    assert_eq!(keys.items, [key(4), key(3)]);
    let wrong = store.keys(&KeyFilter::default(), &Page::after(place(0, "x"), 2)).await;
    assert!(matches!(wrong, Err(StoreError::Invalid { field: "after", .. })), "{wrong:?}");
}

pub async fn keys_are_filtered(store: Arc<dyn Store>) {
    store.create_organization(&organization("acme")).await.unwrap();
    store.create_organization(&organization("other")).await.unwrap();
    let mut red = team("red");
    red.organization = Some("acme".to_owned());
    store.create_team(&red).await.unwrap();
    store.create_team(&team("blue")).await.unwrap();
    store.create_user(&user("anna")).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    let mut keys: Vec<_> = (0..6).map(key).collect();
    keys[1].user = some("anna");
    keys[2].team = some("red");
    keys[3].team = some("red");
    keys[3].user = some("anna");
    keys[3].blocked = true;
    keys[3].organization = some("other");
    keys[4].organization = some("acme");
    keys[4].alias = some("ci");
    keys[5].team = some("blue");
    keys[5].previous = Some(PreviousHash { hash: hash(50), until: 0 });
    for key in &keys {
        store.create_key(key).await.unwrap();
    }
    let all = KeyFilter::default;
    let cases = [
        (all(), vec![5, 4, 3, 2, 1, 0]),
        (KeyFilter { user: some("anna"), ..all() }, vec![3, 1]),
        (KeyFilter { user: some("nobody"), ..all() }, vec![]),
        (KeyFilter { team: some("red"), ..all() }, vec![3, 2]),
        // Its own organization, or else its team's.
        (KeyFilter { organization: some("acme"), ..all() }, vec![4, 2]),
        (KeyFilter { organization: some("other"), ..all() }, vec![3]),
        (KeyFilter { alias: some("ci"), ..all() }, vec![4]),
        (KeyFilter { alias: some("c%"), ..all() }, vec![]),
        (KeyFilter { hash: Some(hash(3)), ..all() }, vec![3]),
        (KeyFilter { hash: Some(hash(50)), ..all() }, vec![5]),
        (KeyFilter { blocked: Some(true), ..all() }, vec![3]),
        (KeyFilter { blocked: Some(false), team: some("red"), ..all() }, vec![2]),
        (KeyFilter { within_teams: Some(vec![]), ..all() }, vec![]),
        (
            KeyFilter { within_teams: Some(vec!["blue".to_owned(), "red".to_owned()]), ..all() },
            vec![5, 3, 2],
        ),
        (
            KeyFilter { within_teams: Some(vec!["red".to_owned()]), user: some("anna"), ..all() },
            vec![3],
        ),
        (
            KeyFilter { within_teams: Some(vec!["blue".to_owned()]), team: some("red"), ..all() },
            vec![],
        ),
    ];
    for (filter, wanted) in cases {
        let found = store.keys(&filter, &ALL).await.unwrap();
        let wanted: Vec<_> = wanted.into_iter().map(|index: usize| keys[index].clone()).collect();
        assert_eq!(found.total, wanted.len() as u64, "{filter:?}");
        assert_eq!(found.items, wanted, "{filter:?}");
    }
}

pub async fn teams_are_filtered(store: Arc<dyn Store>) {
    store.create_organization(&organization("acme")).await.unwrap();
    let (mut red, mut blue) = (team("red"), team("blue"));
    red.organization = Some("acme".to_owned());
    red.members = vec![member("anna", MemberRole::Admin), member("ben", MemberRole::User)];
    blue.members = vec![member("anna", MemberRole::User)];
    blue.created_at += 1;
    store.create_team(&red).await.unwrap();
    store.create_team(&blue).await.unwrap();
    let some = |text: &str| Some(text.to_owned());
    let all = TeamFilter::default;
    let cases = [
        (all(), vec![&blue, &red]),
        (TeamFilter { organization: some("acme"), ..all() }, vec![&red]),
        (TeamFilter { alias: some("the blue"), ..all() }, vec![&blue]),
        (TeamFilter { member: some("anna"), ..all() }, vec![&blue, &red]),
        (TeamFilter { member: some("ben"), ..all() }, vec![&red]),
        (TeamFilter { within: Some(vec![]), ..all() }, vec![]),
        (TeamFilter { within: Some(vec!["blue".to_owned()]), ..all() }, vec![&blue]),
        (
            TeamFilter { within: Some(vec!["blue".to_owned()]), member: some("ben"), ..all() },
            vec![],
        ),
    ];
    for (filter, wanted) in cases {
        let found = store.teams(&filter, &ALL).await.unwrap();
        assert_eq!(found.total, wanted.len() as u64, "{filter:?}");
        assert_eq!(found.items.iter().collect::<Vec<_>>(), wanted, "{filter:?}");
    }
}

pub async fn users_are_filtered(store: Arc<dyn Store>) {
    let (mut anna, ben) = (user("anna"), user("ben"));
    anna.role = UserRole::ProxyAdminViewer;
    anna.created_at += 1;
    store.create_user(&anna).await.unwrap();
    store.create_user(&ben).await.unwrap();
    let mut red = team("red");
    red.members = vec![member("ben", MemberRole::User), member("ghost", MemberRole::User)];
    store.create_team(&red).await.unwrap();
    let all = UserFilter::default;
    let cases = [
        (all(), vec![&anna, &ben]),
        (UserFilter { email: Some("ben@example.com".to_owned()), ..all() }, vec![&ben]),
        (UserFilter { role: Some(UserRole::ProxyAdminViewer), ..all() }, vec![&anna]),
        (UserFilter { role: Some(UserRole::ProxyAdmin), ..all() }, vec![]),
        (UserFilter { team: Some("red".to_owned()), ..all() }, vec![&ben]),
    ];
    for (filter, wanted) in cases {
        let found = store.users(&filter, &ALL).await.unwrap();
        assert_eq!(found.total, wanted.len() as u64, "{filter:?}");
        assert_eq!(found.items.iter().collect::<Vec<_>>(), wanted, "{filter:?}");
    }
}

pub async fn an_impossible_page_is_refused(store: Arc<dyn Store>) {
    for limit in [0, 1001, u32::MAX] {
        let refused = store.organizations(&Page::at(0, limit)).await;
        assert!(matches!(refused, Err(StoreError::Invalid { field: "limit", .. })), "{refused:?}");
    }
}
