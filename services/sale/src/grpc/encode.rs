//! Sales for the wire.

use flashsale_proto::sale;
use flashsale_service::wire;

use crate::domain::{Item, ItemReport, Report, Sale, SaleState, Settings};

pub(super) fn sale(from: &Sale) -> sale::Sale {
    let currency = from.settings.currency.code();
    sale::Sale {
        sale_id: from.id.to_string(),
        settings: Some(settings(&from.settings)),
        state: state(from.state).into(),
        items: from.items.iter().map(|from| item(from, currency)).collect(),
        version: from.version,
        create_time: Some(wire::timestamp(from.created_at)),
        update_time: Some(wire::timestamp(from.updated_at)),
        propagated: from.is_propagated(),
    }
}

fn settings(from: &Settings) -> sale::SaleSettings {
    sale::SaleSettings {
        name: from.name.clone(),
        currency: from.currency.code().to_owned(),
        starts_at: Some(wire::timestamp(from.starts_at)),
        ends_at: Some(wire::timestamp(from.ends_at)),
        hold_ttl: Some(wire::duration(from.hold)),
        room: from.room.map(|room| sale::RoomSettings {
            admissions_per_second: room.rate,
            admission_ttl: Some(wire::duration(room.admission)),
        }),
    }
}

fn item(from: &Item, currency: &str) -> sale::Item {
    sale::Item {
        sku: from.sku.clone(),
        title: from.title.clone(),
        unit_price: Some(wire::money(from.price_minor, currency)),
        quantity: from.quantity,
        per_buyer_limit: from.per_buyer_limit,
    }
}

pub(super) fn report(from: &Report) -> sale::SaleReport {
    let totals = &from.totals;
    let currency = from.sale.settings.currency.code();
    let money = |minor| Some(wire::money(minor, currency));
    sale::SaleReport {
        sale_id: from.sale.id.to_string(),
        state: state(from.sale.state).into(),
        r#final: from.is_final(),
        read_time: Some(wire::timestamp(totals.read_at)),
        items: from.items.iter().map(|from| item_report(from, currency)).collect(),
        orders: Some(sale::OrderCounts {
            open: totals.orders_open,
            dead_letters: totals.dead_letters,
            confirmed: totals.confirmed,
            declined: totals.declined,
            cancelled: totals.cancelled,
            refunded: totals.refunded,
        }),
        captured: money(totals.captured_minor),
        refunded: money(totals.refunded_minor),
        refund_due: money(totals.refund_due_minor),
        units_held: from.units.map(|units| units.held),
        units_placed: from.units.map(|units| units.placed),
        payments_open: totals.payments_open,
        consequences_due: totals.consequences_due,
    }
}

fn item_report(from: &ItemReport, currency: &str) -> sale::ItemReport {
    sale::ItemReport {
        sku: from.sku.clone(),
        title: from.title.clone(),
        allotted: from.allotted,
        sold: from.sold,
        open: from.open,
        gross: Some(wire::money(from.gross_minor, currency)),
    }
}

fn state(from: SaleState) -> sale::SaleState {
    match from {
        SaleState::Draft => sale::SaleState::Draft,
        SaleState::Scheduled => sale::SaleState::Scheduled,
        SaleState::Open => sale::SaleState::Open,
        SaleState::Paused => sale::SaleState::Paused,
        SaleState::Ended => sale::SaleState::Ended,
    }
}
