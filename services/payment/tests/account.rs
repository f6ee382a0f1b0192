//! Whose the secret key is: nothing goes on with the key of another account.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Bench, Standin, config, http};
use flashsale_errors::Reason;
use flashsale_proto::payment::{
    AbandonPaymentRequest, AccountStanding, GetComparisonRequest, PaymentState,
    payment_admin_service_client::PaymentAdminServiceClient,
    payment_service_client::PaymentServiceClient,
};
use flashsale_service::Drain;
use flashsale_testbed::{assert_failure, eventually};
use serde_json::json;
use uuid::Uuid;

/// The account of the stand-in unless it is told of another.
const STANDINS: &str = "acct_1StandInStandIn";
const QUIET: Standin = Standin { rate: 10_000, confirm_latency_ms: 0, webhooks: false };
const SECRET: (&str, &str) = ("PAYMENT__STRIPE_SECRET_KEY", "sk_test_of_the_tests");
/// A key that may not read its account.
const RESTRICTED: (&str, &str) = ("PAYMENT__STRIPE_SECRET_KEY", "rk_test_of_the_tests");
impl Bench {
    async fn bound(&self) -> (Option<String>, Option<bool>) {
        sqlx::query_as("SELECT account_id, is_live FROM provider_account")
            .fetch_one(&self.pg.pool)
            .await
            .unwrap()
    }

    async fn bind(&self, account: Option<&str>, is_live: bool) {
        sqlx::query("UPDATE provider_account SET account_id = $1, is_live = $2, bound_at = now()")
            .bind(account)
            .bind(account.map(|_| is_live))
            .execute(&self.pg.pool)
            .await
            .unwrap();
    }

    async fn execute(&self, change: &'static str) {
        sqlx::query(change).execute(&self.pg.pool).await.unwrap();
    }

    /// Waits until the instance has found out what its key's account is.
    async fn finds(&self, standing: AccountStanding) {
        eventually(standing.as_str_name(), || async {
            let asked = GetComparisonRequest::default();
            let answer = self.admin.clone().get_comparison(asked).await.ok()?.into_inner();
            (answer.account_standing() == standing).then_some(())
        })
        .await;
    }

    async fn is_ready(&self) -> bool {
        let url = format!("{}/readyz", self.server.http_url);
        http("GET", &url, &[], "").await.0 == 200
    }

    /// Stops the instance, and starts another one on the same record.
    async fn restart(&mut self, settings: &[(&str, &str)]) {
        let drain = Drain::new();
        let config = config(&self.pg, &self.standin_url, settings);
        let hosted = flashsale_payment::build(config, drain.clone()).await.unwrap();
        let next = flashsale_testbed::serve(hosted, drain).await;
        let before = std::mem::replace(&mut self.server, next);
        before.drain.start();
        before.ended().await.unwrap();
        let channel = self.server.channel().await;
        self.payments = PaymentServiceClient::new(channel.clone());
        self.admin = PaymentAdminServiceClient::new(channel);
    }

    /// A captured payment.
    async fn paid(&self) -> Uuid {
        let order = self.create("pm_card_visa").await;
        self.reaches(order, PaymentState::Succeeded).await;
        order
    }
}

#[tokio::test]
async fn first_payment_binds_its_account() {
    let mut bench = Bench::with(QUIET, &[]).await;
    assert_eq!(bench.bound().await, (None, None));
    bench.paid().await;
    let bound = (Some(STANDINS.to_owned()), Some(false));
    assert_eq!(bench.bound().await, bound);
    bench.restart(&[SECRET]).await;
    bench.paid().await;
    assert_eq!(bench.bound().await, bound);
}

#[tokio::test]
async fn key_of_another_account_charges_nothing() {
    // Another shop's, and that of the same account's other mode.
    for (account, is_live) in [("acct_of_another_shop", false), (STANDINS, true)] {
        let mut bench = Bench::with(QUIET, &[SECRET]).await;
        bench.bind(Some(account), is_live).await;
        bench.restart(&[SECRET]).await;
        bench.finds(AccountStanding::Another).await;
        assert!(!bench.is_ready().await, "{account}: a roll-out goes on");
        let order = bench.create("pm_card_visa").await;
        // With the right one it goes on.
        bench.bind(Some(STANDINS), false).await;
        let taken_up: (i32, i32) = sqlx::query_as("SELECT attempts, failures FROM payments")
            .fetch_one(&bench.pg.pool)
            .await
            .unwrap();
        assert_eq!(taken_up, (0, 0), "{account}");
        assert!(bench.logged("payment_intent.created", None).is_empty(), "{account}");
        bench.restart(&[SECRET]).await;
        bench.finds(AccountStanding::Ours).await;
        assert!(bench.is_ready().await);
        bench.reaches(order, PaymentState::Succeeded).await;
        bench.books_agree().await;
    }
}

#[tokio::test]
async fn key_of_another_account_gives_nothing_back() {
    let mut bench = Bench::with(QUIET, &[]).await;
    let order = bench.paid().await;
    bench.bind(Some("acct_of_another_shop"), false).await;
    bench.restart(&[SECRET]).await;
    bench.finds(AccountStanding::Another).await;
    bench.refund(order, None).await.unwrap();
    bench.bind(Some(STANDINS), false).await;
    assert!(bench.logged("payment_intent.refunded", None).is_empty());
    bench.restart(&[SECRET]).await;
    bench.reaches(order, PaymentState::Refunded).await;
    assert_eq!(bench.logged("payment_intent.refunded", Some(order)).len(), 1);
}

#[tokio::test]
async fn key_of_another_account_ends_nothing() {
    // Not even what has waited too long, or what its caller no longer wants, and that the provider
    // has heard of.
    let mut bench = Bench::with(QUIET, &[]).await;
    let order = bench.create("pm_card_authenticationRequired").await;
    bench.reaches(order, PaymentState::RequiresAction).await;
    bench.bind(Some("acct_of_another_shop"), false).await;
    bench.restart(&[SECRET]).await;
    bench.finds(AccountStanding::Another).await;
    bench.cancel(order).await;
    let abandoned = bench
        .admin
        .clone()
        .abandon_payment(AbandonPaymentRequest {
            request_id: Uuid::new_v4().to_string(),
            order_id: order.to_string(),
            reason: "Stripe does not know it".to_owned(),
        })
        .await
        .unwrap_err();
    let failure = assert_failure(&abandoned, Reason::PaymentNotAbandonable);
    assert_eq!(failure.metadata()["obstacle"], "other_account");
    assert!(bench.logged("payment_intent.canceled", None).is_empty());
    bench.bind(Some(STANDINS), false).await;
    bench.restart(&[SECRET]).await;
    bench.reaches(order, PaymentState::Cancelled).await;
    bench.books_agree().await;
}

#[tokio::test]
async fn restricted_key_goes_on_unproven() {
    let mut bench = Bench::with(QUIET, &[RESTRICTED]).await;
    bench.finds(AccountStanding::Unproven).await;
    bench.paid().await;
    assert_eq!(bench.bound().await, (None, None));
    // What it says of its mode counts all the same, and what the account knows.
    bench.bind(Some(STANDINS), true).await;
    bench.restart(&[RESTRICTED]).await;
    bench.finds(AccountStanding::Another).await;
    bench.bind(Some(STANDINS), false).await;
    bench.execute("UPDATE payments SET intent_id = 'pi_elsewhere'").await;
    bench.restart(&[RESTRICTED]).await;
    bench.finds(AccountStanding::Another).await;
}

#[tokio::test]
async fn account_that_knows_no_earlier_payment_is_another() {
    // A record of before accounts were noted.
    let mut bench = Bench::with(QUIET, &[RESTRICTED]).await;
    bench.paid().await;
    bench.restart(&[SECRET]).await;
    bench.finds(AccountStanding::Ours).await;
    assert_eq!(bench.bound().await, (Some(STANDINS.to_owned()), Some(false)));

    bench.bind(None, false).await;
    bench.execute("UPDATE payments SET intent_id = 'pi_elsewhere'").await;
    bench.restart(&[SECRET]).await;
    bench.finds(AccountStanding::Another).await;
    assert_eq!(bench.bound().await, (None, None));
}

#[tokio::test]
async fn account_is_asked_for_until_it_answers() {
    let mut bench = Bench::with(QUIET, &[]).await;
    bench.finds(AccountStanding::Unbound).await;
    bench.fault("GET /v1/account", "error_500", 0).await;
    bench.restart(&[SECRET]).await;
    let order = bench.create("pm_card_visa").await;
    bench.finds(AccountStanding::Unspecified).await;
    assert!(bench.logged("payment_intent.created", None).is_empty());
    bench.control("DELETE", "/faults", json!({})).await;
    bench.reaches(order, PaymentState::Succeeded).await;
}
