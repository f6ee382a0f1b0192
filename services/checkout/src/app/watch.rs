//! Watching orders.

use std::{future, time::Duration};

use flashsale_errors::Failure;
use futures::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{OrderSubscription, Orders, orders::visible};
use crate::{domain::Order, store::Record};

/// How long a watcher waits after a failed read of the record.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl Orders {
    /// The order now, and again whenever it has changed, until the order or the process has ended.
    ///
    /// # Errors
    /// `OVERLOADED` where too many orders are watched, and the failures of [`Orders::get`].
    pub async fn watch(
        &self,
        sale_id: Uuid,
        order_id: Uuid,
        buyer_id: Option<&str>,
        ended: CancellationToken,
    ) -> Result<impl Stream<Item = Order> + Send + use<>, Failure> {
        // Subscribed before the read, so that no change falls in between.
        let subscription = self.subscriptions.watch(order_id)?;
        let order = self.get(sale_id, order_id, buyer_id).await?;
        subscription.seen(order.updated_at);
        let watcher = Watcher {
            record: self.record.clone(),
            ended,
            subscription,
            sale_id,
            buyer_id: buyer_id.map(str::to_owned),
            last: order.clone(),
        };
        // No task and no buffer per watcher: the stream reads when there is a change and the
        // connection has room for it.
        let later = stream::unfold(watcher, |mut watcher| async move {
            let order = watcher.next().await?;
            Some((order, watcher))
        });
        Ok(stream::once(future::ready(order)).chain(later))
    }
}

struct Watcher {
    record: Record,
    ended: CancellationToken,
    subscription: OrderSubscription,
    sale_id: Uuid,
    buyer_id: Option<String>,
    /// The state sent last.
    last: Order,
}

impl Watcher {
    /// The next change; `None` at the end of the order or of the process.
    async fn next(&mut self) -> Option<Order> {
        while self.last.state.is_open() {
            tokio::select! {
                () = self.subscription.changed() => {}
                () = self.ended.cancelled() => return None,
            }
            // Boxed, so that thousands of waiting watchers do not each hold the size of a query's
            // future.
            let Some(recorded) = Box::pin(self.read()).await? else { continue };
            let recorded = if recorded.state.is_dead_letter() {
                self.last.clone().with_state_of(&recorded)
            } else {
                recorded
            };
            if recorded != self.last
                && let Ok(recorded) = visible(recorded, self.sale_id, self.buyer_id.as_deref())
            {
                self.last = recorded.clone();
                return Some(recorded);
            }
        }
        None
    }

    /// The order, retried until the record can be read; `None` at the end of the process.
    async fn read(&self) -> Option<Option<Order>> {
        loop {
            if let Ok(recorded) = self.record.order(self.last.order_id).await {
                return Some(recorded);
            }
            // The announcement has been consumed, and the sweep counts the change as seen: without
            // a retry it would be missed.
            tokio::select! {
                () = tokio::time::sleep(RETRY_DELAY) => {}
                () = self.ended.cancelled() => return None,
            }
        }
    }
}
