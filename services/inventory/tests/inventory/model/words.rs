//! Conversion between the model's words and the service's types.

use flashsale_inventory::domain::{AdmissionFault, Content, Placing, Refusal, Request};
use uuid::Uuid;

use super::stock::{Asked, Lines, What};
use crate::world::lines;

pub(super) fn request(sale_id: Uuid, asked: &Asked) -> Request {
    let of = |all: &Lines| {
        lines(&all.iter().map(|(sku, units)| (sku.as_str(), *units)).collect::<Vec<_>>())
    };
    let with = |details: &String| Placing { details: details.clone(), expected: None };
    let content = match &asked.what {
        What::Reserve(lines) => Content::Reserve(of(lines)),
        What::Place(lines, details) => Content::PlaceLines(of(lines), with(details)),
        What::PlaceHold(id, details) => Content::PlaceHold(*id, with(details)),
        What::Extend(id) => Content::Extend(*id),
        What::Release(id) => Content::Release(*id),
    };
    Request { sale_id, buyer_id: asked.buyer.clone(), request_id: asked.request_id, content }
}

/// A refusal in the model's words; one without a word is a difference.
#[allow(clippy::wildcard_enum_match_arm)]
pub(super) fn word(refusal: &Refusal) -> String {
    match refusal {
        Refusal::RequestReused => "REUSED".to_owned(),
        Refusal::NotOpen { state, window_ms: Some(_) } => format!("NOT_OPEN {state}"),
        Refusal::Admission(AdmissionFault::Required) => "ADMISSION".to_owned(),
        Refusal::AdmissionSpent { hold_id } => format!("SPENT {hold_id}"),
        Refusal::SkuUnknown { sku } => format!("NO_SKU {sku}"),
        Refusal::BuyerLimit { sku, limit, has, requested } => {
            format!("LIMIT {sku} {limit} {has} {requested}")
        }
        Refusal::SoldOut { sku, available, requested } => {
            format!("SOLD_OUT {sku} {available} {requested}")
        }
        Refusal::UnitsCommitted { sku, available, requested } => {
            format!("COMMITTED {sku} {available} {requested}")
        }
        Refusal::HoldUnknown => "NO_HOLD".to_owned(),
        Refusal::HoldExpired { .. } => "EXPIRED".to_owned(),
        Refusal::HoldResolved { state } => format!("RESOLVED {state:?}"),
        Refusal::HoldAtMaximum { .. } => "AT_MAXIMUM".to_owned(),
        other => format!("{other:?}"),
    }
}
