//! Following one ticket. A watcher does not ask the stores: it subtracts the head it is told from its number, and only when that has
//! passed it does it read its own record, once.

use std::time::Duration;

use flashsale_admission::Ticket;
use flashsale_service::Drain;
use futures::{Stream, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Line, RoomError, Standing, feeds::Broadcast};
use crate::{
    domain::{Mark, Outlook, Place, Progress, outlook},
    metrics::Watching,
    store::StoreError,
};

/// Whoever is far from the head hears of it about this often.
const FAR_PAUSE: Duration = Duration::from_secs(1);

/// One watched ticket.
#[derive(Debug)]
pub(crate) struct Watcher {
    line: Line,
    ticket: Ticket,
    feed: watch::Receiver<Option<Broadcast>>,
    ended: CancellationToken,
    /// What was said last and when; none before the first.
    sent: Option<(Standing, Instant)>,
    /// The store's time of what was said last: broadcasts older than that are passed over.
    as_of_ms: i64,
    _guards: (OwnedSemaphorePermit, Watching),
}

/// What to do after a look at the room.
enum Change {
    /// Say this.
    Send(Standing),
    /// The record has to be read.
    Read,
    /// Nothing new.
    None,
}

impl Line {
    /// Follows a ticket until nothing new can be said of it, or the process ends.
    pub(crate) fn watch(&self, ticket: Ticket, drain: &Drain) -> Result<Watcher, RoomError> {
        let (feed, permit) = self
            .feeds
            .watch(ticket.sale_id)
            .ok_or(RoomError::TooManyWatchers { limit: self.feeds.limit() })?;
        Ok(Watcher {
            line: self.clone(),
            ticket,
            feed,
            ended: drain.token(),
            sent: None,
            as_of_ms: 0,
            _guards: (permit, self.metrics.watching()),
        })
    }
}

impl Watcher {
    /// What there is to say, as it happens. It ends after the last thing there is to say, and when the process drains.
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

    /// The next thing to say; `None` when the process drains.
    async fn next(&mut self) -> Option<Result<Standing, RoomError>> {
        let Some((last, sent_at)) = &self.sent else {
            return Some(self.read().await);
        };
        let heartbeat = *sent_at + self.line.heartbeat;
        let ended = self.ended.clone();
        let pause = pause_after(last.outlook);
        tokio::select! {
            () = ended.cancelled() => return None,
            () = sleep(pause.min(self.line.heartbeat)) => {}
        }
        loop {
            tokio::select! {
                () = ended.cancelled() => return None,
                changed = self.feed.changed() => {
                    // The feed is there as long as it has a watcher; should it go all the same, the client comes again.
                    changed.ok()?;
                    match self.compare() {
                        Change::Send(standing) => return Some(Ok(self.record_sent(standing))),
                        Change::None => {}
                        Change::Read => match self.read().await {
                            // Whoever read the store for this broadcast can do so for the next.
                            Err(error) if is_passing(&error) => {
                                tracing::debug!(%error, "a watched ticket cannot be read yet");
                            }
                            answer => return Some(answer),
                        },
                    }
                }
                () = sleep_until(heartbeat) => {
                    let (last, _) = self.sent.clone()?;
                    return Some(Ok(self.record_sent(last)));
                }
            }
        }
    }

    /// Compares the latest broadcast with what was said last.
    fn compare(&mut self) -> Change {
        let broadcast = self.feed.borrow_and_update();
        let Some(Broadcast { room, stock }) =
            broadcast.as_ref().filter(|last| last.room.now_ms >= self.as_of_ms)
        else {
            return Change::None;
        };
        if room.head >= self.ticket.number {
            return Change::Read;
        }
        self.as_of_ms = room.now_ms;
        let place = Place::Behind(self.ticket.number - room.head);
        // Whether the place was given up is looked up when its turn comes: not every second for everybody.
        let outlook = outlook(place, Mark::Current, room, *stock);
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

/// How long nothing new is looked for after this was sent: half of what is left, so that nobody who is next waits, and a room full of
/// people far away costs a message a second each.
fn pause_after(outlook: Outlook) -> Duration {
    match outlook {
        Outlook::Waiting(Progress { wait: Some(wait), .. }) => FAR_PAUSE.min(wait / 2),
        Outlook::Waiting(Progress { wait: None, .. }) => FAR_PAUSE,
        Outlook::Paused(_)
        | Outlook::SoldOutForNow(_)
        | Outlook::Admitted { .. }
        | Outlook::Lapsed
        | Outlook::SoldOut
        | Outlook::Closed
        | Outlook::Left => Duration::ZERO,
    }
}

/// Whether the next try may succeed.
fn is_passing(error: &RoomError) -> bool {
    match error {
        RoomError::Store(StoreError::Busy | StoreError::Redis(_) | StoreError::Postgres(_)) => true,
        RoomError::Store(StoreError::NotFound(_) | StoreError::Malformed(_))
        | RoomError::Closed(_)
        | RoomError::SoldOut(_)
        | RoomError::Ticket(_)
        | RoomError::TooManyWatchers { .. } => false,
    }
}
