//! The compare-and-sets and the budget on a real Postgres, with many at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{collections::HashSet, time::Duration};

use common::{claimed, record_sale};
use flashsale_payment::{
    domain::{NotPayable, Outcome, Payment, State},
    store::{Cancelled, NewPayment, Recorded, SettleResult, Settled, Store},
};
use flashsale_record::OrderState;
use flashsale_testbed::{TestPg, fixtures};
use futures::future::join_all;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(60);
const CAPTURED: Outcome = Outcome::Captured { received: 1_999 };

struct Bench {
    pg: TestPg,
    store: Store,
    sale: Uuid,
}

async fn bench() -> Bench {
    let pg = flashsale_testbed::postgres().await;
    let store = Store::new(pg.pool_of("payment"));
    let sale = record_sale(&pg).await;
    Bench { pg, store, sale }
}

impl Bench {
    /// The payment of an order that is recorded and waits for it.
    async fn new_payment(&self) -> NewPayment {
        self.new_payments(1).await.remove(0)
    }

    async fn new_payments(&self, count: usize) -> Vec<NewPayment> {
        let orders: Vec<_> = (0..count).map(|_| claimed(self.sale, "pm_card_visa")).collect();
        fixtures::record_orders(&self.pg.pool, &orders).await.unwrap();
        let new = orders.iter().map(|order| order.order_id);
        new.map(|order_id| NewPayment { order_id, traceparent: None }).collect()
    }

    async fn recorded(&self) -> Uuid {
        let payment = self.new_payment().await;
        let recorded = self.store.record(std::slice::from_ref(&payment)).await.unwrap();
        assert!(matches!(recorded, Recorded::All(_)));
        payment.order_id
    }

    /// A payment whose intent `pi_<order>` is being confirmed.
    async fn processing(&self) -> (Uuid, String) {
        let order = self.recorded().await;
        let intent = format!("pi_{order}");
        assert!(self.store.record_intent(order, &intent).await.unwrap());
        assert!(self.store.begin_confirm(order, &intent).await.unwrap());
        (order, intent)
    }

    async fn state(&self, order: Uuid) -> State {
        self.store.payment(order).await.unwrap().unwrap().state
    }

    async fn refunds(&self) -> Vec<(Uuid, String)> {
        let all = "SELECT order_id, reason FROM refunds";
        sqlx::query_as(all).fetch_all(&self.pg.pool).await.unwrap()
    }
}

fn cancelled(outcome: Cancelled) -> Payment {
    let Cancelled::Payment(payment) = outcome else { panic!("{outcome:?}") };
    payment
}

#[tokio::test]
async fn a_payment_has_one_lease_at_a_time() {
    let bench = bench().await;
    let payments = bench.new_payments(100).await;
    bench.store.record(&payments).await.unwrap();
    let leases = (0..20).map(|_| bench.store.lease(10, LEASE));
    let mut taken = HashSet::new();
    for lease in join_all(leases).await {
        for payment in lease.unwrap() {
            assert!(taken.insert(payment.order_id), "taken up twice");
            assert_eq!(payment.attempts, 1);
            assert!(payment.first_attempt_at.is_some());
        }
    }
    assert_eq!(taken.len(), 100);
    assert!(bench.store.lease(10, LEASE).await.unwrap().is_empty());
}

#[tokio::test]
async fn only_the_lease_holder_puts_back() {
    let bench = bench().await;
    let order = bench.recorded().await;
    let taken = bench.store.lease(1, LEASE).await.unwrap().remove(0);
    // Not asked after all: the attempt does not count.
    bench.store.put_back(order, Duration::ZERO, false, taken.attempts).await.unwrap();
    let again = bench.store.lease(1, LEASE).await.unwrap().remove(0);
    assert_eq!(again.attempts, 1);
    assert!(again.first_attempt_at > taken.first_attempt_at, "patience began before anybody asked");
    bench.store.put_back(order, Duration::ZERO, true, again.attempts).await.unwrap();
    let third = bench.store.lease(1, LEASE).await.unwrap().remove(0);
    assert_eq!(third.attempts, 2);
    // One that was away for long puts back what it no longer has.
    bench.store.put_back(order, Duration::ZERO, true, 1).await.unwrap();
    assert!(bench.store.lease(1, LEASE).await.unwrap().is_empty());
}

#[tokio::test]
async fn concurrent_outcomes_settle_once() {
    let bench = bench().await;
    let (order, intent) = bench.processing().await;
    let settled = (0..20).map(|_| bench.store.settle(order, &intent, CAPTURED));
    let mut changed = 0;
    for settlement in join_all(settled).await {
        let settlement = settlement.unwrap();
        let SettleResult::Own(settled) = settlement else { panic!("{settlement:?}") };
        assert_eq!(settled.state, State::Succeeded);
        changed += usize::from(settled.changed);
    }
    assert_eq!(changed, 1);
    assert_eq!(bench.store.payment(order).await.unwrap().unwrap().captured_minor, 1_999);
    assert!(bench.refunds().await.is_empty());
}

#[tokio::test]
async fn late_money_is_recorded_with_its_refund() {
    let bench = bench().await;
    let (order, intent) = bench.processing().await;
    bench.store.record_decline(order, "card_declined").await.unwrap();
    let settled = bench.store.settle(order, &intent, Outcome::Canceled).await.unwrap();
    let failed = Settled { state: State::Failed, changed: true };
    assert_eq!(settled, SettleResult::Own(failed));
    for changed in [true, false] {
        let settled = bench.store.settle(order, &intent, CAPTURED).await.unwrap();
        assert_eq!(settled, SettleResult::Own(Settled { state: State::Succeeded, changed }));
        assert_eq!(bench.refunds().await, [(order, "order_ended".to_owned())]);
    }
    let refund = bench.store.lease_refunds(10, LEASE).await.unwrap().remove(0);
    assert_eq!((refund.amount_minor, refund.intent_id), (1_999, intent));
    assert!(bench.store.refund_done(order, "re_1").await.unwrap());
    assert!(!bench.store.refund_done(order, "re_1").await.unwrap());
    assert_eq!(bench.state(order).await, State::Refunded);
}

#[tokio::test]
async fn foreign_outcomes_change_nothing() {
    let bench = bench().await;
    let (order, intent) = bench.processing().await;
    for (order, intent) in [(order, "pi_other"), (Uuid::new_v4(), intent.as_str())] {
        let settled = bench.store.settle(order, intent, CAPTURED).await.unwrap();
        assert_eq!(settled, SettleResult::Foreign);
    }
    let other = Outcome::Captured { received: 1 };
    let settled = bench.store.settle(order, &intent, other).await.unwrap();
    assert!(matches!(settled, SettleResult::Impossible(_)));
    assert_eq!(bench.state(order).await, State::Processing);
}

#[tokio::test]
async fn a_cancellation_first_prevents_confirmation() {
    let bench = bench().await;
    let order = bench.recorded().await;
    bench.store.lease(1, LEASE).await.unwrap();
    assert!(bench.store.record_intent(order, "pi_1").await.unwrap());
    let payment = cancelled(bench.store.cancel(order).await.unwrap());
    assert_eq!((payment.state, payment.cancel_requested), (State::Due, true));
    assert!(!bench.store.begin_confirm(order, "pi_1").await.unwrap());
}

#[tokio::test]
async fn cancelling_while_recording_charges_nothing() {
    let bench = bench().await;
    for _ in 0..30 {
        let new = bench.new_payment().await;
        let (recorded, never) = tokio::join!(
            bench.store.record(std::slice::from_ref(&new)),
            bench.store.cancel(new.order_id),
        );
        assert!(matches!(recorded.unwrap(), Recorded::All(_)));
        assert_eq!(cancelled(never.unwrap()).state, State::Cancelled);
    }
    assert!(bench.store.lease(100, LEASE).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_charge_that_settling_overtakes_keeps_its_cancellation() {
    let bench = bench().await;
    for _ in 0..30 {
        let new = bench.new_payment().await;
        // The payment ends, and its order with it, while the charge is under way.
        let settle = async {
            cancelled(bench.store.cancel(new.order_id).await.unwrap());
            sqlx::query("UPDATE orders SET state = 'CANCELLED' WHERE order_id = $1")
                .bind(new.order_id)
                .execute(&bench.pg.pool)
                .await
                .unwrap();
        };
        let (recorded, ()) = tokio::join!(bench.store.record(std::slice::from_ref(&new)), settle);
        let recorded = recorded.unwrap();
        assert!(matches!(recorded, Recorded::All(_)), "{recorded:?}");
        assert_eq!(bench.state(new.order_id).await, State::Cancelled);
    }
}

#[tokio::test]
async fn one_bad_order_records_no_payment() {
    let bench = bench().await;
    let good = bench.new_payment().await;
    let unknown = NewPayment { order_id: Uuid::new_v4(), traceparent: None };
    let recorded = bench.store.record(&[good.clone(), unknown]).await.unwrap();
    assert!(matches!(recorded, Recorded::Unknown(1)), "{recorded:?}");
    let ended = bench.new_payment().await;
    sqlx::query("UPDATE orders SET state = 'DECLINED' WHERE order_id = $1")
        .bind(ended.order_id)
        .execute(&bench.pg.pool)
        .await
        .unwrap();
    let recorded = bench.store.record(&[ended, good]).await.unwrap();
    let declined = NotPayable::State(OrderState::Declined);
    assert!(matches!(recorded, Recorded::NotPayable(0, _, why) if why == declined), "{recorded:?}");
    let payments: i64 = sqlx::query_scalar("SELECT count(*) FROM payments")
        .fetch_one(&bench.pg.pool)
        .await
        .unwrap();
    assert_eq!(payments, 0);
}

#[tokio::test]
async fn an_order_has_one_intent() {
    let bench = bench().await;
    let order = bench.recorded().await;
    let ids: Vec<String> = (0..10).map(|n| format!("pi_{n}")).collect();
    let recorded = join_all(ids.iter().map(|id| bench.store.record_intent(order, id))).await;
    assert_eq!(recorded.into_iter().filter(|done| *done.as_ref().unwrap()).count(), 1);
    assert!(!bench.store.end_unbegun(order, State::Cancelled).await.unwrap());
}

#[tokio::test]
async fn an_unused_intent_is_recorded() {
    let bench = bench().await;
    let order = bench.recorded().await;
    assert!(bench.store.end_unbegun(order, State::Cancelled).await.unwrap());
    assert!(!bench.store.record_intent(order, "pi_late").await.unwrap(), "it could be confirmed");
    bench.store.name_unused_intent(order, "pi_late").await.unwrap();
    bench.store.name_unused_intent(order, "pi_later").await.unwrap();
    let payment = bench.store.payment(order).await.unwrap().unwrap();
    assert_eq!(payment.intent_id.as_deref(), Some("pi_late"));
    assert_eq!(payment.state, State::Cancelled);
}

#[tokio::test]
async fn turns_at_an_endpoint_are_in_order() {
    let bench = bench().await;
    let store = &bench.store;
    assert_eq!(store.take_turn("test", 1.0, 2.0, 5.0).await.unwrap(), None, "no bucket yet");
    store.open_budget("test", 2.0).await.unwrap();
    store.open_budget("test", 2.0).await.unwrap();
    let turns = join_all((0..20).map(|_| store.take_turn("test", 1.0, 2.0, 5.0))).await;
    let mut debts: Vec<f64> = turns.into_iter().filter_map(Result::unwrap).collect();
    debts.sort_by(|a, b| b.total_cmp(a));
    // Two at once, five on credit; what refilled meanwhile is far below one token a turn.
    assert!((7..=9).contains(&debts.len()), "{debts:?}");
    assert!(debts.windows(2).all(|pair| pair[0] - pair[1] > 0.5), "two got one turn: {debts:?}");
}
