//! Concurrent buyers, and stores that lose data.

use std::collections::BTreeSet;

use flashsale_errors::Reason;
use flashsale_proto::waitingroom::{Outlook, Position};
use flashsale_testbed::{assert_failure, eventually};
use fred::interfaces::{ClientLike as _, HashesInterface as _, KeysInterface as _};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use tokio::sync::Mutex;

use crate::world::World;

/// Has buyers join concurrently at both instances, and returns their numbers.
async fn crowd(
    world: &World,
    instances: &[&crate::world::Instance],
    buyers: std::ops::Range<usize>,
) -> Vec<i64> {
    let mut numbers: Vec<i64> = stream::iter(buyers)
        .map(|buyer| async move {
            let instance = instances[buyer % instances.len()];
            instance.join(world.sale, &format!("buyer {buyer}")).await
        })
        .buffer_unordered(64)
        .map_ok(|response| world.read(response).ticket.number)
        .try_collect()
        .await
        .unwrap();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn two_instances_share_no_number() {
    let world = World::new(&[("BLOCK", "50")]).await;
    let two = world.instance(&[("BLOCK", "50")]).await;
    world.configure(1.0, 60).await;
    world.set_paused().await;
    let numbers = crowd(&world, &[&world.one, &two], 0..400).await;
    let distinct: BTreeSet<i64> = numbers.iter().copied().collect();
    assert_eq!(distinct.len(), 400, "{numbers:?}");
    // Of two blocks that are reserved at once the later may be granted first: the earlier one is
    // skipped, here two of them at most.
    let skipped: Vec<i64> =
        (1..=numbers[399]).filter(|number| !distinct.contains(number)).collect();
    assert!(skipped.len() <= 100, "{skipped:?}");
    // The same buyers again: the same numbers.
    let again = crowd(&world, &[&two, &world.one], 0..400).await;
    assert_eq!(again, numbers);
}

#[tokio::test]
async fn numbers_of_dead_process_are_skipped() {
    let world = World::new(&[("BLOCK", "10")]).await;
    world.configure(1.0, 60).await;
    world.set_paused().await;
    let before = crowd(&world, &[&world.one], 0..3).await;
    let (_, reserved) = world.recorded().await;
    sqlx::query("UPDATE rooms SET reserved_upto = reserved_upto + 10 WHERE sale_id = $1")
        .bind(world.sale)
        .execute(&world.pg.pool)
        .await
        .unwrap();
    let after = crowd(&world, &[&world.one], 3..30).await;
    let distinct: BTreeSet<i64> = before.iter().chain(&after).copied().collect();
    assert_eq!(distinct.len(), 30);
    assert!(
        distinct.iter().all(|number| !(reserved + 1..=reserved + 10).contains(number)),
        "{distinct:?}"
    );
}

#[tokio::test]
async fn two_instances_share_the_rate() {
    const RATE: f64 = 100.0;
    let world = World::paused(RATE).await;
    let two = world.instance(&[]).await;
    crowd(&world, &[&world.one, &two], 0..150).await;
    let before_ms = world.now_ms().await;
    world.set_open().await;
    eventually("the crowd is in", || async {
        // In this order: a published head was recorded before.
        let published = world.field("head").await.unwrap();
        let (recorded, _) = world.recorded().await;
        assert!(recorded >= published, "{published} was published, {recorded} recorded");
        (published == 150).then_some(())
    })
    .await;
    let ticks = world.ticks().await;
    assert!(ticks.len() > 10, "{ticks:?}");
    for (head, at_ms) in ticks {
        #[allow(clippy::cast_precision_loss)]
        let allowed = (at_ms - before_ms) as f64 * RATE / 1_000.0;
        #[allow(clippy::cast_precision_loss)]
        let admitted = head as f64;
        assert!(admitted <= allowed, "{head} admitted when {allowed} were due");
    }
    let room = world.room().await;
    assert_eq!((room.issued, room.head), (150, 150));
}

#[tokio::test]
async fn losing_redis_repeats_no_number() {
    let world = World::open(1_000.0).await;
    let admitted = crowd(&world, &[&world.one], 0..20).await;
    world.head_at(20).await;
    world.set_paused().await;
    let waiting = world.join("anna").await;
    assert_eq!(waiting.ticket.number, 21);

    let () = world.redis().flushall(false).await.unwrap();
    // A ticket from before is still valid.
    let position = world.position(&waiting.token).await;
    assert_eq!((position.outlook(), position.ahead), (Outlook::Paused, 0));
    assert_eq!(world.room().await.head, 20);
    let after = crowd(&world, &[&world.one], 0..20).await;
    assert!(after.iter().all(|number| number > admitted.last().unwrap()), "{after:?}");
    assert!(*after.first().unwrap() > 21, "{after:?}");
    let distinct: BTreeSet<i64> = after.iter().copied().collect();
    assert_eq!(distinct.len(), 20);

    world.set_open().await;
    world.watch(&waiting.token).await.ends_with(Outlook::Admitted).await;
}

#[tokio::test]
async fn restarted_redis_keeps_places_and_skips_numbers() {
    let mut world = World::paused(1.0).await;
    let anna = world.join("anna").await;
    let (_, reserved) = world.recorded().await;
    world.redis.server.kill().await;
    world.redis.server.restart().await.unwrap();
    let again =
        eventually("the service is back", || async { world.try_join("anna").await.ok() }).await;
    assert_eq!(world.read(again).token, anna.token);
    // It may have lost its newest writes: only numbers above all reserved ones are certainly new.
    assert!(world.join("bert").await.ticket.number > reserved);
}

#[tokio::test]
async fn joins_work_without_postgres_and_head_waits() {
    let world = World::paused(50.0).await;
    crowd(&world, &[&world.one], 0..5).await;
    let database = world.pg.database().to_owned();
    let mut admin = world.pg.admin().await;
    let forbid = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS false");
    let cut = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'"
    );
    world.set_open().await;
    sqlx::query(sqlx::AssertSqlSafe(forbid)).execute(&mut admin).await.unwrap();
    let admin = Mutex::new(admin);
    let cut_all = async || {
        let cut = sqlx::query(sqlx::AssertSqlSafe(cut.clone()));
        cut.execute(&mut *admin.lock().await).await.unwrap();
    };
    cut_all().await;

    let late = crowd(&world, &[&world.one], 5..200).await;
    assert_eq!(late.len(), 195);
    // The plan runs one burst ahead and then stops too. A connection that was being made while they
    // were forbidden is not listed yet: it is cut when it is.
    let waiting_at = eventually("the head stands still", || async {
        cut_all().await;
        let (head, planned) = (world.field("head").await?, world.field("planned").await?);
        (planned - head >= 50).then_some(head)
    })
    .await;
    world.let_time_pass(1_000).await;
    let (head, planned) =
        (world.field("head").await.unwrap(), world.field("planned").await.unwrap());
    assert_eq!((head, planned), (waiting_at, waiting_at + 50));

    let back_ms = world.now_ms().await;
    let allow = format!("ALTER DATABASE {database} ALLOW_CONNECTIONS true");
    sqlx::query(sqlx::AssertSqlSafe(allow)).execute(&mut *admin.lock().await).await.unwrap();
    world.head_at(200).await;
    for (head, at_ms) in world.ticks().await.into_iter().filter(|(_, at_ms)| *at_ms > back_ms) {
        // What was planned, what the budget has accumulated meanwhile, and the rate since.
        let allowed = planned + 50 + (at_ms - back_ms) * 50 / 1_000 + 1;
        assert!(head <= allowed, "{head} admitted when {allowed} were due");
    }
}

#[tokio::test]
async fn change_missed_by_redis_is_repaired() {
    let mut world = World::paused(1_000.0).await;
    let anna = world.join("anna").await;
    world.redis.server.kill().await;
    sqlx::query(
        "UPDATE rooms SET state = 'OPEN', updated_at = clock_timestamp() WHERE sale_id = $1",
    )
    .bind(world.sale)
    .execute(&world.pg.pool)
    .await
    .unwrap();
    world.redis.server.restart().await.unwrap();
    eventually("the place is admitted", || async {
        let position = world.try_position(&anna.token).await.ok()?;
        (position.outlook() == Outlook::Admitted).then_some(())
    })
    .await;
}

#[tokio::test]
async fn losing_redis_renews_no_admission() {
    let world = World::open(100_000.0).await;
    let anna = world.join("anna").await;
    world.head_at(1).await;
    world
        .sql("UPDATE room_ticks SET passed_ms = passed_ms - 61500 WHERE sale_id = $1 AND head = 1")
        .await;
    let bert = world.join("bert").await;
    world.head_at(2).await;
    let before = world.position(&bert.token).await;

    let () = world.redis().flushall(false).await.unwrap();
    assert_eq!(world.position(&anna.token).await.outlook(), Outlook::Lapsed);
    let after = world.position(&bert.token).await;
    assert_eq!(after.outlook(), Outlook::Admitted);
    let read =
        |position: &Position| world.signer.ring().read_admission(&position.admission).unwrap();
    let (before, after) = (read(&before), read(&after));
    assert_eq!(before.id(), after.id());
    // The record has the moment at which the step was planned.
    assert!((0..=1_000).contains(&(before.expires_at_ms - after.expires_at_ms)));
    // Nor does the next step of the head bring the old one back.
    let carl = world.join("carl").await;
    world.head_at(carl.ticket.number).await;
    assert_eq!(world.position(&anna.token).await.outlook(), Outlook::Lapsed);
}

#[tokio::test]
async fn ticks_that_are_over_leave_the_record() {
    let world = World::open(1_000.0).await;
    for buyer in 1..=4 {
        let joined = world.join(&format!("buyer {buyer}")).await;
        world.head_at(joined.ticket.number).await;
        world.sql("UPDATE room_ticks SET passed_ms = passed_ms - 70000 WHERE sale_id = $1").await;
    }
    let ticks: Vec<i64> =
        sqlx::query_scalar("SELECT head FROM room_ticks WHERE sale_id = $1 ORDER BY head")
            .bind(world.sale)
            .fetch_all(&world.pg.pool)
            .await
            .unwrap();
    // The latest that is over stays: it says that those before it are over, too.
    assert_eq!(ticks, [3, 4]);
}

#[tokio::test]
async fn buyer_has_one_place_after_redis_was_lost() {
    let world = World::paused(100_000.0).await;
    let old = world.join("anna").await;
    let () = world.redis().flushall(false).await.unwrap();
    let new = world.join("anna").await;
    assert!(new.ticket.number > old.ticket.number);
    // The first generation of the second era: above all of the first.
    assert_eq!((old.ticket.generation, new.ticket.generation), (0, 65_536));
    world.set_open().await;
    world.head_at(new.ticket.number).await;
    assert_eq!(world.position(&old.token).await.outlook(), Outlook::Left);
    assert_eq!(world.position(&new.token).await.outlook(), Outlook::Admitted);
}

#[tokio::test]
async fn good_ticket_brings_a_lost_place_back() {
    let world = World::paused(1_000.0).await;
    let (anna, bert, carl) =
        (world.join("anna").await, world.join("bert").await, world.join("carl").await);
    let () = world.redis().flushall(false).await.unwrap();
    // By reading, by joining, and by watching.
    assert_eq!(world.position(&anna.token).await.outlook(), Outlook::Paused);
    assert_eq!(world.join("anna").await.token, anna.token);
    let again = world.read(world.join_with("bert", &bert.token).await.unwrap());
    assert_eq!(again.token, bert.token);
    assert_eq!(world.watch(&carl.token).await.next().await.unwrap().outlook(), Outlook::Paused);
    assert_eq!(world.join("carl").await.token, carl.token);
    // A later ticket goes before an earlier one, whichever is seen first.
    world.leave(&anna.token).await;
    let second = world.join("anna").await;
    let () = world.redis().flushall(false).await.unwrap();
    assert_eq!(world.position(&anna.token).await.outlook(), Outlook::Paused);
    assert_eq!(world.position(&second.token).await.outlook(), Outlook::Paused);
    assert_eq!(world.position(&anna.token).await.outlook(), Outlook::Left);
    assert_eq!(world.join("anna").await.token, second.token);
}

#[tokio::test]
async fn join_takes_only_the_buyers_own_ticket() {
    let world = World::paused(1.0).await;
    let anna = world.join("anna").await;
    let cut = &anna.token[..anna.token.len() - 1];
    for (buyer, token) in [("bert", anna.token.as_str()), ("anna", cut), ("anna", "none")] {
        let refused = world.join_with(buyer, token).await.unwrap_err();
        assert_failure(&refused, Reason::TicketInvalid);
    }
    assert_eq!(world.room().await.issued, 1);
}

#[tokio::test]
async fn room_that_lacks_a_key_is_lost() {
    let world = World::open(1_000.0).await;
    let anna = world.join("anna").await;
    world.head_at(1).await;
    for (era, key) in [(1, "room:buyers"), (2, "room:ticks"), (3, "room:requests")] {
        let (_, reserved) = world.recorded().await;
        let () = world.redis().del(world.key(key)).await.unwrap();
        // The ticks come back from the record, and the place from its ticket.
        let position = world.position(&anna.token).await;
        assert_eq!(position.outlook(), Outlook::Admitted, "without {key}");
        assert_eq!(world.field("era").await, Some(era), "without {key}");
        let next = world.join(&format!("buyer {era}")).await;
        assert!(next.ticket.number > reserved, "without {key}");
    }
}

#[tokio::test]
async fn line_of_an_older_era_stands_while_its_successor_is_in_use() {
    let world = World::paused(1_000.0).await;
    let anna = world.join("anna").await;
    // Another server, which beats, has put the room in place.
    world.sql("UPDATE rooms SET era = era + 1, server = 'other' WHERE sale_id = $1").await;
    sqlx::query(
        "INSERT INTO redis_servers (server, beats, seen_at) VALUES ('other', 1, 'infinity')",
    )
    .execute(&world.pg.pool)
    .await
    .unwrap();
    world.set_open().await;
    eventually("the step is planned", || async {
        (world.field("planned").await? == 1).then_some(())
    })
    .await;
    world.let_time_pass(500).await;
    assert_eq!((world.recorded().await.0, world.field("head").await), (0, Some(0)));
    assert_eq!(world.position(&anna.token).await.outlook(), Outlook::Waiting);

    // It is gone.
    sqlx::query("DELETE FROM redis_servers").execute(&world.pg.pool).await.unwrap();
    world.watch(&anna.token).await.ends_with(Outlook::Admitted).await;
    assert_eq!(world.field("era").await, Some(2));
}

/// Holds the lock of the room's row until it is dropped: whatever writes it waits.
async fn lock_row(world: &World) -> sqlx::Transaction<'static, sqlx::Postgres> {
    let mut lock = world.pg.pool.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM rooms WHERE sale_id = $1 FOR UPDATE")
        .bind(world.sale)
        .execute(&mut *lock)
        .await
        .unwrap();
    lock
}

#[tokio::test]
async fn slow_room_delays_no_other() {
    let mut world = World::paused(20.0).await;
    crowd(&world, &[&world.one], 0..400).await;
    world.set_open().await;
    let lock = lock_row(&world).await;

    world.sale = uuid::Uuid::new_v4();
    world.configure(20.0, 60).await;
    world.set_paused().await;
    crowd(&world, &[&world.one], 0..30).await;
    world.set_open().await;
    world.head_at(30).await;
    // A room that is ticked only when the slow one is through is admitted in bursts.
    let ticks = world.ticks().await;
    assert!(ticks.len() > 8, "{ticks:?}");
    lock.rollback().await.unwrap();
}

#[tokio::test]
async fn watchers_are_told_while_numbers_cannot_be_fetched() {
    let world = World::new(&[("BLOCK", "10")]).await;
    world.configure(1.0, 60).await;
    world.set_paused().await;
    crowd(&world, &[&world.one], 0..5).await;
    let lock = lock_row(&world).await;
    // From here on the numbers run low, and no more can be had.
    let last = world.join("anna").await;
    let mut watched = world.watch(&last.token).await;
    assert_eq!(watched.next().await.unwrap().outlook(), Outlook::Paused);
    // As another instance would have it.
    let () = world.redis().hset(world.key("room"), ("state", "CLOSED")).await.unwrap();
    watched.ends_with(Outlook::Closed).await;
    lock.rollback().await.unwrap();
}
