//! `flashsale stock`.

use std::process::ExitCode;

use clap::Subcommand;
use flashsale_proto::inventory::{
    GetStockRequest, inventory_service_client::InventoryServiceClient,
};
use serde_json::{Value, json};

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
}

/// Runs the command.
pub(crate) async fn run(
    command: StockCommand,
    target: &Target,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let StockCommand::Show { sale_id } = command;
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
