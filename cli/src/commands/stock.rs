//! `flashsale stock`.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use flashsale_cli::{
    client::{Target, money, request, request_id, short, stock_json, time},
    output::{Output, table},
};
use flashsale_proto::inventory::{
    AdjustStockRequest, Adjustment, Difference, GetStockRequest, GetStockResponse,
    ListAdjustmentsRequest, ReconcileRequest, ReconcileResponse, SkuStock, TakeOverRequest,
    TakeOverResponse, inventory_admin_service_client::InventoryAdminServiceClient,
    inventory_service_client::InventoryServiceClient,
};
use serde_json::{Value, json};
use uuid::Uuid;

/// Entries per page of the audit trail.
const PAGE: i32 = 500;

#[derive(Debug, Subcommand)]
pub(crate) enum StockCommand {
    /// Show what a sale offers now, and its books, price and limit per sku.
    Show {
        /// The sale's id; `flashsale sale show` lists the sales.
        sale_id: String,
    },
    /// Compare a sale's units in Redis, the queue and Postgres. Exits with 1 if they still differ.
    Audit {
        /// The sale's id; `flashsale sale show` lists the sales.
        #[arg(long = "sale")]
        sale_id: String,
        /// Repair what Postgres proves to be wrong.
        #[arg(long)]
        repair: bool,
    },
    /// Add units to a loaded sale, or withdraw available units.
    Adjust(AdjustArgs),
    /// Make the Redis that this inventory speaks to the one that counts, although another one may
    /// be alive.
    Takeover {
        /// Why, for the audit trail.
        #[arg(long)]
        reason: String,
        /// The request's id, a UUID, to ask again for what may have been done already.
        #[arg(long)]
        request_id: Option<String>,
    },
    /// Show what was added to a sale and withdrawn from it, newest first.
    History {
        /// The sale's id; `flashsale sale show` lists the sales.
        #[arg(long)]
        sale: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AdjustArgs {
    /// The sale's id; `flashsale sale show` lists the sales.
    #[arg(long)]
    sale: String,
    /// The sku.
    #[arg(long)]
    sku: String,
    #[command(flatten)]
    change: Change,
    /// Why, for the audit trail.
    #[arg(long)]
    reason: String,
    /// The request's id, a UUID, to ask again for what may have been done already.
    #[arg(long)]
    request_id: Option<String>,
}

/// Exactly one of the two options.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Change {
    /// Units to add.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    add: Option<i64>,
    /// Units to withdraw.
    #[arg(long, value_parser = clap::value_parser!(i64).range(1..=10_000_000))]
    withdraw: Option<i64>,
}

impl Change {
    fn delta(&self) -> i64 {
        self.add.unwrap_or(0) - self.withdraw.unwrap_or(0)
    }
}

pub(crate) async fn run(
    command: StockCommand,
    target: &Target,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    match command {
        StockCommand::Show { sale_id } => show(sale_id, target, output).await,
        StockCommand::Audit { sale_id, repair } => audit(sale_id, repair, target, output).await,
        StockCommand::Adjust(args) => adjust(args, target, output).await,
        StockCommand::Takeover { reason, request_id } => {
            take_over(reason, request_id, target, output).await
        }
        StockCommand::History { sale } => history(sale, target, output).await,
    }
}

async fn take_over(
    reason: String,
    id: Option<String>,
    target: &Target,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut inventory = InventoryAdminServiceClient::new(target.connect()?);
    let asked = TakeOverRequest { request_id: id.unwrap_or_else(request_id), reason };
    let TakeOverResponse { servers, retired } =
        inventory.take_over(request(asked)).await?.into_inner();
    output.print(&json!({ "servers": servers, "retired": retired }), || {
        let counts = format!("The Redis that counts: {}", servers.join(", "));
        if retired.is_empty() {
            return format!("{counts}\nNo sale stood on another one.");
        }
        format!("{counts}\nRetired: {}\nTheir sales are rebuilt.", retired.join(", "))
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn audit(
    sale_id: String,
    repair: bool,
    target: &Target,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut inventory = InventoryAdminServiceClient::new(target.connect()?);
    let asked = ReconcileRequest { request_id: Uuid::new_v4().to_string(), sale_id, repair };
    let answer = inventory.reconcile(request(asked)).await?.into_inner();
    output.print(&audit_json(&answer), || audit_text(&answer))?;
    let left = answer.differences.iter().any(|difference| !difference.repaired);
    Ok(if left { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn expired_s(answer: &ReconcileResponse) -> f64 {
    answer
        .oldest_expired_hold
        .as_ref()
        .map_or(0.0, |age| age.seconds as f64 + f64::from(age.nanos) / 1e9)
}

fn audit_json(answer: &ReconcileResponse) -> Value {
    let difference = |found: &Difference| {
        json!({
            "kind": found.kind,
            "sku": found.sku,
            "units": found.units,
            "repaired": found.repaired,
            "description": found.description,
            "hold_ids": found.hold_ids,
        })
    };
    json!({
        "epoch": answer.epoch,
        "oversold_units": answer.oversold_units,
        "stranded_units": answer.stranded_units,
        "oldest_expired_hold_s": expired_s(answer),
        "differences": answer.differences.iter().map(difference).collect::<Vec<_>>(),
    })
}

fn audit_text(answer: &ReconcileResponse) -> String {
    let sums = format!(
        "epoch {}: {} units oversold, {} stranded, oldest expired hold {:.1} s",
        answer.epoch,
        answer.oversold_units,
        answer.stranded_units,
        expired_s(answer)
    );
    if answer.differences.is_empty() {
        return format!("Redis, the queue and Postgres agree.\n{sums}");
    }
    let found = table(
        &["kind", "sku", "units", "repaired", "what", "holds"],
        &[2],
        answer.differences.iter().map(|found| {
            vec![
                found.kind.clone(),
                found.sku.clone(),
                found.units.to_string(),
                if found.repaired { "yes" } else { "no" }.to_owned(),
                found.description.clone(),
                found.hold_ids.join("\n"),
            ]
        }),
    );
    format!("{found}\n{sums}")
}

async fn show(sale_id: String, target: &Target, output: &Output) -> anyhow::Result<ExitCode> {
    let mut inventory = InventoryServiceClient::new(target.connect()?);
    let asked = GetStockRequest { sale_id, skus: Vec::new(), fresh: true };
    let answer = inventory.get_stock(request(asked)).await?.into_inner();
    let (starts_at, ends_at) = (time(answer.starts_at.as_ref()), time(answer.ends_at.as_ref()));
    let shown = json!({
        "epoch": answer.epoch,
        "phase": phase(&answer),
        "starts_at": starts_at,
        "ends_at": ends_at,
        "stock": answer.stock.iter().map(stock_json).collect::<Vec<_>>(),
    });
    output.print(&shown, || {
        format!("{}, {starts_at} to {ends_at}\n{}", phase(&answer), books(&answer.stock))
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn adjust(args: AdjustArgs, target: &Target, output: &Output) -> anyhow::Result<ExitCode> {
    let mut inventory = InventoryAdminServiceClient::new(target.connect()?);
    let request_id = args.request_id.unwrap_or_else(request_id);
    let asked = AdjustStockRequest {
        request_id: request_id.clone(),
        sale_id: args.sale,
        sku: args.sku,
        delta: args.change.delta(),
        reason: args.reason,
    };
    let answer = match inventory.adjust_stock(request(asked)).await {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            // The id is needed to repeat a request whose outcome is unknown.
            if !output.is_json() {
                output.say(&format!("The request was {request_id} (--request-id)."));
            }
            return Err(status.into());
        }
    };
    let adjustment = answer.adjustment.unwrap_or_default();
    let stock: Vec<SkuStock> = answer.stock.into_iter().collect();
    let value = json!({
        "adjustment": adjustment_json(&adjustment),
        "stock": stock.first().map(stock_json),
    });
    output.print(&value, || {
        format!(
            "{} of {}: allotted {} before, {} now.\n{}",
            signed(adjustment.delta),
            adjustment.sku,
            adjustment.allotted_before,
            adjustment.allotted_after,
            books(&stock),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

async fn history(sale_id: String, target: &Target, output: &Output) -> anyhow::Result<ExitCode> {
    let mut inventory = InventoryAdminServiceClient::new(target.connect()?);
    let mut adjustments = Vec::new();
    let mut page_token = String::new();
    loop {
        let asked =
            ListAdjustmentsRequest { sale_id: sale_id.clone(), page_size: PAGE, page_token };
        let page = inventory.list_adjustments(request(asked)).await?.into_inner();
        adjustments.extend(page.adjustments);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let list: Vec<Value> = adjustments.iter().map(adjustment_json).collect();
    output.print(&json!({ "adjustments": list }), || {
        table(
            &["asked at", "sku", "units", "state", "before", "after", "reason", "request"],
            &[2, 4, 5],
            adjustments.iter().map(|adjustment| {
                // Both are unknown until the adjustment is done.
                let done = adjustment.end_time.is_some()
                    && adjustment.allotted_after != adjustment.allotted_before;
                let allotted = |units: i64| if done { units.to_string() } else { String::new() };
                vec![
                    time(adjustment.create_time.as_ref()),
                    adjustment.sku.clone(),
                    signed(adjustment.delta),
                    state(adjustment),
                    allotted(adjustment.allotted_before),
                    allotted(adjustment.allotted_after),
                    adjustment.reason.clone(),
                    adjustment.request_id.clone(),
                ]
            }),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}

fn books(stock: &[SkuStock]) -> String {
    table(
        &["sku", "allotted", "available", "held", "placed", "sold", "price", "limit"],
        &[1, 2, 3, 4, 5, 6, 7],
        stock.iter().map(|sku| {
            vec![
                sku.sku.clone(),
                sku.allotted.to_string(),
                sku.available.to_string(),
                sku.held.to_string(),
                sku.placed.to_string(),
                sku.sold.to_string(),
                money(sku.unit_price.as_ref()),
                limit(sku),
            ]
        }),
    )
}

fn limit(sku: &SkuStock) -> String {
    match sku.per_buyer_limit {
        0 => "none".to_owned(),
        limit => limit.to_string(),
    }
}

fn phase(answer: &GetStockResponse) -> String {
    short(answer.phase().as_str_name(), "STOCK_PHASE_")
}

fn state(adjustment: &Adjustment) -> String {
    short(adjustment.state().as_str_name(), "ADJUSTMENT_STATE_")
}

fn signed(units: i64) -> String {
    format!("{units:+}")
}

fn adjustment_json(adjustment: &Adjustment) -> Value {
    json!({
        "request_id": adjustment.request_id,
        "sku": adjustment.sku,
        "delta": adjustment.delta,
        "reason": adjustment.reason,
        "state": state(adjustment),
        "allotted_before": adjustment.allotted_before,
        "allotted_after": adjustment.allotted_after,
        "create_time": time(adjustment.create_time.as_ref()),
        "end_time": time(adjustment.end_time.as_ref()),
    })
}
