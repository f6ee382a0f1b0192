//! Decodes requests. What cannot be decoded is collected together with broken rules, so that a
//! caller learns of all problems at once.

use flashsale_errors::{Failure, Reason};
use flashsale_proto::sale::{
    CreateSaleRequest, ExportFormat, ImportSaleRequest, Item, RoomSettings, SaleSettings,
};
use flashsale_service::{page, wire};
use prost::Message;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::{
    app::sales::{CreateSale, ImportSale},
    domain::{ItemDraft, Kind, Problems, RoomDraft, SettingsDraft},
    store::Request,
};

const MAX_CONTENT_BYTES: usize = 3 * 1_024 * 1_024;
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 200;

pub(super) fn create(mut asked: CreateSaleRequest) -> Result<(Request, CreateSale), Failure> {
    let id = wire::request_id(&std::mem::take(&mut asked.request_id))?;
    let request = Request { id, hash: hash("create", &asked.encode_to_vec()) };
    let mut problems = Problems::new();
    let settings =
        settings(asked.settings, "is missing; an ISO 4217 code such as EUR", &mut problems);
    let items = asked
        .items
        .into_iter()
        .enumerate()
        .map(|(index, from)| item(index, from, &mut problems))
        .collect();
    Ok((request, CreateSale { settings, items, problems }))
}

pub(super) fn import(mut asked: ImportSaleRequest) -> Result<(Request, ImportSale), Failure> {
    let id = wire::request_id(&std::mem::take(&mut asked.request_id))?;
    let request = Request { id, hash: hash("import", &asked.encode_to_vec()) };
    match ExportFormat::try_from(asked.format) {
        Ok(ExportFormat::ShopifyCsv) => {}
        Ok(ExportFormat::Unspecified) | Err(_) => {
            return Err(Failure::invalid("format", "must be EXPORT_FORMAT_SHOPIFY_CSV"));
        }
    }
    let bytes = asked.content.len();
    if bytes > MAX_CONTENT_BYTES {
        let what = format!("has {bytes} bytes; 3 MiB are allowed: split it into several sales");
        return Err(Failure::field(Reason::ExportInvalid, "content", what));
    }
    let mut problems = Problems::new();
    let currency = "is missing; product exports carry none: pass a currency, CURRENCY=EUR";
    let import = ImportSale {
        settings: settings(asked.settings, currency, &mut problems),
        content: asked.content,
        quantity: asked.quantity,
        per_buyer_limit: asked.per_buyer_limit,
        problems,
    };
    Ok((request, import))
}

/// A request that only names a sale.
pub(super) fn change(
    operation: &str,
    request_id: &str,
    sale: &str,
) -> Result<(Request, Uuid), Failure> {
    let id = wire::request_id(request_id)?;
    let sale = sale_id(sale)?;
    Ok((Request { id, hash: hash(operation, sale.as_bytes()) }, sale))
}

pub(super) fn sale_id(value: &str) -> Result<Uuid, Failure> {
    wire::uuid("sale_id", value, Reason::ArgumentInvalid)
}

pub(super) fn page_size(asked: i32) -> Result<usize, Failure> {
    page::size(asked, DEFAULT_PAGE, MAX_PAGE)
}

/// Identifies the content of a request: a hash of the operation and the request without its id, in
/// protobuf's canonical encoding (fields by number, defaults left out, no maps).
fn hash(operation: &str, content: &[u8]) -> String {
    let digest = Sha256::new().chain_update(operation).chain_update([0]).chain_update(content);
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn settings(
    asked: Option<SaleSettings>,
    no_currency: &str,
    problems: &mut Problems,
) -> SettingsDraft {
    let asked = asked.unwrap_or_default();
    let currency = if asked.currency.is_empty() {
        problems.add(Kind::Argument, "settings.currency", no_currency);
        None
    } else {
        keep(wire::currency("settings.currency", &asked.currency), problems)
    };
    SettingsDraft {
        name: asked.name,
        currency,
        starts_at: asked
            .starts_at
            .and_then(|at| keep(wire::datetime("settings.starts_at", &at), problems)),
        ends_at: asked
            .ends_at
            .and_then(|at| keep(wire::datetime("settings.ends_at", &at), problems)),
        hold: asked
            .hold_ttl
            .and_then(|length| keep(wire::std_duration("settings.hold_ttl", &length), problems)),
        room: asked.room.map(|asked| room(&asked, problems)),
    }
}

fn room(asked: &RoomSettings, problems: &mut Problems) -> RoomDraft {
    let admission = asked.admission_ttl.as_ref().and_then(|length| {
        keep(wire::std_duration("settings.room.admission_ttl", length), problems)
    });
    RoomDraft { rate: asked.admissions_per_second, admission }
}

fn item(index: usize, asked: Item, problems: &mut Problems) -> ItemDraft {
    let field = format!("items[{index}].unit_price");
    let unit_price = match &asked.unit_price {
        Some(money) => keep(wire::minor(&field, money), problems),
        None => {
            problems.add(Kind::Argument, field, "is missing");
            None
        }
    };
    ItemDraft {
        sku: asked.sku,
        title: asked.title,
        unit_price,
        quantity: asked.quantity,
        per_buyer_limit: asked.per_buyer_limit,
    }
}

/// The decoded value; if there is none, the failure is added to the problems.
fn keep<T>(decoded: Result<T, Failure>, problems: &mut Problems) -> Option<T> {
    match decoded {
        Ok(value) => Some(value),
        Err(failure) => {
            for violation in failure.violations() {
                problems.add(Kind::Argument, &violation.field, &violation.description);
            }
            None
        }
    }
}
