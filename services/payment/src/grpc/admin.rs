//! `flashsale.payment.v1.PaymentAdminService`.

use std::time::Duration;

use flashsale_errors::{Failure, Reason};
use flashsale_proto::payment::{
    AbandonPaymentRequest, AbandonPaymentResponse, GetBreakerRequest, GetBreakerResponse,
    GetComparisonRequest, GetComparisonResponse, ListPaymentsRequest, ListPaymentsResponse,
    MakeDueRequest, MakeDueResponse, SetBreakerRequest, SetBreakerResponse, SetBudgetRequest,
    SetBudgetResponse, payment_admin_service_server::PaymentAdminService,
};
use flashsale_service::{caller, page, wire};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;
use uuid::Uuid;

use super::{
    encode, not_found,
    steering::{self, Order},
};
use crate::{
    app::{
        Bell,
        abandon::{Abandoned, Abandoning, Obstacle},
        account::AccountCheck,
    },
    domain::Payment,
    peers::stripe::Gate,
    store::{ForceSet, Listed, NewAbandonment, PaceSet, Store},
};

/// Decisions of each kind that GetBreaker answers with.
const CHANGES: i64 = 20;

/// What operators do.
#[derive(Debug)]
pub struct Admin {
    /// Keeps the decisions.
    pub store: Store,
    /// What stands in front of the provider.
    pub gate: Gate,
    /// Rung when payments may go on.
    pub charges: Bell,
    /// Ends payments that can never be captured.
    pub abandoning: Abandoning,
    /// Whose the secret key is.
    pub account: AccountCheck,
    /// How often the provider's events are read.
    pub compare_every: Duration,
}

impl Admin {
    /// An order's payment, if its sale is one that the caller reaches.
    async fn reachable(&self, order: Uuid) -> Result<Payment, Failure> {
        let payment = self.store.payment(order).await.map_err(flashsale_pg::failure)?;
        payment.filter(|payment| caller::reaches(payment.sale_id)).ok_or_else(|| not_found(order))
    }

    async fn listed(&self, order: Uuid) -> Result<Listed, Failure> {
        let listed = self.store.listed_payment(order).await.map_err(flashsale_pg::failure)?;
        listed.ok_or_else(|| not_found(order))
    }
}

#[tonic::async_trait]
impl PaymentAdminService for Admin {
    async fn get_breaker(
        &self,
        _: Request<GetBreakerRequest>,
    ) -> Result<Response<GetBreakerResponse>, Status> {
        let (store, pace) = (&self.store, &self.gate.pace);
        let now = store.force_now().await.map_err(flashsale_pg::failure)?;
        let changes = store.force_changes(CHANGES).await.map_err(flashsale_pg::failure)?;
        let budgets = store.budgets(&pace.buckets(), pace.burst_s()).await;
        let budgets = budgets.map_err(flashsale_pg::failure)?;
        let budget_changes = store.pace_changes(CHANGES).await.map_err(flashsale_pg::failure)?;
        let open = store.open_payments().await.map_err(flashsale_pg::failure)?;
        let oldest_wait = open.oldest.map(|oldest| {
            let waited = flashsale_failpoint::now_utc() - oldest;
            wire::duration(Duration::try_from(waited).unwrap_or_default())
        });
        let breaker = self.gate.breaker.snapshot();
        Ok(Response::new(GetBreakerResponse {
            state: steering::breaker_state(breaker.state).into(),
            force: steering::wire_force(now.force).into(),
            open_payments: open.count,
            oldest_wait,
            cause: steering::breaker_cause(breaker.cause).into(),
            failure_rate: breaker.failure_rate,
            slow_rate: breaker.slow_rate,
            next_probe: breaker.next_probe.map(wire::duration),
            reason: now.reason,
            expire_time: now.expires_at.map(wire::timestamp),
            changes: changes.into_iter().map(steering::breaker_change).collect(),
            budgets: budgets.into_iter().map(steering::budget).collect(),
            budget_changes: budget_changes.into_iter().map(steering::budget_change).collect(),
        }))
    }

    async fn set_breaker(
        &self,
        request: Request<SetBreakerRequest>,
    ) -> Result<Response<SetBreakerResponse>, Status> {
        let asked = steering::new_force(request.get_ref())?;
        let made = match self.store.set_force(&asked).await.map_err(flashsale_pg::failure)? {
            ForceSet::Made(made) => made,
            ForceSet::Reused => return Err(steering::reused(asked.request_id).into()),
            ForceSet::EndsWrong => return Err(steering::ends_wrong(asked.force).into()),
        };
        // This instance follows at once, the others within a second.
        self.gate.switch.forget().await;
        self.charges.ring();
        tracing::warn!(
            request_id = %made.request_id, caller = made.caller, force = made.force.as_str(),
            "operators set the force switch"
        );
        let now = self.store.force_now().await.map_err(flashsale_pg::failure)?;
        Ok(Response::new(SetBreakerResponse {
            force: steering::wire_force(now.force).into(),
            change: Some(steering::breaker_change(made)),
        }))
    }

    async fn list_payments(
        &self,
        request: Request<ListPaymentsRequest>,
    ) -> Result<Response<ListPaymentsResponse>, Status> {
        let request = request.into_inner();
        let list = steering::list(&request)?;
        let key = list.key();
        let key: Vec<&str> = key.iter().map(String::as_str).collect();
        let after: Option<page::Place> = page::key(&key, &request.page_token)?;
        let limit = page::one_more(list.size);
        let found = match list.order {
            Order::NewestFirst => {
                let after = after.map_or(steering::NEWEST, |after| (after.at, after.id));
                self.store.newest_payments(&list.wanted, after, limit).await
            }
            Order::DueFirst { before } => {
                let after = after.map_or(steering::LONGEST_DUE, |after| (after.at, after.id));
                self.store.due_payments(&list.wanted, before, after, limit).await
            }
        };
        let found = found.map_err(flashsale_pg::failure)?;
        let (found, next) =
            page::cut(found, list.size, |(place, _)| page::Place { at: place.0, id: place.1 });
        Ok(Response::new(ListPaymentsResponse {
            payments: found.iter().map(|(_, listed)| steering::listed(listed)).collect(),
            next_page_token: page::token(&key, next.as_ref()),
        }))
    }

    async fn set_budget(
        &self,
        request: Request<SetBudgetRequest>,
    ) -> Result<Response<SetBudgetResponse>, Status> {
        let pace = &self.gate.pace;
        let asked = steering::new_pace(request.get_ref(), pace)?;
        let size = (pace.configured(&asked.endpoint) * pace.burst_s()).max(1.0);
        let set = self.store.set_budget(&asked, size, pace.longest_wait()).await;
        let made = match set.map_err(flashsale_pg::failure)? {
            PaceSet::Made(made) => made,
            PaceSet::Reused => return Err(steering::reused(asked.request_id).into()),
        };
        tracing::warn!(
            request_id = %made.request_id, caller = made.caller, endpoint = made.endpoint,
            per_s = made.per_s, "operators set a budget"
        );
        let configured: Vec<_> =
            pace.buckets().into_iter().filter(|(bucket, _)| *bucket == made.endpoint).collect();
        let budgets = self.store.budgets(&configured, pace.burst_s()).await;
        let budget = budgets.map_err(flashsale_pg::failure)?.pop();
        Ok(Response::new(SetBudgetResponse {
            budget: budget.map(steering::budget),
            change: Some(steering::budget_change(made)),
        }))
    }

    async fn make_due(
        &self,
        request: Request<MakeDueRequest>,
    ) -> Result<Response<MakeDueResponse>, Status> {
        let request = request.into_inner();
        let request_id = wire::request_id(&request.request_id)?;
        let order = super::decode::order_id(&request.order_id)?;
        self.reachable(order).await?;
        self.store.wake_payment(order).await.map_err(flashsale_pg::failure)?;
        tracing::info!(%request_id, %order, "operators have a payment looked at");
        self.charges.ring();
        let listed = self.listed(order).await?;
        Ok(Response::new(MakeDueResponse { payment: Some(steering::listed(&listed)) }))
    }

    async fn abandon_payment(
        &self,
        request: Request<AbandonPaymentRequest>,
    ) -> Result<Response<AbandonPaymentResponse>, Status> {
        let request = request.into_inner();
        let request_id = wire::request_id(&request.request_id)?;
        let order_id = super::decode::order_id(&request.order_id)?;
        let reason = steering::reason(&request.reason)?;
        let payment = self.reachable(order_id).await?;
        let caller = caller::name();
        let asked = NewAbandonment { request_id, caller, order_id, reason };
        let abandoning = self.abandoning.clone();
        // In a task of its own: asking the provider may take longer than the caller waits, and a
        // look that is broken off would leave the payment leased.
        let work = async move { abandoning.abandon(&payment, &asked).await };
        let done = tokio::spawn(work.in_current_span()).await.map_err(Failure::internal)?;
        match done.map_err(flashsale_pg::failure)? {
            Abandoned::Ended => {}
            Abandoned::Reused => return Err(steering::reused(request_id).into()),
            Abandoned::Refused(obstacle) => return Err(not_abandonable(order_id, &obstacle).into()),
        }
        let payment = self.reachable(order_id).await?;
        Ok(Response::new(AbandonPaymentResponse { payment: Some(encode::payment(&payment)) }))
    }

    async fn get_comparison(
        &self,
        request: Request<GetComparisonRequest>,
    ) -> Result<Response<GetComparisonResponse>, Status> {
        let now = flashsale_failpoint::now_utc();
        let wanted = steering::comparison(request.get_ref(), now)?;
        let limit = page::one_more(steering::MAX_DIFFERENCES);
        let read = self.store.read_so_far().await.map_err(flashsale_pg::failure)?;
        let account = self.store.account().await.map_err(flashsale_pg::failure)?;
        let compared = self.store.compare(wanted.sale, wanted.since, limit).await;
        let mut compared = compared.map_err(flashsale_pg::failure)?;
        let more = compared.differences.len() > steering::MAX_DIFFERENCES;
        compared.differences.truncate(steering::MAX_DIFFERENCES);
        Ok(Response::new(GetComparisonResponse {
            read_time: Some(wire::timestamp(read.read_to)),
            look_time: Some(wire::timestamp(read.noted_at)),
            events_read: read.events,
            events_missed: read.missed,
            behind: now - read.read_to > steering::LATE_LOOKS * self.compare_every,
            account_standing: steering::standing(self.account.standing()).into(),
            account: account.map(|account| account.id).unwrap_or_default(),
            start_time: Some(wire::timestamp(wanted.since)),
            payments: compared.payments,
            differences: compared.differences.into_iter().map(steering::difference).collect(),
            more,
        }))
    }
}

fn not_abandonable(order: Uuid, obstacle: &Obstacle) -> Failure {
    let what = format!("the payment of order {order} is not ended: {obstacle}");
    Failure::new(Reason::PaymentNotAbandonable, what)
        .with("order_id", order)
        .with("obstacle", obstacle.as_str())
}
