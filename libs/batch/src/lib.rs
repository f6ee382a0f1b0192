//! Requests of many callers brought together: those of one key that wait at the same time share one run of the work.
//!
//! Nobody waits for company. As long as fewer than [`Limits::at_once`] runs of a key are under way, a request starts one with whoever is
//! waiting; only beyond that does it wait, for the end of one of them. So a lone request goes at once, and the fuller it gets the
//! more share a run.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::oneshot;

/// How much is brought together.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Runs of one key that may be under way: with two, one is out while the answers of the other are read and the next come together.
    pub at_once: usize,
    /// A run that takes longer keeps the others no longer.
    pub slow: Duration,
    /// Requests that share a run at most.
    pub requests: usize,
    /// What their weights come to at most; one that is heavier goes alone.
    pub weight: usize,
    /// Requests of one key that may wait; more are refused at once.
    pub waiting: usize,
}

/// As many requests wait as may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} requests wait already")]
pub struct Full(pub usize);

/// A request that takes part in a run.
#[derive(Debug)]
pub struct Asked<A, R> {
    ask: A,
    weight: usize,
    reply: Reply<R>,
}

impl<A, R> Asked<A, R> {
    /// What is asked.
    pub fn ask(&self) -> &A {
        &self.ask
    }

    /// What is asked, and where the answer goes.
    pub fn split(self) -> (A, Reply<R>) {
        (self.ask, self.reply)
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
    /// Answers. Whoever does not wait any more needs no answer.
    pub fn send(self, answer: R) {
        drop(self.0.send(answer));
    }
}

/// What is done for those that share a run.
type Work<K, A, R> = dyn Fn(K, Vec<Asked<A, R>>) -> BoxFuture<'static, ()> + Send + Sync;

/// Brings requests together. A clone shares them.
pub struct Gather<K, A, R>(Arc<Shared<K, A, R>>);

struct Shared<K, A, R> {
    limits: Limits,
    work: Box<Work<K, A, R>>,
    queues: Mutex<HashMap<K, Queue<A, R>>>,
}

struct Queue<A, R> {
    waiting: VecDeque<Asked<A, R>>,
    /// Runs under way.
    running: usize,
}

impl<A, R> Default for Queue<A, R> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), running: 0 }
    }
}

impl<K, A, R> Clone for Gather<K, A, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K, A, R> fmt::Debug for Gather<K, A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gather").field("limits", &self.0.limits).finish_non_exhaustive()
    }
}

impl<K, A, R> Gather<K, A, R>
where
    K: Clone + Eq + Hash + Send + Sync + 'static,
    A: Send + 'static,
    R: Send + 'static,
{
    /// Has `work` done for those that come together. It answers each of them.
    pub fn new<F>(
        limits: Limits,
        work: impl Fn(K, Vec<Asked<A, R>>) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let work = Box::new(move |key, asked| work(key, asked).boxed());
        Self(Arc::new(Shared { limits, work, queues: Mutex::default() }))
    }

    /// Asks, perhaps together with others of the same key. The answer is an error if the work ended without one. Whoever drops it before
    /// its run began has asked nothing.
    ///
    /// # Errors
    /// When too many wait already.
    pub fn ask(&self, key: K, ask: A, weight: usize) -> Result<oneshot::Receiver<R>, Full> {
        let (answer, answered) = oneshot::channel();
        if self.0.join(key.clone(), Asked { ask, weight, reply: Reply(answer) })? {
            tokio::spawn(turns(Turn { shared: Arc::clone(&self.0), key, over: false }));
        }
        Ok(answered)
    }
}

/// Runs the work until nobody is waiting.
async fn turns<K, A, R>(mut turn: Turn<K, A, R>)
where
    K: Clone + Eq + Hash,
    A: Send + 'static,
    R: Send + 'static,
{
    loop {
        // Whoever has arrived but was not polled yet can join.
        tokio::task::yield_now().await;
        let asked = turn.next();
        if asked.is_empty() {
            return;
        }
        let run = tokio::spawn((turn.shared.work)(turn.key.clone(), asked));
        // One that takes longer goes on by itself; how long, is its own business.
        drop(tokio::time::timeout(turn.shared.limits.slow, run).await);
    }
}

impl<K: Eq + Hash, A, R> Shared<K, A, R> {
    /// Nothing that is guarded can be left half-changed by a panic.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, Queue<A, R>>> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a request wait; true if the caller is to start a run.
    fn join(&self, key: K, asked: Asked<A, R>) -> Result<bool, Full> {
        let mut queues = self.lock();
        let queue = queues.entry(key).or_default();
        if queue.waiting.len() >= self.limits.waiting {
            return Err(Full(self.limits.waiting));
        }
        queue.waiting.push_back(asked);
        let start = queue.running < self.limits.at_once;
        queue.running += usize::from(start);
        Ok(start)
    }
}

/// A run, and those that follow it as long as somebody is waiting.
struct Turn<K: Eq + Hash, A, R> {
    shared: Arc<Shared<K, A, R>>,
    key: K,
    over: bool,
}

impl<K: Eq + Hash, A, R> Turn<K, A, R> {
    /// Those that share the next run; nobody if the turn is over. Whoever gave up while waiting is not among them: what was never sent is
    /// not done.
    fn next(&mut self) -> Vec<Asked<A, R>> {
        let limits = self.shared.limits;
        let mut queues = self.shared.lock();
        let Some(queue) = queues.get_mut(&self.key) else { return Vec::new() };
        let (mut together, mut weight) = (Vec::new(), 0);
        while let Some(asked) = queue.waiting.pop_front() {
            if asked.reply.0.is_closed() {
                continue;
            }
            let full = together.len() == limits.requests || weight + asked.weight > limits.weight;
            if full && !together.is_empty() {
                queue.waiting.push_front(asked);
                break;
            }
            weight += asked.weight;
            together.push(asked);
        }
        if together.is_empty() {
            // In the same moment in which nobody is waiting: whoever comes next has to know that they start.
            self.over = true;
            leave(&mut queues, &self.key);
        }
        together
    }
}

impl<K: Eq + Hash, A, R> Drop for Turn<K, A, R> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        // A turn that broke off must not keep others from theirs, nor leave anybody waiting for one that never comes.
        let mut queues = self.shared.lock();
        if let Some(queue) = queues.get_mut(&self.key).filter(|queue| queue.running == 1) {
            queue.waiting.clear();
        }
        leave(&mut queues, &self.key);
    }
}

fn leave<K: Eq + Hash, A, R>(queues: &mut HashMap<K, Queue<A, R>>, key: &K) {
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

    /// Work that tells who shares a run, and ends when it is let.
    struct World {
        gather: Gather<&'static str, u32, u32>,
        runs: mpsc::UnboundedReceiver<(&'static str, Vec<u32>)>,
        ends: Arc<Semaphore>,
    }

    impl World {
        fn new() -> Self {
            let (tell, runs) = mpsc::unbounded_channel();
            let ends = Arc::new(Semaphore::new(0));
            let end = Arc::clone(&ends);
            let gather = Gather::new(LIMITS, move |key, asked: Vec<Asked<u32, u32>>| {
                let together = asked.iter().map(|asked| *asked.ask()).collect();
                tell.send((key, together)).unwrap();
                let end = Arc::clone(&end);
                async move {
                    end.acquire().await.unwrap().forget();
                    for asked in asked {
                        assert_ne!(*asked.ask(), 666, "this one breaks its run");
                        let answer = asked.ask() + 1_000;
                        asked.answer(answer);
                    }
                }
            });
            Self { gather, runs, ends }
        }

        fn ask(&self, ask: u32) -> oneshot::Receiver<u32> {
            self.gather.ask("a", ask, 1).unwrap()
        }
    }

    #[tokio::test]
    async fn a_lone_request_goes_at_once_and_those_beyond_two_runs_share_the_next() {
        let mut world = World::new();
        let first = world.ask(1);
        assert_eq!(world.runs.recv().await.unwrap(), ("a", vec![1]));
        let _second = world.ask(2);
        assert_eq!(world.runs.recv().await.unwrap(), ("a", vec![2]));
        let waiting: Vec<_> = (3..=6).map(|ask| world.ask(ask)).collect();
        // Another key has runs of its own.
        let other = world.gather.ask("b", 9, 1).unwrap();
        assert_eq!(world.runs.recv().await.unwrap(), ("b", vec![9]));
        assert!(world.runs.try_recv().is_err());

        world.ends.add_permits(10);
        assert_eq!(world.runs.recv().await.unwrap(), ("a", vec![3, 4, 5]));
        assert_eq!(world.runs.recv().await.unwrap(), ("a", vec![6]));
        assert_eq!(first.await.unwrap(), 1_001);
        assert_eq!(other.await.unwrap(), 1_009);
        for (answered, asked) in waiting.into_iter().zip(3..) {
            assert_eq!(answered.await.unwrap(), asked + 1_000);
        }
    }

    #[tokio::test]
    async fn a_run_is_bounded_by_weight_and_what_is_too_heavy_goes_alone() {
        let mut world = World::new();
        let _out = [world.ask(1), world.ask(2)];
        // Both are out before the others come.
        let mut out = 0;
        while out < 2 {
            out += world.runs.recv().await.unwrap().1.len();
        }
        let heavy = [(3, 60), (4, 40), (5, 1), (6, 500)];
        let _waiting = heavy.map(|(ask, weight)| world.gather.ask("a", ask, weight).unwrap());
        world.ends.add_permits(10);
        for together in [vec![3, 4], vec![5], vec![6]] {
            assert_eq!(world.runs.recv().await.unwrap().1, together);
        }
    }

    #[tokio::test]
    async fn who_gives_up_while_waiting_is_left_out_and_who_is_one_too_many_refused() {
        let mut world = World::new();
        let _first = world.ask(1);
        world.runs.recv().await.unwrap();
        let _second = world.ask(2);
        world.runs.recv().await.unwrap();
        let mut waiting: Vec<_> = (3..=8).map(|ask| world.ask(ask)).collect();
        assert_eq!(world.gather.ask("a", 9, 1).unwrap_err(), Full(6));
        drop(waiting.remove(0));
        world.ends.add_permits(10);
        assert_eq!(world.runs.recv().await.unwrap().1, [4, 5, 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_run_keeps_nobody_and_is_answered_in_the_end() {
        let mut world = World::new();
        let slow = [world.ask(1), world.ask(2)];
        let _third = world.ask(3);
        // Both are out and neither ends; the clock moves on by itself.
        let mut runs = 0;
        while runs < 3 {
            runs += world.runs.recv().await.unwrap().1.len();
        }
        world.ends.add_permits(3);
        for answered in slow {
            answered.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_run_that_breaks_off_tells_its_callers_and_keeps_nobody_else() {
        let mut world = World::new();
        world.ends.add_permits(10);
        let broken = world.ask(666);
        assert!(broken.await.is_err());
        assert_eq!(world.ask(1).await.unwrap(), 1_001);
        while world.runs.try_recv().is_ok() {}
        assert_eq!(world.ask(2).await.unwrap(), 1_002);
    }
}
