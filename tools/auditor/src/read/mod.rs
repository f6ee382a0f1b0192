//! Reads everything once. The logs come first, then Redis, the queue and the record. Each of them
//! runs behind the one before it: what is seen in one has to be found in the next.

pub(crate) mod logs;
pub(crate) mod queue;
pub(crate) mod record;
pub(crate) mod stock;

use std::{
    fmt,
    future::Future,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use logs::{MailLine, ProviderLine, Seen};
use queue::Queue;
use record::Record;
use stock::{Hold, HoldState, Stock};
use uuid::Uuid;

use crate::Options;

/// How long one store may take to be read.
const PATIENCE: Duration = Duration::from_secs(60);

/// Everything that is known about a sale.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) sale: Uuid,
    pub(crate) at_rest: bool,
    pub(crate) stock: Stock,
    pub(crate) queue: Queue,
    pub(crate) record: Record,
    pub(crate) provider: Option<Vec<ProviderLine>>,
    pub(crate) mails: Option<Vec<MailLine>>,
    pub(crate) history: Option<Vec<Seen>>,
}

impl Facts {
    /// Whether a hold is one of two that its order was placed with, and was released for the other:
    /// the first hold was taken for lost and its units were retaken, and then it was retaken
    /// itself, because its message came late. If the order was cancelled before its first hold was
    /// retaken, this epoch has none of the first one.
    pub(crate) fn is_given_back(&self, id: &Uuid, hold: &Hold) -> bool {
        let row = hold.order.and_then(|order| self.record.orders.get(&order));
        hold.state == HoldState::Released
            && row.is_some_and(|row| {
                let other = self.stock.holds.get(&row.hold);
                row.hold != *id
                    && row.buyer == hold.buyer
                    && other.map_or(row.state == "CANCELLED", |other| other.order == hold.order)
            })
    }
}

/// Units of a sku at a price.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
pub(crate) struct Line {
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    pub(crate) unit_price_minor: i64,
    /// The revision of the sale's prices that has it. Messages of the version before, which knew
    /// one, do not name it.
    #[serde(default = "first_revision")]
    pub(crate) price_revision: i64,
}

const fn first_revision() -> i64 {
    FIRST_REVISION
}

/// The revision of the prices that the sale was prepared with.
pub(crate) const FIRST_REVISION: i64 = 1;

/// What a revision of the sale's prices says of a sku. Displays as Redis has a price to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Price {
    pub(crate) minor: i64,
    /// 0 means none.
    pub(crate) per_buyer_limit: i64,
    /// What a unit costs outside the sale, if the shop has said so.
    pub(crate) regular_minor: Option<i64>,
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|", self.minor, self.per_buyer_limit)?;
        self.regular_minor.map_or(Ok(()), |regular| write!(f, "{regular}"))
    }
}

/// Reads all sources.
///
/// # Errors
/// Every source that could not be read, with its cause.
pub(crate) async fn facts(options: &Options) -> Result<Facts, Vec<String>> {
    let mut unread = Vec::new();
    let whole = options.at_rest;
    let provider = keep(&mut unread, "--stripe-log", logs::read(&options.stripe_log, whole));
    let mails = keep(&mut unread, "--mail-log", logs::read(&options.mail_log, whole));
    let history = keep(&mut unread, "--history", logs::read(&options.history, whole));
    let stock = keep(&mut unread, "Redis", in_time(stock::read(options)).await);
    let queue = keep(&mut unread, "JetStream", in_time(queue::read(options)).await);
    let mentioned: Vec<Uuid> =
        mails.iter().flatten().flatten().filter_map(MailLine::order).collect();
    let record = keep(&mut unread, "Postgres", in_time(record::read(options, &mentioned)).await);
    match (provider, mails, history, stock, queue, record) {
        (Some(provider), Some(mails), Some(history), Some(stock), Some(queue), Some(record)) => {
            Ok(Facts {
                sale: options.sale,
                at_rest: options.at_rest,
                stock,
                queue,
                record,
                provider,
                mails,
                history,
            })
        }
        _ => Err(unread),
    }
}

fn keep<T>(unread: &mut Vec<String>, what: &str, read: anyhow::Result<T>) -> Option<T> {
    read.map_err(|error| unread.push(format!("{what} could not be read: {error:#}"))).ok()
}

async fn in_time<T>(reading: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::time::timeout(PATIENCE, reading)
        .await
        .with_context(|| format!("no answer within {} s", PATIENCE.as_secs()))?
}

/// This machine's clock, in ms since 1970, with which the stores' clocks are compared.
pub(crate) fn local_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
