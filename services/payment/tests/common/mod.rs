//! Payment on a real Postgres, beside the Stripe stand-in as a process of its own.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use flashsale_payment::{Config, DEFAULTS};
use flashsale_proto::{
    Money, NamedChannel,
    payment::{
        CancelPaymentRequest, CreatePaymentsRequest, GetPaymentRequest, Payment, PaymentOrder,
        PaymentState, RefundRequest, payment_admin_service_client::PaymentAdminServiceClient,
        payment_service_client::PaymentServiceClient,
    },
};
use flashsale_record::OrderDetails;
use flashsale_service::{Drain, config::load_from};
use flashsale_testbed::{
    TestPg, TestServer, eventually,
    fixtures::{self, OrderSpec, SaleSpec},
    free_port,
    platform::{StandIn, StandInOptions, StripeOptions},
};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use serde_json::{Value, json};
use tempfile::TempDir;
use tonic::Status;
use uuid::Uuid;

/// What events are signed with.
pub const WEBHOOK_SECRET: &str = "whsec_of_the_tests";

/// What the stand-in is started with.
#[derive(Debug, Clone, Copy)]
pub struct Standin {
    /// Requests a second at each endpoint.
    pub rate: u32,
    /// How long taking the money takes.
    pub confirm_latency_ms: u32,
    /// Whether events are sent.
    pub webhooks: bool,
}

impl Default for Standin {
    fn default() -> Self {
        Self { rate: 10_000, confirm_latency_ms: 0, webhooks: true }
    }
}

/// Payment and the stand-in.
pub struct Bench {
    pub pg: TestPg,
    pub server: TestServer,
    pub payments: PaymentServiceClient<NamedChannel>,
    pub admin: PaymentAdminServiceClient<NamedChannel>,
    pub standin_url: String,
    pub sale: Uuid,
    standin: StandIn,
    _folder: TempDir,
}

/// A configuration that is quick to try again; `env` as `("PAYMENT__POLL_MS", "10")`.
pub fn config(pg: &TestPg, stripe_url: &str, env: &[(&str, &str)]) -> Config {
    let fixed = [
        // No server there: nothing depends on announcements.
        ("NATS__URL", "nats://127.0.0.1:1"),
        ("PAYMENT__STRIPE_BASE_URL", stripe_url),
        ("PAYMENT__STRIPE_SECRET_KEY", "sk_test_of_the_tests"),
        ("PAYMENT__WEBHOOK_SECRETS", WEBHOOK_SECRET),
        ("PAYMENT__TIMEOUT_MS", "2000"),
        ("PAYMENT__GLOBAL_BUDGET_PER_S", "8000.0"),
        ("PAYMENT__ENDPOINT_BUDGET_PER_S", "2000.0"),
        // Most tests are about one card.
        ("PAYMENT__CARD_RETRY_MS", "0"),
        ("PAYMENT__RETRY_BASE_MS", "100"),
        ("PAYMENT__RETRY_CAP_MS", "400"),
        ("PAYMENT__POLL_MS", "20"),
    ];
    // Of two values for one variable the order in which they sort would decide.
    let env = fixed
        .iter()
        .filter(|(key, _)| env.iter().all(|(other, _)| other != key))
        .chain(env)
        .map(|(key, value)| (format!("FLASHSALE_{key}"), (*value).to_owned()))
        .chain(pg.env())
        .chain(flashsale_testbed::identity());
    load_from("payment", DEFAULTS, None, env).unwrap_or_else(|error| panic!("{error}"))
}

fn standin_program() -> PathBuf {
    // target/<profile>/deps/<this test>: the programs are one folder up.
    let path = std::env::current_exe().unwrap();
    let path = path.parent().and_then(|deps| deps.parent()).unwrap().join("stripe-standin");
    assert!(path.exists(), "{} is missing: run `cargo build --bins` first", path.display());
    path
}

impl Bench {
    pub async fn new(env: &[(&str, &str)]) -> Self {
        Self::with(Standin::default(), env).await
    }

    pub async fn with(standin: Standin, env: &[(&str, &str)]) -> Self {
        let pg = flashsale_testbed::postgres().await;
        let address = format!("127.0.0.1:{}", free_port().unwrap());
        let standin_url = format!("http://{address}");
        let drain = Drain::new();
        let config = config(&pg, &standin_url, env);
        let hosted = flashsale_payment::build(config, drain.clone()).await.unwrap();
        let server = flashsale_testbed::serve(hosted, drain).await;
        let folder = tempfile::tempdir().unwrap();
        let standin = start_standin(standin, address, &server.http_url, folder.path()).await;
        let channel = server.channel().await;
        let sale = record_sale(&pg).await;
        Self {
            pg,
            payments: PaymentServiceClient::new(channel.clone()),
            admin: PaymentAdminServiceClient::new(channel),
            server,
            standin_url,
            sale,
            standin,
            _folder: folder,
        }
    }

    /// Records the payment of an order of 19.99 EUR.
    pub async fn create(&self, method: &str) -> Uuid {
        self.create_many(&[method]).await[0]
    }

    pub async fn create_many(&self, methods: &[&str]) -> Vec<Uuid> {
        let orders: Vec<OrderSpec<'_>> =
            methods.iter().map(|method| claimed(self.sale, method)).collect();
        fixtures::record_orders(&self.pg.pool, &orders).await.unwrap();
        let ids: Vec<Uuid> = orders.iter().map(|order| order.order_id).collect();
        let request = CreatePaymentsRequest {
            request_id: Uuid::new_v4().to_string(),
            orders: ids.iter().copied().map(order).collect(),
        };
        self.payments.clone().create_payments(request).await.unwrap();
        ids
    }

    pub async fn cancel(&self, order: Uuid) -> Payment {
        let request = CancelPaymentRequest {
            request_id: Uuid::new_v4().to_string(),
            order_id: order.to_string(),
        };
        self.payments.clone().cancel_payment(request).await.unwrap().into_inner().payment.unwrap()
    }

    /// Asks for a refund of an amount in cents, or of all that is left.
    pub async fn refund(&self, order: Uuid, cents: Option<i64>) -> Result<Payment, Status> {
        let request = RefundRequest {
            request_id: Uuid::new_v4().to_string(),
            order_id: order.to_string(),
            amount: cents.map(|cents| eur(cents / 100, i32::try_from(cents % 100).unwrap())),
            reason: String::new(),
        };
        let answer = self.payments.clone().refund(request).await?;
        Ok(answer.into_inner().payment.unwrap())
    }

    pub async fn payment(&self, order: Uuid) -> Payment {
        let request = GetPaymentRequest { order_id: order.to_string() };
        self.payments.clone().get_payment(request).await.unwrap().into_inner().payment.unwrap()
    }

    /// Waits until a payment is in the state.
    pub async fn reaches(&self, order: Uuid, state: PaymentState) -> Payment {
        eventually(&format!("{order} is {}", state.as_str_name()), || async {
            let payment = self.payment(order).await;
            (payment.state() == state).then_some(payment)
        })
        .await
    }

    /// Waits until a payment has ended.
    pub async fn ends(&self, order: Uuid) -> Payment {
        eventually(&format!("{order} ends"), || async {
            let payment = self.payment(order).await;
            match payment.state() {
                PaymentState::Unspecified
                | PaymentState::Due
                | PaymentState::Processing
                | PaymentState::RequiresAction => None,
                PaymentState::Succeeded
                | PaymentState::Failed
                | PaymentState::Cancelled
                | PaymentState::Refunded => Some(payment),
            }
        })
        .await
    }

    /// A call of another client of the account's, such as a browser or a person with the dashboard.
    pub async fn by_hand(&self, path: &str, form: &str) -> (u16, Value) {
        let url = format!("{}/v1{path}", self.standin_url);
        let headers = [
            ("authorization", "Bearer sk_test_by_hand"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let (status, answer) = http("POST", &url, &headers, form.to_owned()).await;
        (status, serde_json::from_slice(&answer).unwrap())
    }

    pub async fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/_control{path}", self.standin_url);
        let (status, answer) = http(method, &url, &[], body.to_string()).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    /// Switches a fault on, `count` times; 0 for until it is switched off.
    pub async fn fault(&self, endpoint: &str, kind: &str, count: u64) {
        let mut rule = json!({ "endpoint": endpoint, "kind": kind });
        if count > 0 {
            rule["count"] = json!(count);
        }
        self.control("POST", "/faults", rule).await;
    }

    /// The stand-in's log: lines of one type, of one order or of all.
    pub fn logged(&self, kind: &str, order: Option<Uuid>) -> Vec<Value> {
        let text = std::fs::read_to_string(self.standin.log()).unwrap();
        let order = order.map(|order| order.to_string());
        text.lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .filter(|line| line["type"] == kind)
            .filter(|line| order.is_none() || line["order_id"].as_str() == order.as_deref())
            .collect()
    }

    /// How often the stand-in captured an order's money.
    pub fn captures(&self, order: Uuid) -> usize {
        self.logged("payment_intent.captured", Some(order)).len()
    }

    /// Fails unless every order was captured as often as its payment says, never more than once,
    /// and every intent at the provider is the one its payment names.
    pub async fn books_agree(&self) {
        let rows: Vec<(Uuid, String, i64, Option<String>)> =
            sqlx::query_as("SELECT order_id, state, captured_minor, intent_id FROM payments")
                .fetch_all(&self.pg.pool)
                .await
                .unwrap();
        for (order, state, captured, intent) in rows {
            for made in self.logged("payment_intent.created", Some(order)) {
                assert_eq!(
                    made["payment_intent"].as_str(),
                    intent.as_deref(),
                    "{order} is {state}"
                );
            }
            let captures = self.captures(order);
            assert!(captures <= 1, "{order} was captured {captures} times");
            let (expected, paid) = (captures == 1, captured > 0);
            assert_eq!(paid, expected, "{order} is {state} with {captured} captured");
            let state_paid = state == "SUCCEEDED" || state == "REFUNDED";
            assert_eq!(state_paid, expected, "{order} is {state}");
        }
    }
}

async fn start_standin(
    standin: Standin,
    address: String,
    payment_url: &str,
    dir: &Path,
) -> StandIn {
    let stripe = StripeOptions {
        webhook_secret: WEBHOOK_SECRET,
        rate_per_endpoint: standin.rate,
        rate_total: 100_000,
        latency_ms: Some(0),
        confirm_latency_ms: Some(standin.confirm_latency_ms),
        ..StripeOptions::default()
    };
    let webhook = standin.webhooks.then(|| format!("{payment_url}/stripe/webhook"));
    let options = StandInOptions {
        name: "stripe-standin",
        program: standin_program(),
        args: stripe.args(webhook.as_deref()),
        dir,
        log: "stripe.jsonl",
        stop_within: Duration::from_secs(5),
    };
    StandIn::start_at(address, options).await.unwrap()
}

pub fn eur(units: i64, cents: i32) -> Money {
    Money { currency_code: "EUR".to_owned(), units, nanos: cents * 10_000_000 }
}

/// Records a sale, without items.
pub async fn record_sale(pg: &TestPg) -> Uuid {
    fixtures::record_sale(&pg.pool, SaleSpec::default(), []).await.unwrap()
}

/// An order of 19.99 EUR that waits for its payment.
pub fn claimed(sale: Uuid, method: &str) -> OrderSpec<'static> {
    OrderSpec {
        total_minor: 1_999,
        details: OrderDetails { payment_method: method.to_owned(), ..OrderDetails::default() },
        ..OrderSpec::new(sale, "buyer-1")
    }
}

pub fn order(id: Uuid) -> PaymentOrder {
    PaymentOrder { order_id: id.to_string(), traceparent: String::new() }
}

/// One HTTP exchange.
pub async fn http(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> (u16, Bytes) {
    let client = Client::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let mut request = http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = client.request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.into_body().collect().await.unwrap().to_bytes())
}
