//! A sale that was planned: through its line, a pause and its end, and audited from the stores.

use std::{process::Command, time::Duration};

use flashsale_errors::Reason;
use flashsale_proto::{
    NamedChannel,
    checkout::{OrderState, checkout_service_client::CheckoutServiceClient},
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
    platform::{
        AdmissionSettings, PaymentSettings, Platform, PlatformOptions, Settings, StripeOptions,
        Together, run_dir,
    },
};
use prost_types::{Duration as Length, Timestamp};
use uuid::Uuid;

use crate::{
    command::program,
    shopper::{SKU, Shopper},
};

const STOP_WITHIN: Duration = Duration::from_secs(20);
const WEBHOOK_SECRET: &str = "whsec_planned";
/// How long before the start it is planned; buyers join meanwhile.
const AHEAD: time::Duration = time::Duration::seconds(4);

fn id() -> String {
    Uuid::new_v4().to_string()
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

    let (sale_id, starts_at) = planned(&mut sales).await;
    reaches(&mut sales, &sale_id, SaleState::Prepared).await;

    // Before the start there is a line, and no admission.
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
    let admitted_at = time::OffsetDateTime::now_utc().unix_timestamp();
    assert!(admitted_at >= starts_at.seconds, "admitted {admitted_at}, opens {starts_at:?}");
    let first = ada.place(1, "pm_card_visa").await.unwrap();
    ada.sees(&first, OrderState::Confirmed).await;
    reaches(&mut sales, &sale_id, SaleState::Open).await;

    // Who holds units in a pause may finish; nobody else begins.
    let mut bea = Shopper::new(channel.clone(), &sale_id, "Bea");
    bea.come_in().await;
    let mut cem = Shopper::new(channel.clone(), &sale_id, "Cem");
    cem.come_in().await;
    let mut checkout = CheckoutServiceClient::new(channel.clone());
    let lines = vec![flashsale_proto::checkout::Line { sku: SKU.to_owned(), quantity: 1 }];
    let begin = bea.buyer.begin(Uuid::new_v4(), lines, bea.admission.clone());
    let hold_id = checkout.begin_checkout(begin).await.unwrap().into_inner().hold_id;
    let pause = PauseSaleRequest { request_id: id(), sale_id: sale_id.clone() };
    sales.pause_sale(pause).await.unwrap();
    let refused = cem.place(1, "pm_card_visa").await.unwrap_err();
    let failure = assert_failure(&refused, Reason::SaleNotOpen);
    assert_eq!(failure.metadata()["state"], "PAUSED");
    let place = bea.buyer.place(Uuid::new_v4(), hold_id, Vec::new(), String::new(), "pm_card_visa");
    let held = checkout.place_order(place).await.unwrap().into_inner().order.unwrap();
    bea.sees(&held, OrderState::Confirmed).await;
    let resume =
        StartSaleRequest { request_id: id(), sale_id: sale_id.clone(), allow_shared_skus: false };
    sales.start_sale(resume).await.unwrap();
    let third = cem.place(1, "pm_card_visa").await.unwrap();
    cem.sees(&third, OrderState::Confirmed).await;

    let end = EndSaleRequest { request_id: id(), sale_id: sale_id.clone() };
    sales.end_sale(end).await.unwrap();
    let list = ListSaleChangesRequest { sale_id: sale_id.clone(), ..Default::default() };
    let changes = sales.list_sale_changes(list).await.unwrap().into_inner().changes;
    let kinds: Vec<&str> = changes.iter().rev().map(|change| change.kind.as_str()).collect();
    assert_eq!(kinds, ["CREATE", "SCHEDULE", "PREPARE", "OPEN", "PAUSE", "OPEN", "END"]);

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
    let price =
        flashsale_proto::Money { currency_code: "EUR".to_owned(), units: 19, nanos: 990_000_000 };
    let item = Item {
        sku: SKU.to_owned(),
        title: "Mug".to_owned(),
        unit_price: Some(price),
        regular_price: None,
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
    let at = |at: time::OffsetDateTime| Timestamp {
        seconds: at.unix_timestamp(),
        nanos: i32::try_from(at.nanosecond()).unwrap(),
    };
    let now = time::OffsetDateTime::now_utc();
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
