//! Checks that Redis can keep rooms: it must not evict keys, and must be recent enough.

use flashsale_redis::Store;
use flashsale_service::Drain;

/// Ends the service with an error once Redis shows that it cannot keep rooms.
pub(crate) async fn check_store(store: Store, drain: Drain) -> anyhow::Result<()> {
    store.check_until(drain.started()).await?;
    drain.started().await;
    Ok(())
}
