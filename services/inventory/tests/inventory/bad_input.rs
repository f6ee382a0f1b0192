//! Every invalid call: each has its own reason and field, and leaves Redis unchanged.

use flashsale_admission::Signer;
use flashsale_errors::Reason;
use flashsale_proto::inventory as proto;
use flashsale_testbed::{assert_failure, eventually};
use tonic::Status;
use uuid::Uuid;

use crate::{
    service::{Served, admission, id, reserve, served, wire_lines},
    world::{DETAILS, SaleSpec},
};

/// One invalid call: its description, the call, the reason of its refusal, and the field at fault
/// ("" for none).
struct Case {
    what: &'static str,
    call: Call,
    reason: Reason,
    field: &'static str,
}

enum Call {
    Reserve(proto::ReserveRequest),
    Place(proto::PlaceHoldRequest),
    Get(proto::GetHoldRequest),
    Extend(proto::ExtendHoldRequest),
    Release(proto::ReleaseHoldRequest),
    Stock(proto::GetStockRequest),
    Load(proto::LoadStockRequest),
    Sync(proto::SyncSaleRequest),
    Settle(proto::SettleHoldsRequest),
    List(proto::ListPlacedHoldsRequest),
    Retake(proto::RetakeHoldsRequest),
    Rebuild(proto::RebuildRequest),
    TakeOver(proto::TakeOverRequest),
}

async fn refusal(served: &Served, call: Call) -> Status {
    let (mut stock, mut admin) = (served.stock.clone(), served.admin.clone());
    let done = |result: Result<(), Status>| result.expect_err("it was done");
    match call {
        Call::Reserve(ask) => done(stock.reserve(ask).await.map(drop)),
        Call::Place(ask) => done(stock.place_hold(ask).await.map(drop)),
        Call::Get(ask) => done(stock.get_hold(ask).await.map(drop)),
        Call::Extend(ask) => done(stock.extend_hold(ask).await.map(drop)),
        Call::Release(ask) => done(stock.release_hold(ask).await.map(drop)),
        Call::Stock(ask) => done(stock.get_stock(ask).await.map(drop)),
        Call::Load(ask) => done(admin.load_stock(ask).await.map(drop)),
        Call::Sync(ask) => done(admin.sync_sale(ask).await.map(drop)),
        Call::Settle(ask) => done(admin.settle_holds(ask).await.map(drop)),
        Call::List(ask) => done(admin.list_placed_holds(ask).await.map(drop)),
        Call::Retake(ask) => done(admin.retake_holds(ask).await.map(drop)),
        Call::Rebuild(ask) => done(admin.rebuild(ask).await.map(drop)),
        Call::TakeOver(ask) => done(admin.take_over(ask).await.map(drop)),
    }
}

#[tokio::test]
#[allow(clippy::too_many_lines)] // A table.
async fn invalid_call_is_refused_with_reason() {
    let mut served = served().await;
    let items = [("tee", 10, 3, 1_999), ("cap", 1, 0, 990)];
    let sale = served.world.sale(SaleSpec::default(), &items).await;
    let roomy = SaleSpec { room: true, ..SaleSpec::default() };
    let room = served.world.sale(roomy, &items).await;
    let draft =
        served.world.record_sale(SaleSpec { state: "DRAFT", ..SaleSpec::default() }, &items).await;
    let future = SaleSpec { starts_in_ms: 60_000, ..SaleSpec::default() };
    let future = served.world.sale(future, &items).await;
    let ended = served.world.sale(SaleSpec { state: "ENDED", ..SaleSpec::default() }, &items).await;
    let nowhere = Uuid::new_v4();

    let good = reserve(sale, "ada", &[("tee", 1)], "");
    let held = served.stock.reserve(good.clone()).await.unwrap().into_inner().hold.unwrap();
    let place_good = proto::PlaceHoldRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: "bob".to_owned(),
        lines: wire_lines(&[("tee", 1)]),
        order_details: DETAILS.to_owned(),
        ..proto::PlaceHoldRequest::default()
    };
    let placed = served.stock.place_hold(place_good.clone()).await.unwrap().into_inner();
    let placed = placed.placed.unwrap().hold.unwrap();
    let spent = served.admission(room, "ada", 1, 60_000);
    let first = reserve(room, "ada", &[("tee", 1)], &spent);
    eventually("the waiting room's keys are known", async || {
        served.stock.clone().reserve(first.clone()).await.ok()
    })
    .await;

    let ask = |lines: &[(&str, i64)]| reserve(sale, "ada", lines, "");
    let many: Vec<(&str, i64)> = vec![("tee", 1); 51];
    let with = |admission: String| Call::Reserve(reserve(room, "ada", &[("tee", 1)], &admission));
    let forger = Signer::generate().unwrap();
    let mut tampered = served.admission(room, "ada", 7, 60_000);
    tampered.pop();
    let place = |change: fn(&mut proto::PlaceHoldRequest)| {
        let mut ask = proto::PlaceHoldRequest { request_id: id(), ..place_good.clone() };
        change(&mut ask);
        Call::Place(ask)
    };
    let place_hold = |buyer: &str, hold_id: &str| proto::PlaceHoldRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: buyer.to_owned(),
        hold_id: hold_id.to_owned(),
        order_details: DETAILS.to_owned(),
        ..proto::PlaceHoldRequest::default()
    };
    let extend = |buyer: &str, hold_id: &str| proto::ExtendHoldRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: buyer.to_owned(),
        hold_id: hold_id.to_owned(),
    };
    let release = |buyer: &str, hold_id: &str| proto::ReleaseHoldRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        buyer_id: buyer.to_owned(),
        hold_id: hold_id.to_owned(),
    };
    let settle = |hold_id: &str, outcome: i32, count: usize| proto::SettleHoldsRequest {
        request_id: id(),
        sale_id: sale.to_string(),
        settlements: vec![
            proto::HoldSettlement {
                hold_id: hold_id.to_owned(),
                outcome,
                ..proto::HoldSettlement::default()
            };
            count
        ],
    };
    let some_hold = id();
    // A hold that cannot be extended any further.
    let longest = reserve(sale, "max", &[("tee", 1)], "");
    let longest = served.stock.reserve(longest).await.unwrap().into_inner().hold.unwrap();
    let age = format!(
        "local hold = cjson.decode(redis.call('HGET', KEYS[3], '{0}'))
         hold.t = hold.t - 2 * tonumber(redis.call('HGET', KEYS[1], 'hold_ms'))
         redis.call('HSET', KEYS[3], '{0}', cjson.encode(hold))",
        longest.hold_id
    );
    served.world.lua(&age, flashsale_inventory::store::keys(sale)).await;
    // A place that was left.
    let left = served.admission(room, "ada", 9, 60_000);
    let leave = "return redis.call('HSET', KEYS[1], 'ada', '9|0|LEFT')";
    served.world.lua(leave, vec![format!("fs:{{{room}}}:room:buyers")]).await;
    let retake = |change: fn(&mut proto::StragglingHold)| {
        let mut hold = proto::StragglingHold {
            hold_id: id(),
            order_id: id(),
            buyer_id: "ada".to_owned(),
            lines: vec![proto::Line { sku: held.lines[0].sku.clone(), quantity: 1 }],
            request_id: id(),
            request_hash: "0".repeat(64),
            place_time: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 0 }),
            order_details: DETAILS.to_owned(),
            ..proto::StragglingHold::default()
        };
        change(&mut hold);
        proto::RetakeHoldsRequest {
            request_id: id(),
            sale_id: sale.to_string(),
            min_epoch: 1,
            holds: vec![hold],
        }
    };
    let rebuild = |sale: Uuid| {
        let sale_id = sale.to_string();
        Call::Rebuild(proto::RebuildRequest { request_id: id(), sale_id, force: true })
    };
    let take_over = |request_id: String, reason: &str| {
        Call::TakeOver(proto::TakeOverRequest { request_id, reason: reason.to_owned() })
    };

    use Reason::*;
    let case = |what, call, reason, field| Case { what, call, reason, field };
    let cases = vec![
        case(
            "an empty request id",
            Call::Reserve(proto::ReserveRequest {
                request_id: String::new(),
                ..ask(&[("tee", 1)])
            }),
            RequestIdInvalid,
            "request_id",
        ),
        case(
            "a request id that is no UUID",
            Call::Reserve(proto::ReserveRequest {
                request_id: "17".to_owned(),
                ..ask(&[("tee", 1)])
            }),
            RequestIdInvalid,
            "request_id",
        ),
        case(
            "the nil request id",
            Call::Reserve(proto::ReserveRequest {
                request_id: Uuid::nil().to_string(),
                ..ask(&[("tee", 1)])
            }),
            RequestIdInvalid,
            "request_id",
        ),
        case(
            "a malformed sale id",
            Call::Reserve(proto::ReserveRequest {
                sale_id: "sale".to_owned(),
                ..ask(&[("tee", 1)])
            }),
            ArgumentInvalid,
            "sale_id",
        ),
        case(
            "an unknown sale",
            Call::Reserve(reserve(nowhere, "ada", &[("tee", 1)], "")),
            SaleNotFound,
            "sale_id",
        ),
        case(
            "no buyer",
            Call::Reserve(reserve(sale, "", &[("tee", 1)], "")),
            BuyerUnproven,
            "buyer_id",
        ),
        case(
            "a buyer id with a separator",
            Call::Reserve(reserve(sale, "a\u{1f}b", &[("tee", 1)], "")),
            ArgumentInvalid,
            "buyer_id",
        ),
        case(
            "a long buyer id",
            Call::Reserve(reserve(sale, &"x".repeat(129), &[("tee", 1)], "")),
            ArgumentInvalid,
            "buyer_id",
        ),
        case("no lines", Call::Reserve(ask(&[])), ArgumentInvalid, "lines"),
        case("51 lines", Call::Reserve(ask(&many)), ArgumentInvalid, "lines"),
        case(
            "an empty sku",
            Call::Reserve(ask(&[("tee", 1), ("", 1)])),
            ArgumentInvalid,
            "lines[1].sku",
        ),
        case(
            "an unknown sku",
            Call::Reserve(ask(&[("tee", 1), ("zzz", 1)])),
            SkuNotFound,
            "lines[1].sku",
        ),
        case(
            "a quantity of zero",
            Call::Reserve(ask(&[("tee", 0)])),
            QuantityInvalid,
            "lines[0].quantity",
        ),
        case(
            "a negative quantity",
            Call::Reserve(ask(&[("tee", -1)])),
            QuantityInvalid,
            "lines[0].quantity",
        ),
        case(
            "a huge quantity",
            Call::Reserve(ask(&[("tee", i64::MAX)])),
            QuantityInvalid,
            "lines[0].quantity",
        ),
        case(
            "a huge sum",
            Call::Reserve(ask(&[("cap", 9_999), ("cap", 2)])),
            QuantityInvalid,
            "lines[1].quantity",
        ),
        case("more than there is", Call::Reserve(ask(&[("cap", 2)])), SoldOut, ""),
        case("more than the limit", Call::Reserve(ask(&[("tee", 2), ("tee", 1)])), BuyerLimit, ""),
        case(
            "a sale in draft",
            Call::Reserve(reserve(draft, "ada", &[("tee", 1)], "")),
            SaleNotOpen,
            "",
        ),
        case(
            "a sale that has not begun",
            Call::Reserve(reserve(future, "ada", &[("tee", 1)], "")),
            SaleNotOpen,
            "",
        ),
        case(
            "a sale that is over",
            Call::Reserve(reserve(ended, "ada", &[("tee", 1)], "")),
            SaleNotOpen,
            "",
        ),
        case(
            "a request id with other lines",
            Call::Reserve(proto::ReserveRequest {
                lines: wire_lines(&[("tee", 2)]),
                ..good.clone()
            }),
            RequestIdReused,
            "request_id",
        ),
        case(
            "a request id of another operation",
            Call::Release(proto::ReleaseHoldRequest {
                request_id: good.request_id.clone(),
                ..release("ada", &held.hold_id)
            }),
            RequestIdReused,
            "request_id",
        ),
        case("no admission", with(String::new()), AdmissionRequired, "admission"),
        case("an admission that is none", with("abc".to_owned()), AdmissionInvalid, "admission"),
        case("a tampered admission", with(tampered), AdmissionInvalid, "admission"),
        case(
            "a forged admission",
            with(admission(&forger, room, "ada", 2, 60_000)),
            AdmissionInvalid,
            "admission",
        ),
        case(
            "an admission of another buyer",
            with(served.admission(room, "eve", 3, 60_000)),
            AdmissionForeign,
            "admission",
        ),
        case(
            "an admission of another sale",
            with(served.admission(sale, "ada", 4, 60_000)),
            AdmissionForeign,
            "admission",
        ),
        case(
            "an expired admission",
            with(served.admission(room, "ada", 5, -10_000)),
            AdmissionExpired,
            "admission",
        ),
        case("an admission of a place that was left", with(left), AdmissionWithdrawn, "admission"),
        case("a spent admission", with(spent.clone()), AdmissionSpent, "admission"),
        case(
            "a placing without a request id",
            place(|ask| ask.request_id.clear()),
            RequestIdInvalid,
            "request_id",
        ),
        case("a placing of nothing", place(|ask| ask.lines.clear()), ArgumentInvalid, "lines"),
        case("a placing of both", place(|ask| ask.hold_id = id()), ArgumentInvalid, "hold_id"),
        case(
            "a placing without details",
            place(|ask| ask.order_details.clear()),
            ArgumentInvalid,
            "order_details",
        ),
        case(
            "details that are no JSON",
            place(|ask| ask.order_details = "{".to_owned()),
            ArgumentInvalid,
            "order_details",
        ),
        case(
            "details without end",
            place(|ask| ask.order_details = format!("\"{}\"", "x".repeat(8_192))),
            ArgumentInvalid,
            "order_details",
        ),
        case(
            "a placing of other details",
            Call::Place(proto::PlaceHoldRequest {
                order_details: "{}".to_owned(),
                ..place_good.clone()
            }),
            RequestIdReused,
            "request_id",
        ),
        case("a placing of no hold", Call::Place(place_hold("ada", &some_hold)), HoldNotFound, ""),
        case(
            "a placing of another buyer's hold",
            Call::Place(place_hold("eve", &held.hold_id)),
            HoldNotFound,
            "",
        ),
        case(
            "a placing of a placed hold",
            Call::Place(place_hold("bob", &placed.hold_id)),
            HoldResolved,
            "",
        ),
        case(
            "a placing of a malformed hold",
            Call::Place(place_hold("ada", "hold")),
            ArgumentInvalid,
            "hold_id",
        ),
        case("an extension of no hold", Call::Extend(extend("ada", &some_hold)), HoldNotFound, ""),
        case(
            "an extension of a placed hold",
            Call::Extend(extend("bob", &placed.hold_id)),
            HoldResolved,
            "",
        ),
        case(
            "an extension of a malformed hold",
            Call::Extend(extend("bob", "")),
            ArgumentInvalid,
            "hold_id",
        ),
        case("a release of no hold", Call::Release(release("ada", &some_hold)), HoldNotFound, ""),
        case(
            "a release of a placed hold",
            Call::Release(release("bob", &placed.hold_id)),
            HoldResolved,
            "",
        ),
        case(
            "a read of no hold",
            Call::Get(proto::GetHoldRequest {
                sale_id: sale.to_string(),
                hold_id: some_hold.clone(),
                ..Default::default()
            }),
            HoldNotFound,
            "",
        ),
        case(
            "a read of no order",
            Call::Get(proto::GetHoldRequest {
                sale_id: sale.to_string(),
                order_id: some_hold.clone(),
                ..Default::default()
            }),
            HoldNotFound,
            "",
        ),
        case(
            "a read of another buyer's hold",
            Call::Get(proto::GetHoldRequest {
                sale_id: sale.to_string(),
                hold_id: held.hold_id.clone(),
                buyer_id: "eve".to_owned(),
                ..Default::default()
            }),
            HoldNotFound,
            "",
        ),
        case(
            "a read of nothing",
            Call::Get(proto::GetHoldRequest { sale_id: sale.to_string(), ..Default::default() }),
            ArgumentInvalid,
            "hold_id",
        ),
        case(
            "a read of both",
            Call::Get(proto::GetHoldRequest {
                sale_id: sale.to_string(),
                hold_id: id(),
                order_id: id(),
                ..Default::default()
            }),
            ArgumentInvalid,
            "hold_id",
        ),
        case(
            "stock of no sale",
            Call::Stock(proto::GetStockRequest {
                sale_id: nowhere.to_string(),
                ..proto::GetStockRequest::default()
            }),
            SaleNotFound,
            "sale_id",
        ),
        case(
            "stock of an unknown sku",
            Call::Stock(proto::GetStockRequest {
                sale_id: sale.to_string(),
                skus: vec!["tee".to_owned(), "zzz".to_owned()],
                ..proto::GetStockRequest::default()
            }),
            SkuNotFound,
            "skus[1]",
        ),
        case(
            "stock of an empty sku",
            Call::Stock(proto::GetStockRequest {
                sale_id: sale.to_string(),
                skus: vec![String::new()],
                ..proto::GetStockRequest::default()
            }),
            ArgumentInvalid,
            "skus[0]",
        ),
        case(
            "stock of too many skus",
            Call::Stock(proto::GetStockRequest {
                sale_id: sale.to_string(),
                skus: vec!["tee".to_owned(); 1_001],
                ..proto::GetStockRequest::default()
            }),
            ArgumentInvalid,
            "skus",
        ),
        case(
            "a load without a request id",
            Call::Load(proto::LoadStockRequest {
                request_id: String::new(),
                sale_id: sale.to_string(),
            }),
            RequestIdInvalid,
            "request_id",
        ),
        case(
            "a second load",
            Call::Load(proto::LoadStockRequest { request_id: id(), sale_id: sale.to_string() }),
            StockAlreadyLoaded,
            "",
        ),
        case(
            "a load of no sale",
            Call::Load(proto::LoadStockRequest { request_id: id(), sale_id: nowhere.to_string() }),
            SaleNotFound,
            "sale_id",
        ),
        case(
            "a sync without a request id",
            Call::Sync(proto::SyncSaleRequest {
                request_id: String::new(),
                sale_id: sale.to_string(),
            }),
            RequestIdInvalid,
            "request_id",
        ),
        case(
            "a sync of a draft",
            Call::Sync(proto::SyncSaleRequest { request_id: id(), sale_id: draft.to_string() }),
            SaleNotOpen,
            "",
        ),
        case(
            "a settling of nothing",
            Call::Settle(settle("", 0, 0)),
            ArgumentInvalid,
            "settlements",
        ),
        case(
            "a settling of too much",
            Call::Settle(settle(&some_hold, 2, 501)),
            ArgumentInvalid,
            "settlements",
        ),
        case(
            "a settling of a malformed hold",
            Call::Settle(settle("hold", 2, 1)),
            ArgumentInvalid,
            "settlements[0].hold_id",
        ),
        case(
            "a settling without an outcome",
            Call::Settle(settle(&placed.hold_id, 0, 1)),
            ArgumentInvalid,
            "settlements[0].outcome",
        ),
        case(
            "a settling of an unknown outcome",
            Call::Settle(settle(&placed.hold_id, 17, 1)),
            ArgumentInvalid,
            "settlements[0].outcome",
        ),
        case(
            "a settling of a malformed order",
            Call::Settle(proto::SettleHoldsRequest {
                settlements: vec![proto::HoldSettlement {
                    hold_id: placed.hold_id.clone(),
                    outcome: 2,
                    order_id: "order".to_owned(),
                }],
                ..settle("", 0, 0)
            }),
            ArgumentInvalid,
            "settlements[0].order_id",
        ),
        case(
            "an extension beyond the maximum",
            Call::Extend(extend("max", &longest.hold_id)),
            HoldAtMaximum,
            "",
        ),
        case("more than the sale has in all", Call::Reserve(ask(&[("cap", 9)])), SoldOut, ""),
        case(
            "a retaking of nothing",
            Call::Retake(proto::RetakeHoldsRequest { holds: vec![], ..retake(|_| ()) }),
            ArgumentInvalid,
            "holds",
        ),
        case(
            "a retaking of too much",
            Call::Retake(proto::RetakeHoldsRequest {
                holds: vec![proto::StragglingHold::default(); 501],
                ..retake(|_| ())
            }),
            ArgumentInvalid,
            "holds",
        ),
        case(
            "a retaking in no epoch",
            Call::Retake(proto::RetakeHoldsRequest { min_epoch: 0, ..retake(|_| ()) }),
            ArgumentInvalid,
            "min_epoch",
        ),
        case(
            "a retaking in an epoch to come",
            Call::Retake(proto::RetakeHoldsRequest { min_epoch: 9, ..retake(|_| ()) }),
            StockFenced,
            "",
        ),
        case(
            "a retaking of a malformed hold",
            Call::Retake(retake(|hold| hold.hold_id = "hold".to_owned())),
            ArgumentInvalid,
            "holds[0].hold_id",
        ),
        case(
            "a retaking without lines",
            Call::Retake(retake(|hold| hold.lines.clear())),
            ArgumentInvalid,
            "holds[0].lines",
        ),
        case(
            "a retaking of one sku twice",
            Call::Retake(retake(|hold| hold.lines.push(hold.lines[0].clone()))),
            ArgumentInvalid,
            "holds[0].lines[1].sku",
        ),
        case(
            "a retaking of no units",
            Call::Retake(retake(|hold| hold.lines[0].quantity = 0)),
            QuantityInvalid,
            "holds[0].lines[0].quantity",
        ),
        case(
            "a retaking without a time",
            Call::Retake(retake(|hold| hold.place_time = None)),
            ArgumentInvalid,
            "holds[0].place_time",
        ),
        case(
            "a retaking with details that are no JSON",
            Call::Retake(retake(|hold| hold.order_details = "{".to_owned())),
            ArgumentInvalid,
            "holds[0].order_details",
        ),
        case("a rebuild of no sale", rebuild(nowhere), SaleNotFound, "sale_id"),
        case("a rebuild of a sale that was never loaded", rebuild(draft), SaleNotOpen, ""),
        case("a rebuild without the queue", rebuild(sale), StoreUnavailable, ""),
        case(
            "a takeover without an id",
            take_over(String::new(), "why"),
            RequestIdInvalid,
            "request_id",
        ),
        case("a takeover for no reason", take_over(id(), ""), ArgumentInvalid, "reason"),
        case(
            "a takeover for a reason that is too long",
            take_over(id(), &"x".repeat(501)),
            ArgumentInvalid,
            "reason",
        ),
        case(
            "a list of a negative length",
            Call::List(proto::ListPlacedHoldsRequest {
                sale_id: sale.to_string(),
                limit: -1,
                ..Default::default()
            }),
            ArgumentInvalid,
            "limit",
        ),
        case(
            "a list of no sale",
            Call::List(proto::ListPlacedHoldsRequest {
                sale_id: nowhere.to_string(),
                ..Default::default()
            }),
            SaleNotFound,
            "sale_id",
        ),
    ];
    for Case { what, call, reason, field } in cases {
        let before = served.world.dump().await;
        let status = refusal(&served, call).await;
        println!("{what}: {}", status.message());
        let failure = assert_failure(&status, reason);
        let fields: Vec<&str> =
            failure.violations().iter().map(|violation| violation.field.as_str()).collect();
        let expected: Vec<&str> =
            Some(field).filter(|field| !field.is_empty()).into_iter().collect();
        assert_eq!(fields, expected, "{what}");
        assert_eq!(served.world.dump().await, before, "{what} changed something");
    }

    // The numbers that a caller needs to correct the call.
    let numbers = |status: Status, key: &str| {
        flashsale_errors::Failure::from_status(&status).unwrap().metadata()[key].clone()
    };
    let status = refusal(&served, Call::Reserve(ask(&[("cap", 2)]))).await;
    assert_eq!(numbers(status.clone(), "available"), "1");
    assert_eq!(numbers(status.clone(), "requested"), "2");
    assert_eq!(numbers(status, "sku"), "cap");
    let status = refusal(&served, Call::Reserve(ask(&[("tee", 3)]))).await;
    assert_eq!(
        (numbers(status.clone(), "limit"), numbers(status, "taken")),
        ("3".to_owned(), "1".to_owned())
    );
    let status = refusal(&served, Call::Reserve(reserve(ended, "ada", &[("tee", 1)], ""))).await;
    assert_eq!(numbers(status, "state"), "ENDED");
}
