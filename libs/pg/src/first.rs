//! What keeps a first connection from standing.
//!
//! The pool connects for a statement and hands the error to its caller, and what a caller makes of
//! it differs. A certificate that is not accepted, or a password that is wrong, is to be found in
//! the log of every service in the same words.

use std::time::Duration;

use flashsale_connect::Outage;
use sqlx::{ConnectOptions as _, Connection as _, postgres::PgConnectOptions};
use tokio::time::{sleep, timeout};

/// How long after a failure the next try begins.
const AGAIN: Duration = Duration::from_secs(1);

/// Connects beside the pool until that has worked once, and tells why it does not.
pub(crate) async fn tell_until_connected(options: PgConnectOptions, within: Duration) {
    let outage = Outage::of("postgres");
    loop {
        match timeout(within, options.connect()).await {
            Ok(Ok(connection)) => {
                connection.close().await.ok();
                return;
            }
            Ok(Err(error)) => outage.tell(&error),
            Err(_) => outage.tell(&"no answer"),
        }
        sleep(AGAIN).await;
    }
}
