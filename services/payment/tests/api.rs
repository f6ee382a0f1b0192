//! The gRPC interface: what it records, what it refuses, and that a refusal changes nothing. The
//! force switch is open: nothing goes out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{config, eur, order};
use flashsale_errors::Reason;
use flashsale_payment::store::{Force, Store};
use flashsale_proto::{
    Money, NamedChannel,
    payment::{
        BreakerForce, CancelPaymentRequest, CreatePaymentsRequest, GetBreakerRequest,
        GetPaymentRequest, Payment, PaymentOrder, PaymentState, RefundRequest, SetBreakerRequest,
        payment_admin_service_client::PaymentAdminServiceClient,
        payment_service_client::PaymentServiceClient,
    },
};
use flashsale_service::Drain;
use flashsale_testbed::{TestPg, TestServer, assert_failure};
use tonic::Status;
use uuid::Uuid;

struct Api {
    pg: TestPg,
    payments: PaymentServiceClient<NamedChannel>,
    admin: PaymentAdminServiceClient<NamedChannel>,
    sale: Uuid,
    _server: TestServer,
}

impl Api {
    async fn new() -> Self {
        let pg = flashsale_testbed::postgres().await;
        Store::new(pg.pool.clone()).set_force(Force::Open).await.unwrap();
        let drain = Drain::new();
        let config = config(&pg, "http://127.0.0.1:1", &[]);
        let hosted = flashsale_payment::build(config, drain.clone()).await.unwrap();
        let server = flashsale_testbed::serve(hosted, drain).await;
        let channel = server.channel().await;
        Self {
            pg,
            payments: PaymentServiceClient::new(channel.clone()),
            admin: PaymentAdminServiceClient::new(channel),
            sale: Uuid::new_v4(),
            _server: server,
        }
    }

    fn good(&self) -> PaymentOrder {
        order(Uuid::new_v4(), self.sale, "pm_card_visa")
    }

    async fn create(&self, orders: &[PaymentOrder]) -> Result<Vec<Payment>, Status> {
        let request = CreatePaymentsRequest { request_id: id(), orders: orders.to_vec() };
        Ok(self.payments.clone().create_payments(request).await?.into_inner().payments)
    }

    fn cancellation(&self, order: Uuid) -> CancelPaymentRequest {
        CancelPaymentRequest {
            request_id: id(),
            order_id: order.to_string(),
            sale_id: self.sale.to_string(),
            amount: Some(eur(19, 99)),
        }
    }

    async fn cancel(&self, order: Uuid) -> Payment {
        let request = self.cancellation(order);
        self.payments.clone().cancel_payment(request).await.unwrap().into_inner().payment.unwrap()
    }

    /// Everything that stands in the tables this service writes.
    async fn tables(&self) -> Vec<String> {
        let everything = "SELECT payments::text FROM payments \
                          UNION ALL SELECT refunds::text FROM refunds \
                          UNION ALL SELECT force FROM breaker_force ORDER BY 1";
        sqlx::query_scalar(everything).fetch_all(&self.pg.pool).await.unwrap()
    }

    async fn set(&self, order: Uuid, change: &'static str) {
        sqlx::query(change).bind(order).execute(&self.pg.pool).await.unwrap();
    }
}

fn id() -> String {
    Uuid::new_v4().to_string()
}

fn uuid(text: &str) -> Uuid {
    text.parse().unwrap()
}

#[tokio::test]
async fn each_bad_request_has_its_reason_and_field() {
    let api = Api::new().await;
    let good = api.good();
    api.create(std::slice::from_ref(&good)).await.unwrap();
    let before = api.tables().await;

    type Spoil = fn(&mut CreatePaymentsRequest);
    let money =
        |code: &str, units, nanos| Some(Money { currency_code: code.to_owned(), units, nanos });
    let spoiled: [(Spoil, Reason, &str); 14] = [
        (|r| r.request_id.clear(), Reason::RequestIdInvalid, "request_id"),
        (|r| r.request_id = "17".to_owned(), Reason::RequestIdInvalid, "request_id"),
        (|r| r.request_id = Uuid::nil().to_string(), Reason::RequestIdInvalid, "request_id"),
        (|r| r.orders.clear(), Reason::ArgumentInvalid, "orders"),
        (|r| r.orders = vec![r.orders[0].clone(); 201], Reason::ArgumentInvalid, "orders"),
        (|r| r.orders[1].order_id.clear(), Reason::ArgumentInvalid, "orders[1].order_id"),
        (
            |r| r.orders[1].order_id = r.orders[0].order_id.clone(),
            Reason::ArgumentInvalid,
            "orders[1].order_id",
        ),
        (|r| r.orders[0].sale_id = "x".into(), Reason::ArgumentInvalid, "orders[0].sale_id"),
        (|r| r.orders[0].amount = None, Reason::ArgumentInvalid, "orders[0].amount"),
        (|r| r.orders[0].amount = Some(eur(0, 0)), Reason::ArgumentInvalid, "orders[0].amount"),
        (|r| r.orders[0].amount = Some(eur(-1, 0)), Reason::ArgumentInvalid, "orders[0].amount"),
        (
            |r| r.orders[1].payment_method.clear(),
            Reason::ArgumentInvalid,
            "orders[1].payment_method",
        ),
        (
            |r| r.orders[1].payment_method = "p".repeat(256),
            Reason::ArgumentInvalid,
            "orders[1].payment_method",
        ),
        (
            |r| r.orders[1].payment_method = "pm\n".to_owned(),
            Reason::ArgumentInvalid,
            "orders[1].payment_method",
        ),
    ];
    for (spoil, reason, field) in spoiled {
        let mut request =
            CreatePaymentsRequest { request_id: id(), orders: vec![api.good(), api.good()] };
        spoil(&mut request);
        let status = api.payments.clone().create_payments(request).await.unwrap_err();
        let failure = assert_failure(&status, reason);
        assert_eq!(failure.violations()[0].field, field);
    }
    for (amount, field) in [
        (money("EUR", 1, 1), "orders[0].amount"),
        (money("eur", 1, 0), "orders[0].amount.currency_code"),
        (money("ZZZ", 1, 0), "orders[0].amount.currency_code"),
        (money("KWD", 5, 124_000_000), "orders[0].amount"),
    ] {
        let status = api.create(&[PaymentOrder { amount, ..api.good() }]).await.unwrap_err();
        let failure = assert_failure(&status, Reason::ArgumentInvalid);
        assert_eq!(failure.violations()[0].field, field);
    }

    // An order that comes again with another amount takes the whole call with it.
    for amount in [Some(eur(20, 0)), money("USD", 19, 990_000_000)] {
        let other = PaymentOrder { amount, ..good.clone() };
        let status = api.create(&[api.good(), other]).await.unwrap_err();
        let failure = assert_failure(&status, Reason::RequestIdReused);
        assert_eq!(failure.violations()[0].field, "orders[1].amount");
        assert_eq!(failure.metadata()["order_id"], good.order_id);
    }

    type SpoilCancel = fn(&mut CancelPaymentRequest);
    let spoiled: [(SpoilCancel, Reason, &str); 5] = [
        (|r| r.request_id = "x".to_owned(), Reason::RequestIdInvalid, "request_id"),
        (|r| r.order_id = "x".to_owned(), Reason::ArgumentInvalid, "order_id"),
        (|r| r.sale_id = "x".to_owned(), Reason::ArgumentInvalid, "sale_id"),
        (|r| r.amount = None, Reason::ArgumentInvalid, "amount"),
        (|r| r.amount = Some(eur(0, 0)), Reason::ArgumentInvalid, "amount"),
    ];
    for (spoil, reason, field) in spoiled {
        let mut request = api.cancellation(uuid(&good.order_id));
        spoil(&mut request);
        let status = api.payments.clone().cancel_payment(request).await.unwrap_err();
        assert_eq!(assert_failure(&status, reason).violations()[0].field, field);
    }

    for (order_id, reason) in
        [("x".to_owned(), Reason::ArgumentInvalid), (id(), Reason::PaymentNotFound)]
    {
        let request = GetPaymentRequest { order_id: order_id.clone() };
        let status = api.payments.clone().get_payment(request).await.unwrap_err();
        assert_failure(&status, reason);
        let request = RefundRequest { request_id: id(), order_id };
        let status = api.payments.clone().refund(request).await.unwrap_err();
        assert_failure(&status, reason);
    }
    let request = RefundRequest { request_id: String::new(), order_id: good.order_id.clone() };
    let status = api.payments.clone().refund(request).await.unwrap_err();
    assert_failure(&status, Reason::RequestIdInvalid);
    let request = RefundRequest { request_id: id(), order_id: good.order_id.clone() };
    let status = api.payments.clone().refund(request).await.unwrap_err();
    let failure = assert_failure(&status, Reason::PaymentNotRefundable);
    assert_eq!(failure.metadata()["state"], "DUE");

    let request = SetBreakerRequest { request_id: id(), force: 0 };
    let status = api.admin.clone().set_breaker(request).await.unwrap_err();
    let failure = assert_failure(&status, Reason::ArgumentInvalid);
    assert_eq!(failure.violations()[0].field, "force");
    let request = SetBreakerRequest { request_id: "x".into(), force: BreakerForce::Auto.into() };
    let status = api.admin.clone().set_breaker(request).await.unwrap_err();
    assert_failure(&status, Reason::RequestIdInvalid);

    assert_eq!(api.tables().await, before, "a refused call changed something");
}

#[tokio::test]
async fn payments_are_recorded_once() {
    let api = Api::new().await;
    let orders: Vec<PaymentOrder> = (0..200).map(|_| api.good()).collect();
    let first = api.create(&orders).await.unwrap();
    let ids: Vec<&str> = first.iter().map(|payment| payment.order_id.as_str()).collect();
    let asked: Vec<&str> = orders.iter().map(|order| order.order_id.as_str()).collect();
    assert_eq!(ids, asked);
    assert!(first.iter().all(|payment| payment.state() == PaymentState::Due));
    assert_eq!(first[0].amount, Some(eur(19, 99)));
    let before = api.tables().await;
    assert_eq!(api.create(&orders).await.unwrap(), first);
    assert_eq!(api.tables().await, before);

    let answer = api.admin.clone().get_breaker(GetBreakerRequest {}).await.unwrap().into_inner();
    assert_eq!((answer.open_payments, answer.force()), (200, BreakerForce::Open));
    assert!(answer.oldest_wait.is_some());
}

#[tokio::test]
async fn a_broken_constraint_is_internal() {
    let api = Api::new().await;
    sqlx::query("ALTER TABLE payments ADD CONSTRAINT full_moon CHECK (currency <> 'EUR')")
        .execute(&api.pg.pool)
        .await
        .unwrap();
    let refused = api.create(&[api.good()]).await.unwrap_err();
    assert_failure(&refused, Reason::Internal);
}

#[tokio::test]
async fn an_unknown_order_can_be_cancelled() {
    let api = Api::new().await;
    let unheard = api.good();
    let order = uuid(&unheard.order_id);
    assert_eq!(api.cancel(order).await.state(), PaymentState::Cancelled);
    assert_eq!(api.cancel(order).await.state(), PaymentState::Cancelled);
    let late = api.create(&[unheard]).await.unwrap();
    assert_eq!(late[0].state(), PaymentState::Cancelled);
}

#[tokio::test]
async fn an_unbegun_payment_is_cancelled_at_once() {
    let api = Api::new().await;
    let order = api.good();
    api.create(std::slice::from_ref(&order)).await.unwrap();
    let payment = api.cancel(uuid(&order.order_id)).await;
    assert_eq!(payment.state(), PaymentState::Cancelled);
}

#[tokio::test]
async fn a_begun_payment_stays_open_until_cancelled() {
    let api = Api::new().await;
    let created = api.good();
    let order = uuid(&created.order_id);
    api.create(&[created]).await.unwrap();
    api.set(order, "UPDATE payments SET attempts = 1 WHERE order_id = $1").await;
    assert_eq!(api.cancel(order).await.state(), PaymentState::Processing);
    let wished: bool =
        sqlx::query_scalar("SELECT cancel_requested AND due_at <= now() FROM payments")
            .fetch_one(&api.pg.pool)
            .await
            .unwrap();
    assert!(wished);
    api.set(order, "UPDATE payments SET state = 'SUCCEEDED' WHERE order_id = $1").await;
    assert_eq!(api.cancel(order).await.state(), PaymentState::Succeeded, "money came first");
}

#[tokio::test]
async fn a_refund_is_recorded_once() {
    let api = Api::new().await;
    let created = api.good();
    let order = uuid(&created.order_id);
    api.create(&[created]).await.unwrap();
    let captured = "UPDATE payments SET state = 'SUCCEEDED', captured_minor = amount_minor, \
                    intent_id = 'pi_1' WHERE order_id = $1";
    api.set(order, captured).await;
    let request = || RefundRequest { request_id: id(), order_id: order.to_string() };
    for _ in 0..2 {
        let answer = api.payments.clone().refund(request()).await.unwrap().into_inner();
        assert_eq!(answer.payment.unwrap().state(), PaymentState::Succeeded);
    }
    let refunds: Vec<(i64, String)> = sqlx::query_as("SELECT amount_minor, reason FROM refunds")
        .fetch_all(&api.pg.pool)
        .await
        .unwrap();
    assert_eq!(refunds, [(1_999, "requested".to_owned())]);
    api.set(order, "UPDATE payments SET state = 'REFUNDED' WHERE order_id = $1").await;
    let answer = api.payments.clone().refund(request()).await.unwrap().into_inner();
    assert_eq!(answer.payment.unwrap().state(), PaymentState::Refunded);
}
