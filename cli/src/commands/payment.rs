//! `flashsale payment`.

use std::{
    process::ExitCode,
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use flashsale_cli::{
    client::{Target, money, money_json, request, request_id, short, time},
    output::{Output, table},
};
use flashsale_proto::{
    Money, NamedChannel,
    payment::{
        AbandonPaymentRequest, AccountStanding, BreakerChange, BreakerForce, Budget, BudgetChange,
        Difference, GetBreakerRequest, GetBreakerResponse, GetComparisonRequest,
        GetComparisonResponse, GetPaymentRequest, ListPaymentsRequest, ListedPayment,
        MakeDueRequest, Payment, PaymentState, RefundRequest, SetBreakerRequest, SetBudgetRequest,
        payment_admin_service_client::PaymentAdminServiceClient,
        payment_service_client::PaymentServiceClient,
    },
};
use serde_json::{Value, json};
use tonic::Status;

/// Payments per page of a list.
const PAGE: i32 = 500;

#[derive(Debug, Subcommand)]
pub(crate) enum PaymentCommand {
    /// Show the breaker in front of the provider and who decided what, or decide.
    Breaker(BreakerArgs),
    /// Show how many calls a second go to the provider, or set it.
    Budget(BudgetArgs),
    /// List payments, newest first.
    List(ListArgs),
    /// Show an order's payment.
    Show {
        /// The order's id, as PlaceOrder answered it.
        order_id: String,
    },
    /// Have an open payment looked at now, whatever it waits for.
    Retry(Which),
    /// Give money back: an amount, or all that is left of what was captured.
    Refund {
        #[command(flatten)]
        which: Which,
        /// How much, in the order's currency, for example 4.99; without it, all that is left.
        #[arg(long, value_parser = decimal)]
        amount: Option<(i64, i32)>,
        /// Why, for the record.
        #[arg(long, default_value_t)]
        reason: String,
    },
    /// Compare payments with the ledger of the money that moved at the provider, and with their
    /// orders. Ends with 1 if anything differs, or if the provider's events are not read.
    Compare {
        /// Only those of this sale.
        #[arg(long)]
        sale: Option<String>,
        /// Only those recorded from this time on, for example 2026-11-30T20:00:00Z; without it, the
        /// last 7 days.
        #[arg(long)]
        since: Option<String>,
    },
    /// End a payment that can never be captured: the provider has cancelled its intent, or does not
    /// know it. The provider is asked first.
    Abandon {
        #[command(flatten)]
        which: Which,
        /// Why, for the history.
        #[arg(long)]
        reason: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The order's id, as PlaceOrder answered it.
    order_id: String,
    /// The request's id, a UUID, to repeat a request whose outcome is unknown.
    #[arg(long)]
    request_id: Option<String>,
}

/// A decision about the breaker.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Decision {
    /// The breaker decides.
    Auto,
    /// Nothing goes to the provider.
    Open,
    /// Everything goes to the provider, whatever the breaker thinks; for 10 minutes at most.
    Closed,
}

#[derive(Debug, Args)]
pub(crate) struct BreakerArgs {
    /// Decide, for all instances.
    #[arg(long, requires = "reason")]
    set: Option<Decision>,
    /// Why, for the history.
    #[arg(long, requires = "set")]
    reason: Option<String>,
    /// After how many seconds the breaker decides again. `closed` needs it.
    #[arg(long, requires = "set", conflicts_with = "until", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    seconds: Option<u64>,
    /// When the breaker decides again, as a request that is repeated has to say it: the time that
    /// was printed.
    #[arg(long, requires = "set")]
    until: Option<String>,
    /// The request's id, a UUID, to repeat a request whose outcome is unknown.
    #[arg(long, requires = "set")]
    request_id: Option<String>,
}

#[derive(Debug, Args)]
#[command(group(ArgGroup::new("pace").args(["per_s", "reset"]).requires("endpoint")))]
pub(crate) struct BudgetArgs {
    /// The endpoint, as the list names it; `all` for all of them together.
    #[arg(requires = "pace", requires = "reason")]
    endpoint: Option<String>,
    /// Calls a second, from all instances.
    #[arg(long, allow_negative_numbers = true)]
    per_s: Option<f64>,
    /// Back to what is configured.
    #[arg(long)]
    reset: bool,
    /// Why, for the history.
    #[arg(long, requires = "endpoint")]
    reason: Option<String>,
    /// The request's id, a UUID, to repeat a request whose outcome is unknown.
    #[arg(long, requires = "endpoint")]
    request_id: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those of this sale.
    #[arg(long)]
    sale: Option<String>,
    /// Only those in this state.
    #[arg(long)]
    state: Option<StateName>,
    /// Only open ones that wait for a person: their requests are answered as wrong, or unreadably,
    /// again and again.
    #[arg(long)]
    stuck: bool,
    /// Only open ones that are due before this time, for example 2026-11-30T20:00:00Z, the longest
    /// due first.
    #[arg(long)]
    due_before: Option<String>,
    /// How many at most.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
}

/// The states of payments.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum StateName {
    Due,
    Processing,
    RequiresAction,
    Succeeded,
    Failed,
    Cancelled,
    Refunded,
}

impl StateName {
    fn wire(self) -> PaymentState {
        match self {
            Self::Due => PaymentState::Due,
            Self::Processing => PaymentState::Processing,
            Self::RequiresAction => PaymentState::RequiresAction,
            Self::Succeeded => PaymentState::Succeeded,
            Self::Failed => PaymentState::Failed,
            Self::Cancelled => PaymentState::Cancelled,
            Self::Refunded => PaymentState::Refunded,
        }
    }
}

type Admin = PaymentAdminServiceClient<NamedChannel>;

pub(crate) async fn run(
    command: PaymentCommand,
    target: &Target,
    output: &Output,
) -> anyhow::Result<ExitCode> {
    let mut payments = PaymentServiceClient::new(target.connect()?);
    let mut admin = PaymentAdminServiceClient::new(target.connect()?);
    match command {
        PaymentCommand::Breaker(args) => breaker(args, admin, output).await?,
        PaymentCommand::Budget(args) => budget(args, admin, output).await?,
        PaymentCommand::List(args) => list(args, admin, output).await?,
        PaymentCommand::Show { order_id } => {
            let answer = payments.get_payment(request(GetPaymentRequest { order_id })).await?;
            show(&answer.into_inner().payment.unwrap_or_default(), output)?;
        }
        PaymentCommand::Retry(Which { order_id, request_id: given }) => {
            let asked = MakeDueRequest { request_id: given.unwrap_or_else(request_id), order_id };
            let answer = admin.make_due(request(asked)).await?.into_inner();
            let listed = answer.payment.unwrap_or_default();
            output.print(&listed_json(&listed), || retried(&listed))?;
        }
        PaymentCommand::Refund { which: Which { order_id, request_id: given }, amount, reason } => {
            let id = given.unwrap_or_else(request_id);
            let amount = match amount {
                None => None,
                Some((units, nanos)) => {
                    let get = GetPaymentRequest { order_id: order_id.clone() };
                    let paid = payments.get_payment(request(get)).await?.into_inner().payment;
                    let of_order = paid.unwrap_or_default().amount.unwrap_or_default();
                    Some(Money { currency_code: of_order.currency_code, units, nanos })
                }
            };
            let asked = RefundRequest { request_id: id.clone(), order_id, amount, reason };
            let answer = payments.refund(request(asked)).await;
            let payment = answer.map_err(|status| told(status, &id, output))?.into_inner().payment;
            let payment = payment.unwrap_or_default();
            output.print(&payment_json(&payment), || match payment.state() {
                PaymentState::Refunded => {
                    format!("The payment of order {} is refunded.", payment.order_id)
                }
                PaymentState::Unspecified
                | PaymentState::Due
                | PaymentState::Processing
                | PaymentState::RequiresAction
                | PaymentState::Succeeded
                | PaymentState::Failed
                | PaymentState::Cancelled => format!(
                    "The refund of order {} is recorded, and carried out at the provider's pace; \
                     `flashsale payment show` follows it.",
                    payment.order_id
                ),
            })?;
        }
        PaymentCommand::Compare { sale, since } => {
            let asked = GetComparisonRequest {
                sale_id: sale.unwrap_or_default(),
                start_time: since.as_deref().map(parse_time).transpose()?,
            };
            let answer = admin.get_comparison(request(asked)).await?.into_inner();
            output.print(&comparison_json(&answer), || comparison_text(&answer))?;
            if differs(&answer) {
                return Ok(ExitCode::FAILURE);
            }
        }
        PaymentCommand::Abandon { which: Which { order_id, request_id: given }, reason } => {
            let id = given.unwrap_or_else(request_id);
            let asked = AbandonPaymentRequest { request_id: id.clone(), order_id, reason };
            let answer = admin.abandon_payment(request(asked)).await;
            let payment = answer.map_err(|status| told(status, &id, output))?.into_inner().payment;
            show(&payment.unwrap_or_default(), output)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Names the request that failed: its id is needed to repeat it if its outcome is unknown.
fn told(status: Status, request_id: &str, output: &Output) -> Status {
    if !output.is_json() {
        output.say(&format!("The request was {request_id} (--request-id)."));
    }
    status
}

async fn breaker(args: BreakerArgs, mut admin: Admin, output: &Output) -> anyhow::Result<()> {
    let Some(decision) = args.set else {
        let answer = admin.get_breaker(request(GetBreakerRequest {})).await?.into_inner();
        return output.print(&breaker_json(&answer), || breaker_text(&answer));
    };
    let force = match decision {
        Decision::Auto => BreakerForce::Auto,
        Decision::Open => BreakerForce::Open,
        Decision::Closed => BreakerForce::Closed,
    };
    let expire_time = match (args.seconds, args.until) {
        (Some(seconds), _) => {
            Some(prost_types::Timestamp::from(SystemTime::now() + Duration::from_secs(seconds)))
        }
        (None, Some(until)) => Some(parse_time(&until)?),
        (None, None) => None,
    };
    let id = args.request_id.unwrap_or_else(request_id);
    let asked = SetBreakerRequest {
        request_id: id.clone(),
        force: force.into(),
        reason: args.reason.unwrap_or_default(),
        expire_time,
    };
    let answer = admin.set_breaker(request(asked)).await;
    let answer = answer.map_err(|status| {
        let status = told(status, &id, output);
        if !output.is_json() && expire_time.is_some() {
            output.say(&format!("It was to end at {} (--until).", time(expire_time.as_ref())));
        }
        status
    })?;
    let answer = answer.into_inner();
    let change = answer.change.clone().unwrap_or_default();
    let value = json!({
        "force": short(answer.force().as_str_name(), "BREAKER_FORCE_"),
        "change": breaker_change_json(&change),
    });
    output.print(&value, || {
        let until = match time(change.expire_time.as_ref()).as_str() {
            "" => String::new(),
            until => format!(" until {until}"),
        };
        format!(
            "The force switch is {} for all instances{until}.",
            short(answer.force().as_str_name(), "BREAKER_FORCE_")
        )
    })
}

async fn budget(args: BudgetArgs, mut admin: Admin, output: &Output) -> anyhow::Result<()> {
    let Some(endpoint) = args.endpoint else {
        let answer = admin.get_breaker(request(GetBreakerRequest {})).await?.into_inner();
        let value = json!({
            "budgets": answer.budgets.iter().map(budget_json).collect::<Vec<_>>(),
            "changes": answer.budget_changes.iter().map(budget_change_json).collect::<Vec<_>>(),
        });
        return output.print(&value, || {
            let mut text = budgets_text(&answer.budgets);
            if !answer.budget_changes.is_empty() {
                text.push_str(&format!("\n{}", budget_changes_text(&answer.budget_changes)));
            }
            text
        });
    };
    let id = args.request_id.unwrap_or_else(request_id);
    let asked = SetBudgetRequest {
        request_id: id.clone(),
        endpoint,
        // Without a pace it is what is configured: `--reset` is the other option there is.
        per_s: args.per_s.unwrap_or_default(),
        reason: args.reason.unwrap_or_default(),
    };
    let answer = admin.set_budget(request(asked)).await;
    let answer = answer.map_err(|status| told(status, &id, output))?.into_inner();
    let budget = answer.budget.unwrap_or_default();
    let value = json!({
        "budget": budget_json(&budget),
        "change": budget_change_json(&answer.change.unwrap_or_default()),
    });
    output.print(&value, || budgets_text(std::slice::from_ref(&budget)))
}

async fn list(args: ListArgs, mut admin: Admin, output: &Output) -> anyhow::Result<()> {
    let due_before = args.due_before.as_deref().map(parse_time).transpose()?;
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let mut found: Vec<ListedPayment> = Vec::new();
    let mut page_token = String::new();
    loop {
        let left = limit.saturating_sub(found.len());
        let asked = ListPaymentsRequest {
            sale_id: args.sale.clone().unwrap_or_default(),
            state: args.state.map_or(PaymentState::Unspecified, StateName::wire).into(),
            stuck: args.stuck,
            due_before,
            page_size: i32::try_from(left).unwrap_or(PAGE).min(PAGE),
            page_token,
        };
        let page = admin.list_payments(request(asked)).await?.into_inner();
        found.extend(page.payments);
        page_token = page.next_page_token;
        if page_token.is_empty() || found.len() >= limit {
            break;
        }
    }
    let more = !page_token.is_empty();
    let value = json!({
        "payments": found.iter().map(listed_json).collect::<Vec<_>>(),
        "more": more,
    });
    output.print(&value, || list_text(&found, more))
}

fn show(payment: &Payment, output: &Output) -> anyhow::Result<()> {
    output.print(&payment_json(payment), || payment_text(payment))
}

fn parse_time(text: &str) -> anyhow::Result<prost_types::Timestamp> {
    text.parse().with_context(|| format!("{text:?} is not a time such as 2026-11-30T20:00:00Z"))
}

fn state(payment: &Payment) -> String {
    short(payment.state().as_str_name(), "PAYMENT_STATE_")
}

fn payment_json(payment: &Payment) -> Value {
    json!({
        "order_id": payment.order_id,
        "sale_id": payment.sale_id,
        "state": state(payment),
        "amount": money_json(payment.amount.as_ref()),
        "refunded": payment.refunded.as_ref().map(|back| money_json(Some(back))),
        "payment_intent": payment.payment_intent,
        "decline_code": payment.decline_code,
        "attempts": payment.attempts,
        "create_time": time(payment.create_time.as_ref()),
        "update_time": time(payment.update_time.as_ref()),
    })
}

fn listed_json(listed: &ListedPayment) -> Value {
    let payment = listed.payment.clone().unwrap_or_default();
    let mut value = payment_json(&payment);
    value["failures"] = json!(listed.failures);
    value["stuck"] = json!(listed.stuck);
    value["due_time"] = json!(time(listed.due_time.as_ref()));
    value["lease_expire_time"] = json!(time(listed.lease_expire_time.as_ref()));
    value["end_reason"] = json!(listed.end_reason);
    value["cancel_requested"] = json!(listed.cancel_requested);
    value["captured"] = money_json(listed.captured.as_ref());
    value
}

fn payment_text(payment: &Payment) -> String {
    let mut text = format!(
        "Payment of order {}\n  state     {}\n  sale      {}\n  amount    {}\n  recorded  {}\n  changed   {}\n  attempts  {}",
        payment.order_id,
        state(payment),
        payment.sale_id,
        money(payment.amount.as_ref()),
        time(payment.create_time.as_ref()),
        time(payment.update_time.as_ref()),
        payment.attempts,
    );
    let refunded = payment.refunded.as_ref().map_or_else(String::new, |back| money(Some(back)));
    for (name, value) in [
        ("intent", &payment.payment_intent),
        ("refused", &payment.decline_code),
        ("refunded", &refunded),
    ] {
        if !value.is_empty() {
            text.push_str(&format!("\n  {name:<8}  {value}"));
        }
    }
    text
}

fn retried(listed: &ListedPayment) -> String {
    let payment = listed.payment.clone().unwrap_or_default();
    match time(listed.due_time.as_ref()).as_str() {
        "" => format!("The payment of order {} has ended: {}.", payment.order_id, state(&payment)),
        due => format!("The payment of order {} is looked at from {due} on.", payment.order_id),
    }
}

fn list_text(found: &[ListedPayment], more: bool) -> String {
    if found.is_empty() {
        return "No payments.".to_owned();
    }
    let mut text = table(
        &["order", "sale", "state", "amount", "recorded", "due", "attempts", "failures", "why"],
        &[3, 6, 7],
        found.iter().map(|listed| {
            let payment = listed.payment.clone().unwrap_or_default();
            let why = [
                if listed.stuck { "stuck" } else { "" },
                if listed.cancel_requested { "to be cancelled" } else { "" },
                payment.decline_code.as_str(),
                listed.end_reason.as_str(),
            ];
            let why: Vec<&str> = why.into_iter().filter(|word| !word.is_empty()).collect();
            vec![
                payment.order_id.clone(),
                payment.sale_id.clone(),
                state(&payment),
                money(payment.amount.as_ref()),
                time(payment.create_time.as_ref()),
                time(listed.due_time.as_ref()),
                payment.attempts.to_string(),
                listed.failures.to_string(),
                why.join(", "),
            ]
        }),
    );
    if more {
        text.push_str("\nThere are more; --limit shows them.");
    }
    text
}

fn differs(answer: &GetComparisonResponse) -> bool {
    let another = answer.account_standing() == AccountStanding::Another;
    answer.behind || another || !answer.differences.is_empty()
}

fn standing(answer: &GetComparisonResponse) -> String {
    match answer.account_standing() {
        AccountStanding::Unspecified => "UNCHECKED".to_owned(),
        known @ (AccountStanding::Ours
        | AccountStanding::Unproven
        | AccountStanding::Unbound
        | AccountStanding::Another) => short(known.as_str_name(), "ACCOUNT_STANDING_"),
    }
}

fn kind(difference: &Difference) -> String {
    short(difference.kind().as_str_name(), "DIFFERENCE_KIND_")
}

fn comparison_json(answer: &GetComparisonResponse) -> Value {
    let differences = answer.differences.iter().map(|difference| {
        json!({
            "kind": kind(difference),
            "order_id": difference.order_id,
            "sale_id": difference.sale_id,
            "amount": money_json(difference.amount.as_ref()),
            "update_time": time(difference.update_time.as_ref()),
        })
    });
    json!({
        "differs": differs(answer),
        "start_time": time(answer.start_time.as_ref()),
        "payments": answer.payments,
        "differences": differences.collect::<Vec<_>>(),
        "more": answer.more,
        "read_time": time(answer.read_time.as_ref()),
        "look_time": time(answer.look_time.as_ref()),
        "events_read": answer.events_read,
        "events_missed": answer.events_missed,
        "behind": answer.behind,
        "account": answer.account,
        "account_standing": standing(answer),
    })
}

fn comparison_text(answer: &GetComparisonResponse) -> String {
    let mut text = format!(
        "Payments since {}\n  compared  {}\n  differ    {}{}\n  account   {} {}\n  events    read to {}, {} of {} had been missed{}",
        time(answer.start_time.as_ref()),
        answer.payments,
        answer.differences.len(),
        if answer.more { " or more" } else { "" },
        standing(answer),
        answer.account,
        time(answer.read_time.as_ref()),
        answer.events_missed,
        answer.events_read,
        if answer.behind { "; they are not read any more" } else { "" },
    );
    if !answer.differences.is_empty() {
        let rows = answer.differences.iter().map(|difference| {
            vec![
                kind(difference),
                difference.order_id.clone(),
                difference.sale_id.clone(),
                money(difference.amount.as_ref()),
                time(difference.update_time.as_ref()),
            ]
        });
        text.push('\n');
        text.push_str(&table(&["kind", "order", "sale", "amount", "changed"], &[3], rows));
    }
    text
}

fn breaker_json(answer: &GetBreakerResponse) -> Value {
    json!({
        "state": short(answer.state().as_str_name(), "BREAKER_STATE_"),
        "cause": cause(answer),
        "failure_rate": answer.failure_rate,
        "slow_rate": answer.slow_rate,
        "next_probe_s": answer.next_probe.as_ref().map(seconds),
        "force": short(answer.force().as_str_name(), "BREAKER_FORCE_"),
        "reason": answer.reason,
        "expire_time": time(answer.expire_time.as_ref()),
        "open_payments": answer.open_payments,
        "oldest_wait_s": answer.oldest_wait.as_ref().map(seconds),
        "changes": answer.changes.iter().map(breaker_change_json).collect::<Vec<_>>(),
    })
}

/// Why the breaker opened; empty while it is closed.
fn cause(answer: &GetBreakerResponse) -> String {
    let name = short(answer.cause().as_str_name(), "BREAKER_CAUSE_");
    if name == "UNSPECIFIED" { String::new() } else { name }
}

fn seconds(duration: &prost_types::Duration) -> f64 {
    duration.seconds as f64 + f64::from(duration.nanos) / 1e9
}

fn breaker_change_json(change: &BreakerChange) -> Value {
    json!({
        "create_time": time(change.create_time.as_ref()),
        "caller": change.caller,
        "force": short(change.force().as_str_name(), "BREAKER_FORCE_"),
        "reason": change.reason,
        "expire_time": time(change.expire_time.as_ref()),
        "request_id": change.request_id,
    })
}

fn breaker_text(answer: &GetBreakerResponse) -> String {
    let force = short(answer.force().as_str_name(), "BREAKER_FORCE_");
    let mut switch = force;
    if !answer.reason.is_empty() {
        switch.push_str(&format!(": {}", answer.reason));
    }
    if answer.expire_time.is_some() {
        switch.push_str(&format!(", until {}", time(answer.expire_time.as_ref())));
    }
    let mut state = short(answer.state().as_str_name(), "BREAKER_STATE_");
    if !cause(answer).is_empty() {
        state.push_str(&format!(" ({})", cause(answer)));
    }
    if let Some(wait) = &answer.next_probe {
        state.push_str(&format!(", next probe in {:.1} s", seconds(wait)));
    }
    let waits = answer
        .oldest_wait
        .as_ref()
        .map_or_else(String::new, |wait| format!(", the oldest for {:.0} s", seconds(wait)));
    let mut text = format!(
        "Breaker in front of the provider\n  state     {state}, of the instance that answers\n  calls     {:.0} % failed, {:.0} % slow\n  \
         switch    {switch}\n  payments  {} open{waits}",
        answer.failure_rate * 100.0,
        answer.slow_rate * 100.0,
        answer.open_payments,
    );
    if !answer.changes.is_empty() {
        text.push('\n');
        text.push_str(&table(
            &["decided", "by", "switch", "reason", "until"],
            &[],
            answer.changes.iter().map(|change| {
                vec![
                    time(change.create_time.as_ref()),
                    change.caller.clone(),
                    short(change.force().as_str_name(), "BREAKER_FORCE_"),
                    change.reason.clone(),
                    time(change.expire_time.as_ref()),
                ]
            }),
        ));
    }
    text
}

fn budget_json(budget: &Budget) -> Value {
    json!({
        "endpoint": budget.endpoint,
        "configured_per_s": budget.configured_per_s,
        "set_per_s": if budget.set_per_s == 0.0 { Value::Null } else { json!(budget.set_per_s) },
        "present_per_s": budget.present_per_s,
        "tokens": budget.tokens,
    })
}

fn budget_change_json(change: &BudgetChange) -> Value {
    json!({
        "create_time": time(change.create_time.as_ref()),
        "caller": change.caller,
        "endpoint": change.endpoint,
        "per_s": if change.per_s == 0.0 { Value::Null } else { json!(change.per_s) },
        "reason": change.reason,
        "request_id": change.request_id,
    })
}

fn budgets_text(budgets: &[Budget]) -> String {
    table(
        &["endpoint", "configured/s", "set/s", "now/s", "tokens"],
        &[1, 2, 3, 4],
        budgets.iter().map(|budget| {
            let set = budget.set_per_s;
            vec![
                budget.endpoint.clone(),
                budget.configured_per_s.to_string(),
                if set == 0.0 { String::new() } else { set.to_string() },
                format!("{:.1}", budget.present_per_s),
                format!("{:.1}", budget.tokens),
            ]
        }),
    )
}

fn budget_changes_text(changes: &[BudgetChange]) -> String {
    table(
        &["decided", "by", "endpoint", "calls/s", "reason"],
        &[3],
        changes.iter().map(|change| {
            let configured = change.per_s == 0.0;
            vec![
                time(change.create_time.as_ref()),
                change.caller.clone(),
                change.endpoint.clone(),
                if configured { "configured".to_owned() } else { change.per_s.to_string() },
                change.reason.clone(),
            ]
        }),
    )
}

/// A decimal number as units and billionths.
fn decimal(text: &str) -> Result<(i64, i32), String> {
    let refuse = || "must be a decimal number above 0, such as 4.99".to_owned();
    let (units, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(units) || !digits(fraction) || fraction.len() > 9 {
        return Err(refuse());
    }
    let units: i64 = units.parse().map_err(|_| refuse())?;
    let nanos: i32 = format!("{fraction:0<9}").parse().map_err(|_| refuse())?;
    if (units, nanos) == (0, 0) { Err(refuse()) } else { Ok((units, nanos)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_read_exactly() {
        assert_eq!(decimal("4.99"), Ok((4, 990_000_000)));
        assert_eq!(decimal("12"), Ok((12, 0)));
        assert_eq!(decimal("0.001"), Ok((0, 1_000_000)));
        for bad in ["", "0", "0.00", "-1", "1,50", "1.", ".5", "1e3", "1.0000000001"] {
            assert!(decimal(bad).is_err(), "{bad}");
        }
    }
}
