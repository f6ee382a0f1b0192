//! What is outside of the process, and is changed in steps.

use std::future::Future;

use crate::step::{AsStep as _, Step, Stepped};

/// A handle to something outside of the process: a queue, another service, a mail relay. What
/// changes it names its step; what does not says so.
#[derive(Debug, Clone)]
pub struct Outside<T>(T);

impl<T> Outside<T> {
    /// Behind this handle.
    pub const fn new(handle: T) -> Self {
        Self(handle)
    }

    /// What `act` does with it, as `step`.
    pub fn step<'a, F: Future>(&'a self, step: Step, act: impl FnOnce(&'a T) -> F) -> Stepped<F> {
        act(&self.0).step(step)
    }

    /// The handle, for what changes nothing: it has no kill point.
    pub const fn reads(&self) -> &T {
        &self.0
    }
}
