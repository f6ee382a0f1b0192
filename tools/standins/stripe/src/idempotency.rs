//! Idempotency keys (docs.stripe.com/api/idempotent_requests,
//! docs.stripe.com/error-low-level#idempotency).
//!
//! "Stripe saves the status code and body of the first request made with a given idempotency key
//! after endpoint execution begins. Retries with the same key return the saved response,
//! including `500` errors." The parameters are compared with those of the original; nothing is
//! saved when the parameters fail validation or another request with the key is still executing.
//!
//! A key belongs to the account, not to the path: at another endpoint it is refused
//! ("can only be used for the same endpoint they were first used for", the answer quoted in
//! github.com/stripe/stripe-ruby/issues/598).

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Keys are pruned "after they're at least 24 hours old". Milliseconds.
const KEEP_MS: u64 = 24 * 60 * 60 * 1000;

/// "Idempotency keys are up to 255 characters long."
pub const MAX_KEY_CHARS: usize = 255;

/// The maximum number of keys; further ones are refused, as evicting one early would charge twice.
const MAX_KEYS: usize = 2_000_000;

#[derive(Debug, Clone)]
pub struct Saved {
    pub status: u16,
    pub body: Bytes,
    /// The request that was executed (`Original-Request`).
    pub request_id: String,
}

#[derive(Debug)]
struct Entry {
    path: String,
    parameters: [u8; 32],
    since_ms: u64,
    /// `None` while the first request executes.
    saved: Option<Saved>,
}

/// What a request with a key is to do.
#[derive(Debug)]
pub enum Begin {
    /// Execute; the key is held until `restore` or `release`.
    Execute,
    Replay(Saved),
    /// The first request is still executing.
    InUse,
    /// The key was used with other parameters.
    OtherParameters,
    /// The key was used at this other path.
    OtherPath(String),
    /// No room for another key.
    Full,
}

/// A key with its answer, as it is kept over a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct KeptKey {
    pub key: String,
    path: String,
    parameters: [u8; 32],
    since_ms: u64,
    status: u16,
    body: String,
    request_id: String,
}

/// The account's keys. Time is passed in, in milliseconds since the epoch.
#[derive(Debug, Default)]
pub struct Keys {
    entries: HashMap<String, Entry>,
    by_age: VecDeque<(u64, String)>,
}

impl Keys {
    /// Looks the key up, and takes it if it is free.
    pub fn begin(&mut self, key: &str, path: &str, parameters: [u8; 32], now_ms: u64) -> Begin {
        self.prune(now_ms);
        if let Some(entry) = self.entries.get(key) {
            if entry.path != path {
                return Begin::OtherPath(entry.path.clone());
            }
            if entry.parameters != parameters {
                return Begin::OtherParameters;
            }
            return match &entry.saved {
                Some(saved) => Begin::Replay(saved.clone()),
                None => Begin::InUse,
            };
        }
        if self.by_age.len() >= MAX_KEYS {
            return Begin::Full;
        }
        let entry = Entry { path: path.to_owned(), parameters, since_ms: now_ms, saved: None };
        self.entries.insert(key.to_owned(), entry);
        self.by_age.push_back((now_ms, key.to_owned()));
        Begin::Execute
    }

    /// The key taken by `begin`, with the answer that is to be saved under it by `restore`.
    #[must_use]
    pub fn with_answer(&self, key: &str, saved: &Saved) -> Option<KeptKey> {
        let entry = self.entries.get(key)?;
        Some(kept(key, entry, saved))
    }

    /// Saves an answer under its key.
    pub fn restore(&mut self, kept: KeptKey) {
        let KeptKey { key, path, parameters, since_ms, status, body, request_id } = kept;
        let saved = Some(Saved { status, body: Bytes::from(body), request_id });
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.saved = saved;
            return;
        }
        self.by_age.push_back((since_ms, key.clone()));
        self.entries.insert(key, Entry { path, parameters, since_ms, saved });
    }

    /// The keys that have answers, oldest first.
    pub fn answered(&self) -> impl Iterator<Item = KeptKey> {
        self.by_age.iter().filter_map(|(since_ms, key)| {
            let entry = self.entries.get(key).filter(|entry| entry.since_ms == *since_ms)?;
            Some(kept(key, entry, entry.saved.as_ref()?))
        })
    }

    /// Frees the key of a request that was refused before it began to execute.
    pub fn release(&mut self, key: &str) {
        if self.entries.get(key).is_some_and(|entry| entry.saved.is_none()) {
            self.entries.remove(key);
        }
    }

    fn prune(&mut self, now_ms: u64) {
        while let Some((since_ms, _)) = self.by_age.front() {
            if now_ms.saturating_sub(*since_ms) < KEEP_MS {
                return;
            }
            let Some((since_ms, key)) = self.by_age.pop_front() else { return };
            // A key that was released and taken again is younger than its first entry in the queue.
            let done = |entry: &Entry| entry.since_ms == since_ms && entry.saved.is_some();
            if self.entries.get(&key).is_some_and(done) {
                self.entries.remove(&key);
            }
        }
    }
}

fn kept(key: &str, entry: &Entry, saved: &Saved) -> KeptKey {
    KeptKey {
        key: key.to_owned(),
        path: entry.path.clone(),
        parameters: entry.parameters,
        since_ms: entry.since_ms,
        status: saved.status,
        // An answer is JSON, and so is UTF-8.
        body: String::from_utf8_lossy(&saved.body).into_owned(),
        request_id: saved.request_id.clone(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn saved(text: &'static str) -> Saved {
        Saved { status: 500, body: Bytes::from_static(text.as_bytes()), request_id: "req_1".into() }
    }

    fn save(keys: &mut Keys, saved: Saved) {
        let kept = keys.with_answer("k", &saved).unwrap();
        keys.restore(kept);
    }

    #[test]
    fn saved_answer_is_replayed_for_24_hours() {
        let mut keys = Keys::default();
        assert!(matches!(keys.begin("k", "/p", [0; 32], 0), Begin::Execute));
        assert!(matches!(keys.begin("k", "/p", [0; 32], 1), Begin::InUse));
        save(&mut keys, saved("first"));
        assert!(matches!(keys.begin("k", "/p", [0; 32], KEEP_MS - 1), Begin::Replay(_)));
        assert!(matches!(keys.begin("k", "/p", [0; 32], KEEP_MS), Begin::Execute));
    }

    #[test]
    fn only_a_released_key_is_free() {
        let mut keys = Keys::default();
        assert!(matches!(keys.begin("k", "/p", [0; 32], 0), Begin::Execute));
        keys.release("k");
        assert!(matches!(keys.begin("k", "/p", [1; 32], 1), Begin::Execute));
        save(&mut keys, saved("kept"));
        keys.release("k");
        assert!(matches!(keys.begin("k", "/p", [0; 32], 2), Begin::OtherParameters));
        assert!(matches!(keys.begin("k", "/q", [1; 32], 2), Begin::OtherPath(_)));
    }
}
