//! Each corruption breaks exactly the promises it should, and the report names it.

use flashsale_auditor::{Invariant, Invariant::*, Verdict, audit};
use serde_json::json;

use crate::world::{
    Log::{History, Mail, Stripe},
    Plant::{self, *},
    Servers, World,
};

struct Case {
    name: &'static str,
    plants: &'static [Plant],
    broken: &'static [Invariant],
    /// A part of a violation of the first of `broken`.
    says: &'static str,
}

/// Another hold that was placed with the order of buyer 1, and was released.
const SECOND_HOLD: &str = r#"{"b":"buyer-1","s":"RELEASED","d":1,"t":<now>,"l":[["A",2,1500]],"e":1,"j":"<j1>","o":"<o1>","p":1,"q":"<r1>","h":"other"}"#;

const CASES: &[Case] = &[
    // I1
    Case {
        name: "Redis hands out more than there is",
        plants: &[Redis(&["HINCRBY", "@stock", "s:A", "8"]), Redis(&["HINCRBY", "@stock", "a:A", "-8"])],
        broken: &[I1, I5],
        says: "A: 11 units held, placed and sold in Redis, 10 allotted",
    },
    Case {
        name: "Redis was loaded with more than the record has",
        plants: &[Redis(&["HINCRBY", "@stock", "t:B", "1"]), Redis(&["HINCRBY", "@stock", "a:B", "1"])],
        broken: &[I1, I5],
        says: "B: Redis says 6 units allotted, Postgres 5",
    },
    Case {
        name: "an order's units are not claimed",
        plants: &[Sql("UPDATE allotments SET claimed = 2 WHERE sale_id = '<sale>' AND sku = 'A'")],
        broken: &[I1],
        says: "A: 2 units claimed in Postgres, its orders hold 3",
    },
    Case {
        name: "more was taken at one moment, and is back",
        plants: &[Hold("<h6>", "l", r#"[["A", 20, 1500]]"#)],
        broken: &[I1],
        says: "A: at one moment",
    },
    Case {
        name: "an order ended unpaid after its units were taken beyond the allotment",
        plants: &[Sql("UPDATE orders SET end_reason = 'allotment_exhausted' WHERE order_id = '<o4>'")],
        broken: &[I1],
        says: "order <o4>: accepted, but Postgres had no units left",
    },
    Case {
        name: "money was taken for units that are not there",
        plants: &[
            Sql("UPDATE sale_items SET quantity = 2 WHERE sale_id = '<sale>' AND sku = 'B'"),
            Sql("UPDATE allotments SET allotted = 3 WHERE sale_id = '<sale>' AND sku = 'B'"),
            Redis(&["HSET", "@stock", "t:B", "3", "a:B", "0"]),
            Drop(Stripe, "pi_<o7> & payment_intent.refunded"),
        ],
        broken: &[I1, I3, I4],
        says: "B: 4 units the provider captured money for, 3 allotted",
    },
    // I2
    Case {
        name: "an accepted order is nowhere",
        plants: &[Append(
            History,
            r#"{"event":"placed","ts_ms":1,"buyer":"buyer-8","request_id":"<r8>","order_id":"<o8>","state":"ACCEPTED"}"#,
        )],
        broken: &[I2],
        says: "order <o8>: a buyer was told of it",
    },
    Case {
        name: "a placed message has no order",
        plants: &[Publish(
            "place.<sale>",
            "<o8>",
            r#"{"kind":"place","order_id":"<o8>","buyer_id":"buyer-8","hold_id":"<h8>","request_id":"<r8>","lines":[],"currency":"EUR","total_minor":0}"#,
        )],
        broken: &[I2],
        says: "order <o8>: message",
    },
    Case {
        name: "a message cannot be read",
        plants: &[Publish("place.<sale>", "<o8>", "{}")],
        broken: &[I2],
        says: "of ORDERS cannot be read",
    },
    Case {
        name: "the units of a placed order were given back and the order forgotten",
        plants: &[
            Hold("<h6>", "s", r#""RELEASED""#),
            Hold("<h6>", "o", r#""<o6>""#),
            Hold("<h6>", "q", r#""<r6>""#),
            Hold("<h6>", "h", r#""hash6""#),
        ],
        broken: &[I2],
        says: "order <o6>: its hold <h6> is Released, but it has no order row",
    },
    Case {
        name: "an order never ended",
        plants: &[
            Sql("UPDATE orders SET state = 'PAYING' WHERE order_id = '<o1>'"),
            Sql("DELETE FROM order_transitions WHERE order_id = '<o1>' AND to_state = 'CONFIRMED'"),
        ],
        broken: &[I2, I3, I4, I5],
        says: "order <o1>: still PAYING",
    },
    Case {
        name: "an order took a way that there is not",
        plants: &[Sql(
            "UPDATE order_transitions SET from_state = 'DECLINED' WHERE order_id = '<o1>' AND to_state = 'CONFIRMED'",
        )],
        broken: &[I2],
        says: "order <o1>: no way leads from DECLINED to CONFIRMED",
    },
    Case {
        name: "an order has no history",
        plants: &[Sql("DELETE FROM order_transitions WHERE order_id = '<o3>'"), Drop(Mail, "<o3>"), Sql("UPDATE outbox SET last_error = 'SMTP_REFUSED' WHERE order_id = '<o3>'")],
        broken: &[I2],
        says: "order <o3>: its history ends with nothing, it is DECLINED",
    },
    Case {
        name: "a buyer was shown another end",
        plants: &[Append(
            History,
            r#"{"event":"ended","ts_ms":1,"buyer":"buyer-3","order_id":"<o3>","state":"CONFIRMED"}"#,
        )],
        broken: &[I2],
        says: "order <o3>: its buyer saw it end CONFIRMED, the record says DECLINED",
    },
    Case {
        name: "the record has other units than were placed",
        plants: &[Sql("UPDATE orders SET buyer_id = 'buyer-9' WHERE order_id = '<o4>'")],
        broken: &[I2, I7],
        says: "order <o4>: the row differs",
    },
    Case {
        name: "a message became a dead letter",
        plants: &[Sql(
            "INSERT INTO dead_letters (stream, stream_created, seq, payload, reason)
             VALUES ('ORDERS', now(), (random() * 1000000000)::int, convert_to('{\"sale_id\":\"<sale>\"}', 'UTF8'), 'unreadable')",
        )],
        broken: &[I2],
        says: "waits for a decision: unreadable",
    },
    Case {
        name: "a mail tells of an end that never was",
        plants: &[Append(
            Mail,
            r#"{"message_id":"x","headers":{"x-flashsale-order":"<o3>","x-flashsale-about":"CONFIRMED"}}"#,
        )],
        broken: &[I2],
        says: "order <o3>: a mail says CONFIRMED, which it never was",
    },
    Case {
        name: "a mail tells of a refund that is none",
        plants: &[Append(
            Mail,
            r#"{"message_id":"x","headers":{"x-flashsale-order":"<o1>","x-flashsale-about":"REFUND.<f5.1>"}}"#,
        )],
        broken: &[I2],
        says: "order <o1>: a mail tells of refund <f5.1>, which it never had",
    },
    Case {
        name: "a mail tells of a refund that is not done",
        plants: &[
            Sql("INSERT INTO refunds (refund_id, order_id, intent_id, is_rest, state, amount_minor, reason)
                     VALUES ('<r1>', '<o1>', 'pi_<o1>', false, 'FAILED', 100, 'x')"),
            Append(
                Mail,
                r#"{"message_id":"x","headers":{"x-flashsale-order":"<o1>","x-flashsale-about":"REFUND.<r1>"}}"#,
            ),
        ],
        broken: &[I2],
        says: "order <o1>: a mail tells of refund <r1>, which it never had",
    },
    Case {
        name: "a mail tells of the refund of an order that ended unpaid",
        plants: &[Append(
            Mail,
            r#"{"message_id":"x","headers":{"x-flashsale-order":"<o7>","x-flashsale-about":"REFUND.<f7.1>"}}"#,
        )],
        broken: &[I2],
        says: "order <o7>: a mail tells of refund <f7.1>, which it never had",
    },
    Case {
        name: "a payment never ended",
        plants: &[Sql("UPDATE payments SET state = 'PROCESSING' WHERE order_id = '<o3>'")],
        broken: &[I2],
        says: "order <o3>: its payment is still PROCESSING",
    },
    // I3
    Case {
        name: "a second PaymentIntent for an order",
        plants: &[Append(
            Stripe,
            r#"{"ts_ms":1,"type":"payment_intent.created","payment_intent":"pi_again","amount":3000,"currency":"eur","order_id":"<o1>","sale_id":"<sale>"}"#,
        )],
        broken: &[I3],
        says: "order <o1>: has 2 PaymentIntents: ",
    },
    Case {
        name: "an order was charged twice",
        plants: &[Append(
            Stripe,
            r#"{"ts_ms":1,"type":"payment_intent.captured","payment_method":"pm","payment_intent":"pi_<o1>","amount":3000,"currency":"eur","order_id":"<o1>","sale_id":"<sale>"}"#,
        )],
        broken: &[I3],
        says: "order <o1>: captured 2 times",
    },
    Case {
        name: "another amount was captured",
        plants: &[Replace(
            Stripe,
            r#""amount":1750"#,
            r#""amount":1700"#,
        )],
        broken: &[I3, I9],
        says: "order <o2>: 1700 captured, it costs 1750",
    },
    Case {
        name: "it was captured in another currency",
        plants: &[Replace(Stripe, r#""currency":"eur""#, r#""currency":"usd""#)],
        broken: &[I3, I9],
        says: "order <o1>: captured in USD, the sale is in EUR",
    },
    Case {
        name: "the record knows nothing of a capture",
        plants: &[Sql(
            "UPDATE payments SET state = 'PROCESSING', captured_minor = 0 WHERE order_id = '<o1>'",
        )],
        broken: &[I2, I3],
        says: "order <o1>: its payment is still PROCESSING",
    },
    Case {
        name: "an order costs something else than its lines",
        plants: &[Sql("UPDATE order_lines SET unit_price_minor = 1 WHERE order_id = '<o4>'")],
        broken: &[I2, I3, I9],
        says: "order <o4>: the row differs",
    },
    Case {
        name: "a confirmed order was never paid",
        plants: &[
            Drop(Stripe, "pi_<o2>"),
            Sql("DELETE FROM payments WHERE order_id = '<o2>'"),
        ],
        broken: &[I3],
        says: "order <o2>: CONFIRMED without a payment",
    },
    Case {
        name: "the record does not know the PaymentIntent",
        plants: &[Sql("UPDATE payments SET intent_id = NULL WHERE order_id = '<o3>'")],
        broken: &[I3],
        says: "order <o3>: the record names no PaymentIntent, the provider made pi_<o3>",
    },
    Case {
        name: "more went back than came",
        plants: &[Append(
            Stripe,
            r#"{"ts_ms":<now>,"type":"payment_intent.refunded","payment_intent":"pi_<o5>","refund":"re_<sale>","amount":500,"currency":"eur","order_id":"<o5>","sale_id":"<sale>"}"#,
        )],
        broken: &[I3],
        says: "order <o5>: 1000 refunded of 500 captured",
    },
    Case {
        name: "the record knows nothing of a refund",
        plants: &[Append(
            Stripe,
            r#"{"ts_ms":<now>,"type":"payment_intent.refunded","payment_intent":"pi_<o2>","refund":"re_<sale>","amount":100,"currency":"eur","order_id":"<o2>","sale_id":"<sale>"}"#,
        )],
        broken: &[I3],
        says: "order <o2>: 100 refunded, the record says 0",
    },
    Case {
        name: "the provider knows nothing of a refund",
        plants: &[Sql(
            "INSERT INTO refunds (refund_id, order_id, intent_id, state, amount_minor, reason, done_at)
                 VALUES (gen_random_uuid(), '<o2>', 'pi_<o2>', 'DONE', 100, 'x', now());
             UPDATE payments SET refunded_minor = 100 WHERE order_id = '<o2>';
             INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, learnt_by)
                 VALUES ('REFUNDED', 're_<sale>', '<o2>', 100, 'EUR', 'call')",
        )],
        broken: &[I3, I7],
        says: "order <o2>: 0 refunded, the record says 100",
    },
    Case {
        name: "a payment has other money back than its refunds",
        plants: &[Sql("UPDATE payments SET refunded_minor = 400 WHERE order_id = '<o1>'")],
        broken: &[I3],
        says: "order <o1>: 500 refunded by its refunds, its payment says 400",
    },
    Case {
        name: "the refunds of a payment are more than it was",
        plants: &[Sql("UPDATE refunds SET amount_minor = 3001 WHERE order_id = '<o1>'")],
        broken: &[I3],
        says: "order <o1>: 3001 refunded of 3000 captured",
    },
    Case {
        name: "a payment counts as refunded before all of it is back",
        plants: &[Sql("UPDATE payments SET state = 'REFUNDED' WHERE order_id = '<o1>'")],
        broken: &[I3],
        says: "order <o1>: its payment is REFUNDED with 500 of 3000 given back",
    },
    Case {
        name: "all of a payment is back and it does not count as refunded",
        plants: &[Sql("UPDATE payments SET state = 'SUCCEEDED' WHERE order_id = '<o5>'")],
        broken: &[I3],
        says: "order <o5>: its payment is SUCCEEDED with 500 of 500 given back",
    },
    Case {
        name: "the ledger lacks a capture",
        plants: &[Sql(
            "ALTER TABLE money_moves DISABLE TRIGGER USER;
             DELETE FROM money_moves WHERE provider_ref = 'pi_<o2>';
             ALTER TABLE money_moves ENABLE TRIGGER USER",
        )],
        broken: &[I3],
        says: "order <o2>: CAPTURED pi_<o2> at the provider, not in the ledger",
    },
    Case {
        name: "the ledger lacks a refund",
        plants: &[Sql(
            "ALTER TABLE money_moves DISABLE TRIGGER USER;
             DELETE FROM money_moves WHERE provider_ref = 're_<o1>.1';
             ALTER TABLE money_moves ENABLE TRIGGER USER",
        )],
        broken: &[I3],
        says: "order <o1>: 0 refunded by the ledger, its payment says 500",
    },
    Case {
        name: "the ledger lacks a refund's failure",
        plants: &[Sql(
            "ALTER TABLE money_moves DISABLE TRIGGER USER;
             DELETE FROM money_moves WHERE kind = 'REFUND_FAILED' AND order_id = '<o5>';
             ALTER TABLE money_moves ENABLE TRIGGER USER",
        )],
        broken: &[I3],
        says: "order <o5>: REFUND_FAILED re_<o5>.1.failed at the provider, not in the ledger",
    },
    Case {
        name: "the ledger has a capture of its own",
        plants: &[Sql(
            "INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, learnt_by)
                 VALUES ('CAPTURED', 'pi_<sale>', '<o3>', 100, 'EUR', 'call')",
        )],
        broken: &[I3],
        says: "order <o3>: CAPTURED pi_<sale> in the ledger, not at the provider",
    },
    Case {
        name: "the ledger captured another amount than the payment",
        plants: &[Sql(
            "ALTER TABLE money_moves DISABLE TRIGGER USER;
             UPDATE money_moves SET amount_minor = 1751 WHERE provider_ref = 'pi_<o2>';
             ALTER TABLE money_moves ENABLE TRIGGER USER",
        )],
        broken: &[I3],
        says: "order <o2>: 1751 captured by the ledger, its payment says 1750",
    },
    Case {
        name: "the ledger has two amounts right together and each wrong",
        plants: &[Sql(
            "ALTER TABLE money_moves DISABLE TRIGGER USER;
             UPDATE money_moves SET amount_minor = 500 - amount_minor WHERE provider_ref IN ('re_<o5>.1', 're_<o5>.2');
             ALTER TABLE money_moves ENABLE TRIGGER USER",
        )],
        broken: &[I3],
        says: "order <o5>: REFUNDED re_<o5>.1 of 200, the ledger says 300",
    },
    Case {
        name: "the ledger counts in another currency",
        plants: &[Sql(
            "ALTER TABLE money_moves DISABLE TRIGGER USER;
             UPDATE money_moves SET currency = 'USD' WHERE provider_ref = 'pi_<o2>';
             ALTER TABLE money_moves ENABLE TRIGGER USER",
        )],
        broken: &[I3],
        says: "order <o2>: CAPTURED pi_<o2> in USD, the sale is in EUR",
    },
    Case {
        name: "the ledger undoes a refund that it never had",
        plants: &[Sql(
            "INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, learnt_by)
                 VALUES ('REFUND_FAILED', 're_<sale>', '<o2>', 0, 'EUR', 'call')",
        )],
        broken: &[I3],
        says: "order <o2>: REFUND_FAILED re_<sale> in the ledger, which was never refunded",
    },
    Case {
        name: "the ledger has money of an order without a payment",
        plants: &[Sql(
            "INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, learnt_by)
                 VALUES ('DISPUTED', 'du_<sale>', '<o4>', 1500, 'EUR', 'event')",
        )],
        broken: &[I3],
        says: "order <o4>: in the ledger, no payment row",
    },
    Case {
        name: "the ledger knows nothing of a dispute",
        plants: &[Append(
            Stripe,
            r#"{"ts_ms":<now>,"type":"payment_intent.disputed","payment_intent":"pi_<o2>","dispute":"du_<sale>","amount":1750,"currency":"eur","order_id":"<o2>","sale_id":"<sale>"}"#,
        )],
        broken: &[I3],
        says: "order <o2>: DISPUTED du_<sale> at the provider, not in the ledger",
    },
    Case {
        name: "the ledger knows nothing of a dispute's end",
        plants: &[
            Sql("INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, learnt_by)
                     VALUES ('DISPUTED', 'du_<sale>', '<o2>', 1750, 'EUR', 'event')"),
            Append(
                Stripe,
                r#"{"ts_ms":<now>,"type":"payment_intent.disputed","payment_intent":"pi_<o2>","dispute":"du_<sale>","amount":1750,"currency":"eur","order_id":"<o2>","sale_id":"<sale>"}"#,
            ),
            Append(
                Stripe,
                r#"{"ts_ms":<now>,"type":"payment_intent.dispute_won","payment_intent":"pi_<o2>","dispute":"du_<sale>","amount":1750,"currency":"eur","order_id":"<o2>","sale_id":"<sale>"}"#,
            ),
        ],
        broken: &[I3],
        says: "order <o2>: DISPUTE_WON du_<sale> at the provider, not in the ledger",
    },
    Case {
        name: "a refund failed and nothing of that was recorded",
        plants: &[Append(
            Stripe,
            r#"{"ts_ms":<now>,"type":"payment_intent.refund_failed","payment_intent":"pi_<o1>","refund":"re_<o1>.1","amount":500,"currency":"eur","order_id":"<o1>","sale_id":"<sale>"}"#,
        )],
        broken: &[I3],
        says: "order <o1>: 0 refunded, the record says 500",
    },
    Case {
        name: "a refund failed that was never made",
        plants: &[Append(
            Stripe,
            r#"{"ts_ms":<now>,"type":"payment_intent.refund_failed","payment_intent":"pi_<o1>","refund":"re_<sale>","amount":500,"currency":"eur","order_id":"<o1>","sale_id":"<sale>"}"#,
        )],
        broken: &[I3],
        says: "order <o1>: re_<sale> failed, but was never refunded",
    },
    Case {
        name: "money was captured for an unknown order",
        plants: &[Append(
            Stripe,
            r#"{"ts_ms":1,"type":"payment_intent.captured","payment_method":"pm","payment_intent":"pi_x","amount":100,"currency":"eur","order_id":"<o9>","sale_id":"<sale>"}"#,
        )],
        broken: &[I3, I4, I9],
        says: "order <o9>: known to the provider, no payment row",
    },
    // I4
    Case {
        name: "money without units went back too late",
        plants: &[
            Drop(Stripe, r#""order_id":"<o7>""#),
            Append(
                Stripe,
                r#"{"ts_ms":1000,"type":"payment_intent.created","payment_intent":"pi_<o7>","amount":250,"currency":"eur","order_id":"<o7>","sale_id":"<sale>"}"#,
            ),
            Append(
                Stripe,
                r#"{"ts_ms":1000,"type":"payment_intent.captured","payment_method":"pm","payment_intent":"pi_<o7>","amount":250,"currency":"eur","order_id":"<o7>","sale_id":"<sale>"}"#,
            ),
            Append(
                Stripe,
                r#"{"ts_ms":2000,"type":"payment_intent.refunded","payment_intent":"pi_<o7>","refund":"re_<o7>.1","amount":100,"currency":"eur","order_id":"<o7>","sale_id":"<sale>"}"#,
            ),
            Append(
                Stripe,
                r#"{"ts_ms":400000,"type":"payment_intent.refunded","payment_intent":"pi_<o7>","refund":"re_<o7>.2","amount":150,"currency":"eur","order_id":"<o7>","sale_id":"<sale>"}"#,
            ),
        ],
        broken: &[I4],
        says: "order <o7>: CANCELLED, but 250 was captured and went back after 399 s",
    },
    Case {
        name: "a refund of money without units failed for good",
        plants: &[
            Append(
                Stripe,
                r#"{"ts_ms":<now>,"type":"payment_intent.refund_failed","payment_intent":"pi_<o7>","refund":"re_<o7>.2","amount":150,"currency":"eur","order_id":"<o7>","sale_id":"<sale>"}"#,
            ),
            Sql(
                "INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, learnt_by)
                     VALUES ('REFUND_FAILED', 're_<o7>.2', '<o7>', 150, 'EUR', 'event');
                 UPDATE refunds SET state = 'FAILED', done_at = NULL WHERE refund_id = '<f7.2>';
                 UPDATE payments SET refunded_minor = 100 WHERE order_id = '<o7>'",
            ),
        ],
        broken: &[I4],
        says: "order <o7>: CANCELLED, but 250 was captured and never went back",
    },
    Case {
        name: "money was captured that belongs to no order",
        plants: &[Append(
            Stripe,
            r#"{"ts_ms":1,"type":"payment_intent.captured","payment_method":"pm","payment_intent":"pi_x","amount":100,"currency":"eur","order_id":null,"sale_id":"<sale>"}"#,
        )],
        broken: &[I4, I9],
        says: "pi_x: captured for no order",
    },
    // I5
    Case {
        name: "a unit has leaked",
        plants: &[Redis(&["HINCRBY", "@stock", "a:A", "-1"])],
        broken: &[I5],
        says: "A: 9 units accounted for, 10 allotted",
    },
    Case {
        name: "a unit has leaked from both sides of the books",
        plants: &[Redis(&["HSET", "@stock", "a:A", "6", "s:A", "4"])],
        broken: &[I5],
        says: "A: the books say 4 sold, the holds 3",
    },
    Case {
        name: "an abandoned hold is kept",
        plants: &[
            Hold("<h6>", "s", r#""HELD""#),
            Redis(&["HSET", "@stock", "a:A", "5", "h:A", "2"]),
            Redis(&["HSET", "@buyers", "A\u{1f}buyer-6", "2"]),
        ],
        broken: &[I5],
        says: "hold <h6>: still held",
    },
    Case {
        name: "a deadline is watched of a hold that is not held",
        plants: &[Redis(&["ZADD", "@deadlines", "1", "<h1>"])],
        broken: &[I5],
        says: "hold <h1>: its deadline is watched, but it is not held",
    },
    Case {
        name: "a sold hold is still pending",
        plants: &[Redis(&["ZADD", "@pending", "1", "<h1>"]), Redis(&["HSET", "@orders", "<h1>", "{}"])],
        broken: &[I5],
        says: "hold <h1>: pending, but not placed",
    },
    Case {
        name: "a buyer's units are miscounted",
        plants: &[Redis(&["HSET", "@buyers", "A\u{1f}buyer-1", "1"])],
        broken: &[I5],
        says: "A: the buyer of hold <h1> is said to have 1, the holds say 2",
    },
    Case {
        name: "a buyer has more than they may",
        plants: &[Redis(&["HSET", "@stock", "l:A", "1"])],
        broken: &[I5],
        says: "A: a buyer has 2, the limit is 1",
    },
    Case {
        name: "a consequence was never carried out",
        plants: &[Sql("INSERT INTO outbox (order_id, kind, about) VALUES ('<o1>', 'close_hold', 'SOLD')")],
        broken: &[I5],
        says: "order <o1>: close_hold of SOLD is not carried out",
    },
    Case {
        name: "Redis has an older epoch",
        plants: &[Sql("UPDATE sale_stock SET epoch = 2 WHERE sale_id = '<sale>'")],
        broken: &[I5],
        says: "Redis has epoch 1, Postgres 2",
    },
    Case {
        name: "a confirmed order's units were given back",
        plants: &[
            Hold("<h1>", "s", r#""RELEASED""#),
            Redis(&["HSET", "@stock", "a:A", "9", "s:A", "1"]),
            Redis(&["HSET", "@buyers", "A\u{1f}buyer-1", "0"]),
        ],
        broken: &[I5],
        says: "order <o1>: CONFIRMED, its hold <h1> is Released",
    },
    // I6
    Case {
        name: "an admission was spent before its number was admitted",
        plants: &[
            Hold("<h6>", "j", r#""<j9>""#),
            Hold("<h6>", "b", r#""buyer-9""#),
            Redis(&["HDEL", "@spent", "<j6>"]),
            Redis(&["HSET", "@spent", "<j9>", "<h6>"]),
        ],
        broken: &[I6],
        says: "number 9: its admission was spent, the head is 8",
    },
    Case {
        name: "an admission was made up",
        plants: &[
            Hold("<h6>", "j", r#""made-up""#),
            Redis(&["HDEL", "@spent", "<j6>"]),
            Redis(&["HSET", "@spent", "made-up", "<h6>"]),
        ],
        broken: &[I6],
        says: "admission made-up: of no number",
    },
    Case {
        name: "one admission was used twice",
        plants: &[Hold("<h6>", "j", r#""<j1>""#)],
        broken: &[I6],
        says: "hold <h6>: its admission <j1> is not spent by it",
    },
    Case {
        name: "a buyer spent another buyer's admission",
        plants: &[Redis(&["HSET", "@room:buyers", "buyer-6", "9|0|WAITING", "buyer-9", "6|0|WAITING"])],
        broken: &[I6],
        says: "hold <h6>: its buyer spent the admission of number 6, which is not theirs",
    },
    Case {
        name: "a hold was taken without an admission",
        plants: &[Hold("<h6>", "j", "null")],
        broken: &[I6],
        says: "hold <h6>: taken without an admission",
    },
    Case {
        name: "a hold was taken long before its turn",
        plants: &[Hold("<h6>", "t", "1000")],
        broken: &[I6],
        says: "ms before number 6 was passed",
    },
    Case {
        name: "the head went beyond the record",
        plants: &[Sql("UPDATE rooms SET head = 7 WHERE sale_id = '<sale>'")],
        broken: &[I6],
        says: "the head (8) went beyond the head in Postgres (7)",
    },
    Case {
        name: "numbers were handed out that were not reserved",
        plants: &[Sql("UPDATE rooms SET reserved_upto = 99 WHERE sale_id = '<sale>'")],
        broken: &[I6],
        says: "the numbers granted (100) went beyond the numbers reserved in Postgres (99)",
    },
    Case {
        name: "too many were admitted at once",
        plants: &[
            Redis(&["HSET", "@room", "head", "30", "next", "40"]),
            Redis(&["ZADD", "@room:ticks", "30", "30:<soon>"]),
            Sql("UPDATE rooms SET head = 30 WHERE sale_id = '<sale>'"),
        ],
        broken: &[I6],
        says: "22 were admitted within 100 ms, up to number 30, at 3/s",
    },
    Case {
        name: "a later number was passed first",
        plants: &[Redis(&["ZADD", "@room:ticks", "2", "2:<now>"])],
        broken: &[I6],
        says: "before number 2",
    },
    Case {
        name: "two buyers were given one number",
        plants: &[Append(History, r#"{"event":"joined","ts_ms":1,"buyer":"buyer-11","number":1}"#)],
        broken: &[I6],
        says: "number 1: given to two buyers",
    },
    Case {
        name: "a buyer was told too early",
        plants: &[Append(History, r#"{"event":"admitted","ts_ms":1000,"buyer":"buyer-1","number":1}"#)],
        broken: &[I6],
        says: "ms before it was passed",
    },
    Case {
        name: "a waiting buyer was told to be admitted",
        plants: &[Append(History, r#"{"event":"admitted","ts_ms":<now>,"buyer":"buyer-9","number":9}"#)],
        broken: &[I6],
        says: "number 9: told to be admitted, the head is 8",
    },
    // I7
    Case {
        name: "a retry made another order",
        plants: &[Append(
            History,
            r#"{"event":"placed","ts_ms":1,"buyer":"buyer-1","request_id":"<r1>","order_id":"<o2>","state":"ACCEPTED"}"#,
        )],
        broken: &[I7],
        says: "request <r1>: answered with 2 orders",
    },
    Case {
        name: "an order is not its request's",
        plants: &[Sql("UPDATE orders SET request_id = gen_random_uuid() WHERE order_id = '<o4>'")],
        broken: &[I7],
        says: "order <o4>: its request",
    },
    Case {
        name: "an order has the units of two holds",
        plants: &[
            Redis(&["HSET", "@holds", "<h8>", SECOND_HOLD]),
            Hold("<h8>", "s", r#""SOLD""#),
        ],
        broken: &[I2, I5, I6, I7],
        says: "order <o1>: the row differs from what hold <h8> has placed",
    },
    Case {
        name: "units were added twice, once without a request",
        plants: &[Redis(&["HSET", "@requests", "adjust|<h8>", "done|1|A"])],
        broken: &[I7],
        says: "adjustment <h8>: 1 units of A in Redis, the journal knows nothing of it",
    },
    Case {
        name: "units were withdrawn that the caller was told are not",
        plants: &[Redis(&["HSET", "@requests", "adjust|<r10>", "done|-9|B"])],
        broken: &[I7],
        says: "adjustment <r10>: done in Redis, REFUSED in the journal",
    },
    Case {
        name: "two different mails say the same",
        plants: &[Append(
            Mail,
            r#"{"message_id":"again","headers":{"x-flashsale-order":"<o1>","x-flashsale-about":"CONFIRMED"}}"#,
        )],
        broken: &[I7],
        says: "order <o1>: 2 different mails about CONFIRMED",
    },
    Case {
        name: "an end was never written about",
        plants: &[Drop(Mail, "<o3>.DECLINED")],
        broken: &[I7],
        says: "order <o3>: DECLINED, but no mail says so",
    },
    Case {
        name: "a refund was never written about",
        plants: &[Drop(Mail, "REFUND.<f5.2>")],
        broken: &[I7],
        says: "order <o5>: REFUND.<f5.2>, but no mail says so",
    },
    Case {
        name: "two different mails tell of a refund",
        plants: &[Append(
            Mail,
            r#"{"message_id":"again","headers":{"x-flashsale-order":"<o1>","x-flashsale-about":"REFUND.<f1.1>"}}"#,
        )],
        broken: &[I7],
        says: "order <o1>: 2 different mails about REFUND.<f1.1>",
    },
    Case {
        name: "a mail tells of all refunds once more",
        plants: &[Append(
            Mail,
            r#"{"message_id":"all","headers":{"x-flashsale-order":"<o5>","x-flashsale-about":"REFUNDED"}}"#,
        )],
        broken: &[I7],
        says: "order <o5>: a mail about REFUNDED beside those about its refunds",
    },
    Case {
        name: "the end of a refunded order was never written about",
        plants: &[Drop(Mail, "<o5>.CONFIRMED")],
        broken: &[I7],
        says: "order <o5>: CONFIRMED, but no mail says so",
    },
    Case {
        name: "a request is remembered for another hold",
        plants: &[Redis(&["HSET", "@requests", "<o1>", "place|hash1|<h3>"])],
        broken: &[I7],
        says: "request <o1>: hold <h3> was placed by another one",
    },
    Case {
        name: "the request that placed an order is forgotten",
        plants: &[Redis(&["HDEL", "@requests", "<o2>"])],
        broken: &[I7],
        says: "order <o2>: its request is not remembered for hold <h2>",
    },
    Case {
        name: "a request's hold is unknown",
        plants: &[Redis(&["HSET", "@requests", "<o9>", "release|x|<h9>"])],
        broken: &[I7],
        says: "request <o9>: its hold <h9> is unknown",
    },
    // I9
    Case {
        name: "an order was placed at a price of its own, and everything agrees with it",
        plants: &[
            Sql("UPDATE sale_items SET price_minor = 1600 WHERE sale_id = '<sale>' AND sku = 'A'"),
        ],
        broken: &[I9],
        says: "order <o1>: A at 1500, the sale's price of revision 1 is 1600",
    },
    Case {
        name: "an order has a sku that its sale has not",
        plants: &[
            Sql("DELETE FROM sale_prices WHERE sale_id = '<sale>' AND sku = 'B'"),
            Sql("DELETE FROM sale_items WHERE sale_id = '<sale>' AND sku = 'B'"),
        ],
        broken: &[I9],
        says: "order <o2>: B at 250, the sale has none of revision 1",
    },
    Case {
        name: "an order is at another price than its revision has",
        plants: &[Sql("UPDATE sale_prices SET price_minor = 210 WHERE sale_id = '<sale>' AND revision = 2")],
        broken: &[I9],
        says: "order <o4>: B at 200, the sale's price of revision 2 is 210",
    },
    Case {
        name: "an order is at a revision that does not change its sku",
        plants: &[Sql("DELETE FROM sale_prices WHERE sale_id = '<sale>' AND revision = 2")],
        broken: &[I9],
        says: "order <o4>: B at 200, the sale has none of revision 2",
    },
    Case {
        name: "units are held at a price of a later revision",
        plants: &[Hold("<h6>", "l", r#"[["A",2,1500,2]]"#)],
        broken: &[I9],
        says: "hold <h6>: A at 1500, the sale has none of revision 2",
    },
    Case {
        name: "units were taken at the old price after the new one",
        plants: &[Hold("<h5>", "t", "<now>"), Hold("<h5>", "p", "<now>")],
        broken: &[I9],
        says: "hold <h5>: B at revision 1, 56500 ms after revision 2",
    },
    Case {
        name: "units were taken at the new price before its time",
        plants: &[Sql("UPDATE price_revisions SET switches_at = to_timestamp(<now> / 1000.0) WHERE sale_id = '<sale>' AND revision = 2")],
        broken: &[I9],
        says: "hold <h4>: B at revision 2, 56496 ms before its time",
    },
    Case {
        name: "the stock sells at a price of its own",
        plants: &[Redis(&["HSET", "@stock", "m:B", "210,2"])],
        broken: &[I9],
        says: "the stock: B at 210, the sale's price of revision 2 is 200",
    },
    Case {
        name: "the stock has no price",
        plants: &[Redis(&["HDEL", "@stock", "m:B"])],
        broken: &[I9],
        says: "the stock: B without a price",
    },
    Case {
        name: "a price to come is another one",
        plants: &[Redis(&["HSET", "@stock", "n:3:B", "150|4|250|3"])],
        broken: &[I9],
        says: "the stock: B is 150|4|250 in revision 3, under 3, the record says 150|4|",
    },
    Case {
        name: "a price to come is of a revision that comes later",
        plants: &[Redis(&["HSET", "@stock", "n:3:B", "150|4||4"])],
        broken: &[I9],
        says: "the stock: B is 150|4| in revision 4, under 3, the record says nothing",
    },
    Case {
        name: "a price to come is missing",
        plants: &[Redis(&["HDEL", "@stock", "n:3:B"])],
        broken: &[I9],
        says: "the stock: revision 3 has its time, but not its price of B",
    },
    Case {
        name: "the stock is to change to prices that the record does not have",
        plants: &[Redis(&["HSET", "@meta", "next_rev", "7"])],
        broken: &[I9],
        says: "the stock: at revision 7, which the record does not have",
    },
    Case {
        name: "a payment is over another amount than its order",
        plants: &[Sql("UPDATE payments SET amount_minor = 1400 WHERE order_id = '<o3>'")],
        broken: &[I3, I9],
        says: "order <o3>: its payment is over 1400, it costs 1500",
    },
    Case {
        name: "another means of payment was charged than the order names",
        plants: &[Sql("UPDATE payments SET payment_method = 'pm_stolen' WHERE order_id = '<o1>'")],
        broken: &[I9],
        says: "order <o1>: its payment is by other means than it names",
    },
    Case {
        name: "the provider charged another card",
        plants: &[Replace(
            Stripe,
            r#""payment_intent":"pi_<o1>","payment_method":"pm""#,
            r#""payment_intent":"pi_<o1>","payment_method":"pm_stolen""#,
        )],
        broken: &[I9],
        says: "order <o1>: captured by other means than it names",
    },
];

#[tokio::test]
async fn healthy_sale_keeps_every_promise() {
    let servers = Servers::start().await;
    let world = World::build(&servers).await;
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
    let value = &report.value;
    assert_eq!(value["not_checked"], json!([]));
    assert_eq!(
        [
            &value["allotted"],
            &value["available"],
            &value["sold"],
            &value["oversold"],
            &value["leaked_units"]
        ],
        [15, 9, 6, 0, 0]
    );
    assert_eq!(
        value["orders"],
        json!({ "accepted": 6, "confirmed": 2, "declined": 1, "cancelled": 2, "refunded": 1, "open": 0 })
    );
    assert_eq!(
        value["payments"],
        json!({
            "captures": 4, "captured_minor": 5_500, "currency": "EUR", "refunds": 5, "refunded_minor": 1_250, "double_captures": 0,
            "intents": 5, "declines": 1,
        })
    );
    assert_eq!(
        value["mails"],
        json!({ "confirmation": 3, "failure": 3, "refund": 3, "repeated": 1 })
    );
    assert_eq!((&value["checked"]["refunds"], &value["checked"]["moves"]), (&json!(5), &json!(11)));
    assert_eq!(value["checked"]["history_lines"], 32);
    assert_eq!(value["checked"]["messages"], 7);
    assert_eq!(value["checked"]["holds"], 7);

    let mut without_logs = world.options(&servers);
    (without_logs.stripe_log, without_logs.mail_log, without_logs.history) = (None, None, None);
    let report = audit(&without_logs).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
    assert_eq!(report.value["payments"]["captured_minor"], 5_500);
    assert_eq!(report.value["payments"]["refunded_minor"], 1_250);
    assert_eq!(report.value["not_checked"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn replaced_hold_breaks_nothing() {
    let servers = Servers::start().await;
    let mut world = World::build(&servers).await;
    world.plant(&servers, Redis(&["HSET", "@holds", "<h8>", SECOND_HOLD])).await;
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}

#[tokio::test]
async fn discarded_dead_letter_breaks_nothing() {
    let servers = Servers::start().await;
    let mut world = World::build(&servers).await;
    for plant in [
        "DELETE FROM order_lines WHERE order_id = '<o4>'",
        "UPDATE orders SET total_minor = 0, currency = 'XXX' WHERE order_id = '<o4>'",
        "UPDATE order_transitions SET to_state = 'DEAD_LETTER' WHERE order_id = '<o4>'",
        "INSERT INTO order_transitions (order_id, from_state, to_state, cause) VALUES ('<o4>', 'DEAD_LETTER', 'CANCELLED', 'dropped')",
    ] {
        world.plant(&servers, Sql(plant)).await;
    }
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
    // The buyer can be read, or there is no row; and the row has all of the fields, or none.
    for (plant, undo) in [
        (
            "UPDATE orders SET buyer_id = 'buyer-9' WHERE order_id = '<o4>'",
            "UPDATE orders SET buyer_id = 'buyer-4' WHERE order_id = '<o4>'",
        ),
        (
            "INSERT INTO order_lines (order_id, sku, quantity, unit_price_minor) VALUES ('<o4>', 'B', 1, 0)",
            "DELETE FROM order_lines WHERE order_id = '<o4>'",
        ),
    ] {
        world.plant(&servers, Sql(plant)).await;
        let report = audit(&world.options(&servers)).await;
        assert_eq!(report.verdict, Verdict::Broken, "{report}");
        world.plant(&servers, Sql(undo)).await;
        let report = audit(&world.options(&servers)).await;
        assert_eq!(report.verdict, Verdict::Held, "{report}");
    }
}

/// As late as a hold can be that was taken at the last moment: three times the longest that holds
/// ever were, and a minute.
#[tokio::test]
async fn replaced_price_holds_as_long_as_a_hold() {
    let servers = Servers::start().await;
    let mut world = World::build(&servers).await;
    let placed = "UPDATE orders SET placed_at = to_timestamp((<switched> + 90000) / 1000.0) WHERE order_id = '<o5>'";
    world.plant(&servers, Sql(placed)).await;
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");

    let placed =
        "UPDATE orders SET placed_at = placed_at + interval '1 ms' WHERE order_id = '<o5>'";
    world.plant(&servers, Sql(placed)).await;
    let report = audit(&world.options(&servers)).await;
    let says = world.fill("order <o5>: B at revision 1, 90001 ms after revision 2");
    assert_eq!(report.violations(I9), [says], "{report}");

    let longer = "INSERT INTO sale_changes (sale_id, version, kind, actor, reason, after, skus, skus_changed)
                  VALUES ('<sale>', 1, 'UPDATE', 'x', '', '{\"hold_ms\": 10001}', '{}', 0)";
    world.plant(&servers, Sql(longer)).await;
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}

#[tokio::test]
async fn lowered_limit_breaks_nothing() {
    let servers = Servers::start().await;
    let mut world = World::build(&servers).await;
    for plant in [
        Sql("INSERT INTO price_revisions (sale_id, revision, effective_at, switches_at)
                 VALUES ('<sale>', 4, now(), to_timestamp(<now> / 1000.0));
             INSERT INTO sale_prices VALUES ('<sale>', 'A', 4, 1500, NULL, 1)"),
        Redis(&["HSET", "@stock", "m:A", "1500,4", "l:A", "1"]),
    ] {
        world.plant(&servers, plant).await;
    }
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");

    // It has never been two.
    world
        .plant(
            &servers,
            Sql("UPDATE sale_items SET per_buyer_limit = 1 WHERE sale_id = '<sale>' AND sku = 'A'"),
        )
        .await;
    let report = audit(&world.options(&servers)).await;
    assert_eq!(
        report.violations(I5),
        ["A: a buyer has 2, the limit is 1", "A: a buyer has ordered 2, the limit is 1"],
        "{report}"
    );
}

#[tokio::test]
async fn unused_queue_is_read_as_empty() {
    let servers = Servers::start().await;
    let world = World::build(&servers).await;
    servers.jetstream.delete_stream("ORDERS").await.unwrap();
    servers.orders_stream().await;
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
    assert_eq!(report.value["checked"]["messages"], 0);
}

#[tokio::test]
async fn corruptions_break_exactly_their_promises() {
    let servers = Servers::start().await;
    let mut wrong = Vec::new();
    for case in CASES {
        let mut world = World::build(&servers).await;
        for plant in case.plants {
            world.plant(&servers, *plant).await;
        }
        let report = audit(&world.options(&servers)).await;
        let broken: Vec<Invariant> =
            Invariant::ALL.into_iter().filter(|it| report.held(*it) != Some(true)).collect();
        let says = world.fill(case.says);
        let named = report.violations(case.broken[0]).iter().any(|line| line.contains(&says));
        if broken != case.broken || !named || report.verdict != Verdict::Broken {
            wrong.push(format!("{}: expected {:?} {says:?}\n{report}", case.name, case.broken));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn record_alone_shows_missing_money() {
    let servers = Servers::start().await;
    for (plant, broken, says) in [
        (
            Sql("UPDATE payments SET captured_minor = 0 WHERE order_id = '<o1>'"),
            I3,
            "order <o1>: its payment is SUCCEEDED with 0 of 3000 captured",
        ),
        (
            Sql("DELETE FROM payments WHERE order_id = '<o2>'"),
            I3,
            "in all: 3500 captured and kept by the record, sold orders cost 5250",
        ),
        (
            // They failed for good.
            Sql(
                "INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, learnt_by)
                     SELECT 'REFUND_FAILED', provider_ref, order_id, amount_minor, 'EUR', 'event' FROM refunds WHERE order_id = '<o7>';
                 UPDATE refunds SET state = 'FAILED', done_at = NULL WHERE order_id = '<o7>';
                 UPDATE payments SET refunded_minor = 0 WHERE order_id = '<o7>'",
            ),
            I4,
            "order <o7>: CANCELLED, but 250 was captured and kept",
        ),
        (
            Sql("UPDATE refunds SET created_at = now() - interval '6 min' WHERE refund_id = '<f7.2>'"),
            I4,
            "order <o7>: CANCELLED, but 250 was captured and kept",
        ),
    ] {
        let mut world = World::build(&servers).await;
        world.plant(&servers, plant).await;
        let mut options = world.options(&servers);
        options.stripe_log = None;
        let report = audit(&options).await;
        let says = world.fill(says);
        assert!(
            report.violations(broken).iter().any(|line| line.contains(&says)),
            "{says}\n{report}"
        );
        let others = Invariant::ALL.into_iter().filter(|it| *it != broken);
        assert!(others.into_iter().all(|it| report.held(it) == Some(true)), "{report}");
    }
}

/// The money of buyer 7, of which a refund failed at 10,000 s and was made once more at `again_ms`.
async fn refunded_again(servers: &Servers, again_ms: &'static str) -> World {
    let mut world = World::build(servers).await;
    let line = |ts_ms: &str, kind: &str, refund: &str, amount: i64| {
        format!(
            r#"{{"ts_ms":{ts_ms},"type":"payment_intent.{kind}","payment_intent":"pi_<o7>","payment_method":"pm",{refund}"amount":{amount},"currency":"eur","order_id":"<o7>","sale_id":"<sale>"}}"#
        )
    };
    world.plant(servers, Drop(Stripe, r#""order_id":"<o7>""#)).await;
    for text in [
        line("1000", "created", "", 250),
        line("1000", "captured", "", 250),
        line("2000", "refunded", r#""refund":"re_<o7>.1","#, 100),
        line("3000", "refunded", r#""refund":"re_<sale>","#, 150),
        line("10000000", "refund_failed", r#""refund":"re_<sale>","#, 150),
        line(again_ms, "refunded", r#""refund":"re_<o7>.2","#, 150),
    ] {
        world.append(Stripe, &text);
    }
    world
        .plant(
            servers,
            Sql("INSERT INTO money_moves (kind, provider_ref, order_id, amount_minor, currency, learnt_by)
                     VALUES ('REFUNDED', 're_<sale>', '<o7>', 150, 'EUR', 'call'), ('REFUND_FAILED', 're_<sale>', '<o7>', 150, 'EUR', 'event')"),
        )
        .await;
    world
}

#[tokio::test]
async fn failed_refund_has_its_time_again() {
    let servers = Servers::start().await;
    let world = refunded_again(&servers, "10299000").await;
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");

    let world = refunded_again(&servers, "10301000").await;
    let report = audit(&world.options(&servers)).await;
    let says =
        world.fill("order <o7>: CANCELLED, but 250 was captured and went back after 10300 s");
    assert!(report.violations(I4).contains(&&*says), "{report}");
    assert_eq!(report.held(I3), Some(true), "{report}");
}

/// It was pending, and the ledger has what moved money alone.
#[tokio::test]
async fn refund_that_failed_before_it_was_done_breaks_nothing() {
    let servers = Servers::start().await;
    let mut world = World::build(&servers).await;
    for kind in ["refunded", "refund_failed"] {
        let line = format!(
            r#"{{"ts_ms":<now>,"type":"payment_intent.{kind}","payment_intent":"pi_<o2>","refund":"re_<sale>","amount":100,"currency":"eur","order_id":"<o2>","sale_id":"<sale>"}}"#
        );
        world.append(Stripe, &line);
    }
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}

#[tokio::test]
async fn refund_mail_of_the_version_before_breaks_nothing() {
    let servers = Servers::start().await;
    let mut world = World::build(&servers).await;
    for plant in [
        Sql("DELETE FROM outbox WHERE order_id = '<o5>' AND about LIKE 'REFUND.%'"),
        Sql(
            "INSERT INTO outbox (order_id, kind, about, done_at) VALUES ('<o5>', 'mail', 'REFUNDED', now())",
        ),
        Drop(Mail, "<o5>.REFUND."),
    ] {
        world.plant(&servers, plant).await;
    }
    let report = audit(&world.options(&servers)).await;
    let says = world.fill("order <o5>: REFUNDED, but no mail says so");
    assert_eq!(report.violations(I7), [says], "{report}");
    let mail = r#"{"message_id":"all","headers":{"x-flashsale-order":"<o5>","x-flashsale-about":"REFUNDED"}}"#;
    world.plant(&servers, Append(Mail, mail)).await;
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}

#[tokio::test]
async fn another_card_after_a_refusal_breaks_nothing() {
    let servers = Servers::start().await;
    let mut world = World::build(&servers).await;
    let other = Replace(
        Stripe,
        r#""payment_intent":"pi_<o1>","payment_method":"pm""#,
        r#""payment_intent":"pi_<o1>","payment_method":"pm_other""#,
    );
    world.plant(&servers, other).await;
    let refused =
        "INSERT INTO payment_attempts (order_id, n, outcome) VALUES ('<o1>', 1, 'DECLINED')";
    world.plant(&servers, Sql(refused)).await;
    // It was named to the provider itself.
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
    // The record says that it was named to us.
    let named = "UPDATE payments SET payment_method = 'pm_other' WHERE order_id = '<o1>'";
    world.plant(&servers, Sql(named)).await;
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.held(I9), Some(false), "{report}");
    let asked = "INSERT INTO payment_attempts (order_id, n, request_id, method, outcome) VALUES ('<o1>', 2, '<r9>', 'pm_other', 'SUCCEEDED')";
    world.plant(&servers, Sql(asked)).await;
    let report = audit(&world.options(&servers)).await;
    assert_eq!(report.verdict, Verdict::Held, "{report}");
}
