//! A sale that was planned: through its line, a pause, a change of its prices and its end, and
//! audited from the stores.

use std::{process::Command, time::Duration};

use flashsale_errors::Reason;
use flashsale_proto::{
    Money, NamedChannel,
    checkout::{
        Line, Order, OrderState, PlaceOrderRequest, checkout_service_client::CheckoutServiceClient,
    },
    inventory::{
        GetStockRequest, StockPhase, WatchStockRequest,
        inventory_service_client::InventoryServiceClient,
    },
    sale::{
        CreateSaleRequest, EndSaleRequest, GetSaleRequest, Item, ListSaleChangesRequest,
        PauseSaleRequest, RoomSettings, Sale, SaleSettings, SaleState, ScheduleSaleRequest,
        StartSaleRequest, sale_service_client::SaleServiceClient,
    },
    waitingroom::{
        GetPositionRequest, Outlook, Position, WatchPositionRequest,
        waiting_room_service_client::WaitingRoomServiceClient,
    },
};
use flashsale_testbed::{
    Tools, assert_failure, eventually, grants, init,
    keys::write_secret,
    platform::{
        AdmissionSettings, PaymentSettings, Platform, PlatformOptions, Settings, StripeOptions,
        Together, run_dir,
    },
};
use prost_types::{Duration as Length, Timestamp};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tonic::Status;
use uuid::Uuid;

use crate::{
    command::{Said, flashsale, own_home, program},
    shopper::{SKU, Shopper},
};

const STOP_WITHIN: Duration = Duration::from_secs(20);
const WEBHOOK_SECRET: &str = "whsec_planned";
/// How long before the start it is planned; buyers join meanwhile.
const AHEAD: time::Duration = time::Duration::seconds(4);
/// How long before it takes effect a change of prices is asked for at least: it has to be 2 seconds
/// ahead once the command has started.
const REPRICE_AHEAD_S: i64 = 5;

fn id() -> String {
    Uuid::new_v4().to_string()
}

fn eur(units: i64, cents: i32) -> Money {
    Money { currency_code: "EUR".to_owned(), units, nanos: cents * 10_000_000 }
}

/// What a unit costs outside the sale.
fn regular() -> Money {
    eur(29, 99)
}

/// What it costs in the sale at first.
fn first_price() -> Money {
    eur(19, 99)
}

/// What it costs from the middle of the sale on.
fn second_price() -> Money {
    eur(14, 99)
}

#[tokio::test]
async fn a_planned_sale_admits_at_its_start_and_balances_at_its_end() {
    init();
    let options = PlatformOptions {
        redis: "redis",
        database: None,
        remedy: "run `make build`",
        drain_within: STOP_WITHIN,
        stop_within: STOP_WITHIN,
    };
    let (found, dir) = (Tools::locate().unwrap(), run_dir().unwrap());
    let mut platform = Platform::<Together>::start(found, dir, options).await.unwrap();
    let pool = sqlx::PgPool::connect(&platform.postgres_url()).await.unwrap();
    grants::postgres::make_roles(&mut pool.acquire().await.unwrap()).await.unwrap();
    grants::postgres::migrate(pool.connect_options().as_ref().clone()).await.unwrap();
    let stripe = StripeOptions {
        log: "stripe.jsonl",
        webhook_secret: WEBHOOK_SECRET,
        rate_per_endpoint: 1_000,
        rate_total: 4_000,
        ..StripeOptions::default()
    };
    platform.stripe = Some(platform.start_stripe(stripe).await.unwrap());
    platform.smtp = Some(platform.start_smtp("mail.jsonl").await.unwrap());
    let base = platform.settings();
    let settings = Settings {
        admission: AdmissionSettings { ephemeral_keys: Some(true), ..base.admission },
        payment: PaymentSettings {
            webhook_secrets: Some(WEBHOOK_SECRET.to_owned()),
            ..base.payment
        },
        ..base
    };
    platform.services.all.start(settings).await.unwrap();
    let channel = platform.services.all.channel().unwrap();
    let mut sales = SaleServiceClient::new(channel.clone());
    let mut stock = InventoryServiceClient::new(channel.clone());

    let (sale_id, starts_at) = planned(&mut sales).await;
    reaches(&mut sales, &sale_id, SaleState::Prepared).await;

    // Before the start there is a line, and no admission. A unit costs what it does elsewhere.
    assert_eq!(offered(&mut stock, &sale_id).await, (StockPhase::Before, regular(), 1));
    let mut ada = Shopper::new(channel.clone(), &sale_id, "Ada");
    let mut room = WaitingRoomServiceClient::new(channel.clone());
    ada.ticket = eventually("the room is open", || {
        let (join, mut room) = (ada.buyer.join(Uuid::new_v4()), room.clone());
        async move { Some(room.join(join).await.ok()?.into_inner().ticket) }
    })
    .await;
    let early = position(&mut room, &ada.ticket).await;
    assert_eq!((early.outlook(), early.admission.as_str()), (Outlook::NotStarted, ""));
    let watch = WatchPositionRequest { ticket: ada.ticket.clone() };
    let mut line = room.watch_position(watch).await.unwrap().into_inner();
    while ada.admission.is_empty() {
        ada.admission = line.message().await.unwrap().unwrap().position.unwrap().admission;
    }
    // This machine's clock is that of the stores.
    let admitted_at = OffsetDateTime::now_utc().unix_timestamp();
    assert!(admitted_at >= starts_at.seconds, "admitted {admitted_at}, opens {starts_at:?}");
    let first = ada.place(1, "pm_card_visa").await.unwrap();
    ada.sees(&first, OrderState::Confirmed).await;
    assert_eq!(cost(&first), (first_price(), 1));
    reaches(&mut sales, &sale_id, SaleState::Open).await;

    // Who holds units in a pause may finish; nobody else begins.
    let mut bea = Shopper::new(channel.clone(), &sale_id, "Bea");
    bea.come_in().await;
    let mut cem = Shopper::new(channel.clone(), &sale_id, "Cem");
    cem.come_in().await;
    let mut checkout = CheckoutServiceClient::new(channel.clone());
    let begin = bea.buyer.begin(Uuid::new_v4(), one_unit(), bea.admission.clone());
    let hold = checkout.begin_checkout(begin).await.unwrap().into_inner();
    assert_eq!((hold.total, hold.lines[0].price_revision), (Some(first_price()), 1));
    let reprices_at = reprice(&platform, &sale_id);
    let watch = WatchStockRequest { sale_id: sale_id.clone() };
    let mut watching = stock.watch_stock(watch).await.unwrap().into_inner();
    let pause = PauseSaleRequest { request_id: id(), sale_id: sale_id.clone() };
    sales.pause_sale(pause).await.unwrap();
    let refused = cem.place(1, "pm_card_visa").await.unwrap_err();
    let failure = assert_failure(&refused, Reason::SaleNotOpen);
    assert_eq!(failure.metadata()["state"], "PAUSED");

    // The price changes in the pause, for all who watch. What was held before keeps its own.
    let mut prices = Vec::new();
    let switched_at = loop {
        let update = watching.message().await.unwrap().unwrap();
        let sku = &update.stock[0];
        prices.push((sku.unit_price.clone().unwrap(), sku.price_revision));
        if sku.price_revision > 1 {
            break update.read_time.unwrap();
        }
    };
    prices.dedup();
    assert_eq!(prices, [(first_price(), 1), (second_price(), 2)]);
    assert!(switched_at.seconds >= reprices_at, "{switched_at:?}, to be at {reprices_at}");
    assert_eq!(offered(&mut stock, &sale_id).await, (StockPhase::Paused, second_price(), 2));
    let held = expecting(&bea, &hold.hold_id, first_price()).await.unwrap();
    bea.sees(&held, OrderState::Confirmed).await;
    assert_eq!(cost(&held), (first_price(), 1));
    let resume =
        StartSaleRequest { request_id: id(), sale_id: sale_id.clone(), allow_shared_skus: false };
    sales.start_sale(resume).await.unwrap();
    let refused = expecting(&cem, "", first_price()).await.unwrap_err();
    let failure = assert_failure(&refused, Reason::PriceChanged);
    for (key, value) in [("expected_minor", "1999"), ("total_minor", "1499"), ("currency", "EUR")] {
        assert_eq!(failure.metadata()[key], value, "{key}");
    }
    let third = expecting(&cem, "", second_price()).await.unwrap();
    cem.sees(&third, OrderState::Confirmed).await;
    assert_eq!(cost(&third), (second_price(), 2));

    let end = EndSaleRequest { request_id: id(), sale_id: sale_id.clone() };
    sales.end_sale(end).await.unwrap();
    assert_eq!(offered(&mut stock, &sale_id).await, (StockPhase::After, regular(), 2));
    let list = ListSaleChangesRequest { sale_id: sale_id.clone(), ..Default::default() };
    let changes = sales.list_sale_changes(list).await.unwrap().into_inner().changes;
    let kinds: Vec<&str> = changes.iter().rev().map(|change| change.kind.as_str()).collect();
    assert_eq!(kinds, ["CREATE", "SCHEDULE", "PREPARE", "OPEN", "UPDATE", "PAUSE", "OPEN", "END"]);
    let repriced = changes.iter().find(|change| change.kind == "UPDATE").unwrap();
    let by = (repriced.actor.as_str(), repriced.reason.as_str());
    assert_eq!(by, ("operator", "a second step down"));
    assert_eq!((repriced.skus.as_slice(), repriced.skus_changed), (&[SKU.to_owned()][..], 1));

    eventually("everything the orders entail is done", || async {
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM outbox WHERE done_at IS NULL")
            .fetch_one(&pool)
            .await
            .unwrap();
        (open == 0).then_some(())
    })
    .await;
    let audit = Command::new(program("flashsale-auditor"))
        .args(["--sale", &sale_id, "--at-rest"])
        .args(["--redis", &platform.redis.url(), "--nats", &platform.nats.url()])
        .args(["--postgres", &platform.postgres_url()])
        .args(["--stripe-log", &platform.file("stripe.jsonl").display().to_string()])
        .args(["--mail-log", &platform.file("mail.jsonl").display().to_string()])
        .output()
        .unwrap();
    assert!(audit.status.success(), "{}", String::from_utf8_lossy(&audit.stdout));
    pool.close().await;
    platform.stop_services().await.unwrap();
    platform.stop().await.unwrap();
}

/// Plans a sale with a line that is open from now on, and says when the sale begins.
async fn planned(sales: &mut SaleServiceClient<NamedChannel>) -> (String, Timestamp) {
    let room = RoomSettings {
        admissions_per_second: 100.0,
        admission_ttl: None,
        pre_queue: Some(Length { seconds: 3_600, nanos: 0 }),
    };
    let item = Item {
        sku: SKU.to_owned(),
        title: "Mug".to_owned(),
        unit_price: Some(first_price()),
        regular_price: Some(regular()),
        quantity: 10,
        per_buyer_limit: 2,
    };
    let create = CreateSaleRequest {
        request_id: id(),
        settings: Some(SaleSettings {
            name: "Planned".to_owned(),
            currency: "EUR".to_owned(),
            room: Some(room),
            ..SaleSettings::default()
        }),
        items: vec![item],
    };
    let sale_id = sales.create_sale(create).await.unwrap().into_inner().sale.unwrap().sale_id;
    let at = |at: OffsetDateTime| Timestamp {
        seconds: at.unix_timestamp(),
        nanos: i32::try_from(at.nanosecond()).unwrap(),
    };
    let now = OffsetDateTime::now_utc();
    let starts_at = at(now + AHEAD);
    let schedule = ScheduleSaleRequest {
        request_id: id(),
        sale_id: sale_id.clone(),
        starts_at: Some(starts_at),
        ends_at: Some(at(now + time::Duration::HOUR)),
        allow_shared_skus: false,
    };
    sales.schedule_sale(schedule).await.unwrap();
    (sale_id, starts_at)
}

async fn reaches(sales: &mut SaleServiceClient<NamedChannel>, id: &str, state: SaleState) {
    eventually(state.as_str_name(), || {
        let (get, mut sales) = (GetSaleRequest { sale_id: id.to_owned() }, sales.clone());
        async move {
            let sale: Sale = sales.get_sale(get).await.unwrap().into_inner().sale.unwrap();
            (sale.state() == state && sale.propagated).then_some(())
        }
    })
    .await;
}

async fn position(room: &mut WaitingRoomServiceClient<NamedChannel>, ticket: &str) -> Position {
    let get = GetPositionRequest { ticket: ticket.to_owned() };
    room.get_position(get).await.unwrap().into_inner().position.unwrap()
}

fn one_unit() -> Vec<Line> {
    vec![Line { sku: SKU.to_owned(), quantity: 1 }]
}

/// Changes the price as an operator types it. Returns from when on, in whole seconds.
fn reprice(platform: &Platform<Together>, sale_id: &str) -> i64 {
    let home = own_home();
    let (key_file, addr) = (home.path().join("operator.toml"), platform.services.all.url());
    let key = platform.keys.operator().expose();
    write_secret(&key_file, &format!("key = \"{key}\"\nservers = [\"{addr}\"]\n")).unwrap();
    // The command takes whole seconds only.
    let at = OffsetDateTime::now_utc().unix_timestamp() + 1 + REPRICE_AHEAD_S;
    let effective_at = OffsetDateTime::from_unix_timestamp(at).unwrap().format(&Rfc3339).unwrap();
    let price = format!("{SKU}=14.99");
    let args = [
        ["sale", "update"],
        [sale_id, "--json"],
        ["--price", &price],
        ["--effective-at", &effective_at],
        ["--reason", "a second step down"],
    ];
    let said = Said::by(
        flashsale(home.path(), args.as_flattened())
            .env("FLASHSALE_ADDR", addr)
            .env("FLASHSALE_KEY_FILE", key_file),
    );
    assert_eq!(said.code, Some(0), "{said:?}");
    at
}

/// What inventory shows: what the sale offers, what a unit costs, and the revision of the price.
async fn offered(
    stock: &mut InventoryServiceClient<NamedChannel>,
    sale_id: &str,
) -> (StockPhase, Money, i64) {
    let skus = vec![SKU.to_owned()];
    let get = GetStockRequest { sale_id: sale_id.to_owned(), skus, fresh: false };
    let shown = stock.get_stock(get).await.unwrap().into_inner();
    let sku = &shown.stock[0];
    assert_eq!(sku.regular_price, Some(regular()));
    (shown.phase(), sku.unit_price.clone().unwrap(), sku.price_revision)
}

/// Orders what a hold has, or without one a unit, as a buyer who was told this total.
async fn expecting(shopper: &Shopper, hold_id: &str, total: Money) -> Result<Order, Status> {
    let (lines, admission) = if hold_id.is_empty() {
        (one_unit(), shopper.admission.clone())
    } else {
        (Vec::new(), String::new())
    };
    let (request_id, hold_id) = (Uuid::new_v4(), hold_id.to_owned());
    let place = shopper.buyer.place(request_id, hold_id, lines, admission, "pm_card_visa");
    let place = PlaceOrderRequest { expected_total: Some(total), ..place };
    let mut checkout = CheckoutServiceClient::new(shopper.channel.clone());
    Ok(checkout.place_order(place).await?.into_inner().order.unwrap())
}

/// The total of an order of one line, and the revision of its price.
fn cost(order: &Order) -> (Money, i64) {
    (order.total.clone().unwrap(), order.lines[0].price_revision)
}
