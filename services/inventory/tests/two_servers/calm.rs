//! What happens once faults stop: every instance beats each second, and rebuilds a sale that it
//! finds closed and may raise.

use std::mem;

use crate::model::{Model, Name, State};

/// How long a sale is followed, in seconds.
const FOLLOWED: u8 = 40;
/// So many raises are a rebuild war.
const ENDLESS: u8 = 3;
/// When a takeover lapses: later than every bound of the rule. It is built with 30 s.
const LAPSES: u8 = 8;

/// What became of a sale.
#[derive(Debug, Clone, Copy)]
pub struct Outcome {
    /// Since when it was open without a break.
    pub open_after: Option<u8>,
    pub raises: u8,
    /// The recorded server was served from at the start, by an instance that beats.
    pub was_served: bool,
}

/// What an instance has read of the recorded server's row.
#[derive(Debug, Clone, Copy, Default)]
struct Watch {
    row: (Name, u8),
    since: Option<u8>,
}

impl Model {
    /// Follows a sale from a state in which faults stop, with the two instances at these servers.
    /// The first is ahead of the other in each second. `dead`: rebuilds under way have died.
    /// `slow`: the instance that raises a second after it has found the sale closed, if one does.
    pub fn calm(&self, mut state: State, at: [u8; 2], dead: bool, slow: Option<usize>) -> Outcome {
        for (raiser, at) in state.raisers.iter_mut().zip(at) {
            raiser.at = at;
            raiser.rebuild = raiser.rebuild.filter(|_| !dead);
        }
        let names = at.map(|at| state.name(at));
        let serves = |state: &State| names.iter().any(|name| self.serves(state, *name));
        let mut outcome = Outcome { open_after: None, raises: 0, was_served: serves(&state) };
        let mut watches = [Watch::default(); 2];
        let mut beats = 0;
        let mut looked = None;
        for second in 0..FOLLOWED {
            if second == LAPSES && self.rule.takeover_lapses {
                state.retired = 0;
            }
            for who in 0..2 {
                if state.is_retired(names[who]) {
                    continue;
                }
                if state.server == names[who] {
                    state.seen = 0;
                    beats += 1;
                }
                let row = (state.server, beats);
                let watch = &mut watches[who];
                if watch.since.is_none() || watch.row != row {
                    *watch = Watch { row, since: Some(second) };
                }
                let unchanged = second - watch.since.unwrap_or(second);
                let found = self.found_closed(&state, names[who]);
                let found =
                    if slow == Some(who) { mem::replace(&mut looked, found) } else { found };
                if self.calm_instance(&mut state, who, names[who], unchanged, found) {
                    outcome.raises += 1;
                }
            }
            if outcome.raises > ENDLESS {
                return Outcome { open_after: None, ..outcome };
            }
            if !serves(&state) {
                outcome.open_after = None;
            } else if outcome.open_after.is_none() {
                outcome.open_after = Some(second);
            }
            state = self.second(&state);
        }
        outcome
    }

    /// The epoch on record and whether it is open, if an instance at `name` takes no units.
    fn found_closed(&self, state: &State, name: Name) -> Option<(u8, bool)> {
        (!self.serves(state, name)).then_some((state.epoch, state.open))
    }

    /// Whether the instance raises. `found`: what it found closed, if it did.
    fn calm_instance(
        &self,
        state: &mut State,
        who: usize,
        name: Name,
        unchanged: u8,
        found: Option<(u8, bool)>,
    ) -> bool {
        if let Some(rebuild) = state.raisers[who].rebuild
            && (rebuild.target != name || rebuild.epoch != state.epoch)
        {
            state.raisers[who].rebuild = None;
        }
        let epoch = state.epoch;
        let leased = state
            .raisers
            .iter()
            .any(|raiser| raiser.rebuild.is_some_and(|rebuild| rebuild.epoch == epoch));
        let may_raise = if self.rule.raise_checks_server && self.rule.stale_by_two_reads {
            state.server == name || state.is_retired(state.server) || unchanged >= self.rule.stale
        } else {
            self.may_raise(state, name)
        };
        let as_found = found.is_some_and(|(epoch, open)| {
            epoch == state.epoch && (open == state.open || !self.rule.raise_checks_open)
        });
        let raises = as_found && !leased && may_raise;
        if raises {
            self.raise(state, who, name);
        }
        while self.advance(state, who).is_some() {}
        raises
    }

    /// Whether an instance at `name` takes units.
    fn serves(&self, state: &State, name: Name) -> bool {
        let stock = state.stock[usize::from(name / 2)];
        state.open
            && state.server == name
            && !state.is_retired(name)
            && stock.is_some_and(|stock| stock.loaded_for == name && stock.epoch == state.epoch)
    }
}
