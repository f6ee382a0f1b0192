//! A sale in which everything happens that inventory can be asked to do, so that each of its steps
//! is come by.

use std::{sync::OnceLock, time::Duration};

use flashsale_errors::{Failure, Retry};
use flashsale_proto::{
    NamedChannel,
    inventory::{
        AdjustStockRequest, GetStockRequest, Line, ListAdjustmentsRequest, RebuildRequest,
        ReconcileRequest, ReleaseHoldRequest, ReserveRequest, TakeOverRequest,
        inventory_admin_service_client::InventoryAdminServiceClient,
        inventory_service_client::InventoryServiceClient,
    },
};
use flashsale_testbed::{Reply, ask};
use nix::sys::signal::Signal;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::{
    crowd::{Crowd, Manners, Story},
    patience::until_some,
    platform::{PLENTY, Platform, Sale, SaleSpec, stores::key},
};

/// How long one attempt at a call may take, and all of them.
const ATTEMPT: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);
const AGAIN: Duration = Duration::from_millis(50);
/// How many orders are placed before the rest.
const ORDERS: usize = 6;
/// How long orders are held back from the queue.
const LATE: Duration = Duration::from_millis(200);
/// How long the background tasks get in the end.
const IDLE: Duration = Duration::from_millis(1_500);

/// Says of the latest placed hold whose order is not claimed that it was placed two minutes ago.
const OVERDUE: &str = "
local id = redis.call('ZRANGE', KEYS[2], -1, -1)[1]
local json = id and redis.call('HGET', KEYS[1], id)
if not json then
  return 0
end
local hold = cjson.decode(json)
hold.p = hold.p - 120000
redis.call('HSET', KEYS[1], id, cjson.encode(hold))
return 1";

/// A tour.
pub(super) struct Tour<'a> {
    pub(super) platform: &'a Platform,
    /// The step that the tour is for: some are only come by when something else fails, too.
    pub(super) step: &'a str,
    /// What arms its kill point in the middle of the sale; nothing if it was armed before.
    pub(super) arm: Option<(&'a str, String)>,
    pub(super) seed: u64,
    /// The sale, once it is open.
    pub(super) sale: &'a OnceLock<Sale>,
    /// Set when inventory has been killed: what is begun is brought to its end, and nothing else
    /// begun.
    pub(super) enough: &'a CancellationToken,
}

impl Tour<'_> {
    /// Goes through all of it, or until it is enough.
    pub(super) async fn run(&self) -> anyhow::Result<(Sale, Story)> {
        let sale = self.platform.open_sale(SaleSpec::default()).await?;
        let _ = self.sale.set(sale);
        let manners = Manners { at_once: 4, ..Manners::default() };
        let crowd = Crowd::come(self.platform, &sale, self.seed, manners)?;
        let toured = self.everything(&sale, &crowd).await;
        let story = crowd.leave().await;
        toured.map(|()| (sale, story))
    }

    async fn everything(&self, sale: &Sale, crowd: &Crowd) -> anyhow::Result<()> {
        until_some(PATIENCE, "orders are placed", async || {
            anyhow::Ok((crowd.accepted() >= ORDERS || self.enough.is_cancelled()).then_some(()))
        })
        .await?;
        if self.enough.is_cancelled() {
            return Ok(());
        }
        if let Some(arm) = &self.arm {
            self.platform.services.inventory.restart(std::slice::from_ref(arm)).await?;
        }
        self.adjust(sale, 5).await?;
        self.adjust(sale, -3).await?;
        self.list_adjustments(sale).await?;
        if self.enough.is_cancelled() {
            return Ok(());
        }
        self.mend(sale).await?;
        if self.enough.is_cancelled() {
            return Ok(());
        }
        self.rebuild_before_a_late_order(sale).await?;
        if self.enough.is_cancelled() {
            return Ok(());
        }
        match self.step {
            "sql/adjustment_take_up" => self.adjust_twice(sale).await?,
            "sql/adjustment_forget" => self.adjust_a_lost_stock(sale).await?,
            "sql/rebuild_release" => self.rebuild_without_redis(sale).await?,
            "sql/claims_floor" => self.look_for_an_overdue_order(sale).await?,
            "publish/closing" => self.rebuild_on_another_server(sale).await?,
            "commit/takeover" => self.take_over().await?,
            _ => {}
        }
        let until = Instant::now() + IDLE;
        while Instant::now() < until && !self.enough.is_cancelled() {
            sleep(AGAIN).await;
        }
        Ok(())
    }

    fn admin(&self) -> anyhow::Result<InventoryAdminServiceClient<NamedChannel>> {
        Ok(InventoryAdminServiceClient::new(self.platform.services.inventory.channel()?))
    }

    async fn adjust(&self, sale: &Sale, delta: i64) -> anyhow::Result<()> {
        let client = self.admin()?;
        let request = adjustment(sale, delta);
        asked("AdjustStock", || {
            let (mut client, request) = (client.clone(), timely(request.clone(), ATTEMPT));
            async move { client.adjust_stock(request).await }
        })
        .await?;
        Ok(())
    }

    async fn list_adjustments(&self, sale: &Sale) -> anyhow::Result<()> {
        let client = self.admin()?;
        let request = ListAdjustmentsRequest {
            sale_id: sale.id.to_string(),
            ..ListAdjustmentsRequest::default()
        };
        asked("ListAdjustments", || {
            let (mut client, request) = (client.clone(), timely(request.clone(), ATTEMPT));
            async move { client.list_adjustments(request).await }
        })
        .await?;
        Ok(())
    }

    /// The deadline of a hold is lost, and a comparison of the stores puts it back.
    async fn mend(&self, sale: &Sale) -> anyhow::Result<()> {
        let client = InventoryServiceClient::new(self.platform.services.inventory.channel()?);
        let mut holds = Vec::new();
        for number in 0..2 {
            let buyer_id = format!("cart-{number}");
            let request = ReserveRequest {
                request_id: Uuid::new_v4().to_string(),
                sale_id: sale.id.to_string(),
                buyer_id: buyer_id.clone(),
                lines: vec![Line { sku: PLENTY.to_owned(), quantity: 1 }],
                admission: String::new(),
            };
            let answer = asked("Reserve", || {
                let (mut client, request) = (client.clone(), timely(request.clone(), ATTEMPT));
                async move { client.reserve(request).await }
            })
            .await?;
            holds.push((buyer_id, answer.hold.unwrap_or_default().hold_id));
        }
        // The other one stays, or the key would be gone with its last entry.
        if let Some((_, hold_id)) = holds.first() {
            let deadlines = key(sale.id, "deadlines");
            ask(self.platform.redis.port(), &["ZREM", &deadlines, hold_id]).await?;
        }
        self.reconcile(sale).await?;
        for (buyer_id, hold_id) in holds {
            let request = ReleaseHoldRequest {
                request_id: Uuid::new_v4().to_string(),
                sale_id: sale.id.to_string(),
                buyer_id,
                hold_id,
            };
            asked("ReleaseHold", || {
                let (mut client, request) = (client.clone(), timely(request.clone(), ATTEMPT));
                async move { client.release_hold(request).await }
            })
            .await?;
        }
        Ok(())
    }

    async fn reconcile(&self, sale: &Sale) -> anyhow::Result<()> {
        let admin = self.admin()?;
        let request = ReconcileRequest {
            request_id: Uuid::new_v4().to_string(),
            sale_id: sale.id.to_string(),
            repair: true,
        };
        asked("Reconcile", || {
            let (mut admin, request) = (admin.clone(), timely(request.clone(), ATTEMPT));
            async move { admin.reconcile(request).await }
        })
        .await?;
        Ok(())
    }

    /// An order that waits to be claimed for so long that its message is looked for. The tour has
    /// no such time: it is said to have waited.
    async fn look_for_an_overdue_order(&self, sale: &Sale) -> anyhow::Result<()> {
        let (holds, pending) = (key(sale.id, "holds"), key(sale.id, "pending"));
        self.platform.services.worker.signal(Signal::SIGSTOP).await;
        let waits = until_some(PATIENCE, "an order waits", async || {
            let command = ["EVAL", OVERDUE, "2", &holds, &pending];
            let waits = ask(self.platform.redis.port(), &command).await?;
            anyhow::Ok((waits == Reply::Int(1)).then_some(()))
        })
        .await;
        let reconciled = self.reconcile(sale).await;
        self.platform.services.worker.signal(Signal::SIGCONT).await;
        waits.and(reconciled)
    }

    /// Orders are published after the marker of a rebuild, and take their units again.
    async fn rebuild_before_a_late_order(&self, sale: &Sale) -> anyhow::Result<()> {
        self.platform.to_nats.freeze();
        sleep(LATE).await;
        let rebuilt = self.rebuild(sale).await;
        self.platform.to_nats.thaw();
        rebuilt?;
        sleep(LATE).await;
        let client = InventoryServiceClient::new(self.platform.services.inventory.channel()?);
        let request =
            GetStockRequest { sale_id: sale.id.to_string(), skus: Vec::new(), fresh: true };
        asked("GetStock", || {
            let (mut client, request) = (client.clone(), timely(request.clone(), ATTEMPT));
            async move { client.get_stock(request).await }
        })
        .await?;
        Ok(())
    }

    async fn rebuild(&self, sale: &Sale) -> anyhow::Result<()> {
        let admin = self.admin()?;
        let request = rebuild(sale);
        asked("Rebuild", || {
            let (mut admin, request) = (admin.clone(), timely(request.clone(), ATTEMPT));
            async move { admin.rebuild(request).await }
        })
        .await?;
        Ok(())
    }

    /// A rebuild that cannot close the old epoch by its keys: Redis has another name, as after it
    /// was made a replica and promoted again.
    async fn rebuild_on_another_server(&self, sale: &Sale) -> anyhow::Result<()> {
        let port = self.platform.redis.port();
        ask(port, &["REPLICAOF", "127.0.0.1", "1"]).await?;
        ask(port, &["REPLICAOF", "NO", "ONE"]).await?;
        self.rebuild(sale).await
    }

    /// No server is replaced by it: the server that counts is the one that is spoken to.
    async fn take_over(&self) -> anyhow::Result<()> {
        let client = self.admin()?;
        let request =
            TakeOverRequest { request_id: Uuid::new_v4().to_string(), reason: "faults".to_owned() };
        asked("TakeOver", || {
            let (mut client, request) = (client.clone(), timely(request.clone(), ATTEMPT));
            async move { client.take_over(request).await }
        })
        .await?;
        Ok(())
    }

    /// An adjustment whose caller gives up before it is done, and asks again.
    async fn adjust_twice(&self, sale: &Sale) -> anyhow::Result<()> {
        let request = adjustment(sale, 2);
        let hold = self.platform.to_redis.hold(request.request_id.clone());
        // It is written down and waits for its script.
        let given_up = timely(request.clone(), Duration::from_millis(300));
        self.admin()?.adjust_stock(given_up).await.err();
        hold.go.send(()).ok();
        let client = self.admin()?;
        asked("AdjustStock", || {
            let (mut client, request) = (client.clone(), timely(request.clone(), ATTEMPT));
            async move { client.adjust_stock(request).await }
        })
        .await?;
        Ok(())
    }

    /// A withdrawal whose stock is lost before its script gets there.
    async fn adjust_a_lost_stock(&self, sale: &Sale) -> anyhow::Result<()> {
        let request = adjustment(sale, -2);
        let hold = self.platform.to_redis.hold(request.request_id.clone());
        let mut admin = self.admin()?;
        let asked = tokio::spawn(async move { admin.adjust_stock(timely(request, ATTEMPT)).await });
        hold.reached.await.ok();
        ask(self.platform.redis.port(), &["FLUSHALL"]).await?;
        hold.go.send(()).ok();
        // It is refused for now, which is all that is asked for.
        asked.await?.err();
        Ok(())
    }

    /// A rebuild that cannot load: Redis is away when the claims have come past the marker.
    async fn rebuild_without_redis(&self, sale: &Sale) -> anyhow::Result<()> {
        let (before, _) = self.platform.epoch(sale).await?;
        self.platform.services.worker.signal(Signal::SIGSTOP).await;
        let (mut admin, request) = (self.admin()?, rebuild(sale));
        let asked = tokio::spawn(async move { admin.rebuild(timely(request, ATTEMPT)).await });
        let begun = until_some(PATIENCE, "the rebuild begins", async || {
            anyhow::Ok((self.platform.epoch(sale).await?.0 > before).then_some(()))
        })
        .await;
        self.platform.to_redis.lead_to(0);
        self.platform.to_redis.cut();
        self.platform.services.worker.signal(Signal::SIGCONT).await;
        asked.await?.err();
        self.platform.to_redis.lead_to(self.platform.redis.port());
        begun
    }
}

fn adjustment(sale: &Sale, delta: i64) -> AdjustStockRequest {
    AdjustStockRequest {
        request_id: Uuid::new_v4().to_string(),
        sale_id: sale.id.to_string(),
        sku: PLENTY.to_owned(),
        delta,
        reason: "faults".to_owned(),
    }
}

fn rebuild(sale: &Sale) -> RebuildRequest {
    let request_id = Uuid::new_v4().to_string();
    RebuildRequest { request_id, sale_id: sale.id.to_string(), force: true }
}

fn timely<T>(message: T, within: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(within);
    request
}

/// Asks until there is an answer. A refusal is one, too: a hold may be lost with its stock.
async fn asked<T: Default, Fut>(what: &str, call: impl Fn() -> Fut) -> anyhow::Result<T>
where
    Fut: Future<Output = Result<Response<T>, Status>>,
{
    let answer = until_some(PATIENCE, what, async || match call().await {
        Ok(answer) => Ok(Some(answer.into_inner())),
        Err(status) => {
            let failure = Failure::from_status(&status);
            let refused = failure.is_some_and(|failure| failure.reason().retry() == Retry::Never);
            if refused { Ok(Some(T::default())) } else { Err(status) }
        }
    });
    answer.await
}
