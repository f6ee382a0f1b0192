//! `flashsale sale import`: the options, the request they make, and what a dry run reads and decides
//! here, without a server.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use flashsale_catalogue::{
    About, DecimalMark, Decision, DuplicateSkus, Encoding, Format, Need, Percent, Preview,
    PreviewRow, PriceRule, Problems, ReadOptions, Rounding, SelectOptions, Selection, Separator,
    SharedStock, UnitsRule, read_from, select,
};
use flashsale_cli::{
    client::{money, money_json, read_export, request_id, short},
    output::{Output, table},
    upload::import_files,
};
use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    Money, NamedChannel,
    sale::{
        self, ExportEncoding, ExportFormat, ExportSeparator, ImportOptions, ImportPreview,
        ImportSaleRequest, PriceRounding, Sale, import_options::Price,
        sale_service_client::SaleServiceClient,
    },
};
use iso_currency::Currency;
use serde_json::{Value, json};
use tonic::Status;

use super::{
    policy::Policy,
    sale::{Settings, parse_price},
};

/// The most that a dry run reads of a stock file, in bytes: as much as a server does.
const MAX_STOCK_BYTES: u64 = 16 * 1_024 * 1_024;

#[derive(Debug, Args)]
pub(crate) struct ImportArgs {
    /// The file: a product export of Shopify, WooCommerce or BigCommerce, or a list in our own CSV or
    /// JSON; at most 64 MiB, unless the server is configured otherwise.
    export: PathBuf,
    /// Only show what would be sold and what not, and why. Needs no server, no currency and no
    /// quantity. The exit code is 1 if nothing would be sold.
    #[arg(long)]
    dry_run: bool,
    /// ISO 4217 code of every price, for example EUR.
    #[arg(long, required_unless_present = "dry_run")]
    currency: Option<String>,
    /// Hold units as long as this shop system does, unless --hold-seconds says how long. What it
    /// sells beyond its stock is never sold here; a dry run says where it does.
    #[arg(long)]
    policy: Option<Policy>,
    #[command(flatten)]
    file: FileArgs,
    #[command(flatten)]
    selected: SelectedArgs,
    #[command(flatten)]
    prices: PriceArgs,
    #[command(flatten)]
    units: UnitsArgs,
    #[command(flatten)]
    settings: Settings,
}

/// How the file is read.
#[derive(Debug, Args)]
struct FileArgs {
    /// The format: shopify, woocommerce, bigcommerce, csv or json; recognised without it.
    #[arg(long, value_parser = format)]
    format: Option<Format>,
    /// What the file is written in: utf-8 (also UTF-16, if a byte order mark says so) or
    /// windows-1252.
    #[arg(long, value_parser = encoding)]
    encoding: Option<Encoding>,
    /// What stands between the cells: comma, semicolon or tab; found without it.
    #[arg(long, value_parser = separator)]
    separator: Option<Separator>,
    /// Prices in the file have a decimal comma, as in 19,90.
    #[arg(long)]
    decimal_comma: bool,
    /// The market of Shopify whose prices count, as International in "Price / International".
    #[arg(long)]
    market: Option<String>,
    /// Shopify's inventory CSV, for a shop whose stock stands by location.
    #[arg(long, value_name = "FILE")]
    stock: Option<PathBuf>,
    /// The location of --stock that counts; the sum of all without it.
    #[arg(long)]
    location: Option<String>,
}

/// Which rows are sold.
#[derive(Debug, Args)]
struct SelectedArgs {
    /// Sell only these skus; may be repeated, as --handle, --tag and --category.
    #[arg(long = "sku", value_name = "SKU")]
    skus: Vec<String>,
    /// Sell only products with these handles.
    #[arg(long = "handle", value_name = "HANDLE")]
    handles: Vec<String>,
    /// Sell only products with one of these tags.
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// Sell only products in one of these categories, for example "Clothing > Jackets" or Jackets.
    #[arg(long = "category", value_name = "CATEGORY")]
    categories: Vec<String>,
    /// What becomes of a sku that several rows have, instead of a refusal: first sells the first of
    /// them, name-by-options names each after its product and options.
    #[arg(long, value_parser = duplicate_skus)]
    duplicate_skus: Option<DuplicateSkus>,
    /// Leave out rows that cannot be sold as they are, instead of refusing the file.
    #[arg(long)]
    leave_out_faulty: bool,
}

/// At which price.
#[derive(Debug, Args)]
struct PriceArgs {
    /// One price for every item, for example 19.90; without it and the next three, the shop's own
    /// sale price where there is one, else the regular price.
    #[arg(long, value_name = "AMOUNT", conflicts_with_all = ["regular_price", "percent_off", "amount_off"])]
    price: Option<String>,
    /// The regular price, whatever the shop's own sale asks for.
    #[arg(long, conflicts_with_all = ["percent_off", "amount_off"])]
    regular_price: bool,
    /// So many percent less than the regular price, for example 12.5.
    #[arg(long, value_name = "PERCENT", value_parser = percent, conflicts_with = "amount_off")]
    percent_off: Option<String>,
    /// This amount less than the regular price, for example 5.00.
    #[arg(long, value_name = "AMOUNT")]
    amount_off: Option<String>,
    /// Round calculated prices to this step, for example 0.05.
    #[arg(long, value_name = "AMOUNT")]
    round_to: Option<String>,
    /// Which way calculated prices are rounded: nearest, down or up.
    #[arg(long, value_parser = rounding)]
    round: Option<Rounding>,
}

/// How many units.
#[derive(Debug, Args)]
struct UnitsArgs {
    /// Units of each item, instead of the file's own stock figures.
    #[arg(long, allow_negative_numbers = true, conflicts_with_all = ["stock_share", "stock_cap"])]
    quantity: Option<i64>,
    /// The part of the file's stock that is sold, in percent, rounded down.
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    stock_share: Option<String>,
    /// The most units of each item, where the stock is the file's.
    #[arg(long, value_name = "UNITS", allow_negative_numbers = true)]
    stock_cap: Option<i64>,
    /// Divide stock that the variants of a product have together between them, instead of refusing
    /// it.
    #[arg(long)]
    split_shared: bool,
    /// Units of each item one buyer may have; 0 means no limit. A lower limit in the file holds.
    #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
    per_buyer_limit: i64,
}

fn format(text: &str) -> Result<Format, String> {
    Format::from_name(text)
        .ok_or_else(|| "it is one of shopify, woocommerce, bigcommerce, csv and json".to_owned())
}

pub(super) fn encoding(text: &str) -> Result<Encoding, String> {
    match text.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" => Ok(Encoding::Unicode),
        "windows-1252" | "cp1252" => Ok(Encoding::Windows1252),
        _ => Err("it is utf-8 or windows-1252".to_owned()),
    }
}

pub(super) fn separator(text: &str) -> Result<Separator, String> {
    Separator::from_name(text).ok_or_else(|| "it is one of comma, semicolon and tab".to_owned())
}

fn duplicate_skus(text: &str) -> Result<DuplicateSkus, String> {
    match text {
        "first" => Ok(DuplicateSkus::First),
        "name-by-options" => Ok(DuplicateSkus::NameByOptions),
        _ => Err("it is first or name-by-options".to_owned()),
    }
}

fn rounding(text: &str) -> Result<Rounding, String> {
    match text {
        "nearest" => Ok(Rounding::Nearest),
        "down" => Ok(Rounding::Down),
        "up" => Ok(Rounding::Up),
        _ => Err("it is one of nearest, down and up".to_owned()),
    }
}

/// A percentage, as it is written.
fn percent(text: &str) -> Result<String, String> {
    let wrong = || "it is not a percentage from 0 to 100 such as 12.5".to_owned();
    Percent::from_text(text).map(|_| text.to_owned()).ok_or_else(wrong)
}

impl ImportArgs {
    /// Whether nothing is to be sent.
    pub(super) fn is_dry(&self) -> bool {
        self.dry_run
    }

    /// The import.
    ///
    /// # Errors
    /// If an amount or a time is none.
    pub(super) fn into_import(self) -> anyhow::Result<Import> {
        let currency = self.currency.unwrap_or_default();
        let amount = |option: &str, text: &str| amount(option, text, &currency);
        let prices = &self.prices;
        let price = if let Some(text) = &prices.price {
            Some(Price::FixedPrice(amount("--price", text)?))
        } else if let Some(text) = &prices.amount_off {
            Some(Price::AmountOff(amount("--amount-off", text)?))
        } else if let Some(text) = &prices.percent_off {
            Some(Price::PercentOff(text.clone()))
        } else {
            prices.regular_price.then_some(Price::RegularPrice(true))
        };
        let round_to =
            prices.round_to.as_ref().map(|text| amount("--round-to", text)).transpose()?;
        let options = ImportOptions {
            encoding: match self.file.encoding.unwrap_or_default() {
                Encoding::Unicode => ExportEncoding::Unspecified,
                Encoding::Windows1252 => ExportEncoding::Windows1252,
            }
            .into(),
            separator: match self.file.separator {
                None => ExportSeparator::Unspecified,
                Some(Separator::Comma) => ExportSeparator::Comma,
                Some(Separator::Semicolon) => ExportSeparator::Semicolon,
                Some(Separator::Tab) => ExportSeparator::Tab,
            }
            .into(),
            decimal_comma: self.file.decimal_comma,
            stock: Vec::new(),
            location: self.file.location.unwrap_or_default(),
            market: self.file.market.unwrap_or_default(),
            skus: self.selected.skus,
            handles: self.selected.handles,
            tags: self.selected.tags,
            categories: self.selected.categories,
            price,
            round_to,
            rounding: match prices.round.unwrap_or_default() {
                Rounding::Nearest => PriceRounding::Unspecified,
                Rounding::Down => PriceRounding::Down,
                Rounding::Up => PriceRounding::Up,
            }
            .into(),
            stock_share: self.units.stock_share.unwrap_or_default(),
            stock_cap: self.units.stock_cap,
            split_shared: self.units.split_shared,
            duplicate_skus: match self.selected.duplicate_skus.unwrap_or_default() {
                DuplicateSkus::Refuse => sale::DuplicateSkus::Unspecified,
                DuplicateSkus::First => sale::DuplicateSkus::First,
                DuplicateSkus::NameByOptions => sale::DuplicateSkus::NameByOptions,
            }
            .into(),
            leave_out_faulty: self.selected.leave_out_faulty,
            time_zone: self.settings.window.time_zone().to_owned(),
        };
        let request = ImportSaleRequest {
            request_id: request_id(),
            format: match self.file.format {
                None => ExportFormat::Unspecified,
                Some(Format::Shopify) => ExportFormat::ShopifyCsv,
                Some(Format::WooCommerce) => ExportFormat::WoocommerceCsv,
                Some(Format::BigCommerce) => ExportFormat::BigcommerceCsv,
                Some(Format::Csv) => ExportFormat::OwnCsv,
                Some(Format::Json) => ExportFormat::OwnJson,
            }
            .into(),
            content: Vec::new(),
            quantity: self.units.quantity,
            per_buyer_limit: self.units.per_buyer_limit,
            options: Some(options),
            validate_only: false,
            settings: Some(self.settings.into_wire(currency, self.policy)?),
        };
        Ok(Import { request, export: self.export, stock: self.file.stock })
    }

    /// Reads the file, and prints what an import would sell of it.
    ///
    /// # Errors
    /// If a file cannot be read, a time is none, or nothing of it would be sold.
    pub(super) fn dry_run(&self, output: &Output) -> anyhow::Result<ExitCode> {
        let currency = self.currency.as_deref().map(known_currency).transpose()?;
        let shop_time = self.settings.window.shop_time()?;
        let content = File::open(&self.export)
            .with_context(|| format!("{} cannot be read", self.export.display()))?;
        let stock = read_stock(self.file.stock.as_deref(), MAX_STOCK_BYTES)?;
        let options = ReadOptions {
            format: self.file.format,
            encoding: self.file.encoding.unwrap_or_default(),
            separator: self.file.separator,
            decimal_mark: if self.file.decimal_comma {
                DecimalMark::Comma
            } else {
                DecimalMark::Point
            },
            market: self.file.market.as_deref(),
            inventory: stock.as_deref(),
            location: self.file.location.as_deref(),
        };
        let catalogue = read_from(content, &options).map_err(|problems| refusal(&problems))?;
        let selected = SelectOptions { shop_time, ..self.select(currency) };
        let preview = select(&catalogue, &selected).map_err(|problems| refusal(&problems))?;
        let hold_seconds = self.settings.hold_seconds(self.policy);
        let mut value = preview_json(catalogue.format, &preview, currency);
        value["hold_seconds"] = json!(hold_seconds);
        output.print(&value, || {
            let preview = human(catalogue.format, &preview, currency);
            format!("{preview}\nUnits stay held for {hold_seconds} s")
        })?;
        Ok(ExitCode::SUCCESS)
    }

    /// What a dry run selects.
    fn select(&self, currency: Option<Currency>) -> SelectOptions {
        let Self { selected, prices, units, .. } = self;
        let part = |text: &String| Percent::from_text(text);
        let price = if let Some(text) = &prices.price {
            PriceRule::Fixed(text.clone())
        } else if let Some(text) = &prices.amount_off {
            PriceRule::AmountOff(text.clone())
        } else if let Some(percent) = prices.percent_off.as_ref().and_then(part) {
            PriceRule::PercentOff(percent)
        } else if prices.regular_price {
            PriceRule::Regular
        } else {
            PriceRule::FromFile
        };
        let share = units.stock_share.as_ref().and_then(part);
        let whole = units.stock_cap.and_then(|_| Percent::from_text("100"));
        let units_rule = match (units.quantity, share.or(whole)) {
            (Some(each), _) => UnitsRule::Fixed(each),
            (None, Some(percent)) => UnitsRule::Share { percent, cap: units.stock_cap },
            (None, None) => UnitsRule::FromFile,
        };
        SelectOptions {
            currency,
            selection: Selection {
                skus: selected.skus.clone(),
                handles: selected.handles.clone(),
                tags: selected.tags.clone(),
                categories: selected.categories.clone(),
            },
            price,
            rounding: prices.round.unwrap_or_default(),
            round_to: prices.round_to.clone(),
            units: units_rule,
            shared_stock: if units.split_shared { SharedStock::Split } else { SharedStock::Refuse },
            per_buyer_limit: units.per_buyer_limit,
            duplicate_skus: selected.duplicate_skus.unwrap_or_default(),
            leave_out_faulty: selected.leave_out_faulty,
            shop_time: None,
            dry_run: true,
        }
    }
}

/// An import, and where its files are.
#[derive(Debug)]
pub(super) struct Import {
    request: ImportSaleRequest,
    export: PathBuf,
    stock: Option<PathBuf>,
}

impl Import {
    /// Sends it. Returns the sale, and what was left out.
    ///
    /// # Errors
    /// If a file cannot be read or is too large, or the import is refused.
    pub(super) async fn send(
        self,
        sales: &mut SaleServiceClient<NamedChannel>,
    ) -> anyhow::Result<(Sale, ImportPreview)> {
        import_files(sales, self.request, &self.export, self.stock.as_deref()).await
    }
}

fn read_stock(path: Option<&Path>, max_bytes: u64) -> anyhow::Result<Option<Vec<u8>>> {
    path.map(|path| read_export(path, max_bytes)).transpose()
}

/// An amount that an option names, in the sale's currency.
fn amount(option: &str, text: &str, currency: &str) -> anyhow::Result<Money> {
    let (units, nanos) = parse_price(text)
        .ok_or_else(|| refused(Failure::invalid(option, "is not a decimal such as 19.90")))?;
    Ok(Money { currency_code: currency.to_owned(), units, nanos })
}

fn known_currency(code: &str) -> anyhow::Result<Currency> {
    let known = Currency::from_code(code).filter(|currency| currency.exponent().is_some());
    known.ok_or_else(|| {
        let what = "is not an ISO 4217 currency code such as EUR, in capitals";
        refused(Failure::invalid("--currency", what))
    })
}

/// What the command refuses by itself, as a server would.
pub(super) fn refused(failure: Failure) -> anyhow::Error {
    Status::from(failure).into()
}

/// What a server would refuse the file with; the fields are the options of the command.
fn refusal(problems: &Problems) -> anyhow::Error {
    let of_file = problems.listed().iter().any(|problem| problem.about == About::File);
    let reason = if of_file { Reason::ExportInvalid } else { Reason::ArgumentInvalid };
    let first = problems.listed().first();
    let what = first.map(|problem| format!("{}: {}", problem.place(), problem.text()));
    let mut failure =
        Failure::new(reason, what.unwrap_or_default()).with("problems", problems.count());
    for problem in problems.listed() {
        failure = failure.with_violation(problem.place(), problem.text());
    }
    if problems.more() > 0 {
        failure = failure.with_violation("content", format!("and {} more", problems.more()));
    }
    if let Some(rows) = problems.remaining() {
        let what = format!("{} would be sold with it", counted(rows));
        failure = failure.with("remaining_rows", rows).with_violation("--leave-out-faulty", what);
    }
    refused(failure)
}

fn counted(rows: usize) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

/// Minor units as an amount.
fn in_currency(minor: Option<i64>, currency: Option<Currency>) -> Option<Money> {
    let (minor, currency) = minor.zip(currency)?;
    let decimals = u32::from(currency.exponent()?);
    let (unit, nano) =
        (10_i64.checked_pow(decimals)?, 10_i64.checked_pow(9_u32.checked_sub(decimals)?)?);
    Some(Money {
        currency_code: currency.code().to_owned(),
        units: minor / unit,
        nanos: i32::try_from(minor % unit * nano).ok()?,
    })
}

fn preview_json(format: Format, preview: &Preview, currency: Option<Currency>) -> Value {
    let totals = &preview.totals;
    let rows: Vec<Value> = preview.rows.iter().map(|row| row_json(row, currency)).collect();
    let needs: Vec<Value> = preview.needs.iter().map(|need| json!(need.to_string())).collect();
    json!({
        "format": format.name(),
        "rows": rows,
        "totals": {
            "items": totals.items,
            "units": totals.units,
            "value": money_json(in_currency(totals.value_minor, currency).as_ref()),
            "left_out": totals.left_out,
            "faulty": totals.faulty,
            "passed_over": totals.passed_over,
        },
        "needs": needs,
        "warnings": preview.warnings,
    })
}

fn row_json(row: &PreviewRow, currency: Option<Currency>) -> Value {
    let (decision, reason, why) = match &row.decision {
        Decision::Sell => ("SELL", None, None),
        Decision::LeftOut(why) => ("LEFT_OUT", Some(why.code()), Some(why.to_string())),
    };
    json!({
        "line": row.line,
        "sku": row.sku,
        "title": row.title,
        "regular_price": money_json(in_currency(row.regular_minor, currency).as_ref()),
        "sale_price": money_json(in_currency(row.price_minor, currency).as_ref()),
        "price_in_file": row.price_text,
        "quantity": row.units,
        "per_buyer_limit": row.limit.unwrap_or(0),
        "decision": decision,
        "reason": reason,
        "why": why,
        "warnings": row.warnings,
    })
}

fn human(format: Format, preview: &Preview, currency: Option<Currency>) -> String {
    let totals = &preview.totals;
    let number = |value: Option<i64>| value.map_or("?".to_owned(), |value| value.to_string());
    let price = |minor: Option<i64>, text: Option<&String>| {
        in_currency(minor, currency)
            .map(|amount| money(Some(&amount)))
            .or_else(|| text.cloned())
            .unwrap_or_default()
    };
    let mut text = table(
        &["row", "sku", "title", "regular", "price", "units", "per buyer", ""],
        &[0, 3, 4, 5, 6],
        preview.rows.iter().map(|row| {
            let sold = row.decision == Decision::Sell;
            vec![
                row.line.to_string(),
                row.sku.clone(),
                row.title.clone(),
                price(row.regular_minor, None),
                price(row.price_minor, row.price_text.as_ref()),
                if sold { number(row.units) } else { String::new() },
                row.limit.map_or("any".to_owned(), |limit| limit.to_string()),
                match &row.decision {
                    Decision::Sell => "sold".to_owned(),
                    Decision::LeftOut(why) => format!("left out: {why}"),
                },
            ]
        }),
    );
    let value = in_currency(totals.value_minor, currency)
        .map_or(String::new(), |value| format!(", {} in all", money(Some(&value))));
    text.push_str(&format!(
        "\nRead as {}: {} sold, {} units{value}; {} left out, {} of them faulty; {} passed over",
        format.name(),
        counted(totals.items),
        number(totals.units),
        counted(totals.left_out),
        totals.faulty,
        totals.passed_over,
    ));
    for row in &preview.rows {
        for warning in &row.warnings {
            text.push_str(&format!("\n  row {}: {warning}", row.line));
        }
    }
    for warning in &preview.warnings {
        text.push_str(&format!("\n  {warning}"));
    }
    for need in &preview.needs {
        text.push_str(&format!("\nTo import it, pass {}", needed(need)));
    }
    text
}

fn needed(need: &Need) -> String {
    match need {
        Need::Currency => "the currency of the prices, --currency".to_owned(),
        Need::Quantity { rows } => {
            format!("--quantity: the file does not say the stock of {}", counted(*rows))
        }
    }
}

/// What an import left out, as JSON.
pub(super) fn left_out_json(preview: &ImportPreview) -> Value {
    let rows = preview.rows.iter().map(|row| {
        let reason = short(row.reason().as_str_name(), "LEFT_OUT_REASON_");
        json!({ "line": row.line, "sku": row.sku, "reason": reason, "why": row.why })
    });
    json!(rows.collect::<Vec<_>>())
}

/// What an import left out, and what else there is to say of the file; empty if nothing.
pub(super) fn left_out_human(preview: &ImportPreview) -> String {
    let mut text = String::new();
    if !preview.rows.is_empty() {
        let rows = preview.rows.iter().map(|row| {
            vec![row.line.to_string(), row.sku.clone(), row.title.clone(), row.why.clone()]
        });
        text.push_str("\nLeft out\n");
        text.push_str(&table(&["row", "sku", "title", "why"], &[0], rows));
    }
    if preview.more_rows > 0 {
        text.push_str(&format!("\n  and {} more rows", preview.more_rows));
    }
    for warning in &preview.warnings {
        text.push_str(&format!("\n  {warning}"));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        import: ImportArgs,
    }

    fn line(args: &[&str]) -> Result<ImportArgs, clap::Error> {
        let args = ["import", "products.csv"].iter().chain(args);
        Line::try_parse_from(args).map(|line| line.import)
    }

    #[test]
    fn a_currency_is_needed_unless_dry() {
        assert!(line(&[]).is_err());
        assert!(line(&["--dry-run"]).unwrap().is_dry());
        assert!(!line(&["--currency", "EUR"]).unwrap().is_dry());
    }

    #[test]
    fn options_that_exclude_each_other_are_refused() {
        for args in [
            ["--price=1", "--percent-off=5"],
            ["--price=1", "--regular-price"],
            ["--amount-off=1", "--percent-off=5"],
            ["--quantity=1", "--stock-share=50"],
            ["--quantity=1", "--stock-cap=5"],
        ] {
            let error = line(&["--dry-run", args[0], args[1]]).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::ArgumentConflict, "{args:?}");
        }
        for wrong in [
            "--format=magento",
            "--encoding=latin",
            "--separator=x",
            "--percent-off=101",
            "--stock-share=x",
            "--duplicate-skus=last",
            "--round=sideways",
        ] {
            let error = line(&["--dry-run", wrong]).unwrap_err();
            assert_eq!(error.kind(), clap::error::ErrorKind::ValueValidation, "{wrong}");
        }
    }

    #[test]
    fn a_policy_sets_the_length_of_holds() {
        for (args, seconds) in [
            (&[][..], 600),
            (&["--policy=woocommerce"], 3_600),
            (&["--policy=shopify"], 600),
            (&["--policy=bigcommerce"], 600),
            (&["--policy=woocommerce", "--hold-seconds=90"], 90),
        ] {
            let import = line(&[&["--currency=EUR"], args].concat()).unwrap();
            let settings = import.settings.into_wire("EUR".to_owned(), import.policy);
            assert_eq!(settings.unwrap().hold_ttl.unwrap().seconds, seconds, "{args:?}");
        }
        let error = line(&["--dry-run", "--policy=magento"]).unwrap_err();
        assert_eq!(error.kind(), clap::error::ErrorKind::InvalidValue);
    }

    #[test]
    fn options_become_what_is_selected() {
        let args = [
            "--dry-run",
            "--tag=drop",
            "--percent-off=12.5",
            "--round=down",
            "--stock-cap=5",
            "--per-buyer-limit=2",
            "--duplicate-skus=first",
        ];
        let options = line(&args).unwrap().select(Some(Currency::EUR));
        assert_eq!(options.selection.tags, ["drop"]);
        assert_eq!(options.price, PriceRule::PercentOff(Percent::from_text("12.5").unwrap()));
        assert_eq!(options.rounding, Rounding::Down);
        let percent = Percent::from_text("100").unwrap();
        assert_eq!(options.units, UnitsRule::Share { percent, cap: Some(5) });
        assert_eq!((options.per_buyer_limit, options.dry_run), (2, true));
        assert_eq!(options.duplicate_skus, DuplicateSkus::First);
    }

    #[test]
    fn amounts_have_their_currencys_decimals() {
        for (minor, currency, text) in [
            (1_990, Currency::EUR, "19.90 EUR"),
            (1_500, Currency::JPY, "1500 JPY"),
            (1_250, Currency::KWD, "1.250 KWD"),
        ] {
            let amount = in_currency(Some(minor), Some(currency)).unwrap();
            assert_eq!(money(Some(&amount)), text);
        }
        assert_eq!(in_currency(Some(5), None), None);
    }
}
