//! The steps of the order worker: each statement, commit, call, publish, purge and mail is one at
//! which a fault suite may kill the process.

/// All steps. A test compares the list with the sources.
const NAMED: [&str; 44] = [
    "commit/claims",
    "commit/dead_letters",
    "commit/parked",
    "commit/payment_recorded",
    "commit/settlement",
    "consumer/create",
    "consumer/delete",
    "inventory/get_hold",
    "inventory/retake",
    "inventory/settle",
    "mail/send",
    "payment/cancel",
    "payment/create",
    "payment/refund",
    "publish/again",
    "publish/event",
    "purge/orders",
    "sql/dead_letter",
    "sql/dead_letters_due",
    "sql/dead_letters_list",
    "sql/dead_letters_open",
    "sql/dead_letters_retry",
    "sql/lines_for_mail",
    "sql/order_exists",
    "sql/orders_for_charge",
    "sql/orders_for_events",
    "sql/orders_for_holds",
    "sql/orders_for_mail",
    "sql/outbox_ages",
    "sql/outbox_done",
    "sql/outbox_lease",
    "sql/outbox_retry",
    "sql/oversold",
    "sql/parked_ages",
    "sql/parked_lease",
    "sql/parked_put_off",
    "sql/parked_sales",
    "sql/position_begin",
    "sql/position_read",
    "sql/position_restart",
    "sql/settle_ended",
    "sql/settle_open",
    "sql/transitions_list",
    "stream/events",
];

/// All steps; none in a build without kill points.
pub fn all() -> Vec<&'static str> {
    if flashsale_failpoint::COMPILED_IN { NAMED.to_vec() } else { Vec::new() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::{collections::BTreeSet, path::Path};

    use flashsale_failpoint::sources;

    use super::*;

    /// Expressions with an effect outside the process, besides statements. The restart of the
    /// position is listed because it is a transaction of its own.
    const WORDS: [&str; 10] = [
        ".commit()",
        ".create_consumer(",
        ".delete_consumer(",
        ".publish_with_headers(",
        "publish_again(&",
        ".purge()",
        ".transport.send(",
        "ServiceClient::new(",
        "advance(&mutconnection,",
        "ensure_events_stream(&",
    ];

    /// A process is never killed at an effect that is not a step.
    #[test]
    fn every_effect_is_a_listed_step() {
        let texts = sources::below(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
        let found: Vec<_> = texts.iter().map(|text| sources::look(text, &WORDS)).collect();
        let missing: Vec<_> = found.iter().flat_map(|found| &found.missing).collect();
        assert!(missing.is_empty(), "no steps: {missing:#?}");
        let names: BTreeSet<&str> =
            found.iter().flat_map(|found| &found.steps).map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(NAMED));
        // A word that does not occur would check nothing.
        let all: String = texts.concat().split_whitespace().collect();
        for word in WORDS {
            assert!(all.contains(word), "{word}");
        }
    }
}
