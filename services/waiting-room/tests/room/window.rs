//! The window of a room: when buyers may join, when the head moves, and when both end.

use std::{collections::BTreeMap, time::Duration};

use flashsale_errors::{Failure, Reason};
use flashsale_proto::waitingroom::{Outlook, Room};
use flashsale_service::wire;
use flashsale_testbed::{assert_failure, eventually};
use fred::interfaces::{ClientLike as _, HashesInterface as _};

use crate::world::{Window, World};

const HOUR_MS: i64 = 3_600_000;

/// A world with an open room that admits an hour from now.
async fn early(rate: f64, settings: &[(&str, &str)]) -> World {
    let world = World::new(settings).await;
    let admits_from = Some(world.now_ms().await + HOUR_MS);
    world.configure_within(rate, 60, Window { admits_from, ..Window::default() }).await;
    world.set_open().await;
    world
}

/// Why a buyer may not join.
async fn refused(world: &World, buyer: &str) -> Failure {
    assert_failure(&world.try_join(buyer).await.unwrap_err(), Reason::SaleNotOpen)
}

#[tokio::test]
async fn first_in_line_is_admitted_at_the_opening() {
    let world = early(1_000.0, &[]).await;
    let first = world.join("anna").await;
    let mut watched = world.watch(&first.token).await;
    for position in [first.position, watched.next().await.unwrap()] {
        assert_eq!(position.outlook(), Outlook::NotStarted);
        assert_eq!((position.ahead, position.admission.as_str()), (0, ""));
    }
    world.let_time_pass(300).await;
    assert_eq!(world.room().await.head, 0);
    assert_eq!(world.position(&first.token).await.outlook(), Outlook::NotStarted);

    let opens_ms = world.now_ms().await + 300;
    let window = Window { admits_from: Some(opens_ms), ..Window::default() };
    world.configure_within(1_000.0, 60, window).await;
    // The same stream goes on: nothing has to be called at the opening.
    let admitted = watched.ends_with(Outlook::Admitted).await;
    let (_, passed_ms) = world.ticks().await[0];
    let late_ms = passed_ms - opens_ms;
    assert!((0..5_000).contains(&late_ms), "admitted {late_ms} ms after the opening");
    // The admission lasts from then on.
    let admission = world.signer.ring().read_admission(&admitted.admission).unwrap();
    let lasts_ms = admission.expires_at_ms - passed_ms;
    assert!((60_000..61_000).contains(&lasts_ms), "it lasts {lasts_ms} ms");
}

#[tokio::test]
async fn waits_are_told_from_the_opening_on() {
    let world = early(2.0, &[]).await;
    for ahead in 0_u32..5 {
        let position = world.join(&format!("buyer {ahead}")).await.position;
        assert_eq!((position.outlook(), position.ahead), (Outlook::NotStarted, i64::from(ahead)));
        let wait = wire::duration(Duration::from_millis(500) * (ahead + 1));
        assert_eq!(position.expected_wait, Some(wait), "{ahead} ahead");
    }
}

#[tokio::test]
async fn tickets_that_have_not_started_get_heartbeats() {
    let world = early(1.0, &[("HEARTBEAT_MS", "50")]).await;
    let joined = world.join("anna").await;
    let mut watched = world.watch(&joined.token).await;
    for _ in 0..4 {
        assert_eq!(watched.next().await.unwrap().outlook(), Outlook::NotStarted);
    }
}

#[tokio::test]
async fn early_joins_are_told_when_to_come() {
    let world = World::new(&[]).await;
    let now_ms = world.now_ms().await;
    let (joins_ms, admits_ms) = (now_ms + 20_000, now_ms + HOUR_MS);
    let window =
        |joins_from| Window { joins_from, admits_from: Some(admits_ms), admits_until: None };
    world.configure_within(1.0, 60, window(Some(joins_ms))).await;
    world.set_open().await;

    let before_ms = world.now_ms().await;
    let failure = refused(&world, "anna").await;
    for (name, value) in [
        ("sale_id", world.sale.to_string()),
        ("state", "NOT_STARTED".to_owned()),
        ("joins_from_ms", joins_ms.to_string()),
        ("starts_at_ms", admits_ms.to_string()),
    ] {
        assert_eq!(failure.metadata()[name], value, "{name}");
    }
    let delay_ms = i64::try_from(failure.delay().unwrap().as_millis()).unwrap();
    let remaining_ms = joins_ms - world.now_ms().await..=joins_ms - before_ms;
    assert!(remaining_ms.contains(&delay_ms), "{delay_ms} of {remaining_ms:?}");

    world.configure_within(1.0, 60, window(Some(admits_ms))).await;
    assert_eq!(refused(&world, "anna").await.delay(), Some(Duration::from_secs(60)));
    let buyers: BTreeMap<String, String> =
        world.redis().hgetall(world.key("room:buyers")).await.unwrap();
    assert_eq!((buyers.len(), world.room().await.issued), (0, 0));

    let joins_ms = world.now_ms().await + 300;
    world.configure_within(1.0, 60, window(Some(joins_ms))).await;
    let joined = eventually("anna may join", || async { world.try_join("anna").await.ok() }).await;
    assert!(world.now_ms().await >= joins_ms);
    let joined = world.read(joined);
    assert_eq!(joined.position.outlook(), Outlook::NotStarted);

    // A buyer with a place keeps it, also when joins begin later than they did.
    world.configure_within(1.0, 60, window(Some(admits_ms))).await;
    assert_eq!(world.join("anna").await.token, joined.token);
    refused(&world, "bert").await;
    // Without a bound, buyers join as soon as the room is open.
    world.configure_within(1.0, 60, window(None)).await;
    assert_eq!(world.join("bert").await.position.outlook(), Outlook::NotStarted);
}

#[tokio::test]
async fn room_whose_window_is_over_counts_as_closed() {
    let world = World::open(1_000.0).await;
    let anna = world.join("anna").await;
    world.head_at(1).await;
    world.set_paused().await;
    let bert = world.join("bert").await;
    let mut watched = world.watch(&bert.token).await;
    assert_eq!(watched.next().await.unwrap().outlook(), Outlook::Paused);
    let admission = world.position(&anna.token).await.admission;

    let admits_until = Some(world.now_ms().await);
    world.configure_within(1_000.0, 60, Window { admits_until, ..Window::default() }).await;
    world.set_open().await;
    watched.ends_with(Outlook::Closed).await;
    assert_eq!(world.position(&bert.token).await.outlook(), Outlook::Closed);
    for buyer in ["bert", "carla"] {
        let failure = refused(&world, buyer).await;
        assert_eq!((failure.delay(), failure.metadata()["state"].as_str()), (None, "CLOSED"));
    }
    world.let_time_pass(300).await;
    let room = world.room().await;
    assert_eq!((room.issued, room.head), (2, 1));
    // An admission that was handed out stays.
    let position = world.position(&anna.token).await;
    assert_eq!((position.outlook(), position.admission), (Outlook::Admitted, admission));
}

#[tokio::test]
async fn head_moves_only_within_the_window() {
    let world = early(50.0, &[]).await;
    for buyer in 0..100 {
        world.join(&format!("buyer {buyer}")).await;
    }
    let from_ms = world.now_ms().await + 200;
    let until_ms = from_ms + 1_000;
    let window =
        Window { joins_from: None, admits_from: Some(from_ms), admits_until: Some(until_ms) };
    world.configure_within(50.0, 60, window).await;
    world.head_at(1).await;
    world.let_time_pass(1_300).await;
    let ticks = world.ticks().await;
    for (head, at_ms) in &ticks {
        assert!((from_ms..until_ms).contains(at_ms), "{head} admitted at {at_ms} of {window:?}");
        // The time before the opening has built up nothing.
        assert!(*head <= (at_ms - from_ms) * 50 / 1_000, "{ticks:?} since {from_ms}");
    }
    assert_eq!(Some(world.room().await.head), ticks.last().map(|(head, _)| *head));
}

#[tokio::test]
async fn window_survives_lost_redis_and_new_rate() {
    let world = World::new(&[]).await;
    let now_ms = world.now_ms().await;
    let window = Window {
        joins_from: Some(now_ms - 1),
        admits_from: Some(now_ms + HOUR_MS),
        admits_until: Some(now_ms + 2 * HOUR_MS),
    };
    let made = world.configure_within(5.0, 60, window).await;
    assert_eq!(made.joins_from, window.joins_from.map(wire::timestamp_ms));
    assert_eq!(made.admits_from, window.admits_from.map(wire::timestamp_ms));
    assert_eq!(made.admits_until, window.admits_until.map(wire::timestamp_ms));
    let opened = world.set_open().await;
    let changed = world.set_rate(7.5).await;
    assert_eq!(changed, Room { admissions_per_second: 7.5, ..opened });

    let joined = world.join("anna").await;
    let () = world.redis().flushall(false).await.unwrap();
    assert_eq!(world.position(&joined.token).await.outlook(), Outlook::NotStarted);
    let restored = world.room().await;
    assert_eq!(
        (restored.joins_from, restored.admits_from, restored.admits_until),
        (changed.joins_from, changed.admits_from, changed.admits_until)
    );
    // Another configuration takes the bounds away.
    let without = world.configure(1_000.0, 60).await;
    assert_eq!((without.joins_from, without.admits_from, without.admits_until), (None, None, None));
    world.watch(&joined.token).await.ends_with(Outlook::Admitted).await;
}

/// An instance from before the window restores rooms without it, and copies changes without it.
#[tokio::test]
async fn window_lost_by_an_older_instance_is_repaired() {
    let world = early(1_000.0, &[]).await;
    let opened = world.room().await;
    let fields = vec!["joins_ms", "admits_ms", "until_ms"];
    let () = world.redis().hdel(world.key("room"), fields).await.unwrap();
    eventually("the window is back", || async { (world.room().await == opened).then_some(()) })
        .await;
}

#[tokio::test]
async fn room_of_an_older_version_has_no_bounds() {
    let world = World::paused(1_000.0).await;
    let fields = vec!["joins_ms", "admits_ms", "until_ms"];
    let () = world.redis().hdel(world.key("room"), fields).await.unwrap();
    let joined = world.join("anna").await;
    assert_eq!(joined.position.outlook(), Outlook::Paused);
    world.set_open().await;
    world.watch(&joined.token).await.ends_with(Outlook::Admitted).await;
}
