//! What has to happen in a sale so that the order worker comes by a step of its.

use std::time::Duration;

use flashsale_proto::inventory::{
    RebuildRequest, inventory_admin_service_client::InventoryAdminServiceClient,
};
use nix::sys::signal::Signal;
use tokio::time::sleep;
use tonic::Request;
use uuid::Uuid;

use super::dead_letters;
use crate::{
    patience::until_some,
    platform::{Platform, Sale, SaleSpec},
};

const WITHIN: Duration = Duration::from_secs(30);
/// How long one attempt at a call may take.
const ATTEMPT: Duration = Duration::from_secs(5);
/// How long orders are held back from the queue.
const LATE: Duration = Duration::from_millis(300);
/// Has the worker purge what it has just claimed.
const PURGE_AT_ONCE: [(&str, &str); 2] =
    [("FLASHSALE_WORKER__PURGE_INTERVAL_MS", "100"), ("FLASHSALE_WORKER__PURGE_AFTER_MS", "0")];

/// A sale in which the worker is armed.
pub(super) struct Tour<'a> {
    pub(super) sale: Sale,
    /// The step that the tour is for.
    pub(super) step: &'a str,
    /// What arms its kill point.
    pub(super) arm: (&'a str, String),
}

impl Tour<'_> {
    /// Arms the worker, and has happen what its own work would not come by.
    pub(super) async fn go(&self, platform: &mut Platform) -> anyhow::Result<()> {
        match self.step {
            "consumer/delete" => {
                self.restart(platform, &[]).await?;
                platform.services.worker.signal(Signal::SIGTERM).await;
            }
            "commit/parked" | "inventory/retake" | "sql/parked_lease" => {
                self.restart(platform, &[]).await?;
                self.rebuild_before_late_orders(platform).await?;
                platform.to_nats.thaw();
            }
            // The late orders are parked, and no inventory answers for their units.
            "sql/parked_put_off" => {
                self.restart(platform, &[]).await?;
                self.rebuild_before_late_orders(platform).await?;
                platform.services.inventory.signal(Signal::SIGSTOP).await;
                platform.to_nats.thaw();
            }
            "inventory/get_hold"
            | "publish/again"
            | "sql/dead_letter"
            | "sql/dead_letters_list"
            | "sql/order_sale"
            | "sql/transitions_list" => {
                let decoy = platform.open_sale(SaleSpec::default()).await?;
                let dead_letter = dead_letters::strange(platform, &decoy).await?;
                self.restart(platform, &[]).await?;
                // It dies of being asked.
                dead_letters::decide(platform, &dead_letter, false).await.ok();
            }
            // Of an order that was placed, whose units come back or stay with it.
            "commit/dead_letters" | "sql/dead_letters_retry" => {
                platform.to_nats.freeze();
                let dead_letter = dead_letters::held_back(platform, &self.sale).await?;
                self.restart(platform, &[]).await?;
                let drop = self.step == "commit/dead_letters";
                dead_letters::decide(platform, &dead_letter, drop).await.ok();
                platform.to_nats.thaw();
            }
            "purge/orders" => {
                self.restart(platform, &PURGE_AT_ONCE).await?;
            }
            "sql/outbox_retry" => {
                platform.smtp()?.down().await;
                self.restart(platform, &[]).await?;
            }
            "sql/position_begin" => {
                platform.services.worker.kill().await;
                sqlx::query("DELETE FROM queue_positions").execute(&platform.pool).await?;
                self.restart(platform, &[]).await?;
            }
            "sql/position_restart" => {
                platform.services.worker.kill().await;
                platform.jetstream().await?.delete_stream("ORDERS").await?;
                self.restart(platform, &[]).await?;
            }
            _ => self.restart(platform, &[]).await?,
        }
        Ok(())
    }

    /// Undoes what of it is left.
    pub(super) async fn end(&self, platform: &mut Platform) -> anyhow::Result<()> {
        if self.step == "sql/parked_put_off" {
            platform.services.inventory.signal(Signal::SIGCONT).await;
        }
        if !matches!(self.step, "sql/dead_letters_retry") {
            dead_letters::give_up(platform).await?;
        }
        platform.smtp()?.up().await
    }

    async fn restart(&self, platform: &Platform, more: &[(&str, &str)]) -> anyhow::Result<()> {
        let mut env = vec![self.arm.clone()];
        env.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        platform.services.worker.restart(&env).await
    }

    /// Holds orders back from the queue while the stock is rebuilt, so that they are published
    /// behind its marker.
    async fn rebuild_before_late_orders(&self, platform: &Platform) -> anyhow::Result<()> {
        platform.to_nats.freeze();
        sleep(LATE).await;
        rebuild(platform, self.sale).await
    }
}

fn request(sale: Sale) -> Request<RebuildRequest> {
    let request_id = Uuid::new_v4().to_string();
    let rebuild = RebuildRequest { request_id, sale_id: sale.id.to_string(), force: true };
    let mut request = Request::new(rebuild);
    request.set_timeout(ATTEMPT);
    request
}

async fn rebuild(platform: &Platform, sale: Sale) -> anyhow::Result<()> {
    let admin = InventoryAdminServiceClient::new(platform.services.inventory.channel()?);
    until_some(WITHIN, "the stock is rebuilt", async || {
        admin.clone().rebuild(request(sale)).await.map(Some)
    })
    .await
    .map(|_| ())
}
