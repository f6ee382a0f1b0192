//! One sale, two Redis servers, one instance that accepts orders and up to two that raise epochs.
//!
//! A second may pass between any two steps, so that a process is suspended at each of them. Upper
//! bounds are strict and lower bounds are not: within a second, a step that must come before a
//! bound comes before a step that must wait for one (`late`). With this, every constant is tight:
//! one that is a second too short is found, and none is found for being exact.
//!
//! The model leaves out what only restricts the adversary: leases of rebuilds (an instance raises
//! whenever the record permits it), how fresh a raiser's own beat is, other instances that accept.
//! One order is under way at a time: orders do not affect each other.

use std::fmt;

use crate::{
    rule::Rule,
    search::{Next, System},
};

/// Server and its incarnation: `server * 2 + replication id`.
pub type Name = u8;
/// What is searched for.
pub const REVOKED: &str = "an order is ACCEPTED behind the marker of a later epoch";
pub const SOLD_TWICE: &str =
    "an order is ACCEPTED from a stock that may have lost its newest writes";
const NONE: u8 = 255;
/// Older than every bound.
const OLD: u8 = 4;

/// What may go wrong, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Faults {
    /// Raises that are made at most.
    pub raises: u8,
    /// Times that an instance is switched to the other server.
    pub switches: u8,
    /// Times that a server is overwritten with the other's data and promoted.
    pub resyncs: u8,
    /// Times that an operator takes a server's sales away.
    pub takeovers: u8,
    /// Times that Postgres' clock jumps ahead of every row.
    pub clock_jumps: u8,
    /// Times that `ORDERS` loses what it has.
    pub losses: u8,
    /// Times that looks are answered by a leader that was deposed and does not know it.
    pub stale_leaders: u8,
    /// Times that the instance reaches a Postgres that was replaced by its synchronous standby.
    pub old_postgres: u8,
    /// Instances that may raise.
    pub raisers: u8,
}

/// A sale's stock at one server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Stock {
    pub loaded_for: Name,
    pub epoch: u8,
    /// It came by replication: the newest writes may be missing.
    pub copy: bool,
}

/// Why an instance may answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cover {
    pub epoch: u8,
    pub server: Name,
    /// Since the beat began.
    pub age: u8,
    /// Looks were without a gap since before the beat.
    pub watched: bool,
}

/// A beat under way; server and age stay known after it has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Beat {
    /// 0: none; 1: Redis has answered; 2: the row is updated (if the rule reads first: the epoch is
    /// read); 3: the reply with the epoch is under way.
    pub stage: u8,
    pub server: Name,
    pub age: u8,
    /// The epoch that was read open for this server.
    pub read: u8,
    /// Looks were without a gap since before the beat (or only since before its read).
    pub watched: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Order {
    pub epoch: u8,
    /// Since the check.
    pub age: u8,
    pub taken: bool,
    pub copy: bool,
}

/// What a beat reads of a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct OnRecord {
    pub epoch: u8,
    pub server: Name,
    pub open: bool,
}

/// The instance that accepts orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Acceptor {
    pub at: u8,
    /// The server its scripts are made out for.
    pub made_for: Name,
    pub cover: Option<Cover>,
    pub beat: Beat,
    /// Age of the last look.
    pub look: u8,
    /// Epochs whose messages stood in `ORDERS` before the first look after the last gap.
    pub unseen: u8,
    /// The latest epoch that a look has shown.
    pub heard: u8,
    /// `ORDERS` has lost messages since the last look.
    pub lost: bool,
    /// What a deposed leader knows of `ORDERS`, if it is the one that answers.
    pub deposed: Option<u8>,
    /// What a replaced Postgres has on record, if it is the one that answers.
    pub replaced: Option<OnRecord>,
    pub order: Option<Order>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// The recorded server's row was found stale (only without the lock).
    Judged,
    /// The new epoch is committed.
    Raised,
    /// The closing is acked, or the keys are cleared.
    Closed,
    /// The marker is stored.
    Marked,
}

/// A rebuild that its instance still works at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Rebuild {
    pub epoch: u8,
    pub target: Name,
    pub stage: Stage,
    pub quick: bool,
    pub forced: bool,
    pub since_commit: u8,
    pub since_closing: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Raiser {
    pub at: u8,
    pub rebuild: Option<Rebuild>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct State {
    /// Redis.
    pub replid: [u8; 2],
    pub stock: [Option<Stock>; 2],
    /// Postgres.
    pub epoch: u8,
    pub server: Name,
    pub open: bool,
    pub opened_on: Name,
    /// Age of the recorded server's row.
    pub seen: u8,
    /// Names that were taken over, a bit each.
    pub retired: u8,
    /// `ORDERS`: epochs with a closing or a marker, and epochs with a marker, a bit each.
    pub told: u8,
    pub markers: u8,
    pub acceptor: Acceptor,
    pub raisers: [Raiser; 2],
    /// Something happened at the first instant from which it may.
    pub late: bool,
    pub switches: u8,
    pub resyncs: u8,
    pub takeovers: u8,
    pub clock_jumps: u8,
    pub losses: u8,
    pub stale_leaders: u8,
    pub old_postgres: u8,
}

impl State {
    pub fn name(&self, server: u8) -> Name {
        server * 2 + self.replid[server as usize]
    }

    pub fn is_retired(&self, name: Name) -> bool {
        self.retired & (1 << name) != 0
    }
}

#[derive(Debug, Clone, Copy)]
pub enum Action {
    Second,
    BeatReachesRedis,
    BeatUpdatesRow,
    BeatReads,
    BeatHearsWhatItRead,
    Look,
    Check,
    TakeUnits,
    OrderIsAckedAndAccepted,
    AcceptorSwitches,
    RaiserSwitches,
    ResyncAndPromote { server: u8 },
    TakeOver,
    TakeoverLapses,
    PostgresClockJumps,
    QueueLosesAll,
    LooksReachDeposedLeader,
    LooksReachLeader,
    BeatsReachReplacedPostgres,
    BeatsReachPostgres,
    Judge { on: Name },
    Raise { on: Name },
    PublishClosing { epoch: u8 },
    ClearKeys { epoch: u8 },
    StoreMarker { epoch: u8 },
    LoadAndOpen { epoch: u8 },
}

impl fmt::Display for Action {
    /// A is the instance that accepts, B one that raises; R is recorded at the start, N is not.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: Name| ["R", "R'", "N", "N'"][name as usize];
        match *self {
            Self::Second => to.write_str("a second passes"),
            Self::BeatReachesRedis => {
                to.write_str("A: a beat begins and names the Redis it reaches")
            }
            Self::BeatUpdatesRow => to.write_str("A: the beat updates the row of its server"),
            Self::BeatReads => to.write_str("A: the beat reads epoch, server and open"),
            Self::BeatHearsWhatItRead => to.write_str("A: the beat receives what it read"),
            Self::Look => to.write_str("A: looks at ORDERS"),
            Self::Check => to.write_str("A: an order is checked: covered"),
            Self::TakeUnits => to.write_str("A: the script takes its units"),
            Self::OrderIsAckedAndAccepted => to.write_str("A: the order is acked and ACCEPTED"),
            Self::AcceptorSwitches => to.write_str("A: is switched to the other server"),
            Self::RaiserSwitches => to.write_str("B: is switched to the other server"),
            Self::ResyncAndPromote { server } => {
                write!(to, "{} is resynchronised and promoted", name(server * 2))
            }
            Self::TakeOver => to.write_str("the recorded server is taken over"),
            Self::TakeoverLapses => to.write_str("the takeover lapses"),
            Self::PostgresClockJumps => to.write_str("Postgres' clock jumps"),
            Self::QueueLosesAll => to.write_str("ORDERS loses all its messages"),
            Self::LooksReachDeposedLeader => to.write_str("A: looks reach a deposed leader"),
            Self::LooksReachLeader => to.write_str("A: looks reach the leader again"),
            Self::BeatsReachReplacedPostgres => {
                to.write_str("A: Postgres is replaced by its standby; beats reach the old one")
            }
            Self::BeatsReachPostgres => to.write_str("A: beats reach the new Postgres"),
            Self::Judge { on } => write!(to, "B on {}: finds that it may raise", name(on)),
            Self::Raise { on } => write!(to, "B on {}: raises the epoch", name(on)),
            Self::PublishClosing { epoch } => write!(to, "B: the closing of {epoch} is acked"),
            Self::ClearKeys { epoch } => write!(to, "B: the keys are cleared for {epoch}"),
            Self::StoreMarker { epoch } => write!(to, "B: the marker of {epoch} is stored"),
            Self::LoadAndOpen { epoch } => write!(to, "B: epoch {epoch} is loaded and open"),
        }
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Model {
    pub rule: Rule,
    pub faults: Faults,
}

/// Whether something that is allowed only within `bound` may still happen.
fn within(age: u8, bound: u8, late: bool) -> bool {
    age < bound || (age == bound && !late)
}

impl System for Model {
    type State = State;
    type Action = Action;

    /// Everything is well on server 0; server 1 is its replica.
    fn start(&self) -> State {
        let raiser = Raiser { at: 1, rebuild: None };
        State {
            replid: [0, 0],
            stock: [
                Some(Stock { loaded_for: 0, epoch: 1, copy: false }),
                Some(Stock { loaded_for: 0, epoch: 1, copy: true }),
            ],
            epoch: 1,
            server: 0,
            open: true,
            opened_on: 0,
            seen: 0,
            retired: 0,
            told: 0,
            markers: 0,
            acceptor: Acceptor {
                at: 0,
                made_for: 0,
                cover: None,
                beat: Beat { stage: 0, server: NONE, age: OLD, read: 0, watched: false },
                look: OLD,
                unseen: 0,
                heard: 0,
                lost: false,
                deposed: None,
                replaced: None,
                order: None,
            },
            raisers: [raiser, raiser],
            late: false,
            switches: self.faults.switches,
            resyncs: self.faults.resyncs,
            takeovers: self.faults.takeovers,
            clock_jumps: self.faults.clock_jumps,
            losses: self.faults.losses,
            stale_leaders: self.faults.stale_leaders,
            old_postgres: self.faults.old_postgres,
        }
    }

    fn next(&self, state: &State, next: &mut Vec<Next<State, Action>>) {
        let start = next.len();
        next.push((Action::Second, Ok(self.second(state))));
        self.beat(state, next);
        self.orders(state, next);
        self.faults(state, next);
        for who in 0..self.faults.raisers as usize {
            self.raiser(state, who, next);
        }
        for (_, then) in &mut next[start..] {
            if let Ok(state) = then {
                self.normalise(state);
            }
        }
    }
}

type Steps = Vec<Next<State, Action>>;

impl Model {
    /// The state a second later.
    pub fn second(&self, state: &State) -> State {
        let mut then = *state;
        let older = |age: &mut u8| *age = (*age + 1).min(OLD);
        then.late = false;
        older(&mut then.seen);
        let acceptor = &mut then.acceptor;
        older(&mut acceptor.beat.age);
        older(&mut acceptor.look);
        if let Some(cover) = &mut acceptor.cover {
            older(&mut cover.age);
        }
        if let Some(order) = &mut acceptor.order
            && self.rule.ack != 255
        {
            older(&mut order.age);
        }
        for raiser in &mut then.raisers {
            if let Some(rebuild) = &mut raiser.rebuild {
                older(&mut rebuild.since_commit);
                older(&mut rebuild.since_closing);
            }
        }
        then
    }

    fn beat(&self, state: &State, next: &mut Steps) {
        let acceptor = &state.acceptor;
        let watched = within(acceptor.look, self.rule.look, state.late);
        {
            let mut then = *state;
            let server = state.name(acceptor.at);
            let watched = watched && self.rule.watched_from_start;
            then.acceptor.beat = Beat { stage: 1, server, age: 0, read: 0, watched };
            then.acceptor.made_for = server;
            next.push((Action::BeatReachesRedis, Ok(then)));
        }
        let beat = acceptor.beat;
        let watched = if self.rule.watched_from_start { beat.watched } else { watched };
        let read = |state: &State| {
            let State { epoch, server, open, .. } = *state;
            let record = acceptor.replaced.unwrap_or(OnRecord { epoch, server, open });
            if record.open && record.server == beat.server { record.epoch } else { 0 }
        };
        let update = |then: &mut State| {
            // Its standby answers no more, so that it commits nothing synchronously.
            if acceptor.replaced.is_some() {
                return !self.rule.beats_sync;
            }
            if then.is_retired(beat.server) {
                return false;
            }
            if then.server == beat.server {
                then.seen = 0;
            }
            true
        };
        let mut then = *state;
        match (beat.stage, self.rule.read_after_update) {
            (1, true) => {
                then.acceptor.beat.stage = if update(&mut then) { 2 } else { 0 };
                next.push((Action::BeatUpdatesRow, Ok(then)));
            }
            (2, true) => {
                then.acceptor.beat = Beat { stage: 3, read: read(state), watched, ..beat };
                next.push((Action::BeatReads, Ok(then)));
            }
            (3, true) => {
                self.cover(&mut then.acceptor, beat.read);
                next.push((Action::BeatHearsWhatItRead, Ok(then)));
            }
            (1, false) => {
                then.acceptor.beat = Beat { stage: 2, read: read(state), watched, ..beat };
                next.push((Action::BeatReads, Ok(then)));
            }
            (2, false) => {
                let epoch = if update(&mut then) { beat.read } else { 0 };
                self.cover(&mut then.acceptor, epoch);
                next.push((Action::BeatUpdatesRow, Ok(then)));
            }
            _ => {}
        }
    }

    /// The reply of a beat's read arrives.
    fn cover(&self, acceptor: &mut Acceptor, epoch: u8) {
        let beat = acceptor.beat;
        acceptor.beat = Beat { stage: 0, read: 0, watched: false, ..beat };
        let outdated = self.rule.remember_looks && epoch < acceptor.heard;
        acceptor.cover = (epoch != 0 && !outdated).then_some(Cover {
            epoch,
            server: beat.server,
            age: beat.age,
            watched: beat.watched,
        });
    }

    /// Looks are no longer continuous since any earlier read.
    fn gap(acceptor: &mut Acceptor) {
        acceptor.beat.watched = false;
        if let Some(cover) = &mut acceptor.cover {
            cover.watched = false;
        }
    }

    /// What is one statement is not cut in two by another connection.
    fn reconnect(&self, acceptor: &mut Acceptor) {
        if !self.rule.read_after_update {
            acceptor.beat.stage = 0;
        }
    }

    fn is_covered(&self, state: &State, cover: &Cover) -> bool {
        let (acceptor, rule) = (&state.acceptor, &self.rule);
        let looks = within(acceptor.look, rule.look, state.late)
            && (cover.watched || !rule.continuous_looks)
            && (!rule.redis_half
                || (acceptor.beat.server == cover.server
                    && within(acceptor.beat.age, rule.cover, state.late)));
        within(cover.age, rule.cover, state.late) || looks
    }

    fn orders(&self, state: &State, next: &mut Steps) {
        let acceptor = &state.acceptor;
        if acceptor.deposed.is_none() || !self.rule.looks_need_quorum {
            let told = acceptor.deposed.unwrap_or(state.told);
            let mut then = *state;
            let acceptor = &mut then.acceptor;
            let noticed = acceptor.lost && self.rule.looks_notice_loss;
            if noticed {
                Self::gap(acceptor);
            }
            // After a gap it begins with what comes next.
            if noticed || acceptor.look > self.rule.look {
                acceptor.unseen = told;
            }
            acceptor.lost = false;
            acceptor.look = 0;
            let news = told & !acceptor.unseen;
            acceptor.heard = acceptor.heard.max(news.checked_ilog2().unwrap_or(0) as u8);
            if acceptor.cover.is_some_and(|cover| cover.epoch < acceptor.heard) {
                acceptor.cover = None;
            }
            if !self.rule.remember_looks {
                acceptor.unseen |= told;
            }
            next.push((Action::Look, Ok(then)));
        }
        if let (None, Some(cover)) = (acceptor.order, &acceptor.cover)
            && self.is_covered(state, cover)
        {
            let mut then = *state;
            let order = Order { epoch: cover.epoch, age: 0, taken: false, copy: false };
            then.acceptor.order = Some(order);
            next.push((Action::Check, Ok(then)));
        }
        let Some(order) = acceptor.order else { return };
        if !order.taken {
            let made_for = acceptor.made_for;
            let refused = self.rule.script_checks_replid && state.name(acceptor.at) != made_for;
            if let Some(stock) = state.stock[acceptor.at as usize]
                && stock.epoch == order.epoch
                && !refused
                && (!self.rule.script_checks_loaded_for || stock.loaded_for == made_for)
            {
                let mut then = *state;
                then.acceptor.order = Some(Order { taken: true, copy: stock.copy, ..order });
                next.push((Action::TakeUnits, Ok(then)));
            }
        } else if self.rule.ack == 255 || within(order.age, self.rule.ack, state.late) {
            let mut then = *state;
            then.acceptor.order = None;
            let result = if state.markers >> (order.epoch + 1) != 0 {
                Err(REVOKED)
            } else if order.copy {
                Err(SOLD_TWICE)
            } else {
                Ok(then)
            };
            next.push((Action::OrderIsAckedAndAccepted, result));
        }
    }

    fn faults(&self, state: &State, next: &mut Steps) {
        if state.switches > 0 {
            let mut then = *state;
            then.switches -= 1;
            then.acceptor.at ^= 1;
            then.acceptor.made_for = then.name(then.acceptor.at);
            next.push((Action::AcceptorSwitches, Ok(then)));
        }
        if state.resyncs > 0 {
            for server in 0..2u8 {
                if state.replid[server as usize] == 0 {
                    let mut then = *state;
                    then.resyncs -= 1;
                    then.replid[server as usize] = 1;
                    then.stock[server as usize] = state.stock[(server ^ 1) as usize]
                        .map(|stock| Stock { copy: true, ..stock });
                    next.push((Action::ResyncAndPromote { server }, Ok(then)));
                }
            }
        }
        if state.takeovers > 0 && !state.is_retired(state.server) {
            let mut then = *state;
            then.takeovers -= 1;
            then.retired |= 1 << state.server;
            next.push((Action::TakeOver, Ok(then)));
        }
        if state.retired != 0 && self.rule.takeover_lapses {
            let mut then = *state;
            then.retired = 0;
            next.push((Action::TakeoverLapses, Ok(then)));
        }
        if state.clock_jumps > 0 {
            let mut then = *state;
            then.clock_jumps -= 1;
            then.seen = OLD;
            next.push((Action::PostgresClockJumps, Ok(then)));
        }
        if state.losses > 0 {
            let mut then = *state;
            then.losses -= 1;
            then.told = 0;
            then.acceptor.lost = true;
            next.push((Action::QueueLosesAll, Ok(then)));
        }
        if state.stale_leaders > 0 {
            let mut then = *state;
            then.stale_leaders -= 1;
            then.acceptor.deposed = Some(state.told);
            next.push((Action::LooksReachDeposedLeader, Ok(then)));
        }
        if state.acceptor.deposed.is_some() {
            let mut then = *state;
            then.acceptor.deposed = None;
            next.push((Action::LooksReachLeader, Ok(then)));
        }
        if state.old_postgres > 0 {
            let mut then = *state;
            then.old_postgres -= 1;
            let State { epoch, server, open, .. } = *state;
            then.acceptor.replaced = Some(OnRecord { epoch, server, open });
            self.reconnect(&mut then.acceptor);
            next.push((Action::BeatsReachReplacedPostgres, Ok(then)));
        }
        if state.acceptor.replaced.is_some() {
            let mut then = *state;
            then.acceptor.replaced = None;
            self.reconnect(&mut then.acceptor);
            next.push((Action::BeatsReachPostgres, Ok(then)));
        }
    }

    /// Whether the record lets an instance at `target` raise.
    pub fn may_raise(&self, state: &State, target: Name) -> bool {
        !self.rule.raise_checks_server
            || state.server == target
            || state.is_retired(state.server)
            || state.seen >= self.rule.stale
    }

    /// Whether this is the first instant at which the row's age permits the raise.
    fn waited_for_age(&self, state: &State, target: Name) -> bool {
        state.seen == self.rule.stale && state.server != target && !state.is_retired(state.server)
    }

    /// Commits a raise.
    pub fn raise(&self, state: &mut State, who: usize, target: Name) {
        let rule = &self.rule;
        let forced = rule.after_closing_forced != rule.after_closing
            && state.server != target
            && state.seen < rule.stale;
        let there = if rule.quick_if_opened_there { state.opened_on } else { state.server };
        let quick = rule.quick_path && there == target;
        state.late |= self.waited_for_age(state, target);
        state.epoch += 1;
        state.server = target;
        state.open = false;
        // The raiser's own beat may be long ago.
        state.seen = OLD;
        state.raisers[who].rebuild = Some(Rebuild {
            epoch: state.epoch,
            target,
            stage: Stage::Raised,
            quick,
            forced,
            since_commit: 0,
            since_closing: 0,
        });
    }

    /// Takes a rebuild's next step, if its time has come.
    pub fn advance(&self, state: &mut State, who: usize) -> Option<Action> {
        let rule = &self.rule;
        let at = state.raisers[who].at;
        let mut rebuild = state.raisers[who].rebuild?;
        let epoch = rebuild.epoch;
        let action = match rebuild.stage {
            Stage::Judged => return None,
            Stage::Raised if !rebuild.quick => {
                if rule.closing {
                    state.told |= 1 << epoch;
                }
                rebuild.since_closing = 0;
                rebuild.stage = Stage::Closed;
                Action::PublishClosing { epoch }
            }
            Stage::Raised => {
                if rule.clear_first {
                    if rule.clear_names_server && state.name(at) != rebuild.target {
                        return None;
                    }
                    let stock = &mut state.stock[at as usize];
                    if stock.is_some_and(|stock| stock.epoch < epoch) {
                        *stock = None;
                    }
                }
                rebuild.since_closing = 0;
                rebuild.stage = Stage::Closed;
                Action::ClearKeys { epoch }
            }
            Stage::Closed => {
                let (after_closing, after_commit) = match (rebuild.quick, rebuild.forced) {
                    (true, _) => (rule.after_clearing, 0),
                    (false, true) => (rule.after_closing_forced, rule.after_commit),
                    (false, false) => (rule.after_closing, rule.after_commit),
                };
                if rebuild.since_closing < after_closing || rebuild.since_commit < after_commit {
                    return None;
                }
                state.late |= rebuild.since_closing == after_closing
                    || (after_commit > 0 && rebuild.since_commit == after_commit);
                state.told |= 1 << epoch;
                state.markers |= 1 << epoch;
                rebuild.stage = Stage::Marked;
                Action::StoreMarker { epoch }
            }
            Stage::Marked => {
                let newer =
                    |stock: Stock| stock.loaded_for == rebuild.target && stock.epoch >= epoch;
                if state.name(at) != rebuild.target
                    || state.epoch != epoch
                    || state.stock[at as usize].is_some_and(newer)
                {
                    return None;
                }
                state.stock[at as usize] =
                    Some(Stock { loaded_for: rebuild.target, epoch, copy: false });
                state.open = true;
                state.opened_on = rebuild.target;
                state.raisers[who].rebuild = None;
                return Some(Action::LoadAndOpen { epoch });
            }
        };
        state.raisers[who].rebuild = Some(rebuild);
        Some(action)
    }

    fn raiser(&self, state: &State, who: usize, next: &mut Steps) {
        let raiser = state.raisers[who];
        let target = state.name(raiser.at);
        if state.switches > 0 {
            let mut then = *state;
            then.switches -= 1;
            then.raisers[who].at ^= 1;
            next.push((Action::RaiserSwitches, Ok(then)));
        }
        // A rebuild that died is one that takes no further step, until a raise replaces it.
        if state.epoch <= self.faults.raises && self.may_raise(state, target) {
            let mut then = *state;
            if self.rule.row_lock {
                self.raise(&mut then, who, target);
                next.push((Action::Raise { on: target }, Ok(then)));
            } else {
                then.late |= self.waited_for_age(state, target);
                then.raisers[who].rebuild = Some(Rebuild {
                    epoch: state.epoch,
                    target,
                    stage: Stage::Judged,
                    quick: false,
                    forced: state.seen < self.rule.stale,
                    since_commit: 0,
                    since_closing: 0,
                });
                next.push((Action::Judge { on: target }, Ok(then)));
            }
        }
        let Some(rebuild) = raiser.rebuild else { return };
        let mut then = *state;
        if rebuild.stage == Stage::Judged {
            if state.epoch == rebuild.epoch {
                then.seen = if rebuild.forced { 0 } else { OLD };
                self.raise(&mut then, who, rebuild.target);
                next.push((Action::Raise { on: rebuild.target }, Ok(then)));
            }
        } else if let Some(action) = self.advance(&mut then, who) {
            next.push((action, Ok(then)));
        }
    }

    /// Merges states that differ only in what can no longer matter.
    pub fn normalise(&self, state: &mut State) {
        let rule = &self.rule;
        let acceptor = &mut state.acceptor;
        if acceptor.look > rule.look {
            acceptor.look = OLD;
            acceptor.unseen = 0;
            acceptor.lost = false;
            Self::gap(acceptor);
        }
        if rule.continuous_looks && rule.remember_looks {
            // Messages it has not seen were there before the beat's read.
            acceptor.unseen = 0;
        }
        let lost = |cover: Cover| cover.age > rule.cover && rule.continuous_looks && !cover.watched;
        if acceptor.cover.is_some_and(lost) {
            acceptor.cover = None;
        }
        if let Some(cover) = &mut acceptor.cover {
            cover.age = cover.age.min(rule.cover + 1);
        }
        if acceptor.beat.age > rule.cover {
            acceptor.beat = Beat { stage: 0, server: NONE, age: OLD, read: 0, watched: false };
        }
        if acceptor.order.is_some_and(|order| rule.ack != 255 && order.age > rule.ack) {
            acceptor.order = None;
        }
        if !rule.remember_looks {
            acceptor.heard = 0;
        }
        state.seen = state.seen.min(rule.stale + 1);
        for raiser in &mut state.raisers {
            if let Some(rebuild) = &mut raiser.rebuild {
                let waits_closing = rebuild.stage == Stage::Closed;
                if !waits_closing {
                    rebuild.since_closing = 0;
                }
                if rule.after_commit == 0 || rebuild.quick || rebuild.stage == Stage::Marked {
                    rebuild.since_commit = 0;
                }
                if rebuild.stage == Stage::Marked {
                    (rebuild.quick, rebuild.forced) = (false, false);
                }
            }
        }
        if self.faults.raisers == 2 {
            state.raisers.sort_unstable();
        }
    }
}
