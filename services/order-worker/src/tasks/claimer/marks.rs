//! Since when messages have been claimed. They are purged only after a while, because inventory
//! also reads the newest messages now and then and has to find every marker there.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// About how many marks are kept: messages claimed between two marks are purged with the later one.
const MARKS: u32 = 16;

/// Positions of the claims, each with the time at which they reached it.
#[derive(Debug)]
pub(super) struct Marks {
    after: Duration,
    marks: VecDeque<(u64, Instant)>,
    old: u64,
}

impl Marks {
    /// Marks that count as old after `after`.
    pub(super) fn new(after: Duration) -> Self {
        Self { after, marks: VecDeque::new(), old: 0 }
    }

    /// Notes that the claims have reached `seq`.
    pub(super) fn note(&mut self, seq: u64, now: Instant) {
        let due = self.marks.back().is_none_or(|(last, at)| {
            seq > *last && now.saturating_duration_since(*at) >= self.after / MARKS
        });
        if due && seq > self.old {
            self.marks.push_back((seq, now));
        }
    }

    /// The sequence number of the last message that was claimed long enough ago; 0 if there is
    /// none.
    pub(super) fn old(&mut self, now: Instant) -> u64 {
        while let Some((seq, at)) = self.marks.front()
            && now.saturating_duration_since(*at) >= self.after
        {
            self.old = *seq;
            self.marks.pop_front();
        }
        self.old
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const AFTER: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn marks_age_after_their_time() {
        let mut marks = Marks::new(AFTER);
        marks.note(10, Instant::now());
        advance(AFTER - Duration::from_millis(1)).await;
        marks.note(20, Instant::now());
        assert_eq!(marks.old(Instant::now()), 0);
        advance(Duration::from_millis(1)).await;
        assert_eq!(marks.old(Instant::now()), 10);
        advance(AFTER).await;
        assert_eq!(marks.old(Instant::now()), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn marks_are_few_and_never_early() {
        let mut marks = Marks::new(AFTER);
        let mut claimed = Vec::new();
        for seq in 1..=2_000_u64 {
            marks.note(seq, Instant::now());
            claimed.push(Instant::now());
            assert!(marks.marks.len() <= MARKS as usize + 1, "{}", marks.marks.len());
            let old = marks.old(Instant::now());
            if let Some(at) = old.checked_sub(1).and_then(|index| claimed.get(index as usize)) {
                assert!(at.elapsed() >= AFTER, "{old} is purged after {:?}", at.elapsed());
            }
            advance(Duration::from_millis(17)).await;
        }
        // The claims pause: the last message gets its mark too.
        advance(AFTER).await;
        marks.note(2_000, Instant::now());
        marks.old(Instant::now());
        advance(AFTER).await;
        marks.note(2_000, Instant::now());
        assert_eq!(marks.old(Instant::now()), 2_000);
    }
}
