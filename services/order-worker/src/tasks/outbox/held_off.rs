//! Sales whose stock is closed at the moment, each with the pause until inventory is asked about it
//! again. Kept in memory: what a restart forgets costs one call.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use uuid::Uuid;

/// The most sales that are remembered. One that does not fit is asked about whenever its rows are
/// due.
const SALES: usize = 10_000;

/// Sales that are held off.
#[derive(Debug)]
pub struct HeldOff {
    first: Duration,
    longest: Duration,
    sales: Mutex<HashMap<Uuid, Closed>>,
}

#[derive(Debug, Clone, Copy)]
struct Closed {
    until: Instant,
    pause: Duration,
}

impl HeldOff {
    /// Holds no sale off. The first pause of a sale is `first`, each further one twice as long, up
    /// to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, sales: Mutex::default() }
    }

    /// Notes that a sale was found closed and returns for how long it is held off. A call that
    /// began before the pause and finds it closed again does not extend the pause.
    pub fn closed(&self, sale_id: Uuid, now: Instant) -> Duration {
        let mut sales = self.lock();
        let known = sales.get(&sale_id).copied();
        if let Some(closed) = known
            && closed.until > now
        {
            return closed.until - now;
        }
        let pause =
            known.map_or(self.first, |closed| closed.pause.saturating_mul(2)).min(self.longest);
        if sales.len() >= SALES && known.is_none() {
            sales.retain(|_, closed| closed.until > now);
        }
        if sales.len() < SALES || known.is_some() {
            sales.insert(sale_id, Closed { until: now + pause, pause });
        }
        pause
    }

    /// Notes that inventory answered about a sale.
    pub fn open(&self, sale_id: Uuid) {
        self.lock().remove(&sale_id);
    }

    /// The sales that are held off.
    pub fn sales(&self, now: Instant) -> Vec<Uuid> {
        let sales = self.lock();
        let held_off = sales.iter().filter(|(_, closed)| closed.until > now);
        held_off.map(|(sale_id, _)| *sale_id).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uuid, Closed>> {
        // No panic can leave the map half-changed.
        self.sales.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Duration = Duration::from_millis(500);
    const LONGEST: Duration = Duration::from_secs(5);

    #[test]
    fn pauses_grow_up_to_their_bound() {
        let (held_off, sale) = (HeldOff::new(FIRST, LONGEST), Uuid::from_u128(1));
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        for _ in 0..6 {
            let pause = held_off.closed(sale, now);
            pauses.push(pause.as_millis());
            // Found again by a call under way: no further doubling.
            assert_eq!(held_off.closed(sale, now), pause);
            assert_eq!(held_off.sales(now), [sale]);
            now += pause;
            assert!(held_off.sales(now).is_empty());
        }
        assert_eq!(pauses, [500, 1_000, 2_000, 4_000, 5_000, 5_000]);
        held_off.open(sale);
        assert_eq!(held_off.closed(sale, now), FIRST);
    }

    #[test]
    fn remembered_sales_are_bounded() {
        let held_off = HeldOff::new(FIRST, LONGEST);
        let now = Instant::now();
        for id in 0..SALES as u128 + 10 {
            assert_eq!(held_off.closed(Uuid::from_u128(id), now), FIRST);
        }
        assert_eq!(held_off.sales(now).len(), SALES);
        // Sales whose pause is over make room.
        let late = Uuid::from_u128(u128::MAX);
        held_off.closed(late, now + FIRST);
        assert_eq!(held_off.sales(now + FIRST), [late]);
    }
}
