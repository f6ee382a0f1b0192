//! The live line: what the crowd does and what is left.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Instant,
};

use flashsale_cli::{client::request, output::Output};
use flashsale_proto::{
    inventory::{GetStockRequest, inventory_service_client::InventoryServiceClient},
    sale::Sale,
};
use tokio::{sync::oneshot, task::JoinHandle};

use crate::{crowd::Crowd, live::LiveLine, stack::Stack};

/// Writes the line until told to stop.
#[derive(Debug)]
pub(crate) struct Progress {
    stop: oneshot::Sender<()>,
    writing: JoinHandle<()>,
}

impl Progress {
    /// Starts writing.
    pub(crate) async fn start(
        crowd: Arc<Crowd>,
        stack: &Stack,
        sale: &Sale,
        output: &Output,
    ) -> anyhow::Result<Self> {
        let mut inventory = InventoryServiceClient::new(stack.channel().await?);
        let sale_id = sale.sale_id.clone();
        let live = LiveLine::new(output);
        let (stop, mut stopped) = oneshot::channel();
        let writing = tokio::spawn(async move {
            let began = Instant::now();
            loop {
                let ended = tokio::select! {
                    () = tokio::time::sleep(live.every()) => false,
                    _ = &mut stopped => true,
                };
                let asked =
                    GetStockRequest { sale_id: sale_id.clone(), ..GetStockRequest::default() };
                let stock =
                    inventory.get_stock(request(asked)).await.ok().map(tonic::Response::into_inner);
                let sum = |of: fn(&flashsale_proto::inventory::SkuStock) -> i64| {
                    stock.as_ref().map_or(0, |stock| stock.stock.iter().map(of).sum::<i64>())
                };
                let left = match (sum(|sku| sku.available), sum(|sku| sku.held + sku.placed)) {
                    (0, 0) if stock.is_some() => "sold out".to_owned(),
                    (0, out) if stock.is_some() => format!("sold out for now, {out} may come back"),
                    (available, _) => format!("{available} left"),
                };
                let counters = &crowd.counters;
                let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
                let line = format!(
                    "{:4.0}s  waiting {:5}  admitted {:5}  held {:4}  accepted {:5}  confirmed {:5}  {left}",
                    began.elapsed().as_secs_f64(),
                    of(&counters.waiting),
                    of(&counters.admitted),
                    sum(|sku| sku.held),
                    of(&counters.accepted),
                    of(&counters.confirmed),
                );
                live.write(&line, ended);
                if ended {
                    return;
                }
            }
        });
        Ok(Self { stop, writing })
    }

    /// Writes the last line.
    pub(crate) async fn stop(self) {
        self.stop.send(()).ok();
        self.writing.await.ok();
    }
}
