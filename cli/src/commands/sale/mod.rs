//! `flashsale sale`.

mod changes;
mod lifecycle;
mod schedule;
mod update;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use flashsale_cli::{
    client::{Target, money, report_json, request, request_id, sale_json, sale_state, short, time},
    output::{Output, table},
    report::report_once,
};
use flashsale_errors::Failure;
use flashsale_proto::{
    Money, NamedChannel,
    sale::{
        CreateSaleRequest, GetSaleRequest, Item, ListSalesRequest, PriceRevision, RoomSettings,
        Sale, SaleReport, SaleSettings, sale_service_client::SaleServiceClient,
    },
};
use serde_json::{Value, json};
use time::OffsetDateTime;
use tonic::Status;

use self::{
    lifecycle::{ChangeArgs, StartArgs},
    schedule::{ScheduleArgs, WindowArgs},
    update::UpdateArgs,
};
use super::{
    export::ExportArgs,
    import::{ImportArgs, left_out_human, left_out_json},
    policy::{HOLD_S, Policy},
};
use crate::times;

type Sales = SaleServiceClient<NamedChannel>;

#[derive(Debug, Subcommand)]
pub(crate) enum SaleCommand {
    /// Create a draft from a shop's product export, or show what it would sell (--dry-run).
    Import(Box<ImportArgs>),
    /// Create a draft from items named on the command line.
    Create {
        /// An item as sku=price=quantity, for example TEE-M=19.90=100; may be repeated.
        #[arg(long = "item", required = true)]
        items: Vec<String>,
        /// ISO 4217 code of every price, for example EUR.
        #[arg(long)]
        currency: String,
        /// Units of each item one buyer may have; 0 means no limit.
        #[arg(long, default_value_t = 0, allow_negative_numbers = true)]
        per_buyer_limit: i64,
        #[command(flatten)]
        settings: Settings,
    },
    /// Plan when a sale opens and closes.
    Schedule(ScheduleArgs),
    /// Change a sale.
    Update(UpdateArgs),
    /// Open a sale now, whatever it was planned for.
    Start(StartArgs),
    /// Stop admissions and new holds for a while. Buyers who hold units may still order.
    Pause(ChangeArgs),
    /// Go on with a paused sale.
    Resume(StartArgs),
    /// Call off a sale that has not begun.
    Cancel(ChangeArgs),
    /// End a sale for good.
    End(ChangeArgs),
    /// Show who changed what of a sale, newest first.
    Changes {
        /// The sale's id.
        sale_id: String,
    },
    /// Report how a sale goes or went: units and money by item, orders by where they stand.
    Report {
        /// The sale's id.
        sale_id: String,
        /// Wait until the report is final: the sale has ended and nothing of it can change any
        /// more.
        #[arg(long)]
        wait: bool,
        /// Wait no longer than this many seconds; the exit code is 1 if the report is not final
        /// then.
        #[arg(long, default_value_t = 900, requires = "wait")]
        at_most: u64,
    },
    /// Write the results of a sale as a file: a shop's stock less what was sold, or our lists.
    Export(Box<ExportArgs>),
    /// Show one sale, or list all.
    Show {
        /// The sale's id; all sales without it.
        sale_id: Option<String>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// The sale's name.
    #[arg(long, default_value = "Flash sale")]
    name: String,
    /// How long units stay held, in seconds; without it 600, or as a policy has it.
    #[arg(long, allow_negative_numbers = true)]
    hold_seconds: Option<i64>,
    /// How long buyers may take to authenticate a payment, in seconds; without it, as long as payment
    /// is configured with.
    #[arg(long, allow_negative_numbers = true)]
    patience_seconds: Option<i64>,
    /// Put a waiting room in front that admits this many buyers per second.
    #[arg(long, allow_negative_numbers = true)]
    admissions: Option<f64>,
    /// How long before the sale opens buyers may join its waiting room, for example 30m.
    #[arg(long, value_name = "DURATION", value_parser = times::seconds, requires = "admissions")]
    pre_queue: Option<i64>,
    /// How many buyers a second are expected at the peak, for `flashsale doctor`.
    #[arg(long, value_name = "PER_SECOND", allow_negative_numbers = true)]
    expected_peak: Option<i64>,
    #[command(flatten)]
    pub(super) window: WindowArgs,
}

impl Settings {
    /// How long units stay held, in seconds.
    pub(super) fn hold_seconds(&self, policy: Option<Policy>) -> i64 {
        self.hold_seconds.unwrap_or_else(|| policy.map_or(HOLD_S, Policy::hold_seconds))
    }

    /// What the shop decides, with `currency` for every price.
    ///
    /// # Errors
    /// If a time is none.
    pub(super) fn into_wire(
        self,
        currency: String,
        policy: Option<Policy>,
    ) -> anyhow::Result<SaleSettings> {
        let hold_seconds = self.hold_seconds(policy);
        let window = self.window.read()?;
        Ok(SaleSettings {
            name: self.name,
            currency,
            starts_at: window.starts_at.map(times::wire),
            ends_at: window.ends_at.map(times::wire),
            hold_ttl: Some(seconds(hold_seconds)),
            payment_patience: self.patience_seconds.map(seconds),
            room: self.admissions.map(|rate| RoomSettings {
                admissions_per_second: rate,
                admission_ttl: None,
                pre_queue: self.pre_queue.map(seconds),
            }),
            expected_peak_per_second: self.expected_peak,
        })
    }
}

/// Says how to repeat a request that may have had its effect, or may yet have it.
fn repeatable(status: Status, request_id: &str, output: &Output) -> Status {
    let refused = Failure::from_status(&status).is_some_and(|failure| failure.delay().is_none());
    if !refused && !output.is_json() {
        output.say(&format!("To repeat it, add --request-id {request_id} to the same command."));
    }
    status
}

fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

pub(crate) async fn run(
    command: SaleCommand,
    target: &Target,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    if let SaleCommand::Import(args) = &command
        && args.is_dry()
    {
        return args.dry_run(output);
    }
    let mut sales = SaleServiceClient::new(target.connect()?);
    let sale = match command {
        SaleCommand::Import(args) => {
            let (sale, preview) = args.into_import()?.send(&mut sales).await?;
            let mut value = sale_json(&sale);
            value["left_out"] = left_out_json(&preview);
            value["warnings"] = json!(preview.warnings);
            output.print(&value, || human(&sale) + &left_out_human(&preview))?;
            return Ok(ExitCode::SUCCESS);
        }
        SaleCommand::Create { items, currency, per_buyer_limit, settings } => {
            let items = items
                .iter()
                .map(|item| parse_item(item, &currency, per_buyer_limit))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let asked = CreateSaleRequest {
                request_id: request_id(),
                settings: Some(settings.into_wire(currency, None)?),
                items,
            };
            sales.create_sale(request(asked)).await?.into_inner().sale
        }
        SaleCommand::Schedule(args) => schedule::run(args, sales, output).await?,
        SaleCommand::Update(args) => update::run(args, sales, output).await?,
        SaleCommand::Start(args) | SaleCommand::Resume(args) => {
            lifecycle::start(args, sales, output).await?
        }
        SaleCommand::Pause(args) => lifecycle::pause(args, sales, output).await?,
        SaleCommand::Cancel(args) => lifecycle::cancel(args, sales, output).await?,
        SaleCommand::End(args) => lifecycle::end(args, sales, output).await?,
        SaleCommand::Changes { sale_id } => {
            changes::run(sale_id, sales, output).await?;
            return Ok(ExitCode::SUCCESS);
        }
        SaleCommand::Report { sale_id, wait, at_most } => {
            let at_most = Duration::from_secs(if wait { at_most } else { 0 });
            let report =
                report_once(target.connect()?, &sale_id, at_most, |report| report.r#final).await?;
            output.print(&report_json(&report), || human_report(&report))?;
            let in_time = report.r#final || !wait;
            return Ok(if in_time { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        SaleCommand::Export(args) => return args.run(target.connect()?, output).await,
        SaleCommand::Show { sale_id: Some(sale_id) } => {
            sales.get_sale(request(GetSaleRequest { sale_id })).await?.into_inner().sale
        }
        SaleCommand::Show { sale_id: None } => {
            let mut all = Vec::new();
            let mut page_token = String::new();
            loop {
                let asked = ListSalesRequest { page_size: 200, page_token };
                let page = sales.list_sales(request(asked)).await?.into_inner();
                all.extend(page.sales);
                page_token = page.next_page_token;
                if page_token.is_empty() {
                    break;
                }
            }
            list(&all, output)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let sale = sale.unwrap_or_default();
    output.print(&sale_json(&sale), || human(&sale))?;
    Ok(ExitCode::SUCCESS)
}

fn parse_item(text: &str, currency: &str, per_buyer_limit: i64) -> anyhow::Result<Item> {
    let parse = || {
        let mut parts = text.rsplitn(3, '=');
        let (quantity, price, sku) = (parts.next()?, parts.next()?, parts.next()?);
        let (units, nanos) = parse_price(price)?;
        Some(Item {
            sku: sku.to_owned(),
            title: sku.to_owned(),
            unit_price: Some(Money { currency_code: currency.to_owned(), units, nanos }),
            regular_price: None,
            quantity: quantity.parse().ok()?,
            per_buyer_limit,
        })
    };
    parse().with_context(|| {
        format!(
            "{text:?} is not an item; write sku=price=quantity, the price with digits and a point, for example TEE-M=19.90=100"
        )
    })
}

/// A price as units and nanos. Digits only: a sign would be lost if the units are 0.
pub(super) fn parse_price(text: &str) -> Option<(i64, i32)> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let (units, fraction) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(units) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    Some((units.parse().ok()?, format!("{fraction:0<9}").parse().ok()?))
}

fn list(sales: &[Sale], output: &Output) -> anyhow::Result<()> {
    let all: Vec<Value> = sales.iter().map(sale_json).collect();
    output.print(&json!(all), || {
        table(
            &["sale", "name", "state", "created"],
            &[],
            sales.iter().map(|sale| {
                let name = sale.settings.as_ref().map(|settings| settings.name.clone());
                vec![
                    sale.sale_id.clone(),
                    name.unwrap_or_default(),
                    sale_state(sale),
                    time(sale.create_time.as_ref()),
                ]
            }),
        )
    })
}

fn human(sale: &Sale) -> String {
    let settings = sale.settings.clone().unwrap_or_default();
    let room = settings.room.as_ref().map_or_else(
        || "none".to_owned(),
        |room| {
            let early = room.pre_queue.as_ref().map_or_else(String::new, |early| {
                format!(", joined up to {} s before", early.seconds)
            });
            format!("{} admissions/s{early}", room.admissions_per_second)
        },
    );
    let patience = settings.payment_patience.map_or_else(String::new, |patience| {
        format!("  banks   {} s to authenticate\n", patience.seconds)
    });
    let told = if sale.propagated {
        ""
    } else {
        "  inventory or the waiting room have not been told yet\n"
    };
    let asked = if sale.cancel_requested { ", to be cancelled" } else { "" };
    let shared = if sale.allow_shared_skus { "  may offer what other sales offer\n" } else { "" };
    let waiting: String = waiting(sale).map(change_line).collect();
    format!(
        "Sale {} ({})\n  state   {}{asked}\n  window  {} to {}\n  holds   {} s\n{patience}  room    {room}\n{shared}{told}{waiting}{}",
        sale.sale_id,
        settings.name,
        sale_state(sale),
        time(settings.starts_at.as_ref()),
        time(settings.ends_at.as_ref()),
        settings.hold_ttl.map(|ttl| ttl.seconds).unwrap_or_default(),
        table(
            &["sku", "title", "price", "regular", "quantity", "per buyer"],
            &[2, 3, 4, 5],
            sale.items.iter().map(|item| {
                vec![
                    item.sku.clone(),
                    item.title.clone(),
                    money(item.unit_price.as_ref()),
                    money(item.regular_price.as_ref()),
                    item.quantity.to_string(),
                    if item.per_buyer_limit == 0 {
                        "any".to_owned()
                    } else {
                        item.per_buyer_limit.to_string()
                    },
                ]
            }),
        )
    )
}

/// The changes of prices that have not taken effect yet, as far as the answer tells, by the clock
/// of this machine.
fn waiting(sale: &Sale) -> impl Iterator<Item = &PriceRevision> {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    sale.price_revisions.iter().filter(move |revision| {
        let at = revision.switch_time.as_ref().or(revision.effective_at.as_ref());
        revision.replaced_by == 0 && at.is_none_or(|at| at.seconds >= now)
    })
}

/// A change of prices in a line.
fn change_line(revision: &PriceRevision) -> String {
    let known = match &revision.switch_time {
        Some(at) if Some(at) == revision.effective_at.as_ref() => String::new(),
        Some(at) => format!(", switched at {}", time(Some(at))),
        None => ", not in the stock's store yet".to_owned(),
    };
    format!(
        "  prices  revision {} at {}: {} skus{known}\n",
        revision.revision,
        time(revision.effective_at.as_ref()),
        revision.skus,
    )
}

fn human_report(report: &SaleReport) -> String {
    let orders = report.orders.unwrap_or_default();
    let units = |count: Option<i64>| count.map_or("unknown".to_owned(), |count| count.to_string());
    let state = report.state().as_str_name();
    let standing = if report.r#final { "final" } else { "not final yet" };
    format!(
        "Sale {} ({}, {standing})\n  orders   {} confirmed, {} declined, {} cancelled, {} refunded, {} under way, {} dead letters\n  \
         money    {} taken, {} paid back, {} to be paid back\n  \
         open     {} units held, {} units in orders that are not settled, {} payments, {} consequences\n{}",
        report.sale_id,
        short(state, "SALE_STATE_"),
        orders.confirmed,
        orders.declined,
        orders.cancelled,
        orders.refunded,
        orders.open,
        orders.dead_letters,
        money(report.captured.as_ref()),
        money(report.refunded.as_ref()),
        money(report.refund_due.as_ref()),
        units(report.units_held),
        units(report.units_placed),
        report.payments_open,
        report.consequences_due,
        table(
            &["sku", "title", "may sell", "sold", "under way", "gross"],
            &[2, 3, 4, 5],
            report.items.iter().map(|item| {
                vec![
                    item.sku.clone(),
                    item.title.clone(),
                    item.allotted.to_string(),
                    item.sold.to_string(),
                    item.open.to_string(),
                    money(item.gross.as_ref()),
                ]
            }),
        )
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn item_argument_allows_equals_signs_in_sku() {
        let item = parse_item("a=b=0.05=7", "EUR", 2).unwrap();
        let price = item.unit_price.unwrap();
        assert_eq!((item.sku.as_str(), item.quantity, item.per_buyer_limit), ("a=b", 7, 2));
        assert_eq!(
            (price.units, price.nanos, price.currency_code.as_str()),
            (0, 50_000_000, "EUR")
        );
    }

    #[test]
    fn malformed_prices_are_refused() {
        for wrong in [
            "-0.90",
            "-1",
            "+1",
            ".50",
            "5.",
            "1,50",
            "1.2.3",
            "",
            "1e3",
            "0.0000000001",
            "9223372036854775808",
        ] {
            let text = format!("TEE={wrong}=1");
            let error = parse_item(&text, "EUR", 0).unwrap_err();
            assert!(error.to_string().contains("is not an item"), "{text}: {error}");
        }
    }
}
