//! What each failure means to a caller: the one place.

use std::{fmt::Write as _, time::Duration};

use flashsale_errors::{Failure, Reason};
use time::OffsetDateTime;
use tonic::Status;

use crate::{
    app::error::SaleError,
    domain::{Kind, Problems},
    store::StoreError,
};

/// After which an upload may find a place: reading takes seconds, sending longer.
const UPLOAD_RETRY: Duration = Duration::from_secs(5);
/// Problems repeated in the plain message, for callers that cannot show details.
const IN_MESSAGE: usize = 3;
/// What leaves out the faulty rows of an export.
const LEAVE_OUT: &str = "options.leave_out_faulty";

/// The status for a failed call.
pub(super) fn failure(error: SaleError) -> Status {
    let text = error.to_string();
    let failure = match error {
        SaleError::NotFound(id) => {
            Failure::field(Reason::SaleNotFound, "sale_id", text).with("sale_id", id)
        }
        SaleError::RequestIdReused(id) => {
            Failure::field(Reason::RequestIdReused, "request_id", text).with("request_id", id)
        }
        SaleError::StateConflict { id, conflict } => Failure::new(Reason::SaleStateConflict, text)
            .with("sale_id", id)
            .with("state", conflict.state.as_str()),
        SaleError::SkuConflict { id, conflict } => {
            let failure = Failure::new(Reason::ScheduleConflict, text)
                .with("sale_id", id)
                .with("sku", conflict.sku)
                .with("other_starts_at_ms", millis(conflict.starts_at))
                .with("other_ends_at_ms", millis(conflict.until));
            match conflict.other {
                Some(other) => failure.with("other_sale_id", other),
                None => failure,
            }
        }
        SaleError::VersionConflict { id, seen, current } => {
            Failure::field(Reason::SaleVersionConflict, "version", text)
                .with("sale_id", id)
                .with("version", seen)
                .with("current_version", current)
        }
        SaleError::Invalid(problems) => invalid(&problems),
        SaleError::NotTold { id, peer, why } | SaleError::UnitsUnknown { id, peer, why } => {
            Failure::new(Reason::PeerUnavailable, text)
                .with("sale_id", id)
                .with("peer", peer)
                .with("peer_reason", why)
        }
        SaleError::TooManyWatchers(max) => {
            Failure::new(Reason::Overloaded, text).with("max_watchers", max)
        }
        SaleError::TooManyUploads(max) => Failure::new(Reason::Overloaded, text)
            .with("max_uploads", max)
            .retry_after(UPLOAD_RETRY),
        SaleError::TooManyExports(max) => {
            Failure::new(Reason::Overloaded, text).with("max_exports", max)
        }
        SaleError::Contended(id) => Failure::new(Reason::Overloaded, text).with("sale_id", id),
        SaleError::Reading(cause) => Failure::internal(cause),
        SaleError::Store(StoreError::Unavailable(cause)) => Failure::store("postgres", cause),
        SaleError::Store(StoreError::Broken(cause)) => Failure::internal(cause),
    };
    failure.into()
}

/// In milliseconds since 1970.
fn millis(at: OffsetDateTime) -> i128 {
    at.unix_timestamp_nanos().div_euclid(1_000_000)
}

/// One refusal for everything that is wrong.
fn invalid(problems: &Problems) -> Failure {
    let reason = match problems.kind() {
        Kind::Argument => Reason::ArgumentInvalid,
        Kind::Quantity => Reason::QuantityInvalid,
        Kind::Export => Reason::ExportInvalid,
    };
    let count = problems.count();
    let mut what = String::new();
    for problem in problems.listed().iter().take(IN_MESSAGE) {
        let separator = if what.is_empty() { "" } else { "; " };
        let _ = write!(what, "{separator}{}: {}", problem.field, problem.what);
    }
    if count > IN_MESSAGE {
        let _ = write!(what, "; and {} more", count - IN_MESSAGE);
    }
    let remaining = problems.remaining().map(|rows| {
        let rows = if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") };
        format!("{rows} would be sold with it: the faulty ones are left out (--leave-out-faulty)")
    });
    if let Some(remaining) = &remaining {
        let _ = write!(what, "; {LEAVE_OUT}: {remaining}");
    }
    let mut failure = Failure::new(reason, what).with("problems", count);
    if let Some(rows) = problems.remaining() {
        failure = failure.with("remaining_rows", rows);
    }
    let failure = problems
        .listed()
        .iter()
        .fold(failure, |failure, problem| failure.with_violation(&problem.field, &problem.what));
    let failure = match (problems.more(), problems.kind()) {
        (0, _) => failure,
        (more, Kind::Export) => failure.with_violation("content", format!("and {more} more")),
        (more, Kind::Argument | Kind::Quantity) => {
            failure.with_violation("items", format!("and {more} more"))
        }
    };
    match remaining {
        Some(remaining) => failure.with_violation(LEAVE_OUT, remaining),
        None => failure,
    }
}
