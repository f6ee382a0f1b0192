//! Sales for the wire.

use flashsale_proto::sale;
use flashsale_service::wire;

use crate::domain::{Item, Sale, SaleState, Settings};

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

fn state(from: SaleState) -> sale::SaleState {
    match from {
        SaleState::Draft => sale::SaleState::Draft,
        SaleState::Scheduled => sale::SaleState::Scheduled,
        SaleState::Open => sale::SaleState::Open,
        SaleState::Paused => sale::SaleState::Paused,
        SaleState::Ended => sale::SaleState::Ended,
    }
}
