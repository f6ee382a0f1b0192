//! Everything that can keep a call from being done.

use super::{AdmissionFault, HoldState};

/// Why a call was not done. Nothing was changed, except where it says that this is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such sale.
    SaleUnknown,
    /// The sale sells nothing now. Times are milliseconds since 1970.
    NotOpen {
        /// The sale's state.
        state: String,
        /// Its window, if the sale has stock.
        window_ms: Option<(i64, i64)>,
    },
    /// The stock is not loaded, not whole, or not of the current epoch or server.
    Fenced,
    /// The request id was used for something else.
    RequestReused,
    /// The admission does not count.
    Admission(AdmissionFault),
    /// The admission was used for another hold.
    AdmissionSpent {
        /// That hold, of the same buyer.
        hold_id: String,
    },
    /// The sale has no such sku.
    SkuUnknown {
        /// The sku.
        sku: String,
    },
    /// The buyer would have more than the limit.
    BuyerLimit {
        /// The sku.
        sku: String,
        /// The limit.
        limit: i64,
        /// What the buyer has: held, placed and sold.
        has: i64,
        /// What the request asks for.
        requested: i64,
    },
    /// Too few units are left.
    SoldOut {
        /// The sku.
        sku: String,
        /// What is left.
        available: i64,
        /// What the request asks for.
        requested: i64,
    },
    /// More units were to be withdrawn than are free.
    UnitsCommitted {
        /// The sku.
        sku: String,
        /// What was free.
        available: i64,
        /// What was to be withdrawn.
        requested: i64,
    },
    /// More would be allotted than stock can hold.
    AllotmentTooHigh,
    /// The total is beyond what a hold may cost.
    TotalTooHigh,
    /// The buyer has no such hold in this epoch.
    HoldUnknown,
    /// The hold's time has run out.
    HoldExpired {
        /// When, in milliseconds of the store's clock.
        deadline_ms: i64,
    },
    /// The hold has an order, or an end.
    HoldResolved {
        /// Where it stands.
        state: HoldState,
    },
    /// The hold lasts as long as one may.
    HoldAtMaximum {
        /// Until when, in milliseconds of the store's clock.
        deadline_ms: i64,
    },
    /// The stock is loaded.
    AlreadyLoaded {
        /// Its epoch.
        epoch: i64,
    },
    /// The sale cannot be loaded as it is.
    NotLoadable {
        /// Why.
        why: &'static str,
    },
    /// As many watch stock here as may.
    TooManyWatchers {
        /// So many.
        max: usize,
    },
    /// The deadline passed before the store began.
    TooLate,
    /// No answer in time: it may have been done, or may still be.
    Unanswered,
    /// A store cannot be reached.
    StoreAway {
        /// Its name.
        store: &'static str,
        /// For the log.
        cause: String,
    },
    /// A fault of ours.
    Fault {
        /// For the log.
        cause: String,
    },
}

impl Refusal {
    /// Its name in metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::SaleUnknown => "sale_unknown",
            Self::NotOpen { .. } => "not_open",
            Self::Fenced => "fenced",
            Self::RequestReused => "request_reused",
            Self::Admission(_) => "admission",
            Self::AdmissionSpent { .. } => "admission_spent",
            Self::SkuUnknown { .. } => "sku_unknown",
            Self::BuyerLimit { .. } => "buyer_limit",
            Self::SoldOut { .. } => "sold_out",
            Self::UnitsCommitted { .. } => "units_committed",
            Self::AllotmentTooHigh => "allotment_too_high",
            Self::TotalTooHigh => "total_too_high",
            Self::HoldUnknown => "hold_unknown",
            Self::HoldExpired { .. } => "hold_expired",
            Self::HoldResolved { .. } => "hold_resolved",
            Self::HoldAtMaximum { .. } => "hold_at_maximum",
            Self::AlreadyLoaded { .. } => "already_loaded",
            Self::NotLoadable { .. } => "not_loadable",
            Self::TooManyWatchers { .. } => "too_many_watchers",
            Self::TooLate => "too_late",
            Self::Unanswered => "unanswered",
            Self::StoreAway { .. } => "store_away",
            Self::Fault { .. } => "fault",
        }
    }
}
