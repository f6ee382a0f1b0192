//! `flashsale stock`.

use std::process::ExitCode;

use clap::Subcommand;
use flashsale_proto::inventory::{
    Difference, GetStockRequest, ReconcileRequest, ReconcileResponse,
    inventory_admin_service_client::InventoryAdminServiceClient,
    inventory_service_client::InventoryServiceClient,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    client::{Target, request, stock_json},
    output::{Output, table},
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum StockCommand {
    /// Show a sale's books per sku.
    Show {
        /// The sale's id; `flashsale sale show` lists the sales.
        sale_id: String,
    },
    /// Compare what Redis, the queue and Postgres say of a sale's units. Ends with 1 if they still differ.
    Audit {
        /// The sale's id; `flashsale sale show` lists the sales.
        #[arg(long = "sale")]
        sale_id: String,
        /// Repair what Postgres proves.
        #[arg(long)]
        repair: bool,
    },
}

/// Runs the command.
pub(crate) async fn run(
    command: StockCommand,
    target: &Target,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    match command {
        StockCommand::Show { sale_id } => show(sale_id, target, output).await,
        StockCommand::Audit { sale_id, repair } => audit(sale_id, repair, target, output).await,
    }
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
    let asked = GetStockRequest { sale_id, skus: Vec::new() };
    let answer = inventory.get_stock(request(asked)).await?.into_inner();
    let stock: Vec<Value> = answer.stock.iter().map(stock_json).collect();
    output.print(&json!({ "epoch": answer.epoch, "stock": stock }), || {
        table(
            &["sku", "allotted", "available", "held", "placed", "sold"],
            &[1, 2, 3, 4, 5],
            answer.stock.iter().map(|sku| {
                vec![
                    sku.sku.clone(),
                    sku.allotted.to_string(),
                    sku.available.to_string(),
                    sku.held.to_string(),
                    sku.placed.to_string(),
                    sku.sold.to_string(),
                ]
            }),
        )
    })?;
    Ok(ExitCode::SUCCESS)
}
