//! Invalid requests: each has its own code, reason and field, and changes nothing in the stores.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flashsale_admission::{Signer, Ticket};
use flashsale_errors::Reason;
use flashsale_proto::{
    Money,
    checkout::{
        BeginCheckoutRequest, CancelOrderRequest, Contact, GetOrderRequest, ListOrdersRequest,
        OrderState, PlaceOrderRequest, WatchOrderRequest,
    },
};
use flashsale_testbed::{assert_failure, eventually};
use prost_types::Timestamp;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::world::{
    SaleSpec, World, admission, begin, cancel, eur, id, lines, place, tee, watch, world,
};

/// A description, the call, the expected code and reason, and the field at fault ("" for none).
type Case = (&'static str, Call, Code, Reason, &'static str);

enum Call {
    Begin(BeginCheckoutRequest),
    Place(PlaceOrderRequest),
    Get(GetOrderRequest),
    Watch(WatchOrderRequest),
    Cancel(CancelOrderRequest),
    List(ListOrdersRequest),
}

async fn refusal(world: &World, call: Call) -> Status {
    let mut checkout = world.checkout.clone();
    let done = |result: Result<(), Status>| result.expect_err("it was done");
    match call {
        Call::Begin(ask) => done(checkout.begin_checkout(ask).await.map(drop)),
        Call::Place(ask) => done(checkout.place_order(ask).await.map(drop)),
        Call::Get(ask) => done(checkout.get_order(ask).await.map(drop)),
        Call::Watch(ask) => done(checkout.watch_order(ask).await.map(drop)),
        Call::Cancel(ask) => done(checkout.cancel_order(ask).await.map(drop)),
        Call::List(ask) => done(checkout.list_orders(ask).await.map(drop)),
    }
}

/// Makes each call, and checks that nothing in the stores has changed.
async fn assert_refused(world: &World, cases: Vec<Case>) {
    let before = world.snapshot().await;
    for (what, call, code, reason, field) in cases {
        let status = refusal(world, call).await;
        println!("{what}: {}", status.message());
        assert_eq!(status.code(), code, "{what}: {status:?}");
        let failure = assert_failure(&status, reason);
        let fields: Vec<&str> =
            failure.violations().iter().map(|violation| violation.field.as_str()).collect();
        let expected: Vec<&str> =
            Some(field).filter(|field| !field.is_empty()).into_iter().collect();
        assert_eq!(fields, expected, "{what}");
        assert_eq!(world.snapshot().await, before, "{what} changed something");
    }
}

const ITEMS: [(&str, i64, i64, i64); 2] = [("tee", 10, 3, 1_999), ("cap", 1, 0, 990)];

#[tokio::test]
async fn bad_begin_checkouts_change_nothing() {
    let world = world(|_| {}).await;
    world.keys_are_known().await;
    let sale = world.sale_with(SaleSpec::default(), &ITEMS).await;
    let room = world.sale_with(SaleSpec { room: true, ..SaleSpec::default() }, &ITEMS).await;
    let draft = world.record_sale(SaleSpec { state: "DRAFT", ..SaleSpec::default() }, &ITEMS).await;
    let future = SaleSpec { starts_in_ms: 60_000, ..SaleSpec::default() };
    let future = world.sale_with(future, &ITEMS).await;
    let ended = world.sale_with(SaleSpec { state: "ENDED", ..SaleSpec::default() }, &ITEMS).await;

    let good = begin(sale, "ada", &[("tee", 1)], "");
    world.checkout.clone().begin_checkout(good.clone()).await.unwrap();
    let spent = world.admission(room, "ada", 1, 60_000);
    let first = begin(room, "ada", &[("tee", 1)], &spent);
    world.checkout.clone().begin_checkout(first).await.unwrap();

    let ask = |change: &dyn Fn(&mut BeginCheckoutRequest)| {
        let mut ask = BeginCheckoutRequest { request_id: id(), ..good.clone() };
        change(&mut ask);
        Call::Begin(ask)
    };
    let reused = |change: &dyn Fn(&mut BeginCheckoutRequest)| {
        let mut ask = good.clone();
        change(&mut ask);
        Call::Begin(ask)
    };
    let of = |sale: Uuid| Call::Begin(begin(sale, "ada", &[("tee", 1)], ""));
    let want = |asked: &[(&str, i64)]| Call::Begin(begin(sale, "ada", asked, ""));
    let with = |admission: &str| Call::Begin(begin(room, "ada", &[("tee", 1)], admission));
    let forger = Signer::generate().unwrap();
    let mut tampered = world.admission(room, "ada", 7, 60_000);
    tampered.pop();
    let ticket = Ticket { sale_id: room, buyer_id: "ada".to_owned(), number: 8, generation: 0 };

    use Code::*;
    use Reason::*;
    #[rustfmt::skip]
    let cases: Vec<Case> = vec![
        ("no request id", ask(&|a| a.request_id.clear()), InvalidArgument, RequestIdInvalid, "request_id"),
        ("a request id that is no UUID", ask(&|a| a.request_id = "17".into()), InvalidArgument, RequestIdInvalid, "request_id"),
        ("the nil request id", ask(&|a| a.request_id = Uuid::nil().into()), InvalidArgument, RequestIdInvalid, "request_id"),
        ("no sale", ask(&|a| a.sale_id.clear()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("a malformed sale id", ask(&|a| a.sale_id = "sale".into()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("an unknown sale", of(Uuid::new_v4()), NotFound, SaleNotFound, "sale_id"),
        ("no buyer", ask(&|a| a.buyer_id.clear()), PermissionDenied, BuyerUnproven, "buyer_id"),
        ("a buyer id with a separator", ask(&|a| a.buyer_id = "a\u{1f}b".into()), InvalidArgument, ArgumentInvalid, "buyer_id"),
        ("a long buyer id", ask(&|a| a.buyer_id = "x".repeat(129)), InvalidArgument, ArgumentInvalid, "buyer_id"),
        ("no lines", want(&[]), InvalidArgument, ArgumentInvalid, "lines"),
        ("51 lines", want(&[("tee", 1); 51]), InvalidArgument, ArgumentInvalid, "lines"),
        ("an empty sku", want(&[("tee", 1), ("", 1)]), InvalidArgument, ArgumentInvalid, "lines[1].sku"),
        ("an unknown sku", want(&[("tee", 1), ("zzz", 1)]), NotFound, SkuNotFound, "lines[1].sku"),
        ("a quantity of zero", want(&[("tee", 0)]), InvalidArgument, QuantityInvalid, "lines[0].quantity"),
        ("a negative quantity", want(&[("tee", -1)]), InvalidArgument, QuantityInvalid, "lines[0].quantity"),
        ("a huge quantity", want(&[("tee", i64::MAX)]), InvalidArgument, QuantityInvalid, "lines[0].quantity"),
        ("a huge sum", want(&[("cap", 9_999), ("cap", 2)]), InvalidArgument, QuantityInvalid, "lines[1].quantity"),
        ("more than there is", want(&[("cap", 2)]), FailedPrecondition, SoldOut, ""),
        ("more than the limit", want(&[("tee", 2), ("tee", 1)]), FailedPrecondition, BuyerLimit, ""),
        ("a sale in draft", of(draft), FailedPrecondition, SaleNotOpen, ""),
        ("a sale that has not begun", of(future), FailedPrecondition, SaleNotOpen, ""),
        ("a sale that is over", of(ended), FailedPrecondition, SaleNotOpen, ""),
        ("a request id with other lines", reused(&|a| a.lines = lines(&[("tee", 2)])), AlreadyExists, RequestIdReused, "request_id"),
        ("no admission", with(""), PermissionDenied, AdmissionRequired, "admission"),
        ("an admission that is none", with("abc"), PermissionDenied, AdmissionInvalid, "admission"),
        ("a tampered admission", with(&tampered), PermissionDenied, AdmissionInvalid, "admission"),
        ("a forged admission", with(&admission(&forger, room, "ada", 2, 60_000)), PermissionDenied, AdmissionInvalid, "admission"),
        ("a ticket instead of an admission", with(&world.signer.mint_ticket(&ticket)), PermissionDenied, AdmissionInvalid, "admission"),
        ("another buyer's admission", with(&world.admission(room, "eve", 3, 60_000)), PermissionDenied, AdmissionForeign, "admission"),
        ("another sale's admission", with(&world.admission(sale, "ada", 4, 60_000)), PermissionDenied, AdmissionForeign, "admission"),
        ("an expired admission", with(&world.admission(room, "ada", 5, -10_000)), FailedPrecondition, AdmissionExpired, "admission"),
        ("a spent admission", with(&spent), FailedPrecondition, AdmissionSpent, "admission"),
    ];
    assert_refused(&world, cases).await;
}

#[tokio::test]
async fn bad_place_orders_change_nothing() {
    let world = world(|_| {}).await;
    world.keys_are_known().await;
    let sale = world.sale_with(SaleSpec::default(), &ITEMS).await;
    let short = world.sale_with(SaleSpec { hold_ms: 50, ..SaleSpec::default() }, &ITEMS).await;
    let room = world.sale_with(SaleSpec { room: true, ..SaleSpec::default() }, &ITEMS).await;
    let draft = world.record_sale(SaleSpec { state: "DRAFT", ..SaleSpec::default() }, &ITEMS).await;
    let future = SaleSpec { starts_in_ms: 60_000, ..SaleSpec::default() };
    let future = world.sale_with(future, &ITEMS).await;
    let ended = world.sale_with(SaleSpec { state: "ENDED", ..SaleSpec::default() }, &ITEMS).await;

    let good = tee(sale, "bob");
    let placed = world.order(&good).await.hold_id;
    let hold_of = async |sale: Uuid, buyer: &str, admission: &str| {
        let ask = begin(sale, buyer, &[("tee", 1)], admission);
        let answer = world.checkout.clone().begin_checkout(ask.clone()).await.unwrap();
        (ask.request_id, answer.into_inner().hold_id)
    };
    let (reserved, held) = hold_of(sale, "bob", "").await;
    let (_, expired) = hold_of(short, "bob", "").await;
    // Swept now, so that the sweep changes nothing later.
    eventually("the hold has run out", async || (world.books(short).await[1] == 0).then_some(()))
        .await;
    let spent = world.admission(room, "bob", 1, 60_000);
    hold_of(room, "bob", &spent).await;

    let ask = |change: &dyn Fn(&mut PlaceOrderRequest)| {
        let mut ask = PlaceOrderRequest { request_id: id(), ..good.clone() };
        change(&mut ask);
        Call::Place(ask)
    };
    let reused = |change: &dyn Fn(&mut PlaceOrderRequest)| {
        let mut ask = good.clone();
        change(&mut ask);
        Call::Place(ask)
    };
    let of = |sale: Uuid| Call::Place(tee(sale, "bob"));
    let want = |asked: &[(&str, i64)]| Call::Place(place(sale, "bob", asked));
    let hold = |sale: Uuid, buyer: &str, hold_id: &str| {
        Call::Place(PlaceOrderRequest { hold_id: hold_id.into(), ..place(sale, buyer, &[]) })
    };
    let with = |admission: &str| {
        Call::Place(PlaceOrderRequest { admission: admission.into(), ..tee(room, "bob") })
    };
    let contact = |email: &str, name: &str| {
        let contact =
            Some(Contact { email: email.into(), name: name.into(), locale: String::new() });
        Call::Place(PlaceOrderRequest { contact, ..tee(sale, "bob") })
    };
    let email = |email: &str| contact(email, "Bob");
    let paid = |method: &str| {
        Call::Place(PlaceOrderRequest { payment_method: method.into(), ..tee(sale, "bob") })
    };
    let expects = |code: &str, units: i64, nanos: i32| {
        let expected_total = Some(Money { currency_code: code.into(), units, nanos });
        Call::Place(PlaceOrderRequest { expected_total, ..tee(sale, "bob") })
    };
    let forger = Signer::generate().unwrap();
    let ticket = Ticket { sale_id: room, buyer_id: "bob".to_owned(), number: 8, generation: 0 };
    let long = format!("{}@example.com", "x".repeat(250));
    let other =
        Contact { email: "bob@example.org".into(), name: "Bob".into(), locale: String::new() };

    use Code::*;
    use Reason::*;
    #[rustfmt::skip]
    let cases: Vec<Case> = vec![
        ("no request id", ask(&|a| a.request_id.clear()), InvalidArgument, RequestIdInvalid, "request_id"),
        ("a request id that is no UUID", ask(&|a| a.request_id = "17".into()), InvalidArgument, RequestIdInvalid, "request_id"),
        ("the nil request id", ask(&|a| a.request_id = Uuid::nil().into()), InvalidArgument, RequestIdInvalid, "request_id"),
        ("no sale", ask(&|a| a.sale_id.clear()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("a malformed sale id", ask(&|a| a.sale_id = "sale".into()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("an unknown sale", of(Uuid::new_v4()), NotFound, SaleNotFound, "sale_id"),
        ("no buyer", ask(&|a| a.buyer_id.clear()), PermissionDenied, BuyerUnproven, "buyer_id"),
        ("a buyer id with a separator", ask(&|a| a.buyer_id = "a\u{1f}b".into()), InvalidArgument, ArgumentInvalid, "buyer_id"),
        ("a long buyer id", ask(&|a| a.buyer_id = "x".repeat(129)), InvalidArgument, ArgumentInvalid, "buyer_id"),
        ("neither hold nor lines", want(&[]), InvalidArgument, ArgumentInvalid, "lines"),
        ("lines that are not the hold's", ask(&|a| { a.hold_id.clone_from(&held); a.lines = lines(&[("tee", 2)]); }), InvalidArgument, ArgumentInvalid, "lines"),
        ("51 lines", want(&[("tee", 1); 51]), InvalidArgument, ArgumentInvalid, "lines"),
        ("an empty sku", want(&[("tee", 1), ("", 1)]), InvalidArgument, ArgumentInvalid, "lines[1].sku"),
        ("an unknown sku", want(&[("tee", 1), ("zzz", 1)]), NotFound, SkuNotFound, "lines[1].sku"),
        ("a quantity of zero", want(&[("tee", 0)]), InvalidArgument, QuantityInvalid, "lines[0].quantity"),
        ("a negative quantity", want(&[("tee", -1)]), InvalidArgument, QuantityInvalid, "lines[0].quantity"),
        ("a huge quantity", want(&[("tee", i64::MAX)]), InvalidArgument, QuantityInvalid, "lines[0].quantity"),
        ("more than there is", want(&[("cap", 2)]), FailedPrecondition, SoldOut, ""),
        ("more than the limit", want(&[("tee", 2)]), FailedPrecondition, BuyerLimit, ""),
        ("a sale in draft", of(draft), FailedPrecondition, SaleNotOpen, ""),
        ("a sale that has not begun", of(future), FailedPrecondition, SaleNotOpen, ""),
        ("a sale that is over", of(ended), FailedPrecondition, SaleNotOpen, ""),
        ("a malformed hold id", hold(sale, "bob", "hold"), InvalidArgument, ArgumentInvalid, "hold_id"),
        ("an unknown hold", hold(sale, "bob", &id()), NotFound, HoldNotFound, ""),
        ("another buyer's hold", hold(sale, "eve", &held), NotFound, HoldNotFound, ""),
        ("another sale's hold", hold(short, "bob", &held), NotFound, HoldNotFound, ""),
        ("an expired hold", hold(short, "bob", &expired), FailedPrecondition, HoldExpired, ""),
        ("a placed hold", hold(sale, "bob", &placed), FailedPrecondition, HoldResolved, ""),
        ("no contact", ask(&|a| a.contact = None), InvalidArgument, ArgumentInvalid, "contact.email"),
        ("no mail address", email(""), InvalidArgument, ArgumentInvalid, "contact.email"),
        ("a mail address without a domain", email("bob"), InvalidArgument, ArgumentInvalid, "contact.email"),
        ("two mail addresses", email("bob@example.com,eve@example.com"), InvalidArgument, ArgumentInvalid, "contact.email"),
        ("a mail address that begins a header", email("bob@example.com\r\nBcc: eve@example.com"), InvalidArgument, ArgumentInvalid, "contact.email"),
        ("a long mail address", email(&long), InvalidArgument, ArgumentInvalid, "contact.email"),
        ("no name", contact("bob@example.com", ""), InvalidArgument, ArgumentInvalid, "contact.name"),
        ("a name of two lines", contact("bob@example.com", "Bob\nBcc: eve"), InvalidArgument, ArgumentInvalid, "contact.name"),
        ("a name that makes the request too large", contact("bob@example.com", &"x".repeat(5_000_000)), InvalidArgument, ArgumentInvalid, ""),
        ("a long name", contact("bob@example.com", &"x".repeat(129)), InvalidArgument, ArgumentInvalid, "contact.name"),
        ("a language that is none", Call::Place(PlaceOrderRequest { contact: Some(Contact { locale: "../de".into(), ..other.clone() }), ..tee(sale, "bob") }), InvalidArgument, ArgumentInvalid, "contact.locale"),
        ("no means of payment", paid(""), InvalidArgument, ArgumentInvalid, "payment_method"),
        ("a card number", paid("4242424242424242"), InvalidArgument, ArgumentInvalid, "payment_method"),
        ("a card number with spaces", paid("4242 4242 4242 4242"), InvalidArgument, ArgumentInvalid, "payment_method"),
        ("a card number with dashes", paid("4242-4242-4242-4242"), InvalidArgument, ArgumentInvalid, "payment_method"),
        ("a long means of payment", paid(&"x".repeat(129)), InvalidArgument, ArgumentInvalid, "payment_method"),
        ("an expected total below 0", expects("EUR", -19, -990_000_000), InvalidArgument, ArgumentInvalid, "expected_total"),
        ("an expected total of two signs", expects("EUR", 20, -10_000_000), InvalidArgument, ArgumentInvalid, "expected_total"),
        ("an expected total with three decimals", expects("EUR", 19, 991_000_000), InvalidArgument, ArgumentInvalid, "expected_total"),
        ("an expected total with nanos beyond one unit", expects("EUR", 18, 1_990_000_000), InvalidArgument, ArgumentInvalid, "expected_total"),
        ("an expected total beyond every amount", expects("EUR", i64::MAX, 0), InvalidArgument, ArgumentInvalid, "expected_total"),
        ("an expected total in no currency", expects("", 19, 990_000_000), InvalidArgument, ArgumentInvalid, "expected_total.currency_code"),
        ("an expected total in an unknown currency", expects("EURO", 19, 990_000_000), InvalidArgument, ArgumentInvalid, "expected_total.currency_code"),
        ("another total than expected", expects("EUR", 19, 980_000_000), FailedPrecondition, PriceChanged, ""),
        ("a total in another currency than expected", expects("USD", 19, 990_000_000), FailedPrecondition, PriceChanged, ""),
        ("a request id with an expected total", reused(&|a| a.expected_total = eur(1_999)), AlreadyExists, RequestIdReused, "request_id"),
        ("a request id with other lines", reused(&|a| a.lines = lines(&[("tee", 2)])), AlreadyExists, RequestIdReused, "request_id"),
        ("a request id with another contact", reused(&|a| a.contact = Some(other.clone())), AlreadyExists, RequestIdReused, "request_id"),
        ("a request id with other money", reused(&|a| a.payment_method = "pm_other".into()), AlreadyExists, RequestIdReused, "request_id"),
        ("a request id of BeginCheckout", ask(&|a| a.request_id = reserved.clone()), AlreadyExists, RequestIdReused, "request_id"),
        ("no admission", with(""), PermissionDenied, AdmissionRequired, "admission"),
        ("an admission that is none", with("abc"), PermissionDenied, AdmissionInvalid, "admission"),
        ("a forged admission", with(&admission(&forger, room, "bob", 2, 60_000)), PermissionDenied, AdmissionInvalid, "admission"),
        ("a ticket instead of an admission", with(&world.signer.mint_ticket(&ticket)), PermissionDenied, AdmissionInvalid, "admission"),
        ("another buyer's admission", with(&world.admission(room, "eve", 3, 60_000)), PermissionDenied, AdmissionForeign, "admission"),
        ("another sale's admission", with(&world.admission(sale, "bob", 4, 60_000)), PermissionDenied, AdmissionForeign, "admission"),
        ("an expired admission", with(&world.admission(room, "bob", 5, -10_000)), FailedPrecondition, AdmissionExpired, "admission"),
        ("a spent admission", with(&spent), FailedPrecondition, AdmissionSpent, "admission"),
    ];
    assert_refused(&world, cases).await;
}

#[tokio::test]
async fn bad_order_calls_change_nothing() {
    let world = world(|_| {}).await;
    let (sale, other) = (world.sale(10).await, world.sale(10).await);
    let queued = world.order(&tee(sale, "ada")).await;
    let recorded = world.recorded(&tee(sale, "ada"), "CLAIMED").await;
    let confirmed = world.recorded(&tee(sale, "ada"), "CONFIRMED").await;
    let declined = world.recorded(&tee(sale, "ada"), "DECLINED").await;
    let refunded = world.recorded(&tee(sale, "ada"), "REFUNDED").await;
    let ask = begin(sale, "ada", &[("tee", 1)], "");
    let held = world.checkout.clone().begin_checkout(ask).await.unwrap().into_inner().hold_id;

    let get = |change: &dyn Fn(&mut WatchOrderRequest)| {
        let mut ask = watch(&queued);
        change(&mut ask);
        let WatchOrderRequest { sale_id, order_id, buyer_id } = ask;
        Call::Get(GetOrderRequest { sale_id, order_id, buyer_id })
    };
    let follow = |change: &dyn Fn(&mut WatchOrderRequest)| {
        let mut ask = watch(&recorded);
        change(&mut ask);
        Call::Watch(ask)
    };
    let end = |change: &dyn Fn(&mut CancelOrderRequest)| {
        let mut ask = cancel(&recorded);
        change(&mut ask);
        Call::Cancel(ask)
    };

    use Code::*;
    use Reason::*;
    #[rustfmt::skip]
    let cases: Vec<Case> = vec![
        ("a read without a sale", get(&|a| a.sale_id.clear()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("a read of a malformed sale", get(&|a| a.sale_id = "sale".into()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("a read without an order", get(&|a| a.order_id.clear()), InvalidArgument, ArgumentInvalid, "order_id"),
        ("a read of a malformed order", get(&|a| a.order_id = "17".into()), InvalidArgument, ArgumentInvalid, "order_id"),
        ("a read of an unknown sale", get(&|a| a.sale_id = id()), NotFound, OrderNotFound, ""),
        ("a read of an unknown order", get(&|a| a.order_id = id()), NotFound, OrderNotFound, ""),
        ("a read of a hold", get(&|a| a.order_id = held.clone()), NotFound, OrderNotFound, ""),
        ("a read of another sale's order", get(&|a| a.sale_id = other.into()), NotFound, OrderNotFound, ""),
        ("a read of another sale's recorded order", get(&|a| (a.sale_id, a.order_id) = (other.into(), recorded.order_id.clone())), NotFound, OrderNotFound, ""),
        ("a read of another buyer's order", get(&|a| a.buyer_id = "eve".into()), NotFound, OrderNotFound, ""),
        ("a read for a long buyer", get(&|a| a.buyer_id = "x".repeat(129)), InvalidArgument, ArgumentInvalid, "buyer_id"),
        ("a read for an unprintable buyer", get(&|a| a.buyer_id = "a\0".into()), InvalidArgument, ArgumentInvalid, "buyer_id"),

        ("a watch without a sale", follow(&|a| a.sale_id.clear()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("a watch of a malformed sale", follow(&|a| a.sale_id = "sale".into()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("a watch without an order", follow(&|a| a.order_id.clear()), InvalidArgument, ArgumentInvalid, "order_id"),
        ("a watch of a malformed order", follow(&|a| a.order_id = "17".into()), InvalidArgument, ArgumentInvalid, "order_id"),
        ("a watch of an unknown sale", follow(&|a| a.sale_id = id()), NotFound, OrderNotFound, ""),
        ("a watch of an unknown order", follow(&|a| a.order_id = id()), NotFound, OrderNotFound, ""),
        ("a watch of another sale's order", follow(&|a| a.sale_id = other.into()), NotFound, OrderNotFound, ""),
        ("a watch of another buyer's order", follow(&|a| a.buyer_id = "eve".into()), NotFound, OrderNotFound, ""),
        ("a watch for an unprintable buyer", follow(&|a| a.buyer_id = "a\0".into()), InvalidArgument, ArgumentInvalid, "buyer_id"),

        ("a cancellation without a request id", end(&|a| a.request_id.clear()), InvalidArgument, RequestIdInvalid, "request_id"),
        ("a cancellation with a request id that is no UUID", end(&|a| a.request_id = "17".into()), InvalidArgument, RequestIdInvalid, "request_id"),
        ("a cancellation with the nil request id", end(&|a| a.request_id = Uuid::nil().into()), InvalidArgument, RequestIdInvalid, "request_id"),
        ("a cancellation without a sale", end(&|a| a.sale_id.clear()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("a cancellation of a malformed order", end(&|a| a.order_id = "17".into()), InvalidArgument, ArgumentInvalid, "order_id"),
        ("a cancellation without a buyer", end(&|a| a.buyer_id.clear()), InvalidArgument, ArgumentInvalid, "buyer_id"),
        ("a cancellation for a long buyer", end(&|a| a.buyer_id = "x".repeat(129)), InvalidArgument, ArgumentInvalid, "buyer_id"),
        ("a cancellation of an unknown sale's order", end(&|a| a.sale_id = id()), NotFound, OrderNotFound, ""),
        ("a cancellation of an unknown order", end(&|a| a.order_id = id()), NotFound, OrderNotFound, ""),
        ("a cancellation of a hold", end(&|a| a.order_id = held.clone()), NotFound, OrderNotFound, ""),
        ("a cancellation of another buyer's order", end(&|a| a.buyer_id = "eve".into()), NotFound, OrderNotFound, ""),
        ("a cancellation of another buyer's queued order", end(&|a| (a.buyer_id, a.order_id) = ("eve".into(), queued.order_id.clone())), NotFound, OrderNotFound, ""),
        ("a cancellation of a paid order", end(&|a| a.order_id = confirmed.order_id.clone()), FailedPrecondition, OrderNotCancellable, ""),
        ("a cancellation of a declined order", end(&|a| a.order_id = declined.order_id.clone()), FailedPrecondition, OrderNotCancellable, ""),
        ("a cancellation of a refunded order", end(&|a| a.order_id = refunded.order_id.clone()), FailedPrecondition, OrderNotCancellable, ""),
    ];
    assert_refused(&world, cases).await;
}

#[tokio::test]
async fn bad_lists_are_refused() {
    let world = world(|_| {}).await;
    let (sale, other) = (world.sale(10).await, world.sale(10).await);
    for _ in 0..2 {
        world.recorded(&tee(sale, "ada"), "CLAIMED").await;
    }
    let good = ListOrdersRequest {
        sale_id: sale.into(),
        buyer_id: "ada".to_owned(),
        state: OrderState::Claimed.into(),
        page_size: 1,
        page_token: String::new(),
        updated_after: None,
    };
    let page = world.checkout.clone().list_orders(good.clone()).await.unwrap().into_inner();
    let token = page.next_page_token;
    let cut = token[1..].to_owned();
    let at = |us: &str| {
        let body = String::from_utf8(URL_SAFE_NO_PAD.decode(&token).unwrap()).unwrap();
        let (before, rest) = body.split_once("\"key\":[").unwrap();
        let (_, after) = rest.split_once(',').unwrap();
        URL_SAFE_NO_PAD.encode(format!("{before}\"key\":[{us},{after}"))
    };

    let since = |seconds| Timestamp { seconds, nanos: 0 };
    let ask = ListOrdersRequest { updated_after: Some(since(0)), ..good.clone() };
    let page = world.checkout.clone().list_orders(ask).await.unwrap().into_inner();
    let changes = page.next_page_token;
    assert!(!changes.is_empty());

    let ask = |change: &dyn Fn(&mut ListOrdersRequest)| {
        let mut ask = good.clone();
        change(&mut ask);
        Call::List(ask)
    };
    let next = |change: &dyn Fn(&mut ListOrdersRequest)| {
        let mut ask = ListOrdersRequest { page_token: token.clone(), ..good.clone() };
        change(&mut ask);
        Call::List(ask)
    };

    use Code::*;
    use Reason::*;
    #[rustfmt::skip]
    let cases: Vec<Case> = vec![
        ("no sale", ask(&|a| a.sale_id.clear()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("a malformed sale", ask(&|a| a.sale_id = "sale".into()), InvalidArgument, ArgumentInvalid, "sale_id"),
        ("a long buyer", ask(&|a| a.buyer_id = "x".repeat(129)), InvalidArgument, ArgumentInvalid, "buyer_id"),
        ("an unprintable buyer", ask(&|a| a.buyer_id = "a\0".into()), InvalidArgument, ArgumentInvalid, "buyer_id"),
        ("a state before the record", ask(&|a| a.state = OrderState::Accepted.into()), InvalidArgument, ArgumentInvalid, "state"),
        ("a state that there is not", ask(&|a| a.state = 99), InvalidArgument, ArgumentInvalid, "state"),
        ("a negative page size", ask(&|a| a.page_size = -1), InvalidArgument, ArgumentInvalid, "page_size"),
        ("a token that is none", ask(&|a| a.page_token = "abc".into()), InvalidArgument, PageTokenInvalid, "page_token"),
        ("another sale's token", next(&|a| a.sale_id = other.into()), InvalidArgument, PageTokenInvalid, "page_token"),
        ("another buyer's token", next(&|a| a.buyer_id = "eve".into()), InvalidArgument, PageTokenInvalid, "page_token"),
        ("another state's token", next(&|a| a.state = OrderState::Paying.into()), InvalidArgument, PageTokenInvalid, "page_token"),
        ("a token of another time", next(&|a| a.page_token = at("1700000000123456")), InvalidArgument, PageTokenInvalid, "page_token"),
        ("a token of no time", next(&|a| a.page_token = at("9999999999999999999999999999")), InvalidArgument, PageTokenInvalid, "page_token"),
        ("a token of a time before all times", next(&|a| a.page_token = at("-300000000000000000")), InvalidArgument, PageTokenInvalid, "page_token"),
        ("a token of the newest first", next(&|a| a.updated_after = Some(since(0))), InvalidArgument, PageTokenInvalid, "page_token"),
        ("a token of changes", ask(&|a| a.page_token = changes.clone()), InvalidArgument, PageTokenInvalid, "page_token"),
        ("a token of changes since another time", ask(&|a| (a.page_token, a.updated_after) = (changes.clone(), Some(since(1)))), InvalidArgument, PageTokenInvalid, "page_token"),
        ("changes since no time", ask(&|a| a.updated_after = Some(Timestamp { seconds: i64::MAX, nanos: 0 })), InvalidArgument, ArgumentInvalid, "updated_after"),
        ("a token that was cut", next(&|a| a.page_token = cut.clone()), InvalidArgument, PageTokenInvalid, "page_token"),
    ];
    assert_refused(&world, cases).await;
}
