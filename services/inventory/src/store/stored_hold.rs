//! Holds as they are stored: the JSON of the hash `holds` (`docs/stores.md`), for all of this
//! service's Rust.
//!
//! The scripts that change a hold decode it and encode it again. `reserve.lua`, which takes most of
//! them, concatenates a new hold from parts that are encoded here: [`head`], [`line_start`] and
//! [`admission`].

use std::borrow::Cow;

use flashsale_record::FIRST_PRICE_REVISION;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::reply::unreadable;
use crate::domain::{
    Hold, HoldState, Operation, PlacedLine, RecordedOrder, Refusal, Request, reconcile::SeenHold,
};

/// A hold as it is stored. When its units were taken (`t`) is written by the scripts and read by
/// none of this.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredHold<'a> {
    #[serde(rename = "b")]
    pub(super) buyer_id: Cow<'a, str>,
    #[serde(rename = "s")]
    state: Cow<'a, str>,
    #[serde(rename = "d")]
    pub(super) deadline_ms: i64,
    #[serde(rename = "l")]
    pub(super) lines: Vec<StoredLine<'a>>,
    #[serde(rename = "e")]
    pub(super) epoch: i64,
    #[serde(rename = "j", skip_serializing_if = "Option::is_none")]
    pub(super) admission_id: Option<Cow<'a, str>>,
    #[serde(rename = "o", skip_serializing_if = "Option::is_none")]
    pub(super) order_id: Option<Uuid>,
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    pub(super) placed_ms: Option<i64>,
    #[serde(rename = "q", skip_serializing_if = "Option::is_none")]
    pub(super) request_id: Option<Cow<'a, str>>,
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    pub(super) request_hash: Option<Cow<'a, str>>,
}

/// Sku, quantity, price of one unit in minor units, and the revision of that price. The first
/// revision is not written: the version before there were revisions reads such a line.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StoredLine<'a>(
    pub(super) Cow<'a, str>,
    pub(super) i64,
    i64,
    #[serde(default = "first_revision", skip_serializing_if = "is_first_revision")] i64,
);

const fn first_revision() -> i64 {
    FIRST_PRICE_REVISION
}

// Serde passes a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
const fn is_first_revision(revision: &i64) -> bool {
    *revision == FIRST_PRICE_REVISION
}

impl StoredHold<'static> {
    /// Reads the hold `id`.
    pub(super) fn decode(id: &str, json: &str) -> Result<Self, Refusal> {
        serde_json::from_str(json).map_err(|error| unreadable(&format!("the hold {id}: {error}")))
    }
}

impl<'a> StoredHold<'a> {
    /// The hold of a recorded order in the stock of `epoch`.
    pub(super) fn of_order(epoch: i64, order: &'a RecordedOrder) -> Self {
        let lines = order.lines.iter();
        Self {
            buyer_id: order.buyer_id.as_str().into(),
            state: order.units.hold_state().as_str().into(),
            // The original deadline is not on record, and a placed hold does not need one.
            deadline_ms: order.placed_ms,
            lines: lines
                .map(|line| {
                    let sku = line.sku.as_str().into();
                    StoredLine(sku, line.quantity, line.price_minor, line.price_revision)
                })
                .collect(),
            epoch,
            admission_id: order.admission_id.as_deref().map(Cow::Borrowed),
            order_id: Some(order.order_id),
            placed_ms: Some(order.placed_ms),
            request_id: Some(order.request_id.to_string().into()),
            request_hash: Some(order.request_hash.as_str().into()),
        }
    }

    pub(super) fn state(&self) -> Result<HoldState, Refusal> {
        HoldState::parse(&self.state).ok_or_else(|| unreadable("a hold's state"))
    }

    pub(super) fn encode(&self) -> Result<String, Refusal> {
        json(self)
    }
}

/// Reads a stored hold, with its times in `deadlines` and `pending`, which are empty where it has
/// none.
pub(super) fn seen(
    id: &str,
    json: &str,
    [deadline, pending]: [&str; 2],
    details: bool,
) -> Result<SeenHold, Refusal> {
    let stored = StoredHold::decode(id, json)?;
    Ok(SeenHold {
        state: stored.state()?,
        buyer_id: stored.buyer_id.into_owned(),
        before: None,
        deadline_ms: stored.deadline_ms,
        lines: stored
            .lines
            .into_iter()
            .map(|StoredLine(sku, quantity, ..)| (sku.into_owned(), quantity))
            .collect(),
        order_id: stored.order_id,
        placed_ms: stored.placed_ms,
        in_deadlines: !deadline.is_empty(),
        pending: !pending.is_empty(),
        details,
    })
}

/// Reads a stored hold as it stands at `now_ms`.
pub(super) fn read(
    id: &str,
    json: &str,
    details: String,
    currency: String,
    now_ms: i64,
) -> Result<Hold, Refusal> {
    let stored = StoredHold::decode(id, json)?;
    Ok(Hold {
        hold_id: id.parse().map_err(|_| unreadable("a hold's id"))?,
        state: stored.state()?,
        buyer_id: stored.buyer_id.into_owned(),
        deadline_ms: stored.deadline_ms,
        lines: stored
            .lines
            .into_iter()
            .map(|StoredLine(sku, quantity, price_minor, price_revision)| PlacedLine {
                sku: sku.into_owned(),
                quantity,
                price_minor,
                price_revision,
            })
            .collect(),
        currency,
        epoch: stored.epoch,
        admission_id: stored.admission_id.map(Cow::into_owned),
        order_id: stored.order_id,
        placed_ms: stored.placed_ms,
        request_id: stored.request_id.map(Cow::into_owned),
        request_hash: stored.request_hash.map(Cow::into_owned),
        details,
    }
    .at(now_ms))
}

/// The beginning of a hold that `reserve.lua` takes: what is known of it before the script runs.
#[derive(Serialize)]
struct Head<'a> {
    b: &'a str,
    e: i64,
    s: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    o: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    q: Option<Uuid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    h: Option<&'a str>,
}

/// The beginning of the hold that `request` takes, under this key and hash, without the closing
/// brace: the script appends what it decides.
pub(super) fn head(
    request: &Request,
    epoch: i64,
    key: &str,
    hash: &str,
) -> Result<String, Refusal> {
    let placed = request.content.operation() == Operation::Place;
    let state = if placed { HoldState::Placed } else { HoldState::Held };
    let mut head = json(&Head {
        b: &request.buyer_id,
        e: epoch,
        s: state.as_str(),
        o: placed.then_some(key),
        q: placed.then_some(request.request_id),
        h: placed.then_some(hash),
    })?;
    head.pop();
    Ok(head)
}

/// A line up to its price, which the script appends with the closing bracket.
pub(super) fn line_start(sku: &str, quantity: i64) -> Result<String, Refusal> {
    Ok(format!("[{},{quantity},", json(sku)?))
}

/// The field with the admission that the hold spends.
pub(super) fn admission(id: &str) -> Result<String, Refusal> {
    Ok(format!("\"j\":{}", json(id)?))
}

fn json(value: &(impl Serialize + ?Sized)) -> Result<String, Refusal> {
    serde_json::to_string(value)
        .map_err(|error| Refusal::Fault { cause: format!("a hold cannot be written: {error}") })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::domain::{Content, Line, Lines, OrderUnits, Placing};

    fn lines() -> Lines {
        Lines::new([Line { sku: "te\"e".to_owned(), quantity: 2 }]).unwrap()
    }

    fn request(content: Content) -> Request {
        Request {
            sale_id: Uuid::from_u128(7),
            buyer_id: "ada".to_owned(),
            request_id: Uuid::from_u128(9),
            content,
        }
    }

    /// Puts a hold together as `reserve.lua` does.
    fn taken(request: &Request, placed: &str) -> String {
        let head = head(request, 3, "00000000-0000-0000-0000-000000000001", "f00d").unwrap();
        let line = line_start("te\"e", 2).unwrap();
        let admission = admission("adm").unwrap();
        format!(r#"{head},"d":60000,"t":10,"l":[{line}1999]]{placed},{admission}}}"#)
    }

    #[test]
    fn parts_of_a_hold_keep_their_bytes() {
        let held = taken(&request(Content::Reserve(lines())), "");
        assert_eq!(
            held,
            r#"{"b":"ada","e":3,"s":"HELD","d":60000,"t":10,"l":[["te\"e",2,1999]],"j":"adm"}"#
        );
        let placed =
            taken(&request(Content::PlaceLines(lines(), Placing::default())), r#","p":10"#);
        assert_eq!(
            placed,
            concat!(
                r#"{"b":"ada","e":3,"s":"PLACED","o":"00000000-0000-0000-0000-000000000001","#,
                r#""q":"00000000-0000-0000-0000-000000000009","h":"f00d","d":60000,"t":10,"#,
                r#""l":[["te\"e",2,1999]],"p":10,"j":"adm"}"#
            )
        );
        for (json, state) in [(held, HoldState::Held), (placed, HoldState::Placed)] {
            let hold = StoredHold::decode("1", &json).unwrap();
            assert_eq!((hold.state().unwrap(), hold.epoch), (state, 3));
            assert_eq!(hold.lines, [StoredLine("te\"e".into(), 2, 1_999, 1)]);
            assert_eq!(hold.admission_id.as_deref(), Some("adm"));
        }
    }

    #[test]
    fn the_hold_of_an_order_keeps_its_bytes() {
        let order = RecordedOrder {
            order_id: Uuid::from_u128(1),
            buyer_id: "ada".to_owned(),
            hold_id: Uuid::from_u128(2),
            admission_id: None,
            request_id: Uuid::from_u128(9),
            request_hash: "f00d".to_owned(),
            units: OrderUnits::Sold,
            placed_ms: 10,
            lines: vec![
                PlacedLine {
                    sku: "tee".to_owned(),
                    quantity: 2,
                    price_minor: 1_999,
                    price_revision: 1,
                },
                PlacedLine {
                    sku: "cap".to_owned(),
                    quantity: 1,
                    price_minor: 999,
                    price_revision: 3,
                },
            ],
        };
        let hold = StoredHold::of_order(3, &order);
        let json = hold.encode().unwrap();
        assert_eq!(
            json,
            concat!(
                r#"{"b":"ada","s":"SOLD","d":10,"l":[["tee",2,1999],["cap",1,999,3]],"e":3,"#,
                r#""o":"00000000-0000-0000-0000-000000000001","p":10,"#,
                r#""q":"00000000-0000-0000-0000-000000000009","h":"f00d"}"#
            )
        );
        assert_eq!(StoredHold::decode("2", &json).unwrap(), hold);
    }
}
