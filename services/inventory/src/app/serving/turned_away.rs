//! Whether this instance turns callers away, so that they go to one whose Redis counts.

use std::time::Duration;

use flashsale_service::boottime::BootInstant;

use super::{
    Serving,
    state::{State, TurnedAway},
};
use crate::{
    domain::{COVER, LOOK_COVER, SILENT_AFTER},
    store::SaleEpoch,
};

impl Serving {
    /// Decides whether callers are turned away, and logs it when that changes.
    pub(super) fn judge(&self, silent: bool) {
        let (turned_away, was) = {
            let mut state = self.write();
            let was = state.turned_away;
            state.turned_away = self.cause(&state, silent);
            (state.turned_away, was)
        };
        self.shown.set(Some(turned_away));
        if turned_away == was {
            return;
        }
        match turned_away {
            Some(cause) => tracing::error!(
                cause = cause.as_str(),
                "this instance takes no units and turns callers away: its Redis is not the one that counts"
            ),
            None => tracing::warn!("this instance's Redis counts: callers are served again"),
        }
        self.ready.send_replace(turned_away.is_none());
    }

    fn cause(&self, state: &State, silent: bool) -> Option<TurnedAway> {
        if !state.named {
            return Some(TurnedAway::NotNamed);
        }
        if state.retired {
            return Some(TurnedAway::Retired);
        }
        if silent {
            let fresh = |at: BootInstant, within: Duration| at.elapsed() < within;
            let confirmed = state.confirmed.0.values().any(|seen| fresh(seen.at, COVER));
            let looked =
                state.looks.last.as_ref().is_some_and(|look| fresh(look.begun, LOOK_COVER));
            let reached = state.reached.values().any(|seen| fresh(seen.at, COVER));
            // With no Redis at all, callers gain nothing from another instance.
            return (reached && !confirmed && !looked).then_some(TurnedAway::Unconfirmed);
        }
        let stands_elsewhere = |sale: &SaleEpoch| {
            let own = state.reached.get(&self.slot(sale.sale_id));
            let other = own.is_some_and(|own| *own.server != *sale.server);
            let row = state.rows.get(&sale.server);
            let alive = row.is_some_and(|(row, since)| {
                row.beats > 0 && !row.retired && since.elapsed() <= SILENT_AFTER
            });
            other && alive
        };
        let stands_here = |sale: &SaleEpoch| {
            let own = state.reached.get(&self.slot(sale.sale_id));
            own.is_some_and(|own| *own.server == *sale.server)
        };
        // Where each of two servers has sales, both are needed.
        let mut sales = state.sales.values();
        let away = sales.clone().any(stands_elsewhere) && !sales.any(stands_here);
        away.then_some(TurnedAway::OtherServer)
    }
}
