//! Watches that rooms can be kept in Redis.

use flashsale_redis::Store;
use flashsale_service::Drain;

/// Ends the service once Redis says that rooms cannot be kept there.
pub(crate) async fn check_store(store: Store, drain: Drain) -> anyhow::Result<()> {
    store.check_until(drain.started()).await?;
    drain.started().await;
    Ok(())
}
