//! Watching one ticket. A watcher does not read the stores: it subtracts the broadcast head from
//! its number, and reads its own record once, when the head has passed it. While nothing changes
//! that it tells, only its heartbeat wakes it.

use std::{pin::pin, time::Duration};

use flashsale_admission::Ticket;
use futures::{Stream, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, sleep_until},
};

use super::{Line, RoomError, Standing};
use crate::{
    domain::{Mark, Outlook, Place, Progress, RoomView, outlook},
    metrics::Watching,
    store::StoreError,
};

/// How often tickets far from the head are updated.
const FAR_PAUSE: Duration = Duration::from_secs(1);
/// How long after a failed reading of its record a ticket is read again.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// One watched ticket.
#[derive(Debug)]
pub(crate) struct Watcher {
    line: Line,
    ticket: Ticket,
    feed: watch::Receiver<Option<RoomView>>,
    /// What was sent last, and when; `None` before the first.
    sent: Option<(Standing, Instant)>,
    /// The store's time of what was sent last: older broadcasts are skipped.
    as_of_ms: i64,
    _guards: (OwnedSemaphorePermit, Watching),
}

/// What follows from a broadcast.
enum Change {
    /// Send this.
    Send(Standing),
    /// The head has passed the ticket: its record has to be read.
    Read,
    /// Nothing has changed.
    None,
}

impl Line {
    /// Watches a ticket until its last state, or until its turn to end while the process drains.
    pub(crate) fn watch(&self, ticket: Ticket) -> Result<Watcher, RoomError> {
        let (feed, permit) = self
            .feeds
            .watch(ticket.sale_id)
            .ok_or(RoomError::TooManyWatchers { limit: self.feeds.limit() })?;
        Ok(Watcher {
            line: self.clone(),
            ticket,
            feed,
            sent: None,
            as_of_ms: 0,
            _guards: (permit, self.metrics.watching()),
        })
    }
}

impl Watcher {
    /// The states of the ticket. The stream ends after the last one, and when the process drains.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<Standing, RoomError>> + Send {
        stream::unfold(Some(self), |watcher| async move {
            let mut watcher = watcher?;
            match watcher.next().await {
                Some(Ok(standing)) => {
                    let goes_on = !standing.outlook.is_last();
                    Some((Ok(standing), goes_on.then_some(watcher)))
                }
                Some(Err(error)) => Some((Err(error), None)),
                None => None,
            }
        })
    }

    /// The next state to send; `None` when the process drains.
    async fn next(&mut self) -> Option<Result<Standing, RoomError>> {
        let Some((last, sent_at)) = &self.sent else {
            return Some(self.read().await);
        };
        let heartbeat = *sent_at + self.line.heartbeat;
        let pause = pause_after(last.outlook);
        let feeds = self.line.feeds.clone();
        let mut ended = pin!(feeds.farewell(self.ticket.number));
        tokio::select! {
            () = &mut ended => return None,
            () = sleep(pause.min(self.line.heartbeat)) => {}
        }
        let mut wake_at = heartbeat;
        loop {
            tokio::select! {
                () = &mut ended => return None,
                // The feed exists as long as it has a watcher; if it ends nevertheless, the client
                // comes back.
                changed = self.feed.changed() => changed.ok()?,
                () = sleep_until(wake_at) => {}
            }
            match self.compare() {
                Change::Send(standing) => return Some(Ok(self.record_sent(standing))),
                Change::None => {}
                Change::Read => match self.read().await {
                    // A temporary failure. No broadcast needs to follow: the head may stand still.
                    Err(error) if is_passing(&error) => {
                        tracing::debug!(%error, "a watched ticket cannot be read yet");
                        wake_at = heartbeat.min(Instant::now() + READ_AGAIN);
                    }
                    answer => return Some(answer),
                },
            }
            if Instant::now() >= heartbeat {
                let (last, _) = self.sent.clone()?;
                return Some(Ok(self.record_sent(last)));
            }
        }
    }

    /// Compares the latest broadcast with what was sent last.
    fn compare(&mut self) -> Change {
        let broadcast = self.feed.borrow_and_update();
        let Some(room) = broadcast.as_ref().filter(|room| room.now_ms >= self.as_of_ms) else {
            return Change::None;
        };
        if room.head >= self.ticket.number {
            return Change::Read;
        }
        self.as_of_ms = room.now_ms;
        let place = Place::Behind(self.ticket.number - room.head);
        // Whether the place was given up is read when its turn comes, not with every broadcast.
        let outlook = outlook(place, Mark::Current, room, room.stock);
        drop(broadcast);
        if self.sent.as_ref().is_some_and(|(last, _)| last.outlook == outlook) {
            return Change::None;
        }
        Change::Send(self.line.standing(&self.ticket, outlook))
    }

    async fn read(&mut self) -> Result<Standing, RoomError> {
        let (standing, room) = self.line.position(&self.ticket).await?;
        self.as_of_ms = room.now_ms;
        Ok(self.record_sent(standing))
    }

    fn record_sent(&mut self, standing: Standing) -> Standing {
        self.sent = Some((standing.clone(), Instant::now()));
        standing
    }
}

/// How long to pause after sending `outlook`: half of the expected wait, so that the next in line
/// are not delayed, and at most [`FAR_PAUSE`], so that a full room costs one message a second for
/// each ticket.
fn pause_after(outlook: Outlook) -> Duration {
    match outlook {
        Outlook::Waiting(Progress { wait: Some(wait), .. }) => FAR_PAUSE.min(wait / 2),
        Outlook::Waiting(Progress { wait: None, .. }) => FAR_PAUSE,
        Outlook::NotStarted(_)
        | Outlook::Paused(_)
        | Outlook::SoldOutForNow(_)
        | Outlook::Admitted { .. }
        | Outlook::Lapsed
        | Outlook::SoldOut
        | Outlook::Closed
        | Outlook::Left
        | Outlook::Used => Duration::ZERO,
    }
}

/// Whether the next attempt may succeed.
fn is_passing(error: &RoomError) -> bool {
    match error {
        RoomError::Store(StoreError::Busy | StoreError::Redis(_) | StoreError::Postgres(_)) => true,
        RoomError::Store(StoreError::NotFound(_) | StoreError::Malformed(_))
        | RoomError::Closed(_)
        | RoomError::TooEarly { .. }
        | RoomError::SoldOut(_)
        | RoomError::Ticket(_)
        | RoomError::TooManyWatchers { .. } => false,
    }
}
