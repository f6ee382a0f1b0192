//! Answers that a caller can do without.

use std::time::Duration;

use flashsale_errors::Reason;
use flashsale_service::deadline;
use tonic::{Response, Status};

use super::untold::Untold;

/// The longest wait for one.
const WITHIN: Duration = Duration::from_secs(2);

/// What `peer` answers within 2 seconds or half of the caller's remaining time. The other half is
/// for what can be said without it.
pub(super) async fn soon<T>(
    peer: &'static str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Untold> {
    let within = deadline::remaining().map_or(WITHIN, |left| WITHIN.min(left / 2));
    match tokio::time::timeout(within, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Untold::from_status(peer, &status)),
        Err(_) => Err(Untold { peer, why: Reason::DeadlineExceeded.as_str() }),
    }
}
