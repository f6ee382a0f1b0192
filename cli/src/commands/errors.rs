//! `flashsale errors`: the pages of `docs/errors/`, which are part of the program.

use std::process::ExitCode;

use anyhow::bail;
use flashsale_cli::output::{Output, table};
use flashsale_errors::{Reason, Retry};
use serde_json::{Map, Value, json};

/// The file name and text of a reason's page. A reason without a page does not compile.
fn page(reason: Reason) -> (&'static str, &'static str) {
    macro_rules! pages {
        ($($variant:ident = $file:literal,)+) => {
            match reason {
                $(Reason::$variant => ($file, include_str!(concat!("../../../docs/errors/", $file))),)+
            }
        };
    }
    pages! {
        ArgumentInvalid = "argument-invalid.md",
        RequestIdInvalid = "request-id-invalid.md",
        QuantityInvalid = "quantity-invalid.md",
        ExportInvalid = "export-invalid.md",
        PageTokenInvalid = "page-token-invalid.md",
        RequestIdReused = "request-id-reused.md",
        SaleNotFound = "sale-not-found.md",
        SkuNotFound = "sku-not-found.md",
        HoldNotFound = "hold-not-found.md",
        OrderNotFound = "order-not-found.md",
        PaymentNotFound = "payment-not-found.md",
        RoomNotFound = "room-not-found.md",
        SaleNotOpen = "sale-not-open.md",
        SaleStateConflict = "sale-state-conflict.md",
        SoldOut = "sold-out.md",
        BuyerLimit = "buyer-limit.md",
        HoldExpired = "hold-expired.md",
        HoldResolved = "hold-resolved.md",
        HoldLost = "hold-lost.md",
        AdmissionRequired = "admission-required.md",
        AdmissionInvalid = "admission-invalid.md",
        AdmissionForeign = "admission-foreign.md",
        AdmissionExpired = "admission-expired.md",
        AdmissionSpent = "admission-spent.md",
        TicketInvalid = "ticket-invalid.md",
        StockAlreadyLoaded = "stock-already-loaded.md",
        StockFenced = "stock-fenced.md",
        Overloaded = "overloaded.md",
        QueueFull = "queue-full.md",
        OrderNotCancellable = "order-not-cancellable.md",
        PaymentNotRefundable = "payment-not-refundable.md",
        DeadlineExceeded = "deadline-exceeded.md",
        StoreUnavailable = "store-unavailable.md",
        PeerUnavailable = "peer-unavailable.md",
        Internal = "internal.md",
        NotImplemented = "not-implemented.md",
        HoldAtMaximum = "hold-at-maximum.md",
        UnitsCommitted = "units-committed.md",
        DeadLetterNotFound = "dead-letter-not-found.md",
        DeadLetterResolved = "dead-letter-resolved.md",
        DeadLetterNotRetryable = "dead-letter-not-retryable.md",
    }
}

/// Explains a reason, or lists all.
pub(crate) fn run(name: Option<&str>, output: &Output) -> anyhow::Result<ExitCode> {
    let Some(name) = name else {
        let all: Vec<Value> = Reason::ALL.iter().map(|reason| summary(*reason).into()).collect();
        output.print(&json!(all), || {
            table(
                &["reason", "status", "what to do"],
                &[],
                Reason::ALL.iter().map(|reason| {
                    vec![
                        reason.as_str().to_owned(),
                        format!("{:?}", reason.code()),
                        reason.next_step().to_owned(),
                    ]
                }),
            )
        })?;
        return Ok(ExitCode::SUCCESS);
    };
    let Some(reason) = Reason::parse(&name.to_uppercase()) else {
        bail!("there is no reason {name:?}; `flashsale errors` lists all of them");
    };
    let (_, text) = page(reason);
    output.print(&whole(reason, text), || text.trim_end().to_owned())?;
    Ok(ExitCode::SUCCESS)
}

/// The fields of a reason that the list shows.
fn summary(reason: Reason) -> Map<String, Value> {
    let (retry, after_ms) = match reason.retry() {
        Retry::SameAfter(delay) => {
            let ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
            let words = format!(
                "the same request, with the same request_id, after {ms} ms or as RetryInfo says"
            );
            (words, Some(ms))
        }
        Retry::Never => ("not as it is".to_owned(), None),
    };
    let fields = [
        ("reason", json!(reason.as_str())),
        ("status", json!(format!("{:?}", reason.code()))),
        ("code", json!(i32::from(reason.code()))),
        ("retry", json!(retry)),
        ("retry_after_ms", json!(after_ms)),
        ("next_step", json!(reason.next_step())),
        ("page", json!(reason.help_url())),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// The summary and each section of the page as Markdown, keyed by its heading (`what_happened` …).
fn whole(reason: Reason, text: &str) -> Value {
    let mut fields = summary(reason);
    for section in text.split("\n## ").skip(1) {
        if let Some((heading, body)) = section.split_once('\n') {
            let name = heading.to_lowercase().replace([' ', '-'], "_");
            fields.insert(name, json!(body.trim()));
        }
    }
    fields.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn no_two_reasons_share_a_page() {
        for reason in Reason::ALL {
            let (file, text) = page(*reason);
            assert_eq!(file, reason.page());
            assert!(text.starts_with(&format!("# {}\n", reason.as_str())), "{file}");
        }
    }

    #[test]
    fn page_as_json_has_named_sections() {
        let (_, text) = page(Reason::SoldOut);
        let value = whole(Reason::SoldOut, text);
        for name in [
            "what_happened",
            "what_the_caller_does",
            "what_on_call_does",
            "errorinfo_metadata",
            "badrequest_fields",
        ] {
            assert!(value[name].as_str().is_some_and(|body| !body.is_empty()), "{name}: {value}");
        }
        assert!(value["errorinfo_metadata"].as_str().unwrap().contains("`available`"));
    }
}
