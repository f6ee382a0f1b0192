//! The compare-and-sets and the budget on a real Postgres, with many at once.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{collections::HashSet, time::Duration};

use common::{claimed, record_sale};
use flashsale_payment::{
    domain::{
        Action, BuyersAction, EndReason, Intent, IntentStatus, MadeRefund, NotPayable, Outcome,
        Payment, RefundReport, State,
    },
    store::{
        Allowed, Cancelled, DueRefund, EventNote, Learnt, LearntBy, LeftBehind, NewPayment,
        Recorded, Refused, SettleResult, Settled, Store, Turn,
    },
};
use flashsale_record::OrderState;
use flashsale_testbed::{TestPg, fixtures};
use futures::future::join_all;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(60);
const TURN: Turn = Turn { to_authenticate: LEASE, to_name_cards: LEASE };
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
        let taken = self.leased().await;
        assert!(self.store.begin_confirm(&taken, &intent, LEASE).await.unwrap());
        (order, intent)
    }

    /// The one payment that is due.
    async fn leased(&self) -> Payment {
        let mut taken = self.store.lease(10, LEASE).await.unwrap();
        assert_eq!(taken.len(), 1);
        taken.remove(0)
    }

    async fn put_back(&self, payment: &Payment, left: LeftBehind) {
        self.store.put_back(payment, Duration::ZERO, left).await.unwrap();
    }

    async fn state(&self, order: Uuid) -> State {
        self.store.payment(order).await.unwrap().unwrap().state
    }

    async fn settle(&self, order: Uuid, intent: &str, outcome: Outcome) -> SettleResult {
        self.store.settle(order, intent, outcome, LearntBy::Call, None).await.unwrap()
    }

    /// The kinds and amounts of the ledger, in the order they were written.
    async fn ledger(&self) -> Vec<(String, i64)> {
        let all = "SELECT kind, amount_minor FROM money_moves ORDER BY at, kind";
        sqlx::query_as(all).fetch_all(&self.pg.pool).await.unwrap()
    }

    /// A payment of 19.99 EUR that was captured, and its intent.
    async fn captured(&self) -> (Uuid, String) {
        let (order, intent) = self.processing().await;
        self.settle(order, &intent, CAPTURED).await;
        (order, intent)
    }

    /// The one refund that is due.
    async fn leased_refund(&self) -> DueRefund {
        sqlx::query("UPDATE refunds SET due_at = now()").execute(&self.pg.pool).await.unwrap();
        let mut taken = self.store.lease_refunds(10, LEASE).await.unwrap();
        assert_eq!(taken.len(), 1);
        taken.remove(0)
    }

    async fn refunds(&self) -> Vec<(Uuid, String)> {
        let all = "SELECT order_id, reason FROM refunds";
        sqlx::query_as(all).fetch_all(&self.pg.pool).await.unwrap()
    }
}

fn cancelled(outcome: Cancelled) -> Payment {
    let Cancelled::Payment(payment) = outcome else { panic!("{outcome:?}") };
    *payment
}

#[tokio::test]
async fn a_payment_has_one_lease_at_a_time() {
    let bench = bench().await;
    let payments = bench.new_payments(100).await;
    bench.store.record(&payments).await.unwrap();
    let mut taken = HashSet::new();
    // Many that look at the same ones at once may leave some to the next look.
    loop {
        let before = taken.len();
        for lease in join_all((0..20).map(|_| bench.store.lease(10, LEASE))).await {
            for payment in lease.unwrap() {
                assert!(taken.insert(payment.order_id), "taken up twice");
                assert_eq!(payment.attempts, 1);
                assert!(payment.lease_id.is_some() && payment.first_attempt_at.is_none());
            }
        }
        if taken.len() == before {
            break;
        }
    }
    assert_eq!(taken.len(), 100);
    assert!(bench.store.lease(10, LEASE).await.unwrap().is_empty());
}

fn became(state: State) -> Settled {
    Settled { state, changed: true, another_amount: false }
}

#[tokio::test]
async fn only_the_lease_holder_puts_back() {
    let bench = bench().await;
    bench.recorded().await;
    let taken = bench.leased().await;
    // Not asked after all: the attempt does not count.
    bench.put_back(&taken, LeftBehind { unheard: true, ..LeftBehind::default() }).await;
    let again = bench.leased().await;
    assert_eq!(again.attempts, 1);
    bench.put_back(&again, LeftBehind { attempt: true, ..LeftBehind::default() }).await;
    let third = bench.leased().await;
    assert_eq!(third.attempts, 2);
    // One that was away for long puts back what it no longer has.
    bench.put_back(&again, LeftBehind { attempt: true, ..LeftBehind::default() }).await;
    assert!(bench.store.lease(1, LEASE).await.unwrap().is_empty());
    // And sends nothing.
    assert_eq!(bench.store.begin_create(&again, "a=1", LEASE).await.unwrap(), None);
    assert!(!bench.store.begin_cancel(&again, LEASE).await.unwrap());
    assert!(!bench.store.next_generation(&again).await.unwrap());
}

#[tokio::test]
async fn a_repeated_request_sends_what_the_first_one_sent() {
    let bench = bench().await;
    bench.recorded().await;
    let taken = bench.leased().await;
    assert_eq!(taken.generation, 0);
    let form = bench.store.begin_create(&taken, "amount=1999", LEASE).await.unwrap();
    assert_eq!(form.as_deref(), Some("amount=1999"));
    bench.put_back(&taken, LeftBehind { attempt: true, ..LeftBehind::default() }).await;
    let again = bench.leased().await;
    assert!(again.first_attempt_at.is_some() && again.generation_at.is_some());
    let form = bench.store.begin_create(&again, "amount=1999&new=1", LEASE).await.unwrap();
    assert_eq!(form.as_deref(), Some("amount=1999"));
    // One generation is followed by one other, however many find that it is over.
    assert!(bench.store.next_generation(&again).await.unwrap());
    assert!(!bench.store.next_generation(&again).await.unwrap());
}

#[tokio::test]
async fn a_request_that_was_not_sent_leaves_no_trace() {
    let bench = bench().await;
    let order = bench.recorded().await;
    let taken = bench.leased().await;
    bench.store.begin_create(&taken, "a=1", LEASE).await.unwrap();
    bench.put_back(&taken, LeftBehind { unheard: true, ..LeftBehind::default() }).await;
    let payment = cancelled(bench.store.cancel(order).await.unwrap());
    assert_eq!(payment.state, State::Cancelled, "the provider has never heard of it");
}

/// The version before recorded that it is the buyer's turn, and neither since when nor how.
#[tokio::test]
async fn a_turn_of_the_version_before_is_completed() {
    let bench = bench().await;
    let (order, id) = bench.processing().await;
    let before = "UPDATE payments SET state = 'REQUIRES_ACTION' WHERE order_id = $1";
    sqlx::query(before).bind(order).execute(&bench.pg.pool).await.unwrap();
    let action = BuyersAction { client_secret: "pi_secret_1".to_owned(), redirect_url: None };
    let intent = Intent {
        id,
        status: IntentStatus::RequiresAction,
        method: None,
        received: None,
        decline: None,
        action: Some(action),
        order_id: Some(order),
        deployment: None,
    };
    let payment = bench.store.payment(order).await.unwrap().unwrap();
    let begins = || bench.store.await_buyer(&payment, &intent, Action::Authenticate, TURN);
    assert!(begins().await.unwrap());
    assert!(!begins().await.unwrap(), "it begins once");
    let payment = bench.store.payment(order).await.unwrap().unwrap();
    assert!(payment.turn_at.is_some());
    assert!(!bench.store.await_buyer(&payment, &intent, Action::Authenticate, TURN).await.unwrap());
    assert_eq!(bench.store.payment(order).await.unwrap().unwrap().turn_at, payment.turn_at);
}

/// What the provider asks for holds for the reconciler, too.
#[tokio::test]
async fn a_wait_that_was_asked_for_is_kept() {
    let bench = bench().await;
    bench.recorded().await;
    for (asked_for, found) in [(Some(LEASE), 0), (None, 1)] {
        let taken = bench.leased().await;
        let left = LeftBehind { not_before: asked_for, ..LeftBehind::default() };
        bench.store.put_back(&taken, LEASE, left).await.unwrap();
        let long_ago = "UPDATE payments SET updated_at = now() - interval '1 hour'";
        sqlx::query(long_ago).execute(&bench.pg.pool).await.unwrap();
        assert_eq!(bench.store.reconcile(LEASE).await.unwrap(), found, "{asked_for:?}");
        sqlx::query("UPDATE payments SET due_at = now()").execute(&bench.pg.pool).await.unwrap();
    }
}

#[tokio::test]
async fn failures_count_only_in_a_row() {
    let bench = bench().await;
    bench.recorded().await;
    let fault = LeftBehind { attempt: true, fault: true, ..LeftBehind::default() };
    let answer = LeftBehind { fault: false, ..fault };
    let put_off = LeftBehind::default();
    for (left, failures) in [(fault, 1), (fault, 2), (put_off, 2), (answer, 0), (fault, 1)] {
        let taken = bench.leased().await;
        bench.put_back(&taken, left).await;
        let payment = bench.store.payment(taken.order_id).await.unwrap().unwrap();
        assert_eq!(payment.failures, failures, "{left:?}");
    }
}

#[tokio::test]
async fn concurrent_outcomes_settle_once() {
    let bench = bench().await;
    let (order, intent) = bench.processing().await;
    let settled = (0..20).map(|_| bench.settle(order, &intent, CAPTURED));
    let mut changed = 0;
    for settlement in join_all(settled).await {
        let SettleResult::Own(settled) = settlement else { panic!("{settlement:?}") };
        assert_eq!(settled.state, State::Succeeded);
        changed += usize::from(settled.changed);
    }
    assert_eq!(changed, 1);
    assert_eq!(bench.store.payment(order).await.unwrap().unwrap().captured_minor, 1_999);
    assert_eq!(bench.ledger().await, [("CAPTURED".to_owned(), 1_999)]);
    assert!(bench.refunds().await.is_empty());
}

/// Once its payment has ended, the provider's word of a capture is known and writes nothing: a line
/// that failed by itself would be missing for good.
#[tokio::test]
async fn a_payment_and_its_line_are_committed_together() {
    let bench = bench().await;
    let (order, intent) = bench.processing().await;
    let refuse = "ALTER TABLE money_moves ADD CONSTRAINT full_moon CHECK (kind <> 'CAPTURED')";
    sqlx::query(refuse).execute(&bench.pg.pool).await.unwrap();
    let settled = bench.store.settle(order, &intent, CAPTURED, LearntBy::Call, None).await;
    assert!(settled.is_err(), "{settled:?}");
    let payment = bench.store.payment(order).await.unwrap().unwrap();
    assert_eq!((payment.state, payment.captured_minor), (State::Processing, 0));
    let accept = "ALTER TABLE money_moves DROP CONSTRAINT full_moon";
    sqlx::query(accept).execute(&bench.pg.pool).await.unwrap();
    let settled = bench.settle(order, &intent, CAPTURED).await;
    assert_eq!(settled, SettleResult::Own(became(State::Succeeded)));
    assert_eq!(bench.ledger().await, [("CAPTURED".to_owned(), 1_999)]);
}

/// An event that is known is never taken again, so it must not be before its payment has ended.
#[tokio::test]
async fn an_event_and_its_settlement_are_committed_together() {
    let bench = bench().await;
    let (order, intent) = bench.processing().await;
    // The settlement fails at its commit, when everything in it is done.
    let refuse = "CREATE FUNCTION full_moon() RETURNS trigger LANGUAGE plpgsql
                  AS 'BEGIN RAISE ''full moon''; END'";
    sqlx::query(refuse).execute(&bench.pg.pool).await.unwrap();
    let refuse = "CREATE CONSTRAINT TRIGGER full_moon AFTER UPDATE ON payments
                  DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION full_moon()";
    sqlx::query(refuse).execute(&bench.pg.pool).await.unwrap();
    let event = EventNote { id: "evt_1", kind: "payment_intent.succeeded", intent: Some(&intent) };
    let settle = || bench.store.settle(order, &intent, CAPTURED, LearntBy::Event, Some(event));
    assert!(settle().await.is_err());
    let known = async || bench.store.look_up_event("evt_1", Some(order)).await.unwrap().known;
    assert!(!known().await);
    let accept = "DROP TRIGGER full_moon ON payments";
    sqlx::query(accept).execute(&bench.pg.pool).await.unwrap();
    assert_eq!(settle().await.unwrap(), SettleResult::Own(became(State::Succeeded)));
    assert!(known().await);
}

#[tokio::test]
async fn late_money_is_recorded_with_its_refund() {
    let bench = bench().await;
    let (order, intent) = bench.processing().await;
    let refused = Refused {
        code: "card_declined",
        reference: Some("ch_1"),
        card: Some(1),
        last_card: 1,
        request_id: None,
    };
    assert!(bench.store.record_decline(order, Some(&intent), refused).await.unwrap());
    assert!(!bench.store.record_decline(order, Some(&intent), refused).await.unwrap());
    let settled = bench.settle(order, &intent, Outcome::Canceled).await;
    assert_eq!(settled, SettleResult::Own(became(State::Failed)));
    for changed in [true, false] {
        let settled = bench.settle(order, &intent, CAPTURED).await;
        assert_eq!(settled, SettleResult::Own(Settled { changed, ..became(State::Succeeded) }));
        assert_eq!(bench.refunds().await, [(order, "order_ended".to_owned())]);
    }
    let refund = bench.leased_refund().await;
    assert_eq!((refund.amount_minor, &refund.intent_id), (1_999, &intent));
    let made = made_for(&refund, "re_1", RefundReport::Done);
    for learnt in [Learnt::Done(true), Learnt::Nothing] {
        let word = bench.store.learn_refund(order, &intent, &made, LearntBy::Call);
        assert_eq!(word.await.unwrap(), learnt);
    }
    assert_eq!(bench.state(order).await, State::Refunded);
    let moves = [("CAPTURED".to_owned(), 1_999), ("REFUNDED".to_owned(), 1_999)];
    assert_eq!(bench.ledger().await, moves);
}

#[tokio::test]
async fn foreign_outcomes_change_nothing_and_another_amount_goes_back() {
    let bench = bench().await;
    let (order, intent) = bench.processing().await;
    for (order, intent) in [(order, "pi_other"), (Uuid::new_v4(), intent.as_str())] {
        assert_eq!(bench.settle(order, intent, CAPTURED).await, SettleResult::Foreign);
    }
    let other = Outcome::Captured { received: 1 };
    let settled = bench.settle(order, &intent, other).await;
    assert_eq!(
        settled,
        SettleResult::Own(Settled { another_amount: true, ..became(State::Cancelled) })
    );
    assert_eq!(bench.refunds().await, [(order, "amount_mismatch".to_owned())]);
    let payment = bench.store.payment(order).await.unwrap().unwrap();
    assert_eq!((payment.captured_minor, payment.end_reason), (1, Some(EndReason::AmountMismatch)));
    let again = bench.settle(order, &intent, other).await;
    assert_eq!(again, SettleResult::Own(Settled { changed: false, ..became(State::Cancelled) }));
}

#[tokio::test]
async fn a_cancellation_first_prevents_confirmation() {
    let bench = bench().await;
    let order = bench.recorded().await;
    let taken = bench.leased().await;
    assert!(bench.store.begin_create(&taken, "a=1", LEASE).await.unwrap().is_some());
    assert!(bench.store.record_intent(order, "pi_1").await.unwrap());
    let payment = cancelled(bench.store.cancel(order).await.unwrap());
    assert_eq!((payment.state, payment.cancel_requested), (State::Due, true));
    assert!(!bench.store.begin_confirm(&taken, "pi_1", LEASE).await.unwrap());
    // The wish woke the payment, and did not take it from the worker that has it.
    assert!(bench.store.lease(1, LEASE).await.unwrap().is_empty());
    bench.store.put_back(&taken, LEASE, LeftBehind::default()).await.unwrap();
    assert_eq!(bench.leased().await.order_id, order, "the wish was forgotten");
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
    let allowed = Allowed {
        all_per_s: 100.0,
        endpoint_per_s: 1.0,
        burst_s: 2.0,
        longest_wait: Duration::from_secs(5),
    };
    assert_eq!(store.take_turn("test", allowed).await.unwrap(), None, "no bucket yet");
    store.open_budgets("test", allowed).await.unwrap();
    store.open_budgets("test", allowed).await.unwrap();
    let turns = join_all((0..20).map(|_| store.take_turn("test", allowed))).await;
    let mut waits: Vec<f64> =
        turns.into_iter().filter_map(Result::unwrap).map(|wait| wait.as_secs_f64()).collect();
    waits.sort_by(f64::total_cmp);
    // Two at once, five on credit; what refilled meanwhile is far below one token a turn.
    assert!((7..=9).contains(&waits.len()), "{waits:?}");
    let apart = |pair: &[f64]| pair[1] - pair[0] > 0.5;
    assert!(waits[2..].windows(2).all(apart), "two got one turn: {waits:?}");
    // Those that got none have taken nothing of the common bucket either.
    let all: f64 = sqlx::query_scalar("SELECT tokens FROM provider_budgets WHERE endpoint = 'all'")
        .fetch_one(&bench.pg.pool)
        .await
        .unwrap();
    assert!(all >= 200.0 - 10.0, "{all}");
}

#[tokio::test]
async fn all_endpoints_share_one_budget() {
    let bench = bench().await;
    let store = &bench.store;
    let allowed = Allowed {
        all_per_s: 1.0,
        endpoint_per_s: 100.0,
        burst_s: 1.0,
        longest_wait: Duration::from_secs(3),
    };
    let mut taken = 0;
    for endpoint in ["a", "b", "c", "d", "e", "f"] {
        store.open_budgets(endpoint, allowed).await.unwrap();
        taken += usize::from(store.take_turn(endpoint, allowed).await.unwrap().is_some());
    }
    assert!((4..=5).contains(&taken), "{taken} of 6");
}

#[tokio::test]
async fn a_limited_bucket_goes_at_half_its_rate_and_grows_back() {
    let bench = bench().await;
    let store = &bench.store;
    let allowed = Allowed {
        all_per_s: 1_000.0,
        endpoint_per_s: 40.0,
        burst_s: 0.0,
        longest_wait: Duration::from_secs(60),
    };
    store.open_budgets("test", allowed).await.unwrap();
    // As many as were under way together: one step down.
    for _ in 0..10 {
        store.slow_down("test", 40.0).await.unwrap();
    }
    let rate = || async {
        let effective = "SELECT LEAST(40, rate + EXTRACT(EPOCH FROM clock_timestamp() - rate_at))::float8 \
                         FROM provider_budgets WHERE endpoint = 'test'";
        sqlx::query_scalar::<_, f64>(effective).fetch_one(&bench.pg.pool).await.unwrap()
    };
    let slow = rate().await;
    assert!((20.0..22.0).contains(&slow), "{slow}");
    // Twenty turns on credit take a second at that rate.
    let mut wait = Duration::ZERO;
    for _ in 0..21 {
        wait = store.take_turn("test", allowed).await.unwrap().unwrap();
    }
    assert!((0.6..1.1).contains(&wait.as_secs_f64()), "{wait:?}");
    let ago = "UPDATE provider_budgets SET rate_at = now() - interval '7 seconds' WHERE endpoint = 'test'";
    sqlx::query(ago).execute(&bench.pg.pool).await.unwrap();
    let grown = rate().await;
    assert!((27.0..29.0).contains(&grown), "{grown}");
    let long_ago =
        "UPDATE provider_budgets SET rate_at = now() - interval '1 hour' WHERE endpoint = 'test'";
    sqlx::query(long_ago).execute(&bench.pg.pool).await.unwrap();
    store.slow_down("test", 40.0).await.unwrap();
    let again = rate().await;
    assert!((20.0..22.0).contains(&again), "it had grown beyond what is configured: {again}");
}

#[tokio::test]
async fn payments_are_taken_in_turn_over_sales() {
    let bench = bench().await;
    let many = bench.new_payments(60).await;
    bench.store.record(&many).await.unwrap();
    let sale = record_sale(&bench.pg).await;
    let other = Bench { sale, ..bench };
    let few = other.new_payments(5).await;
    other.store.record(&few).await.unwrap();
    let taken = other.store.lease(10, LEASE).await.unwrap();
    let of_few = taken.iter().filter(|payment| payment.sale_id == other.sale).count();
    assert_eq!((taken.len(), of_few), (10, 5));
    // And what is left is taken, too.
    let rest = other.store.lease(100, LEASE).await.unwrap();
    assert_eq!(rest.len(), 55);
}

/// What the provider says of the present try of a refund.
fn made_for(refund: &DueRefund, id: &str, report: RefundReport) -> MadeRefund {
    MadeRefund {
        id: id.to_owned(),
        intent: Some(refund.intent_id.clone()),
        amount: refund.amount_minor,
        report,
        order_id: Some(refund.order_id),
        made_for: Some((refund.refund_id, refund.r#try)),
    }
}

async fn ask(bench: &Bench, order: Uuid, amount_minor: Option<i64>) {
    let asked = flashsale_payment::store::AskedRefund {
        request_id: Uuid::new_v4(),
        order_id: order,
        amount_minor,
        note: None,
    };
    bench.store.refund(&asked).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_changes_the_ledger() {
    let bench = bench().await;
    bench.captured().await;
    let before = bench.ledger().await;
    for change in [
        "UPDATE money_moves SET amount_minor = 1",
        "DELETE FROM money_moves",
        "TRUNCATE money_moves",
    ] {
        let refused = sqlx::query(change).execute(&bench.pg.pool).await.unwrap_err();
        assert!(refused.to_string().contains("append-only"), "{change}: {refused}");
    }
    assert_eq!(bench.ledger().await, before);
}

#[tokio::test]
async fn a_refund_that_fails_later_is_tried_three_times() {
    let bench = bench().await;
    let (order, intent) = bench.captured().await;
    ask(&bench, order, None).await;
    for number in 1..=3 {
        let refund = bench.leased_refund().await;
        assert_eq!((refund.r#try, refund.amount_minor), (number, 1_999));
        let id = format!("re_{number}");
        let word = |report| {
            let made = made_for(&refund, &id, report);
            let (store, intent) = (bench.store.clone(), intent.clone());
            async move { store.learn_refund(order, &intent, &made, LearntBy::Event).await.unwrap() }
        };
        // The first time that ends the payment; that one fails later does not bring it back.
        assert_eq!(word(RefundReport::Done).await, Learnt::Done(number == 1));
        let failed = if number < 3 { Learnt::Again } else { Learnt::Failed };
        assert_eq!(word(RefundReport::Failed).await, failed);
        assert_eq!(word(RefundReport::Failed).await, Learnt::Nothing, "it is told again");
        let payment = bench.store.payment(order).await.unwrap().unwrap();
        assert_eq!((payment.state, payment.refunded_minor), (State::Refunded, 0));
    }
    assert!(bench.store.lease_refunds(10, LEASE).await.unwrap().is_empty());
    assert_eq!(bench.store.backlog().await.unwrap().refunds_failed, 1);
    // An operator asks once more.
    ask(&bench, order, None).await;
    let refund = bench.leased_refund().await;
    assert_eq!((refund.r#try, refund.amount_minor), (4, 1_999));
    let made = made_for(&refund, "re_4", RefundReport::Done);
    bench.store.learn_refund(order, &intent, &made, LearntBy::Call).await.unwrap();
    assert_eq!(bench.store.payment(order).await.unwrap().unwrap().refunded_minor, 1_999);
    let sum: i64 = bench
        .ledger()
        .await
        .iter()
        .map(
            |(kind, amount)| {
                if kind == "REFUND_FAILED" || kind == "CAPTURED" { *amount } else { -amount }
            },
        )
        .sum();
    assert_eq!(sum, 0, "the ledger does not add up");
}

#[tokio::test]
async fn what_was_given_back_by_hand_is_not_given_back_again() {
    let bench = bench().await;
    let (order, intent) = bench.captured().await;
    ask(&bench, order, Some(600)).await;
    let part = bench.leased_refund().await;
    let done = made_for(&part, "re_1", RefundReport::Done);
    let learnt = bench.store.learn_refund(order, &intent, &done, LearntBy::Call).await.unwrap();
    assert_eq!(learnt, Learnt::Done(false));
    ask(&bench, order, None).await;
    let by_hand = MadeRefund {
        id: "re_by_hand".to_owned(),
        intent: Some(intent.clone()),
        amount: 500,
        report: RefundReport::Done,
        order_id: None,
        made_for: None,
    };
    for learnt in [Learnt::Done(false), Learnt::Nothing] {
        let word = bench.store.learn_refund(order, &intent, &by_hand, LearntBy::Event);
        assert_eq!(word.await.unwrap(), learnt);
    }
    let rest = bench.leased_refund().await;
    assert_eq!((rest.amount_minor, rest.r#try), (899, 2), "what goes out has another key");
    let done = made_for(&rest, "re_2", RefundReport::Done);
    let learnt = bench.store.learn_refund(order, &intent, &done, LearntBy::Call).await.unwrap();
    assert_eq!(learnt, Learnt::Done(true));
    assert_eq!(bench.state(order).await, State::Refunded);
}

#[tokio::test]
async fn a_refund_of_the_version_before_is_recognised() {
    let bench = bench().await;
    let (order, intent) = bench.captured().await;
    let before = "INSERT INTO refunds (refund_id, order_id, intent_id, state, amount_minor, reason) \
                  VALUES ($1, $1, $2, 'DUE', 1999, 'requested')";
    sqlx::query(before).bind(order).bind(&intent).execute(&bench.pg.pool).await.unwrap();
    ask(&bench, order, None).await;
    let refund = bench.leased_refund().await;
    assert_eq!(refund.refund_id, order, "the rest is asked for twice");
    let made = MadeRefund { made_for: None, ..made_for(&refund, "re_1", RefundReport::Done) };
    let learnt = bench.store.learn_refund(order, &intent, &made, LearntBy::Call).await.unwrap();
    assert_eq!(learnt, Learnt::Done(true));
}

fn seen(reference: &str) -> Refused<'_> {
    Refused {
        code: "card_declined",
        reference: Some(reference),
        card: None,
        last_card: 3,
        request_id: None,
    }
}

async fn cards(bench: &Bench, order: Uuid) -> (i32, i32) {
    let payment = bench.store.payment(order).await.unwrap().unwrap();
    (payment.card_attempt, payment.card_declined)
}

/// The answer to the confirmation and the event about it come at the same time.
#[tokio::test]
async fn one_refusal_is_counted_once() {
    for by_answer in [true, false] {
        let bench = bench().await;
        let (order, intent) = bench.processing().await;
        // While the row is held both have begun, and neither sees what the other one writes.
        let mut held = bench.pg.pool.begin().await.unwrap();
        sqlx::query("SELECT FROM payments FOR UPDATE").execute(&mut *held).await.unwrap();
        let first = Refused { card: by_answer.then_some(1), ..seen("ch_1") };
        let both = async {
            tokio::join!(
                bench.store.record_decline(order, Some(&intent), first),
                bench.store.record_decline(order, Some(&intent), seen("ch_1")),
            )
        };
        let release = async {
            flashsale_testbed::eventually("both wait for the row", || async {
                let waiting = "SELECT count(*) FROM pg_stat_activity \
                               WHERE wait_event_type = 'Lock' AND datname = current_database()";
                let waiting: i64 =
                    sqlx::query_scalar(waiting).fetch_one(&bench.pg.pool).await.unwrap();
                (waiting == 2).then_some(())
            })
            .await;
            held.commit().await.unwrap();
        };
        let ((one, other), ()) = tokio::join!(both, release);
        assert!(one.unwrap() != other.unwrap(), "both were counted, or none");
        assert_eq!(cards(&bench, order).await, (1, 1), "by answer: {by_answer}");
    }
}

#[tokio::test]
async fn a_card_that_was_not_sent_cannot_be_refused() {
    let bench = bench().await;
    let (order, id) = bench.processing().await;
    assert!(bench.store.record_decline(order, Some(&id), seen("ch_1")).await.unwrap());
    let payment = bench.store.payment(order).await.unwrap().unwrap();
    let intent = Intent {
        id: id.clone(),
        status: IntentStatus::RequiresPaymentMethod,
        method: None,
        received: None,
        decline: None,
        action: None,
        order_id: Some(order),
        deployment: None,
    };
    let turn = bench.store.await_buyer(&payment, &intent, Action::NewMethod, TURN);
    assert!(turn.await.unwrap());
    let retry = flashsale_payment::domain::Retry {
        request_id: Uuid::new_v4(),
        order_id: order,
        method: "pm_other".to_owned(),
    };
    bench.store.retry(&retry, LEASE).await.unwrap().unwrap();
    // A browser's card, whose event is late.
    assert!(!bench.store.record_decline(order, Some(&id), seen("ch_browser")).await.unwrap());
    assert_eq!(cards(&bench, order).await, (2, 1), "the other card counts as refused");
    let known = bench.store.payment(order).await.unwrap().unwrap().decline_ref;
    assert_eq!(known.as_deref(), Some("ch_browser"), "it would be seen as one of that card's");
}

fn by_hand(intent: &str, id: &str, amount: i64, report: RefundReport) -> MadeRefund {
    MadeRefund {
        id: id.to_owned(),
        intent: Some(intent.to_owned()),
        amount,
        report,
        order_id: None,
        made_for: None,
    }
}

#[tokio::test]
async fn a_refund_by_hand_that_fails_is_not_made_again() {
    let bench = bench().await;
    let (order, intent) = bench.captured().await;
    let learn = |report| {
        let made = by_hand(&intent, "re_by_hand", 500, report);
        let (store, intent) = (bench.store.clone(), intent.clone());
        async move { store.learn_refund(order, &intent, &made, LearntBy::Event).await.unwrap() }
    };
    assert_eq!(learn(RefundReport::Pending).await, Learnt::Pending);
    assert_eq!(learn(RefundReport::Done).await, Learnt::Done(false));
    assert_eq!(learn(RefundReport::Failed).await, Learnt::Failed);
    // Older words of it come late.
    for report in [RefundReport::Pending, RefundReport::Done, RefundReport::Failed] {
        assert_eq!(learn(report).await, Learnt::Nothing, "{report:?}");
    }
    sqlx::query("UPDATE refunds SET due_at = now()").execute(&bench.pg.pool).await.unwrap();
    assert!(bench.store.lease_refunds(10, LEASE).await.unwrap().is_empty());
    assert_eq!(bench.store.payment(order).await.unwrap().unwrap().refunded_minor, 0);
}

#[tokio::test]
async fn money_that_went_back_before_it_was_known_to_have_come_is_back() {
    let bench = bench().await;
    let (order, intent) = bench.processing().await;
    let made = by_hand(&intent, "re_by_hand", 1_999, RefundReport::Done);
    let learnt = bench.store.learn_refund(order, &intent, &made, LearntBy::Comparison).await;
    assert_eq!(learnt.unwrap(), Learnt::Done(false));
    let settled = bench.settle(order, &intent, CAPTURED).await;
    assert_eq!(settled, SettleResult::Own(became(State::Refunded)));
}

#[tokio::test]
async fn stray_money_finds_its_refund_again() {
    let bench = bench().await;
    let (order, _) = bench.captured().await;
    let back = bench.store.give_orphan_back(order, "pi_stray", 700, 1, LearntBy::Event);
    assert_eq!(back.await.unwrap(), flashsale_payment::store::Orphan::GoesBack);
    assert_eq!(bench.store.order_of_intent("pi_stray").await.unwrap(), Some(order));
    let refund = bench.leased_refund().await;
    for (report, learnt) in
        [(RefundReport::Done, Learnt::Done(false)), (RefundReport::Failed, Learnt::Again)]
    {
        let made = made_for(&refund, "re_1", report);
        let word = bench.store.learn_refund(order, "pi_stray", &made, LearntBy::Event);
        assert_eq!(word.await.unwrap(), learnt);
    }
    // The payment's own money is another's.
    let payment = bench.store.payment(order).await.unwrap().unwrap();
    assert_eq!((payment.state, payment.refunded_minor), (State::Succeeded, 0));
    // One more than may in an hour waits for a person.
    let held = bench.store.give_orphan_back(order, "pi_more", 700, 1, LearntBy::Event);
    assert_eq!(held.await.unwrap(), flashsale_payment::store::Orphan::TooMany);
    assert_eq!(bench.store.backlog().await.unwrap().refunds_failed, 1);
}
