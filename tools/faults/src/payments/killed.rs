//! Payment dies by SIGKILL before or after each of its steps, is started again, and everything it
//! was at is brought to its end: no order is paid twice, and no money is kept without an order.

use std::time::Duration;

use anyhow::ensure;
use flashsale_failpoint::KILL_AT;
use flashsale_payment::steps;
use flashsale_proto::{
    Money,
    payment::{
        AbandonPaymentRequest, AccountStanding, BreakerForce, CreatePaymentsRequest,
        GetComparisonRequest, GetPaymentRequest, MakeDueRequest, PaymentOrder, PaymentState,
        RefundRequest, RetryPaymentRequest, SetBreakerRequest, SetBudgetRequest,
    },
};
use flashsale_testbed::fixtures::{self, OrderSpec, SaleSpec};
use serde_json::json;
use uuid::Uuid;

use super::{
    book::{self, BAD_CARD, CARD, OF_MONEY, PRICE},
    calls::{admin, client, client_as, timely},
    provider::{FORM, post, strike},
};
use crate::{
    figures::Figures,
    orders::{books, rush},
    patience::until_some,
    platform::{Platform, Sale},
    points::{self, Point},
    task::Task,
};

/// An intent that is created while its payment ends without it: for that a second instance has to
/// take up a payment whose lease has run out in the middle of a call, which no tour brings about.
const OUT_OF_REACH: &str = "sql/name_unused_intent";
/// How long payment may take to come by.
const WITHIN: Duration = Duration::from_secs(25);
/// How long a payment may take to end: its lease has to run out before it is taken up again.
const ENDED_WITHIN: Duration = Duration::from_secs(60);
/// Has the provider drop one refund, which is then put back.
const REFUND_FAILS: &str = r#"{"endpoint":"POST /v1/refunds","kind":"reset_before","count":1}"#;
/// Has the provider keep an error under the key of one refund, which then needs another key.
const REFUND_KEY_IS_SPENT: &str = r#"{"endpoint":"POST /v1/refunds","kind":"error_500","count":1}"#;
/// Has the provider drop one payment, which is then put back.
const CHARGE_FAILS: &str =
    r#"{"endpoint":"POST /v1/payment_intents","kind":"reset_before","count":1}"#;
/// Has the provider limit one call.
const LIMITED: &str =
    r#"{"endpoint":"POST /v1/payment_intents","kind":"rate_limit_429","count":1}"#;
/// Has the provider keep an error under the key of one confirmation, which then needs another key.
/// Not of a creation: among so many intents of the last minutes one that may have been created is
/// searched for, which takes an hour.
const KEY_IS_SPENT: &str =
    r#"{"endpoint":"POST /v1/payment_intents/:id/confirm","kind":"error_500","count":1}"#;
/// Has the provider drop some looks at intents, so that a payment is not ended by hand.
const LOOKS_FAIL: &str =
    r#"{"endpoint":"GET /v1/payment_intents/:id","kind":"reset_before","count":3}"#;
/// The provider refuses to create an intent over so little.
const TOO_LITTLE: i64 = 10;

/// How many points there are.
pub(super) fn points() -> u64 {
    2 * reachable().count() as u64
}

fn reachable() -> impl Iterator<Item = &'static str> {
    steps::all().into_iter().filter(|step| *step != OUT_OF_REACH)
}

/// Kills it at its points in turn, in as many sales.
pub(super) async fn run(task: &mut Task, figures: &mut Figures) -> anyhow::Result<()> {
    let settings =
        task.platform.settings_over(&task.platform.to_redis, &task.platform.services.inventory);
    book::serve(&mut task.platform, settings).await?;
    points::each(task, figures, reachable(), times, |task, point, figures| {
        Box::pin(at(task, point, figures))
    })
    .await?;
    figures.more.insert("steps_out_of_reach".to_owned(), json!([OUT_OF_REACH]));
    Ok(())
}

/// How often a step is come by at least, in a sale.
fn times(step: &str) -> u32 {
    match step {
        "sql/take_turn" => 10,
        "sql/lease_payments" | "sql/lease_refunds" => 5,
        "commit/settle" | "sql/begin_confirm" | "sql/record_intent" => 3,
        _ => 1,
    }
}

/// One sale with one point armed in its middle; whether payment came by.
async fn at(task: &mut Task, point: Point, figures: &mut Figures) -> anyhow::Result<bool> {
    let round = rush(task).await?;
    let (card, total) = match point.step {
        "sql/end_unbegun" => (CARD, TOO_LITTLE),
        "commit/retry" | "sql/close_cards" => (BAD_CARD, PRICE),
        "commit/dispute" => ("pm_card_createDispute", PRICE),
        _ => (CARD, PRICE),
    };
    let paid = record_order(&task.platform, card, total).await?;
    let tour = Tour { step: point.step, arm: (KILL_AT, point.armed()), paid };
    tour.go(&task.platform).await?;
    let killed = points::was_reached(&task.platform.services.payment, WITHIN).await;
    // Armed still if it was not killed: it must not die in another sale.
    task.platform.services.payment.restart(&[]).await?;
    tour.end(&task.platform).await?;
    task.goes_on(&round.crowd).await?;
    let story = round.crowd.leave().await;
    let before = figures.broken.len();
    money(&task.platform, &round.sale, figures).await?;
    books::conclude(task, &round.sale, &[story], figures).await?;
    if figures.broken.len() > before {
        figures.broken.push(format!("that was {}", point.armed()));
    }
    Ok(killed)
}

/// What has to happen beside a sale so that payment comes by a step.
struct Tour<'a> {
    step: &'a str,
    /// What arms its kill point.
    arm: (&'a str, String),
    /// The order that is paid beside the sale.
    paid: Uuid,
}

impl Tour<'_> {
    /// Arms payment, and has happen what the orders of a sale would not bring about. It may die in
    /// the middle of any call.
    async fn go(&self, platform: &Platform) -> anyhow::Result<()> {
        let payment = &platform.services.payment;
        let armed = std::slice::from_ref(&self.arm);
        match self.step {
            "commit/refund" | "commit/refund_learnt" | "sql/make_refund_due" => {
                self.pay(platform, PaymentState::Succeeded).await?;
                payment.restart(armed).await?;
                self.refund(platform).await.ok();
            }
            "sql/put_back_refund" | "sql/next_try" => {
                self.pay(platform, PaymentState::Succeeded).await?;
                payment.restart(armed).await?;
                let spent = self.step == "sql/next_try";
                let fault = if spent { REFUND_KEY_IS_SPENT } else { REFUND_FAILS };
                strike(platform, fault).await?;
                self.refund(platform).await.ok();
            }
            // Most of it went back by hand, and a part is asked for that is more than is left.
            "commit/refund_fitted" => {
                self.pay(platform, PaymentState::Succeeded).await?;
                let get = GetPaymentRequest { order_id: self.paid.to_string() };
                let paid = client(platform)?.get_payment(timely(get)).await?.into_inner().payment;
                let intent = paid.unwrap_or_default().payment_intent;
                let form = format!("payment_intent={intent}&amount=900");
                post(platform, "/v1/refunds", FORM, &form).await?;
                payment.restart(armed).await?;
                self.refund_part(platform).await.ok();
            }
            // Its order is paid on another intent already.
            "commit/orphan" => {
                self.pay(platform, PaymentState::Succeeded).await?;
                payment.restart(armed).await?;
                let deployment: Uuid =
                    sqlx::query_scalar("SELECT deployment FROM provider_account")
                        .fetch_one(&platform.pool)
                        .await?;
                let form = format!(
                    "amount=1000&currency=eur&allowed_payment_method_types[]=card&confirm=true\
                     &payment_method={CARD}&metadata[order_id]={}&metadata[deployment]={deployment}",
                    self.paid
                );
                post(platform, "/v1/payment_intents", FORM, &form).await?;
            }
            "commit/retry" => {
                self.pay(platform, PaymentState::RequiresAction).await?;
                // Time enough for another card, also on a busy machine.
                let window = ("FLASHSALE_PAYMENT__CARD_RETRY_MS", "20000".to_owned());
                payment.restart(&[self.arm.clone(), window]).await?;
                self.retry(platform).await.ok();
            }
            "sql/close_cards" | "commit/dispute" => {
                payment.restart(armed).await?;
                self.create(platform).await.ok();
            }
            "sql/put_back" => {
                payment.restart(armed).await?;
                strike(platform, CHARGE_FAILS).await?;
                self.create(platform).await.ok();
            }
            "sql/end_unbegun" => {
                payment.restart(armed).await?;
                self.create(platform).await.ok();
            }
            "sql/next_generation" => {
                payment.restart(armed).await?;
                strike(platform, KEY_IS_SPENT).await?;
                self.create(platform).await.ok();
            }
            "sql/slow_down" => {
                payment.restart(armed).await?;
                strike(platform, LIMITED).await?;
                self.create(platform).await.ok();
            }
            // The provider may have heard of it, hours ago.
            "sql/give_up" => {
                payment.kill().await;
                self.record_overdue(platform, "now()", "now() - interval '6 hours'").await?;
                payment.restart(armed).await?;
            }
            // It has not, and was not to be looked at before tomorrow.
            "sql/end_waited_out" => {
                payment.kill().await;
                self.record_overdue(platform, "now() + interval '1 day'", "NULL").await?;
                payment.restart(armed).await?;
            }
            // As before the first payment of all.
            "sql/bind_account" => {
                payment.kill().await;
                sqlx::query("UPDATE provider_account SET account_id = NULL, is_live = NULL")
                    .execute(&platform.pool)
                    .await?;
                payment.restart(armed).await?;
            }
            "sql/open_budget" => {
                payment.kill().await;
                sqlx::query("DELETE FROM provider_budgets").execute(&platform.pool).await?;
                payment.restart(armed).await?;
            }
            "commit/force" => {
                payment.restart(armed).await?;
                force_nothing(platform).await.ok();
            }
            "commit/budget" => {
                payment.restart(armed).await?;
                set_no_budget(platform).await.ok();
            }
            "sql/wake_payment" => {
                self.pay(platform, PaymentState::Succeeded).await?;
                payment.restart(armed).await?;
                self.wake(platform).await.ok();
            }
            // The provider has never heard of its intent, and it is not to be looked at before
            // tomorrow.
            "sql/lease_payment" | "commit/abandon" => {
                captured(platform).await?;
                payment.kill().await;
                self.record_lost(platform).await?;
                payment.restart(armed).await?;
                account_is_known(platform).await?;
                self.abandon(platform).await.ok();
            }
            "sql/release_payment" => {
                captured(platform).await?;
                payment.kill().await;
                self.record_lost(platform).await?;
                payment.restart(armed).await?;
                account_is_known(platform).await?;
                strike(platform, LOOKS_FAIL).await?;
                self.abandon(platform).await.ok();
            }
            _ => payment.restart(armed).await?,
        }
        Ok(())
    }

    /// Has what was begun asked for again, and waits for its end.
    async fn end(&self, platform: &Platform) -> anyhow::Result<()> {
        match self.step {
            // As long as the part is due that does not fit, nothing else is left: it is asked again.
            "commit/refund_fitted" => {
                until_some(ENDED_WITHIN, "all of the money is back", async || {
                    self.refund(platform).await?;
                    let get = GetPaymentRequest { order_id: self.paid.to_string() };
                    let answer = client(platform)?.get_payment(timely(get)).await?.into_inner();
                    let state = answer.payment.unwrap_or_default().state();
                    ensure!(state == PaymentState::Refunded, "it is {state:?}");
                    Ok(Some(()))
                })
                .await
            }
            "commit/refund"
            | "commit/refund_learnt"
            | "sql/make_refund_due"
            | "sql/next_try"
            | "sql/put_back_refund" => {
                until_some(ENDED_WITHIN, "the refund is taken", async || {
                    self.refund(platform).await.map(Some)
                })
                .await?;
                self.ended(platform, PaymentState::Refunded).await
            }
            "commit/orphan" => {
                until_some(ENDED_WITHIN, "the money on another intent is back", async || {
                    let back =
                        "SELECT state FROM refunds WHERE order_id = $1 AND reason = 'orphan'";
                    let state: String =
                        sqlx::query_scalar(back).bind(self.paid).fetch_one(&platform.pool).await?;
                    ensure!(state == "DONE", "it is {state}");
                    Ok(Some(()))
                })
                .await
            }
            // Its buyer had two seconds for another card. It may have been taken before payment
            // died.
            "commit/retry" => self.ended_somehow(platform).await,
            "sql/close_cards" => self.pay(platform, PaymentState::Failed).await,
            "commit/dispute" => self.pay(platform, PaymentState::Succeeded).await,
            "sql/put_back" | "sql/next_generation" | "sql/slow_down" => {
                self.pay(platform, PaymentState::Succeeded).await
            }
            "sql/give_up" | "sql/end_waited_out" => {
                self.ended(platform, PaymentState::Cancelled).await
            }
            "sql/end_unbegun" => self.pay(platform, PaymentState::Failed).await,
            "commit/force" => {
                until_some(ENDED_WITHIN, "the breaker is set", async || {
                    force_nothing(platform).await.map(Some)
                })
                .await
            }
            "commit/budget" => {
                until_some(ENDED_WITHIN, "the budget is set", async || {
                    set_no_budget(platform).await.map(Some)
                })
                .await
            }
            "sql/wake_payment" => {
                until_some(ENDED_WITHIN, "the payment is looked at", async || {
                    self.wake(platform).await.map(Some)
                })
                .await
            }
            // Until the lease has run out under which the process died.
            "sql/lease_payment" | "sql/release_payment" | "commit/abandon" => {
                until_some(ENDED_WITHIN, "the payment is given up", async || {
                    self.abandon(platform).await.map(Some)
                })
                .await?;
                self.ended(platform, PaymentState::Cancelled).await
            }
            _ => Ok(()),
        }
    }

    /// Has a payment recorded, asking until there is an answer, and waits for its end.
    async fn pay(&self, platform: &Platform, end: PaymentState) -> anyhow::Result<()> {
        until_some(ENDED_WITHIN, "a payment is recorded", async || {
            self.create(platform).await.map(Some)
        })
        .await?;
        self.ended(platform, end).await
    }

    /// Records the payment as one that has waited for the provider too long.
    async fn record_overdue(
        &self,
        platform: &Platform,
        due: &str,
        asked: &str,
    ) -> anyhow::Result<()> {
        let insert = format!(
            "INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method,
                created_at, due_at, first_attempt_at, last_attempt_at, generation_at)
             SELECT order_id, sale_id, 'DUE', currency, total_minor, payment_method,
                now() - interval '7 hours', {due}, {asked}, {asked}, {asked}
             FROM orders WHERE order_id = $1"
        );
        sqlx::query(sqlx::AssertSqlSafe(insert)).bind(self.paid).execute(&platform.pool).await?;
        Ok(())
    }

    /// Records the payment as one whose intent the provider does not know.
    async fn record_lost(&self, platform: &Platform) -> anyhow::Result<()> {
        let insert = "INSERT INTO payments (order_id, sale_id, state, currency, amount_minor,
                payment_method, intent_id, attempts, first_attempt_at, last_attempt_at,
                generation_at, due_at)
             SELECT order_id, sale_id, 'PROCESSING', currency, total_minor, payment_method,
                'pi_lost_' || order_id, 3, now(), now(), now(), now() + interval '1 day'
             FROM orders WHERE order_id = $1";
        sqlx::query(insert).bind(self.paid).execute(&platform.pool).await?;
        Ok(())
    }

    /// Has the payment ended by hand; the same request each time, for it may have had its effect.
    async fn abandon(&self, platform: &Platform) -> anyhow::Result<()> {
        let abandon = AbandonPaymentRequest {
            request_id: self.paid.to_string(),
            order_id: self.paid.to_string(),
            reason: "the provider does not know it".to_owned(),
        };
        admin(platform)?.abandon_payment(timely(abandon)).await?;
        Ok(())
    }

    async fn wake(&self, platform: &Platform) -> anyhow::Result<()> {
        let (request_id, order_id) = (Uuid::new_v4().to_string(), self.paid.to_string());
        admin(platform)?.make_due(timely(MakeDueRequest { request_id, order_id })).await?;
        Ok(())
    }

    async fn create(&self, platform: &Platform) -> anyhow::Result<()> {
        let order = PaymentOrder { order_id: self.paid.to_string(), traceparent: String::new() };
        let request_id = Uuid::new_v4().to_string();
        let request = CreatePaymentsRequest { request_id, orders: vec![order] };
        client_as(platform, "order-worker")?.create_payments(timely(request)).await?;
        Ok(())
    }

    async fn refund(&self, platform: &Platform) -> anyhow::Result<()> {
        let (request_id, order_id) = (Uuid::new_v4().to_string(), self.paid.to_string());
        let request = RefundRequest { request_id, order_id, ..RefundRequest::default() };
        client(platform)?.refund(timely(request)).await?;
        Ok(())
    }

    /// Asks for a part of it, 5 EUR.
    async fn refund_part(&self, platform: &Platform) -> anyhow::Result<()> {
        let (request_id, order_id) = (Uuid::new_v4().to_string(), self.paid.to_string());
        let amount = Money { currency_code: "EUR".to_owned(), units: 5, nanos: 0 };
        let request =
            RefundRequest { request_id, order_id, amount: Some(amount), reason: String::new() };
        client(platform)?.refund(timely(request)).await?;
        Ok(())
    }

    /// Has a good card tried.
    async fn retry(&self, platform: &Platform) -> anyhow::Result<()> {
        let request = RetryPaymentRequest {
            request_id: self.paid.to_string(),
            order_id: self.paid.to_string(),
            payment_method: CARD.to_owned(),
        };
        client_as(platform, "checkout")?.retry_payment(timely(request)).await?;
        Ok(())
    }

    /// Waits until the payment has ended, paid or not.
    async fn ended_somehow(&self, platform: &Platform) -> anyhow::Result<()> {
        until_some(ENDED_WITHIN, "the payment ends", async || {
            let get = GetPaymentRequest { order_id: self.paid.to_string() };
            let answer = client(platform)?.get_payment(timely(get)).await?.into_inner();
            let state = answer.payment.unwrap_or_default().state();
            ensure!(matches!(state, PaymentState::Succeeded | PaymentState::Failed), "{state:?}");
            Ok(Some(()))
        })
        .await
    }

    /// Waits until the payment is in this state, in which it stays.
    async fn ended(&self, platform: &Platform, end: PaymentState) -> anyhow::Result<()> {
        until_some(ENDED_WITHIN, "the payment ends", async || {
            let get = GetPaymentRequest { order_id: self.paid.to_string() };
            let answer = client(platform)?.get_payment(timely(get)).await?.into_inner();
            let state = answer.payment.unwrap_or_default().state();
            ensure!(state == end, "it is {state:?}");
            Ok(Some(()))
        })
        .await
    }
}

/// Records a claimed order of a sale that was never started: it follows its payment as any order
/// does, and there is no stock in which a hold of it would have to be closed.
async fn record_order(platform: &Platform, card: &str, total: i64) -> anyhow::Result<Uuid> {
    let never_started = SaleSpec { state: "DRAFT", propagated: true, ..SaleSpec::default() };
    let sale = fixtures::record_sale(&platform.pool, never_started, []).await?;
    let mut order = OrderSpec { total_minor: total, ..OrderSpec::new(sale, "beside the sale") };
    order.details.email = "beside@example.com".to_owned();
    order.details.contact_name = "Beside".to_owned();
    order.details.payment_method = card.to_owned();
    fixtures::record_order(&platform.pool, &order).await?;
    Ok(order.order_id)
}

/// Waits until payment has asked whose its key is: before that it ends nothing.
async fn account_is_known(platform: &Platform) -> anyhow::Result<()> {
    until_some(ENDED_WITHIN, "the key's account is known", async || {
        let asked = GetComparisonRequest::default();
        let answer = admin(platform)?.get_comparison(timely(asked)).await?.into_inner();
        ensure!(answer.account_standing() != AccountStanding::Unspecified, "it is not");
        Ok(Some(()))
    })
    .await
}

/// Waits until a payment was captured: it shows that the key is that of the provider's account.
async fn captured(platform: &Platform) -> anyhow::Result<()> {
    until_some(ENDED_WITHIN, "a payment is captured", async || {
        let any = "SELECT EXISTS (SELECT FROM payments WHERE state = 'SUCCEEDED')";
        let any: bool = sqlx::query_scalar(any).fetch_one(&platform.pool).await?;
        anyhow::Ok(any.then_some(()))
    })
    .await
}

/// Records that the breaker decides, which it does.
async fn force_nothing(platform: &Platform) -> anyhow::Result<()> {
    let set = SetBreakerRequest {
        request_id: Uuid::new_v4().to_string(),
        force: BreakerForce::Auto.into(),
        reason: "the breaker decides".to_owned(),
        expire_time: None,
    };
    admin(platform)?.set_breaker(timely(set)).await?;
    Ok(())
}

/// Records that the configured pace counts, which it does.
async fn set_no_budget(platform: &Platform) -> anyhow::Result<()> {
    let set = SetBudgetRequest {
        request_id: Uuid::new_v4().to_string(),
        endpoint: "all".to_owned(),
        per_s: 0.0,
        reason: "the configuration counts".to_owned(),
    };
    admin(platform)?.set_budget(timely(set)).await?;
    Ok(())
}

/// Waits until all money of the sale is where it belongs, and holds the record against the
/// provider's own log.
async fn money(platform: &Platform, sale: &Sale, figures: &mut Figures) -> anyhow::Result<()> {
    // What does not come to rest is what the audit is for.
    platform.rest(sale).await.ok();
    book::settle(platform, sale, figures).await;
    platform.rest(sale).await.ok();
    book::count(platform, sale, figures).await?;
    book::audit_money(platform, sale, &OF_MONEY, figures).await
}
