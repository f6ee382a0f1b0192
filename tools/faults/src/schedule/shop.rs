//! The shop that plans a sale. It asks either instance of sale until one of them answers, under the
//! same request id.

use std::{
    future::Future,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use flashsale_errors::{Failure, Retry};
use flashsale_proto::{
    NamedChannel,
    sale::{
        CancelSaleRequest, EndSaleRequest, PauseSaleRequest, SaleSettings, ScheduleSaleRequest,
        StartSaleRequest, UpdateSaleRequest, sale_service_client::SaleServiceClient,
    },
};
use flashsale_testbed::platform::Service;
use prost_types::{FieldMask, Timestamp};
use sqlx::PgPool;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    now,
    record::{self, Recorded},
};
use crate::{
    patience::until_some,
    platform::{Platform, Sale, SaleSpec},
};

/// How long one attempt at a call may take, and all of them.
const ATTEMPT: Duration = Duration::from_secs(5);
const WITHIN: Duration = Duration::from_secs(30);
/// How long preparing takes at most on an idle machine, and each sale more.
const PREPARED_WITHIN_MS: i64 = 1_200;
const EACH_WITHIN_MS: i64 = 100;
/// How far ahead the start is at most: on a machine that is busier than that nothing is shown.
const LONGEST_LEAD_MS: i64 = 60_000;

/// A shop.
#[derive(Debug)]
pub(super) struct Shop {
    /// The one that is asked first, and the other.
    instances: [NamedChannel; 2],
    pool: PgPool,
}

/// A sale with its window, in ms since 1970.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) sale: Sale,
    pub(super) starts_ms: i64,
    pub(super) ends_ms: i64,
}

impl Shop {
    /// A shop that asks the first of these instances, and the second if that one does not answer.
    pub(super) fn of(platform: &Platform, [first, second]: [&Service; 2]) -> anyhow::Result<Self> {
        let instances = [first.channel()?, second.channel()?];
        Ok(Self { instances, pool: platform.pool.clone() })
    }

    /// Makes a sale.
    pub(super) async fn create(&self, spec: SaleSpec) -> anyhow::Result<Sale> {
        let create = spec.creation()?;
        let made = self
            .ask("the sale is made", |mut sales| {
                let request = timely(create.clone());
                async move { sales.create_sale(request).await }
            })
            .await??;
        let id = made.sale.unwrap_or_default().sale_id;
        Ok(Sale { id: id.parse().context("a sale's id")?, room: spec.room })
    }

    /// Gives a sale its window.
    pub(super) async fn schedule(&self, plan: &Plan) -> anyhow::Result<()> {
        let schedule = ScheduleSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: plan.sale.id.to_string(),
            starts_at: Some(timestamp(plan.starts_ms)?),
            ends_at: Some(timestamp(plan.ends_ms)?),
            // All sales of a platform offer the same two items.
            allow_shared_skus: true,
        };
        self.ask("the sale is scheduled", |mut sales| {
            let request = timely(schedule.clone());
            async move { sales.schedule_sale(request).await }
        })
        .await??;
        Ok(())
    }

    /// Opens or resumes a sale.
    pub(super) async fn start(&self, sale: &Sale) -> anyhow::Result<()> {
        let start = StartSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale.id.to_string(),
            allow_shared_skus: true,
        };
        self.ask("the sale is started", |mut sales| {
            let request = timely(start.clone());
            async move { sales.start_sale(request).await }
        })
        .await??;
        Ok(())
    }

    /// Holds up a sale.
    pub(super) async fn pause(&self, sale: &Sale) -> anyhow::Result<()> {
        let (request_id, sale_id) = (Uuid::new_v4().to_string(), sale.id.to_string());
        let pause = PauseSaleRequest { request_id, sale_id };
        self.ask("the sale is paused", |mut sales| {
            let request = timely(pause.clone());
            async move { sales.pause_sale(request).await }
        })
        .await??;
        Ok(())
    }

    /// Has the items of a sale of this kind cost so many euros each, from `at_ms` on; or answers
    /// why that is refused, as it is for a time that is too near.
    pub(super) async fn reprice(
        &self,
        sale: &Sale,
        spec: SaleSpec,
        euros: i64,
        at_ms: i64,
    ) -> anyhow::Result<Result<(), Status>> {
        let update = UpdateSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale.id.to_string(),
            update_mask: Some(FieldMask { paths: vec!["items".to_owned()] }),
            items: spec.items(euros),
            reason: "faults".to_owned(),
            effective_at: Some(timestamp(at_ms)?),
            ..UpdateSaleRequest::default()
        };
        let answer = self
            .ask("prices are changed", |mut sales| {
                let request = timely(update.clone());
                async move { sales.update_sale(request).await }
            })
            .await?;
        Ok(answer.map(|_| ()))
    }

    /// Has a sale end at another time.
    pub(super) async fn end_at(&self, sale: &Sale, ends_ms: i64) -> anyhow::Result<()> {
        let update = UpdateSaleRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale.id.to_string(),
            settings: Some(SaleSettings {
                ends_at: Some(timestamp(ends_ms)?),
                ..SaleSettings::default()
            }),
            update_mask: Some(FieldMask { paths: vec!["ends_at".to_owned()] }),
            reason: "faults".to_owned(),
            ..UpdateSaleRequest::default()
        };
        self.ask("the sale is changed", |mut sales| {
            let request = timely(update.clone());
            async move { sales.update_sale(request).await }
        })
        .await??;
        Ok(())
    }

    /// Ends a sale.
    pub(super) async fn end(&self, sale: &Sale) -> anyhow::Result<()> {
        let (request_id, sale_id) = (Uuid::new_v4().to_string(), sale.id.to_string());
        let end = EndSaleRequest { request_id, sale_id };
        self.ask("the sale is ended", |mut sales| {
            let request = timely(end.clone());
            async move { sales.end_sale(request).await }
        })
        .await??;
        Ok(())
    }

    /// Calls a sale off; or answers why that is refused, once that is decided.
    pub(super) async fn cancel(&self, sale: &Sale) -> anyhow::Result<Result<(), Status>> {
        let (request_id, sale_id) = (Uuid::new_v4().to_string(), sale.id.to_string());
        let cancel = CancelSaleRequest { request_id, sale_id };
        let answer = self
            .ask("the sale is called off, or not", |mut sales| {
                let request = timely(cancel.clone());
                async move { sales.cancel_sale(request).await }
            })
            .await?;
        Ok(answer.map(|_| ()))
    }

    /// A planned sale that is prepared at least `left_ms` before it starts, and open for
    /// `length_ms`.
    pub(super) async fn prepare(
        &self,
        spec: SaleSpec,
        left_ms: i64,
        length_ms: i64,
    ) -> anyhow::Result<Plan> {
        let plans = self.prepare_some(1, spec, left_ms, length_ms).await?;
        plans.into_iter().next().context("no sale")
    }

    /// Several of them with the same window.
    pub(super) async fn prepare_some(
        &self,
        how_many: u64,
        spec: SaleSpec,
        left_ms: i64,
        length_ms: i64,
    ) -> anyhow::Result<Vec<Plan>> {
        let each_ms = EACH_WITHIN_MS * i64::try_from(how_many)?;
        let mut lead_ms = left_ms + PREPARED_WITHIN_MS + each_ms;
        loop {
            let mut sales = Vec::new();
            for _ in 0..how_many {
                sales.push(self.create(spec).await?);
            }
            let starts_ms = now() + lead_ms;
            let planned = |sale| Plan { sale, starts_ms, ends_ms: starts_ms + length_ms };
            let plans: Vec<Plan> = sales.into_iter().map(planned).collect();
            for plan in &plans {
                self.schedule(plan).await?;
            }
            let mut all_prepared = true;
            for plan in &plans {
                let record = self.settled(&plan.sale, |record| record.state != "SCHEDULED").await?;
                all_prepared &= record.state == "PREPARED";
            }
            if all_prepared && starts_ms - now() >= left_ms {
                return Ok(plans);
            }
            // The machine is too busy for it to be in time.
            for plan in &plans {
                self.end(&plan.sale).await?;
            }
            lead_ms *= 2;
            ensure!(lead_ms <= LONGEST_LEAD_MS, "not within {lead_ms} ms: sales are prepared");
        }
    }

    /// Waits until a sale is as it is to be, inventory and the waiting room know it, and nothing
    /// about it is left to be decided.
    pub(super) async fn settled(
        &self,
        sale: &Sale,
        is_it: impl Fn(&Recorded) -> bool,
    ) -> anyhow::Result<Recorded> {
        until_some(WITHIN, "the sale settles", async || {
            let record = record::read(&self.pool, sale).await?;
            let settled = record.propagated && !record.cancel_requested && is_it(&record);
            anyhow::Ok(Some(record).filter(|_| settled))
        })
        .await
    }

    /// As [`Self::settled`], in a state.
    pub(super) async fn settled_in(&self, sale: &Sale, state: &str) -> anyhow::Result<Recorded> {
        let settled = self.settled(sale, |record| record.state == state).await;
        settled.with_context(|| format!("sale {} is not {state}", sale.id))
    }

    /// Asks one instance and the other in turn until there is an answer. A refusal is one, too.
    async fn ask<T, Fut>(
        &self,
        what: &str,
        call: impl Fn(SaleServiceClient<NamedChannel>) -> Fut,
    ) -> anyhow::Result<Result<T, Status>>
    where
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let attempts = AtomicU32::new(0);
        until_some(WITHIN, what, async || {
            let [first, second] = &self.instances;
            let attempt = attempts.fetch_add(1, Ordering::Relaxed);
            let instance = if attempt.is_multiple_of(2) { first } else { second };
            match call(SaleServiceClient::new(instance.clone())).await {
                Ok(answer) => Ok(Some(Ok(answer.into_inner()))),
                Err(status) if is_refusal(&status) => Ok(Some(Err(status))),
                Err(status) => Err(status),
            }
        })
        .await
    }
}

/// A call that is given up after a while.
pub(super) fn timely<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(ATTEMPT);
    request
}

fn is_refusal(status: &Status) -> bool {
    Failure::from_status(status).is_some_and(|failure| failure.reason().retry() == Retry::Never)
}

fn timestamp(ms: i64) -> anyhow::Result<Timestamp> {
    let nanos = i32::try_from(ms.rem_euclid(1_000))? * 1_000_000;
    Ok(Timestamp { seconds: ms.div_euclid(1_000), nanos })
}
