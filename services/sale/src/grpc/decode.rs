//! Decodes requests. What cannot be decoded is collected together with broken rules, so that a
//! caller learns of all problems at once.

use flashsale_catalogue::{
    DecimalMark, DuplicateSkus, Encoding, Format, Percent, PriceRule, ResultsKind, Rounding,
    SelectOptions, Selection, Separator, SharedStock, Shop, UnitsRule, shop_time,
};
use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    Money,
    sale::{
        self, CreateSaleRequest, ExportEncoding, ExportFormat, ExportKind, ExportSaleRequest,
        ExportSeparator, ImportSaleRequest, Item, PriceRounding, RoomSettings, SaleSettings,
        ScheduleSaleRequest, StartSaleRequest, UpdateSaleRequest, import_options::Price,
    },
};
use flashsale_service::{caller, page, wire};
use iso_currency::Currency;
use prost::Message;
use sha2::{Digest as _, Sha256};
use time::OffsetDateTime;
use uuid::Uuid;

use crate::{
    app::sales::{CreateSale, ImportSale},
    domain::{
        Export, Field, Import, ItemDraft, Kind, Problems, RoomDraft, SettingsDraft, StockExport,
        Update,
    },
    store::Request,
};

const MAX_CONTENT_BYTES: usize = 3 * 1_024 * 1_024;
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 200;
const MAX_REASON_CHARS: usize = 500;

pub(super) fn create(mut asked: CreateSaleRequest) -> Result<(Request, CreateSale), Failure> {
    let id = wire::request_id(&std::mem::take(&mut asked.request_id))?;
    let request = request(id, hash("create", &asked.encode_to_vec()));
    let mut problems = Problems::new();
    let no_currency = Some("is missing; an ISO 4217 code such as EUR");
    let settings = settings(asked.settings, no_currency, &mut problems);
    let items = asked
        .items
        .into_iter()
        .enumerate()
        .map(|(index, from)| item(index, from, &mut problems))
        .collect();
    Ok((request, CreateSale { settings, items, problems }))
}

/// An import, and its request; without one only a preview is asked for.
pub(super) fn import(
    mut asked: ImportSaleRequest,
) -> Result<(Option<Request>, ImportSale), Failure> {
    let request_id = std::mem::take(&mut asked.request_id);
    let request = if asked.validate_only {
        None
    } else {
        let id = wire::request_id(&request_id)?;
        Some(request(id, hash("import", &asked.encode_to_vec())))
    };
    let format = format(asked.format)?;
    let options = asked.options.unwrap_or_default();
    let bytes = asked.content.len() + options.stock.len();
    if bytes > MAX_CONTENT_BYTES {
        let what = format!("has {bytes} bytes; 3 MiB are allowed: send it with ImportSaleStream");
        return Err(Failure::field(Reason::ExportInvalid, "content", what));
    }
    let mut problems = Problems::new();
    let no_currency = "is missing; product exports carry none: pass a currency such as EUR";
    let settings = match asked.settings {
        None if asked.validate_only => None,
        from => {
            let no_currency = Some(no_currency).filter(|_| !asked.validate_only);
            Some(settings(from, no_currency, &mut problems))
        }
    };
    let currency = settings.as_ref().and_then(|settings| settings.currency);
    let starts_at = settings.as_ref().and_then(|settings| settings.starts_at);
    let (encoding, separator) = (
        encoding("options.encoding", options.encoding)?,
        separator("options.separator", options.separator)?,
    );
    let select = SelectOptions {
        currency,
        rounding: rounding(options.rounding)?,
        round_to: options
            .round_to
            .and_then(|step| decimal("options.round_to", &step, currency, &mut problems)),
        units: units(asked.quantity, &options.stock_share, options.stock_cap, &mut problems),
        shared_stock: if options.split_shared { SharedStock::Split } else { SharedStock::Refuse },
        per_buyer_limit: asked.per_buyer_limit,
        duplicate_skus: duplicate_skus(options.duplicate_skus)?,
        leave_out_faulty: options.leave_out_faulty,
        dry_run: asked.validate_only,
        price: price(options.price, currency, &mut problems),
        selection: Selection {
            skus: options.skus,
            handles: options.handles,
            tags: options.tags,
            categories: options.categories,
        },
        shop_time: shop_time(starts_at, &options.time_zone).unwrap_or_else(|unknown| {
            problems.add(Kind::Argument, "options.time_zone", unknown.to_string());
            None
        }),
    };
    let import = Import {
        content: asked.content,
        stock: Some(options.stock).filter(|stock| !stock.is_empty()),
        format,
        encoding,
        separator,
        decimal_mark: if options.decimal_comma { DecimalMark::Comma } else { DecimalMark::Point },
        market: Some(options.market).filter(|market| !market.is_empty()),
        location: Some(options.location).filter(|location| !location.is_empty()),
        select,
    };
    Ok((request, ImportSale { settings, import, problems }))
}

/// The request of an import whose files came in parts, and have this hash.
pub(super) fn streamed(request: Request, files: [u8; 32]) -> Request {
    let content = [request.hash.as_bytes(), &files].concat();
    Request { hash: hash("import in parts", &content), ..request }
}

/// The sale, and what is written of it.
pub(super) fn export(asked: ExportSaleRequest) -> Result<(Uuid, Export), Failure> {
    let id = sale_id(&asked.sale_id)?;
    let shop = match ExportKind::try_from(asked.format) {
        Ok(ExportKind::ShopifyInventoryCsv) => Ok(Shop::Shopify),
        Ok(ExportKind::WoocommerceCsv) => Ok(Shop::WooCommerce),
        Ok(ExportKind::BigcommerceCsv) => Ok(Shop::BigCommerce),
        Ok(ExportKind::StockCsv) => Err(ResultsKind::Stock),
        Ok(ExportKind::OrdersCsv) => Err(ResultsKind::Orders),
        Ok(ExportKind::Json) => Err(ResultsKind::Json),
        Ok(ExportKind::Unspecified) => {
            return Err(Failure::invalid("format", "is missing; say what to write"));
        }
        Err(_) => return Err(Failure::invalid("format", "is not a format of this version")),
    };
    let shop = match shop {
        Ok(shop) => shop,
        Err(list) => {
            for (field, given) in
                [("baseline", !asked.baseline.is_empty()), ("location", !asked.location.is_empty())]
            {
                if given {
                    let what = "is for a shop's stock, and this is a list of ours; leave it out";
                    return Err(Failure::invalid(field, what));
                }
            }
            return Ok((id, Export::List(list)));
        }
    };
    if asked.baseline.is_empty() {
        let what = "is missing: the file overwrites the shop's stock, so it is made from a fresh export of the shop; \
                    pass that (--baseline)";
        return Err(Failure::invalid("baseline", what));
    }
    let bytes = asked.baseline.len();
    if bytes > MAX_CONTENT_BYTES {
        let what = format!("has {bytes} bytes; 3 MiB are allowed: export fewer products");
        return Err(Failure::field(Reason::ExportInvalid, "baseline", what));
    }
    let export = StockExport {
        shop,
        baseline: asked.baseline,
        encoding: encoding("encoding", asked.encoding)?,
        separator: separator("separator", asked.separator)?,
        location: Some(asked.location).filter(|location| !location.is_empty()),
        not_final: asked.not_final,
    };
    Ok((id, Export::Stock(export)))
}

fn format(asked: i32) -> Result<Option<Format>, Failure> {
    Ok(match ExportFormat::try_from(asked) {
        Ok(ExportFormat::Unspecified) => None,
        Ok(ExportFormat::ShopifyCsv) => Some(Format::Shopify),
        Ok(ExportFormat::WoocommerceCsv) => Some(Format::WooCommerce),
        Ok(ExportFormat::BigcommerceCsv) => Some(Format::BigCommerce),
        Ok(ExportFormat::OwnCsv) => Some(Format::Csv),
        Ok(ExportFormat::OwnJson) => Some(Format::Json),
        Err(_) => {
            let what = "is not a format of this version; leave it out to have it recognised";
            return Err(Failure::invalid("format", what));
        }
    })
}

fn encoding(field: &str, asked: i32) -> Result<Encoding, Failure> {
    Ok(match ExportEncoding::try_from(asked) {
        Ok(ExportEncoding::Unspecified) => Encoding::Unicode,
        Ok(ExportEncoding::Windows1252) => Encoding::Windows1252,
        Err(_) => return Err(unknown(field)),
    })
}

fn separator(field: &str, asked: i32) -> Result<Option<Separator>, Failure> {
    Ok(match ExportSeparator::try_from(asked) {
        Ok(ExportSeparator::Unspecified) => None,
        Ok(ExportSeparator::Comma) => Some(Separator::Comma),
        Ok(ExportSeparator::Semicolon) => Some(Separator::Semicolon),
        Ok(ExportSeparator::Tab) => Some(Separator::Tab),
        Err(_) => return Err(unknown(field)),
    })
}

fn rounding(asked: i32) -> Result<Rounding, Failure> {
    Ok(match PriceRounding::try_from(asked) {
        Ok(PriceRounding::Unspecified) => Rounding::Nearest,
        Ok(PriceRounding::Down) => Rounding::Down,
        Ok(PriceRounding::Up) => Rounding::Up,
        Err(_) => return Err(unknown("options.rounding")),
    })
}

fn duplicate_skus(asked: i32) -> Result<DuplicateSkus, Failure> {
    Ok(match sale::DuplicateSkus::try_from(asked) {
        Ok(sale::DuplicateSkus::Unspecified) => DuplicateSkus::Refuse,
        Ok(sale::DuplicateSkus::First) => DuplicateSkus::First,
        Ok(sale::DuplicateSkus::NameByOptions) => DuplicateSkus::NameByOptions,
        Err(_) => return Err(unknown("options.duplicate_skus")),
    })
}

/// A value of an enum that only a later version has.
fn unknown(field: &str) -> Failure {
    Failure::invalid(field, "is not a value of this version; leave it out for the default")
}

fn price(asked: Option<Price>, currency: Option<Currency>, problems: &mut Problems) -> PriceRule {
    let rule = match asked {
        None | Some(Price::RegularPrice(false)) => Some(PriceRule::FromFile),
        Some(Price::RegularPrice(true)) => Some(PriceRule::Regular),
        Some(Price::PercentOff(text)) => {
            percent("options.percent_off", &text, problems).map(PriceRule::PercentOff)
        }
        Some(Price::AmountOff(money)) => {
            decimal("options.amount_off", &money, currency, problems).map(PriceRule::AmountOff)
        }
        Some(Price::FixedPrice(money)) => {
            decimal("options.fixed_price", &money, currency, problems).map(PriceRule::Fixed)
        }
    };
    rule.unwrap_or_default()
}

fn units(
    quantity: Option<i64>,
    share: &str,
    cap: Option<i64>,
    problems: &mut Problems,
) -> UnitsRule {
    let part = match share {
        "" => Percent::from_text("100"),
        share => percent("options.stock_share", share, problems),
    };
    let given = [("options.stock_share", !share.is_empty()), ("options.stock_cap", cap.is_some())];
    match (quantity, part) {
        (Some(units), _) => {
            for (field, _) in given.into_iter().filter(|(_, given)| *given) {
                let what = "is there together with quantity, which is instead of the file's stock";
                problems.add(Kind::Argument, field, what);
            }
            UnitsRule::Fixed(units)
        }
        (None, Some(percent)) if given.iter().any(|(_, given)| *given) => {
            UnitsRule::Share { percent, cap }
        }
        (None, _) => UnitsRule::FromFile,
    }
}

fn percent(field: &str, text: &str, problems: &mut Problems) -> Option<Percent> {
    let percent = Percent::from_text(text);
    if percent.is_none() {
        let what = "is not a percentage from 0 to 100 such as 12.5, with at most two decimals";
        problems.add(Kind::Argument, field, what);
    }
    percent
}

/// An amount in the sale's currency, as a decimal.
fn decimal(
    field: &str,
    amount: &Money,
    currency: Option<Currency>,
    problems: &mut Problems,
) -> Option<String> {
    let (minor, of) = keep(wire::minor(field, amount), problems)?;
    if let Some(currency) = currency.filter(|currency| *currency != of) {
        let what = format!("is {}; the sale is in {}", of.code(), currency.code());
        problems.add(Kind::Argument, format!("{field}.currency_code"), what);
        return None;
    }
    Some(flashsale_catalogue::decimal(minor, of))
}

/// A request that only names a sale.
pub(super) fn change(
    operation: &str,
    request_id: &str,
    sale: &str,
) -> Result<(Request, Uuid), Failure> {
    let id = wire::request_id(request_id)?;
    let sale = sale_id(sale)?;
    Ok((request(id, hash(operation, sale.as_bytes())), sale))
}

pub(super) fn start(asked: &StartSaleRequest) -> Result<(Request, Uuid, bool), Failure> {
    // Without the permission it is hashed as by the version before.
    let operation = if asked.allow_shared_skus { "start shared" } else { "start" };
    let (request, sale) = change(operation, &asked.request_id, &asked.sale_id)?;
    Ok((request, sale, asked.allow_shared_skus))
}

/// The window of a sale; what is `None` of it stays.
pub(super) type Window = (Option<OffsetDateTime>, Option<OffsetDateTime>);

pub(super) fn schedule(
    mut asked: ScheduleSaleRequest,
) -> Result<(Request, Uuid, Window, bool), Failure> {
    let id = wire::request_id(&std::mem::take(&mut asked.request_id))?;
    let sale = sale_id(&asked.sale_id)?;
    let time = |field: &str, at: Option<prost_types::Timestamp>| {
        at.map(|at| wire::datetime(field, &at)).transpose()
    };
    let window = (time("starts_at", asked.starts_at)?, time("ends_at", asked.ends_at)?);
    let request = request(id, hash("schedule", &asked.encode_to_vec()));
    Ok((request, sale, window, asked.allow_shared_skus))
}

/// An update, or everything about it that cannot be decoded.
pub(super) fn update(
    mut asked: UpdateSaleRequest,
) -> Result<(Request, Uuid, Result<Update, Problems>), Failure> {
    let id = wire::request_id(&std::mem::take(&mut asked.request_id))?;
    let sale = sale_id(&asked.sale_id)?;
    let hash = hash("update", &asked.encode_to_vec());
    let reason = match asked.reason.as_str() {
        "" => String::new(),
        reason => wire::printable("reason", reason, MAX_REASON_CHARS)?.to_owned(),
    };
    let request = Request { reason, ..request(id, hash) };
    let version = match asked.version {
        0 => None,
        seen if seen > 0 => Some(seen),
        _ => return Err(Failure::invalid("version", "is negative; leave it out for any version")),
    };
    let mut problems = Problems::new();
    let paths = asked.update_mask.unwrap_or_default().paths;
    if paths.is_empty() && asked.allow_shared_skus.is_none() {
        let what = "is empty; name what changes, such as `ends_at` or `items`";
        problems.add(Kind::Argument, "update_mask", what);
    }
    let mut fields = Vec::new();
    for path in &paths {
        match Field::ALL.into_iter().find(|field| field.path() == path) {
            Some(field) if !fields.contains(&field) => fields.push(field),
            Some(_) => {}
            None => {
                let known = Field::ALL.map(Field::path).join(", ");
                let what =
                    format!("{path:?} is nothing that an update changes; there are: {known}");
                problems.add(Kind::Argument, "update_mask", what);
            }
        }
    }
    let needs_currency = fields.contains(&Field::Currency);
    let no_currency = "is missing, and update_mask names it; an ISO 4217 code such as EUR";
    let no_currency = Some(no_currency).filter(|_| needs_currency);
    let settings = settings(asked.settings, no_currency, &mut problems);
    let items = asked.items.into_iter().enumerate();
    let items = items.map(|(index, from)| item(index, from, &mut problems)).collect();
    let allow_shared_skus = asked.allow_shared_skus;
    let effective_at =
        asked.effective_at.and_then(|at| keep(wire::datetime("effective_at", &at), &mut problems));
    let update = if problems.is_empty() {
        Ok(Update { fields, settings, items, allow_shared_skus, version, effective_at })
    } else {
        Err(problems)
    };
    Ok((request, sale, update))
}

/// A mutating request of the caller that is being served.
fn request(id: Uuid, hash: String) -> Request {
    Request { id, hash, actor: caller::name(), reason: String::new() }
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

/// The settings. A missing currency is a problem if `no_currency` says what to do about it.
fn settings(
    asked: Option<SaleSettings>,
    no_currency: Option<&str>,
    problems: &mut Problems,
) -> SettingsDraft {
    let asked = asked.unwrap_or_default();
    let currency = if asked.currency.is_empty() {
        if let Some(what) = no_currency {
            problems.add(Kind::Argument, "settings.currency", what);
        }
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
        payment_patience: asked.payment_patience.and_then(|length| {
            keep(wire::std_duration("settings.payment_patience", &length), problems)
        }),
        room: asked.room.map(|asked| room(&asked, problems)),
        expected_peak: asked.expected_peak_per_second,
    }
}

fn room(asked: &RoomSettings, problems: &mut Problems) -> RoomDraft {
    let admission = asked.admission_ttl.as_ref().and_then(|length| {
        keep(wire::std_duration("settings.room.admission_ttl", length), problems)
    });
    let pre_queue = asked
        .pre_queue
        .as_ref()
        .and_then(|length| keep(wire::std_duration("settings.room.pre_queue", length), problems));
    RoomDraft { rate: asked.admissions_per_second, admission, pre_queue }
}

fn item(index: usize, asked: Item, problems: &mut Problems) -> ItemDraft {
    let field = |name: &str| format!("items[{index}].{name}");
    let unit_price = match &asked.unit_price {
        Some(money) => keep(wire::minor(&field("unit_price"), money), problems),
        None => {
            problems.add(Kind::Argument, field("unit_price"), "is missing");
            None
        }
    };
    let regular_price = asked
        .regular_price
        .and_then(|money| keep(wire::minor(&field("regular_price"), &money), problems));
    ItemDraft {
        sku: asked.sku,
        title: asked.title,
        unit_price,
        regular_price,
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
