//! Batches of requests: requests of one key that wait at the same time share one run of the work.
//!
//! No request waits for others to arrive. As long as fewer than [`Limits::at_once`] batches of a
//! key are under way, a request starts one with all that are waiting; only beyond that does it
//! wait, for the end of one of them. So a lone request goes at once, and the higher the load, the
//! more requests share a batch.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::oneshot;

/// Bounds of batches.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Batches of one key that may be under way. With two, one is out while the answers of the
    /// other are read and the next is filled.
    pub at_once: usize,
    /// A batch that takes longer than this no longer keeps the next from starting.
    pub slow: Duration,
    /// The most requests of a batch.
    pub requests: usize,
    /// The most that the weights of a batch may add up to; a heavier request has a batch of its
    /// own.
    pub weight: usize,
    /// The most requests of one key that may wait; further ones are refused at once.
    pub waiting: usize,
}

/// As many requests wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} requests wait already")]
pub struct Full(pub usize);

/// A request in a batch: its item, and where its answer goes.
#[derive(Debug)]
pub struct Request<I, R> {
    item: I,
    weight: usize,
    reply: Reply<R>,
}

impl<I, R> Request<I, R> {
    /// What was submitted.
    pub fn item(&self) -> &I {
        &self.item
    }

    /// What was submitted, and where the answer goes.
    pub fn split(self) -> (I, Reply<R>) {
        (self.item, self.reply)
    }

    /// Answers it.
    pub fn answer(self, answer: R) {
        self.reply.send(answer);
    }
}

/// Where an answer goes. Dropped without one, it tells its caller that there will be none.
#[derive(Debug)]
pub struct Reply<R>(oneshot::Sender<R>);

impl<R> Reply<R> {
    /// Answers. Has no effect if the caller no longer waits.
    pub fn send(self, answer: R) {
        drop(self.0.send(answer));
    }
}

/// What is done for a batch.
type Work<K, I, R> = dyn Fn(K, Vec<Request<I, R>>) -> BoxFuture<'static, ()> + Send + Sync;

/// Puts requests into batches. Clones share them.
pub struct Batcher<K, I, R>(Arc<Shared<K, I, R>>);

struct Shared<K, I, R> {
    limits: Limits,
    work: Box<Work<K, I, R>>,
    queues: Mutex<HashMap<K, Queue<I, R>>>,
}

/// The requests of one key.
struct Queue<I, R> {
    waiting: VecDeque<Request<I, R>>,
    /// Batches under way.
    running: usize,
}

impl<I, R> Default for Queue<I, R> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), running: 0 }
    }
}

impl<K, I, R> Clone for Batcher<K, I, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, I, R> fmt::Debug for Batcher<K, I, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batcher").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

impl<K, I, R> Batcher<K, I, R>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    I: Send + 'static,
    R: Send + 'static,
{
    /// Calls `work` for each batch. It has to answer each request of it.
    pub fn new<F>(
        limits: Limits,
        work: impl Fn(K, Vec<Request<I, R>>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work = Box::new(move |key, batch| work(key, batch).boxed());
        Self(Arc::new(Shared { limits, work, queues: Mutex::default() }))
    }

    /// Submits a request, which may share a batch with others of its key. The answer is an error if
    /// the work ended without one. A request whose receiver is dropped before its batch has begun
    /// is not sent.
    ///
    /// # Errors
    /// [`Full`] when as many wait as may.
    pub fn submit(&self, key: K, item: I, weight: usize) -> Result<oneshot::Receiver<R>, Full> {
        let (reply, answer) = oneshot::channel();
        let request = Request { item, weight, reply: Reply(reply) };
        if self.0.enqueue(key.clone(), request)? {
            tokio::spawn(run(Runner { shared: Arc::clone(&self.0), key, over: false }));
        }
        Ok(answer)
    }
}

/// Runs batches until no request waits.
async fn run<K, I, R>(mut runner: Runner<K, I, R>)
where
    K: Clone + Eq + Hash,
    I: Send + 'static,
    R: Send + 'static,
{
    loop {
        // Callers that are ready but were not polled yet can join the batch.
        tokio::task::yield_now().await;
        let batch = runner.next_batch();
        if batch.is_empty() {
            return;
        }
        let work = tokio::spawn((runner.shared.work)(runner.key.clone(), batch));
        // A slower batch goes on beside the next one; the work bounds its own time.
        drop(tokio::time::timeout(runner.shared.limits.slow, work).await);
    }
}

impl<K: Eq + Hash, I, R> Shared<K, I, R> {
    /// Nothing that is guarded can be left half-changed by a panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Queue<I, R>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request wait; true if the caller is to start a runner.
    fn enqueue(&self, key: K, request: Request<I, R>) -> Result<bool, Full> {
        let mut queues = self.lock();
        let queue = queues.entry(key).or_default();
        if queue.waiting.len() >= self.limits.waiting {
            return Err(Full(self.limits.waiting));
        }
        queue.waiting.push_back(request);
        let start = queue.running < self.limits.at_once;
        queue.running += usize::from(start);
        Ok(start)
    }
}

/// A batch, and those that follow it as long as requests wait.
struct Runner<K: Eq + Hash, I, R> {
    shared: Arc<Shared<K, I, R>>,
    key: K,
    /// Whether it no longer counts as running.
    over: bool,
}

impl<K: Eq + Hash, I, R> Runner<K, I, R> {
    /// The next batch; empty if the runner is over. Requests whose callers gave up while waiting
    /// are left out: what was never sent is not done.
    fn next_batch(&mut self) -> Vec<Request<I, R>> {
        let limits = self.shared.limits;
        let mut queues = self.shared.lock();
        let Some(queue) = queues.get_mut(&self.key) else { return Vec::new() };
        let (mut batch, mut weight) = (Vec::new(), 0);
        while let Some(request) = queue.waiting.pop_front() {
            if request.reply.0.is_closed() {
                continue;
            }
            let full = batch.len() == limits.requests || weight + request.weight > limits.weight;
            if full && !batch.is_empty() {
                queue.waiting.push_front(request);
                break;
            }
            weight += request.weight;
            batch.push(request);
        }
        if batch.is_empty() {
            // Under the same lock under which no request was found: the next one to come has to
            // start a runner.
            self.over = true;
            leave(&mut queues, &self.key);
        }
        batch
    }
}

impl<K: Eq + Hash, I, R> Drop for Runner<K, I, R> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // A runner that broke off must not count as running, nor leave requests waiting for a batch
        // that never comes.
        let mut queues = self.shared.lock();
        if let Some(queue) = queues.get_mut(&self.key).filter(|queue| queue.running == 1) {
            queue.waiting.clear();
        }
        leave(&mut queues, &self.key);
    }
}

fn leave<K: Eq + Hash, I, R>(queues: &mut HashMap<K, Queue<I, R>>, key: &K) {
    if let Some(queue) = queues.get_mut(key) {
        queue.running -= 1;
        if queue.running == 0 && queue.waiting.is_empty() {
            queues.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    const LIMITS: Limits =
        Limits { at_once: 2, slow: Duration::from_secs(5), requests: 3, weight: 100, waiting: 6 };

    /// Work that reports each batch, and ends when it is permitted to.
    struct World {
        batcher: Batcher<&'static str, u32, u32>,
        batches: mpsc::UnboundedReceiver<(&'static str, Vec<u32>)>,
        ends: Arc<Semaphore>,
    }

    impl World {
        fn new() -> Self {
            let (tell, batches) = mpsc::unbounded_channel();
            let ends = Arc::new(Semaphore::new(0));
            let end = Arc::clone(&ends);
            let batcher = Batcher::new(LIMITS, move |key, batch: Vec<Request<u32, u32>>| {
                let items = batch.iter().map(|request| *request.item()).collect();
                tell.send((key, items)).unwrap();
                let end = Arc::clone(&end);
                async move {
                    end.acquire().await.unwrap().forget();
                    for request in batch {
                        assert_ne!(*request.item(), 666, "this one breaks its batch");
                        let answer = request.item() + 1_000;
                        request.answer(answer);
                    }
                }
            });
            Self { batcher, batches, ends }
        }

        fn submit(&self, item: u32) -> oneshot::Receiver<u32> {
            self.batcher.submit("a", item, 1).unwrap()
        }
    }

    #[tokio::test]
    async fn requests_beyond_two_batches_share_the_next() {
        let mut world = World::new();
        let first = world.submit(1);
        assert_eq!(world.batches.recv().await.unwrap(), ("a", vec![1]));
        let _second = world.submit(2);
        assert_eq!(world.batches.recv().await.unwrap(), ("a", vec![2]));
        let waiting: Vec<_> = (3..=6).map(|item| world.submit(item)).collect();
        // Another key has batches of its own.
        let other = world.batcher.submit("b", 9, 1).unwrap();
        assert_eq!(world.batches.recv().await.unwrap(), ("b", vec![9]));
        assert!(world.batches.try_recv().is_err());

        world.ends.add_permits(10);
        assert_eq!(world.batches.recv().await.unwrap(), ("a", vec![3, 4, 5]));
        assert_eq!(world.batches.recv().await.unwrap(), ("a", vec![6]));
        assert_eq!(first.await.unwrap(), 1_001);
        assert_eq!(other.await.unwrap(), 1_009);
        for (answer, item) in waiting.into_iter().zip(3..) {
            assert_eq!(answer.await.unwrap(), item + 1_000);
        }
    }

    #[tokio::test]
    async fn weight_bounds_a_batch() {
        let mut world = World::new();
        let _out = [world.submit(1), world.submit(2)];
        // Both are out before the others come.
        let mut out = 0;
        while out < 2 {
            out += world.batches.recv().await.unwrap().1.len();
        }
        let heavy = [(3, 60), (4, 40), (5, 1), (6, 500)];
        let _waiting = heavy.map(|(item, weight)| world.batcher.submit("a", item, weight).unwrap());
        world.ends.add_permits(10);
        for batch in [vec![3, 4], vec![5], vec![6]] {
            assert_eq!(world.batches.recv().await.unwrap().1, batch);
        }
    }

    #[tokio::test]
    async fn abandoned_and_excess_requests_are_not_sent() {
        let mut world = World::new();
        let _first = world.submit(1);
        world.batches.recv().await.unwrap();
        let _second = world.submit(2);
        world.batches.recv().await.unwrap();
        let mut waiting: Vec<_> = (3..=8).map(|item| world.submit(item)).collect();
        assert_eq!(world.batcher.submit("a", 9, 1).unwrap_err(), Full(6));
        drop(waiting.remove(0));
        world.ends.add_permits(10);
        assert_eq!(world.batches.recv().await.unwrap().1, [4, 5, 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_batch_delays_no_other() {
        let mut world = World::new();
        let slow = [world.submit(1), world.submit(2)];
        let _third = world.submit(3);
        // Both are out and neither ends; the paused clock advances when all tasks wait.
        let mut sent = 0;
        while sent < 3 {
            sent += world.batches.recv().await.unwrap().1.len();
        }
        world.ends.add_permits(3);
        for answer in slow {
            answer.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_broken_batch_tells_its_callers() {
        let mut world = World::new();
        world.ends.add_permits(10);
        let broken = world.submit(666);
        assert!(broken.await.is_err());
        assert_eq!(world.submit(1).await.unwrap(), 1_001);
        while world.batches.try_recv().is_ok() {}
        assert_eq!(world.submit(2).await.unwrap(), 1_002);
    }
}
