//! Judging admissions with the waiting room's public keys.

use std::{sync::Arc, time::Duration};

use flashsale_admission::{Admission, KeyRing, Verdict};
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

use crate::{
    domain::{AdmissionFault, Proof},
    peers::WaitingRoom,
};

/// The shortest time between fetches that are caused by tokens with unknown keys.
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How far the issuer's clock may be from ours.
const LEEWAY_MS: i64 = 5_000;

/// The keys, and where they come from. A clone shares them.
#[derive(Debug, Clone)]
pub struct Admissions {
    ring: KeyRing,
    waiting_room: WaitingRoom,
    fetched: Arc<Mutex<Option<Fetched>>>,
}

/// The last fetch of the keys.
#[derive(Debug, Clone, Copy)]
struct Fetched {
    at: Instant,
    well: bool,
}

impl Admissions {
    /// No keys yet; they come from `waiting_room`.
    pub fn new(waiting_room: WaitingRoom) -> Self {
        Self { ring: KeyRing::empty(), waiting_room, fetched: Arc::default() }
    }

    /// Judges the admission in a request of this buyer for this sale.
    pub async fn judge(&self, token: &str, sale_id: Uuid, buyer_id: &str) -> Proof {
        if token.is_empty() {
            return Proof::Fault(AdmissionFault::Required);
        }
        let verify = || self.ring.verify_admission(token, sale_id, buyer_id, now_ms(), LEEWAY_MS);
        let mut verdict = verify();
        if verdict == Err(Verdict::Invalid) {
            if self.ring.unknown_key(token).is_some() {
                // Boxed: the call is rare, and its future would make that of every request as
                // large.
                let fetched = Box::pin(self.fetch(ASK_EVERY)).await;
                if !fetched && self.ring.unknown_key(token).is_some() {
                    // It may well be good, so it must not be called invalid.
                    return Proof::Fault(AdmissionFault::Unverified);
                }
            }
            // Its key may have arrived meanwhile, by this fetch or by one for another request.
            verdict = verify();
        }
        proof(verdict)
    }

    /// Judges several admissions at once, each a token with the sale and the buyer it was sent for,
    /// at half the cost each. `None` for one that is not signed by a key known now:
    /// [`Admissions::judge`] decides whether it is invalid.
    pub fn judge_known(&self, shown: &[(&str, Uuid, &str)]) -> Vec<Option<Proof>> {
        let sent: Vec<_> = shown.iter().copied().filter(|(token, ..)| !token.is_empty()).collect();
        let mut verdicts = self.ring.verify_admissions(&sent, now_ms(), LEEWAY_MS).into_iter();
        let judged = |(token, ..): &(&str, Uuid, &str)| {
            if token.is_empty() {
                return Some(Proof::Fault(AdmissionFault::Required));
            }
            verdicts.next().filter(|verdict| *verdict != Err(Verdict::Invalid)).map(proof)
        };
        shown.iter().map(judged).collect()
    }

    /// Fetches the keys. While the waiting room is away the known keys stay valid.
    pub async fn refresh(&self) {
        self.fetch(Duration::ZERO).await;
    }

    /// Fetches the keys unless that was tried within `recent`; returns whether the last fetch
    /// succeeded. One fetch at a time.
    async fn fetch(&self, recent: Duration) -> bool {
        let mut fetched = self.fetched.lock().await;
        if let Some(last) = fetched.filter(|last| last.at.elapsed() < recent) {
            return last.well;
        }
        let well = match self.waiting_room.admission_keys().await {
            Ok(keys) => match self.ring.replace(&keys) {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(%error, "the waiting room's keys cannot be read");
                    false
                }
            },
            Err(status) => {
                tracing::warn!(code = ?status.code(), "the waiting room's keys cannot be fetched");
                false
            }
        };
        *fetched = Some(Fetched { at: Instant::now(), well });
        well
    }
}

fn proof(verdict: Result<Admission, Verdict>) -> Proof {
    match verdict {
        Ok(admission) => Proof::Good {
            id: admission.id(),
            number: admission.number,
            generation: admission.generation,
        },
        Err(Verdict::Invalid) => Proof::Fault(AdmissionFault::Invalid),
        Err(Verdict::Foreign) => Proof::Fault(AdmissionFault::Foreign),
        Err(Verdict::Expired) => Proof::Fault(AdmissionFault::Expired),
    }
}

fn now_ms() -> i64 {
    let now_ms = flashsale_failpoint::now_utc().unix_timestamp_nanos() / 1_000_000;
    i64::try_from(now_ms).unwrap_or(i64::MAX)
}
