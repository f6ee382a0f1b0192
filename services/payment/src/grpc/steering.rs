//! What operators send, checked, and what they get.

use flashsale_breaker::{BreakerState as Breaker, Cause};
use flashsale_errors::{Failure, Reason};
use flashsale_proto::payment::{
    AccountStanding, BreakerCause, BreakerChange, BreakerForce, BreakerState, Budget as WireBudget,
    BudgetChange, Difference as WireDifference, DifferenceKind as WireKind, GetComparisonRequest,
    ListPaymentsRequest, ListedPayment, PaymentState, SetBreakerRequest, SetBudgetRequest,
};
use flashsale_service::{caller, page, wire};
use std::time::Duration;

use time::{OffsetDateTime, macros::datetime};
use uuid::Uuid;

use super::encode;
use crate::{
    app::account::Standing,
    config::MAX_BUDGET_PER_S,
    domain::{STUCK_AFTER, State},
    peers::stripe::{BudgetPace, Endpoint},
    store::{
        ALL_CALLS, Budget, Difference, DifferenceKind, Force, ForceChange, LONGEST_CLOSED, Listed,
        NewForce, NewPace, PaceChange, Place, Wanted,
    },
};

/// The longest reason, in characters.
const MAX_REASON: usize = 200;
/// Payments on a page unless asked for, and at most.
const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 500;

/// Differences that one answer has.
pub(super) const MAX_DIFFERENCES: usize = 500;
/// After how many looks that are due the reading of events is behind.
pub(super) const LATE_LOOKS: u32 = 3;
/// From when on payments are compared unless asked for.
const COMPARED: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Before the first payment of a list by when payments were recorded, newest first.
pub(super) const NEWEST: Place = (datetime!(9999-12-31 0:00 UTC), Uuid::max());
/// Before the first payment of a list by when payments are due.
pub(super) const LONGEST_DUE: Place = (datetime!(0001-01-01 0:00 UTC), Uuid::nil());

/// In which order payments are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    NewestFirst,
    /// Those that are due before a moment, the longest due first.
    DueFirst {
        before: OffsetDateTime,
    },
}

/// A list of payments that is asked for.
#[derive(Debug)]
pub(super) struct List {
    pub(super) wanted: Wanted,
    pub(super) order: Order,
    /// Payments on a page.
    pub(super) size: usize,
    /// As it was sent.
    state: PaymentState,
    stuck: bool,
}

impl List {
    /// What its page tokens are bound to.
    pub(super) fn key(&self) -> [String; 5] {
        [
            "payments".to_owned(),
            self.wanted.sale.map(|sale| sale.to_string()).unwrap_or_default(),
            self.state.as_str_name().to_owned(),
            self.stuck.to_string(),
            match self.order {
                Order::NewestFirst => String::new(),
                Order::DueFirst { before } => before.unix_timestamp_nanos().to_string(),
            },
        ]
    }
}

pub(super) fn reason(text: &str) -> Result<String, Failure> {
    wire::printable("reason", text, MAX_REASON).map(str::to_owned)
}

/// The request id has done something else.
pub(super) fn reused(request_id: Uuid) -> Failure {
    let what = format!("{request_id} was used for another decision");
    Failure::field(Reason::RequestIdReused, "request_id", what)
}

/// A time as Postgres keeps it.
fn in_microseconds(time: OffsetDateTime) -> OffsetDateTime {
    let whole = time.microsecond() * 1_000;
    time.replace_nanosecond(whole).unwrap_or(time)
}

pub(super) fn new_force(request: &SetBreakerRequest) -> Result<NewForce, Failure> {
    let request_id = wire::request_id(&request.request_id)?;
    let force = match BreakerForce::try_from(request.force) {
        Ok(BreakerForce::Auto) => Force::Auto,
        Ok(BreakerForce::Open) => Force::Open,
        Ok(BreakerForce::Closed) => Force::Closed,
        Ok(BreakerForce::Unspecified) | Err(_) => {
            let what = "must be BREAKER_FORCE_AUTO, BREAKER_FORCE_OPEN or BREAKER_FORCE_CLOSED";
            return Err(Failure::invalid("force", what));
        }
    };
    let reason = reason(&request.reason)?;
    let expires_at = match &request.expire_time {
        Some(time) => Some(in_microseconds(wire::datetime("expire_time", time)?)),
        None => None,
    };
    match (force, expires_at) {
        (Force::Closed, None) => Err(ends_wrong(force)),
        (Force::Auto, Some(_)) => {
            let what = "must be left out with BREAKER_FORCE_AUTO, which has no end";
            Err(Failure::invalid("expire_time", what))
        }
        (Force::Closed | Force::Open, Some(_)) | (Force::Auto | Force::Open, None) => {
            let caller = caller::name();
            Ok(NewForce { request_id, caller, force, reason, expires_at })
        }
    }
}

/// A decision ends before it begins, too late or not at all.
pub(super) fn ends_wrong(force: Force) -> Failure {
    let what = match force {
        Force::Closed => format!(
            "must be a time within the next {} minutes for BREAKER_FORCE_CLOSED, by the clock of \
             Postgres: choose an earlier one, and decide again when it has come",
            LONGEST_CLOSED.as_secs() / 60
        ),
        Force::Auto | Force::Open => "is over, by the clock of Postgres: name a time that is \
                                      ahead, or none to decide until further notice"
            .to_owned(),
    };
    Failure::invalid("expire_time", what)
}

pub(super) fn new_pace(request: &SetBudgetRequest, pace: &BudgetPace) -> Result<NewPace, Failure> {
    let request_id = wire::request_id(&request.request_id)?;
    let endpoint = request.endpoint.as_str();
    if endpoint != ALL_CALLS && !Endpoint::ALL.iter().any(|known| known.as_str() == endpoint) {
        let known = Endpoint::ALL.map(Endpoint::as_str).join(", ");
        return Err(Failure::invalid("endpoint", format!("must be {ALL_CALLS} or one of {known}")));
    }
    let per_s = request.per_s;
    let per_s = if per_s == 0.0 { None } else { Some(per_s) };
    if let Some(per_s) = per_s {
        if !(per_s > 0.0 && per_s <= MAX_BUDGET_PER_S) {
            let what = format!(
                "must be above 0 and at most {MAX_BUDGET_PER_S}, or 0 for what is configured"
            );
            return Err(Failure::invalid("per_s", what));
        }
        let most = pace.most(endpoint);
        if per_s > most {
            let what = format!(
                "is above {most}, which is what Stripe allows by default or the configuration says: \
                 ask Stripe for more, and configure it first"
            );
            return Err(Failure::invalid("per_s", what));
        }
    }
    let reason = reason(&request.reason)?;
    Ok(NewPace { request_id, caller: caller::name(), endpoint: endpoint.to_owned(), per_s, reason })
}

pub(super) fn list(request: &ListPaymentsRequest) -> Result<List, Failure> {
    let sale = sale(&request.sale_id)?;
    let state = PaymentState::try_from(request.state).map_err(|_| {
        Failure::invalid("state", "is no state of a payment; leave it out for all of them")
    })?;
    // A payment that has been taken up is answered as PROCESSING, whatever its row says.
    let (states, taken_up) = match state {
        PaymentState::Unspecified => (State::ALL.to_vec(), None),
        PaymentState::Due => (vec![State::Due], Some(false)),
        PaymentState::Processing => (vec![State::Due, State::Processing], Some(true)),
        PaymentState::RequiresAction => (vec![State::RequiresAction], None),
        PaymentState::Succeeded => (vec![State::Succeeded], None),
        PaymentState::Failed => (vec![State::Failed], None),
        PaymentState::Cancelled => (vec![State::Cancelled], None),
        PaymentState::Refunded => (vec![State::Refunded], None),
    };
    let order = match &request.due_before {
        None => Order::NewestFirst,
        Some(before) => {
            Order::DueFirst { before: in_microseconds(wire::datetime("due_before", before)?) }
        }
    };
    let only_open = request.stuck || order != Order::NewestFirst;
    let states: Vec<State> =
        states.into_iter().filter(|state| !only_open || state.is_open()).collect();
    if states.is_empty() {
        let what = "is one in which nothing is due or stuck; name one of an open payment, or none";
        return Err(Failure::invalid("state", what));
    }
    let failures = if request.stuck { STUCK_AFTER } else { 0 };
    Ok(List {
        wanted: Wanted { sale, states, taken_up, failures },
        order,
        size: page::size(request.page_size, DEFAULT_PAGE, MAX_PAGE)?,
        state,
        stuck: request.stuck,
    })
}

/// Payments that are to be compared.
#[derive(Debug)]
pub(super) struct Comparison {
    pub(super) sale: Option<Uuid>,
    /// Recorded from then on.
    pub(super) since: OffsetDateTime,
}

pub(super) fn comparison(
    request: &GetComparisonRequest,
    now: OffsetDateTime,
) -> Result<Comparison, Failure> {
    let since = match &request.start_time {
        Some(time) => in_microseconds(wire::datetime("start_time", time)?),
        None => now - COMPARED,
    };
    Ok(Comparison { sale: sale(&request.sale_id)?, since })
}

fn sale(id: &str) -> Result<Option<Uuid>, Failure> {
    match id {
        "" => Ok(None),
        id => wire::uuid("sale_id", id, Reason::ArgumentInvalid).map(Some),
    }
}

pub(super) fn standing(standing: Standing) -> AccountStanding {
    match standing {
        Standing::Unchecked => AccountStanding::Unspecified,
        Standing::Unbound => AccountStanding::Unbound,
        Standing::Ours => AccountStanding::Ours,
        Standing::Unproven => AccountStanding::Unproven,
        Standing::Another => AccountStanding::Another,
    }
}

pub(super) fn difference(difference: Difference) -> WireDifference {
    let Difference { order_id, sale_id, kind, amount_minor, currency, updated_at } = difference;
    let kind = match kind {
        DifferenceKind::Stuck => WireKind::Stuck,
        DifferenceKind::RefundFailed => WireKind::RefundFailed,
        DifferenceKind::Ledger => WireKind::Ledger,
        DifferenceKind::Kept => WireKind::Kept,
        DifferenceKind::Unpaid => WireKind::Unpaid,
    };
    WireDifference {
        kind: kind.into(),
        order_id: order_id.to_string(),
        sale_id: sale_id.to_string(),
        amount: Some(wire::money(amount_minor, &currency)),
        update_time: Some(wire::timestamp(updated_at)),
    }
}

pub(super) fn wire_force(force: Force) -> BreakerForce {
    match force {
        Force::Auto => BreakerForce::Auto,
        Force::Open => BreakerForce::Open,
        Force::Closed => BreakerForce::Closed,
    }
}

pub(super) fn breaker_state(state: Breaker) -> BreakerState {
    match state {
        Breaker::Closed => BreakerState::Closed,
        Breaker::Open => BreakerState::Open,
        Breaker::HalfOpen => BreakerState::HalfOpen,
    }
}

pub(super) fn breaker_cause(cause: Option<Cause>) -> BreakerCause {
    match cause {
        None => BreakerCause::Unspecified,
        Some(Cause::Failures) => BreakerCause::Failures,
        Some(Cause::Slow) => BreakerCause::Slow,
        Some(Cause::Timeouts) => BreakerCause::Timeouts,
        Some(Cause::Probe) => BreakerCause::Probe,
    }
}

pub(super) fn breaker_change(change: ForceChange) -> BreakerChange {
    let ForceChange { at, caller, force, reason, expires_at, request_id } = change;
    BreakerChange {
        create_time: Some(wire::timestamp(at)),
        caller,
        force: wire_force(force).into(),
        reason,
        expire_time: expires_at.map(wire::timestamp),
        request_id: request_id.to_string(),
    }
}

pub(super) fn budget(budget: Budget) -> WireBudget {
    let Budget { endpoint, configured, set_rate, rate, tokens } = budget;
    WireBudget {
        endpoint,
        configured_per_s: configured,
        set_per_s: set_rate.unwrap_or_default(),
        present_per_s: rate,
        tokens,
    }
}

pub(super) fn budget_change(change: PaceChange) -> BudgetChange {
    let PaceChange { at, caller, endpoint, per_s, reason, request_id } = change;
    BudgetChange {
        create_time: Some(wire::timestamp(at)),
        caller,
        endpoint,
        per_s: per_s.unwrap_or_default(),
        reason,
        request_id: request_id.to_string(),
    }
}

pub(super) fn listed(listed: &Listed) -> ListedPayment {
    let Listed { payment, lease_until } = listed;
    let open = payment.state.is_open();
    ListedPayment {
        payment: Some(encode::payment(payment)),
        failures: payment.failures,
        stuck: open && payment.failures >= STUCK_AFTER,
        due_time: open.then(|| wire::timestamp(payment.due_at)),
        lease_expire_time: lease_until.map(wire::timestamp),
        end_reason: payment.end_reason.map(|reason| reason.as_str().to_owned()).unwrap_or_default(),
        cancel_requested: payment.cancel_requested,
        captured: Some(wire::money(payment.captured_minor, &payment.currency)),
    }
}
