//! What the driver says of its connections.

use std::sync::Arc;

use flashsale_connect::Outage;
use fred::{clients::Client, error::ErrorKind, interfaces::EventInterface as _};

/// Has the errors of these clients told in the log, as those of `store`, as long as they live.
pub(crate) fn tell(store: &'static str, clients: &[Client]) {
    let outage = Arc::new(Outage::of(store));
    for client in clients {
        let outage = Arc::clone(&outage);
        // The task ends with the client.
        drop(client.on_error(move |(error, _)| {
            // Of a connection that is closed on purpose.
            if *error.kind() != ErrorKind::Canceled {
                outage.tell(&error.details());
            }
            async { Ok(()) }
        }));
    }
}
