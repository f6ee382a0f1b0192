//! Wake-ups between the tasks of this process. A lost wake-up costs a poll interval.

use tokio::sync::{Notify, mpsc};
use uuid::Uuid;

use crate::domain::Kind;

/// The most orders that wait to be settled. The poll finds those that do not fit.
const PENDING_ORDERS: usize = 4_096;

/// Wakes the outbox dispatchers, the settlement and the task of parked orders.
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
    /// The wake-ups of one worker, and the receiving end of [`Self::payment_changed`].
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

    /// What wakes the dispatcher of `kind`.
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

    /// Wakes the dispatchers of `kinds`.
    pub fn handlers<'a>(&self, kinds: impl IntoIterator<Item = &'a Kind>) {
        for kind in kinds {
            self.of(*kind).notify_one();
        }
    }

    /// What wakes the task of parked orders.
    pub fn parked(&self) -> &Notify {
        &self.parked
    }

    /// Has the settlement compare an order with its payment soon.
    pub fn payment_changed(&self, order_id: Uuid) {
        // Full: the poll finds it.
        let _ = self.payments.try_send(order_id);
    }
}
