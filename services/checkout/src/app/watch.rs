//! Watching orders.

use std::{future, time::Duration};

use flashsale_errors::Failure;
use futures::{Stream, StreamExt as _, stream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Orders, Subscription, orders::visible};
use crate::{
    domain::{Order, OrderState},
    store::Record,
};

/// How long a watcher waits after a read that failed.
const RETRY_DELAY: Duration = Duration::from_secs(1);

impl Orders {
    /// An order as it is, and then whenever it has changed, until it or the process has ended.
    ///
    /// # Errors
    /// `ORDER_NOT_FOUND`, or `OVERLOADED` where too many orders are watched.
    pub async fn watch(
        &self,
        sale_id: Uuid,
        order_id: Uuid,
        buyer_id: Option<&str>,
        ended: CancellationToken,
    ) -> Result<impl Stream<Item = Order> + Send + use<>, Failure> {
        // Watched before it is read: no change falls in between.
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
        // No task and no queue of its own: who is looked at reads when there is something new and
        // room for it on the connection.
        let later = stream::unfold(watcher, |mut watcher| async move {
            let order = watcher.next().await?;
            Some((order, watcher))
        });
        Ok(stream::once(future::ready(order)).chain(later))
    }
}

/// One who follows an order.
struct Watcher {
    record: Record,
    ended: CancellationToken,
    subscription: Subscription,
    sale_id: Uuid,
    buyer_id: Option<String>,
    /// What they know of it.
    last: Order,
}

impl Watcher {
    /// What the record says that is new; `None` at the end of the order or of the process.
    async fn next(&mut self) -> Option<Order> {
        while self.last.state.is_open() {
            tokio::select! {
                () = self.subscription.changed() => {}
                () = self.ended.cancelled() => return None,
            }
            // Boxed, so that the thousands who wait have no room for a query.
            let Some(recorded) = Box::pin(self.read()).await? else { continue };
            let recorded = if recorded.state == OrderState::DeadLetter {
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

    /// The order, as soon as the record can be read; `None` at the end of the process.
    async fn read(&self) -> Option<Option<Order>> {
        loop {
            if let Ok(recorded) = self.record.order(self.last.order_id).await {
                return Some(recorded);
            }
            // The announcement is used up, and to the sweep the change is an old one: who does not look again misses it.
            tokio::select! {
                () = tokio::time::sleep(RETRY_DELAY) => {}
                () = self.ended.cancelled() => return None,
            }
        }
    }
}
