//! Ends open sales whose window has passed. Their stock refuses holds from that moment on without
//! this; what is left to do is to close the room and the record.

use std::time::Duration;

use flashsale_service::Drain;

use crate::{
    domain::SaleState,
    store::{Store, StoreError},
};

/// The most sales of one round.
const ROUND: i64 = 50;

/// Looks for such sales every `interval`, until the drain starts.
///
/// # Errors
/// Never: failures are logged and tried again.
pub async fn end_lapsed(store: Store, interval: Duration, drain: Drain) -> anyhow::Result<()> {
    let rounds = async {
        loop {
            tokio::time::sleep(interval).await;
            if let Err(error) = round(&store).await {
                tracing::warn!(%error, "cannot end the sales whose window has passed");
            }
        }
    };
    tokio::select! {
        () = drain.started() => Ok(()),
        () = rounds => Ok(()),
    }
}

async fn round(store: &Store) -> Result<(), StoreError> {
    for id in store.lapsed(ROUND).await? {
        if let Some(sale) = store.head(id).await?
            && sale.state == SaleState::Open
        {
            // A lost race needs no second attempt: the instance or the operator that won it also
            // ended the sale.
            let written = store.change(&sale, sale.end(), None).await?;
            tracing::info!(sale = %id, ?written, "the window of a sale has passed");
        }
    }
    Ok(())
}
