//! The CheckoutService: decode, call, encode.

use std::{future, pin::Pin, time::Duration};

use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    checkout::{
        BeginCheckoutRequest, BeginCheckoutResponse, CancelOrderRequest, CancelOrderResponse,
        GetOrderRequest, GetOrderResponse, ListOrdersRequest, ListOrdersResponse,
        PlaceOrderRequest, PlaceOrderResponse, WatchOrderRequest, WatchOrderResponse,
        checkout_service_server::CheckoutService,
    },
    inventory::{PlaceHoldRequest, ReserveRequest},
};
use flashsale_service::{Drain, page, wire};
use futures::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::encode;
use crate::{
    app::{Changes, Orders, visible},
    domain::{Contact, Details, InputError, Order, OrderState},
    store::{Filter, Record},
};

/// How long a watcher waits after a read that failed.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

const MAX_BUYER_CHARS: usize = 128;
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 500;

impl From<InputError> for Failure {
    fn from(error: InputError) -> Self {
        Failure::invalid(error.field, error.problem)
    }
}

/// Checkout over gRPC.
#[derive(Debug)]
pub struct Checkout {
    orders: Orders,
    drain: Drain,
}

impl Checkout {
    /// Serves `orders` until `drain`.
    pub fn new(orders: Orders, drain: Drain) -> Self {
        Self { orders, drain }
    }
}

fn answer(order: Order) -> Result<WatchOrderResponse, Status> {
    Ok(WatchOrderResponse { order: Some(encode::order(order)) })
}

/// One who follows an order.
struct Watcher {
    record: Record,
    ended: CancellationToken,
    changes: Changes,
    sale_id: Uuid,
    buyer_id: Option<String>,
    /// What they know of it.
    told: Order,
}

impl Watcher {
    /// What the record says that is new; `None` at the end of the order or of the process.
    async fn next(&mut self) -> Option<Order> {
        while self.told.state.is_open() {
            tokio::select! {
                () = self.changes.changed() => {}
                () = self.ended.cancelled() => return None,
            }
            // Boxed, so that the thousands who wait have no room for a query.
            let Some(recorded) = Box::pin(self.read()).await? else { continue };
            let recorded = if recorded.state == OrderState::DeadLetter {
                self.told.clone().standing_as(&recorded)
            } else {
                recorded
            };
            if recorded != self.told
                && let Ok(recorded) = visible(recorded, self.sale_id, self.buyer_id.as_deref())
            {
                self.told = recorded.clone();
                return Some(recorded);
            }
        }
        None
    }

    /// The order, as soon as the record can be read; `None` at the end of the process.
    async fn read(&self) -> Option<Option<Order>> {
        loop {
            if let Ok(recorded) = self.record.order(self.told.order_id).await {
                return Some(recorded);
            }
            // The announcement is used up, and to the sweep the change is an old one: who does not look again misses it.
            tokio::select! {
                () = tokio::time::sleep(LOOK_AGAIN) => {}
                () = self.ended.cancelled() => return None,
            }
        }
    }
}

/// The ids that name an order and, if given, its buyer.
fn order_ids<'a>(
    sale_id: &str,
    order_id: &str,
    buyer_id: &'a str,
) -> Result<(Uuid, Uuid, Option<&'a str>), Failure> {
    let sale_id = wire::uuid("sale_id", sale_id, Reason::ArgumentInvalid)?;
    let order_id = wire::uuid("order_id", order_id, Reason::ArgumentInvalid)?;
    Ok((sale_id, order_id, some_buyer(buyer_id)?))
}

/// A buyer, if one is given.
fn some_buyer(buyer_id: &str) -> Result<Option<&str>, Failure> {
    match buyer_id {
        "" => Ok(None),
        buyer_id => wire::printable("buyer_id", buyer_id, MAX_BUYER_CHARS).map(Some),
    }
}

#[tonic::async_trait]
impl CheckoutService for Checkout {
    async fn begin_checkout(
        &self,
        request: Request<BeginCheckoutRequest>,
    ) -> Result<Response<BeginCheckoutResponse>, Status> {
        let request = request.into_inner();
        // Inventory checks what it is asked; there is no second copy of its rules here.
        let hold = self
            .orders
            .stock
            .reserve(ReserveRequest {
                request_id: request.request_id,
                sale_id: request.sale_id,
                buyer_id: request.buyer_id,
                lines: request.lines.into_iter().map(encode::line).collect(),
                admission: request.admission,
            })
            .await?;
        Ok(Response::new(BeginCheckoutResponse {
            hold_id: hold.hold_id,
            lines: hold.lines.into_iter().map(encode::held_line).collect(),
            total: hold.total,
            expire_time: hold.expire_time,
        }))
    }

    async fn place_order(
        &self,
        request: Request<PlaceOrderRequest>,
    ) -> Result<Response<PlaceOrderResponse>, Status> {
        let request = request.into_inner();
        let contact = request.contact.unwrap_or_default();
        let contact =
            Contact::new(&contact.email, &contact.name, &contact.locale).map_err(Failure::from)?;
        let details = Details::new(contact, &request.payment_method).map_err(Failure::from)?;
        let asked = PlaceHoldRequest {
            request_id: request.request_id,
            sale_id: request.sale_id,
            buyer_id: request.buyer_id,
            hold_id: request.hold_id,
            lines: request.lines.into_iter().map(encode::line).collect(),
            admission: request.admission,
            order_details: String::new(),
        };
        let order = self.orders.place(asked, details).await?;
        Ok(Response::new(PlaceOrderResponse { order: Some(encode::order(order)) }))
    }

    async fn get_order(
        &self,
        request: Request<GetOrderRequest>,
    ) -> Result<Response<GetOrderResponse>, Status> {
        let request = request.into_inner();
        let (sale_id, order_id, buyer_id) =
            order_ids(&request.sale_id, &request.order_id, &request.buyer_id)?;
        let order = self.orders.get(sale_id, order_id, buyer_id).await?;
        Ok(Response::new(GetOrderResponse { order: Some(encode::order(order)) }))
    }

    type WatchOrderStream = Pin<Box<dyn Stream<Item = Result<WatchOrderResponse, Status>> + Send>>;

    async fn watch_order(
        &self,
        request: Request<WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let request = request.into_inner();
        let (sale_id, order_id, buyer_id) =
            order_ids(&request.sale_id, &request.order_id, &request.buyer_id)?;
        // Watched before it is read: no change falls in between.
        let changes = self.orders.hub.watch(order_id)?;
        let order = self.orders.get(sale_id, order_id, buyer_id).await?;
        changes.seen(order.updated_at);
        let first = answer(order.clone());
        let watcher = Watcher {
            record: self.orders.record.clone(),
            ended: self.drain.token(),
            changes,
            sale_id,
            buyer_id: buyer_id.map(str::to_owned),
            told: order,
        };
        // No task and no queue of its own: who is looked at reads when there is something new and room for it on the connection.
        let later = stream::unfold(watcher, |mut watcher| async move {
            let order = watcher.next().await?;
            Some((answer(order), watcher))
        });
        Ok(Response::new(Box::pin(stream::once(future::ready(first)).chain(later))))
    }

    async fn cancel_order(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        let request = request.into_inner();
        // Required as on every mutating call; the order id decides, so that a cancellation takes place once.
        wire::request_id(&request.request_id)?;
        let buyer_id = wire::printable("buyer_id", &request.buyer_id, MAX_BUYER_CHARS)?;
        let (sale_id, order_id, _) = order_ids(&request.sale_id, &request.order_id, buyer_id)?;
        let order = self.orders.cancel(sale_id, order_id, buyer_id).await?;
        Ok(Response::new(CancelOrderResponse { order: Some(encode::order(order)) }))
    }

    async fn list_orders(
        &self,
        request: Request<ListOrdersRequest>,
    ) -> Result<Response<ListOrdersResponse>, Status> {
        let request = request.into_inner();
        let sale_id = wire::uuid("sale_id", &request.sale_id, Reason::ArgumentInvalid)?;
        let state = encode::recorded_state(request.state)?;
        let page_size = page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE)?;
        let buyer_id = some_buyer(&request.buyer_id)?;
        let (buyer, stands) = (buyer_id.unwrap_or_default(), state.unwrap_or_default());
        let list = ["orders", request.sale_id.as_str(), buyer, stands];
        let after = page::key(&list, &request.page_token)?;
        let filter = Filter { sale_id, buyer_id: buyer_id.map(str::to_owned), state };
        let (orders, next) = self.orders.list(&filter, after, page_size).await?;
        Ok(Response::new(ListOrdersResponse {
            orders: orders.into_iter().map(encode::order).collect(),
            next_page_token: page::token(&list, next.as_ref()),
        }))
    }
}
