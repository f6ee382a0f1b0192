//! Why a call about sales fails.

use uuid::Uuid;

use crate::{
    domain::{Problems, SkuConflict, StateConflict},
    store::StoreError,
};

/// Why a call fails. `grpc::errors` maps each of these to a reason.
#[derive(Debug, thiserror::Error)]
pub enum SaleError {
    /// There is no such sale.
    #[error("there is no sale {0}")]
    NotFound(Uuid),
    /// The request id was used with other content.
    #[error("the request id {0} was used before, with other content")]
    RequestIdReused(Uuid),
    /// The sale's state forbids the change.
    #[error("the sale {id} is {}: {}", .conflict.state.as_str(), .conflict.why)]
    StateConflict {
        id: Uuid,
        /// Its state, and why that forbids the change.
        conflict: StateConflict,
    },
    /// Another sale offers one of its skus at the same time.
    #[error(
        "the sale {id} would offer {} while {} does, from {} until its last hold has run out at {}",
        .conflict.sku, .conflict.whose(), .conflict.starts_at, .conflict.until
    )]
    SkuConflict {
        id: Uuid,
        /// What both offer, and when the other does.
        conflict: SkuConflict,
    },
    /// The sale has changed since the caller read it.
    #[error("the sale {id} is in version {current}, and no longer in version {seen}")]
    VersionConflict {
        id: Uuid,
        /// The version that the caller has seen.
        seen: i64,
        /// The present one.
        current: i64,
    },
    /// The request, or the export in it, breaks rules.
    #[error("{} problems", .0.count())]
    Invalid(Problems),
    /// The change is recorded, but inventory or the waiting room does not know yet.
    #[error("{peer} could not be told of the sale {id} yet: {why}")]
    NotTold {
        id: Uuid,
        /// The service that could not be told.
        peer: &'static str,
        /// The reason it gave, such as `STOCK_FENCED`, or `BUSY` while another instance is telling
        /// it.
        why: &'static str,
    },
    /// This process has as many watchers as it allows.
    #[error("{0} watch sales here already")]
    TooManyWatchers(usize),
    /// As many exports are being sent as are read at once.
    #[error("{0} exports are being sent already")]
    TooManyUploads(usize),
    /// This process writes as many exports as it allows.
    #[error("{0} exports are being written here already")]
    TooManyExports(usize),
    /// What a sale holds that is not final cannot be told.
    #[error("{peer} does not say which units of the sale {id} are held: {why}")]
    UnitsUnknown {
        id: Uuid,
        /// The service that does not answer.
        peer: &'static str,
        /// The reason it gave.
        why: &'static str,
    },
    /// Concurrent changes won every attempt.
    #[error("the sale {0} is being changed by others")]
    Contended(Uuid),
    /// Reading or writing an export has ended without a result: a bug. The text goes to the log
    /// only.
    #[error("the export has no result: {0}")]
    Reading(String),
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
}
