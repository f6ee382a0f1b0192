//! What calls came to within the last seconds, in buckets of a second each.

/// The sums of one second, or of all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub(crate) calls: u32,
    pub(crate) failed: u32,
    pub(crate) slow: u32,
}

impl Sums {
    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failed = self.failed.saturating_add(other.failed);
        self.slow = self.slow.saturating_add(other.slow);
    }

    fn take(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failed = self.failed.saturating_sub(other.failed);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

/// A window that slides by the second. A call costs the same however many there were.
#[derive(Debug)]
pub(crate) struct Window {
    buckets: Vec<Sums>,
    /// The sum over the buckets.
    all: Sums,
    /// The second of the newest bucket, since the window was made.
    second: u64,
}

impl Window {
    /// Over so many seconds, at least one.
    pub(crate) fn new(seconds: usize) -> Self {
        Self { buckets: vec![Sums::default(); seconds.max(1)], all: Sums::default(), second: 0 }
    }

    /// Over how many seconds it is.
    pub(crate) fn seconds(&self) -> usize {
        self.buckets.len()
    }

    /// The sums at this second.
    pub(crate) fn sums(&mut self, second: u64) -> Sums {
        self.slide(second);
        self.all
    }

    /// Counts a call that ended at this second.
    pub(crate) fn count(&mut self, second: u64, failed: bool, slow: bool) {
        self.slide(second);
        let call = Sums { calls: 1, failed: failed.into(), slow: slow.into() };
        let place = self.place(self.second);
        if let Some(bucket) = self.buckets.get_mut(place) {
            bucket.add(call);
            self.all.add(call);
        }
    }

    /// Forgets what is older than the window. A clock that stands still or goes back slides
    /// nothing.
    fn slide(&mut self, second: u64) {
        let length = self.buckets.len();
        let steps = second.saturating_sub(self.second);
        for step in 1..=steps.min(u64::try_from(length).unwrap_or(u64::MAX)) {
            let place = self.place(self.second + step);
            if let Some(bucket) = self.buckets.get_mut(place) {
                let old = std::mem::take(bucket);
                self.all.take(old);
            }
        }
        self.second = self.second.max(second);
    }

    fn place(&self, second: u64) -> usize {
        let length = u64::try_from(self.buckets.len()).unwrap_or(u64::MAX);
        usize::try_from(second % length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let mut window = Window::new(10);
        for _ in 0..50_000 {
            window.count(0, false, false);
        }
        window.count(3, true, true);
        assert_eq!(window.sums(9), Sums { calls: 50_001, failed: 1, slow: 1 });
        assert_eq!(window.sums(10), Sums { calls: 1, failed: 1, slow: 1 });
        assert_eq!(window.sums(13), Sums::default());
        window.count(1_000_000, true, false);
        assert_eq!(window.sums(1_000_000), Sums { calls: 1, failed: 1, slow: 0 });
        // A clock that goes back loses nothing.
        assert_eq!(window.sums(5), Sums { calls: 1, failed: 1, slow: 0 });
    }

    /// Against sums over a list of all calls.
    #[test]
    fn the_window_is_the_sum_of_its_seconds() {
        let mut window = Window::new(7);
        let mut calls: Vec<(u64, bool, bool)> = Vec::new();
        let mut second = 0;
        for n in 0_u64..2_000 {
            second += [0, 0, 0, 1, 0, 2, 0, 9][usize::try_from(n % 8).unwrap_or(0)];
            let (failed, slow) = (n % 3 == 0, n % 5 == 0);
            window.count(second, failed, slow);
            calls.push((second, failed, slow));
            let within = calls.iter().filter(|(at, ..)| at + 7 > second);
            let mut sums = Sums::default();
            for (_, failed, slow) in within {
                sums.add(Sums { calls: 1, failed: (*failed).into(), slow: (*slow).into() });
            }
            assert_eq!(window.sums(second), sums, "call {n}");
        }
    }
}
