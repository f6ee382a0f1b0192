//! `CheckoutService`.

use std::pin::Pin;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    checkout::{
        self, BeginCheckoutRequest, BeginCheckoutResponse, CancelOrderRequest, CancelOrderResponse,
        GetOrderRequest, GetOrderResponse, ListOrdersRequest, ListOrdersResponse,
        PlaceOrderRequest, PlaceOrderResponse, RetryPaymentRequest, RetryPaymentResponse,
        WatchOrderRequest, WatchOrderResponse, checkout_service_server::CheckoutService,
    },
    inventory::{PlaceHoldRequest, ReserveRequest},
};
use flashsale_service::{Drain, page, wire};
use futures::{Stream, StreamExt as _};
use tonic::{Request, Response, Status};

use super::{
    decode::{self, buyer, order_ids, some_buyer},
    encode,
};
use crate::{
    app::Orders,
    domain::{Contact, Details, Order, OrderFilter, Recorded, payment_method},
};

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 500;

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

/// An order as a request may see it: what its buyer has to do is for one that names the buyer.
fn read(order: Order, buyer_id: Option<&str>) -> Option<checkout::Order> {
    Some(if buyer_id.is_some() { encode::order_of_buyer(order) } else { encode::order(order) })
}

#[tonic::async_trait]
impl CheckoutService for Checkout {
    async fn begin_checkout(
        &self,
        request: Request<BeginCheckoutRequest>,
    ) -> Result<Response<BeginCheckoutResponse>, Status> {
        let request = request.into_inner();
        // Inventory validates these fields; its rules are not repeated here.
        let hold = self
            .orders
            .begin(ReserveRequest {
                request_id: request.request_id,
                sale_id: request.sale_id,
                buyer_id: request.buyer_id,
                lines: request.lines.into_iter().map(decode::line).collect(),
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
        let hold_request = PlaceHoldRequest {
            request_id: request.request_id,
            sale_id: request.sale_id,
            buyer_id: request.buyer_id,
            hold_id: request.hold_id,
            lines: request.lines.into_iter().map(decode::line).collect(),
            admission: request.admission,
            order_details: String::new(),
            expected_total: decode::expected_total(request.expected_total)?,
        };
        let order = self.orders.place(hold_request, details).await?;
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
        Ok(Response::new(GetOrderResponse { order: read(order, buyer_id) }))
    }

    type WatchOrderStream = Pin<Box<dyn Stream<Item = Result<WatchOrderResponse, Status>> + Send>>;

    async fn watch_order(
        &self,
        request: Request<WatchOrderRequest>,
    ) -> Result<Response<Self::WatchOrderStream>, Status> {
        let request = request.into_inner();
        let (sale_id, order_id, buyer_id) =
            order_ids(&request.sale_id, &request.order_id, &request.buyer_id)?;
        let orders = self.orders.watch(sale_id, order_id, buyer_id, self.drain.token()).await?;
        let buyer_id = buyer_id.map(str::to_owned);
        let answers = orders
            .map(move |order| Ok(WatchOrderResponse { order: read(order, buyer_id.as_deref()) }));
        Ok(Response::new(Box::pin(answers)))
    }

    async fn retry_payment(
        &self,
        request: Request<RetryPaymentRequest>,
    ) -> Result<Response<RetryPaymentResponse>, Status> {
        let request = request.into_inner();
        let request_id = wire::request_id(&request.request_id)?;
        let buyer_id = buyer(&request.buyer_id)?;
        let (sale_id, order_id, _) = order_ids(&request.sale_id, &request.order_id, buyer_id)?;
        let method = payment_method(&request.payment_method).map_err(Failure::from)?;
        let order =
            self.orders.retry_payment(request_id, sale_id, order_id, buyer_id, method).await?;
        Ok(Response::new(RetryPaymentResponse { order: Some(encode::order_of_buyer(order)) }))
    }

    async fn cancel_order(
        &self,
        request: Request<CancelOrderRequest>,
    ) -> Result<Response<CancelOrderResponse>, Status> {
        let request = request.into_inner();
        // Required as on every mutating call, but not used: the order id makes a cancellation
        // idempotent.
        wire::request_id(&request.request_id)?;
        let buyer_id = buyer(&request.buyer_id)?;
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
        let state = decode::recorded_state(request.state)?;
        let page_size = page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE)?;
        let buyer_id = some_buyer(&request.buyer_id)?;
        let (buyer, state_name) =
            (buyer_id.unwrap_or_default(), state.map_or("", Recorded::as_str));
        let filter = OrderFilter { sale_id, buyer_id: buyer_id.map(str::to_owned), state };
        let since_text;
        let mut list = vec!["orders", request.sale_id.as_str(), buyer, state_name];
        let (orders, next) = match &request.updated_after {
            None => {
                let after = page::key(&list, &request.page_token)?;
                self.orders.list(&filter, after, page_size).await?
            }
            Some(since) => {
                since_text = format!("{}.{:09}", since.seconds, since.nanos);
                list.extend(["updated after", since_text.as_str()]);
                let since = wire::datetime("updated_after", since)?;
                let after = page::key(&list, &request.page_token)?;
                self.orders.list_changed(&filter, since, after, page_size).await?
            }
        };
        Ok(Response::new(ListOrdersResponse {
            orders: orders.into_iter().map(encode::order).collect(),
            next_page_token: page::token(&list, next.as_ref()),
        }))
    }
}
