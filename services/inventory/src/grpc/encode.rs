//! From the domain to the wire.

use std::time::Duration;

use flashsale_proto::inventory as proto;
use flashsale_service::wire;
use tonic::Status;
use uuid::Uuid;

use crate::{
    app::reconcile::Report,
    domain::{
        Adjustment, AdjustmentState, Hold, HoldState, Phase, Retaken, Settled, SkuBooks, StockView,
        Switch, UnreadableHold,
    },
};

pub(super) fn refused(status: &Status) -> proto::HoldRefused {
    proto::HoldRefused {
        code: status.code().into(),
        message: status.message().to_owned(),
        details: status.details().to_vec(),
    }
}

pub(super) fn hold(sale_id: Uuid, hold: &Hold) -> proto::Hold {
    let held = match hold.state {
        HoldState::Held => true,
        HoldState::Placed | HoldState::Sold | HoldState::Released | HoldState::Expired => false,
    };
    proto::Hold {
        hold_id: hold.hold_id.to_string(),
        sale_id: sale_id.to_string(),
        buyer_id: hold.buyer_id.clone(),
        state: state(hold.state).into(),
        lines: hold
            .lines
            .iter()
            .map(|line| proto::PricedLine {
                sku: line.sku.clone(),
                quantity: line.quantity,
                unit_price: Some(wire::money(line.price_minor, &hold.currency)),
                price_revision: line.price_revision,
            })
            .collect(),
        total: Some(wire::money(hold.total_minor(), &hold.currency)),
        // Of an expired hold it is the time at which it expired.
        expire_time: (held || hold.state == HoldState::Expired)
            .then(|| wire::timestamp_ms(hold.deadline_ms)),
        order_id: hold.order_id.map(|id| id.to_string()).unwrap_or_default(),
        place_time: hold.placed_ms.map(wire::timestamp_ms),
        epoch: hold.epoch,
        admission_id: hold.admission_id.clone().unwrap_or_default(),
    }
}

pub(super) fn placed(sale_id: Uuid, placed: &Hold) -> proto::PlacedHold {
    proto::PlacedHold {
        hold: Some(hold(sale_id, placed)),
        order_details: placed.details.clone(),
        request_id: placed.request_id.clone().unwrap_or_default(),
        request_hash: placed.request_hash.clone().unwrap_or_default(),
    }
}

pub(super) fn unreadable(hold: UnreadableHold) -> proto::UnreadableHold {
    proto::UnreadableHold { hold_id: hold.hold_id, hold: hold.hold, order_details: hold.details }
}

fn state(state: HoldState) -> proto::HoldState {
    match state {
        HoldState::Held => proto::HoldState::Held,
        HoldState::Placed => proto::HoldState::Placed,
        HoldState::Sold => proto::HoldState::Sold,
        HoldState::Released => proto::HoldState::Released,
        HoldState::Expired => proto::HoldState::Expired,
    }
}

pub(super) fn stock(view: &StockView) -> proto::GetStockResponse {
    let currency = &view.terms.currency;
    proto::GetStockResponse {
        stock: view.skus.iter().map(|books| sku(books, currency, view.at_sale_prices())).collect(),
        epoch: view.epoch,
        read_time: Some(wire::timestamp_ms(view.read_ms)),
        phase: phase(view.phase()).into(),
        starts_at: Some(wire::timestamp_ms(view.terms.starts_ms)),
        ends_at: Some(wire::timestamp_ms(view.terms.ends_ms)),
    }
}

pub(super) fn watched(view: &StockView) -> proto::WatchStockResponse {
    let proto::GetStockResponse { stock, epoch, read_time, phase, starts_at, ends_at } =
        stock(view);
    proto::WatchStockResponse { stock, epoch, read_time, phase, starts_at, ends_at }
}

/// The books of a sku; what it costs is the regular price, if there is one, unless the sale's
/// prices hold.
pub(super) fn sku(books: &SkuBooks, currency: &str, at_sale_prices: bool) -> proto::SkuStock {
    let outside = books.regular_minor.filter(|_| !at_sale_prices);
    proto::SkuStock {
        sku: books.sku.clone(),
        allotted: books.allotted,
        available: books.available,
        held: books.held,
        placed: books.placed,
        sold: books.sold,
        unit_price: Some(wire::money(outside.unwrap_or(books.price_minor), currency)),
        per_buyer_limit: books.per_buyer_limit,
        regular_price: books.regular_minor.map(|regular| wire::money(regular, currency)),
        price_revision: books.price_revision,
    }
}

pub(super) fn switch(switch: Switch) -> proto::PriceSwitch {
    proto::PriceSwitch {
        revision: switch.revision,
        switch_time: Some(wire::timestamp_ms(switch.at_ms)),
    }
}

fn phase(phase: Phase) -> proto::StockPhase {
    match phase {
        Phase::Before => proto::StockPhase::Before,
        Phase::OnSale => proto::StockPhase::OnSale,
        Phase::Paused => proto::StockPhase::Paused,
        Phase::SoldOut => proto::StockPhase::SoldOut,
        Phase::After => proto::StockPhase::After,
    }
}

pub(super) fn retaken(retaken: Retaken) -> proto::RetakeResult {
    match retaken {
        Retaken::Taken => proto::RetakeResult::Taken,
        Retaken::Refused => proto::RetakeResult::Refused,
    }
}

pub(super) fn adjustment(adjustment: &Adjustment) -> proto::Adjustment {
    let (state, allotted) = match adjustment.state {
        AdjustmentState::Started => (proto::AdjustmentState::Started, None),
        AdjustmentState::Done => (proto::AdjustmentState::Done, adjustment.allotted),
        AdjustmentState::Refused { .. } => (proto::AdjustmentState::Refused, None),
    };
    let (before, after) = allotted.unwrap_or_default();
    proto::Adjustment {
        request_id: adjustment.request.request_id.to_string(),
        sku: adjustment.request.sku.clone(),
        delta: adjustment.request.delta.units(),
        reason: adjustment.request.reason.clone(),
        state: state.into(),
        allotted_before: before,
        allotted_after: after,
        create_time: Some(wire::timestamp(adjustment.created_at)),
        end_time: adjustment.ended_at.map(wire::timestamp),
    }
}

pub(super) fn settled(settled: Settled) -> proto::SettleResult {
    match settled {
        Settled::Done => proto::SettleResult::Done,
        Settled::Already => proto::SettleResult::Already,
        Settled::Unknown => proto::SettleResult::Unknown,
        Settled::Conflict => proto::SettleResult::Conflict,
    }
}

pub(super) fn report(report: &Report) -> proto::ReconcileResponse {
    let expired_ms = u64::try_from(report.oldest_expired_ms).unwrap_or(0);
    proto::ReconcileResponse {
        differences: report
            .differences
            .iter()
            .map(|found| proto::Difference {
                sku: found.sku.clone(),
                description: found.what.clone(),
                hold_ids: found.hold_ids.iter().map(Uuid::to_string).collect(),
                kind: found.kind.as_str().to_owned(),
                units: found.units,
                repaired: found.repaired,
            })
            .collect(),
        oversold_units: report.oversold,
        stranded_units: report.stranded,
        oldest_expired_hold: Some(wire::duration(Duration::from_millis(expired_ms))),
        epoch: report.epoch,
    }
}
