//! What the waiting room measures.

use flashsale_telemetry::meter;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, UpDownCounter},
};

/// The instruments of one process. A clone shares them.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    joins: Counter<u64>,
    admitted: Counter<u64>,
    failed_ticks: Counter<u64>,
    watchers: UpDownCounter<i64>,
}

impl Metrics {
    pub(crate) fn new() -> Self {
        let meter = meter();
        Self {
            joins: meter
                .u64_counter("flashsale_room_joins")
                .with_description("Joins by outcome: fresh, known, refused.")
                .with_unit("{join}")
                .build(),
            admitted: meter
                .u64_counter("flashsale_room_admitted")
                .with_description(
                    "Numbers the head has passed, counted by the instance that moved it.",
                )
                .with_unit("{number}")
                .build(),
            failed_ticks: meter
                .u64_counter("flashsale_room_failed_ticks")
                .with_description(
                    "Ticks of a room that moved nothing because a store did not answer.",
                )
                .with_unit("{tick}")
                .build(),
            watchers: meter
                .i64_up_down_counter("flashsale_room_watchers")
                .with_description("Tickets being watched in this process.")
                .with_unit("{stream}")
                .build(),
        }
    }

    pub(crate) fn joined(&self, outcome: &'static str) {
        self.joins.add(1, &[KeyValue::new("outcome", outcome)]);
    }

    pub(crate) fn admitted(&self, numbers: i64) {
        self.admitted.add(u64::try_from(numbers).unwrap_or(0), &[]);
    }

    pub(crate) fn tick_failed(&self) {
        self.failed_ticks.add(1, &[]);
    }

    /// Counts a watcher until the answer is dropped.
    pub(crate) fn watching(&self) -> Watching {
        self.watchers.add(1, &[]);
        Watching { watchers: self.watchers.clone() }
    }
}

/// One watcher.
#[derive(Debug)]
pub(crate) struct Watching {
    watchers: UpDownCounter<i64>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watchers.add(-1, &[]);
    }
}
