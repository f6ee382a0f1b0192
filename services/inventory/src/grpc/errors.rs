//! The one table from refusals to what the caller is told.

use flashsale_errors::{Failure, Reason};
use tonic::Status;

use crate::domain::{AdmissionFault, HoldState, MAX_TOTAL_MINOR, Refusal};

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::SaleUnknown => {
                Self::field(Reason::SaleNotFound, "sale_id", "there is no such sale")
            }
            Refusal::NotOpen { state, window_ms } => {
                let failure = Self::new(Reason::SaleNotOpen, format!("the sale is {state} and sells nothing now"))
                    .with("state", state);
                match window_ms {
                    Some((starts_ms, ends_ms)) => {
                        failure.with("starts_at_ms", starts_ms).with("ends_at_ms", ends_ms)
                    }
                    None => failure,
                }
            }
            Refusal::Fenced => {
                Self::new(Reason::StockFenced, "the sale's stock is not loaded, or not of the current epoch or server")
            }
            Refusal::RequestReused => Self::field(
                Reason::RequestIdReused,
                "request_id",
                "was used for a request with other content",
            ),
            Refusal::Admission(fault) => admission(fault),
            Refusal::AdmissionSpent { hold_id } => {
                Self::field(Reason::AdmissionSpent, "admission", "was used for another hold")
                    .with("hold_id", hold_id)
            }
            Refusal::AdmissionWithdrawn => Self::field(
                Reason::AdmissionWithdrawn,
                "admission",
                "is of a place that was left, or that a later one has replaced",
            ),
            Refusal::SkuUnknown { sku } => {
                Self::new(Reason::SkuNotFound, format!("the sale does not offer {sku}")).with("sku", sku)
            }
            Refusal::BuyerLimit { sku, limit, has, requested } => Self::new(
                Reason::BuyerLimit,
                format!("a buyer may have {limit} of {sku}, this one has {has} and asks for {requested} more"),
            )
            .with("sku", sku)
            .with("limit", limit)
            .with("taken", has)
            .with("requested", requested),
            Refusal::SoldOut { sku, available, requested } => {
                Self::new(Reason::SoldOut, format!("{available} of {sku} are left, {requested} were asked for"))
                    .with("sku", sku)
                    .with("available", available)
                    .with("requested", requested)
            }
            Refusal::UnitsCommitted { sku, available, requested } => Self::new(
                Reason::UnitsCommitted,
                format!("{available} of {sku} were free, {requested} were to be withdrawn"),
            )
            .with("sku", sku)
            .with("available", available)
            .with("requested", requested),
            Refusal::AllotmentTooHigh => Self::field(
                Reason::QuantityInvalid,
                "delta",
                format!("would bring the units allotted above {MAX_TOTAL_MINOR}, the most that stock can hold"),
            ),
            Refusal::TotalTooHigh { most_minor, currency } => Self::field(
                Reason::QuantityInvalid,
                "lines",
                format!("come to more than {most_minor} minor units of {currency}, the most that one order can be charged"),
            )
            .with("max_total_minor", most_minor)
            .with("currency", currency),
            Refusal::PriceChanged { expected_minor, total_minor, currency } => Self::new(
                Reason::PriceChanged,
                format!("everything costs {total_minor} minor units of {currency}"),
            )
            .with("expected_minor", expected_minor)
            .with("total_minor", total_minor)
            .with("currency", currency),
            Refusal::HoldUnknown => {
                Self::new(Reason::HoldNotFound, "this buyer has no such hold in the sale's current stock")
            }
            Refusal::HoldExpired { deadline_ms } => {
                Self::new(Reason::HoldExpired, "the hold's time has run out").with("expired_at_ms", deadline_ms)
            }
            Refusal::HoldResolved { state } => {
                let what = match state {
                    HoldState::Placed => "the hold has an order",
                    HoldState::Sold => "the hold has an order, which is paid",
                    HoldState::Released => "the hold was given back",
                    HoldState::Expired => "the hold has expired",
                    HoldState::Held => "the hold is held",
                };
                Self::new(Reason::HoldResolved, what).with("state", state.as_str())
            }
            Refusal::HoldAtMaximum { deadline_ms } => {
                Self::new(Reason::HoldAtMaximum, "the hold lasts as long as a hold of this sale may")
                    .with("expires_at_ms", deadline_ms)
            }
            Refusal::AlreadyLoaded { epoch } => {
                Self::new(Reason::StockAlreadyLoaded, format!("the sale's stock is loaded, in epoch {epoch}"))
                    .with("epoch", epoch)
            }
            Refusal::NotLoadable { why } => {
                Self::new(Reason::SaleStateConflict, format!("the stock cannot be loaded: {why}"))
            }
            Refusal::TooManyWatchers { max } => {
                Self::new(Reason::Overloaded, "too many watch stock here").with("max_watchers", max)
            }
            Refusal::TooLate => {
                Self::new(Reason::DeadlineExceeded, "the stock store had no time before the deadline; nothing was done")
            }
            Refusal::Unanswered => {
                Self::new(Reason::DeadlineExceeded, "the stock store did not answer before the deadline")
            }
            Refusal::StoreAway { store, cause } => Self::store(store, cause),
            Refusal::Fault { cause } => Self::internal(cause),
        }
    }
}

fn admission(fault: AdmissionFault) -> Failure {
    let (reason, what) = match fault {
        AdmissionFault::Required => {
            (Reason::AdmissionRequired, "is empty, and this sale has a waiting room")
        }
        AdmissionFault::Invalid => {
            (Reason::AdmissionInvalid, "is not one the waiting room gave out")
        }
        AdmissionFault::Foreign => (Reason::AdmissionForeign, "is of another buyer or sale"),
        AdmissionFault::Expired => (Reason::AdmissionExpired, "has run out"),
        AdmissionFault::Unverified => {
            return Failure::new(
                Reason::PeerUnavailable,
                "the admission's key is not known and the waiting room cannot be asked for it",
            )
            .with("peer", "waiting-room");
        }
    };
    Failure::field(reason, "admission", what)
}

/// As [`Failure`]'s own conversion, for `map_err`.
pub(super) fn status(refusal: Refusal) -> Status {
    Failure::from(refusal).into()
}

/// As [`status`], and also names the field in which an unknown sku was sent: `field` of the first
/// of `skus` that is it.
pub(super) fn status_of_skus<'a>(
    refusal: Refusal,
    skus: impl IntoIterator<Item = &'a str>,
    field: impl FnOnce(usize) -> String,
) -> Status {
    let mut index = None;
    if let Refusal::SkuUnknown { sku } = &refusal {
        index = skus.into_iter().position(|sent| sent == sku);
    }
    let failure = Failure::from(refusal);
    match index {
        Some(index) => failure.with_violation(field(index), "the sale does not offer it"),
        None => failure,
    }
    .into()
}
