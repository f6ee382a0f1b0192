//! The gRPC interface: what it records, what it refuses, and that a refusal changes nothing. The
//! force switch is open: nothing goes out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{claimed, config, eur, order, record_sale};
use flashsale_errors::Reason;
use flashsale_proto::{
    Money, NamedChannel,
    payment::{
        BreakerForce, CancelPaymentRequest, CreatePaymentsRequest, GetBreakerRequest,
        GetPaymentRequest, Payment, PaymentOrder, PaymentState, RefundRequest, RetryPaymentRequest,
        payment_admin_service_client::PaymentAdminServiceClient,
        payment_service_client::PaymentServiceClient,
    },
};
use flashsale_service::Drain;
use flashsale_testbed::{
    TestPg, TestServer, assert_failure,
    fixtures::{self, OrderSpec},
};
use tonic::Status;
use uuid::Uuid;

struct Api {
    pg: TestPg,
    payments: PaymentServiceClient<NamedChannel>,
    admin: PaymentAdminServiceClient<NamedChannel>,
    sale: Uuid,
    server: TestServer,
}

impl Api {
    async fn new() -> Self {
        let pg = flashsale_testbed::postgres().await;
        let open = "UPDATE breaker_force SET force = 'OPEN', updated_at = now()";
        sqlx::query(open).execute(&pg.pool).await.unwrap();
        let drain = Drain::new();
        let config = config(&pg, "http://127.0.0.1:1", &[]);
        let hosted = flashsale_payment::build(config, drain.clone()).await.unwrap();
        let server = flashsale_testbed::serve(hosted, drain).await;
        let channel = server.channel().await;
        let sale = record_sale(&pg).await;
        Self {
            pg,
            payments: PaymentServiceClient::new(channel.clone()),
            admin: PaymentAdminServiceClient::new(channel),
            sale,
            server,
        }
    }

    /// An order of the record that waits for its payment.
    async fn good(&self) -> PaymentOrder {
        order(self.recorded(claimed(self.sale, "pm_card_visa")).await)
    }

    async fn recorded(&self, order: OrderSpec<'_>) -> Uuid {
        fixtures::record_order(&self.pg.pool, &order).await.unwrap();
        order.order_id
    }

    async fn create(&self, orders: &[PaymentOrder]) -> Result<Vec<Payment>, Status> {
        let request = CreatePaymentsRequest { request_id: id(), orders: orders.to_vec() };
        Ok(self.payments.clone().create_payments(request).await?.into_inner().payments)
    }

    async fn ask_to_cancel(&self, order: Uuid) -> Result<Payment, Status> {
        let answer = self.payments.clone().cancel_payment(cancellation(order)).await?;
        Ok(answer.into_inner().payment.unwrap())
    }

    async fn cancel(&self, order: Uuid) -> Payment {
        self.ask_to_cancel(order).await.unwrap()
    }

    /// Everything that stands in the tables this service writes.
    async fn tables(&self) -> Vec<String> {
        let everything = "SELECT payments::text FROM payments \
                          UNION ALL SELECT refunds::text FROM refunds \
                          UNION ALL SELECT payment_attempts::text FROM payment_attempts \
                          UNION ALL SELECT force FROM breaker_force ORDER BY 1";
        sqlx::query_scalar(everything).fetch_all(&self.pg.pool).await.unwrap()
    }

    async fn set(&self, order: Uuid, change: &'static str) {
        sqlx::query(change).bind(order).execute(&self.pg.pool).await.unwrap();
    }
}

fn cancellation(order: Uuid) -> CancelPaymentRequest {
    CancelPaymentRequest { request_id: id(), order_id: order.to_string() }
}

/// Asks for all that is left.
fn refund_of(order_id: &str) -> RefundRequest {
    RefundRequest { request_id: id(), order_id: order_id.to_owned(), ..RefundRequest::default() }
}

fn id() -> String {
    Uuid::new_v4().to_string()
}

fn uuid(text: &str) -> Uuid {
    text.parse().unwrap()
}

#[tokio::test]
async fn payments_of_another_sale_read_as_not_found() {
    let api = Api::new().await;
    let order = api.good().await;
    api.create(std::slice::from_ref(&order)).await.unwrap();
    let captured = "UPDATE payments SET state = 'SUCCEEDED', captured_minor = amount_minor, \
                    intent_id = 'pi_1' WHERE order_id = $1";
    api.set(uuid(&order.order_id), captured).await;
    let before = api.tables().await;
    let mut other = PaymentServiceClient::new(api.server.other_shops_channel().await);
    let get = GetPaymentRequest { order_id: order.order_id.clone() };
    assert_failure(&other.get_payment(get).await.unwrap_err(), Reason::PaymentNotFound);
    let refund = refund_of(&order.order_id);
    assert_failure(&other.refund(refund.clone()).await.unwrap_err(), Reason::PaymentNotFound);
    assert_eq!(api.tables().await, before);
    api.payments.clone().refund(refund).await.unwrap();
}

#[tokio::test]
async fn each_bad_request_has_its_reason_and_field() {
    let api = Api::new().await;
    let good = api.good().await;
    api.create(std::slice::from_ref(&good)).await.unwrap();
    let before = api.tables().await;

    type Spoil = fn(&mut CreatePaymentsRequest);
    let spoiled: [(Spoil, Reason, &str); 7] = [
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
    ];
    for (spoil, reason, field) in spoiled {
        let orders = vec![api.good().await, api.good().await];
        let mut request = CreatePaymentsRequest { request_id: id(), orders };
        spoil(&mut request);
        let status = api.payments.clone().create_payments(request).await.unwrap_err();
        let failure = assert_failure(&status, reason);
        assert_eq!(failure.violations()[0].field, field);
    }

    type SpoilCancel = fn(&mut CancelPaymentRequest);
    let spoiled: [(SpoilCancel, Reason, &str); 2] = [
        (|r| r.request_id = "x".to_owned(), Reason::RequestIdInvalid, "request_id"),
        (|r| r.order_id = "x".to_owned(), Reason::ArgumentInvalid, "order_id"),
    ];
    for (spoil, reason, field) in spoiled {
        let mut request = cancellation(uuid(&good.order_id));
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
        let request = refund_of(&order_id);
        let status = api.payments.clone().refund(request).await.unwrap_err();
        assert_failure(&status, reason);
    }
    let request = RefundRequest { request_id: String::new(), ..refund_of(&good.order_id) };
    let status = api.payments.clone().refund(request).await.unwrap_err();
    assert_failure(&status, Reason::RequestIdInvalid);
    let request = refund_of(&good.order_id);
    let status = api.payments.clone().refund(request).await.unwrap_err();
    let failure = assert_failure(&status, Reason::PaymentNotRefundable);
    assert_eq!(failure.metadata()["state"], "DUE");

    assert_eq!(api.tables().await, before, "a refused call changed something");
}

#[tokio::test]
async fn payments_are_recorded_once() {
    let api = Api::new().await;
    let specs: Vec<OrderSpec<'_>> = (0..200).map(|_| claimed(api.sale, "pm_card_visa")).collect();
    fixtures::record_orders(&api.pg.pool, &specs).await.unwrap();
    let orders: Vec<PaymentOrder> = specs.iter().map(|spec| order(spec.order_id)).collect();
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
    let refused = api.create(&[api.good().await]).await.unwrap_err();
    assert_failure(&refused, Reason::Internal);
}

#[tokio::test]
async fn amount_and_method_are_the_records() {
    let api = Api::new().await;
    let spec = OrderSpec { total_minor: 4_250, ..claimed(api.sale, "pm_card_mastercard") };
    let order_id = api.recorded(spec).await;
    let created = api.create(&[order(order_id)]).await.unwrap().remove(0);
    assert_eq!(created.amount, Some(eur(42, 50)));
    assert_eq!(created.sale_id, api.sale.to_string());
    let methods: Vec<String> = sqlx::query_scalar("SELECT payment_method FROM payments")
        .fetch_all(&api.pg.pool)
        .await
        .unwrap();
    assert_eq!(methods, ["pm_card_mastercard"]);

    let spec = OrderSpec { total_minor: 700, ..claimed(api.sale, "pm_card_visa") };
    let never = api.cancel(api.recorded(spec).await).await;
    assert_eq!((never.state(), never.amount), (PaymentState::Cancelled, Some(eur(7, 0))));
    assert_eq!(never.sale_id, api.sale.to_string());
}

#[tokio::test]
async fn only_orders_of_the_record_are_charged() {
    let api = Api::new().await;
    let (good, paid) = (api.good().await, api.good().await);
    api.create(std::slice::from_ref(&paid)).await.unwrap();
    let before = api.tables().await;
    let unknown = Uuid::new_v4();
    let status = api.create(&[good.clone(), order(unknown)]).await.unwrap_err();
    let failure = assert_failure(&status, Reason::OrderNotFound);
    assert_eq!(failure.violations()[0].field, "orders[1].order_id");
    assert_eq!(failure.metadata()["order_id"], unknown.to_string());
    let status = api.ask_to_cancel(unknown).await.unwrap_err();
    let failure = assert_failure(&status, Reason::OrderNotFound);
    assert_eq!(failure.violations()[0].field, "order_id");

    let spec = |state: &'static str, currency: &'static str, total_minor: i64| OrderSpec {
        state,
        currency,
        total_minor,
        ..claimed(api.sale, "pm_card_visa")
    };
    for not_payable in [
        spec("DEAD_LETTER", "EUR", 0),
        spec("CONFIRMED", "EUR", 1_999),
        spec("DECLINED", "EUR", 1_999),
        spec("CANCELLED", "EUR", 1_999),
        spec("REFUNDED", "EUR", 1_999),
        spec("CLAIMED", "EUR", 0),
        spec("CLAIMED", "KWD", 5_124),
    ] {
        let (state, total) = (not_payable.state, not_payable.total_minor);
        let order_id = api.recorded(not_payable).await;
        let status = api.create(&[good.clone(), order(order_id)]).await.unwrap_err();
        let failure = assert_failure(&status, Reason::OrderNotPayable);
        assert_eq!(failure.violations()[0].field, "orders[1].order_id", "{state}");
        assert_eq!(failure.metadata()["order_id"], order_id.to_string());
        assert_eq!(failure.metadata()["state"], state);
        if total == 0 {
            let status = api.ask_to_cancel(order_id).await.unwrap_err();
            let failure = assert_failure(&status, Reason::OrderNotPayable);
            assert_eq!(failure.violations()[0].field, "order_id", "{state}");
        }
    }
    assert_eq!(api.tables().await, before, "a refused call changed something");
}

#[tokio::test]
async fn a_payment_outlives_its_orders_state() {
    let api = Api::new().await;
    let (good, cancelled) = (api.good().await, api.good().await);
    let first = api.create(std::slice::from_ref(&good)).await.unwrap();
    api.cancel(uuid(&cancelled.order_id)).await;
    let end = "UPDATE orders SET state = 'CANCELLED' WHERE order_id = $1";
    for order in [&good, &cancelled] {
        api.set(uuid(&order.order_id), end).await;
    }
    let again = api.create(&[good, cancelled]).await.unwrap();
    assert_eq!(again[0], first[0]);
    assert_eq!(again[1].state(), PaymentState::Cancelled);
}

#[tokio::test]
async fn an_order_without_a_payment_can_be_cancelled() {
    let api = Api::new().await;
    let unheard = api.good().await;
    let order = uuid(&unheard.order_id);
    assert_eq!(api.cancel(order).await.state(), PaymentState::Cancelled);
    assert_eq!(api.cancel(order).await.state(), PaymentState::Cancelled);
    let late = api.create(&[unheard]).await.unwrap();
    assert_eq!(late[0].state(), PaymentState::Cancelled);
}

#[tokio::test]
async fn an_unbegun_payment_is_cancelled_at_once() {
    let api = Api::new().await;
    let order = api.good().await;
    api.create(std::slice::from_ref(&order)).await.unwrap();
    let payment = api.cancel(uuid(&order.order_id)).await;
    assert_eq!(payment.state(), PaymentState::Cancelled);
}

#[tokio::test]
async fn a_begun_payment_stays_open_until_cancelled() {
    let api = Api::new().await;
    let created = api.good().await;
    let order = uuid(&created.order_id);
    api.create(&[created]).await.unwrap();
    api.set(
        order,
        "UPDATE payments SET attempts = 1, first_attempt_at = now() WHERE order_id = $1",
    )
    .await;
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
    let created = api.good().await;
    let order = uuid(&created.order_id);
    api.create(&[created]).await.unwrap();
    let captured = "UPDATE payments SET state = 'SUCCEEDED', captured_minor = amount_minor, \
                    intent_id = 'pi_1' WHERE order_id = $1";
    api.set(order, captured).await;
    let request = || refund_of(&order.to_string());
    for _ in 0..2 {
        let answer = api.payments.clone().refund(request()).await.unwrap().into_inner();
        assert_eq!(answer.payment.unwrap().state(), PaymentState::Succeeded);
    }
    let refunds: Vec<(i64, String)> = sqlx::query_as("SELECT amount_minor, reason FROM refunds")
        .fetch_all(&api.pg.pool)
        .await
        .unwrap();
    assert_eq!(refunds, [(1_999, "requested".to_owned())]);
    api.set(order, "UPDATE refunds SET state = 'DONE' WHERE order_id = $1").await;
    api.set(order, "UPDATE payments SET state = 'REFUNDED' WHERE order_id = $1").await;
    let answer = api.payments.clone().refund(request()).await.unwrap().into_inner();
    assert_eq!(answer.payment.unwrap().state(), PaymentState::Refunded);
}

#[tokio::test]
async fn each_bad_refund_and_card_is_refused() {
    let api = Api::new().await;
    let created = api.good().await;
    let order = uuid(&created.order_id);
    api.create(&[created]).await.unwrap();
    let captured = "UPDATE payments SET state = 'SUCCEEDED', captured_minor = amount_minor, \
                    intent_id = 'pi_1' WHERE order_id = $1";
    api.set(order, captured).await;
    let before = api.tables().await;

    type Spoil = fn(&mut RefundRequest);
    let spoiled: [(Spoil, Reason, &str); 9] = [
        (|r| r.request_id = "17".to_owned(), Reason::RequestIdInvalid, "request_id"),
        (|r| r.amount = Some(eur(0, 0)), Reason::ArgumentInvalid, "amount"),
        (|r| r.amount = Some(eur(-1, 0)), Reason::ArgumentInvalid, "amount"),
        (|r| r.amount = Some(eur(20, 0)), Reason::RefundExceedsCaptured, "amount"),
        (|r| r.amount = Some(Money { nanos: 1, ..eur(1, 0) }), Reason::ArgumentInvalid, "amount"),
        (
            |r| r.amount = Some(Money { currency_code: "USD".to_owned(), ..eur(1, 0) }),
            Reason::ArgumentInvalid,
            "amount.currency_code",
        ),
        (
            |r| r.amount = Some(Money { currency_code: "Euro".to_owned(), ..eur(1, 0) }),
            Reason::ArgumentInvalid,
            "amount.currency_code",
        ),
        (|r| r.reason = "x".repeat(201), Reason::ArgumentInvalid, "reason"),
        (|r| r.reason = "two\nlines".to_owned(), Reason::ArgumentInvalid, "reason"),
    ];
    for (spoil, reason, field) in spoiled {
        let mut request = refund_of(&order.to_string());
        request.amount = Some(eur(1, 0));
        spoil(&mut request);
        let status = api.payments.clone().refund(request).await.unwrap_err();
        assert_eq!(assert_failure(&status, reason).violations()[0].field, field);
    }

    type SpoilRetry = fn(&mut RetryPaymentRequest);
    let spoiled: [(SpoilRetry, Reason, &str); 5] = [
        (|r| r.request_id.clear(), Reason::RequestIdInvalid, "request_id"),
        (|r| r.order_id = "x".to_owned(), Reason::ArgumentInvalid, "order_id"),
        (|r| r.payment_method.clear(), Reason::ArgumentInvalid, "payment_method"),
        (|r| r.payment_method = "x".repeat(256), Reason::ArgumentInvalid, "payment_method"),
        (|r| r.payment_method = "a\nb".to_owned(), Reason::ArgumentInvalid, "payment_method"),
    ];
    let retry = || RetryPaymentRequest {
        request_id: id(),
        order_id: order.to_string(),
        payment_method: "pm_card_visa".to_owned(),
    };
    for (spoil, reason, field) in spoiled {
        let mut request = retry();
        spoil(&mut request);
        let status = api.payments.clone().retry_payment(request).await.unwrap_err();
        assert_eq!(assert_failure(&status, reason).violations()[0].field, field);
    }
    let status = api.payments.clone().retry_payment(retry()).await.unwrap_err();
    let failure = assert_failure(&status, Reason::PaymentRetryClosed);
    assert_eq!(failure.metadata()["state"], "SUCCEEDED");
    let unknown = RetryPaymentRequest { order_id: id(), ..retry() };
    let status = api.payments.clone().retry_payment(unknown).await.unwrap_err();
    assert_failure(&status, Reason::PaymentNotFound);
    assert_eq!(api.tables().await, before, "a refused call changed something");
}

#[tokio::test]
async fn refunds_of_parts_end_at_what_was_captured() {
    let api = Api::new().await;
    let created = api.good().await;
    let order = uuid(&created.order_id);
    api.create(&[created]).await.unwrap();
    let captured = "UPDATE payments SET state = 'SUCCEEDED', captured_minor = amount_minor, \
                    intent_id = 'pi_1' WHERE order_id = $1";
    api.set(order, captured).await;
    let asks = (0..30).map(|_| {
        let request = RefundRequest { amount: Some(eur(1, 0)), ..refund_of(&order.to_string()) };
        let mut payments = api.payments.clone();
        async move { payments.refund(request).await }
    });
    let answers = futures::future::join_all(asks).await;
    let refused: Vec<&Status> = answers.iter().filter_map(|it| it.as_ref().err()).collect();
    assert_eq!(refused.len(), 11, "19 of 19.99 can be given back by one");
    for status in refused {
        let failure = assert_failure(status, Reason::RefundExceedsCaptured);
        assert_eq!(failure.metadata()["left_minor"], "99");
    }
    // The same request again is the same refund; with another amount it is none.
    let request = RefundRequest { amount: Some(eur(0, 50)), ..refund_of(&order.to_string()) };
    for _ in 0..2 {
        api.payments.clone().refund(request.clone()).await.unwrap();
    }
    let other = RefundRequest { amount: Some(eur(0, 49)), ..request };
    let status = api.payments.clone().refund(other).await.unwrap_err();
    assert_failure(&status, Reason::RequestIdReused);
    api.payments.clone().refund(refund_of(&order.to_string())).await.unwrap();
    let refunds: Vec<i64> = sqlx::query_scalar("SELECT amount_minor FROM refunds ORDER BY 1 DESC")
        .fetch_all(&api.pg.pool)
        .await
        .unwrap();
    let sum: i64 = refunds.iter().sum();
    assert_eq!((refunds.len(), sum, refunds[19], refunds[20]), (21, 1_999, 50, 49));
}
