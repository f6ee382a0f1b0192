//! What a peer has answered last. Its silence changes nothing but the age of that.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The last answer of a peer, and when it was asked for.
#[derive(Debug)]
pub(crate) struct LastAnswer<T>(Mutex<Option<(T, Instant)>>);

impl<T: Copy> LastAnswer<T> {
    /// Nothing has been answered yet.
    pub(crate) const fn none() -> Self {
        Self(Mutex::new(None))
    }

    /// The answer, and how long ago it was asked for: it may be as old as that.
    pub(crate) fn get(&self) -> Option<(T, Duration)> {
        self.lock().map(|(answer, asked_at)| (answer, asked_at.elapsed()))
    }

    /// Sets the answer to what was asked at `asked_at`, and returns the one before.
    pub(crate) fn set(&self, answer: T, asked_at: Instant) -> Option<T> {
        self.lock().replace((answer, asked_at)).map(|(before, _)| before)
    }

    fn lock(&self) -> MutexGuard<'_, Option<(T, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn answers_age_from_the_asking_on() {
        let last = LastAnswer::none();
        assert_eq!(last.get(), None);
        let asked_at = Instant::now();
        tokio::time::advance(Duration::from_millis(400)).await;
        assert_eq!(last.set(true, asked_at), None);
        tokio::time::advance(Duration::from_millis(100)).await;
        assert_eq!(last.get(), Some((true, Duration::from_millis(500))));
        assert_eq!(last.set(false, Instant::now()), Some(true));
        assert_eq!(last.get(), Some((false, Duration::ZERO)));
    }
}
