//! Looks: reading the epochs that the queue announces, in case Postgres cannot tell of them.

use std::time::Duration;

use flashsale_service::boottime::BootInstant;
use tokio::time::timeout;

use super::Serving;

/// The timeout of a look into the queue.
const LOOK_WITHIN: Duration = Duration::from_millis(800);
/// How many later epochs are remembered from the queue.
const MAX_LATER: usize = 100_000;

impl Serving {
    /// Looks into the queue for epochs that a silent Postgres cannot tell of.
    pub async fn look(&self) {
        let before = self.read().looks.last.clone();
        let looked = timeout(LOOK_WITHIN, self.queue.look(before.as_ref())).await;
        let Ok(Some((look, epochs))) = looked else { return };
        let mut state = self.write();
        let looks = &mut state.looks;
        let unbroken = before.is_some_and(|before| look.continues(&before));
        if !unbroken || looks.unbroken_since.is_none() {
            looks.unbroken_since = Some(look.begun);
        }
        for (sale_id, epoch) in epochs {
            if looks.later.len() >= MAX_LATER && !looks.later.contains_key(&sale_id) {
                // Without what is forgotten here, looks cannot extend any cover from before.
                looks.later.clear();
                looks.unbroken_since = Some(look.begun);
            }
            let seen = BootInstant::now();
            let later = looks.later.entry(sale_id).or_insert((epoch, seen));
            *later = (later.0.max(epoch), seen);
        }
        looks.last = Some(look);
    }
}
