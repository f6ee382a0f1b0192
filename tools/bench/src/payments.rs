//! What the measurements of payments have in common: payments in a record of their own, and HTTP.

use anyhow::ensure;
use bytes::Bytes;
use flashsale_payment::{Config, DEFAULTS, config::PaymentConfig};
use flashsale_service::config::load_from;
use flashsale_testbed::platform::{Settings, create_database, migrated};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use sqlx::PgPool;
use uuid::Uuid;

use crate::{platform::Platform, sales::PRICE_MINOR};

/// The key that Stripe is called with.
const SECRET_KEY: &str = "sk_test_bench";
/// The sale of payments that are under way.
pub(crate) const SALE: Uuid = Uuid::nil();

/// The payment service's own settings where nothing else is set.
pub(crate) fn defaults() -> anyhow::Result<PaymentConfig> {
    let env = [("ACCESS__MODE", "off"), ("PAYMENT__STRIPE_SECRET_KEY", SECRET_KEY)];
    let env = env.into_iter().map(|(key, value)| (format!("FLASHSALE_{key}"), value.to_owned()));
    let config: Config = load_from("payment", DEFAULTS, None, env)?;
    Ok(config.payment)
}

/// Payments in a database of their own, where no other figure counts rows.
pub(crate) struct Payments {
    pub(crate) pool: PgPool,
    url: String,
}

impl Payments {
    /// Makes the database, by a name that no other has.
    pub(crate) async fn create(platform: &Platform, database: &str) -> anyhow::Result<Self> {
        create_database(platform.pool(), database).await?;
        let url = platform.postgres_url_of(database);
        let pool = migrated(url.clone(), 2, "bench").await?;
        Ok(Self { pool, url })
    }

    /// Has a payment service use these, and Stripe at an address of this machine.
    pub(crate) fn tell(&self, settings: &mut Settings, stripe: &str) {
        settings.postgres.url = Some(self.url.clone());
        settings.payment.stripe_base_url = Some(format!("http://{stripe}"));
        settings.payment.stripe_secret_key = Some(SECRET_KEY.to_owned());
    }

    /// Records payments that are due since the last hour, in turn over so many sales.
    pub(crate) async fn record_due(&self, count: u32, sales: u32) -> anyhow::Result<()> {
        sqlx::query(
            "INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method, due_at)
             SELECT gen_random_uuid(), lpad((n % $2::bigint)::text, 32, '0')::uuid, 'DUE', 'EUR', $3::bigint, 'pm_card_visa',
                 now() - random() * interval '1 hour'
               FROM generate_series(1, $1::bigint) n",
        )
        .bind(i64::from(count))
        .bind(i64::from(sales))
        .bind(PRICE_MINOR)
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Records payments of one sale that are under way at Stripe, each with its intent
    /// ([`intent_of`]), and returns their orders. None is due before tomorrow.
    pub(crate) async fn record_under_way(&self, count: u64) -> anyhow::Result<Vec<Uuid>> {
        let orders: Vec<Uuid> = sqlx::query_scalar(
            "INSERT INTO payments (order_id, sale_id, state, currency, amount_minor, payment_method, intent_id, attempts,
                 card_sent, first_attempt_at, last_attempt_at, generation_at, due_at)
             SELECT order_id, $3::uuid, 'PROCESSING', 'EUR', $2::bigint, 'pm_card_visa', 'pi_' || replace(order_id::text, '-', ''),
                 1, 1, now(), now(), now(), now() + interval '1 day'
               FROM (SELECT gen_random_uuid() AS order_id FROM generate_series(1, $1::bigint)) o
             RETURNING order_id",
        )
        .bind(i64::try_from(count)?)
        .bind(PRICE_MINOR)
        .bind(SALE)
        .fetch_all(&self.pool)
        .await?;
        Ok(orders)
    }

    /// Forgets all payments.
    pub(crate) async fn clear(&self) -> anyhow::Result<()> {
        sqlx::query("DELETE FROM payments").execute(&self.pool).await?;
        Ok(())
    }

    /// Payments that have succeeded.
    pub(crate) async fn succeeded(&self) -> anyhow::Result<i64> {
        let count = "SELECT count(*) FROM payments WHERE state = 'SUCCEEDED'";
        Ok(sqlx::query_scalar(count).fetch_one(&self.pool).await?)
    }
}

/// The intent of a payment that is under way.
pub(crate) fn intent_of(order: Uuid) -> String {
    format!("pi_{}", order.simple())
}

/// A client that keeps its connections, as payment's does.
pub(crate) type Http = Client<HttpConnector, Full<Bytes>>;

/// Without connections yet.
pub(crate) fn client() -> Http {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    Client::builder(TokioExecutor::new()).pool_timer(TokioTimer::new()).build(connector)
}

/// Sends a request and reads the whole answer. Any but 200 is an error.
pub(crate) async fn exchange(http: &Http, request: Request<Full<Bytes>>) -> anyhow::Result<Bytes> {
    let answer = http.request(request).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    ensure!(status == StatusCode::OK, "answered {status}: {}", String::from_utf8_lossy(&body));
    Ok(body)
}
