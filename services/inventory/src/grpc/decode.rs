//! From the wire to the domain. Refusals name the field.

use std::collections::BTreeSet;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    Money,
    inventory::{self as proto, HoldOutcome, HoldSettlement},
};
use flashsale_record::FIRST_PRICE_REVISION;
use flashsale_service::{
    page::{self, Place},
    wire,
};
use uuid::Uuid;

use crate::domain::{
    AdjustmentRequest, Amount, Content, Delta, HoldId, Line, Lines, LinesError, MAX_DELTA,
    MAX_DETAILS_BYTES, MAX_LINE_UNITS, MAX_LINES, MAX_RETAKEN, MAX_SETTLEMENTS, Outcome, Placing,
    Request, Settlement, Straggler,
};

/// The longest buyer id, in characters.
const MAX_BUYER_CHARS: usize = 128;
/// The longest sku, in characters.
const MAX_SKU_CHARS: usize = 128;
/// The most skus that one reading of stock may name; to read more, name none and read all.
const MAX_SKUS: usize = 1_000;
/// The longest reason of an adjustment, in characters.
const MAX_REASON_CHARS: usize = 256;
/// How many placed holds or adjustments are listed by default, and at most.
const LIST_DEFAULT: usize = 100;
const LIST_MOST: usize = 500;

pub(super) fn sale_id(value: &str) -> Result<Uuid, Failure> {
    wire::uuid("sale_id", value, Reason::ArgumentInvalid)
}

fn hold_id(value: &str) -> Result<Uuid, Failure> {
    wire::uuid("hold_id", value, Reason::ArgumentInvalid)
}

/// A request. Its ids come first: without them its content is of no use.
fn request(
    request_id: &str,
    sale: &str,
    buyer_id: &str,
    content: impl FnOnce() -> Result<Content, Failure>,
) -> Result<Request, Failure> {
    Ok(Request {
        request_id: wire::request_id(request_id)?,
        sale_id: sale_id(sale)?,
        buyer_id: wire::printable("buyer_id", buyer_id, MAX_BUYER_CHARS)?.to_owned(),
        content: content()?,
    })
}

pub(super) fn reserve(message: &proto::ReserveRequest) -> Result<Request, Failure> {
    request(&message.request_id, &message.sale_id, &message.buyer_id, || {
        Ok(Content::Reserve(lines(&message.lines)?))
    })
}

pub(super) fn place(message: &proto::PlaceHoldRequest) -> Result<Request, Failure> {
    request(&message.request_id, &message.sale_id, &message.buyer_id, || {
        let placing = Placing {
            details: details("order_details", &message.order_details)?,
            expected: message.expected_total.as_ref().map(expected).transpose()?,
        };
        match (message.hold_id.is_empty(), message.lines.is_empty()) {
            (false, true) => Ok(Content::PlaceHold(hold_id(&message.hold_id)?, placing)),
            (true, false) => Ok(Content::PlaceLines(lines(&message.lines)?, placing)),
            (true, true) => {
                Err(Failure::invalid("lines", "are missing; send either them or hold_id"))
            }
            (false, false) => Err(Failure::invalid(
                "hold_id",
                "cannot be sent together with lines; send one of them",
            )),
        }
    })
}

fn expected(total: &Money) -> Result<Amount, Failure> {
    let (minor, currency) = wire::price("expected_total", total)?;
    Ok(Amount { minor, currency: currency.code() })
}

pub(super) fn extend(message: &proto::ExtendHoldRequest) -> Result<Request, Failure> {
    request(&message.request_id, &message.sale_id, &message.buyer_id, || {
        Ok(Content::Extend(hold_id(&message.hold_id)?))
    })
}

pub(super) fn release(message: &proto::ReleaseHoldRequest) -> Result<Request, Failure> {
    request(&message.request_id, &message.sale_id, &message.buyer_id, || {
        Ok(Content::Release(hold_id(&message.hold_id)?))
    })
}

/// Sale, hold, and the buyer it must belong to.
pub(super) fn get_hold(
    message: &proto::GetHoldRequest,
) -> Result<(Uuid, HoldId, Option<&str>), Failure> {
    let sale_id = sale_id(&message.sale_id)?;
    let id = match (message.hold_id.is_empty(), message.order_id.is_empty()) {
        (false, true) => HoldId::Hold(hold_id(&message.hold_id)?),
        (true, false) => {
            HoldId::Order(wire::uuid("order_id", &message.order_id, Reason::ArgumentInvalid)?)
        }
        (true, true) => {
            return Err(Failure::invalid("hold_id", "is missing; send either it or order_id"));
        }
        (false, false) => {
            return Err(Failure::invalid(
                "hold_id",
                "cannot be sent together with order_id; send one of them",
            ));
        }
    };
    let buyer_id = match message.buyer_id.as_str() {
        "" => None,
        buyer_id => Some(wire::printable("buyer_id", buyer_id, MAX_BUYER_CHARS)?),
    };
    Ok((sale_id, id, buyer_id))
}

pub(super) fn skus(skus: &[String]) -> Result<&[String], Failure> {
    if skus.len() > MAX_SKUS {
        return Err(Failure::invalid(
            "skus",
            format!("are {}; name at most {MAX_SKUS}, or none to read all", skus.len()),
        ));
    }
    for (index, sku) in skus.iter().enumerate() {
        wire::printable(&format!("skus[{index}]"), sku, MAX_SKU_CHARS)?;
    }
    Ok(skus)
}

pub(super) fn settlements(sent: &[HoldSettlement]) -> Result<Vec<Settlement>, Failure> {
    if sent.is_empty() || sent.len() > MAX_SETTLEMENTS {
        return Err(Failure::invalid(
            "settlements",
            format!("are {}; send 1 to {MAX_SETTLEMENTS}", sent.len()),
        ));
    }
    sent.iter()
        .enumerate()
        .map(|(index, settlement)| {
            let field = |name: &str| format!("settlements[{index}].{name}");
            let id = wire::uuid(&field("hold_id"), &settlement.hold_id, Reason::ArgumentInvalid)?;
            let outcome = match HoldOutcome::try_from(settlement.outcome) {
                Ok(HoldOutcome::Claimed) => Outcome::Claimed,
                Ok(HoldOutcome::Sold) => Outcome::Sold,
                Ok(HoldOutcome::Released) => Outcome::Released,
                Ok(HoldOutcome::Unspecified) | Err(_) => {
                    return Err(Failure::invalid(
                        field("outcome"),
                        "must be CLAIMED, SOLD or RELEASED",
                    ));
                }
            };
            let order_id = match settlement.order_id.as_str() {
                "" => None,
                order => Some(wire::uuid(&field("order_id"), order, Reason::ArgumentInvalid)?),
            };
            Ok(Settlement { hold_id: id, outcome, order_id })
        })
        .collect()
}

/// The orders whose units are to be taken again.
pub(super) fn stragglers(message: &proto::RetakeHoldsRequest) -> Result<Vec<Straggler>, Failure> {
    if message.min_epoch < 1 {
        return Err(Failure::invalid("min_epoch", "must be above 0"));
    }
    if message.holds.is_empty() || message.holds.len() > MAX_RETAKEN {
        return Err(Failure::invalid(
            "holds",
            format!("are {}; send 1 to {MAX_RETAKEN}", message.holds.len()),
        ));
    }
    message.holds.iter().enumerate().map(|(index, hold)| straggler(index, hold)).collect()
}

fn straggler(index: usize, hold: &proto::StragglingHold) -> Result<Straggler, Failure> {
    let field = |name: &str| format!("holds[{index}].{name}");
    let id = |name: &str, value: &str| wire::uuid(&field(name), value, Reason::ArgumentInvalid);
    let placed = hold.place_time.as_ref();
    let placed = placed.ok_or_else(|| Failure::invalid(field("place_time"), "is missing"))?;
    if hold.lines.is_empty() || hold.lines.len() > MAX_LINES {
        return Err(Failure::invalid(
            field("lines"),
            format!("are {}; send 1 to {MAX_LINES}", hold.lines.len()),
        ));
    }
    let mut skus = BTreeSet::new();
    let lines = hold
        .lines
        .iter()
        .enumerate()
        .map(|(place, line)| {
            let field = |name: &str| field(&format!("lines[{place}].{name}"));
            let sku = wire::printable(&field("sku"), &line.sku, MAX_SKU_CHARS)?;
            if !skus.insert(sku) {
                return Err(Failure::invalid(field("sku"), "comes twice; sum the lines of a sku"));
            }
            if !(1..=MAX_LINE_UNITS).contains(&line.quantity) {
                return Err(Failure::field(
                    Reason::QuantityInvalid,
                    field("quantity"),
                    format!("must be 1 to {MAX_LINE_UNITS}"),
                ));
            }
            let revision = hold.price_revisions.get(sku).copied().unwrap_or(FIRST_PRICE_REVISION);
            if revision < FIRST_PRICE_REVISION {
                return Err(Failure::invalid(
                    format!("holds[{index}].price_revisions"),
                    "must be above 0",
                ));
            }
            Ok((Line { sku: sku.to_owned(), quantity: line.quantity }, revision))
        })
        .collect::<Result<Vec<_>, Failure>>()?;
    let admission_id = Some(hold.admission_id.clone()).filter(|id| !id.is_empty());
    Ok(Straggler {
        hold_id: id("hold_id", &hold.hold_id)?,
        order_id: id("order_id", &hold.order_id)?,
        buyer_id: wire::printable(&field("buyer_id"), &hold.buyer_id, MAX_BUYER_CHARS)?.to_owned(),
        admission_id,
        request_id: id("request_id", &hold.request_id)?.to_string(),
        request_hash: wire::printable(&field("request_hash"), &hold.request_hash, 64)?.to_owned(),
        placed_ms: millis(&field("place_time"), placed)?,
        lines,
        details: details(&field("order_details"), &hold.order_details)?,
    })
}

fn millis(field: &str, time: &prost_types::Timestamp) -> Result<i64, Failure> {
    let time = wire::datetime(field, time)?;
    Ok(i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).unwrap_or(i64::MAX))
}

/// Sale, instant in ms of the store's clock, and how many to list.
pub(super) fn list_placed(
    message: &proto::ListPlacedHoldsRequest,
) -> Result<(Uuid, i64, usize), Failure> {
    let before_ms = match &message.placed_before {
        None => i64::MAX / 1_000_000,
        Some(before) => millis("placed_before", before)?,
    };
    let limit = match usize::try_from(message.limit) {
        Ok(0) => LIST_DEFAULT,
        Ok(limit) => limit.min(LIST_MOST),
        Err(_) => return Err(Failure::invalid("limit", "is negative")),
    };
    Ok((sale_id(&message.sale_id)?, before_ms, limit))
}

pub(super) fn adjust(message: &proto::AdjustStockRequest) -> Result<AdjustmentRequest, Failure> {
    Ok(AdjustmentRequest {
        request_id: wire::request_id(&message.request_id)?,
        sale_id: sale_id(&message.sale_id)?,
        sku: wire::printable("sku", &message.sku, MAX_SKU_CHARS)?.to_owned(),
        delta: Delta::new(message.delta).ok_or_else(|| {
            let what =
                format!("is {}; it must be 1 to {MAX_DELTA}, or as much below 0", message.delta);
            Failure::field(Reason::QuantityInvalid, "delta", what)
        })?,
        reason: reason(&message.reason)?.to_owned(),
    })
}

/// The identity of the list of a sale's adjustments, for its page tokens.
pub(super) fn adjustments_of(sale_id: &str) -> [&str; 2] {
    ["adjustments", sale_id]
}

/// Sale, where the page begins, and how many to list.
pub(super) fn list_adjustments(
    message: &proto::ListAdjustmentsRequest,
) -> Result<(Uuid, Option<Place>, usize), Failure> {
    let sale_id = sale_id(&message.sale_id)?;
    let size = page::size(message.page_size, LIST_DEFAULT, LIST_MOST)?;
    let after = page::key(&adjustments_of(&sale_id.to_string()), &message.page_token)?;
    Ok((sale_id, after, size))
}

fn lines(sent: &[proto::Line]) -> Result<Lines, Failure> {
    let lines = sent.iter().map(|line| Line { sku: line.sku.clone(), quantity: line.quantity });
    Lines::new(lines).map_err(|error| match error {
        LinesError::None => {
            Failure::invalid("lines", format!("are missing; send 1 to {MAX_LINES}"))
        }
        LinesError::TooMany(count) => {
            Failure::invalid("lines", format!("are {count}; send at most {MAX_LINES}"))
        }
        LinesError::Sku { index } => Failure::invalid(
            format!("lines[{index}].sku"),
            format!("must have 1 to {MAX_SKU_CHARS} printable characters"),
        ),
        LinesError::Quantity { index } => Failure::field(
            Reason::QuantityInvalid,
            format!("lines[{index}].quantity"),
            format!("must be 1 to {MAX_LINE_UNITS}, also summed over the lines of its sku"),
        ),
    })
}

fn details(field: &str, json: &str) -> Result<String, Failure> {
    if json.len() > MAX_DETAILS_BYTES {
        return Err(Failure::invalid(
            field,
            format!("has {} bytes; {MAX_DETAILS_BYTES} are allowed", json.len()),
        ));
    }
    if serde_json::from_str::<serde::de::IgnoredAny>(json).is_err() {
        return Err(Failure::invalid(field, "is not JSON"));
    }
    Ok(json.to_owned())
}

/// An operator's reason, for the audit trail.
pub(super) fn reason(text: &str) -> Result<&str, Failure> {
    wire::printable("reason", text, MAX_REASON_CHARS)
}
