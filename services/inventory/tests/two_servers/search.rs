//! Breadth-first search over every reachable state, with the shortest way to a broken one.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    fmt::Debug,
    hash::{BuildHasherDefault, Hash, Hasher},
};

/// A system whose states are searched.
pub trait System {
    type State: Copy + Eq + Hash + Debug;
    type Action: Copy + Debug;

    fn start(&self) -> Self::State;

    /// Pushes each action that is possible in `state` with the state after it, or with what it
    /// breaks.
    fn next(&self, state: &Self::State, next: &mut Vec<Next<Self::State, Self::Action>>);
}

/// An action and where it leads: to a state, or to a broken promise.
pub type Next<S, A> = (A, Result<S, &'static str>);

/// What a search came to.
#[derive(Debug)]
pub struct Found<S, A> {
    /// Every state that was reached, in the order of its distance from the start.
    pub states: Vec<S>,
    /// For each state the one before it on the shortest way, and the action between.
    parents: Vec<Option<(u32, A)>>,
    /// The promise broken first, and the shortest way there.
    pub broken: Option<(&'static str, Vec<A>)>,
}

impl<S, A: Copy> Found<S, A> {
    /// The actions that lead to a state.
    pub fn way_to(&self, state: usize) -> Vec<A> {
        let mut way = Vec::new();
        let mut here = state;
        while let Some((parent, action)) = self.parents[here] {
            way.push(action);
            here = parent as usize;
        }
        way.reverse();
        way
    }
}

/// Follows every action from the start until there is no new state, or a promise is broken.
///
/// # Panics
/// If there are more than `most` states: the model has lost its bounds.
pub fn search<M: System>(system: &M, most: usize) -> Found<M::State, M::Action> {
    let mut known = Known(HashMap::default());
    let mut states = vec![system.start()];
    let mut parents: Vec<Option<(u32, M::Action)>> = vec![None];
    let mut open = VecDeque::from([0u32]);
    let mut next = Vec::new();
    known.is_new(&states[0], &[]);
    while let Some(at) = open.pop_front() {
        let state = states[at as usize];
        system.next(&state, &mut next);
        for (action, then) in next.drain(..) {
            match then {
                Err(broken) => {
                    let mut found = Found { states, parents, broken: None };
                    let mut way = found.way_to(at as usize);
                    way.push(action);
                    found.broken = Some((broken, way));
                    return found;
                }
                Ok(then) => {
                    if known.is_new(&then, &states) {
                        assert!(states.len() < most, "more than {most} states");
                        open.push_back(states.len() as u32);
                        states.push(then);
                        parents.push(Some((at, action)));
                    }
                }
            }
        }
    }
    Found { states, parents, broken: None }
}

/// Indexes of known states by their hash; where another state has it, by the next number.
struct Known(HashMap<u64, u32, BuildHasherDefault<Fast>>);

impl Known {
    /// Whether a state is new; it is then known under the next index.
    fn is_new<S: Eq + Hash>(&mut self, state: &S, states: &[S]) -> bool {
        let mut hasher = Fast::default();
        state.hash(&mut hasher);
        let mut key = hasher.finish();
        loop {
            match self.0.entry(key) {
                Entry::Vacant(free) => {
                    free.insert(states.len() as u32);
                    return true;
                }
                Entry::Occupied(other) if states.get(*other.get() as usize) == Some(state) => {
                    return false;
                }
                Entry::Occupied(_) => key = key.wrapping_add(1),
            }
        }
    }
}

/// Multiplies and rotates: the states are small and come from no adversary.
#[derive(Debug, Default)]
pub struct Fast(u64);

impl Fast {
    fn add(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x517c_c1b7_2722_0a95);
    }
}

impl Hasher for Fast {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.add(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    fn write_isize(&mut self, word: isize) {
        self.add(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}
