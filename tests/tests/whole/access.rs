//! Who may call what, of a running platform: every method of the descriptors by every kind of
//! caller, through the port.

use std::{collections::BTreeSet, sync::Arc};

use flashsale_access::{BuyerOf, Key, Role, SaleOf};
use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    DESCRIPTORS, NamedChannel,
    access::RULES,
    checkout::{
        CancelOrderRequest, GetOrderRequest, OrderState,
        checkout_service_client::CheckoutServiceClient,
    },
    named_channel::OneKey,
    order::{ListTransitionsRequest, order_admin_service_client::OrderAdminServiceClient},
    payment::{GetPaymentRequest, RefundRequest, payment_service_client::PaymentServiceClient},
    waitingroom::{
        GetPositionRequest, LeaveRequest, WatchPositionRequest,
        waiting_room_service_client::WaitingRoomServiceClient,
    },
};
use flashsale_service::{AccessConfig, Drain, ServerConfig};
use flashsale_testbed::{
    assert_failure,
    keys::{OTHER_SALE, SERVICES},
    pki::Authority,
    shop_tokens::BuyerToken,
};
use nix::sys::signal::{Signal, kill};
use prost::Message as _;
use prost_types::FileDescriptorSet;
use tonic::{
    Request, Status,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};

use crate::{
    command::{Flashsale, Said, channel, flashsale, keys, own_home},
    shopper::Shopper,
};

const SALE_ID: &str = "sale_id";

/// A method, who may call it, what says which sale a request is about, and whether a shop has to
/// name a buyer. A buyer with a shop's token may call what its shop may call for one buyer: that,
/// and [`OF_TICKETS`]. Written here by hand: what the protos say is held against it.
const TABLE: &[(&str, &str, SaleOf, bool)] = &[
    ("sale.v1.SaleService/CreateSale", "shop operator", SaleOf::None, false),
    ("sale.v1.SaleService/UpdateSale", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/ImportSale", "shop operator", SaleOf::None, false),
    ("sale.v1.SaleService/ImportSaleStream", "shop operator", SaleOf::None, false),
    ("sale.v1.SaleService/ScheduleSale", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/StartSale", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/PauseSale", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/EndSale", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/CancelSale", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/ListSaleChanges", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/GetSale", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/GetSaleReport", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/ExportSale", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/ListSales", "shop operator", SaleOf::None, false),
    ("sale.v1.SaleService/CheckSale", "shop operator", SaleOf::Field(SALE_ID), false),
    ("sale.v1.SaleService/WatchSale", "shop operator", SaleOf::Field(SALE_ID), false),
    ("inventory.v1.InventoryService/Reserve", "shop checkout", SaleOf::Field(SALE_ID), true),
    ("inventory.v1.InventoryService/PlaceHold", "checkout", SaleOf::Field(SALE_ID), false),
    ("inventory.v1.InventoryService/PlaceHolds", "checkout", SaleOf::None, false),
    (
        "inventory.v1.InventoryService/GetHold",
        "shop operator checkout order-worker",
        SaleOf::Field(SALE_ID),
        true,
    ),
    ("inventory.v1.InventoryService/ExtendHold", "shop", SaleOf::Field(SALE_ID), true),
    ("inventory.v1.InventoryService/ReleaseHold", "shop", SaleOf::Field(SALE_ID), true),
    (
        "inventory.v1.InventoryService/GetStock",
        "shop operator sale waiting-room",
        SaleOf::Field(SALE_ID),
        false,
    ),
    ("inventory.v1.InventoryService/WatchStock", "shop operator", SaleOf::Field(SALE_ID), false),
    (
        "inventory.v1.InventoryAdminService/LoadStock",
        "operator sale",
        SaleOf::Field(SALE_ID),
        false,
    ),
    ("inventory.v1.InventoryAdminService/SyncSale", "operator sale", SaleOf::Field(SALE_ID), false),
    (
        "inventory.v1.InventoryAdminService/SettleHolds",
        "checkout order-worker",
        SaleOf::Field(SALE_ID),
        false,
    ),
    (
        "inventory.v1.InventoryAdminService/ListPlacedHolds",
        "operator checkout",
        SaleOf::Field(SALE_ID),
        false,
    ),
    (
        "inventory.v1.InventoryAdminService/AdjustStock",
        "shop operator",
        SaleOf::Field(SALE_ID),
        false,
    ),
    (
        "inventory.v1.InventoryAdminService/ListAdjustments",
        "shop operator",
        SaleOf::Field(SALE_ID),
        false,
    ),
    ("inventory.v1.InventoryAdminService/Reconcile", "operator", SaleOf::Field(SALE_ID), false),
    ("inventory.v1.InventoryAdminService/Rebuild", "operator", SaleOf::Field(SALE_ID), false),
    ("inventory.v1.InventoryAdminService/TakeOver", "operator", SaleOf::None, false),
    (
        "inventory.v1.InventoryAdminService/RetakeHolds",
        "order-worker",
        SaleOf::Field(SALE_ID),
        false,
    ),
    ("waitingroom.v1.WaitingRoomService/Join", "shop", SaleOf::Field(SALE_ID), true),
    ("waitingroom.v1.WaitingRoomService/GetPosition", "shop operator", SaleOf::Record, false),
    ("waitingroom.v1.WaitingRoomService/WatchPosition", "shop operator", SaleOf::Record, false),
    ("waitingroom.v1.WaitingRoomService/Leave", "shop", SaleOf::Record, false),
    (
        "waitingroom.v1.WaitingRoomService/VerifyAdmission",
        "shop operator",
        SaleOf::Field(SALE_ID),
        false,
    ),
    ("waitingroom.v1.WaitingRoomService/GetAdmissionKeys", "anyone", SaleOf::None, false),
    (
        "waitingroom.v1.WaitingRoomAdminService/ConfigureRoom",
        "operator sale",
        SaleOf::Field(SALE_ID),
        false,
    ),
    (
        "waitingroom.v1.WaitingRoomAdminService/OpenRoom",
        "operator sale",
        SaleOf::Field(SALE_ID),
        false,
    ),
    (
        "waitingroom.v1.WaitingRoomAdminService/PauseRoom",
        "operator sale",
        SaleOf::Field(SALE_ID),
        false,
    ),
    (
        "waitingroom.v1.WaitingRoomAdminService/CloseRoom",
        "operator sale",
        SaleOf::Field(SALE_ID),
        false,
    ),
    (
        "waitingroom.v1.WaitingRoomAdminService/SetRate",
        "shop operator",
        SaleOf::Field(SALE_ID),
        false,
    ),
    (
        "waitingroom.v1.WaitingRoomAdminService/RunDraw",
        "shop operator",
        SaleOf::Field(SALE_ID),
        false,
    ),
    (
        "waitingroom.v1.WaitingRoomAdminService/GetRoom",
        "shop operator",
        SaleOf::Field(SALE_ID),
        false,
    ),
    ("checkout.v1.CheckoutService/BeginCheckout", "shop", SaleOf::Field(SALE_ID), true),
    ("checkout.v1.CheckoutService/PlaceOrder", "shop", SaleOf::Field(SALE_ID), true),
    ("checkout.v1.CheckoutService/GetOrder", "shop operator", SaleOf::Field(SALE_ID), true),
    ("checkout.v1.CheckoutService/WatchOrder", "shop operator", SaleOf::Field(SALE_ID), true),
    ("checkout.v1.CheckoutService/RetryPayment", "shop", SaleOf::Field(SALE_ID), true),
    ("checkout.v1.CheckoutService/CancelOrder", "shop operator", SaleOf::Field(SALE_ID), true),
    ("checkout.v1.CheckoutService/ListOrders", "shop operator", SaleOf::Field(SALE_ID), true),
    ("checkout.v1.CheckoutAdminService/GetIntake", "operator waiting-room", SaleOf::None, false),
    ("order.v1.OrderAdminService/ListTransitions", "operator", SaleOf::Record, false),
    ("order.v1.OrderAdminService/ListDeadLetters", "operator", SaleOf::Field(SALE_ID), false),
    ("order.v1.OrderAdminService/RetryDeadLetter", "operator", SaleOf::Record, false),
    ("order.v1.OrderAdminService/DropDeadLetter", "operator", SaleOf::Record, false),
    ("payment.v1.PaymentService/CreatePayments", "order-worker", SaleOf::None, false),
    ("payment.v1.PaymentService/GetPayment", "shop operator", SaleOf::Record, false),
    ("payment.v1.PaymentService/CancelPayment", "order-worker", SaleOf::None, false),
    ("payment.v1.PaymentService/RetryPayment", "checkout", SaleOf::None, false),
    ("payment.v1.PaymentService/Refund", "shop operator order-worker", SaleOf::Record, false),
    ("payment.v1.PaymentAdminService/GetBreaker", "operator sale", SaleOf::None, false),
    ("payment.v1.PaymentAdminService/SetBreaker", "operator", SaleOf::None, false),
    ("payment.v1.PaymentAdminService/ListPayments", "operator", SaleOf::Field(SALE_ID), false),
    ("payment.v1.PaymentAdminService/SetBudget", "operator", SaleOf::None, false),
    ("payment.v1.PaymentAdminService/MakeDue", "operator", SaleOf::Record, false),
    ("payment.v1.PaymentAdminService/AbandonPayment", "operator", SaleOf::Record, false),
    ("payment.v1.PaymentAdminService/GetComparison", "operator", SaleOf::Field(SALE_ID), false),
];

/// The methods that are about the buyer of a ticket.
const OF_TICKETS: [&str; 3] = [
    "waitingroom.v1.WaitingRoomService/GetPosition",
    "waitingroom.v1.WaitingRoomService/WatchPosition",
    "waitingroom.v1.WaitingRoomService/Leave",
];

/// The methods of the descriptors, as in the table.
fn methods() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(DESCRIPTORS).unwrap().file;
    let mut methods = BTreeSet::new();
    for file in files {
        let package = file.package().trim_start_matches("flashsale.").to_owned();
        for service in &file.service {
            for method in &service.method {
                methods.insert(format!("{package}.{}/{}", service.name(), method.name()));
            }
        }
    }
    methods
}

/// Calls as a buyer with this token.
fn as_buyer(channel: &Channel, token: &str) -> NamedChannel {
    NamedChannel::new(channel.clone(), Arc::new(BuyerToken::new(token).unwrap()))
}

/// Calls `method` with an empty request; `None` if it was answered.
async fn refusal(channel: &NamedChannel, method: &str) -> Option<Status> {
    let mut grpc = tonic::client::Grpc::new(channel.clone());
    grpc.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/flashsale.{method}")).unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    let mut request = Request::new(());
    request.set_timeout(std::time::Duration::from_secs(10));
    match grpc.server_streaming(request, path, codec).await {
        Ok(answer) => answer.into_inner().message().await.err(),
        Err(status) => Some(status),
    }
}

/// The reasons of the callers' own faults; what else a call fails with is not about who made it.
fn of_the_caller(status: &Status) -> Option<Reason> {
    let reason = Failure::from_status(status)?.reason();
    [
        Reason::CallerUnknown,
        Reason::CallerNotAllowed,
        Reason::SaleNotYours,
        Reason::BuyerUnproven,
        Reason::BuyerMismatch,
    ]
    .contains(&reason)
    .then_some(reason)
}

#[test]
fn protos_say_what_the_table_says() {
    let listed: BTreeSet<String> = TABLE.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(methods(), listed, "the descriptors on the left, the table on the right");
    assert_eq!(RULES.len(), TABLE.len());
    for (method, may, sale, buyer_bound) in TABLE {
        let path = format!("/flashsale.{method}");
        let rule = RULES.iter().find(|rule| rule.path == path).unwrap();
        let roles = rule.roles.iter().map(|role| match role {
            Role::Shop => "shop",
            Role::Operator => "operator",
            Role::Anyone => "anyone",
        });
        let said: Vec<&str> = roles.chain(rule.services.iter().copied()).collect();
        assert_eq!(said.join(" "), *may, "{method}");
        assert_eq!((rule.sale, rule.buyer_bound), (*sale, *buyer_bound), "{method}");
        assert_eq!(rule.buyer == BuyerOf::Record, OF_TICKETS.contains(method), "{method}");
    }
}

#[tokio::test]
async fn every_method_is_for_those_whom_the_table_names() {
    let mut up = Flashsale::start(&["up"]);
    up.read_until("Ctrl-C stops everything");
    let about = up.json("up.json");
    let keys = keys(&about);
    let endpoint = Endpoint::from_shared(about["grpc"].as_str().unwrap().to_owned()).unwrap();
    let channel = endpoint.connect().await.unwrap();
    let with = |key: &Key| NamedChannel::new(channel.clone(), Arc::new(OneKey::new(key)));
    let mut callers = vec![
        ("nameless", NamedChannel::nameless(channel.clone())),
        ("stranger", with(&Key::generate())),
        ("shop", with(keys.shop())),
        ("other shop", with(keys.other_shop())),
        ("operator", with(keys.operator())),
        ("other operator", with(keys.other_operator())),
    ];
    callers.extend(SERVICES.map(|name| (name, with(keys.service(name)))));
    let token = keys.tokens().token(about["sale_id"].as_str().unwrap(), "ada");
    callers.push(("buyer", as_buyer(&channel, &token)));

    for (method, may, sale, buyer_bound) in TABLE {
        let may: Vec<&str> = may.split(' ').collect();
        for (caller, channel) in &callers {
            let role = caller.trim_start_matches("other ");
            let expected = if may.contains(&"anyone") {
                None
            } else if ["nameless", "stranger"].contains(caller) {
                Some(Reason::CallerUnknown)
            } else if *caller == "buyer" {
                let of_ticket = OF_TICKETS.contains(method);
                let may = may.contains(&"shop") && (*buyer_bound || of_ticket);
                match (may, of_ticket) {
                    (false, _) => Some(Reason::CallerNotAllowed),
                    (true, true) => None,
                    (true, false) => Some(Reason::SaleNotYours),
                }
            } else if !may.contains(&role) {
                Some(Reason::CallerNotAllowed)
            } else if role != *caller && *sale != SaleOf::Record {
                Some(Reason::SaleNotYours)
            } else if role == "shop" && *buyer_bound {
                Some(Reason::BuyerUnproven)
            } else {
                None
            };
            let status = refusal(channel, method).await;
            let found = status.as_ref().and_then(of_the_caller);
            assert_eq!(found, expected, "{caller} calls {method}: {status:?}");
        }
    }

    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
}

/// What a call with the key of another sale learns of one: nothing.
#[tokio::test]
async fn what_is_of_another_sale_or_buyer_reads_as_not_found() {
    let mut up = Flashsale::start(&["up"]);
    up.read_until("Ctrl-C stops everything");
    let about = up.json("up.json");
    let keys = keys(&about);
    let own = channel(&about).await;
    let shop = own.of(Arc::new(OneKey::new(keys.shop())));
    let other_shop = own.of(Arc::new(OneKey::new(keys.other_shop())));
    let other_operator = own.of(Arc::new(OneKey::new(keys.other_operator())));
    let mut ada = Shopper::new(own.clone(), about["sale_id"].as_str().unwrap(), "Ada");
    ada.come_in().await;
    let order = ada.place(1, "pm_card_visa").await.unwrap();
    ada.sees(&order, OrderState::Confirmed).await;
    let (sale_id, order_id) = (order.sale_id.clone(), order.order_id.clone());
    let paid = async || {
        let get = GetPaymentRequest { order_id: order_id.clone() };
        PaymentServiceClient::new(own.clone()).get_payment(get).await.unwrap().into_inner().payment
    };
    let before = paid().await;

    let request_id = || uuid::Uuid::new_v4().to_string();
    let get_order = |sale_id: &str, buyer: &str| GetOrderRequest {
        sale_id: sale_id.to_owned(),
        order_id: order_id.clone(),
        buyer_id: buyer.to_owned(),
    };
    let checkout = |channel: &NamedChannel| CheckoutServiceClient::new(channel.clone());
    let payment = |channel: &NamedChannel| PaymentServiceClient::new(channel.clone());
    let room = |channel: &NamedChannel| WaitingRoomServiceClient::new(channel.clone());
    let orders = |channel: &NamedChannel| OrderAdminServiceClient::new(channel.clone());
    macro_rules! refused {
        ($call:expr, $reason:ident) => {
            assert_failure(&$call.await.unwrap_err(), Reason::$reason)
        };
    }
    let other_sale = OTHER_SALE.to_string();
    refused!(checkout(&shop).get_order(get_order(&sale_id, "eve")), OrderNotFound);
    refused!(checkout(&shop).get_order(get_order(&sale_id, "")), BuyerUnproven);
    let buyer = ada.buyer.buyer_id.as_str();
    refused!(checkout(&other_shop).get_order(get_order(&sale_id, buyer)), SaleNotYours);
    refused!(checkout(&other_shop).get_order(get_order(&other_sale, buyer)), OrderNotFound);
    let get = || GetPaymentRequest { order_id: order_id.clone() };
    refused!(payment(&other_shop).get_payment(get()), PaymentNotFound);
    let refund = RefundRequest {
        request_id: request_id(),
        order_id: order_id.clone(),
        ..RefundRequest::default()
    };
    refused!(payment(&other_shop).refund(refund), PaymentNotFound);
    let position = || GetPositionRequest { ticket: ada.ticket.clone() };
    refused!(room(&other_shop).get_position(position()), TicketInvalid);
    let watch = WatchPositionRequest { ticket: ada.ticket.clone() };
    refused!(room(&other_shop).watch_position(watch), TicketInvalid);
    let leave = LeaveRequest { request_id: request_id(), ticket: ada.ticket.clone() };
    refused!(room(&other_shop).leave(leave), TicketInvalid);
    let list = ListTransitionsRequest { order_id: order_id.clone(), ..Default::default() };
    refused!(orders(&other_operator).list_transitions(list.clone()), OrderNotFound);

    // A buyer who calls by itself, with a token of the shop.
    let endpoint = Endpoint::from_shared(about["grpc"].as_str().unwrap().to_owned()).unwrap();
    let wire = endpoint.connect().await.unwrap();
    let by = |sale: &str, buyer: &str| as_buyer(&wire, &keys.tokens().token(sale, buyer));
    let (ada_herself, eve) = (by(&sale_id, buyer), by(&sale_id, "eve"));
    assert!(checkout(&ada_herself).get_order(get_order(&sale_id, buyer)).await.is_ok());
    assert!(room(&ada_herself).get_position(position()).await.is_ok());
    refused!(checkout(&ada_herself).get_order(get_order(&sale_id, "")), BuyerUnproven);
    refused!(payment(&ada_herself).get_payment(get()), CallerNotAllowed);
    refused!(checkout(&eve).get_order(get_order(&sale_id, buyer)), BuyerMismatch);
    refused!(checkout(&eve).get_order(get_order(&sale_id, "eve")), OrderNotFound);
    let cancel = CancelOrderRequest {
        request_id: request_id(),
        sale_id: sale_id.clone(),
        order_id: order_id.clone(),
        buyer_id: buyer.to_owned(),
    };
    refused!(checkout(&eve).cancel_order(cancel), BuyerMismatch);
    refused!(room(&eve).get_position(position()), TicketInvalid);
    let leave = LeaveRequest { request_id: request_id(), ticket: ada.ticket.clone() };
    refused!(room(&eve).leave(leave), TicketInvalid);
    let elsewhere = by(&other_sale, buyer);
    refused!(checkout(&elsewhere).get_order(get_order(&sale_id, buyer)), SaleNotYours);
    refused!(room(&elsewhere).get_position(position()), TicketInvalid);

    // Each of them is there for those whose it is.
    assert!(checkout(&shop).get_order(get_order(&sale_id, buyer)).await.is_ok());
    assert!(payment(&shop).get_payment(get()).await.is_ok());
    assert!(room(&shop).get_position(position()).await.is_ok());
    let operator = own.of(Arc::new(OneKey::new(keys.operator())));
    assert!(orders(&operator).list_transitions(list).await.is_ok());
    assert_eq!(paid().await, before, "a refused call has changed the payment");

    kill(up.pid(), Signal::SIGINT).unwrap();
    let (status, said) = up.end();
    assert!(status.success(), "{said}");
}

#[test]
fn keys_are_made_listed_and_checked() {
    let home = own_home();
    let file = home.path().join("keys.toml");
    let path = file.to_str().unwrap();
    let say = |args: &[&str]| Said::by(&mut flashsale(home.path(), args));
    let new = |more: &[&str]| {
        say(&[&["access", "new-key", "web", "--role", "shop", "--file", path, "--json"], more]
            .concat())
    };
    let sale = uuid::Uuid::new_v4().to_string();
    let sales = ["--sales", sale.as_str()];
    let made = new(&sales);
    assert_eq!(made.code, Some(0), "{made:?}");
    let key = made.json()["key"].as_str().unwrap().to_owned();
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(!text.contains(&key), "the file holds the key itself");
    assert!(Key::parse(&key).is_ok() && text.contains(&Key::parse(&key).unwrap().sha256()));

    // Its successor stands beside it; a third does not, and another role does not.
    assert_eq!(new(&[&sales[..], &["--not-after", "2026-01-01T00:00:00Z"]].concat()).code, Some(0));
    let before = std::fs::read_to_string(&file).unwrap();
    for (refused, words) in [
        (new(&sales), "more than 2 keys"),
        (say(&["access", "new-key", "web", "--role", "operator", "--file", path]), "web"),
        (say(&["access", "new-key", "we b", "--role", "shop", "--file", path]), "without spaces"),
        (
            say(&[
                "access",
                "new-key",
                "x",
                "--role",
                "shop",
                "--file",
                path,
                "--not-after",
                "soon",
            ]),
            "cannot be read",
        ),
    ] {
        assert_eq!(refused.code, Some(1), "{refused:?}");
        assert!(format!("{}{}", refused.out, refused.err).contains(words), "{refused:?}");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), before, "it was changed all the same");
    }
    let listed = say(&["access", "list", path, "--json"]).json();
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert_eq!(listed[0]["sales"][0], sale.as_str());
    let checked = say(&["access", "check", path]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
    assert!(checked.out.contains("a key of web ended at 2026-01-01T00:00:00Z"), "{checked:?}");

    std::fs::write(&file, "[[key]]\nname = 'web'\n").unwrap();
    let broken = say(&["access", "check", path]);
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(broken.err.contains("keys.toml"), "{broken:?}");
}

/// A server with a certificate and none of our services, which knows the client `ann` by hers.
async fn tls_server(folder: &std::path::Path) -> String {
    flashsale_testbed::init();
    let authority = Authority::new("ours").unwrap();
    authority.issue(&["127.0.0.1"]).unwrap().write(folder, "server").unwrap();
    let stranger = Authority::new("a stranger's").unwrap();
    for (name, authority) in [("ann", &authority), ("eve", &stranger)] {
        let own = authority.issue(&["ann.example.com"]).unwrap();
        std::fs::write(folder.join(format!("{name}.pem")), own.certificate + &own.key).unwrap();
    }
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    let known = "[[certificate]]\nname = 'ann'\nrole = 'operator'\nsan = 'ann.example.com'\n";
    std::fs::write(folder.join("keys.toml"), known).unwrap();
    let text = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let config = ServerConfig {
        tls_cert_file: text("server.pem"),
        tls_key_file: text("server.key.pem"),
        ..flashsale_testbed::server_config()
    };
    let access = AccessConfig {
        client_ca_file: text("ca.pem"),
        ..AccessConfig::with_keys(&text("keys.toml"))
    };
    let listening = flashsale_service::bind(&config, &access).await.unwrap();
    let address = format!("https://{}", listening.grpc_address());
    tokio::spawn(listening.run("test", Vec::new(), Drain::new()));
    address
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_speaks_tls_to_the_right_authority_and_has_a_certificate() {
    let home = own_home();
    let address = tls_server(home.path()).await;
    let file = |name: &str| home.path().join(name).to_str().unwrap().to_owned();
    let show = |more: &[&str]| {
        let args = [&["sale", "show", "--addr", address.as_str()], more].concat();
        Said::by(&mut flashsale(home.path(), &args))
    };
    let (ca, ann, eve) = (file("ca.pem"), file("ann.pem"), file("eve.pem"));
    let trusted = show(&["--ca-file", &ca, "--cert-file", &ann]);
    assert!(trusted.err.contains("is not this version of flashsale"), "{trusted:?}");
    let stranger = show(&[]);
    assert!(stranger.err.contains("no flashsale answers"), "{stranger:?}");
    for (more, words) in [
        (vec!["--ca-file", &ca], "no key"),
        (vec!["--ca-file", &ca, "--cert-file", &eve], "authority that is not trusted here"),
        (vec!["--ca-file", &ca, "--cert-file", &ca], "--cert-file, cannot be used"),
        (vec!["--ca-file", &ca, "--cert-file", "/nowhere.pem"], "/nowhere.pem cannot be read"),
    ] {
        let said = show(&more);
        assert!(said.code != Some(0) && said.err.contains(words), "{words}: {said:?}");
    }
}
