//! Invalid requests: each has its own reason and field, and changes nothing in the stores.

use std::collections::BTreeMap;

use flashsale_admission::{Admission, Signer, Ticket};
use flashsale_errors::Reason;
use flashsale_proto::waitingroom::{
    CloseRoomRequest, ConfigureRoomRequest, GetPositionRequest, GetRoomRequest, JoinRequest,
    LeaveRequest, OpenRoomRequest, PauseRoomRequest, RunDrawRequest, SetRateRequest,
    VerifyAdmissionRequest, WatchPositionRequest,
};
use flashsale_testbed::assert_failure;
use fred::interfaces::{HashesInterface as _, ServerInterface as _};
use futures::future::BoxFuture;
use tonic::Status;
use uuid::Uuid;

use crate::world::{Instance, World, request_id};

/// A call that must fail: a description, the expected reason, the field at fault (empty for none),
/// the call.
struct Row<'a> {
    what: String,
    reason: Reason,
    field: &'static str,
    call: BoxFuture<'a, Status>,
}

/// What a refused call must not change in the stores, without the values that ticks write.
#[derive(Debug, PartialEq)]
struct Snapshot {
    keys: i64,
    room: Vec<Option<String>>,
    buyers: BTreeMap<String, String>,
    rows: Vec<String>,
}

async fn snapshot(world: &World) -> Snapshot {
    let fields = [
        "run_id",
        "state",
        "rate",
        "admission_ms",
        "watches",
        "joins_ms",
        "admits_ms",
        "until_ms",
        "next",
        "upto",
        "head",
        "version",
    ];
    Snapshot {
        keys: world.redis().dbsize().await.unwrap(),
        room: world.redis().hmget(world.key("room"), fields.to_vec()).await.unwrap(),
        buyers: world.redis().hgetall(world.key("room:buyers")).await.unwrap(),
        rows: sqlx::query_scalar("SELECT rooms::text FROM rooms ORDER BY sale_id")
            .fetch_all(&world.pg.pool)
            .await
            .unwrap(),
    }
}

macro_rules! call {
    ($client:expr, $method:ident, $request:expr) => {{
        let (mut client, request) = ($client.clone(), $request);
        Box::pin(async move { client.$method(request).await.err().expect("a refusal") })
    }};
}

fn join<'a>(
    one: &'a Instance,
    request_id: &str,
    sale_id: &str,
    buyer_id: &str,
) -> BoxFuture<'a, Status> {
    let request = JoinRequest {
        request_id: request_id.to_owned(),
        sale_id: sale_id.to_owned(),
        buyer_id: buyer_id.to_owned(),
        ..JoinRequest::default()
    };
    call!(one.room, join, request)
}

fn configure<'a>(
    one: &'a Instance,
    sale_id: &str,
    rate: f64,
    ttl: Option<(i64, i32)>,
) -> BoxFuture<'a, Status> {
    let request = ConfigureRoomRequest {
        request_id: request_id(),
        sale_id: sale_id.to_owned(),
        admissions_per_second: rate,
        admission_ttl: ttl.map(|(seconds, nanos)| prost_types::Duration { seconds, nanos }),
        ..ConfigureRoomRequest::default()
    };
    call!(one.admin, configure_room, request)
}

/// A time of a window: seconds and nanoseconds.
type Bound = Option<(i64, i32)>;

/// Configures a room with this beginning of joins, of admissions, and end.
fn configure_within<'a>(
    one: &'a Instance,
    sale_id: &str,
    [joins_from, admits_from, admits_until]: [Bound; 3],
) -> BoxFuture<'a, Status> {
    let at = |bound: Bound| bound.map(|(seconds, nanos)| prost_types::Timestamp { seconds, nanos });
    let request = ConfigureRoomRequest {
        request_id: request_id(),
        sale_id: sale_id.to_owned(),
        admissions_per_second: 5.0,
        admission_ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        joins_from: at(joins_from),
        admits_from: at(admits_from),
        admits_until: at(admits_until),
        watches_stock: None,
    };
    call!(one.admin, configure_room, request)
}

#[tokio::test]
async fn bad_calls_change_nothing() {
    let world = World::paused(10.0).await;
    let joined = world.join("anna").await;
    let (one, sale, unknown) = (&world.one, world.sale.to_string(), Uuid::new_v4().to_string());
    let token = joined.token.clone();
    let mut rows: Vec<Row<'_>> = Vec::new();
    let mut row = |what: &str, reason, field, call| {
        rows.push(Row { what: what.to_owned(), reason, field, call });
    };

    for id in ["", "17", "00000000-0000-0000-0000-000000000000"] {
        let (reason, field) = (Reason::RequestIdInvalid, "request_id");
        row("join", reason, field, join(one, id, &sale, "bert"));
        let request = LeaveRequest { request_id: id.to_owned(), ticket: token.clone() };
        row("leave", reason, field, call!(one.room, leave, request));
        let (request_id, sale_id) = (id.to_owned(), sale.clone());
        let request = OpenRoomRequest { request_id: request_id.clone(), sale_id: sale_id.clone() };
        row("open", reason, field, call!(one.admin, open_room, request));
        let request = PauseRoomRequest { request_id: request_id.clone(), sale_id: sale_id.clone() };
        row("pause", reason, field, call!(one.admin, pause_room, request));
        let request = CloseRoomRequest { request_id: request_id.clone(), sale_id: sale_id.clone() };
        row("close", reason, field, call!(one.admin, close_room, request));
        let request = SetRateRequest {
            request_id: request_id.clone(),
            sale_id: sale_id.clone(),
            admissions_per_second: 5.0,
        };
        row("set rate", reason, field, call!(one.admin, set_rate, request));
        let request = ConfigureRoomRequest {
            request_id,
            sale_id,
            admissions_per_second: 5.0,
            admission_ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..ConfigureRoomRequest::default()
        };
        row("configure", reason, field, call!(one.admin, configure_room, request));
    }

    for bad in ["", "not a sale"] {
        let (reason, field) = (Reason::ArgumentInvalid, "sale_id");
        row("join", reason, field, join(one, &request_id(), bad, "bert"));
        row("configure", reason, field, configure(one, bad, 5.0, Some((60, 0))));
        let request = GetRoomRequest { sale_id: bad.to_owned() };
        row("get room", reason, field, call!(one.admin, get_room, request));
        let request = OpenRoomRequest { request_id: request_id(), sale_id: bad.to_owned() };
        row("open", reason, field, call!(one.admin, open_room, request));
        let request = VerifyAdmissionRequest {
            admission: String::new(),
            sale_id: bad.to_owned(),
            buyer_id: "anna".to_owned(),
        };
        row("verify", reason, field, call!(one.room, verify_admission, request));
    }

    for buyer in ["", "a\nb", "a\u{0}b", "\u{7f}", &"b".repeat(129)] {
        let (reason, field) = (Reason::ArgumentInvalid, "buyer_id");
        // That a shop names a buyer at all is asked before the service looks at the name.
        let of_join = if buyer.is_empty() { Reason::BuyerUnproven } else { reason };
        row(buyer, of_join, field, join(one, &request_id(), &sale, buyer));
        let request = VerifyAdmissionRequest {
            admission: String::new(),
            sale_id: sale.clone(),
            buyer_id: buyer.to_owned(),
        };
        row(buyer, reason, field, call!(one.room, verify_admission, request));
    }

    for rate in [0.0, 0.099, 100_000.1, -1.0, f64::NAN, f64::INFINITY] {
        let (reason, field) = (Reason::ArgumentInvalid, "admissions_per_second");
        row(&rate.to_string(), reason, field, configure(one, &sale, rate, Some((60, 0))));
        let request = SetRateRequest {
            request_id: request_id(),
            sale_id: sale.clone(),
            admissions_per_second: rate,
        };
        row(&rate.to_string(), reason, field, call!(one.admin, set_rate, request));
    }
    for ttl in [
        None,
        Some((4, 999_999_999)),
        Some((3_600, 1)),
        Some((-60, 0)),
        Some((60, -1)),
        Some((i64::MAX, 0)),
    ] {
        let (reason, field) = (Reason::ArgumentInvalid, "admission_ttl");
        row(&format!("{ttl:?}"), reason, field, configure(one, &sale, 5.0, ttl));
    }

    let at = |seconds| Some((seconds, 0));
    for (field, bounds) in [
        ("joins_from", [at(20), at(10), None]),
        ("joins_from", [Some((10, 1_000_000)), at(10), at(30)]),
        ("admits_until", [None, at(10), at(10)]),
        ("admits_until", [at(5), at(10), at(9)]),
        // Whole milliseconds count.
        ("admits_until", [None, at(10), Some((10, 999_999))]),
        // Buyers could never join.
        ("admits_until", [at(10), None, at(10)]),
        ("joins_from", [at(i64::MAX), None, None]),
        ("admits_from", [None, Some((10, -1)), None]),
        ("admits_until", [None, None, Some((10, 1_000_000_000))]),
    ] {
        let call = configure_within(one, &sale, bounds);
        row(&format!("{bounds:?}"), Reason::ArgumentInvalid, field, call);
    }

    let no_room = Reason::RoomNotFound;
    row("join", no_room, "", join(one, &request_id(), &unknown, "bert"));
    let request = GetRoomRequest { sale_id: unknown.clone() };
    row("get room", no_room, "", call!(one.admin, get_room, request));
    let request = OpenRoomRequest { request_id: request_id(), sale_id: unknown.clone() };
    row("open", no_room, "", call!(one.admin, open_room, request));
    let request = PauseRoomRequest { request_id: request_id(), sale_id: unknown.clone() };
    row("pause", no_room, "", call!(one.admin, pause_room, request));
    let request = CloseRoomRequest { request_id: request_id(), sale_id: unknown.clone() };
    row("close", no_room, "", call!(one.admin, close_room, request));
    let request = SetRateRequest {
        request_id: request_id(),
        sale_id: unknown.clone(),
        admissions_per_second: 5.0,
    };
    row("set rate", no_room, "", call!(one.admin, set_rate, request));

    let forger = Signer::generate().unwrap();
    let admission = world.signer.mint_admission(&Admission {
        sale_id: world.sale,
        buyer_id: "anna".to_owned(),
        number: 1,
        generation: 0,
        expires_at_ms: 4_000_000_000_000,
        quota: 1,
    });
    let elsewhere = Ticket { sale_id: unknown.parse().unwrap(), ..joined.ticket.clone() };
    let elsewhere = world.signer.mint_ticket(&elsewhere);
    for (what, ticket, reason, field) in [
        ("no ticket", String::new(), Reason::TicketInvalid, "ticket"),
        ("cut", token[..token.len() - 1].to_owned(), Reason::TicketInvalid, "ticket"),
        ("forged", forger.mint_ticket(&joined.ticket), Reason::TicketInvalid, "ticket"),
        ("an admission", admission, Reason::TicketInvalid, "ticket"),
        ("too long", "x".repeat(3_000), Reason::TicketInvalid, "ticket"),
        ("a ticket of a room that is not there", elsewhere, no_room, ""),
    ] {
        let request = GetPositionRequest { ticket: ticket.clone() };
        row(what, reason, field, call!(one.room, get_position, request));
        let request = LeaveRequest { request_id: request_id(), ticket: ticket.clone() };
        row(what, reason, field, call!(one.room, leave, request));
        let (mut client, request) = (one.room.clone(), WatchPositionRequest { ticket });
        let watch: BoxFuture<'_, Status> = Box::pin(async move {
            match client.watch_position(request).await {
                Ok(stream) => stream.into_inner().message().await.expect_err("a refusal"),
                Err(status) => status,
            }
        });
        row(what, reason, field, watch);
    }

    let request = RunDrawRequest { request_id: request_id(), sale_id: sale.clone() };
    row("draw", Reason::NotImplemented, "", call!(one.admin, run_draw, request));

    let before = snapshot(&world).await;
    for Row { what, reason, field, call } in rows {
        let failure = assert_failure(&call.await, reason);
        let fields: Vec<&str> =
            failure.violations().iter().map(|violation| violation.field.as_str()).collect();
        let expected: &[&str] = if field.is_empty() { &[] } else { &[field] };
        assert_eq!(fields, expected, "{what:?}: {failure}");
        assert!(!failure.to_string().contains("anna"), "{failure}");
        assert_eq!(snapshot(&world).await, before, "{what:?}: {failure}");
    }
}

#[tokio::test]
async fn ticket_shows_only_its_room() {
    let world = World::paused(10.0).await;
    let here = world.join("anna").await;
    let other = World::paused(10.0).await;
    // Signed by the keys of another platform.
    let refused = other.try_position(&here.token).await.unwrap_err();
    let failure = assert_failure(&refused, Reason::TicketInvalid);
    assert_eq!(failure.violations()[0].field, "ticket");
}
