//! Which Redis server counts, and for how long an instance may serve without confirming that again.
//!
//! Two servers can be alive at once: a failover that some instances have not heard of, or addresses
//! that lead elsewhere. Exactly one of them counts for a sale: the one that its current epoch was
//! raised on. The rules are here, without stores or clocks;
//! `docs/decisions/2026-11-29-one-redis-counts.md` has the argument.

use std::time::Duration;

/// How often an instance writes at its Redis and confirms that server in Postgres (a *beat*).
pub const BEAT_EVERY: Duration = Duration::from_secs(1);
/// How long an instance may serve from the moment at which its last confirmed beat began.
pub const COVER: Duration = Duration::from_secs(2);
/// How long a server's row must be unchanged before another server may take its place: longer than
/// [`COVER`], so that instances serving from there have stopped by then. Like the other waits it is
/// 5 % longer than the bound it follows from, because clocks run at different rates.
pub const SILENT_AFTER: Duration = Duration::from_millis(3_150);
/// How often the newest markers in `ORDERS` are looked at.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long an instance may serve from the moment at which its last look began, while Postgres is
/// silent.
pub const LOOK_COVER: Duration = Duration::from_secs(1);

/// The least time between a raise and the marker of a rebuild on another server: a beat from before
/// the raise covers for [`COVER`], and an order is accepted within 1 s of the check that its server
/// counts.
pub const MARKER_AFTER_RAISE: Duration = Duration::from_millis(3_150);
/// The least time between storing the closing message and the marker: a look that did not see the
/// message covers for [`LOOK_COVER`], and 1 s more.
pub const MARKER_AFTER_CLOSING: Duration = Duration::from_millis(2_100);
/// The time between clearing the keys and the marker of a rebuild on the server that served last:
/// no check passes once they are cleared, and 1 s more.
pub const MARKER_AFTER_CLEARING: Duration = Duration::from_millis(1_050);

/// How instances that serve an older epoch are made to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// By clearing the keys on the server that they serve from.
    ByKeys,
    /// By a message in the queue and by time: they serve from another server.
    ByMessage,
}

impl Closing {
    /// What decides is where the last open epoch was served from, not where the last one was
    /// raised: a rebuilder may have died between its raise and its message.
    pub fn of(opened_on: &str, own: &str) -> Self {
        if opened_on == own { Self::ByKeys } else { Self::ByMessage }
    }
}

/// What is on record of the server that an epoch stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// How often it was confirmed; 0 if it never was.
    pub beats: i64,
    /// Retired by a takeover, for a limited time.
    pub retired: bool,
}

/// Whether an epoch may be handed out to the server of an instance.
///
/// `own`: the recorded server is the instance's own. `unchanged`: the number of beats in the
/// recorded server's row, and for how long, by the instance's own clock, it has been that.
/// Postgres' clock is not used: after a failover it is another one.
pub fn may_raise(own: bool, recorded: Recorded, unchanged: Option<(i64, Duration)>) -> bool {
    let silent =
        unchanged.is_some_and(|(beats, since)| beats == recorded.beats && since > SILENT_AFTER);
    own || recorded.retired || silent
}

/// What an instance knows at one moment of whether it may serve a sale in an epoch, each as the
/// time that has passed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Since the start of the beat that was confirmed before the epoch was read.
    pub confirmed: Duration,
    /// Since the start of the last beat that reached this same server, confirmed or not.
    pub reached: Option<Duration>,
    /// Since the start of the last look that came to the end of the queue, if there was no gap
    /// between the looks since before that beat.
    pub looked: Option<Duration>,
    /// A later epoch is in the queue.
    pub superseded: bool,
}

impl Evidence {
    /// Whether the instance may serve. While Postgres is silent the queue has to show that there is
    /// no later epoch, and the server has to be the same.
    pub fn covers(&self) -> bool {
        let by_record = self.confirmed < COVER;
        let by_queue = self.reached.is_some_and(|reached| reached < COVER)
            && self.looked.is_some_and(|looked| looked < LOOK_COVER);
        !self.superseded && (by_record || by_queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn only_silent_or_retired_server_is_replaced() {
        let alive = Recorded { beats: 7, retired: false };
        assert!(may_raise(true, alive, None));
        assert!(!may_raise(false, alive, None));
        assert!(!may_raise(false, alive, Some((7, MS(3_150)))));
        assert!(may_raise(false, alive, Some((7, MS(3_151)))));
        // It was confirmed since.
        assert!(!may_raise(false, alive, Some((6, MS(60_000)))));
        assert!(may_raise(false, Recorded { retired: true, ..alive }, None));
    }

    #[test]
    fn keys_close_only_last_serving_server() {
        assert_eq!(Closing::of("r", "r"), Closing::ByKeys);
        assert_eq!(Closing::of("r", "n"), Closing::ByMessage);
        // Never open since servers are recorded.
        assert_eq!(Closing::of("", "n"), Closing::ByMessage);
    }

    #[test]
    fn queue_extends_cover_of_beat() {
        let beat =
            Evidence { confirmed: MS(1_999), reached: None, looked: None, superseded: false };
        assert!(beat.covers());
        let late = Evidence { confirmed: MS(2_000), ..beat };
        assert!(!late.covers());
        let queue = Evidence { reached: Some(MS(1_999)), looked: Some(MS(999)), ..late };
        assert!(queue.covers());
        assert!(!Evidence { reached: Some(MS(2_000)), ..queue }.covers());
        assert!(!Evidence { looked: Some(MS(1_000)), ..queue }.covers());
        assert!(!Evidence { looked: None, ..queue }.covers());
        assert!(!Evidence { superseded: true, ..queue }.covers());
        assert!(!Evidence { superseded: true, ..beat }.covers());
    }

    #[test]
    fn server_stops_before_replacement() {
        let (acceptance, drift) = (Duration::from_secs(1), 1.05);
        assert!(SILENT_AFTER >= (COVER + BEAT_EVERY).mul_f64(drift));
        assert!(MARKER_AFTER_RAISE >= (COVER + acceptance).mul_f64(drift));
        assert!(MARKER_AFTER_CLOSING >= (LOOK_COVER + acceptance).mul_f64(drift));
        assert!(MARKER_AFTER_CLEARING >= acceptance.mul_f64(drift));
        assert!(LOOK_EVERY < LOOK_COVER && BEAT_EVERY < COVER);
    }
}
