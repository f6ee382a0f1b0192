//! Sales for the wire.

use flashsale_catalogue::{Decision, Format, LeftOut, Need, PreviewRow};
use flashsale_proto::{
    Money,
    sale::{self, ImportDecision, LeftOutReason, export_sale_response},
};
use flashsale_service::wire;
use iso_currency::Currency;
use prost::Message as _;

use crate::{
    app::export::Part,
    domain::{Imported, Item, ItemReport, PriceRevision, Report, Sale, SaleState, Settings},
    store::Past,
};

/// The most bytes of an export's rows in one answer. Many clients take no message above 4 MiB.
const MAX_ROW_BYTES: usize = 2 * 1_024 * 1_024;

/// The most revisions of prices in one answer that do not wait.
const MAX_PAST_REVISIONS: usize = 100;

/// Which rows of an export an answer lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// All.
    All,
    /// Those that are not sold.
    LeftOut,
}

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
        cancel_requested: from.cancel_requested,
        allow_shared_skus: from.allow_shared_skus,
        price_revisions: price_revisions(&from.revisions),
    }
}

/// Those that wait, and the last of the others.
fn price_revisions(from: &[PriceRevision]) -> Vec<sale::PriceRevision> {
    let past = from.iter().filter(|revision| !revision.waits()).count();
    let mut left_out = past.saturating_sub(MAX_PAST_REVISIONS);
    let told = from.iter().filter(|revision| {
        let old = !revision.waits() && left_out > 0;
        left_out -= usize::from(old);
        !old
    });
    told.map(|from| sale::PriceRevision {
        revision: from.revision,
        effective_at: Some(wire::timestamp(from.effective_at)),
        switch_time: from.switches_at.map(wire::timestamp),
        replaced_by: from.replaced_by.unwrap_or_default(),
        skus: from.skus,
    })
    .collect()
}

pub(super) fn change(from: &Past) -> sale::SaleChange {
    sale::SaleChange {
        version: from.version,
        change_time: Some(wire::timestamp(from.at)),
        kind: from.kind.clone(),
        actor: from.actor.clone(),
        request_id: from.request.map(|id| id.to_string()).unwrap_or_default(),
        reason: from.reason.clone(),
        before: from.before.as_ref().map(sale),
        after: Some(sale(&from.after)),
        skus: from.skus.clone(),
        skus_changed: from.skus_changed,
    }
}

fn settings(from: &Settings) -> sale::SaleSettings {
    sale::SaleSettings {
        name: from.name.clone(),
        currency: from.currency.code().to_owned(),
        starts_at: Some(wire::timestamp(from.starts_at)),
        ends_at: Some(wire::timestamp(from.ends_at)),
        hold_ttl: Some(wire::duration(from.hold)),
        payment_patience: from.payment_patience.map(wire::duration),
        room: from.room.map(|room| sale::RoomSettings {
            admissions_per_second: room.rate,
            admission_ttl: Some(wire::duration(room.admission)),
            pre_queue: Some(wire::duration(room.pre_queue)),
        }),
        expected_peak_per_second: from.expected_peak,
    }
}

fn item(from: &Item, currency: &str) -> sale::Item {
    sale::Item {
        sku: from.sku.clone(),
        title: from.title.clone(),
        unit_price: Some(wire::money(from.price_minor, currency)),
        regular_price: from.regular_minor.map(|minor| wire::money(minor, currency)),
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

pub(super) fn part(from: Part) -> sale::ExportSaleResponse {
    let part = match from {
        Part::File { name, content_type } => export_sale_response::Part::File(sale::ExportFile {
            file_name: name,
            content_type: content_type.to_owned(),
        }),
        Part::Content(content) => export_sale_response::Part::Content(content),
        Part::Summary(summary) => export_sale_response::Part::Summary(sale::ExportSummary {
            rows: count(summary.rows),
            units: summary.units,
            r#final: summary.is_final,
            read_time: Some(wire::timestamp(summary.read_at)),
            warnings: summary.warnings,
        }),
    };
    sale::ExportSaleResponse { part: Some(part) }
}

pub(super) fn preview(from: &Imported, listed: Rows) -> sale::ImportPreview {
    let preview = &from.preview;
    let (mut rows, mut bytes, mut more_rows) = (Vec::new(), 0, 0);
    for row in &preview.rows {
        if listed == Rows::LeftOut && row.decision == Decision::Sell {
            continue;
        }
        if more_rows > 0 {
            more_rows += 1;
            continue;
        }
        let row = import_row(row, from.currency);
        bytes += row.encoded_len();
        if bytes <= MAX_ROW_BYTES {
            rows.push(row);
        } else {
            more_rows = 1;
        }
    }
    let totals = &preview.totals;
    let stock_missing = preview.needs.iter().map(|need| match need {
        Need::Quantity { rows } => count(*rows),
        Need::Currency => 0,
    });
    sale::ImportPreview {
        format: format(from.format).into(),
        rows,
        more_rows,
        totals: Some(sale::ImportTotals {
            items: count(totals.items),
            units: totals.units,
            value: price(totals.value_minor, from.currency),
            left_out: count(totals.left_out),
            faulty: count(totals.faulty),
            passed_over: count(totals.passed_over),
        }),
        currency_missing: preview.needs.contains(&Need::Currency),
        stock_missing: stock_missing.sum(),
        warnings: preview.warnings.clone(),
    }
}

fn import_row(from: &PreviewRow, currency: Option<Currency>) -> sale::ImportRow {
    let (decision, reason, why) = match &from.decision {
        Decision::Sell => (ImportDecision::Sell, LeftOutReason::Unspecified, String::new()),
        Decision::LeftOut(why) => (ImportDecision::LeftOut, left_out(why), why.to_string()),
    };
    sale::ImportRow {
        line: count(from.line),
        sku: from.sku.clone(),
        title: from.title.clone(),
        regular_price: price(from.regular_minor, currency),
        sale_price: price(from.price_minor, currency),
        quantity: from.units,
        per_buyer_limit: from.limit.unwrap_or(0),
        decision: decision.into(),
        reason: reason.into(),
        why,
        warnings: from.warnings.clone(),
    }
}

fn price(minor: Option<i64>, currency: Option<Currency>) -> Option<Money> {
    minor.zip(currency).map(|(minor, currency)| wire::money(minor, currency.code()))
}

fn count(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn format(from: Format) -> sale::ExportFormat {
    match from {
        Format::Shopify => sale::ExportFormat::ShopifyCsv,
        Format::WooCommerce => sale::ExportFormat::WoocommerceCsv,
        Format::BigCommerce => sale::ExportFormat::BigcommerceCsv,
        Format::Csv => sale::ExportFormat::OwnCsv,
        Format::Json => sale::ExportFormat::OwnJson,
    }
}

fn left_out(from: &LeftOut) -> LeftOutReason {
    match from {
        LeftOut::NotSelected => LeftOutReason::NotSelected,
        LeftOut::Draft => LeftOutReason::Draft,
        LeftOut::Archived => LeftOutReason::Archived,
        LeftOut::Unpublished => LeftOutReason::Unpublished,
        LeftOut::Unlisted => LeftOutReason::Unlisted,
        LeftOut::NotForSale => LeftOutReason::NotForSale,
        LeftOut::OutsideMarket => LeftOutReason::OutsideMarket,
        LeftOut::GiftCard => LeftOutReason::GiftCard,
        LeftOut::Grouped => LeftOutReason::Grouped,
        LeftOut::External => LeftOutReason::External,
        LeftOut::NoVariants => LeftOutReason::NoVariants,
        LeftOut::OtherKind => LeftOutReason::OtherKind,
        LeftOut::Duplicate(_) => LeftOutReason::Duplicate,
        LeftOut::Faulty(_) => LeftOutReason::Faulty,
    }
}

fn state(from: SaleState) -> sale::SaleState {
    match from {
        SaleState::Draft => sale::SaleState::Draft,
        SaleState::Scheduled => sale::SaleState::Scheduled,
        SaleState::Prepared => sale::SaleState::Prepared,
        SaleState::Open => sale::SaleState::Open,
        SaleState::Paused => sale::SaleState::Paused,
        SaleState::Ended => sale::SaleState::Ended,
        SaleState::Cancelled => sale::SaleState::Cancelled,
    }
}
