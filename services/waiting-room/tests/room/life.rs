//! The life of a ticket: from joining to the admission, and the ways out.

use std::time::{Duration, Instant};

use flashsale_admission::{KeyRing, admission_id};
use flashsale_errors::Reason;
use flashsale_proto::waitingroom::{
    AdmissionVerdict, GetAdmissionKeysRequest, Outlook, RoomState, VerifyAdmissionRequest,
    VerifyAdmissionResponse, WatchPositionRequest,
};
use flashsale_testbed::assert_failure;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use uuid::Uuid;

use crate::world::World;

async fn verify(
    world: &World,
    admission: &str,
    sale: Uuid,
    buyer: &str,
) -> VerifyAdmissionResponse {
    let request = VerifyAdmissionRequest {
        admission: admission.to_owned(),
        sale_id: sale.to_string(),
        buyer_id: buyer.to_owned(),
    };
    world.one.room.clone().verify_admission(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn joined_buyers_are_admitted_in_turn() {
    let world = World::paused(20.0).await;
    let (first, second) = (world.join("anna").await, world.join("bert").await);
    assert_eq!((first.ticket.number, second.ticket.number), (1, 2));
    assert_eq!((first.position.ahead, second.position.ahead), (0, 1));

    let mut watched = world.watch(&second.token).await;
    assert_eq!(watched.next().await.unwrap().outlook(), Outlook::Paused);
    world.set_open().await;
    let position = watched.ends_with(Outlook::Admitted).await;
    assert_eq!((position.number, position.ahead), (2, 0));

    // Every call returns the same admission.
    assert_eq!(world.position(&second.token).await.admission, position.admission);
    assert_eq!(world.join("bert").await.position.admission, position.admission);
    let ticks = world.ticks().await;
    let (_, passed_ms) = ticks.iter().find(|(head, _)| *head >= 2).unwrap();
    let admission = world.signer.ring().read_admission(&position.admission).unwrap();
    assert_eq!(admission.id(), admission_id(world.sale, 2, 0));
    assert_eq!(admission.quota, 1);
    let lasts_ms = admission.expires_at_ms - passed_ms;
    assert!((60_000..61_000).contains(&lasts_ms), "it lasts {lasts_ms} ms");
    assert_eq!(position.admission_expire_time.unwrap().seconds * 1_000, admission.expires_at_ms);

    let good = verify(&world, &position.admission, world.sale, "bert").await;
    assert_eq!(good.verdict(), AdmissionVerdict::Valid);
    assert_eq!(good.expire_time, position.admission_expire_time);
    let other_buyer = verify(&world, &position.admission, world.sale, "anna").await;
    assert_eq!(other_buyer.verdict(), AdmissionVerdict::Foreign);
    let other_sale = verify(&world, &position.admission, Uuid::new_v4(), "bert").await;
    assert_eq!(other_sale.verdict(), AdmissionVerdict::Foreign);
    let ticket = verify(&world, &second.token, world.sale, "bert").await;
    assert_eq!((ticket.verdict(), ticket.expire_time), (AdmissionVerdict::Invalid, None));
}

#[tokio::test]
async fn public_keys_match_over_grpc_and_http() {
    let world = World::open(100.0).await;
    let joined = world.join("anna").await;
    let admitted = world.watch(&joined.token).await.ends_with(Outlook::Admitted).await;
    let keys = world.one.room.clone().get_admission_keys(GetAdmissionKeysRequest {}).await;
    let json = keys.unwrap().into_inner().jwks_json;
    let ring = KeyRing::from_jwks(&json).unwrap();
    assert!(ring.read_admission(&admitted.admission).is_ok());

    let address = world.one.server.http_url.strip_prefix("http://").unwrap();
    let mut http = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n";
    http.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    http.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("application/jwk-set+json"), "{answer}");
    assert!(answer.contains(&json), "{answer}");
    assert!(!answer.contains("\"d\""), "{answer}");
}

#[tokio::test]
async fn rejoin_keeps_place_while_valid() {
    let world = World::paused(50.0).await;
    let first = world.join("anna").await;
    world.join("bert").await;
    assert_eq!(world.join("anna").await.token, first.token);
    world.set_open().await;
    world.head_at(2).await;
    let again = world.join("anna").await;
    assert_eq!(again.token, first.token);
    assert_eq!(again.position.outlook(), Outlook::Admitted);
    assert_eq!(world.room().await.issued, 2);
}

#[tokio::test]
async fn rejoin_after_spent_admission_queues_again() {
    let world = World::open(100.0).await;
    let first = world.join("anna").await;
    world.head_at(1).await;
    world.set_paused().await;
    world.join("bert").await;
    world.spend(&first.ticket).await;
    assert_eq!(world.position(&first.token).await.outlook(), Outlook::Used);
    world.watch(&first.token).await.ends_with(Outlook::Used).await;

    let second = world.join("anna").await;
    assert_eq!((second.ticket.number, second.ticket.generation), (3, 1));
    assert_eq!(world.join("anna").await.token, second.token);
    let used = world.position(&first.token).await;
    assert_eq!((used.outlook(), used.admission.as_str()), (Outlook::Used, ""));
}

#[tokio::test]
async fn repeated_join_takes_no_second_place() {
    let world = World::open(100.0).await;
    // The request that took a place that was left.
    let request_id = crate::world::request_id();
    let first = world.join_by("anna", &request_id).await;
    world.head_at(1).await;
    world.leave(&first.token).await;
    let again = world.join_by("anna", &request_id).await;
    assert_eq!((again.token, again.position.outlook()), (first.token, Outlook::Left));
    // Of a place whose admission was spent.
    let request_id = crate::world::request_id();
    let second = world.join_by("anna", &request_id).await;
    assert_eq!((second.ticket.number, second.ticket.generation), (2, 1));
    world.head_at(2).await;
    world.spend(&second.ticket).await;
    let again = world.join_by("anna", &request_id).await;
    assert_eq!((again.token, again.position.outlook()), (second.token, Outlook::Used));
    // Of a place whose admission has run out.
    let request_id = crate::world::request_id();
    let third = world.join_by("anna", &request_id).await;
    world.head_at(3).await;
    world.let_ticks_age(61_500).await;
    let again = world.join_by("anna", &request_id).await;
    assert_eq!((again.token, again.position.outlook()), (third.token, Outlook::Lapsed));
    // Another request takes the next place, and a late repetition of an earlier one finds that.
    let fourth = world.join("anna").await;
    assert_eq!((fourth.ticket.number, fourth.ticket.generation), (4, 3));
    assert_eq!(world.join_by("anna", &request_id).await.token, fourth.token);
    assert_eq!(world.room().await.issued, 4);
}

#[tokio::test]
async fn rejoin_after_expiry_queues_again() {
    let world = World::open(100.0).await;
    let first = world.join("anna").await;
    world.head_at(1).await;
    world.let_ticks_age(61_500).await;
    assert_eq!(world.position(&first.token).await.outlook(), Outlook::Lapsed);
    world.watch(&first.token).await.ends_with(Outlook::Lapsed).await;

    let second = world.join("anna").await;
    assert_eq!((second.ticket.number, second.ticket.generation), (2, 1));
    let admitted = world.watch(&second.token).await.ends_with(Outlook::Admitted).await;
    let admission = world.signer.ring().read_admission(&admitted.admission).unwrap();
    assert_eq!(admission.id(), admission_id(world.sale, 2, 1));
    assert_eq!(world.position(&first.token).await.outlook(), Outlook::Lapsed);
}

#[tokio::test]
async fn new_lifetime_revives_no_admission() {
    let world = World::open(100.0).await;
    let anna = world.join("anna").await;
    world.head_at(1).await;
    world.let_ticks_age(61_500).await;
    assert_eq!(world.position(&anna.token).await.outlook(), Outlook::Lapsed);
    world.configure(100.0, 3_600).await;
    assert_eq!(world.position(&anna.token).await.outlook(), Outlook::Lapsed);
    // Nor does a shorter one take anything from an admission that was given out.
    let bert = world.join("bert").await;
    world.head_at(2).await;
    let before = world.position(&bert.token).await;
    world.configure(100.0, 5).await;
    assert_eq!(world.position(&bert.token).await, before);
}

#[tokio::test]
async fn pause_prolongs_admissions() {
    let world = World::open(100.0).await;
    let anna = world.join("anna").await;
    world.head_at(1).await;
    let admission = async || {
        let position = world.position(&anna.token).await;
        assert_eq!(position.outlook(), Outlook::Admitted);
        world.signer.ring().read_admission(&position.admission).unwrap()
    };
    let before = admission().await;
    world.set_paused().await;
    // As if the pause had begun so long ago.
    world
        .sql("UPDATE rooms SET paused_at = paused_at - interval '90 s', updated_at = clock_timestamp() WHERE sale_id = $1")
        .await;
    let during = flashsale_testbed::eventually("the pause is known", || async {
        let during = admission().await;
        (during.expires_at_ms > before.expires_at_ms + 80_000).then_some(during)
    })
    .await;
    world.set_open().await;
    let after = admission().await;
    assert_eq!((before.id(), before.id()), (during.id(), after.id()));
    let longer_ms = after.expires_at_ms - before.expires_at_ms;
    assert!((90_000..100_000).contains(&longer_ms), "{longer_ms}");
    assert!(after.expires_at_ms + 1_000 >= during.expires_at_ms);
    // What is admitted after the pause is not prolonged by it.
    let bert = world.join("bert").await;
    world.head_at(2).await;
    let bert = world.position(&bert.token).await.admission_expire_time.unwrap();
    assert!(bert.seconds * 1_000 <= world.now_ms().await + 61_000);
}

#[tokio::test]
async fn left_place_is_never_admitted() {
    let world = World::paused(100.0).await;
    let first = world.join("anna").await;
    let other = world.join("bert").await;
    let mut watched = world.watch(&first.token).await;
    assert_eq!(watched.next().await.unwrap().outlook(), Outlook::Paused);
    world.leave(&first.token).await;
    world.leave(&first.token).await;
    assert_eq!(world.position(&first.token).await.outlook(), Outlook::Left);

    let second = world.join("anna").await;
    assert_eq!((second.ticket.number, second.ticket.generation), (3, 1));
    world.set_open().await;
    let left = watched.ends_with(Outlook::Left).await;
    assert_eq!(left.admission, "");
    world.head_at(3).await;
    assert_eq!(world.position(&first.token).await.outlook(), Outlook::Left);
    assert_eq!(world.position(&second.token).await.outlook(), Outlook::Admitted);
    assert_eq!(world.position(&other.token).await.outlook(), Outlook::Admitted);
}

#[tokio::test]
async fn leaving_with_old_ticket_keeps_new_place() {
    let world = World::paused(100.0).await;
    let first = world.join("anna").await;
    world.leave(&first.token).await;
    let second = world.join("anna").await;
    world.leave(&first.token).await;
    assert_eq!(world.position(&second.token).await.outlook(), Outlook::Paused);
    assert_eq!(world.join("anna").await.token, second.token);
}

#[tokio::test]
async fn closing_notifies_watchers_and_refuses_joins() {
    let world = World::paused(100.0).await;
    let joined = world.join("anna").await;
    let watched = world.watch(&joined.token).await;
    assert_eq!(world.set_closed().await.state(), RoomState::Closed);
    watched.ends_with(Outlook::Closed).await;
    assert_eq!(world.position(&joined.token).await.outlook(), Outlook::Closed);
    let refused = world.try_join("bert").await.unwrap_err();
    assert_failure(&refused, Reason::SaleNotOpen);
    assert_eq!(world.room().await.issued, 1);
}

#[tokio::test]
async fn pause_stops_head_without_catch_up() {
    let world = World::open(1_000.0).await;
    world.join("anna").await;
    world.head_at(1).await;
    world.set_paused().await;
    let joined = world.join("bert").await;
    assert_eq!(joined.position.outlook(), Outlook::Paused);
    assert_eq!(joined.position.expected_wait, None);
    // Several ticks of the heads and the list pass.
    world.let_time_pass(300).await;
    assert_eq!(world.room().await.head, 1);
    world.set_open().await;
    world.watch(&joined.token).await.ends_with(Outlook::Admitted).await;
}

#[tokio::test]
async fn watched_ticket_gets_heartbeats() {
    let world = World::new(&[("HEARTBEAT_MS", "50")]).await;
    world.configure(1.0, 60).await;
    world.set_paused().await;
    let joined = world.join("anna").await;
    let mut watched = world.watch(&joined.token).await;
    for _ in 0..4 {
        assert_eq!(watched.next().await.unwrap().outlook(), Outlook::Paused);
    }
}

#[tokio::test]
async fn waiting_ticket_sees_progress_and_wait() {
    let world = World::paused(20.0).await;
    for buyer in 0..30 {
        world.join(&format!("buyer {buyer}")).await;
    }
    let last = world.join("anna").await;
    let mut watched = world.watch(&last.token).await;
    world.set_open().await;
    let mut ahead = i64::MAX;
    let mut waited = 0;
    loop {
        let position = watched.next().await.unwrap();
        assert!(position.ahead <= ahead, "back from {ahead} to {}", position.ahead);
        ahead = position.ahead;
        if position.outlook() == Outlook::Admitted {
            break;
        }
        if position.outlook() == Outlook::Waiting {
            waited += 1;
            let wait = position.expected_wait.unwrap();
            let tenths = wait.seconds * 10 + i64::from(wait.nanos / 100_000_000);
            // At 20 a second each place takes 50 ms.
            assert_eq!(tenths, (ahead + 2) / 2, "{ahead} ahead");
        } else {
            assert_eq!(position.outlook(), Outlook::Paused);
        }
    }
    assert!(waited >= 2, "heard of only {waited} times on the way");
}

#[tokio::test]
async fn watched_tickets_are_bounded() {
    let world = World::new(&[("MAX_WATCHERS", "1")]).await;
    world.configure(1.0, 60).await;
    world.set_paused().await;
    let (anna, bert) = (world.join("anna").await, world.join("bert").await);
    let mut watched = world.watch(&anna.token).await;
    watched.next().await.unwrap();
    let request = || WatchPositionRequest { ticket: bert.token.clone() };
    let refused = world.one.room.clone().watch_position(request()).await.unwrap_err();
    let failure = assert_failure(&refused, Reason::Overloaded);
    assert_eq!(failure.metadata()["limit"], "1");
    drop(watched);
    flashsale_testbed::eventually("the place is free again", || async {
        world.one.room.clone().watch_position(request()).await.ok()
    })
    .await;
}

#[tokio::test]
async fn drain_ends_streams_cleanly() {
    let world = World::paused(1.0).await;
    let joined = world.join("anna").await;
    let mut watched = world.watch(&joined.token).await;
    assert_eq!(watched.next().await.unwrap().outlook(), Outlook::Paused);
    world.one.server.drain.start();
    assert_eq!(watched.next().await, None);
}

#[tokio::test]
async fn drain_ends_streams_one_after_the_other() {
    const STREAMS: usize = 100;
    let world = World::paused(1.0).await;
    let mut ends = tokio::task::JoinSet::new();
    for buyer in 0..STREAMS {
        let joined = world.join(&format!("buyer {buyer}")).await;
        let mut watched = world.watch(&joined.token).await;
        assert_eq!(watched.next().await.unwrap().outlook(), Outlook::Paused);
        ends.spawn(async move {
            // Cleanly: the client comes back to another instance.
            assert_eq!(watched.next().await, None);
            Instant::now()
        });
    }
    let started = Instant::now();
    world.one.server.drain.start();
    let mut ended = ends.join_all().await;
    ended.sort_unstable();
    // They end 10 ms after each other, a second in all.
    let (first, last) = (ended[0] - started, ended[STREAMS - 1] - started);
    assert!(last - first >= Duration::from_millis(500), "from {first:?} to {last:?}");
    // All before connections are cut, which is an error for a stream.
    world.one.server.ended().await.unwrap();
}

#[tokio::test]
async fn configure_is_idempotent_and_rate_applies() {
    let world = World::new(&[]).await;
    let made = world.configure(5.0, 60).await;
    assert_eq!((made.state(), made.issued, made.head), (RoomState::Closed, 0, 0));
    assert_eq!(world.configure(5.0, 60).await, made);
    let opened = world.set_open().await;
    assert_eq!(world.set_open().await, opened);
    let changed = world.configure(7.5, 90).await;
    assert_eq!(changed.state(), RoomState::Open, "changing the settings closed the room");
    assert_eq!(changed.admissions_per_second, 7.5);
    assert_eq!(changed.admission_ttl.unwrap().seconds, 90);
    assert_eq!(world.room().await, changed);
}
