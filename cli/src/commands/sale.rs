//! `flashsale sale`.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use flashsale_proto::{
    Money,
    sale::{
        CreateSaleRequest, EndSaleRequest, ExportFormat, GetSaleRequest, ImportSaleRequest, Item,
        ListSalesRequest, RoomSettings, Sale, SaleSettings, StartSaleRequest,
        sale_service_client::SaleServiceClient,
    },
};
use serde_json::{Value, json};

use crate::{
    client::{connect, money, request, request_id, sale_json, sale_state, time},
    output::{Output, table},
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum SaleCommand {
    /// Create a draft from a shop's product export in Shopify's CSV format.
    Import {
        /// The file.
        export: PathBuf,
        /// Units of each item, instead of the export's own stock figures.
        #[arg(long)]
        quantity: Option<i64>,
        /// Units of each item one buyer may have; 0 means no limit.
        #[arg(long, default_value_t = 0)]
        per_buyer_limit: i64,
        #[command(flatten)]
        settings: Settings,
    },
    /// Create a draft from items given one by one.
    Create {
        /// An item as sku=price=quantity, for example TEE-M=19.90=100; may be repeated.
        #[arg(long = "item", required = true)]
        items: Vec<String>,
        /// Units of each item one buyer may have; 0 means no limit.
        #[arg(long, default_value_t = 0)]
        per_buyer_limit: i64,
        #[command(flatten)]
        settings: Settings,
    },
    /// Open a draft.
    Start {
        /// The sale.
        sale_id: String,
    },
    /// End a sale for good.
    End {
        /// The sale.
        sale_id: String,
    },
    /// Show one sale, or list all.
    Show {
        /// The sale.
        sale_id: Option<String>,
    },
}

/// What the shop decides.
#[derive(Debug, Args)]
pub(crate) struct Settings {
    /// What the shop calls it.
    #[arg(long, default_value = "Flash sale")]
    name: String,
    /// ISO 4217 code of every price.
    #[arg(long)]
    currency: String,
    /// How long units stay held, in seconds.
    #[arg(long, default_value_t = 600)]
    hold_seconds: i64,
    /// Put a waiting room in front that admits this many buyers per second.
    #[arg(long)]
    admissions: Option<f64>,
}

impl Settings {
    fn into_wire(self) -> SaleSettings {
        SaleSettings {
            name: self.name,
            currency: self.currency,
            hold_ttl: Some(prost_types::Duration { seconds: self.hold_seconds, nanos: 0 }),
            room: self
                .admissions
                .map(|rate| RoomSettings { admissions_per_second: rate, admission_ttl: None }),
            ..SaleSettings::default()
        }
    }
}

/// Runs the command.
pub(crate) async fn run(
    command: SaleCommand,
    addr: Option<String>,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut sales = SaleServiceClient::new(connect(addr)?);
    let sale = match command {
        SaleCommand::Import { export, quantity, per_buyer_limit, settings } => {
            let content = std::fs::read(&export)
                .with_context(|| format!("{} cannot be read", export.display()))?;
            let asked = ImportSaleRequest {
                request_id: request_id(),
                settings: Some(settings.into_wire()),
                format: ExportFormat::ShopifyCsv.into(),
                content,
                quantity,
                per_buyer_limit,
            };
            sales.import_sale(request(asked)).await?.into_inner().sale
        }
        SaleCommand::Create { items, per_buyer_limit, settings } => {
            let items = items
                .iter()
                .map(|item| parse_item(item, &settings.currency, per_buyer_limit))
                .collect::<anyhow::Result<Vec<_>>>()?;
            let asked = CreateSaleRequest {
                request_id: request_id(),
                settings: Some(settings.into_wire()),
                items,
            };
            sales.create_sale(request(asked)).await?.into_inner().sale
        }
        SaleCommand::Start { sale_id } => {
            let asked = StartSaleRequest { request_id: request_id(), sale_id };
            sales.start_sale(request(asked)).await?.into_inner().sale
        }
        SaleCommand::End { sale_id } => {
            let asked = EndSaleRequest { request_id: request_id(), sale_id };
            sales.end_sale(request(asked)).await?.into_inner().sale
        }
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
            list(&all, output);
            return Ok(ExitCode::SUCCESS);
        }
    };
    let sale = sale.unwrap_or_default();
    output.print(&sale_json(&sale), || human(&sale));
    Ok(ExitCode::SUCCESS)
}

fn parse_item(text: &str, currency: &str, per_buyer_limit: i64) -> anyhow::Result<Item> {
    let form = || {
        format!("{text:?} is not an item; write sku=price=quantity, for example TEE-M=19.90=100")
    };
    let mut parts = text.rsplitn(3, '=');
    let (Some(quantity), Some(price), Some(sku)) = (parts.next(), parts.next(), parts.next())
    else {
        bail!(form());
    };
    let (units, fraction) = price.split_once('.').unwrap_or((price, ""));
    if fraction.len() > 9 || !fraction.chars().all(|c| c.is_ascii_digit()) {
        bail!(form());
    }
    Ok(Item {
        sku: sku.to_owned(),
        title: sku.to_owned(),
        unit_price: Some(Money {
            currency_code: currency.to_owned(),
            units: units.parse().with_context(form)?,
            nanos: format!("{fraction:0<9}").parse().with_context(form)?,
        }),
        quantity: quantity.parse().with_context(form)?,
        per_buyer_limit,
    })
}

fn list(sales: &[Sale], output: &Output) {
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
    });
}

fn human(sale: &Sale) -> String {
    let settings = sale.settings.clone().unwrap_or_default();
    let room = settings.room.map_or_else(
        || "none".to_owned(),
        |room| format!("{} admissions/s", room.admissions_per_second),
    );
    let told = if sale.propagated {
        ""
    } else {
        "  inventory or the waiting room have not been told yet\n"
    };
    format!(
        "Sale {} ({})\n  state   {}\n  window  {} to {}\n  holds   {} s\n  room    {room}\n{told}{}",
        sale.sale_id,
        settings.name,
        sale_state(sale),
        time(settings.starts_at.as_ref()),
        time(settings.ends_at.as_ref()),
        settings.hold_ttl.map(|ttl| ttl.seconds).unwrap_or_default(),
        table(
            &["sku", "title", "price", "quantity", "per buyer"],
            &[2, 3, 4],
            sale.items.iter().map(|item| {
                vec![
                    item.sku.clone(),
                    item.title.clone(),
                    money(item.unit_price.as_ref()),
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
