//! The rule by which one of two living Redis servers counts, with each safeguard as a setting.

/// Bounds are in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// A raise locks the recorded server's row from judging its age to its commit.
    pub row_lock: bool,
    /// A beat reads epoch and server in a statement after the one that updates its row.
    pub read_after_update: bool,
    /// How long a beat covers an instance.
    pub cover: u8,
    /// How long a look at `ORDERS` holds while Postgres is silent.
    pub look: u8,
    /// A beat's update is committed synchronously.
    pub beats_sync: bool,
    /// Only looks without a gap extend a beat's cover.
    pub continuous_looks: bool,
    /// Without a gap since before the beat began; else since before its read.
    pub watched_from_start: bool,
    /// A read that comes back after a look has shown a later epoch covers nothing.
    pub remember_looks: bool,
    /// A look notices that `ORDERS` has lost messages, and counts it as a gap.
    pub looks_notice_loss: bool,
    /// A look is answered by a leader that has its quorum: it is a write.
    pub looks_need_quorum: bool,
    /// Looks extend cover only while the Redis half of a beat reaches the covered server.
    pub redis_half: bool,
    /// ACCEPTED needs the ack within this time of the check; 255 for none.
    pub ack: u8,
    /// A row that is older lets another server raise.
    pub stale: u8,
    /// A row's age is how long the raiser has read it unchanged, not what Postgres' clock says.
    pub stale_by_two_reads: bool,
    /// A raise publishes a closing message in front of the marker's wait.
    pub closing: bool,
    /// The marker's wait after the closing's ack.
    pub after_closing: u8,
    /// The same, if the recorded server's row was fresh: its sale was taken over.
    pub after_closing_forced: u8,
    /// The marker's wait after the raise's commit.
    pub after_commit: u8,
    /// A raise by the server that has the sale clears its keys and publishes no closing.
    pub quick_path: bool,
    /// "Has the sale" means that the last open epoch was there, not the last raise.
    pub quick_if_opened_there: bool,
    /// The quick path clears the keys in front of the marker's wait.
    pub clear_first: bool,
    /// Clearing is made out for the server that was recorded.
    pub clear_names_server: bool,
    /// The quick path's wait after clearing.
    pub after_clearing: u8,
    /// Scripts compare the server that the stock was loaded for with their own.
    pub script_checks_loaded_for: bool,
    /// Scripts compare the replication id they were built for with the server's.
    pub script_checks_replid: bool,
    /// Only the recorded server, or one that finds its row stale, raises.
    pub raise_checks_server: bool,
    /// A raise is refused if the epoch was opened since its rebuilder found it closed.
    pub raise_checks_open: bool,
    /// A takeover lapses; else the server it was taken from never counts again.
    pub takeover_lapses: bool,
}

impl Rule {
    /// As it was first written down.
    pub const DRAFT: Self = Self {
        row_lock: true,
        read_after_update: true,
        cover: 2,
        look: 1,
        beats_sync: true,
        continuous_looks: true,
        watched_from_start: false,
        remember_looks: false,
        looks_notice_loss: false,
        looks_need_quorum: false,
        redis_half: true,
        ack: 1,
        stale: 3,
        stale_by_two_reads: false,
        closing: true,
        after_closing: 2,
        after_closing_forced: 3,
        after_commit: 0,
        quick_path: true,
        quick_if_opened_there: false,
        clear_first: true,
        clear_names_server: true,
        after_clearing: 1,
        script_checks_loaded_for: true,
        script_checks_replid: true,
        raise_checks_server: true,
        raise_checks_open: false,
        takeover_lapses: false,
    };

    /// As it is built.
    pub const BUILT: Self = Self {
        watched_from_start: true,
        remember_looks: true,
        looks_notice_loss: true,
        looks_need_quorum: false,
        stale_by_two_reads: true,
        after_closing_forced: 2,
        after_commit: 3,
        quick_if_opened_there: true,
        raise_checks_open: true,
        takeover_lapses: true,
        ..Self::DRAFT
    };
}
