//! Every reason for which a call is not done.

use flashsale_record::SaleState;

use super::{AdmissionFault, HoldState};

/// Why a call was not done. Nothing was changed, unless the variant says that this is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    SaleUnknown,
    /// The sale sells nothing now. Times are milliseconds since 1970.
    NotOpen {
        /// The sale's state.
        state: SaleState,
        /// Its window, if the sale has stock.
        window_ms: Option<(i64, i64)>,
    },
    /// The stock is not loaded, not whole, or not of the current epoch or server.
    Fenced,
    /// The request id was used for other content.
    RequestReused,
    /// The admission does not count.
    Admission(AdmissionFault),
    /// The admission was used for another hold.
    AdmissionSpent {
        /// That hold, of the same buyer.
        hold_id: String,
    },
    /// The place of the admission was left, or the buyer has taken a later one.
    AdmissionWithdrawn,
    SkuUnknown {
        sku: String,
    },
    /// The buyer would have more units than the limit.
    BuyerLimit {
        sku: String,
        limit: i64,
        /// Units that the buyer has: held, placed and sold.
        has: i64,
        /// Units in the request.
        requested: i64,
    },
    /// Too few units are left.
    SoldOut {
        sku: String,
        /// Units that are left.
        available: i64,
        /// Units in the request.
        requested: i64,
    },
    /// More units were to be withdrawn than are free.
    UnitsCommitted {
        sku: String,
        /// Units that were free.
        available: i64,
        /// Units that were to be withdrawn.
        requested: i64,
    },
    /// More units would be allotted than stock can hold.
    AllotmentTooHigh,
    /// The total exceeds what one order of the sale can be charged.
    TotalTooHigh {
        /// The most it may be, in minor units.
        most_minor: i64,
        /// ISO 4217.
        currency: String,
    },
    /// The total is not what the caller expects.
    PriceChanged {
        /// What the caller expects, in minor units of the currency that it has named.
        expected_minor: i64,
        total_minor: i64,
        /// ISO 4217, of the sale.
        currency: String,
    },
    /// The buyer has no such hold in this epoch.
    HoldUnknown,
    /// The hold's deadline has passed.
    HoldExpired {
        /// The deadline, in milliseconds of the store's clock.
        deadline_ms: i64,
    },
    /// The hold has an order, or has ended.
    HoldResolved {
        state: HoldState,
    },
    /// The hold cannot be extended any further.
    HoldAtMaximum {
        /// The deadline, in milliseconds of the store's clock.
        deadline_ms: i64,
    },
    /// The stock is already loaded.
    AlreadyLoaded {
        epoch: i64,
    },
    /// The sale cannot be loaded as it is.
    NotLoadable {
        /// The reason, for operators.
        why: &'static str,
    },
    /// The limit of watchers of stock is reached.
    TooManyWatchers {
        /// The limit.
        max: usize,
    },
    /// The deadline passed before the script ran.
    TooLate,
    /// No answer in time: it may have been done, or may still be.
    Unanswered,
    /// A store cannot be reached.
    StoreAway {
        store: &'static str,
        /// For the log.
        cause: String,
    },
    /// A defect, of this service or of the data.
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
            Self::AdmissionWithdrawn => "admission_withdrawn",
            Self::SkuUnknown { .. } => "sku_unknown",
            Self::BuyerLimit { .. } => "buyer_limit",
            Self::SoldOut { .. } => "sold_out",
            Self::UnitsCommitted { .. } => "units_committed",
            Self::AllotmentTooHigh => "allotment_too_high",
            Self::TotalTooHigh { .. } => "total_too_high",
            Self::PriceChanged { .. } => "price_changed",
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
