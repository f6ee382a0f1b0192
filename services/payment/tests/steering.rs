//! What operators do: the force switch, the budgets, the lists, and payments that are woken or
//! ended by hand.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::{collections::HashSet, time::Duration};

use common::{Bench, Standin, claimed, config, record_sale};
use flashsale_errors::Reason;
use flashsale_payment::{
    domain::State,
    store::{Allowed, Budget, Gone, NewAbandonment, NewPace, PaceSet, Store},
};
use flashsale_proto::payment::{
    AbandonPaymentRequest, AccountStanding, BreakerForce, DifferenceKind, GetBreakerRequest,
    GetBreakerResponse, GetComparisonRequest, GetComparisonResponse, ListPaymentsRequest,
    ListedPayment, MakeDueRequest, Payment, PaymentState, SetBreakerRequest, SetBudgetRequest,
    payment_admin_service_client::PaymentAdminServiceClient,
};
use flashsale_service::{Drain, wire};
use flashsale_testbed::{assert_failure, eventually, fixtures};
use serde_json::json;
use time::OffsetDateTime;
use tonic::Status;
use uuid::Uuid;

const CONFIRM: &str = "POST /v1/payment_intents/:id/confirm";
const RETRIEVE: &str = "GET /v1/payment_intents/:id";
/// Nothing is looked at again by itself within a test.
const PATIENT: [(&str, &str); 2] =
    [("PAYMENT__RETRY_BASE_MS", "600000"), ("PAYMENT__RETRY_CAP_MS", "600000")];

fn id() -> String {
    Uuid::new_v4().to_string()
}

fn force(force: BreakerForce, reason: &str) -> SetBreakerRequest {
    SetBreakerRequest {
        request_id: id(),
        force: force.into(),
        reason: reason.to_owned(),
        expire_time: None,
    }
}

fn until(end: OffsetDateTime, request: SetBreakerRequest) -> SetBreakerRequest {
    SetBreakerRequest { expire_time: Some(wire::timestamp(end)), ..request }
}

fn pace(endpoint: &str, per_s: f64) -> SetBudgetRequest {
    let reason = "a test".to_owned();
    SetBudgetRequest { request_id: id(), endpoint: endpoint.to_owned(), per_s, reason }
}

fn abandonment(order: Uuid) -> AbandonPaymentRequest {
    let reason = "Stripe lost it".to_owned();
    AbandonPaymentRequest { request_id: id(), order_id: order.to_string(), reason }
}

/// Payment, with the force switch open: nothing goes out.
async fn quiet() -> Bench {
    let bench = Bench::new(&[]).await;
    let open = force(BreakerForce::Open, "a test");
    bench.admin.clone().set_breaker(open).await.unwrap();
    bench
}

impl Bench {
    async fn breaker(&self) -> GetBreakerResponse {
        self.admin.clone().get_breaker(GetBreakerRequest {}).await.unwrap().into_inner()
    }

    async fn abandon(&self, request: AbandonPaymentRequest) -> Result<Payment, Status> {
        let answer = self.admin.clone().abandon_payment(request).await?;
        Ok(answer.into_inner().payment.unwrap())
    }

    /// What keeps a payment from being ended; its row is as it was.
    async fn obstacle(&self, order: Uuid) -> String {
        let before = self.tables().await;
        let status = self.abandon(abandonment(order)).await.unwrap_err();
        let failure = assert_failure(&status, Reason::PaymentNotAbandonable);
        assert_eq!(failure.metadata()["order_id"], order.to_string());
        assert_eq!(self.tables().await, before, "a refused call changed something");
        failure.metadata()["obstacle"].clone()
    }

    async fn comparison(&self, sale: Option<Uuid>) -> GetComparisonResponse {
        let sale_id = sale.map(|sale| sale.to_string()).unwrap_or_default();
        let request = GetComparisonRequest { sale_id, start_time: None };
        self.admin.clone().get_comparison(request).await.unwrap().into_inner()
    }

    async fn list(&self, request: ListPaymentsRequest) -> (Vec<ListedPayment>, String) {
        let answer = self.admin.clone().list_payments(request).await.unwrap().into_inner();
        (answer.payments, answer.next_page_token)
    }

    /// All pages of a list, of `size` each.
    async fn pages(&self, mut request: ListPaymentsRequest, size: i32) -> Vec<ListedPayment> {
        request.page_size = size;
        let mut all = Vec::new();
        loop {
            let (page, next) = self.list(request.clone()).await;
            assert!(page.len() <= usize::try_from(size).unwrap());
            all.extend(page);
            if next.is_empty() {
                return all;
            }
            request.page_token = next;
        }
    }

    async fn change(&self, order: Uuid, change: &'static str) {
        let changed = sqlx::query(change).bind(order).execute(&self.pg.pool).await.unwrap();
        assert_eq!(changed.rows_affected(), 1, "{change}");
    }

    /// Everything that stands in the tables this service writes, but how full the buckets are.
    async fn tables(&self) -> Vec<String> {
        let everything = "SELECT payments::text FROM payments \
                          UNION ALL SELECT refunds::text FROM refunds \
                          UNION ALL SELECT payment_abandonments::text FROM payment_abandonments \
                          UNION ALL SELECT breaker_force::text FROM breaker_force \
                          UNION ALL SELECT breaker_history::text FROM breaker_history \
                          UNION ALL SELECT budget_history::text FROM budget_history \
                          UNION ALL SELECT concat(endpoint, set_rate) FROM provider_budgets \
                              WHERE set_rate IS NOT NULL \
                          ORDER BY 1";
        sqlx::query_scalar(everything).fetch_all(&self.pg.pool).await.unwrap()
    }

    /// A payment that the record has in `PROCESSING`, with an intent that the provider has never
    /// heard of; nothing looks at it by itself.
    async fn lost(&self) -> Uuid {
        let order = claimed(self.sale, "pm_card_visa");
        fixtures::record_order(&self.pg.pool, &order).await.unwrap();
        let insert = "INSERT INTO payments (order_id, sale_id, state, currency, amount_minor,
                payment_method, intent_id, attempts, first_attempt_at, last_attempt_at,
                generation_at, due_at)
             SELECT order_id, sale_id, 'PROCESSING', currency, total_minor, payment_method,
                'pi_lost_' || order_id, 3, now(), now(), now(), now() + interval '1 day'
             FROM orders WHERE order_id = $1";
        self.change(order.order_id, insert).await;
        order.order_id
    }

    /// One that was captured: it shows whose account the key is of.
    async fn captured(&self) -> Uuid {
        let order = self.create("pm_card_visa").await;
        self.reaches(order, PaymentState::Succeeded).await;
        order
    }
}

#[tokio::test]
async fn each_bad_request_has_its_reason_and_field() {
    let bench = quiet().await;
    let order = bench.create("pm_card_visa").await;
    let mut admin = bench.admin.clone();
    let before = bench.tables().await;
    let long = "é".repeat(201);
    let now = OffsetDateTime::now_utc();
    let closed = || force(BreakerForce::Closed, "the breaker is wrong");
    let minutes = |minutes: i64| now + time::Duration::minutes(minutes);
    let open = || force(BreakerForce::Open, "a test");
    let with = |request_id: &str| SetBreakerRequest { request_id: request_id.to_owned(), ..open() };

    for (request, reason, field) in [
        (with(""), Reason::RequestIdInvalid, "request_id"),
        (with("17"), Reason::RequestIdInvalid, "request_id"),
        (with(&Uuid::nil().to_string()), Reason::RequestIdInvalid, "request_id"),
        (SetBreakerRequest { force: 0, ..open() }, Reason::ArgumentInvalid, "force"),
        (SetBreakerRequest { force: 9, ..open() }, Reason::ArgumentInvalid, "force"),
        (force(BreakerForce::Open, ""), Reason::ArgumentInvalid, "reason"),
        (force(BreakerForce::Open, &long), Reason::ArgumentInvalid, "reason"),
        (force(BreakerForce::Open, "two\nlines"), Reason::ArgumentInvalid, "reason"),
        (closed(), Reason::ArgumentInvalid, "expire_time"),
        (until(minutes(11), closed()), Reason::ArgumentInvalid, "expire_time"),
        (until(minutes(-1), closed()), Reason::ArgumentInvalid, "expire_time"),
        (until(minutes(-1), open()), Reason::ArgumentInvalid, "expire_time"),
        (
            until(minutes(1), force(BreakerForce::Auto, "a test")),
            Reason::ArgumentInvalid,
            "expire_time",
        ),
    ] {
        let status = admin.set_breaker(request.clone()).await.unwrap_err();
        let failure = assert_failure(&status, reason);
        assert_eq!(failure.violations()[0].field, field, "{request:?}");
        if field == "expire_time" {
            let remedy = &failure.violations()[0].description;
            let named = ["within the next 10 minutes", "ahead", "left out"];
            assert!(named.iter().any(|named| remedy.contains(named)), "{remedy}");
        }
    }

    let named = |endpoint: &str| pace(endpoint, 1.0);
    for (request, reason, field) in [
        (
            SetBudgetRequest { request_id: "x".into(), ..named("all") },
            Reason::RequestIdInvalid,
            "request_id",
        ),
        (named(""), Reason::ArgumentInvalid, "endpoint"),
        (named("payment_intents"), Reason::ArgumentInvalid, "endpoint"),
        (pace("all", -1.0), Reason::ArgumentInvalid, "per_s"),
        (pace("all", f64::NAN), Reason::ArgumentInvalid, "per_s"),
        (pace("all", f64::INFINITY), Reason::ArgumentInvalid, "per_s"),
        (pace("all", 10_001.0), Reason::ArgumentInvalid, "per_s"),
        // Above what is configured in these tests, and above what Stripe allows.
        (pace("all", 8_001.0), Reason::ArgumentInvalid, "per_s"),
        (pace("refunds.create", 2_001.0), Reason::ArgumentInvalid, "per_s"),
        (
            SetBudgetRequest { reason: String::new(), ..named("all") },
            Reason::ArgumentInvalid,
            "reason",
        ),
    ] {
        let status = admin.set_budget(request.clone()).await.unwrap_err();
        let failure = assert_failure(&status, reason);
        assert_eq!(failure.violations()[0].field, field, "{request:?}");
    }

    let all = ListPaymentsRequest::default;
    let mut far = wire::timestamp(now);
    far.seconds = i64::MAX;
    for (request, reason, field) in [
        (ListPaymentsRequest { sale_id: "x".into(), ..all() }, Reason::ArgumentInvalid, "sale_id"),
        (ListPaymentsRequest { state: 99, ..all() }, Reason::ArgumentInvalid, "state"),
        (
            ListPaymentsRequest { state: PaymentState::Succeeded.into(), stuck: true, ..all() },
            Reason::ArgumentInvalid,
            "state",
        ),
        (
            ListPaymentsRequest {
                state: PaymentState::Failed.into(),
                due_before: Some(wire::timestamp(now)),
                ..all()
            },
            Reason::ArgumentInvalid,
            "state",
        ),
        (
            ListPaymentsRequest { due_before: Some(far), ..all() },
            Reason::ArgumentInvalid,
            "due_before",
        ),
        (ListPaymentsRequest { page_size: -1, ..all() }, Reason::ArgumentInvalid, "page_size"),
        (
            ListPaymentsRequest { page_token: "x".into(), ..all() },
            Reason::PageTokenInvalid,
            "page_token",
        ),
    ] {
        let status = admin.list_payments(request.clone()).await.unwrap_err();
        let failure = assert_failure(&status, reason);
        assert_eq!(failure.violations()[0].field, field, "{request:?}");
    }

    let unknown = Uuid::new_v4();
    for (request, reason, field) in [
        (
            AbandonPaymentRequest { request_id: String::new(), ..abandonment(order) },
            Reason::RequestIdInvalid,
            Some("request_id"),
        ),
        (
            AbandonPaymentRequest { order_id: "x".into(), ..abandonment(order) },
            Reason::ArgumentInvalid,
            Some("order_id"),
        ),
        (
            AbandonPaymentRequest { reason: "\t".into(), ..abandonment(order) },
            Reason::ArgumentInvalid,
            Some("reason"),
        ),
        (abandonment(unknown), Reason::PaymentNotFound, None),
    ] {
        let status = admin.abandon_payment(request.clone()).await.unwrap_err();
        let failure = assert_failure(&status, reason);
        let found = failure.violations().first().map(|violation| violation.field.as_str());
        assert_eq!(found, field, "{request:?}");
    }

    let impossible = prost_types::Timestamp { seconds: i64::MAX, nanos: 0 };
    for (request, field) in [
        (GetComparisonRequest { sale_id: "x".into(), start_time: None }, "sale_id"),
        (
            GetComparisonRequest { sale_id: String::new(), start_time: Some(impossible) },
            "start_time",
        ),
    ] {
        let status = admin.get_comparison(request).await.unwrap_err();
        let failure = assert_failure(&status, Reason::ArgumentInvalid);
        assert_eq!(failure.violations()[0].field, field);
    }

    let due = |request_id: String, order_id: String| MakeDueRequest { request_id, order_id };
    for (request, reason) in [
        (due(String::new(), order.to_string()), Reason::RequestIdInvalid),
        (due(id(), "x".to_owned()), Reason::ArgumentInvalid),
        (due(id(), unknown.to_string()), Reason::PaymentNotFound),
    ] {
        assert_failure(&admin.make_due(request).await.unwrap_err(), reason);
    }
    assert_eq!(bench.tables().await, before, "a refused call changed something");
}

#[tokio::test]
async fn a_decision_ends_by_itself_everywhere() {
    let bench = Bench::new(&[]).await;
    let end = OffsetDateTime::now_utc() + time::Duration::seconds(3);
    let open = until(end, force(BreakerForce::Open, "maintenance"));
    let made = bench.admin.clone().set_breaker(open).await.unwrap().into_inner();
    assert_eq!(made.force(), BreakerForce::Open);
    let change = made.change.unwrap();
    assert_eq!((change.reason.as_str(), change.force()), ("maintenance", BreakerForce::Open));
    assert!(!change.caller.is_empty());
    // A second instance on the same record. One that ran before might have read the switch within the
    // last second, and charge once more.
    let drain = Drain::new();
    let config = config(&bench.pg, &bench.standin_url, &[]);
    let hosted = flashsale_payment::build(config, drain.clone()).await.unwrap();
    let other = flashsale_testbed::serve(hosted, drain).await;
    let mut others = PaymentAdminServiceClient::new(other.channel().await);
    let seen = others.get_breaker(GetBreakerRequest {}).await.unwrap().into_inner();
    assert_eq!((seen.force(), seen.reason.as_str()), (BreakerForce::Open, "maintenance"));
    assert_eq!(seen.expire_time, change.expire_time);
    assert_eq!(seen.changes, std::slice::from_ref(&change));

    let order = bench.create("pm_card_visa").await;
    let payment = bench.reaches(order, PaymentState::Succeeded).await;
    assert!(payment.update_time.unwrap().seconds >= change.expire_time.unwrap().seconds);
    for admin in [&mut bench.admin.clone(), &mut others] {
        let now = admin.get_breaker(GetBreakerRequest {}).await.unwrap().into_inner();
        assert_eq!((now.force(), now.reason.as_str()), (BreakerForce::Auto, ""));
        assert_eq!((now.expire_time, now.changes.len()), (None, 1));
    }
    bench.books_agree().await;
}

#[tokio::test]
async fn a_repeated_decision_changes_nothing() {
    let bench = Bench::new(&[]).await;
    let mut admin = bench.admin.clone();
    let first = force(BreakerForce::Open, "first");
    let made = admin.set_breaker(first.clone()).await.unwrap().into_inner();
    admin.set_breaker(force(BreakerForce::Auto, "second")).await.unwrap();
    let before = bench.tables().await;
    // The same request, after another decision: it has had its effect.
    let again = admin.set_breaker(first.clone()).await.unwrap().into_inner();
    assert_eq!((again.force(), &again.change), (BreakerForce::Auto, &made.change));
    let other = SetBreakerRequest { reason: "other".to_owned(), ..first };
    let status = admin.set_breaker(other).await.unwrap_err();
    let failure = assert_failure(&status, Reason::RequestIdReused);
    assert_eq!(failure.violations()[0].field, "request_id");
    assert_eq!(bench.tables().await, before);

    // Of many that come at once with one id, one is made.
    let same = force(BreakerForce::Open, "at once");
    let calls = (0..8).map(|_| {
        let (mut admin, same) = (bench.admin.clone(), same.clone());
        async move { admin.set_breaker(same).await.unwrap().into_inner().change }
    });
    let changes: HashSet<String> =
        futures::future::join_all(calls).await.iter().map(|change| format!("{change:?}")).collect();
    assert_eq!(changes.len(), 1);
    let breaker = bench.breaker().await;
    assert_eq!((breaker.changes.len(), breaker.force()), (3, BreakerForce::Open));
}

#[tokio::test]
async fn the_last_twenty_decisions_are_shown_and_none_is_lost() {
    let bench = Bench::new(&[]).await;
    for place in 0..25 {
        let request = force(BreakerForce::Auto, &format!("decision {place}"));
        bench.admin.clone().set_breaker(request).await.unwrap();
        let request = SetBudgetRequest { reason: format!("pace {place}"), ..pace("all", 5.0) };
        bench.admin.clone().set_budget(request).await.unwrap();
    }
    let breaker = bench.breaker().await;
    let shown: Vec<&str> = breaker.changes.iter().map(|change| change.reason.as_str()).collect();
    let expected: Vec<String> = (5..25).rev().map(|place| format!("decision {place}")).collect();
    assert_eq!(shown, expected);
    let paces: Vec<&str> =
        breaker.budget_changes.iter().map(|change| change.reason.as_str()).collect();
    assert_eq!((paces.len(), paces[0]), (20, "pace 24"));
    for table in ["breaker_history", "budget_history", "payment_abandonments"] {
        for change in [
            format!("UPDATE {table} SET reason = 'another'"),
            format!("DELETE FROM {table}"),
            format!("TRUNCATE {table}"),
        ] {
            // As superuser.
            let refused = sqlx::query(sqlx::AssertSqlSafe(change.clone()));
            let refused = refused.execute(&bench.pg.pool).await.unwrap_err().to_string();
            assert!(refused.contains("rows are only added"), "{change}: {refused}");
        }
    }
}

/// During an upgrade the version before sets the switch, too, and knows neither reason nor end.
#[tokio::test]
async fn a_decision_of_the_version_before_has_no_end() {
    let bench = Bench::new(&[]).await;
    let end = OffsetDateTime::now_utc() + time::Duration::milliseconds(400);
    let request = until(end, force(BreakerForce::Open, "short"));
    bench.admin.clone().set_breaker(request).await.unwrap();
    let before = "UPDATE breaker_force SET force = 'OPEN', updated_at = now()";
    sqlx::query(before).execute(&bench.pg.pool).await.unwrap();
    eventually("the first decision has run out", || async {
        (OffsetDateTime::now_utc() > end + Duration::from_millis(100)).then_some(())
    })
    .await;
    let breaker = bench.breaker().await;
    assert_eq!((breaker.force(), breaker.reason.as_str()), (BreakerForce::Open, ""));
}

#[tokio::test]
async fn lists_have_every_payment_once_and_nothing_of_the_buyer() {
    let bench = quiet().await;
    let states = [
        ("DUE", 0, 0),
        ("DUE", 2, 5),
        ("PROCESSING", 1, 0),
        ("REQUIRES_ACTION", 1, 4),
        ("SUCCEEDED", 1, 7),
        ("FAILED", 1, 0),
        ("CANCELLED", 0, 0),
        ("REFUNDED", 1, 0),
    ];
    let orders = bench.create_many(&["pm_card_visa"; 40]).await;
    let place = "UPDATE payments SET state = $2, attempts = $3, failures = $4, \
                 client_secret = 'pi_1_secret_hush', \
                 created_at = now() - $5 * interval '1 second', \
                 due_at = now() - $6 * interval '1 second' WHERE order_id = $1";
    for (index, order) in orders.iter().enumerate() {
        let (state, attempts, failures) = states[index % states.len()];
        let index = i32::try_from(index).unwrap();
        sqlx::query(place)
            .bind(order)
            .bind(state)
            .bind(attempts)
            .bind(failures)
            // Some were recorded at the same moment, and are due at the same moment.
            .bind(index / 3)
            .bind((index * 7 % 40) / 2)
            .execute(&bench.pg.pool)
            .await
            .unwrap();
    }
    let other = record_sale(&bench.pg).await;
    let elsewhere = claimed(other, "pm_card_visa");
    fixtures::record_order(&bench.pg.pool, &elsewhere).await.unwrap();
    let insert = "INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, \
                  payment_method) SELECT order_id, sale_id, 'DUE', currency, total_minor, \
                  payment_method FROM orders WHERE order_id = $1";
    bench.change(elsewhere.order_id, insert).await;

    let of_sale = || ListPaymentsRequest { sale_id: bench.sale.to_string(), ..Default::default() };
    let ids = |found: &[ListedPayment]| -> Vec<String> {
        found.iter().map(|listed| listed.payment.clone().unwrap().order_id).collect()
    };
    for (request, newest, due) in [
        (ListPaymentsRequest::default(), 41, 21),
        (of_sale(), 40, 20),
        (ListPaymentsRequest { sale_id: other.to_string(), ..Default::default() }, 1, 1),
        (ListPaymentsRequest { stuck: true, ..of_sale() }, 5, 5),
        (ListPaymentsRequest { state: PaymentState::Due.into(), ..of_sale() }, 5, 5),
        (ListPaymentsRequest { state: PaymentState::Processing.into(), ..of_sale() }, 10, 10),
        (ListPaymentsRequest { state: PaymentState::RequiresAction.into(), ..of_sale() }, 5, 5),
        (ListPaymentsRequest { state: PaymentState::Succeeded.into(), ..of_sale() }, 5, 0),
        (ListPaymentsRequest { state: PaymentState::Failed.into(), ..Default::default() }, 5, 0),
        (ListPaymentsRequest { state: PaymentState::Refunded.into(), ..of_sale() }, 5, 0),
        (
            ListPaymentsRequest {
                state: PaymentState::Processing.into(),
                stuck: true,
                ..Default::default()
            },
            5,
            5,
        ),
    ] {
        // The due ones were recorded for the other sale just now.
        let later = OffsetDateTime::now_utc() + time::Duration::minutes(1);
        let due_before = Some(wire::timestamp(later));
        for (request, count) in [
            (request.clone(), newest),
            (ListPaymentsRequest { due_before, ..request.clone() }, due),
        ] {
            if count == 0 {
                continue;
            }
            let whole = bench.pages(request.clone(), 500).await;
            assert_eq!(whole.len(), count, "{request:?}");
            let paged = bench.pages(request.clone(), 3).await;
            assert_eq!(ids(&paged), ids(&whole), "{request:?}");
            assert_eq!(ids(&whole).into_iter().collect::<HashSet<_>>().len(), count);
            let by_due = request.due_before.is_some();
            let keys: Vec<_> = whole
                .iter()
                .map(|listed| {
                    let payment = listed.payment.clone().unwrap();
                    let key = if by_due { listed.due_time } else { payment.create_time };
                    let time = key.unwrap();
                    (time.seconds, time.nanos, payment.order_id.parse::<Uuid>().unwrap())
                })
                .collect();
            let mut sorted = keys.clone();
            sorted.sort_unstable();
            if !by_due {
                sorted.reverse();
            }
            assert_eq!(keys, sorted, "{request:?}");
            for listed in &whole {
                let payment = listed.payment.as_ref().unwrap();
                if request.state != 0 {
                    assert_eq!(payment.state, request.state);
                }
                let open = matches!(
                    payment.state(),
                    PaymentState::Due | PaymentState::Processing | PaymentState::RequiresAction
                );
                assert_eq!(listed.stuck, open && listed.failures >= 5);
                assert_eq!(listed.due_time.is_some(), open);
            }
            let said = format!("{whole:?}");
            for secret in ["pm_card", "hush", "buyer-1"] {
                assert!(!said.contains(secret), "{secret} is in a list");
            }
        }
    }

    // A payment that is recorded between two pages shifts nothing.
    let (first, next) = bench.list(ListPaymentsRequest { page_size: 20, ..of_sale() }).await;
    bench.create_many(&["pm_card_visa"; 5]).await;
    let rest = ListPaymentsRequest { page_size: 500, page_token: next.clone(), ..of_sale() };
    let (rest, end) = bench.list(rest).await;
    let all: HashSet<String> = ids(&first).into_iter().chain(ids(&rest)).collect();
    assert_eq!((all.len(), end.as_str()), (40, ""));
    // A token is of its own list.
    for other in [
        ListPaymentsRequest::default(),
        ListPaymentsRequest { stuck: true, ..of_sale() },
        ListPaymentsRequest { state: PaymentState::Due.into(), ..of_sale() },
    ] {
        let request = ListPaymentsRequest { page_token: next.clone(), ..other };
        let status = bench.admin.clone().list_payments(request).await.unwrap_err();
        assert_failure(&status, Reason::PageTokenInvalid);
    }
}

/// The statements behind the lists go along indexes however many payments there are.
#[tokio::test]
async fn lists_read_no_whole_table() {
    let bench = quiet().await;
    let mut connection = bench.pg.pool.acquire().await.unwrap();
    for setting in ["SET enable_seqscan = off", "SET plan_cache_mode = force_generic_plan"] {
        sqlx::query(setting).execute(&mut *connection).await.unwrap();
    }
    for (name, statement, parameters, indexes) in [
        ("list_all", include_str!("../sql/list_payments.sql"), 6, &["payments_ended"][..]),
        (
            "list_of_sale",
            include_str!("../sql/list_payments_of_sale.sql"),
            7,
            &["payments_ended_by_sale", "payments_due_by_sale"],
        ),
        ("list_due", include_str!("../sql/list_due_payments.sql"), 8, &["payments_due"]),
        ("witnesses", include_str!("../sql/witnesses.sql"), 1, &["payments_ended"]),
    ] {
        let prepare = format!("PREPARE {name} AS {statement}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(prepare)).execute(&mut *connection).await.unwrap();
        let nulls = vec!["NULL"; parameters].join(", ");
        let explain = format!("EXPLAIN EXECUTE {name}({nulls})");
        let plan: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(explain))
            .persistent(false)
            .fetch_all(&mut *connection)
            .await
            .unwrap();
        let plan = plan.join("\n");
        assert!(!plan.contains("Seq Scan on payments"), "{name}:\n{plan}");
        for index in indexes {
            assert!(plan.contains(index), "{name} does not use {index}:\n{plan}");
        }
    }
}

fn allowed(per_s: f64) -> Allowed {
    Allowed {
        all_per_s: 1_000.0,
        endpoint_per_s: per_s,
        burst_s: 0.2,
        longest_wait: Duration::from_secs(5),
    }
}

async fn set_pace(store: &Store, per_s: Option<f64>) {
    let asked = NewPace {
        request_id: Uuid::new_v4(),
        caller: "ops".to_owned(),
        endpoint: "test".to_owned(),
        per_s,
        reason: "a test".to_owned(),
    };
    let set = store.set_budget(&asked, 1.0, Duration::from_secs(5)).await.unwrap();
    assert!(matches!(set, PaceSet::Made(_)));
}

async fn bucket(store: &Store) -> Budget {
    store.budgets(&[("test", 100.0)], 0.2).await.unwrap().remove(0)
}

/// The longest wait for one of so many turns that are asked for at once.
async fn wait_for(store: &Store, turns: usize) -> Duration {
    let mut longest = Duration::ZERO;
    for _ in 0..turns {
        longest = longest.max(store.take_turn("test", allowed(100.0)).await.unwrap().unwrap());
    }
    longest
}

#[tokio::test]
async fn turns_are_taken_at_the_pace_that_is_set() {
    let bench = quiet().await;
    let store = Store::new(bench.pg.pool_of("payment"));
    store.open_budgets("test", allowed(100.0)).await.unwrap();
    let configured = wait_for(&store, 10).await;
    assert_eq!(configured, Duration::ZERO, "the bucket holds twenty");
    set_pace(&store, Some(2.0)).await;
    let slow = wait_for(&store, 4).await;
    assert!(slow > Duration::from_millis(1_000), "{slow:?}");
    // A debt of five seconds at this pace is the deepest there is.
    let waits: Vec<_> = futures::future::join_all(
        (0..40).map(|_| async { store.take_turn("test", allowed(100.0)).await.unwrap() }),
    )
    .await;
    assert!(waits.iter().flatten().all(|wait| *wait <= Duration::from_secs(5)));
    assert!(waits.iter().any(Option::is_none), "no debt is too deep");
    // A limit halves what is set.
    store.slow_down("test", 100.0).await.unwrap();
    let budget = bucket(&store).await;
    assert_eq!((budget.configured, budget.set_rate), (100.0, Some(2.0)));
    assert!((1.0..=2.0).contains(&budget.rate) && budget.tokens < 0.0, "{budget:?}");
    // Slower still: the debt of the faster pace does not stop everything.
    set_pace(&store, Some(0.1)).await;
    let budget = bucket(&store).await;
    assert!(budget.tokens > -0.51, "{budget:?}");
    set_pace(&store, None).await;
    eventually("the limit is forgotten, and the pace is the configured one", || async {
        let budget = bucket(&store).await;
        (budget.set_rate.is_none() && budget.rate > 2.0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_budget_is_set_for_all_instances_and_unset() {
    let bench = quiet().await;
    let mut admin = bench.admin.clone();
    let of = |breaker: &GetBreakerResponse, endpoint: &str| {
        breaker.budgets.iter().find(|budget| budget.endpoint == endpoint).unwrap().clone()
    };
    let breaker = bench.breaker().await;
    assert_eq!(breaker.budgets[0].endpoint, "all");
    assert!(breaker.budgets.len() > 8);
    let confirm = of(&breaker, "payment_intents.confirm");
    assert_eq!((confirm.configured_per_s, confirm.set_per_s), (2_000.0, 0.0));
    assert_eq!((confirm.present_per_s, confirm.tokens), (2_000.0, 400.0), "it is full");

    let lower = pace("payment_intents.confirm", 7.5);
    let set = admin.set_budget(lower.clone()).await.unwrap().into_inner();
    let budget = set.budget.clone().unwrap();
    assert_eq!((budget.set_per_s, budget.present_per_s), (7.5, 7.5));
    let change = set.change.clone().unwrap();
    assert_eq!((change.per_s, change.endpoint.as_str()), (7.5, "payment_intents.confirm"));
    assert_eq!(of(&bench.breaker().await, "payment_intents.confirm").set_per_s, 7.5);
    assert_eq!(of(&bench.breaker().await, "payment_intents.create").set_per_s, 0.0);

    admin.set_budget(pace("payment_intents.confirm", 0.0)).await.unwrap();
    let before = bench.tables().await;
    let again = admin.set_budget(lower.clone()).await.unwrap().into_inner();
    assert_eq!(again.change, set.change);
    assert_eq!(again.budget.unwrap().set_per_s, 0.0, "the repeated request set it again");
    let other = SetBudgetRequest { endpoint: "all".to_owned(), ..lower };
    let status = admin.set_budget(other).await.unwrap_err();
    assert_failure(&status, Reason::RequestIdReused);
    assert_eq!(bench.tables().await, before);
}

#[tokio::test]
async fn payments_go_at_the_pace_that_is_set() {
    let bench = Bench::new(&[]).await;
    bench.admin.clone().set_budget(pace("payment_intents.create", 4.0)).await.unwrap();
    let begun = tokio::time::Instant::now();
    for order in bench.create_many(&["pm_card_visa"; 9]).await {
        bench.reaches(order, PaymentState::Succeeded).await;
    }
    // The bucket holds one call: eight wait for a turn each.
    assert!(begun.elapsed() > Duration::from_millis(1_900), "{:?}", begun.elapsed());
    bench.books_agree().await;
}

#[tokio::test]
async fn a_woken_payment_is_looked_at_now() {
    let bench = Bench::with(Standin { webhooks: false, ..Standin::default() }, &PATIENT).await;
    let mut admin = bench.admin.clone();
    let order = bench.create("pm_card_authenticationRequired").await;
    let waiting = bench.reaches(order, PaymentState::RequiresAction).await;
    let path = format!("/authenticate/{}", waiting.payment_intent);
    bench.control("POST", &path, json!({ "outcome": "success" })).await;
    let mut wake = async || {
        let request = MakeDueRequest { request_id: id(), order_id: order.to_string() };
        admin.make_due(request).await.unwrap().into_inner().payment.unwrap()
    };
    put_back(&bench, order).await;
    // The provider has asked not to be asked for a while.
    bench
        .change(
            order,
            "UPDATE payments SET not_before = now() + interval '1 hour' WHERE order_id = $1",
        )
        .await;
    let listed = wake().await;
    assert!(listed.due_time.unwrap().seconds > OffsetDateTime::now_utc().unix_timestamp() + 400);
    bench.change(order, "UPDATE payments SET not_before = NULL WHERE order_id = $1").await;
    wake().await;
    bench.reaches(order, PaymentState::Succeeded).await;
    let before = bench.tables().await;
    let listed = wake().await;
    assert_eq!(listed.payment.unwrap().state(), PaymentState::Succeeded);
    assert_eq!((listed.due_time, bench.tables().await), (None, before));
    bench.books_agree().await;
}

#[tokio::test]
async fn a_payment_whose_intent_is_unknown_can_be_ended() {
    // A restricted key does not say whose it is: the payments beside this one have to.
    let [base, cap] = PATIENT;
    let settings = [base, cap, ("PAYMENT__STRIPE_SECRET_KEY", "rk_test_of_the_tests")];
    let bench = Bench::with(Standin { webhooks: false, ..Standin::default() }, &settings).await;
    eventually("the key is asked about", || async {
        let standing = bench.comparison(None).await.account_standing();
        (standing == AccountStanding::Unproven).then_some(())
    })
    .await;
    let lost = bench.lost().await;
    assert_eq!(bench.obstacle(lost).await, "account_unproven");
    let witness = bench.captured().await;
    let later = bench.lost().await;
    bench.captured().await;
    // As with the key of another account.
    bench
        .change(
            witness,
            "UPDATE payments SET intent_id = 'pi_elsewhere_' || intent_id WHERE order_id = $1",
        )
        .await;
    for order in [lost, later] {
        assert_eq!(bench.obstacle(order).await, "other_account");
    }
    bench
        .change(
            witness,
            "UPDATE payments SET intent_id = replace(intent_id, 'pi_elsewhere_', '') \
             WHERE order_id = $1",
        )
        .await;

    let request = abandonment(lost);
    let ended = bench.abandon(request.clone()).await.unwrap();
    assert_eq!(ended.state(), PaymentState::Cancelled);
    let declined = "UPDATE payments SET decline_code = 'lost_card' WHERE order_id = $1";
    bench.change(later, declined).await;
    let failed = bench.abandon(abandonment(later)).await.unwrap();
    assert_eq!(failed.state(), PaymentState::Failed);
    let rows: Vec<(Uuid, String, String, String)> = sqlx::query_as(
        "SELECT order_id, reason, intent_id, seen FROM payment_abandonments ORDER BY at",
    )
    .fetch_all(&bench.pg.pool)
    .await
    .unwrap();
    let row = |order: Uuid| {
        let (reason, seen) = ("Stripe lost it".to_owned(), "missing".to_owned());
        (order, reason, format!("pi_lost_{order}"), seen)
    };
    assert_eq!(rows, [row(lost), row(later)]);

    let before = bench.tables().await;
    assert_eq!(bench.abandon(request.clone()).await.unwrap(), ended);
    for other in [
        AbandonPaymentRequest { order_id: later.to_string(), ..request.clone() },
        AbandonPaymentRequest { reason: "another".to_owned(), ..request },
    ] {
        let status = bench.abandon(other).await.unwrap_err();
        assert_failure(&status, Reason::RequestIdReused);
    }
    assert_eq!(bench.tables().await, before);
    assert_eq!(bench.obstacle(lost).await, "has_ended");
}

#[tokio::test]
async fn a_payment_cancelled_at_the_provider_can_be_ended() {
    let bench = Bench::with(Standin { webhooks: false, ..Standin::default() }, &PATIENT).await;
    let order = bench.create("pm_card_authenticationRequired").await;
    let waiting = bench.reaches(order, PaymentState::RequiresAction).await;
    put_back(&bench, order).await;
    assert_eq!(bench.obstacle(order).await, "intent_alive");
    let url = format!("{}/v1/payment_intents/{}/cancel", bench.standin_url, waiting.payment_intent);
    let headers = [
        ("authorization", "Bearer sk_test_by_hand"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("idempotency-key", "by hand"),
    ];
    assert_eq!(common::http("POST", &url, &headers, String::new()).await.0, 200);
    let ended = bench.abandon(abandonment(order)).await.unwrap();
    assert_eq!(ended.state(), PaymentState::Cancelled);
    let secret: Option<String> =
        sqlx::query_scalar("SELECT client_secret FROM payments WHERE order_id = $1")
            .bind(order)
            .fetch_one(&bench.pg.pool)
            .await
            .unwrap();
    assert_eq!(secret, None, "what the buyer needed is of no use any more");
    bench.books_agree().await;
}

/// Waits until no worker has a payment.
async fn put_back(bench: &Bench, order: Uuid) {
    eventually("it is put back", || async { (!is_leased(bench, order).await).then_some(()) }).await;
}

#[tokio::test]
async fn what_may_still_be_captured_is_not_ended() {
    let env = [&PATIENT[..], &[("PAYMENT__TIMEOUT_MS", "3000")]].concat();
    let bench = Bench::with(Standin { webhooks: false, ..Standin::default() }, &env).await;
    let captured = bench.captured().await;
    assert_eq!(bench.obstacle(captured).await, "has_ended");

    // Captured, and the answer was lost: no worker has looked since.
    bench.fault(CONFIRM, "reset_after", 1).await;
    let unseen = bench.create("pm_card_visa").await;
    eventually("the money is taken", || async { (bench.captures(unseen) == 1).then_some(()) })
        .await;
    put_back(&bench, unseen).await;
    assert_eq!(bench.obstacle(unseen).await, "intent_alive");

    // The provider does not answer: the payment is leased meanwhile, and not afterwards.
    let lost = bench.lost().await;
    bench.fault(RETRIEVE, "hang_before", 0).await;
    let mut admin = bench.admin.clone();
    let asking = tokio::spawn(async move { admin.abandon_payment(abandonment(lost)).await });
    eventually("it is leased", || async { is_leased(&bench, lost).await.then_some(()) }).await;
    let meanwhile = bench.abandon(abandonment(lost)).await.unwrap_err();
    let failure = assert_failure(&meanwhile, Reason::PaymentNotAbandonable);
    assert_eq!(failure.metadata()["obstacle"], "leased");
    let status = asking.await.unwrap().unwrap_err();
    let failure = assert_failure(&status, Reason::PaymentNotAbandonable);
    assert_eq!(failure.metadata()["obstacle"], "unanswered");
    assert!(!is_leased(&bench, lost).await);
    bench.control("DELETE", "/faults", json!({})).await;
    bench.fault(RETRIEVE, "unauthorized_401", 1).await;
    assert_eq!(bench.obstacle(lost).await, "unanswered");

    bench.admin.clone().set_breaker(force(BreakerForce::Open, "a test")).await.unwrap();
    assert_eq!(bench.obstacle(lost).await, "unanswered");
    let unbegun = bench.create("pm_card_visa").await;
    assert_eq!(bench.obstacle(unbegun).await, "no_intent");
}

async fn is_leased(bench: &Bench, order: Uuid) -> bool {
    let leased = "SELECT lease_id IS NOT NULL FROM payments WHERE order_id = $1";
    sqlx::query_scalar(leased).bind(order).fetch_one(&bench.pg.pool).await.unwrap()
}

#[tokio::test]
async fn the_lease_decides_between_a_worker_and_an_operator() {
    let bench = quiet().await;
    let store = Store::new(bench.pg.pool_of("payment"));
    let lease = Duration::from_secs(60);
    let unbegun = bench.create("pm_card_visa").await;
    assert!(store.lease_payment(unbegun, lease).await.unwrap().is_none(), "it has no intent");
    let order = bench.lost().await;
    let asked = |order_id: Uuid| NewAbandonment {
        request_id: Uuid::new_v4(),
        caller: "ops".to_owned(),
        order_id,
        reason: "a test".to_owned(),
    };
    // A worker has it.
    let worker = store.lease_payment(order, lease).await.unwrap().unwrap();
    assert!(store.lease_payment(order, lease).await.unwrap().is_none());
    assert_eq!(bench.obstacle(order).await, "leased");
    store.release_payment(&worker).await.unwrap();
    // The operator's lease runs out during the look, and a worker takes it up.
    let held = store.lease_payment(order, lease).await.unwrap().unwrap();
    let over = "UPDATE payments SET lease_until = now() - interval '1 s', due_at = now() \
                WHERE order_id = $1";
    bench.change(order, over).await;
    assert_eq!(store.abandon(&held, &asked(order), Gone::Missing).await.unwrap(), None);
    let taken = store.lease(10, lease).await.unwrap();
    assert!(taken.iter().any(|payment| payment.order_id == order));
    assert_eq!(store.abandon(&held, &asked(order), Gone::Missing).await.unwrap(), None);
    // It gives up nothing of the worker's.
    store.release_payment(&held).await.unwrap();
    assert!(store.lease_payment(order, lease).await.unwrap().is_none());
    assert_eq!(store.payment(order).await.unwrap().unwrap().state, State::Processing);
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM payment_abandonments")
        .fetch_one(&bench.pg.pool)
        .await
        .unwrap();
    assert_eq!(rows, 0);
}

#[tokio::test]
async fn what_contradicts_the_ledger_is_listed() {
    let settings = [PATIENT[0], PATIENT[1], ("PAYMENT__COMPARE_EVERY_MS", "100")];
    let bench = Bench::with(Standin { webhooks: false, ..Standin::default() }, &settings).await;
    let paid = bench.captured().await;
    let unpaid = bench.create("pm_card_chargeDeclined").await;
    bench.reaches(unpaid, PaymentState::Failed).await;
    let agrees = bench.comparison(None).await;
    assert_eq!((agrees.differences.len(), agrees.payments, agrees.more), (0, 2, false));
    assert!(!agrees.behind);
    assert_eq!(agrees.account_standing(), AccountStanding::Ours);
    assert_eq!(agrees.account, "acct_1StandInStandIn");

    let found = async |order: Uuid, break_it: &'static str, mend_it: &'static str| {
        bench.change(order, break_it).await;
        let answer = bench.comparison(Some(bench.sale)).await;
        assert!(bench.comparison(Some(Uuid::new_v4())).await.differences.is_empty());
        bench.change(order, mend_it).await;
        let [one] = &answer.differences[..] else { panic!("{:?}", answer.differences) };
        assert_eq!((&one.order_id, &one.sale_id), (&order.to_string(), &bench.sale.to_string()));
        let amount = one.amount.clone().unwrap();
        (one.kind(), amount.units * 100 + i64::from(amount.nanos / 10_000_000))
    };
    let stuck = found(
        paid,
        "UPDATE payments SET state = 'PROCESSING', failures = 5 WHERE order_id = $1",
        "UPDATE payments SET state = 'SUCCEEDED', failures = 0 WHERE order_id = $1",
    );
    assert_eq!(stuck.await, (DifferenceKind::Stuck, 1_999));
    let ledger = found(
        paid,
        "UPDATE payments SET captured_minor = captured_minor + 300 WHERE order_id = $1",
        "UPDATE payments SET captured_minor = captured_minor - 300 WHERE order_id = $1",
    );
    assert_eq!(ledger.await, (DifferenceKind::Ledger, -300));
    let kept = found(
        paid,
        "UPDATE orders SET state = 'CANCELLED' WHERE order_id = $1",
        "UPDATE orders SET state = 'CLAIMED' WHERE order_id = $1",
    );
    assert_eq!(kept.await, (DifferenceKind::Kept, 1_999));
    let not_paid = found(
        unpaid,
        "UPDATE orders SET state = 'CONFIRMED' WHERE order_id = $1",
        "UPDATE orders SET state = 'CLAIMED' WHERE order_id = $1",
    );
    assert_eq!(not_paid.await, (DifferenceKind::Unpaid, 1_999));
    let failed = found(
        paid,
        "INSERT INTO refunds (refund_id, order_id, amount_minor, intent_id, reason, state)
         SELECT order_id, order_id, 700, intent_id, 'requested', 'FAILED'
         FROM payments WHERE order_id = $1",
        "DELETE FROM refunds WHERE order_id = $1",
    );
    assert_eq!(failed.await, (DifferenceKind::RefundFailed, 700));

    // Counted for the metrics by the task.
    bench.change(unpaid, "UPDATE orders SET state = 'CONFIRMED' WHERE order_id = $1").await;
    eventually("it is counted", || async {
        let counted: i64 = sqlx::query_scalar("SELECT differences FROM provider_comparison")
            .fetch_one(&bench.pg.pool)
            .await
            .unwrap();
        (counted == 1).then_some(())
    })
    .await;
}

#[tokio::test]
async fn events_that_are_not_read_show() {
    let settings = [PATIENT[0], PATIENT[1], ("PAYMENT__COMPARE_EVERY_MS", "100")];
    let bench = Bench::with(Standin { webhooks: false, ..Standin::default() }, &settings).await;
    bench.fault("GET /v1/events", "unauthorized_401", 0).await;
    eventually("it is behind", || async { bench.comparison(None).await.behind.then_some(()) })
        .await;
    bench.control("DELETE", "/faults", json!({})).await;
    eventually("it has caught up", || async {
        let answer = bench.comparison(None).await;
        (!answer.behind).then_some(())
    })
    .await;
}
