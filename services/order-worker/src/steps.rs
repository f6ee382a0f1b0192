//! The steps of the order worker: each statement, commit, call, publish, purge and mail is one at
//! which a fault suite may kill the process.

flashsale_failpoint::steps! {
    pub(crate) const COMMIT_CLAIMS = "commit/claims";
    pub(crate) const COMMIT_DEAD_LETTERS = "commit/dead_letters";
    pub(crate) const COMMIT_PARKED = "commit/parked";
    pub(crate) const COMMIT_PAYMENT_RECORDED = "commit/payment_recorded";
    pub(crate) const COMMIT_SETTLEMENT = "commit/settlement";
    pub(crate) const CONSUMER_CREATE = "consumer/create";
    pub(crate) const CONSUMER_DELETE = "consumer/delete";
    pub(crate) const INVENTORY_GET_HOLD = "inventory/get_hold";
    pub(crate) const INVENTORY_RETAKE = "inventory/retake";
    pub(crate) const INVENTORY_SETTLE = "inventory/settle";
    pub(crate) const MAIL_SEND = "mail/send";
    pub(crate) const PAYMENT_CANCEL = "payment/cancel";
    pub(crate) const PAYMENT_CREATE = "payment/create";
    pub(crate) const PAYMENT_REFUND = "payment/refund";
    pub(crate) const PUBLISH_AGAIN = "publish/again";
    pub(crate) const PUBLISH_EVENT = "publish/event";
    pub(crate) const PURGE_ORDERS = "purge/orders";
    pub(crate) const SQL_DEAD_LETTER = "sql/dead_letter";
    pub(crate) const SQL_DEAD_LETTERS_DUE = "sql/dead_letters_due";
    pub(crate) const SQL_DEAD_LETTERS_LIST = "sql/dead_letters_list";
    pub(crate) const SQL_DEAD_LETTERS_OPEN = "sql/dead_letters_open";
    pub(crate) const SQL_DEAD_LETTERS_RETRY = "sql/dead_letters_retry";
    pub(crate) const SQL_LINES_FOR_MAIL = "sql/lines_for_mail";
    pub(crate) const SQL_ORDER_SALE = "sql/order_sale";
    pub(crate) const SQL_ORDERS_FOR_EVENTS = "sql/orders_for_events";
    pub(crate) const SQL_ORDERS_FOR_HOLDS = "sql/orders_for_holds";
    pub(crate) const SQL_ORDERS_FOR_MAIL = "sql/orders_for_mail";
    pub(crate) const SQL_OUTBOX_AGES = "sql/outbox_ages";
    pub(crate) const SQL_OUTBOX_DONE = "sql/outbox_done";
    pub(crate) const SQL_OUTBOX_LEASE = "sql/outbox_lease";
    pub(crate) const SQL_OUTBOX_RETRY = "sql/outbox_retry";
    pub(crate) const SQL_OVERSOLD = "sql/oversold";
    pub(crate) const SQL_PARKED_AGES = "sql/parked_ages";
    pub(crate) const SQL_PARKED_LEASE = "sql/parked_lease";
    pub(crate) const SQL_PARKED_PUT_OFF = "sql/parked_put_off";
    pub(crate) const SQL_PARKED_SALES = "sql/parked_sales";
    pub(crate) const SQL_POSITION_BEGIN = "sql/position_begin";
    pub(crate) const SQL_POSITION_READ = "sql/position_read";
    pub(crate) const SQL_POSITION_RESTART = "sql/position_restart";
    pub(crate) const SQL_SETTLE_ENDED = "sql/settle_ended";
    pub(crate) const SQL_SETTLE_OPEN = "sql/settle_open";
    pub(crate) const SQL_TRANSITIONS_LIST = "sql/transitions_list";
    pub(crate) const STREAM_EVENTS = "stream/events";
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use flashsale_failpoint::{KillPoint, Moment};

    use super::*;

    /// Each is armed by its name: that is what a fault suite knows.
    #[test]
    fn every_step_is_reachable_by_name() {
        for (name, moment) in all().into_iter().flat_map(|name| Moment::ALL.map(|at| (name, at))) {
            let point: KillPoint = format!("{name}:{moment}:1").parse().unwrap();
            assert_eq!((point.step.as_str(), point.moment), (name, moment));
            assert!(named(name).is_some(), "{name}");
        }
    }
}
