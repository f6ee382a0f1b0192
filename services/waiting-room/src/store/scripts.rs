//! The scripts under `lua/`, a function each. `None` stands for the reply GONE: this server does
//! not have the room.

use std::{str::FromStr, sync::Arc, time::Duration};

use flashsale_redis::{Script, Store};
use fred::types::Value;
use uuid::Uuid;

use super::{RoomRow, StoreError, Tick};
use crate::domain::{Hold, Mark, RoomState, RoomView, Stock, Window};

const PRELUDE: &str = include_str!("../../lua/prelude.lua");

/// Texts of a reply that describe the room.
const ROOM_TEXTS: usize = 17;

/// Ticks kept before old ones may be dropped: hours at the usual rate.
pub(super) const TICKS_KEPT: i64 = 50_000;

/// What `join.lua` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// The buyer's place.
    Place {
        number: i64,
        generation: u32,
        /// Whether it is new.
        fresh: bool,
        /// What has become of it.
        mark: Mark,
        /// When its admission expires; `None` while it waits.
        expires_at_ms: Option<i64>,
    },
    /// The room is closed, or its window is over.
    Closed,
    /// Buyers may not join yet.
    Early {
        /// When they may.
        joins_from_ms: i64,
        /// When the head moves, if that has a bound.
        admits_from_ms: Option<i64>,
    },
    /// Everything is sold, and the buyer has no place.
    Sold,
    /// The numbers have run out: a block has to be granted.
    Full,
}

/// A place that a good ticket shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) number: i64,
    pub(crate) generation: u32,
}

/// What the peers have told this process, and how long ago they were asked. `None`: nothing yet.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Answers {
    /// What is left.
    pub(crate) stock: Option<(Stock, Duration)>,
    /// Whether checkout accepts orders.
    pub(crate) accepts_orders: Option<(bool, Duration)>,
}

/// The scripts and their Redis. Clones share both.
#[derive(Debug, Clone)]
pub(crate) struct Scripts {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    join: Script,
    read: Script,
    leave: Script,
    plan: Script,
    publish: Script,
    grant: Script,
    restore: Script,
    configure: Script,
}

macro_rules! script {
    ($name:literal) => {
        Script::new(
            concat!("room_", $name),
            format!("{PRELUDE}\n{}", include_str!(concat!("../../lua/", $name, ".lua"))),
        )
    };
}

/// A reply that is not GONE.
struct Reply {
    word: String,
    texts: Vec<String>,
    room: RoomView,
}

impl Scripts {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                join: script!("join"),
                read: script!("read"),
                leave: script!("leave"),
                plan: script!("plan"),
                publish: script!("publish"),
                grant: script!("grant"),
                restore: script!("restore"),
                configure: script!("configure"),
            }),
        }
    }

    pub(crate) async fn join(
        &self,
        sale_id: Uuid,
        buyer_id: &str,
        request_id: Uuid,
        shown: Option<Place>,
        sold_out: bool,
    ) -> Result<Option<(Joined, RoomView)>, StoreError> {
        let [number, generation] = shown.map_or_else(
            || ["".into(), "".into()],
            |Place { number, generation }| [number.into(), generation.into()],
        );
        let request_id = request_id.to_string().into();
        let args = vec![buyer_id.into(), request_id, flag(sold_out), number, generation];
        let Some(reply) = self.run(&self.inner.join, sale_id, args).await? else {
            return Ok(None);
        };
        let joined = match reply.word.as_str() {
            "PLACE" => Joined::Place {
                number: reply.number(0)?,
                generation: reply.number(1)?,
                fresh: reply.text(2)? == "1",
                mark: reply.mark(3)?,
                expires_at_ms: reply.optional(4)?,
            },
            "CLOSED" => Joined::Closed,
            "EARLY" => Joined::Early {
                joins_from_ms: reply.number(0)?,
                admits_from_ms: reply.optional(1)?,
            },
            "SOLD" => Joined::Sold,
            "FULL" => Joined::Full,
            _ => return Err(StoreError::Malformed("the reply of join")),
        };
        Ok(Some((joined, reply.room)))
    }

    pub(crate) async fn room(&self, sale_id: Uuid) -> Result<Option<RoomView>, StoreError> {
        let args = vec!["".into(), "".into(), "".into()];
        Ok(self.run(&self.inner.read, sale_id, args).await?.map(|reply| reply.room))
    }

    pub(crate) async fn ticket(
        &self,
        sale_id: Uuid,
        buyer_id: &str,
        number: i64,
        generation: u32,
    ) -> Result<Option<(Mark, Option<i64>, RoomView)>, StoreError> {
        let args = vec![buyer_id.into(), number.into(), generation.into()];
        let Some(reply) = self.run(&self.inner.read, sale_id, args).await? else {
            return Ok(None);
        };
        Ok(Some((reply.mark(0)?, reply.optional(1)?, reply.room)))
    }

    pub(crate) async fn leave(
        &self,
        sale_id: Uuid,
        buyer_id: &str,
        number: i64,
        generation: u32,
    ) -> Result<Option<RoomView>, StoreError> {
        let args = vec![buyer_id.into(), number.into(), generation.into()];
        Ok(self.run(&self.inner.leave, sale_id, args).await?.map(|reply| reply.room))
    }

    pub(crate) async fn plan(
        &self,
        sale_id: Uuid,
        burst_ms: i64,
        unknown_ms: i64,
        answers: Answers,
    ) -> Result<Option<RoomView>, StoreError> {
        let mut args: Vec<Value> = vec![burst_ms.into(), unknown_ms.into()];
        args.extend(answer(answers.stock.map(|(stock, age)| (stock.as_str(), age))));
        args.extend(answer(answers.accepts_orders.map(|(accepts, age)| {
            let word = if accepts { "ACCEPTS" } else { "REFUSES" };
            (word, age)
        })));
        Ok(self.run(&self.inner.plan, sale_id, args).await?.map(|reply| reply.room))
    }

    /// Moves the head; returns by how many numbers, beside the room.
    pub(crate) async fn publish(
        &self,
        sale_id: Uuid,
        head: i64,
    ) -> Result<Option<(i64, RoomView)>, StoreError> {
        let args = vec![head.into(), TICKS_KEPT.into()];
        let Some(reply) = self.run(&self.inner.publish, sale_id, args).await? else {
            return Ok(None);
        };
        Ok(Some((reply.number(0)?, reply.room)))
    }

    pub(crate) async fn grant(
        &self,
        sale_id: Uuid,
        from: i64,
        upto: i64,
    ) -> Result<Option<RoomView>, StoreError> {
        let args = vec![from.into(), upto.into()];
        Ok(self.run(&self.inner.grant, sale_id, args).await?.map(|reply| reply.room))
    }

    /// The server that keeps the room, as the record names servers: in a Cluster with the slot
    /// behind it.
    pub(crate) async fn server(&self, sale_id: Uuid) -> Result<String, StoreError> {
        let (store, keys) = (&self.inner.store, keys(sale_id));
        let server = store.server_of(&keys).await?;
        Ok(match keys.first().and_then(|key| store.slot_of(key)) {
            Some(slot) => format!("{server}#{slot}"),
            None => server.to_string(),
        })
    }

    /// Puts the room in place with the numbers above `from`, up to those reserved in `row`.
    pub(crate) async fn restore(
        &self,
        row: &RoomRow,
        from: i64,
        ticks: &[Tick],
    ) -> Result<(), StoreError> {
        let mut args = settings(row);
        args.extend([from.into(), row.reserved_upto.into(), row.head.into(), row.era.into()]);
        args.extend(ticks.iter().map(|Tick { head, passed_ms, ttl_ms, paused_ms }| {
            Value::from(format!("{head}:{ttl_ms}:{paused_ms}:{passed_ms}"))
        }));
        self.run(&self.inner.restore, row.sale_id, args).await?;
        Ok(())
    }

    pub(crate) async fn configure(&self, row: &RoomRow) -> Result<Option<RoomView>, StoreError> {
        let reply = self.run(&self.inner.configure, row.sale_id, settings(row)).await?;
        Ok(reply.map(|reply| reply.room))
    }

    async fn run(
        &self,
        script: &Script,
        sale_id: Uuid,
        args: Vec<Value>,
    ) -> Result<Option<Reply>, StoreError> {
        let value = self.inner.store.eval(script, keys(sale_id), args).await?;
        let mut texts: Vec<String> =
            value.convert().map_err(|_| StoreError::Malformed("the reply of a script"))?;
        if texts == ["GONE"] {
            return Ok(None);
        }
        if texts.len() <= ROOM_TEXTS {
            return Err(StoreError::Malformed("the length of a reply"));
        }
        let room = view(&texts.split_off(texts.len() - ROOM_TEXTS))?;
        let word = texts.remove(0);
        Ok(Some(Reply { word, texts, room }))
    }
}

/// The keys of a room, in the order the scripts expect. `spent` is inventory's and only read.
fn keys(sale_id: Uuid) -> Vec<String> {
    ["room", "room:buyers", "room:ticks", "spent", "room:requests"]
        .into_iter()
        .map(|name| format!("fs:{{{sale_id}}}:{name}"))
        .collect()
}

fn settings(row: &RoomRow) -> Vec<Value> {
    vec![
        row.version.into(),
        row.state.as_str().into(),
        row.rate.to_string().into(),
        row.admission_ms.into(),
        bound(row.window.joins_from_ms),
        bound(row.window.admits_from_ms),
        bound(row.window.admits_until_ms),
        row.paused_ms.into(),
        bound(row.paused_since_ms),
        flag(row.watches_stock),
    ]
}

/// A time, empty for none.
fn bound(ms: Option<i64>) -> Value {
    ms.map_or_else(|| "".into(), Value::from)
}

/// The word of an answer and its age in ms; both empty for none.
fn answer(heard: Option<(&str, Duration)>) -> [Value; 2] {
    let Some((word, age)) = heard else { return ["".into(), "".into()] };
    [word.into(), i64::try_from(age.as_millis()).unwrap_or(i64::MAX).into()]
}

fn flag(set: bool) -> Value {
    if set { "1".into() } else { "0".into() }
}

fn view(texts: &[String]) -> Result<RoomView, StoreError> {
    let [
        state,
        rate,
        watches_stock,
        hold,
        stock,
        admission_ms,
        joins_from_ms,
        admits_from_ms,
        admits_until_ms,
        era,
        paused_ms,
        next,
        upto,
        planned,
        head,
        version,
        now_ms,
    ] = texts
    else {
        return Err(StoreError::Malformed("the room of a reply"));
    };
    Ok(RoomView {
        state: RoomState::parse(state).ok_or(StoreError::Malformed("the state of a room"))?,
        rate: parse(rate)?,
        watches_stock: watches_stock == "1",
        hold: match hold.as_str() {
            "" => None,
            name => Some(Hold::parse(name).ok_or(StoreError::Malformed("why a head holds"))?),
        },
        stock: Stock::parse(stock).ok_or(StoreError::Malformed("the stock of a room"))?,
        admission_ms: parse(admission_ms)?,
        window: Window {
            joins_from_ms: optional(joins_from_ms)?,
            admits_from_ms: optional(admits_from_ms)?,
            admits_until_ms: optional(admits_until_ms)?,
        },
        era: parse(era)?,
        paused_ms: parse(paused_ms)?,
        next: parse(next)?,
        upto: parse(upto)?,
        planned: parse(planned)?,
        head: parse(head)?,
        version: parse(version)?,
        now_ms: parse(now_ms)?,
    })
}

fn parse<T: FromStr>(text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Malformed("a number of a reply"))
}

/// A number, or nothing where the text is empty.
fn optional(text: &str) -> Result<Option<i64>, StoreError> {
    if text.is_empty() { Ok(None) } else { parse(text).map(Some) }
}

impl Reply {
    fn text(&self, index: usize) -> Result<&str, StoreError> {
        self.texts
            .get(index)
            .map(String::as_str)
            .ok_or(StoreError::Malformed("the length of a reply"))
    }

    fn mark(&self, index: usize) -> Result<Mark, StoreError> {
        match self.text(index)? {
            "CURRENT" => Ok(Mark::Current),
            "USED" => Ok(Mark::Used),
            "LEFT" => Ok(Mark::Left),
            "REPLACED" => Ok(Mark::Replaced),
            _ => Err(StoreError::Malformed("the mark of a ticket")),
        }
    }

    fn number<T: FromStr>(&self, index: usize) -> Result<T, StoreError> {
        parse(self.text(index)?)
    }

    fn optional(&self, index: usize) -> Result<Option<i64>, StoreError> {
        optional(self.text(index)?)
    }
}
