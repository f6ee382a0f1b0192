//! Units that a rebuild retook: counted by the epoch that has them, and by its clock.

use flashsale_auditor::{Invariant, Verdict, audit};

use crate::world::{
    Plant::{self, *},
    Servers, World,
};

/// Sixty units of A in the stock's second epoch. Buyer 6 has a hold of 58 until `<soon>`. Buyer 2
/// has had one unit since the start of the epoch. The two units of buyer 1 are an older epoch's:
/// placed at the start, and retaken just now.
const REBUILT: &[Plant] = &[
    Sql("UPDATE sale_items SET quantity = 60 WHERE sale_id = '<sale>' AND sku = 'A'"),
    Sql("UPDATE allotments SET allotted = 60 WHERE sale_id = '<sale>' AND sku = 'A'"),
    Sql("UPDATE sale_stock SET epoch = 2 WHERE sale_id = '<sale>'"),
    Redis(&["HSET", "@meta", "epoch", "2"]),
    Redis(&["HSET", "@stock", "t:A", "60", "a:A", "57"]),
    Hold("<h1>", "e", "2"),
    Hold("<h1>", "p", "<start>"),
    Hold("<h1>", "t", "<now>"),
    Hold("<h2>", "e", "2"),
    Hold("<h2>", "p", "<start>"),
    Hold("<h2>", "t", "<start>"),
    Hold("<h3>", "e", "2"),
    Hold("<h4>", "e", "2"),
    Hold("<h5>", "e", "2"),
    Hold("<h6>", "e", "2"),
    Hold("<h6>", "l", r#"[["A", 58, 1500]]"#),
    Hold("<h6>", "t", "<start>"),
    Hold("<h6>", "d", "<soon>"),
    Hold("<h7>", "e", "2"),
];

async fn rebuilt(servers: &Servers, more: &[Plant]) -> flashsale_auditor::Report {
    let mut world = World::build(servers).await;
    for plant in REBUILT.iter().chain(more) {
        world.plant(servers, *plant).await;
    }
    audit(&world.options(servers)).await
}

#[tokio::test]
async fn retaken_units_count_from_their_retaking() {
    let servers = Servers::start().await;
    let report = rebuilt(&servers, &[]).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
    assert_eq!(report.value["oversold"], 0);
}

#[tokio::test]
async fn epochs_are_not_added_up() {
    let servers = Servers::start().await;
    for more in [
        // By another server's clock buyer 6 had as many just when the second epoch began.
        &[Hold("<h6>", "e", "1"), Hold("<h6>", "l", r#"[["A", 60, 1500]]"#)][..],
        // The record's time for the end of buyer 3's order is not of that server's clock either.
        &[
            Hold("<h3>", "e", "1"),
            Hold("<h3>", "t", "<start>"),
            Hold("<h6>", "l", r#"[["A", 59, 1500]]"#),
        ][..],
    ] {
        let report = rebuilt(&servers, more).await;
        assert_eq!(report.verdict, Verdict::Held, "{report}");
    }
}

#[tokio::test]
async fn overselling_within_an_epoch_is_found() {
    let servers = Servers::start().await;
    let report = rebuilt(&servers, &[Hold("<h1>", "t", "<start>")]).await;
    assert_eq!(
        report.violations(Invariant::I1),
        ["A: at one moment 61 units were taken, 60 allotted"],
        "{report}"
    );
    assert_eq!(report.value["oversold"], 1);
}

/// Buyer 4 placed the cancelled order again with a second hold, which was released; this epoch
/// never had the first one, the one on record.
const PLACED_AGAIN: &[Plant] = &[
    Redis(&["HDEL", "@holds", "<h4>"]),
    Redis(&["HSET", "@spent", "<j4>", "<h8>"]),
    Redis(&["HSET", "@requests", "<o4>", "place|other|<h8>"]),
    Redis(&[
        "HSET",
        "@holds",
        "<h8>",
        r#"{"b":"buyer-4","s":"RELEASED","d":<now>,"t":<now>,"l":[["A",1,1500]],"e":2,"j":"<j4>","o":"<o4>","p":<now>,"q":"<r4>","h":"other"}"#,
    ]),
];

#[tokio::test]
async fn cancelled_order_may_lack_its_first_hold() {
    let servers = Servers::start().await;
    let report = rebuilt(&servers, PLACED_AGAIN).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");

    // An order that came as far as its payment had the units of the hold on record.
    let declined = Sql("UPDATE orders SET state = 'DECLINED' WHERE order_id = '<o4>'");
    let report = rebuilt(&servers, &[PLACED_AGAIN, &[declined]].concat()).await;
    let differs = |what: &&str| what.contains("the row differs from what hold");
    assert!(report.violations(Invariant::I2).iter().any(differs), "{report}");
}

/// In the second epoch buyer 6 had a unit of B at the second revision of its price from its start
/// on. Buyer 5's two, at the first one, are an older epoch's, and were retaken just now.
const RETAKEN: &[Plant] = &[
    Hold("<h6>", "l", r#"[["A", 58, 1500], ["B", 1, 200, 2]]"#),
    Hold("<h5>", "p", "<start>"),
    Hold("<h5>", "t", "<now>"),
];

#[tokio::test]
async fn retaken_units_keep_their_older_price() {
    let servers = Servers::start().await;
    let report = rebuilt(&servers, RETAKEN).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
    // Its message may be published by the epoch that has retaken it.
    let published = Sql("UPDATE orders SET epoch = 2 WHERE order_id = '<o5>'");
    let report = rebuilt(&servers, &[RETAKEN, &[published]].concat()).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
    // By that older server's clock, which was ahead.
    let ahead = [published, Hold("<h5>", "p", "<now>"), Hold("<h5>", "d", "<now>")];
    let report = rebuilt(&servers, &[RETAKEN, &ahead].concat()).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}

#[tokio::test]
async fn older_price_after_a_newer_one_is_found() {
    let servers = Servers::start().await;
    let here =
        [Sql("UPDATE orders SET epoch = 2 WHERE order_id = '<o5>'"), Hold("<h5>", "p", "<now>")];
    let report = rebuilt(&servers, &[RETAKEN, &here].concat()).await;
    let found = report.violations(Invariant::I9);
    let says = "B at revision 1, 60000 ms after revision 2";
    assert!(matches!(found[..], [only] if only.contains(says)), "{report}");
}

/// The record says when a revision took effect, but not by which server's clock.
#[tokio::test]
async fn switch_of_another_epoch_decides_nothing() {
    let servers = Servers::start().await;
    let early = Sql("UPDATE price_revisions SET switches_at = to_timestamp(<now> / 1000.0)
             WHERE sale_id = '<sale>' AND revision = 2");
    let report = rebuilt(&servers, &[early]).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}

#[tokio::test]
async fn next_revision_that_has_come_is_the_price() {
    let servers = Servers::start().await;
    let come = [
        // Buyer 6 has taken a unit of B at the first revision of its price.
        Hold("<h6>", "l", r#"[["A", 58, 1500], ["B", 1, 250]]"#),
        Redis(&["HSET", "@meta", "next_ms", "1000"]),
    ];
    let report = rebuilt(&servers, &come).await;
    let found = report.violations(Invariant::I9);
    let says = "ms after revision 3";
    assert!(matches!(found[..], [only] if only.contains(says)), "{report}");
}
