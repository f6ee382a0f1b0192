//! A buyer for whom a shop's backend calls, in a trace of the shop's own.

use flashsale_proto::{
    NamedChannel,
    checkout::{Line, Order, OrderState, checkout_service_client::CheckoutServiceClient},
    waitingroom::{
        GetPositionRequest, Outlook, Position, WatchPositionRequest,
        waiting_room_service_client::WaitingRoomServiceClient,
    },
};
use flashsale_testbed::{buyer::Buyer, eventually};
use tonic::{Request, Status};
use uuid::Uuid;

pub(crate) const SKU: &str = "TW-MUG-01";

#[derive(Debug, Clone)]
pub(crate) struct Shopper {
    pub(crate) channel: NamedChannel,
    pub(crate) buyer: Buyer,
    /// The shop's own `traceparent`.
    pub(crate) traceparent: String,
    pub(crate) ticket: String,
    pub(crate) admission: String,
}

impl Shopper {
    /// A buyer with a name that is easy to find in a log.
    pub(crate) fn new(channel: NamedChannel, sale_id: &str, name: &str) -> Self {
        let (trace, span) = (Uuid::new_v4().simple(), &Uuid::new_v4().simple().to_string()[..16]);
        let buyer_id = format!("buyer-{}", name.to_lowercase());
        let mut buyer = Buyer::new(sale_id, buyer_id, format!("{name} Quixotic"));
        buyer.contact.email = format!("{}@buyers.example", name.to_lowercase());
        Self {
            channel,
            buyer,
            traceparent: format!("00-{trace}-{span}-01"),
            ticket: String::new(),
            admission: String::new(),
        }
    }

    /// The ids of the trace and of the shop's span in it.
    pub(crate) fn trace(&self) -> (Vec<u8>, Vec<u8>) {
        let bytes = |hex: &str| -> Vec<u8> {
            let starts = (0..hex.len()).step_by(2);
            starts.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        };
        let parts: Vec<&str> = self.traceparent.split('-').collect();
        (bytes(parts[1]), bytes(parts[2]))
    }

    fn traced<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("traceparent", self.traceparent.parse().unwrap());
        request
    }

    /// Joins the line and waits for the admission.
    pub(crate) async fn come_in(&mut self) {
        let mut room = WaitingRoomServiceClient::new(self.channel.clone());
        let join = self.buyer.join(Uuid::new_v4());
        self.ticket = room.join(self.traced(join)).await.unwrap().into_inner().ticket;
        let watch = self.traced(WatchPositionRequest { ticket: self.ticket.clone() });
        let mut line = room.watch_position(watch).await.unwrap().into_inner();
        while self.admission.is_empty() {
            let position = line.message().await.unwrap().unwrap().position.unwrap();
            assert!(
                matches!(position.outlook(), Outlook::Admitted | Outlook::Waiting),
                "{position:?}"
            );
            self.admission = position.admission;
        }
    }

    /// Asks for the position of the ticket.
    pub(crate) async fn asks(&self) -> Position {
        let mut room = WaitingRoomServiceClient::new(self.channel.clone());
        let get = self.traced(GetPositionRequest { ticket: self.ticket.clone() });
        room.get_position(get).await.unwrap().into_inner().position.unwrap()
    }

    pub(crate) async fn place(&self, quantity: i64, card: &str) -> Result<Order, Status> {
        let lines = vec![Line { sku: SKU.to_owned(), quantity }];
        let (request_id, admission) = (Uuid::new_v4(), self.admission.clone());
        let place = self.buyer.place(request_id, String::new(), lines, admission, card);
        let mut checkout = CheckoutServiceClient::new(self.channel.clone());
        Ok(checkout.place_order(self.traced(place)).await?.into_inner().order.unwrap())
    }

    /// Waits until an order has reached a state.
    pub(crate) async fn sees(&self, order: &Order, state: OrderState) {
        eventually(&format!("the order is {state:?}"), || async {
            let get = self.buyer.get(&order.order_id);
            let mut checkout = CheckoutServiceClient::new(self.channel.clone());
            let now = checkout.get_order(get).await.unwrap().into_inner().order.unwrap();
            (now.state() == state).then_some(())
        })
        .await;
    }
}
