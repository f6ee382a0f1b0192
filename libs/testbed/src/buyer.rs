//! A buyer, as the public calls know one.

use flashsale_proto::{
    checkout::{
        BeginCheckoutRequest, CancelOrderRequest, Contact, GetOrderRequest, Line,
        PlaceOrderRequest, RetryPaymentRequest, WatchOrderRequest,
    },
    inventory::{self, ExtendHoldRequest, ReleaseHoldRequest, ReserveRequest},
    waitingroom::JoinRequest,
};
use uuid::Uuid;

/// What a buyer says in each call. When they call, how often again, and what an answer means to
/// them is for the tool to decide.
#[derive(Debug, Clone)]
pub struct Buyer {
    pub sale_id: String,
    pub buyer_id: String,
    pub contact: Contact,
}

impl Buyer {
    /// A buyer with an address at example.com and the language of the shop.
    pub fn new(sale_id: impl ToString, buyer_id: String, name: String) -> Self {
        let email = format!("{buyer_id}@example.com");
        let contact = Contact { email, name, locale: String::new() };
        Self { sale_id: sale_id.to_string(), buyer_id, contact }
    }

    /// Asks for a place in the line.
    pub fn join(&self, request_id: Uuid) -> JoinRequest {
        JoinRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id.clone(),
            buyer_id: self.buyer_id.clone(),
            ticket: String::new(),
        }
    }

    /// Takes units at inventory. Without a waiting room the admission is empty.
    pub fn reserve(
        &self,
        request_id: Uuid,
        lines: Vec<inventory::Line>,
        admission: String,
    ) -> ReserveRequest {
        ReserveRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id.clone(),
            buyer_id: self.buyer_id.clone(),
            lines,
            admission,
        }
    }

    /// Keeps a hold for longer.
    pub fn extend(&self, request_id: Uuid, hold_id: &str) -> ExtendHoldRequest {
        ExtendHoldRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id.clone(),
            buyer_id: self.buyer_id.clone(),
            hold_id: hold_id.to_owned(),
        }
    }

    /// Gives a hold back.
    pub fn release(&self, request_id: Uuid, hold_id: &str) -> ReleaseHoldRequest {
        ReleaseHoldRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id.clone(),
            buyer_id: self.buyer_id.clone(),
            hold_id: hold_id.to_owned(),
        }
    }

    /// Fills a cart. Without a waiting room the admission is empty.
    pub fn begin(
        &self,
        request_id: Uuid,
        lines: Vec<Line>,
        admission: String,
    ) -> BeginCheckoutRequest {
        BeginCheckoutRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id.clone(),
            buyer_id: self.buyer_id.clone(),
            lines,
            admission,
        }
    }

    /// Places an order from a hold, or straight from lines when `hold_id` is empty.
    pub fn place(
        &self,
        request_id: Uuid,
        hold_id: String,
        lines: Vec<Line>,
        admission: String,
        card: &str,
    ) -> PlaceOrderRequest {
        let of_buyer = PlaceOrderRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id.clone(),
            buyer_id: self.buyer_id.clone(),
            contact: Some(self.contact.clone()),
            ..PlaceOrderRequest::default()
        };
        PlaceOrderRequest { hold_id, lines, admission, payment_method: card.to_owned(), ..of_buyer }
    }

    /// Cancels an order.
    pub fn cancel(&self, request_id: Uuid, order_id: &str) -> CancelOrderRequest {
        CancelOrderRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id.clone(),
            order_id: order_id.to_owned(),
            buyer_id: self.buyer_id.clone(),
        }
    }

    /// Asks to pay an order with another card.
    pub fn retry_payment(
        &self,
        request_id: Uuid,
        order_id: &str,
        payment_method: &str,
    ) -> RetryPaymentRequest {
        RetryPaymentRequest {
            request_id: request_id.to_string(),
            sale_id: self.sale_id.clone(),
            order_id: order_id.to_owned(),
            buyer_id: self.buyer_id.clone(),
            payment_method: payment_method.to_owned(),
        }
    }

    /// Asks how an order stands.
    pub fn get(&self, order_id: &str) -> GetOrderRequest {
        GetOrderRequest {
            sale_id: self.sale_id.clone(),
            order_id: order_id.to_owned(),
            buyer_id: self.buyer_id.clone(),
        }
    }

    /// Follows an order.
    pub fn watch(&self, order_id: &str) -> WatchOrderRequest {
        WatchOrderRequest {
            sale_id: self.sale_id.clone(),
            order_id: order_id.to_owned(),
            buyer_id: self.buyer_id.clone(),
        }
    }
}
