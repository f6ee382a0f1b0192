//! How parts of this process tell each other that there is work. Losing a wake-up costs a poll interval, nothing else.

use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::domain::Kind;

/// Orders whose payments changed, waiting to be looked at. What does not fit is found by the slow poll.
const PENDING_ORDERS: usize = 4_096;

/// Wakes the carriers, the settlement and whoever sees to parked orders.
#[derive(Debug)]
pub struct Wakeups {
    charge: Notify,
    cancel_charge: Notify,
    refund: Notify,
    close_hold: Notify,
    mail: Notify,
    event: Notify,
    parked: Notify,
    payments: mpsc::Sender<Uuid>,
}

impl Wakeups {
    /// The wake-ups of one worker, and the orders the settlement is to look at.
    pub fn new() -> (Self, mpsc::Receiver<Uuid>) {
        let (payments, pending) = mpsc::channel(PENDING_ORDERS);
        let wakeups = Self {
            charge: Notify::new(),
            cancel_charge: Notify::new(),
            refund: Notify::new(),
            close_hold: Notify::new(),
            mail: Notify::new(),
            event: Notify::new(),
            parked: Notify::new(),
            payments,
        };
        (wakeups, pending)
    }

    /// What wakes the carrier of `kind`.
    pub fn of(&self, kind: Kind) -> &Notify {
        match kind {
            Kind::Charge => &self.charge,
            Kind::CancelCharge => &self.cancel_charge,
            Kind::Refund => &self.refund,
            Kind::CloseHold => &self.close_hold,
            Kind::Mail => &self.mail,
            Kind::Event => &self.event,
        }
    }

    /// Wakes the carriers of `kinds`.
    pub fn carriers<'a>(&self, kinds: impl IntoIterator<Item = &'a Kind>) {
        for kind in kinds {
            self.of(*kind).notify_one();
        }
    }

    /// What says that orders were parked.
    pub fn parked(&self) -> &Notify {
        &self.parked
    }

    /// Has the settlement look at an order soon.
    pub fn payment_changed(&self, order_id: Uuid) {
        // Full: the poll finds it.
        let _ = self.payments.try_send(order_id);
    }
}
