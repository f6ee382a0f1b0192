//! The stock and the room of a sale in Redis.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context as _, bail};
use flashsale_connect::Tls;
use fred::{
    interfaces::ClientLike as _,
    types::{
        Builder, ClusterHash, CustomCommand, Value,
        config::{Config, TlsConnector},
    },
};
use serde::Deserialize;
use uuid::Uuid;

use super::{FIRST_REVISION, Line, Price, local_ms};
use crate::{Client, Options};

/// All keys as of one instant. Run by `EVAL_RO`, so that the server refuses any write.
const SNAPSHOT: &str = "
local time = redis.call('TIME')
local reply = { time[1] * 1000 + math.floor(time[2] / 1000) }
for _, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind == 'hash' then
    reply[#reply + 1] = redis.call('HGETALL', key)
  elseif kind == 'zset' then
    reply[#reply + 1] = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  else
    reply[#reply + 1] = {}
  end
end
return reply";

const KEYS: [&str; 12] = [
    "meta",
    "stock",
    "holds",
    "deadlines",
    "pending",
    "orders",
    "requests",
    "buyers",
    "spent",
    "room",
    "room:buyers",
    "room:ticks",
];

#[derive(Debug)]
pub(crate) struct Stock {
    /// Redis's clock at the snapshot.
    pub(crate) now_ms: i64,
    /// How far Redis's clock is ahead of this machine's, in ms.
    pub(crate) ahead_ms: i64,
    pub(crate) epoch: i64,
    pub(crate) room_needed: bool,
    pub(crate) skus: BTreeMap<String, Books>,
    /// The revision of the sale's prices that the last switch was promoted from; 1 if there was
    /// none.
    pub(crate) price_revision: i64,
    /// The revision after it, if there is one.
    pub(crate) next_prices: Option<NextPrices>,
    pub(crate) staged: Staged,
    pub(crate) holds: BTreeMap<Uuid, Hold>,
    /// Hold by deadline.
    pub(crate) deadlines: BTreeMap<String, i64>,
    /// Hold by placing time.
    pub(crate) pending: BTreeSet<String>,
    /// Holds that carry their order.
    pub(crate) carried: BTreeSet<String>,
    /// Requests that changed a hold. A request that took one is not among them: the hold has its
    /// id.
    pub(crate) requests: BTreeMap<String, Remembered>,
    /// Adjustments of the stock by request.
    pub(crate) adjusted: BTreeMap<String, Adjusted>,
    /// Units by (sku, buyer).
    pub(crate) buyers: BTreeMap<(String, String), i64>,
    /// Holds by admission.
    pub(crate) spent: BTreeMap<String, String>,
    pub(crate) room: Option<Room>,
}

#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) allotted: i64,
    pub(crate) available: i64,
    pub(crate) held: i64,
    pub(crate) placed: i64,
    pub(crate) sold: i64,
    /// 0 means none.
    pub(crate) limit: i64,
    /// What a unit costs in minor units, and the revision that says so.
    pub(crate) price: Option<(i64, i64)>,
}

/// A revision of the sale's prices to come, or one that has come and is not promoted yet.
#[derive(Debug)]
pub(crate) struct NextPrices {
    pub(crate) revision: i64,
    /// From when on units are taken at it, by Redis's clock; none while it is not complete.
    pub(crate) switches_ms: Option<i64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum HoldState {
    Held,
    Placed,
    Sold,
    Released,
    Expired,
}

impl HoldState {
    pub(crate) const fn takes_units(self) -> bool {
        match self {
            Self::Held | Self::Placed | Self::Sold => true,
            Self::Released | Self::Expired => false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) buyer: String,
    pub(crate) state: HoldState,
    pub(crate) deadline_ms: i64,
    /// When the epoch took the units, by the clock of its server.
    pub(crate) taken_ms: i64,
    /// When it was placed, by the clock of the server that placed it, which may be an older
    /// epoch's.
    pub(crate) placed_ms: Option<i64>,
    /// The epoch that took the units.
    pub(crate) epoch: i64,
    pub(crate) lines: Vec<Line>,
    pub(crate) admission: Option<String>,
    pub(crate) order: Option<Uuid>,
    pub(crate) request: Option<Uuid>,
    pub(crate) request_hash: Option<String>,
}

#[derive(Deserialize)]
struct RawHold {
    b: String,
    s: HoldState,
    d: i64,
    t: i64,
    l: Vec<RawLine>,
    e: i64,
    j: Option<String>,
    o: Option<Uuid>,
    p: Option<i64>,
    q: Option<Uuid>,
    h: Option<String>,
}

/// Sku, quantity, price in minor units, and its revision where that is not the first.
#[derive(Deserialize)]
#[serde(untagged)]
enum RawLine {
    Later(String, i64, i64, i64),
    First(String, i64, i64),
}

impl From<RawLine> for Line {
    fn from(raw: RawLine) -> Self {
        let (sku, quantity, unit_price_minor, price_revision) = match raw {
            RawLine::Later(sku, quantity, price, revision) => (sku, quantity, price, revision),
            RawLine::First(sku, quantity, price) => (sku, quantity, price, FIRST_REVISION),
        };
        Self { sku, quantity, unit_price_minor, price_revision }
    }
}

#[derive(Debug)]
pub(crate) struct Remembered {
    pub(crate) operation: String,
    pub(crate) hash: String,
    pub(crate) hold: String,
}

#[derive(Debug)]
pub(crate) struct Adjusted {
    /// False if there were too few units.
    pub(crate) done: bool,
    /// Units added; negative if they were withdrawn.
    pub(crate) units: i64,
    pub(crate) sku: String,
}

/// The room in front of the sale.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) rate: f64,
    pub(crate) next: i64,
    pub(crate) upto: i64,
    pub(crate) head: i64,
    /// How often it was put in place again.
    pub(crate) era: i64,
    /// (number, generation) by buyer.
    pub(crate) buyers: BTreeMap<String, (i64, i64)>,
    /// (head, ms), by head and then by time.
    pub(crate) ticks: Vec<(i64, i64)>,
}

fn tls(client: &Client) -> anyhow::Result<TlsConnector> {
    let path = |file: &Option<PathBuf>| {
        file.as_ref().map(|file| file.display().to_string()).unwrap_or_default()
    };
    let (ca, cert, key) = (path(&client.ca_file), path(&client.cert_file), path(&client.key_file));
    let tls = Tls {
        section: "client",
        ca_file: &ca,
        cert_file: &cert,
        key_file: &key,
        allow_plaintext: false,
    };
    Ok(tls.client_config()?.into())
}

/// Takes a snapshot of the sale's keys.
pub(crate) async fn read(options: &Options) -> anyhow::Result<Stock> {
    let mut config = Config::from_url(&options.redis).context("the URL")?;
    if config.uses_tls() {
        config.tls = Some(tls(&options.client)?.into());
    }
    let client = Builder::from_config(config)
        .with_connection_config(|connection| {
            connection.connection_timeout = Duration::from_secs(5);
            connection.max_command_attempts = 1;
        })
        .build()?;
    let connection = client.init().await?;
    let ahead_ms = {
        let before = local_ms();
        let time: Vec<i64> = client
            .custom(
                CustomCommand::new_static("TIME", ClusterHash::Random, false),
                Vec::<Value>::new(),
            )
            .await?;
        let &[seconds, micros] = time.as_slice() else { bail!("TIME answers no time") };
        seconds * 1_000 + micros / 1_000 - (before + local_ms()) / 2
    };
    let mut args: Vec<Value> = vec![SNAPSHOT.into(), i64::try_from(KEYS.len())?.into()];
    args.extend(KEYS.iter().map(|key| Value::from(format!("fs:{{{}}}:{key}", options.sale))));
    let command = CustomCommand::new_static("EVAL_RO", ClusterHash::Offset(2), false);
    let reply: Value = client.custom(command, args).await?;
    client.quit().await.ok();
    connection.abort();
    decode(reply, ahead_ms)
}

fn decode(reply: Value, ahead_ms: i64) -> anyhow::Result<Stock> {
    let mut parts = reply.into_array().into_iter();
    let now_ms = parts.next().and_then(|now| now.as_i64()).context("a snapshot without a time")?;
    let mut next = || -> anyhow::Result<Vec<(String, String)>> {
        let part = parts.next().context("a snapshot that breaks off")?.into_array();
        let mut texts = part
            .into_iter()
            .map(|value| value.into_string().context("a text in the stock is not UTF-8"));
        let mut pairs = Vec::new();
        while let Some(field) = texts.next() {
            pairs.push((field?, texts.next().context("a field without a value")??));
        }
        Ok(pairs)
    };
    let meta: HashMap<String, String> = next()?.into_iter().collect();
    let (skus, staged) = books(next()?)?;
    if meta.is_empty() || skus.is_empty() {
        bail!("the sale has no stock there");
    }
    let mut holds = BTreeMap::new();
    for (id, json) in next()? {
        let raw: RawHold =
            serde_json::from_str(&json).with_context(|| format!("hold {id} cannot be read"))?;
        holds.insert(id.parse().with_context(|| format!("hold {id}"))?, hold(raw));
    }
    let deadlines = scored(next()?)?.into_iter().collect();
    let pending = next()?.into_iter().map(|(id, _)| id).collect();
    let carried = next()?.into_iter().map(|(id, _)| id).collect();
    let (mut requests, mut adjusted) = (BTreeMap::new(), BTreeMap::new());
    for (key, mark) in next()? {
        if let Some(request) = key.strip_prefix("adjust|") {
            let adjustment = adjustment(&mark).with_context(|| format!("request {key}"))?;
            adjusted.insert(request.to_owned(), adjustment);
            continue;
        }
        let mut fields = mark.splitn(3, '|').map(str::to_owned);
        let (Some(operation), Some(hash), Some(hold)) =
            (fields.next(), fields.next(), fields.next())
        else {
            bail!("request {key} cannot be read");
        };
        requests.insert(key, Remembered { operation, hash, hold });
    }
    let mut buyers = BTreeMap::new();
    for (field, units) in next()? {
        let (sku, buyer) = field.split_once('\u{1f}').context("a buyer's units without a sku")?;
        buyers.insert((sku.to_owned(), buyer.to_owned()), number(&units)?);
    }
    let spent = next()?.into_iter().collect();
    let room = room(next()?.into_iter().collect(), next()?, next()?)?;
    Ok(Stock {
        now_ms,
        ahead_ms,
        epoch: number(meta.get("epoch").context("the stock has no epoch")?)?,
        room_needed: meta.get("room").is_some_and(|room| room == "1"),
        skus,
        price_revision: optional(&meta, "rev")?.unwrap_or(FIRST_REVISION),
        next_prices: match optional(&meta, "next_rev")? {
            Some(revision) => {
                Some(NextPrices { revision, switches_ms: optional(&meta, "next_ms")? })
            }
            None => None,
        },
        staged,
        holds,
        deadlines,
        pending,
        carried,
        requests,
        adjusted,
        buyers,
        spent,
        room,
    })
}

/// `done|<units>|<sku>`, or `refused|<units that were free>|<units>|<sku>`.
fn adjustment(mark: &str) -> anyhow::Result<Adjusted> {
    let (word, rest) = mark.split_once('|').context("an adjustment without an outcome")?;
    let done = word == "done";
    let rest = if done { Some(rest) } else { rest.split_once('|').map(|(_, rest)| rest) };
    let (units, sku) = rest.and_then(|rest| rest.split_once('|')).context("an adjustment")?;
    Ok(Adjusted { done, units: number(units)?, sku: sku.to_owned() })
}

fn number(text: &str) -> anyhow::Result<i64> {
    text.parse().with_context(|| format!("{text:?} is no number"))
}

/// A number of `meta`; `None` if it has none.
fn optional(meta: &HashMap<String, String>, field: &str) -> anyhow::Result<Option<i64>> {
    let text = meta.get(field).filter(|text| !text.is_empty());
    text.map(|text| number(text)).transpose().with_context(|| format!("the stock's {field}"))
}

fn scored(pairs: Vec<(String, String)>) -> anyhow::Result<Vec<(String, i64)>> {
    pairs
        .into_iter()
        .map(|(member, score)| {
            let score: f64 = score.parse().with_context(|| format!("{score:?} is no score"))?;
            #[allow(clippy::cast_possible_truncation)]
            Ok((member, score as i64))
        })
        .collect()
}

/// Prices to come: by the revision that they stand under and sku, each with the revision that says
/// it.
pub(crate) type Staged = BTreeMap<(i64, String), (Price, i64)>;

/// The books of each sku, and the prices to come.
fn books(fields: Vec<(String, String)>) -> anyhow::Result<(BTreeMap<String, Books>, Staged)> {
    let (mut skus, mut staged) = (BTreeMap::<String, Books>::new(), Staged::new());
    for (field, value) in fields {
        let what = || format!("stock field {field}");
        let (column, sku) = field.split_once(':').with_context(what)?;
        if column == "n" {
            let (revision, sku) = sku.split_once(':').with_context(what)?;
            let revision = number(revision).with_context(what)?;
            staged.insert((revision, sku.to_owned()), price_to_come(&value).with_context(what)?);
            continue;
        }
        let value_of = || number(&value).with_context(what);
        let books = skus.entry(sku.to_owned()).or_default();
        match column {
            "t" => books.allotted = value_of()?,
            "a" => books.available = value_of()?,
            "h" => books.held = value_of()?,
            "p" => books.placed = value_of()?,
            "s" => books.sold = value_of()?,
            "l" => books.limit = value_of()?,
            "m" => books.price = Some(price(&value).with_context(what)?),
            _ => {}
        }
    }
    Ok((skus, staged))
}

/// `<price>` of the first revision, or `<price>,<revision>`.
fn price(text: &str) -> anyhow::Result<(i64, i64)> {
    match text.split_once(',') {
        Some((minor, revision)) => Ok((number(minor)?, number(revision)?)),
        None => Ok((number(text)?, FIRST_REVISION)),
    }
}

/// `<price>|<limit>|<regular price, or nothing>|<revision>`.
fn price_to_come(text: &str) -> anyhow::Result<(Price, i64)> {
    let parts: Vec<&str> = text.split('|').collect();
    let &[minor, limit, regular, revision] = parts.as_slice() else {
        bail!("{text:?} is no price to come");
    };
    let regular = Some(regular).filter(|regular| !regular.is_empty());
    let price = Price {
        minor: number(minor)?,
        per_buyer_limit: number(limit)?,
        regular_minor: regular.map(number).transpose()?,
    };
    Ok((price, number(revision)?))
}

fn hold(raw: RawHold) -> Hold {
    let mut lines: Vec<Line> = raw.l.into_iter().map(Line::from).collect();
    lines.sort();
    Hold {
        buyer: raw.b,
        state: raw.s,
        deadline_ms: raw.d,
        taken_ms: raw.t,
        placed_ms: raw.p,
        epoch: raw.e,
        lines,
        admission: raw.j,
        order: raw.o,
        request: raw.q,
        request_hash: raw.h,
    }
}

fn room(
    fields: HashMap<String, String>,
    records: Vec<(String, String)>,
    ticks: Vec<(String, String)>,
) -> anyhow::Result<Option<Room>> {
    if fields.is_empty() {
        return Ok(None);
    }
    let field = |name: &str| -> anyhow::Result<&String> {
        fields.get(name).with_context(|| format!("the room has no {name}"))
    };
    let mut buyers = BTreeMap::new();
    for (buyer, record) in records {
        let mut parts = record.split('|');
        let (Some(place), Some(generation)) = (parts.next(), parts.next()) else {
            bail!("a place in the room cannot be read");
        };
        buyers.insert(buyer, (number(place)?, number(generation)?));
    }
    let mut passed = Vec::new();
    for (member, _) in ticks {
        // Between the two stands how long its admissions live, but in ticks of the version before.
        let (head, rest) = member.split_once(':').context("a tick cannot be read")?;
        let ms = rest.rsplit_once(':').map_or(rest, |(_, ms)| ms);
        passed.push((number(head)?, number(ms)?));
    }
    passed.sort_unstable();
    Ok(Some(Room {
        rate: field("rate")?.parse().context("the room's rate")?,
        next: number(field("next")?)?,
        upto: number(field("upto")?)?,
        head: number(field("head")?)?,
        era: fields.get("era").map_or(Ok(0), |era| number(era))?,
        buyers,
        ticks: passed,
    }))
}
