//! Steps and their kill points.

use std::{fmt, future::Future, str::FromStr};

/// The environment variable that arms a [`KillPoint`], such as `publish/marker:after:1`.
pub const KILL_AT: &str = "FLASHSALE_KILL_AT";

/// A step of a service: [`steps!`](crate::steps) declares it, and lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    name: &'static str,
}

impl Step {
    /// The step of this name. For [`steps!`](crate::steps), and for what is declared with a name of
    /// its own, as a script is: elsewhere a step would be on no list.
    #[doc(hidden)]
    pub const fn declared(name: &'static str) -> Self {
        Self { name }
    }

    /// The name by which it is armed and listed.
    pub const fn name(self) -> &'static str {
        self.name
    }

    /// Whether it is the one of the statement in `file`: `sql/lookup` is of `sql/lookup.sql`.
    pub const fn is_of(self, file: &str) -> bool {
        let (name, file) = (self.name.as_bytes(), file.as_bytes());
        let Some((stem, b".sql")) = file.split_at_checked(name.len()) else { return false };
        same(name, stem)
    }
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether no name is listed twice.
#[doc(hidden)]
pub const fn are_distinct(names: &[&str]) -> bool {
    let mut one = 0;
    while one < names.len() {
        let mut other = one + 1;
        while other < names.len() {
            if same(names[one].as_bytes(), names[other].as_bytes()) {
                return false;
            }
            other += 1;
        }
        one += 1;
    }
    true
}

/// Declares the steps of a service, each with its constant, its name and its place in the list, a
/// line each: `pub(crate) const PUBLISH_MARKER = "publish/marker";`.
///
/// The constants are of the crate, so the compiler warns of a step that nothing uses. `all()` is
/// the list; names that are declared elsewhere come before it by a first line `behind NAMES;`. A
/// name that is declared twice does not compile.
// The compiler keeps warnings about what another crate's macro has written to itself. Each constant
// is therefore written by the caller from its first token to its last, `pub` and `;` included.
#[macro_export]
macro_rules! steps {
    (behind $more:expr; $($pub:tt $within:tt const $step:ident = $name:literal $end:tt)+) => {
        $(
            #[doc = concat!("The step `", $name, "`.")]
            $pub $within const $step: $crate::Step = $crate::Step::declared($name) $end
        )+

        const _: () = {
            assert!($crate::are_distinct(&[$($name,)+]), "a step is declared twice");
        };

        /// The names of all steps; none in a build without kill points.
        pub fn all() -> Vec<&'static str> {
            if !$crate::COMPILED_IN {
                return Vec::new();
            }
            let more: &[&'static str] = $more;
            more.iter().copied().chain([$($name,)+]).collect()
        }

        /// The declared step of this name.
        #[cfg(test)]
        fn named(name: &str) -> Option<$crate::Step> {
            [$($step,)+].into_iter().find(|step| step.name() == name)
        }
    };
    ($($pub:tt $within:tt const $step:ident = $name:literal $end:tt)+) => {
        $crate::steps! { behind &[]; $($pub $within const $step = $name $end)+ }
    };
}

/// Which of a step's two kill points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Nothing of it has happened.
    Before,
    /// It has happened, and no caller was told.
    After,
}

impl Moment {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Before, Self::After];
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Before => "before",
            Self::After => "after",
        })
    }
}

impl FromStr for Moment {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|moment| moment.to_string() == text).ok_or(())
    }
}

/// Where a process ends: before or after a step, when it gets there for the count-th time. Written
/// as `<step>:<before|after>:<count>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KillPoint {
    /// The name of the step.
    pub step: String,
    pub moment: Moment,
    /// Above zero.
    pub count: u32,
}

impl fmt::Display for KillPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { step, moment, count } = self;
        write!(f, "{step}:{moment}:{count}")
    }
}

impl FromStr for KillPoint {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.rsplitn(3, ':');
        let count = parts.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
        let moment = parts.next().and_then(|moment| moment.parse().ok());
        match (parts.next(), moment, count) {
            (Some(step), Some(moment), Some(count)) => {
                Ok(Self { step: step.to_owned(), moment, count })
            }
            _ => Err(()),
        }
    }
}

/// Makes a step of what is awaited.
pub trait AsStep: Future + Sized {
    /// As this step, with a kill point before and one after it.
    fn step(self, step: Step) -> Stepped<Self> {
        stepped(self, step)
    }
}

impl<F: Future> AsStep for F {}

/// A step that is awaited.
#[cfg(not(debug_assertions))]
pub type Stepped<F> = F;

#[cfg(not(debug_assertions))]
fn stepped<F: Future>(future: F, _step: Step) -> F {
    future
}

#[cfg(debug_assertions)]
pub use armed::{Stepped, refuse, stepped};

#[cfg(debug_assertions)]
mod armed {
    use std::{
        fmt,
        future::Future,
        io::Write as _,
        pin::Pin,
        sync::{
            OnceLock,
            atomic::{AtomicU32, Ordering},
        },
        task::{Context, Poll},
    };

    use nix::{
        sys::signal::{Signal, kill},
        unistd::Pid,
    };

    use super::{KILL_AT, KillPoint, Moment, Step};

    /// A step that is awaited.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Stepped<F> {
        future: Pin<Box<F>>,
        step: Step,
        begun: bool,
    }

    impl<F> fmt::Debug for Stepped<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Stepped").field("step", &self.step).finish_non_exhaustive()
        }
    }

    pub fn stepped<F: Future>(future: F, step: Step) -> Stepped<F> {
        Stepped { future: Box::pin(future), step, begun: false }
    }

    impl<F: Future> Future for Stepped<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
            if !self.begun {
                self.begun = true;
                reach(self.step, Moment::Before);
            }
            let done = self.future.as_mut().poll(context);
            if done.is_ready() {
                reach(self.step, Moment::After);
            }
            done
        }
    }

    struct Armed {
        point: KillPoint,
        left: AtomicU32,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let read = || {
            let text = std::env::var(KILL_AT).ok()?;
            match text.parse::<KillPoint>() {
                Ok(point) => Some(Armed { left: AtomicU32::new(point.count), point }),
                Err(()) => refuse(KILL_AT, &text, "<step>:<before|after>:<count>"),
            }
        };
        ARMED.get_or_init(read).as_ref()
    }

    fn reach(step: Step, moment: Moment) {
        let here = |armed: &&Armed| armed.point.moment == moment && armed.point.step == step.name();
        let Some(armed) = armed().filter(here) else { return };
        if armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // The signal is delivered before the call returns. If it ever is not, this thread goes
            // no further.
            let _ = kill(Pid::this(), Signal::SIGKILL);
            loop {
                std::thread::park();
            }
        }
    }

    /// Ends the process: a suite that has armed something must not go on with one that is not.
    pub fn refuse(variable: &str, value: &str, wanted: &str) -> ! {
        let _ = writeln!(std::io::stderr(), "{variable} is {value:?}: it must be {wanted}");
        std::process::exit(2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_of_one_statement() {
        const LOOKUP: Step = Step::declared("sql/lookup");
        assert!(LOOKUP.is_of("sql/lookup.sql"));
        for other in ["sql/lookup", "sql/lookups.sql", "sql/look.sql", "sql/lookum.sql", ""] {
            assert!(!LOOKUP.is_of(other), "{other}");
        }
    }

    #[test]
    fn a_name_listed_twice_is_found() {
        assert!(are_distinct(&["a", "b", "ab"]));
        assert!(!are_distinct(&["a", "b", "a"]));
    }

    #[test]
    fn kill_points_are_read_as_written() {
        let point = KillPoint { step: "sql/a".to_owned(), moment: Moment::After, count: 3 };
        assert_eq!(point.to_string(), "sql/a:after:3");
        assert_eq!(point.to_string().parse(), Ok(point));
        for wrong in ["sql/a", "sql/a:after", "sql/a:after:0", "sql/a:never:1", "after:1"] {
            assert_eq!(wrong.parse::<KillPoint>(), Err(()), "{wrong}");
        }
    }
}
