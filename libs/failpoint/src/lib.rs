//! Places at which a fault suite makes a service fail on purpose: kill points around its steps, and
//! a clock that is off.
//!
//! A *step* is what changes something outside of the process, or asks for it: a script, a statement
//! or a commit, a publish. A service declares its steps with [`steps!`], which makes a [`Step`] of
//! each name, and lists them. What sends them takes the step as an argument: the pool of
//! `flashsale-pg` for statements and commits, the scripts of `flashsale-redis`, which are steps by
//! their name, and [`Outside`] for the rest. A step has two kill points, one before and one after
//! it. The environment arms one of them, by [`KILL_AT`]; the process ends there by SIGKILL, as by a
//! crash, and writes nothing.
//!
//! All of this is compiled where `debug_assertions` are on and nowhere else: in a release build a
//! step is the future itself, and the clock the system's.

mod clock;
mod outside;
mod step;

pub use clock::{CLOCK_OFFSET_MS, now_utc};
pub use outside::Outside;
#[doc(hidden)]
pub use step::are_distinct;
pub use step::{AsStep, KILL_AT, KillPoint, Moment, Step, Stepped};

/// Whether this build can fail on purpose.
pub const COMPILED_IN: bool = cfg!(debug_assertions);
