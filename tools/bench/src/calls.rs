//! The calls that are measured, each by a new buyer with a request id of its own.

use std::time::Duration;

use anyhow::anyhow;
use async_nats::jetstream;
use flashsale_admission::{Admission, Signer};
use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    NamedChannel,
    checkout::{
        self, OrderState, PlaceOrderRequest, checkout_service_client::CheckoutServiceClient,
    },
    inventory::{
        GetStockRequest, Line, ReserveRequest, inventory_service_client::InventoryServiceClient,
    },
    waitingroom::{JoinRequest, waiting_room_service_client::WaitingRoomServiceClient},
};
use flashsale_queue::{FIRST_PRICE_REVISION, OrderDetails, OrderMessage, QueueMessage};
use flashsale_testbed::buyer::Buyer;
use time::OffsetDateTime;
use tonic::Request;
use uuid::Uuid;

use crate::{
    drive::{Lane, Miss},
    platform::Platform,
    sales::PRICE_MINOR,
};

/// The deadline of every call, as the shop's callers set one.
const DEADLINE: Duration = Duration::from_secs(10);
/// How long admissions last: longer than any run.
const ADMITTED_MS: i64 = 12 * 3_600 * 1_000;
/// A card that pays.
const CARD: &str = "pm_card_visa";
/// The skus of the sale.
pub(crate) const SKUS: u64 = 12;

/// Writes requests.
pub(crate) struct Requests<'a> {
    sale_id: Uuid,
    open_sale_id: Uuid,
    signer: &'a Signer,
    written: u64,
}

impl<'a> Requests<'a> {
    pub(crate) fn new(platform: &'a Platform) -> Self {
        Self {
            sale_id: platform.sale_id,
            open_sale_id: platform.open_sale_id,
            signer: &platform.signer,
            written: 0,
        }
    }

    fn write<R>(&mut self, count: u64, one: impl Fn(&Self, u64) -> R) -> Vec<R> {
        let from = self.written;
        self.written += count;
        (from..self.written).map(|number| one(self, number)).collect()
    }

    pub(crate) fn empty(&mut self, count: u64) -> Vec<GetStockRequest> {
        self.write(count, |_, _| GetStockRequest::default())
    }

    pub(crate) fn joins(&mut self, count: u64) -> Vec<JoinRequest> {
        self.write(count, |this, number| buyer(this.sale_id, number).join(Uuid::new_v4()))
    }

    /// In the sale without a waiting room.
    pub(crate) fn reserves(&mut self, count: u64) -> Vec<ReserveRequest> {
        self.reserves_in(&[self.open_sale_id], count)
    }

    /// In these sales in turn, none of which has a waiting room.
    pub(crate) fn reserves_in(&mut self, sales: &[Uuid], count: u64) -> Vec<ReserveRequest> {
        let sale = |number: u64| sales.get(number as usize % sales.len()).copied();
        self.write(count, |_, number| {
            let lines = vec![Line { sku: sku(number), quantity: 1 }];
            let buyer = buyer(sale(number).unwrap_or_default(), number);
            buyer.reserve(Uuid::new_v4(), lines, String::new())
        })
    }

    /// With an admission that has to be verified and spent.
    pub(crate) fn admitted_reserves(&mut self, count: u64) -> Vec<ReserveRequest> {
        self.admitted_reserves_in(self.sale_id, count)
    }

    pub(crate) fn admitted_reserves_in(
        &mut self,
        sale_id: Uuid,
        count: u64,
    ) -> Vec<ReserveRequest> {
        self.write(count, |this, number| {
            let lines = vec![Line { sku: sku(number), quantity: 1 }];
            let admission = this.admission(sale_id, number);
            buyer(sale_id, number).reserve(Uuid::new_v4(), lines, admission)
        })
    }

    pub(crate) fn orders(&mut self, count: u64) -> Vec<PlaceOrderRequest> {
        self.orders_in(self.sale_id, count)
    }

    pub(crate) fn orders_in(&mut self, sale_id: Uuid, count: u64) -> Vec<PlaceOrderRequest> {
        self.write(count, |this, number| {
            let lines = vec![checkout::Line { sku: sku(number), quantity: 1 }];
            let admission = this.admission(sale_id, number);
            let request_id = Uuid::new_v4();
            buyer(sale_id, number).place(request_id, String::new(), lines, admission, CARD)
        })
    }

    /// Messages of the queue as [`Requests::orders`] become them.
    pub(crate) fn messages(&mut self, count: u64) -> Vec<QueueMessage> {
        self.write(count, |this, number| QueueMessage::Place {
            order: OrderMessage {
                order_id: Uuid::new_v4(),
                sale_id: this.sale_id,
                buyer_id: buyer_id(number),
                hold_id: Uuid::new_v4(),
                epoch: 1,
                admission_id: Some(Uuid::new_v4().to_string()),
                request_id: Uuid::new_v4(),
                request_hash: "0".repeat(64),
                lines: vec![flashsale_queue::Line {
                    sku: sku(number),
                    quantity: 1,
                    unit_price_minor: PRICE_MINOR,
                    price_revision: FIRST_PRICE_REVISION,
                }],
                currency: "EUR".to_owned(),
                total_minor: PRICE_MINOR,
                placed_at_ms: now_ms(),
                details: details(number),
            },
        })
    }

    fn admission(&self, sale_id: Uuid, number: u64) -> String {
        self.signer.mint_admission(&Admission {
            sale_id,
            buyer_id: buyer_id(number),
            number: i64::try_from(number).unwrap_or(i64::MAX),
            generation: 0,
            expires_at_ms: now_ms() + ADMITTED_MS,
            quota: 1,
        })
    }
}

fn buyer(sale_id: Uuid, number: u64) -> Buyer {
    Buyer::new(sale_id, buyer_id(number), format!("Buyer {number}"))
}

fn buyer_id(number: u64) -> String {
    format!("bench-{number:012}")
}

/// What the order of a buyer carries.
pub(crate) fn details(number: u64) -> OrderDetails {
    OrderDetails {
        email: format!("{}@example.com", buyer_id(number)),
        contact_name: format!("Buyer {number}"),
        payment_method: CARD.to_owned(),
        ..OrderDetails::default()
    }
}

pub(crate) fn sku(number: u64) -> String {
    format!("SKU-{:02}", number % SKUS)
}

/// This machine's clock.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

fn request<R>(message: R) -> Request<R> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// What an answer is worth.
fn well(good: bool, what: &'static str) -> Result<(), Miss> {
    if good { Ok(()) } else { Err(Miss::Failed(anyhow!(what))) }
}

/// Sends GetStock requests.
#[derive(Clone)]
pub(crate) struct GetStock(pub(crate) InventoryServiceClient<NamedChannel>);

impl Lane for GetStock {
    type Request = GetStockRequest;

    async fn send(&mut self, message: GetStockRequest) -> Result<(), Miss> {
        self.0.get_stock(request(message)).await?;
        Ok(())
    }
}

/// Sends Reserve requests.
#[derive(Clone)]
pub(crate) struct Reserve(pub(crate) InventoryServiceClient<NamedChannel>);

impl Lane for Reserve {
    type Request = ReserveRequest;

    async fn send(&mut self, message: ReserveRequest) -> Result<(), Miss> {
        let answer = self.0.reserve(request(message)).await?.into_inner();
        well(answer.hold.is_some(), "Reserve answered without a hold")
    }
}

/// Sends Reserve requests to a sale that is sold out.
#[derive(Clone)]
pub(crate) struct SoldOut(pub(crate) InventoryServiceClient<NamedChannel>);

impl Lane for SoldOut {
    type Request = ReserveRequest;

    async fn send(&mut self, message: ReserveRequest) -> Result<(), Miss> {
        let Err(status) = self.0.reserve(request(message)).await else {
            return well(false, "a sale that is sold out sold something");
        };
        let reason = Failure::from_status(&status).map(|failure| failure.reason());
        if reason == Some(Reason::SoldOut) { Ok(()) } else { Err(status.into()) }
    }
}

/// Sends Join requests.
#[derive(Clone)]
pub(crate) struct Join(pub(crate) WaitingRoomServiceClient<NamedChannel>);

impl Lane for Join {
    type Request = JoinRequest;

    async fn send(&mut self, message: JoinRequest) -> Result<(), Miss> {
        let answer = self.0.join(request(message)).await?.into_inner();
        well(!answer.ticket.is_empty(), "Join answered without a ticket")
    }
}

/// Sends PlaceOrder requests.
#[derive(Clone)]
pub(crate) struct PlaceOrder(pub(crate) CheckoutServiceClient<NamedChannel>);

impl Lane for PlaceOrder {
    type Request = PlaceOrderRequest;

    async fn send(&mut self, message: PlaceOrderRequest) -> Result<(), Miss> {
        let answer = self.0.place_order(request(message)).await?.into_inner();
        let state = answer.order.unwrap_or_default().state();
        if state == OrderState::Accepted { Ok(()) } else { Err(Miss::NotDurable(state)) }
    }
}

/// Publishes messages of `ORDERS` without a service in between.
#[derive(Clone)]
pub(crate) struct Publish {
    pub(crate) jetstream: jetstream::Context,
    /// What the subjects are put under, so that the messages are no buyer's orders.
    pub(crate) under: &'static str,
}

impl Lane for Publish {
    type Request = QueueMessage;

    async fn send(&mut self, message: QueueMessage) -> Result<(), Miss> {
        let publish = jetstream::message::PublishMessage::build()
            .payload(message.encode().into())
            .message_id(message.message_id());
        let subject = format!("{}.{}", self.under, message.subject());
        let ack =
            self.jetstream.send_publish(subject, publish).await.map_err(anyhow::Error::from)?;
        ack.await.map_err(anyhow::Error::from)?;
        Ok(())
    }
}
