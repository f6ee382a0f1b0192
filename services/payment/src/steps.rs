//! The steps of payment: each statement and commit that changes the record is one at which a fault
//! suite may kill the process. Reads are not steps.

flashsale_failpoint::steps! {
    pub(crate) const COMMIT_ABANDON = "commit/abandon";
    pub(crate) const COMMIT_BUDGET = "commit/budget";
    pub(crate) const COMMIT_CANCEL = "commit/cancel";
    pub(crate) const COMMIT_DISPUTE = "commit/dispute";
    pub(crate) const COMMIT_FORCE = "commit/force";
    pub(crate) const COMMIT_ORPHAN = "commit/orphan";
    pub(crate) const COMMIT_PAYMENTS = "commit/payments";
    pub(crate) const COMMIT_REFUND = "commit/refund";
    pub(crate) const COMMIT_REFUND_FITTED = "commit/refund_fitted";
    pub(crate) const COMMIT_REFUND_LEARNT = "commit/refund_learnt";
    pub(crate) const COMMIT_RETRY = "commit/retry";
    pub(crate) const COMMIT_SETTLE = "commit/settle";
    pub(crate) const SQL_ADVANCE_COMPARISON = "sql/advance_comparison";
    pub(crate) const SQL_AWAIT_BUYER = "sql/await_buyer";
    pub(crate) const SQL_BEGIN_CANCEL = "sql/begin_cancel";
    pub(crate) const SQL_BEGIN_CONFIRM = "sql/begin_confirm";
    pub(crate) const SQL_BEGIN_CREATE = "sql/begin_create";
    pub(crate) const SQL_BIND_ACCOUNT = "sql/bind_account";
    pub(crate) const SQL_CLOSE_CARDS = "sql/close_cards";
    pub(crate) const SQL_END_UNBEGUN = "sql/end_unbegun";
    pub(crate) const SQL_END_WAITED_OUT = "sql/end_waited_out";
    pub(crate) const SQL_FORGET_EVENTS = "sql/forget_events";
    pub(crate) const SQL_GIVE_UP = "sql/give_up";
    pub(crate) const SQL_LEASE_COMPARISON = "sql/lease_comparison";
    pub(crate) const SQL_LEASE_PAYMENT = "sql/lease_payment";
    pub(crate) const SQL_LEASE_PAYMENTS = "sql/lease_payments";
    pub(crate) const SQL_LEASE_REFUNDS = "sql/lease_refunds";
    pub(crate) const SQL_MAKE_DUE = "sql/make_due";
    pub(crate) const SQL_MAKE_REFUND_DUE = "sql/make_refund_due";
    pub(crate) const SQL_NAME_UNUSED_INTENT = "sql/name_unused_intent";
    pub(crate) const SQL_NEXT_GENERATION = "sql/next_generation";
    pub(crate) const SQL_NEXT_TRY = "sql/next_try";
    pub(crate) const SQL_NOTE_DIFFERENCES = "sql/note_differences";
    pub(crate) const SQL_NOTE_EVENT = "sql/note_event";
    pub(crate) const SQL_OPEN_BUDGET = "sql/open_budget";
    pub(crate) const SQL_PUT_BACK = "sql/put_back";
    pub(crate) const SQL_PUT_BACK_REFUND = "sql/put_back_refund";
    pub(crate) const SQL_RECONCILE = "sql/reconcile";
    pub(crate) const SQL_RECORD_DECLINE = "sql/record_decline";
    pub(crate) const SQL_RECORD_INTENT = "sql/record_intent";
    pub(crate) const SQL_RELEASE_PAYMENT = "sql/release_payment";
    pub(crate) const SQL_SLOW_DOWN = "sql/slow_down";
    pub(crate) const SQL_TAKE_TURN = "sql/take_turn";
    pub(crate) const SQL_TAKE_UP_COMPARING = "sql/take_up_comparing";
    pub(crate) const SQL_WAKE_PAYMENT = "sql/wake_payment";
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
