//! Steps and their kill points.

use std::{fmt, future::Future, str::FromStr};

/// The environment variable that arms a kill point: `<step>:<before|after>:<count>`, such as `publish/marker:after:1`. The process ends when
/// it gets there for the count-th time.
pub const KILL_AT: &str = "FLASHSALE_KILL_AT";

/// Which of a step's two kill points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// Nothing of it has happened.
    Before,
    /// It has happened, and nobody was told.
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

/// Makes a step of what is awaited.
pub trait Step: Future + Sized {
    /// The step of this name, with a kill point before and one after it.
    fn step(self, name: &'static str) -> Stepped<Self> {
        stepped(self, name)
    }
}

impl<F: Future> Step for F {}

/// A step that is awaited.
#[cfg(not(debug_assertions))]
pub type Stepped<F> = F;

#[cfg(not(debug_assertions))]
fn stepped<F: Future>(future: F, _name: &'static str) -> F {
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

    use super::{KILL_AT, Moment};

    /// A step that is awaited.
    #[must_use = "futures do nothing unless awaited"]
    pub struct Stepped<F> {
        future: Pin<Box<F>>,
        name: &'static str,
        begun: bool,
    }

    impl<F> fmt::Debug for Stepped<F> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("Stepped").field("name", &self.name).finish_non_exhaustive()
        }
    }

    pub fn stepped<F: Future>(future: F, name: &'static str) -> Stepped<F> {
        Stepped { future: Box::pin(future), name, begun: false }
    }

    impl<F: Future> Future for Stepped<F> {
        type Output = F::Output;

        fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
            if !self.begun {
                self.begun = true;
                reach(self.name, Moment::Before);
            }
            let done = self.future.as_mut().poll(context);
            if done.is_ready() {
                reach(self.name, Moment::After);
            }
            done
        }
    }

    struct Armed {
        name: String,
        moment: Moment,
        left: AtomicU32,
    }

    fn armed() -> Option<&'static Armed> {
        static ARMED: OnceLock<Option<Armed>> = OnceLock::new();
        let read = || {
            let text = std::env::var(KILL_AT).ok()?;
            let mut parts = text.rsplitn(3, ':');
            let count =
                parts.next().and_then(|count| count.parse().ok()).filter(|count| *count > 0);
            let moment = parts.next().and_then(|moment| moment.parse().ok());
            match (parts.next(), moment, count) {
                (Some(name), Some(moment), Some(count)) => {
                    Some(Armed { name: name.to_owned(), moment, left: AtomicU32::new(count) })
                }
                _ => refuse(KILL_AT, &text, "<step>:<before|after>:<count>"),
            }
        };
        ARMED.get_or_init(read).as_ref()
    }

    fn reach(name: &str, moment: Moment) {
        let Some(armed) = armed().filter(|armed| armed.moment == moment && armed.name == name)
        else {
            return;
        };
        if armed.left.fetch_sub(1, Ordering::SeqCst) == 1 {
            // To oneself it is delivered before the call returns; should it ever not be, nothing is done any more all the same.
            let _ = kill(Pid::this(), Signal::SIGKILL);
            loop {
                std::thread::park();
            }
        }
    }

    /// A suite that believes to have armed something must not go on with a process that is not.
    pub fn refuse(variable: &str, value: &str, wanted: &str) -> ! {
        let _ = writeln!(std::io::stderr(), "{variable} is {value:?}: it must be {wanted}");
        std::process::exit(2);
    }
}
