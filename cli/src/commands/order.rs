//! `flashsale order`.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use flashsale_proto::checkout::{
    GetOrderRequest, Order, WatchOrderRequest, checkout_service_client::CheckoutServiceClient,
};

use crate::{
    client::{Target, is_over, money, order_json, order_state, request, time},
    output::{Output, table},
};

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum OrderCommand {
    /// Show an order.
    Show(Which),
    /// Follow an order until it reaches its end: a line for each change.
    Watch(Which),
}

/// Which order.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The sale's id; `flashsale sale show` lists the sales.
    sale_id: String,
    /// The order's id, as PlaceOrder answered it.
    order_id: String,
}

/// Runs the command.
pub(crate) async fn run(
    command: OrderCommand,
    target: &Target,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut checkout = CheckoutServiceClient::new(target.connect()?);
    match command {
        OrderCommand::Show(Which { sale_id, order_id }) => {
            let asked = GetOrderRequest { sale_id, order_id, buyer_id: String::new() };
            let answer = checkout.get_order(request(asked)).await?.into_inner();
            let order = answer.order.unwrap_or_default();
            output.print(&order_json(&order), || human(&order))?;
        }
        OrderCommand::Watch(Which { sale_id, order_id }) => {
            let asked = WatchOrderRequest { sale_id, order_id, buyer_id: String::new() };
            let mut over = false;
            let mut changes = checkout.watch_order(asked).await?.into_inner();
            while let Some(change) = changes.message().await? {
                let order = change.order.unwrap_or_default();
                over = is_over(&order);
                output.line(&order_json(&order), || {
                    let reason = if order.end_reason.is_empty() {
                        String::new()
                    } else {
                        format!(" ({})", order.end_reason)
                    };
                    format!("{}  {}{reason}", time(order.update_time.as_ref()), order_state(&order))
                })?;
            }
            if !over {
                bail!("the services stopped before the order reached its end; watch it again");
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn human(order: &Order) -> String {
    let mut text = format!(
        "Order {}\n  state    {}\n  sale     {}\n  buyer    {}\n  placed   {}\n  changed  {}\n  total    {}\n",
        order.order_id,
        order_state(order),
        order.sale_id,
        order.buyer_id,
        time(order.place_time.as_ref()),
        time(order.update_time.as_ref()),
        money(order.total.as_ref()),
    );
    if order.cancel_requested {
        text.push_str("  its buyer asked to cancel it\n");
    }
    if !order.end_reason.is_empty() {
        text.push_str(&format!("  ended because of {}\n", order.end_reason));
    }
    text.push_str(&table(
        &["sku", "quantity", "unit price"],
        &[1, 2],
        order.lines.iter().map(|line| {
            vec![line.sku.clone(), line.quantity.to_string(), money(line.unit_price.as_ref())]
        }),
    ));
    text
}
