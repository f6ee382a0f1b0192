//! The clock, which can be set ahead, and a lock that ignores poisoning.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// How far the stand-in is ahead of the machine, in milliseconds.
static AHEAD_MS: AtomicU64 = AtomicU64::new(0);

/// Milliseconds since the epoch.
#[must_use]
pub fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now_ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
    now_ms.saturating_add(AHEAD_MS.load(Ordering::Relaxed))
}

/// Sets the clock ahead by this much more, and returns by how much in all. It never goes back: keys
/// would come to life again.
pub fn advance(by_ms: u64) -> u64 {
    AHEAD_MS.fetch_add(by_ms, Ordering::Relaxed).saturating_add(by_ms)
}

/// By how much it is ahead, in milliseconds.
#[must_use]
pub fn ahead_ms() -> u64 {
    AHEAD_MS.load(Ordering::Relaxed)
}

/// Sets the clock ahead by this much in all, unless it is already.
pub fn resume(ahead_ms: u64) {
    AHEAD_MS.fetch_max(ahead_ms, Ordering::Relaxed);
}

/// Locks. Every holder leaves the value consistent, so poisoning is ignored.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
