//! The store on a real Postgres.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use flashsale_sale::{
    domain::{Change, Item, NewSale, Room, Sale, SaleState, Settings},
    store::{Created, Request, Store, Told, Written},
};
use flashsale_service::page::Place;
use flashsale_testbed::{TestPg, postgres};
use iso_currency::Currency;
use time::macros::datetime;
use uuid::Uuid;

fn new_sale() -> NewSale {
    let item = |sku: &str, minor| Item {
        sku: sku.to_owned(),
        title: format!("{sku}, \"as is\""),
        price_minor: minor,
        regular_minor: Some(minor + 1),
        quantity: 10_000_000,
        per_buyer_limit: 0,
    };
    NewSale {
        id: Uuid::new_v4(),
        settings: Settings {
            name: "Größe & Güte".to_owned(),
            currency: Currency::KWD,
            starts_at: datetime!(2026-11-23 18:00:00.123456 UTC),
            ends_at: datetime!(2026-11-24 18:00 UTC),
            hold: Duration::from_millis(15_001),
            payment_patience: Some(Duration::from_millis(90_500)),
            room: Some(Room {
                rate: 0.1,
                admission: Duration::from_secs(5),
                pre_queue: Duration::from_millis(86_399_999),
            }),
            expected_peak: Some(10_000_000),
        },
        items: vec![item("a/b", 1), item("B", 1_000_000_000)],
        sources: Vec::new(),
    }
}

fn request(hash: &str) -> Request {
    Request {
        id: Uuid::new_v4(),
        hash: hash.to_owned(),
        actor: "the shop".to_owned(),
        reason: String::new(),
    }
}

async fn with_sale() -> (TestPg, Store, Sale) {
    let pg = postgres().await;
    let store = Store::new(pg.pool_of("sale"));
    let sale = new_sale();
    assert_eq!(store.create(&sale, &request("x")).await.unwrap(), Created::New);
    let sale = store.get(sale.id).await.unwrap().unwrap();
    (pg, store, sale)
}

/// What opens a sale within its window.
fn opened(sale: &Sale) -> Option<Change> {
    sale.start(sale.settings.starts_at, true).unwrap()
}

#[tokio::test]
async fn a_sale_is_read_as_it_was_written() {
    let (_pg, store, _) = with_sale().await;
    let asked = new_sale();
    store.create(&asked, &request("y")).await.unwrap();
    let sale = store.get(asked.id).await.unwrap().unwrap();
    assert_eq!(sale.settings, asked.settings);
    assert_eq!(sale.items, [asked.items[1].clone(), asked.items[0].clone()]);
    assert_eq!((sale.state, sale.version, sale.propagated_version), (SaleState::Draft, 1, 1));
    assert_eq!(store.get(Uuid::new_v4()).await.unwrap(), None);
}

#[tokio::test]
async fn a_taken_request_id_leaves_nothing() {
    let (pg, store, sale) = with_sale().await;
    let first = request("one");
    assert_eq!(
        store.change(&sale, opened(&sale).as_ref(), Some(&first)).await.unwrap(),
        Written::Done
    );
    let (second, asked) = (new_sale(), Request { hash: "two".to_owned(), ..first.clone() });
    assert_eq!(store.create(&second, &asked).await.unwrap(), Created::Taken);
    assert_eq!(store.get(second.id).await.unwrap(), None);
    assert_eq!(store.request(first.id).await.unwrap(), Some(("one".to_owned(), sale.id)));
    let items: i64 =
        sqlx::query_scalar("SELECT count(*) FROM sale_items").fetch_one(&pg.pool).await.unwrap();
    assert_eq!(items, 2);
}

#[tokio::test]
async fn a_change_is_made_once_per_version() {
    let (_pg, store, draft) = with_sale().await;
    let (one, two) = (request("one"), request("two"));
    let open = opened(&draft);
    let both = tokio::join!(
        store.change(&draft, open.as_ref(), Some(&one)),
        store.change(&draft, open.as_ref(), Some(&two)),
    );
    let mut both = [both.0.unwrap(), both.1.unwrap()];
    both.sort_by_key(|written| *written == Written::Lost);
    assert_eq!(both, [Written::Done, Written::Lost]);
    let open = store.get(draft.id).await.unwrap().unwrap();
    assert_eq!((open.state, open.version, open.propagated_version), (SaleState::Open, 2, 1));
    assert!(open.updated_at > draft.updated_at);

    // The request of the loser bound nothing; that of the winner is taken, and changes nothing
    // again.
    let recorded = [store.request(one.id).await.unwrap(), store.request(two.id).await.unwrap()];
    assert_eq!(recorded.iter().flatten().count(), 1);
    let winner = if recorded[0].is_some() { &one } else { &two };
    let ended = open.end().unwrap();
    assert_eq!(store.change(&open, ended.as_ref(), Some(winner)).await.unwrap(), Written::Taken);
    assert_eq!(store.get(draft.id).await.unwrap().unwrap(), open);
    assert_eq!(store.change(&open, None, Some(&request("z"))).await.unwrap(), Written::Done);
    assert_eq!(store.get(draft.id).await.unwrap().unwrap(), open);
}

#[tokio::test]
async fn a_sale_is_late_while_the_others_do_not_follow() {
    let (pg, store, draft) = with_sale().await;
    let late_after = async |statement: &'static str| {
        sqlx::raw_sql(statement).execute(&pg.pool).await.unwrap();
        store.late().await.unwrap()
    };
    let begun = "UPDATE sales SET starts_at = now(), ends_at = now() + interval '1 h'";
    assert_eq!(late_after(begun).await, 0, "a draft");
    store.change(&draft, opened(&draft).as_ref(), None).await.unwrap();
    assert_eq!(late_after(begun).await, 1, "nothing was told of it");
    for (statement, late) in [
        ("UPDATE sales SET propagated_version = version", 0),
        // Prices that are to change, and then should have.
        (
            "INSERT INTO price_revisions (sale_id, revision, effective_at, skus)
             SELECT sale_id, 2, now() + interval '1 h', 1 FROM sales",
            0,
        ),
        ("UPDATE price_revisions SET effective_at = now()", 1),
        ("UPDATE sales SET propagated_version = version - 1", 1),
        ("UPDATE sales SET propagated_version = version", 1),
        ("UPDATE price_revisions SET switches_at = now() + interval '1 h'", 0),
        ("UPDATE price_revisions SET switches_at = NULL", 1),
        ("UPDATE price_revisions SET replaced_by = 3", 0),
        ("UPDATE price_revisions SET replaced_by = NULL", 1),
        (
            "INSERT INTO price_revisions (sale_id, revision, effective_at, switches_at, skus)
             SELECT sale_id, 3, now(), now() + interval '1 h', 1 FROM sales",
            1,
        ),
        ("UPDATE price_revisions SET switches_at = now() WHERE revision = 3", 0),
        ("DELETE FROM price_revisions WHERE revision = 3", 1),
        ("UPDATE sales SET state = 'ENDED'", 0),
    ] {
        assert_eq!(late_after(statement).await, late, "{statement}");
    }
}

#[tokio::test]
async fn one_instance_at_a_time_tells_of_a_sale() {
    let (_pg, store, draft) = with_sale().await;
    assert!(store.to_tell(Uuid::nil(), 10).await.unwrap().is_empty(), "a draft is not told");
    store.change(&draft, opened(&draft).as_ref(), None).await.unwrap();
    let due = store.to_tell(Uuid::nil(), 10).await.unwrap();
    assert_eq!(due.iter().map(|sale| (sale.id, sale.version)).collect::<Vec<_>>(), [(draft.id, 2)]);

    let telling = store.telling(draft.id).await.unwrap().unwrap();
    assert!(store.telling(draft.id).await.unwrap().is_none(), "another instance has the right");
    let open = telling.sale().clone();
    // The sale can be changed while it is told; what was told is then old.
    let ended = open.end().unwrap();
    assert_eq!(store.change(&open, ended.as_ref(), None).await.unwrap(), Written::Done);
    assert_eq!(telling.done(&[]).await.unwrap(), Told::Changed);
    assert!(!store.head(draft.id).await.unwrap().unwrap().is_propagated());

    // The right ends with its holder.
    drop(store.telling(draft.id).await.unwrap().unwrap());
    let telling = flashsale_testbed::eventually("the right is free", || async {
        store.telling(draft.id).await.unwrap()
    })
    .await;
    assert_eq!(telling.sale().state, SaleState::Ended);
    assert_eq!(telling.done(&[]).await.unwrap(), Told::Known);
    assert!(store.to_tell(Uuid::nil(), 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn sales_of_the_same_instant_are_all_listed() {
    let (pg, store, _) = with_sale().await;
    for _ in 0..6 {
        store.create(&new_sale(), &request("x")).await.unwrap();
    }
    sqlx::query("UPDATE sales SET created_at = '2026-11-23 18:00:00.000001+00'")
        .execute(&pg.pool)
        .await
        .unwrap();
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = store.list(after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(Place { at: last.created_at, id: last.id });
        seen.extend(page.iter().map(|sale| sale.id));
    }
    let count = seen.len();
    seen.sort();
    seen.dedup();
    assert_eq!((count, seen.len()), (7, 7));
}
