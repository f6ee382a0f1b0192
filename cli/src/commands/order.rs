//! `flashsale order`.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Args, Subcommand};
use flashsale_cli::{
    client::{Target, is_over, money, order_json, order_state, request, request_id, short, time},
    output::{Output, table},
};
use flashsale_errors::{Failure, Reason};
use flashsale_proto::{
    NamedChannel,
    checkout::{
        GetOrderRequest, ListOrdersRequest, Order, OrderState, WatchOrderRequest,
        checkout_service_client::CheckoutServiceClient,
    },
    order::{
        DeadLetter, DropDeadLetterRequest, ListDeadLettersRequest, ListTransitionsRequest,
        RetryDeadLetterRequest, Transition, order_admin_service_client::OrderAdminServiceClient,
    },
};
use prost_types::Timestamp;
use serde_json::{Value, json};
use tonic::{Code, Status};

/// Entries per page of a list.
const PAGE: i32 = 500;

#[derive(Debug, Subcommand)]
pub(crate) enum OrderCommand {
    /// Show an order and its history.
    Show(Which),
    /// Follow an order until it reaches its end: a line for each change.
    Watch(Which),
    /// List the recorded orders of a sale, newest first.
    List {
        /// The sale's id; `flashsale sale show` lists the sales.
        sale_id: String,
        /// Only orders that changed after this time, the oldest change first: an RFC 3339 time,
        /// such as the time of the last change that was listed before.
        #[arg(long, value_name = "TIME", value_parser = parse_time)]
        updated_after: Option<Timestamp>,
        /// Only those in this state, such as CONFIRMED.
        #[arg(long, value_parser = parse_state)]
        state: Option<OrderState>,
        /// Only those of this buyer.
        #[arg(long)]
        buyer: Option<String>,
    },
    /// Decide about dead letters: queued orders that could not be recorded.
    #[command(subcommand)]
    DeadLetters(DeadLettersCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeadLettersCommand {
    /// List those that wait for a decision, newest first.
    List {
        /// Only those of this sale.
        #[arg(long)]
        sale: Option<String>,
        /// Also those that are resolved.
        #[arg(long)]
        all: bool,
    },
    /// Queue its order again, as the hold carries it. Do so once the cause is repaired.
    Retry(DeadLetterArgs),
    /// Give it up: its order ends CANCELLED and its buyer is told.
    Drop(DeadLetterArgs),
}

#[derive(Debug, Args)]
pub(crate) struct DeadLetterArgs {
    /// Its number, as the list shows it.
    id: i64,
    /// The request's id, a UUID, to repeat a request whose outcome is unknown.
    #[arg(long)]
    request_id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The sale's id; `flashsale sale show` lists the sales.
    sale_id: String,
    /// The order's id, as PlaceOrder answered it.
    order_id: String,
}

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
            let steps = history(target.connect()?, &order.order_id).await?;
            let mut value = order_json(&order);
            value["history"] = steps.iter().map(step_json).collect();
            output.print(&value, || human(&order, &steps))?;
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
        OrderCommand::List { sale_id, updated_after, state, buyer } => {
            let mut asked = ListOrdersRequest {
                sale_id,
                buyer_id: buyer.unwrap_or_default(),
                state: state.unwrap_or_default().into(),
                page_size: PAGE,
                page_token: String::new(),
                updated_after,
            };
            let mut found = Vec::new();
            loop {
                let answer = checkout.list_orders(request(asked.clone())).await?.into_inner();
                found.extend(answer.orders);
                if answer.next_page_token.is_empty() {
                    break;
                }
                asked.page_token = answer.next_page_token;
            }
            let value: Value = found.iter().map(order_json).collect();
            output.print(&value, || orders_text(&found))?;
        }
        OrderCommand::DeadLetters(command) => {
            let admin = OrderAdminServiceClient::new(target.connect()?);
            dead_letters(command, admin, output).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| "it is not a time such as 2026-11-30T18:00:00Z".to_owned())
}

fn parse_state(text: &str) -> Result<OrderState, String> {
    OrderState::from_str_name(&format!("ORDER_STATE_{}", text.to_uppercase()))
        .ok_or_else(|| "it is not a state of orders, such as CONFIRMED".to_owned())
}

fn orders_text(found: &[Order]) -> String {
    if found.is_empty() {
        return "No orders.".to_owned();
    }
    table(
        &["order", "state", "buyer", "total", "placed", "changed"],
        &[3],
        found.iter().map(|order| {
            vec![
                order.order_id.clone(),
                order_state(order),
                order.buyer_id.clone(),
                money(order.total.as_ref()),
                time(order.place_time.as_ref()),
                time(order.update_time.as_ref()),
            ]
        }),
    )
}

async fn dead_letters(
    command: DeadLettersCommand,
    mut admin: OrderAdminServiceClient<NamedChannel>,
    output: &Output,
) -> anyhow::Result<()> {
    let decided = match command {
        DeadLettersCommand::List { sale, all } => {
            let mut asked = ListDeadLettersRequest {
                sale_id: sale.unwrap_or_default(),
                include_resolved: all,
                page_size: PAGE,
                page_token: String::new(),
            };
            let mut found = Vec::new();
            loop {
                let answer = admin.list_dead_letters(request(asked.clone())).await?.into_inner();
                found.extend(answer.dead_letters);
                if answer.next_page_token.is_empty() {
                    break;
                }
                asked.page_token = answer.next_page_token;
            }
            let value: Value = found.iter().map(dead_letter_json).collect();
            return output.print(&value, || dead_letters_text(&found));
        }
        DeadLettersCommand::Retry(DeadLetterArgs { id: dead_letter_id, request_id: given }) => {
            let request_id = given.unwrap_or_else(request_id);
            let asked = RetryDeadLetterRequest { request_id, dead_letter_id };
            admin.retry_dead_letter(request(asked)).await?.into_inner().dead_letter
        }
        DeadLettersCommand::Drop(DeadLetterArgs { id: dead_letter_id, request_id: given }) => {
            let request_id = given.unwrap_or_else(request_id);
            let asked = DropDeadLetterRequest { request_id, dead_letter_id };
            admin.drop_dead_letter(request(asked)).await?.into_inner().dead_letter
        }
    };
    let dead_letter = decided.unwrap_or_default();
    output.print(&dead_letter_json(&dead_letter), || match resolution(&dead_letter).as_str() {
        "" => format!(
            "Dead letter {} is resolved once order {} is recorded; `flashsale order show` follows it.",
            dead_letter.dead_letter_id, dead_letter.order_id
        ),
        resolution => format!("Dead letter {} is {resolution}.", dead_letter.dead_letter_id),
    })
}

/// How a dead letter was resolved; empty while it waits.
fn resolution(dead_letter: &DeadLetter) -> String {
    let name = short(dead_letter.resolution().as_str_name(), "RESOLUTION_");
    if name == "UNSPECIFIED" { String::new() } else { name }
}

fn dead_letter_json(dead_letter: &DeadLetter) -> Value {
    json!({
        "dead_letter_id": dead_letter.dead_letter_id,
        "queue_seq": dead_letter.queue_seq,
        "reason": dead_letter.reason,
        "order_id": dead_letter.order_id,
        "sale_id": dead_letter.sale_id,
        "create_time": time(dead_letter.create_time.as_ref()),
        "review_deadline": time(dead_letter.review_deadline.as_ref()),
        "resolution": resolution(dead_letter),
        "resolve_time": time(dead_letter.resolve_time.as_ref()),
    })
}

fn dead_letters_text(found: &[DeadLetter]) -> String {
    if found.is_empty() {
        return "No dead letters.".to_owned();
    }
    table(
        &["id", "reason", "order", "sale", "since", "decide by", "resolution"],
        &[0],
        found.iter().map(|dead_letter| {
            vec![
                dead_letter.dead_letter_id.to_string(),
                dead_letter.reason.clone(),
                dead_letter.order_id.clone(),
                dead_letter.sale_id.clone(),
                time(dead_letter.create_time.as_ref()),
                time(dead_letter.review_deadline.as_ref()),
                resolution(dead_letter),
            ]
        }),
    )
}

/// The transitions of an order; none while it is not recorded.
async fn history(channel: NamedChannel, order_id: &str) -> anyhow::Result<Vec<Transition>> {
    let mut admin = OrderAdminServiceClient::new(channel);
    let mut asked = ListTransitionsRequest {
        order_id: order_id.to_owned(),
        page_size: PAGE,
        page_token: String::new(),
    };
    let mut steps = Vec::new();
    loop {
        let answer = match admin.list_transitions(request(asked.clone())).await {
            Ok(answer) => answer.into_inner(),
            // Not recorded yet, or no order-worker serves at this address: its state is enough.
            Err(status) if has_none(&status) => return Ok(steps),
            Err(status) => return Err(status.into()),
        };
        steps.extend(answer.transitions);
        if answer.next_page_token.is_empty() {
            return Ok(steps);
        }
        asked.page_token = answer.next_page_token;
    }
}

fn has_none(status: &Status) -> bool {
    match Failure::from_status(status) {
        Some(failure) => failure.reason() == Reason::OrderNotFound,
        None => status.code() == Code::Unimplemented,
    }
}

fn step_json(step: &Transition) -> Value {
    json!({
        "from_state": step.from_state,
        "to_state": step.to_state,
        "cause": step.cause,
        "time": time(step.time.as_ref()),
    })
}

fn human(order: &Order, steps: &[Transition]) -> String {
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
    if order.refunded.is_some() {
        text.push_str(&format!("  refunded {}\n", money(order.refunded.as_ref())));
    }
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
    if !steps.is_empty() {
        text.push('\n');
        text.push_str(&table(
            &["time", "state", "cause"],
            &[],
            steps.iter().map(|step| {
                vec![time(step.time.as_ref()), step.to_state.clone(), step.cause.clone()]
            }),
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use flashsale_proto::Money;

    use super::*;

    #[test]
    fn money_that_is_back_is_shown() {
        let euros =
            |units| Some(Money { currency_code: "EUR".to_owned(), units, ..Money::default() });
        let order = Order { total: euros(30), refunded: euros(5), ..Order::default() };
        let text = human(&order, &[]);
        assert!(text.contains("  total    30.00 EUR\n  refunded 5.00 EUR\n"), "{text}");
        assert_eq!(order_json(&order)["refunded"]["amount"], "5.00 EUR");
        let order = Order { refunded: None, ..order };
        assert!(!human(&order, &[]).contains("refunded"));
        assert_eq!(order_json(&order)["refunded"], Value::Null);
    }
}
