//! The metrics of the waiting room.

use flashsale_telemetry::meter;
use opentelemetry::{
    KeyValue,
    metrics::{Counter, UpDownCounter},
};
use uuid::Uuid;

use crate::domain::{Hold, RoomView};

/// The most rooms that are shown: each is two time series.
const SHOWN_ROOMS: usize = 20;

/// The instruments. Clones share them.
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
        let metrics = Self {
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
        };
        // A series that starts at 0 shows its first increase.
        for outcome in ["fresh", "known", "refused"] {
            metrics.joins.add(0, &[KeyValue::new("outcome", outcome)]);
        }
        metrics.admitted.add(0, &[]);
        metrics.failed_ticks.add(0, &[]);
        metrics.watchers.add(0, &[]);
        metrics
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

    /// Counts a watcher until the returned value is dropped.
    pub(crate) fn watching(&self) -> Watching {
        self.watchers.add(1, &[]);
        Watching { watchers: self.watchers.clone() }
    }
}

/// Shows the rooms as their last tick saw them. A scrape reads no store.
pub(crate) fn show_rooms(
    rooms: impl Fn() -> Vec<(Uuid, RoomView)> + Clone + Send + Sync + 'static,
) {
    let gauge = |name: &'static str, description: &'static str, show: fn(&RoomView) -> i64| {
        let rooms = rooms.clone();
        meter()
            .i64_observable_gauge(name)
            .with_unit("{number}")
            .with_description(description)
            .with_callback(move |gauge| {
                for (sale_id, room) in busiest(rooms()) {
                    let sale = KeyValue::new("sale_id", sale_id.to_string());
                    gauge.observe(show(&room), &[sale]);
                }
            })
            .build();
    };
    gauge(
        "flashsale_room_waiting",
        "Numbers of a room that are handed out and not admitted yet, those of leavers among them.",
        |room| room.next - room.head,
    );
    gauge("flashsale_room_head", "Numbers of a room that were admitted so far.", |room| room.head);
    meter()
        .i64_observable_gauge("flashsale_room_unanswered")
        .with_unit("{room}")
        .with_description("Open rooms whose head waits for an answer of this service.")
        .with_callback(move |gauge| {
            let rooms = rooms();
            for (peer, silent) in
                [("inventory", Hold::InventorySilent), ("checkout", Hold::CheckoutSilent)]
            {
                let held = rooms.iter().filter(|(_, room)| room.hold == Some(silent)).count();
                let held = i64::try_from(held).unwrap_or(i64::MAX);
                gauge.observe(held, &[KeyValue::new("peer", peer)]);
            }
        })
        .build();
}

/// The busiest rooms that are not closed: those with the most waiting numbers, at most
/// [`SHOWN_ROOMS`].
fn busiest(mut rooms: Vec<(Uuid, RoomView)>) -> Vec<(Uuid, RoomView)> {
    rooms.retain(|(_, room)| !room.is_closed());
    rooms.sort_by_key(|(sale_id, room)| (room.head - room.next, *sale_id));
    rooms.truncate(SHOWN_ROOMS);
    rooms
}

/// A counted watcher.
#[derive(Debug)]
pub(crate) struct Watching {
    watchers: UpDownCounter<i64>,
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.watchers.add(-1, &[]);
    }
}
