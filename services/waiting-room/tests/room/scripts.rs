//! The scripts alone, with chosen times.

use flashsale_redis::{RedisConfig, Script, Store};
use flashsale_testbed::grants::as_user;
use fred::{
    interfaces::{HashesInterface as _, SortedSetsInterface as _},
    types::Value,
};
use proptest::prelude::*;

const PRELUDE: &str = include_str!("../../lua/prelude.lua");
const KEYS: [&str; 5] = [
    "fs:{s}:room",
    "fs:{s}:room:buyers",
    "fs:{s}:room:ticks",
    "fs:{s}:spent",
    "fs:{s}:room:requests",
];

/// Texts of a reply that describe the room.
const ROOM_TEXTS: usize = 17;

/// What the answers of the peers have left in a room.
const ANSWERS: [&str; 5] = ["hold", "stock", "stock_ms", "intake", "intake_ms"];

/// How long an answer counts.
const UNKNOWN_MS: &str = "5000";
/// An answer, and its age, of a peer that has said nothing.
const SILENT: [&str; 2] = ["", ""];

/// A room of one Redis, accessed past the service.
struct Room {
    store: Store,
    plan: Script,
    publish: Script,
    grant: Script,
    configure: Script,
    _redis: flashsale_testbed::TestRedis,
}

/// A reply: the word, `planned`, `head`, `next`, `upto`, the time.
#[derive(Debug)]
struct Reply {
    word: String,
    state: String,
    /// Why the head holds; empty if it does not.
    hold: String,
    next: i64,
    upto: i64,
    planned: i64,
    head: i64,
    now_ms: i64,
}

fn script(name: &'static str, body: &str) -> Script {
    Script::new(name, format!("{PRELUDE}\n{body}"))
}

impl Room {
    async fn new() -> Self {
        let redis = flashsale_testbed::redis().await;
        let config = RedisConfig {
            connections: 1,
            command_timeout_ms: 5_000,
            max_queue: 100,
            ..RedisConfig::at(as_user(&redis.url, "waiting-room"))
        };
        Self {
            store: Store::connect(&config).await.unwrap(),
            plan: script("plan", include_str!("../../lua/plan.lua")),
            publish: script("publish", include_str!("../../lua/publish.lua")),
            grant: script("grant", include_str!("../../lua/grant.lua")),
            configure: script("configure", include_str!("../../lua/configure.lua")),
            _redis: redis,
        }
    }

    /// An open room with these fields in place of the usual ones, last ticked now.
    async fn set(&self, fields: &[(&str, String)]) -> i64 {
        let run_id = self.store.server().await.unwrap();
        let now_ms = self.now_ms().await;
        let mut all = vec![
            ("run_id", run_id.to_string()),
            ("state", "OPEN".to_owned()),
            ("rate", "10".to_owned()),
            ("admission_ms", "60000".to_owned()),
            ("next", "1000".to_owned()),
            ("upto", "1000".to_owned()),
            ("planned", "0".to_owned()),
            ("head", "0".to_owned()),
            ("version", "1".to_owned()),
            ("tick_ms", now_ms.to_string()),
            ("carry", "0".to_owned()),
            ("watches", "1".to_owned()),
        ];
        // Nothing is known of the peers.
        all.extend(ANSWERS.map(|name| (name, String::new())));
        all.extend(fields.iter().cloned());
        for (name, value) in all {
            let () = self.store.client().hset(KEYS[0], (name, value)).await.unwrap();
        }
        now_ms
    }

    /// A number of the room; `None` where it is empty or missing.
    async fn field(&self, name: &str) -> Option<i64> {
        let text: Option<String> = self.store.client().hget(KEYS[0], name).await.unwrap();
        text.and_then(|text| text.parse().ok())
    }

    async fn now_ms(&self) -> i64 {
        crate::world::now_ms(&self.store).await
    }

    /// Plans with these answers of inventory and checkout, and their ages in ms.
    async fn plan_with(&self, burst_ms: &str, stock: [&str; 2], intake: [&str; 2]) -> Reply {
        let args = [burst_ms, UNKNOWN_MS, stock[0], stock[1], intake[0], intake[1]];
        self.run(&self.plan, &args).await
    }

    /// Plans with answers that let the head move.
    async fn plan(&self, burst_ms: &str) -> Reply {
        self.plan_with(burst_ms, ["AVAILABLE", "0"], ["ACCEPTS", "0"]).await
    }

    async fn run(&self, script: &Script, args: &[&str]) -> Reply {
        let keys = KEYS.map(str::to_owned).to_vec();
        let args = args.iter().map(|arg| Value::from(*arg)).collect();
        let value = self.store.eval(script, keys, args).await.unwrap();
        let texts: Vec<String> = value.convert().unwrap();
        let number = |from_end: usize| texts[texts.len() - from_end].parse().unwrap();
        if texts.len() == 1 {
            let word = texts[0].clone();
            return Reply {
                word,
                state: String::new(),
                hold: String::new(),
                next: 0,
                upto: 0,
                planned: 0,
                head: 0,
                now_ms: 0,
            };
        }
        Reply {
            word: texts[0].clone(),
            state: texts[texts.len() - ROOM_TEXTS].clone(),
            hold: texts[texts.len() - ROOM_TEXTS + 3].clone(),
            next: number(6),
            upto: number(5),
            planned: number(4),
            head: number(3),
            now_ms: number(1),
        }
    }
}

/// Two instances of checkout around its bound contradict each other: what is due stays due.
#[tokio::test]
async fn refusals_in_between_do_not_put_a_buyer_off_for_ever() {
    let room = Room::new().await;
    room.set(&[("rate", "2".to_owned())]).await;
    let field = async |name: &'static str, value: i64| {
        let () = room.store.client().hset(KEYS[0], (name, value)).await.unwrap();
    };
    let mut planned = 0;
    for _ in 0..2 {
        // Each answer is newer than the one before.
        field("intake_ms", 0).await;
        room.plan("100000").await;
        field("tick_ms", room.now_ms().await - 300).await;
        planned = room.plan("100000").await.planned;
        field("intake_ms", 0).await;
        let refused = room.plan_with("100000", ["AVAILABLE", "0"], ["REFUSES", "0"]).await;
        assert_eq!((refused.planned, refused.hold.as_str()), (planned, "REFUSED"));
    }
    assert_eq!(planned, 1);
}

/// The clock of the store was set back: an answer of a later time says nothing of now.
#[tokio::test]
async fn answers_of_a_later_time_do_not_count() {
    let room = Room::new().await;
    let now_ms = room.set(&[]).await;
    let later = (now_ms + 3_600_000).to_string();
    room.set(&[
        ("stock", "AVAILABLE".to_owned()),
        ("stock_ms", later.clone()),
        ("intake", "ACCEPTS".to_owned()),
        ("intake_ms", later),
    ])
    .await;
    let silent = room.plan_with("100000", SILENT, SILENT).await;
    assert_eq!((silent.planned, silent.hold.as_str()), (0, "INVENTORY"));
}

#[tokio::test]
async fn plan_follows_rate_and_carries_fractions() {
    let room = Room::new().await;
    let mut tick_ms = room.set(&[]).await - 333;
    room.set(&[("tick_ms", tick_ms.to_string())]).await;
    let begun_ms = tick_ms;
    for _ in 0..20 {
        let reply = room.plan("100000").await;
        // No fraction is lost, however often the budget is cut.
        assert_eq!(reply.planned, (reply.now_ms - begun_ms) * 10 / 1_000, "{reply:?}");
        assert!(reply.now_ms >= tick_ms);
        tick_ms = reply.now_ms;
        let () = room.store.client().hset(KEYS[0], ("tick_ms", tick_ms.to_string())).await.unwrap();
    }
}

#[tokio::test]
async fn rounded_sum_of_fractions_is_whole() {
    let room = Room::new().await;
    let almost = 1.0 - 2.0 * f64::EPSILON;
    for (carry, due) in [(almost, 1), (1.0 - 1e-6, 0)] {
        // Next to nothing is added to what is carried.
        room.set(&[("rate", "1e-30".to_owned()), ("carry", carry.to_string())]).await;
        assert_eq!(room.plan("1000").await.planned, due, "{carry} is carried");
        let carry: f64 = room.store.client().hget(KEYS[0], "carry").await.unwrap();
        assert!((0.0..1.0).contains(&carry), "{carry}");
    }
}

#[tokio::test]
async fn budget_is_capped_at_one_burst() {
    let room = Room::new().await;
    for (rate, burst_ms, most) in [("10", "1000", 10), ("0.1", "1000", 1), ("250", "500", 125)] {
        let hour_ago = room.set(&[]).await - 3_600_000;
        room.set(&[("rate", rate.to_owned()), ("tick_ms", hour_ago.to_string())]).await;
        let reply = room.plan(burst_ms).await;
        assert_eq!(reply.planned, most, "at {rate} with bursts of {burst_ms} ms");
        // It was not published: the plan does not grow.
        let hour_ago = hour_ago.to_string();
        let () = room.store.client().hset(KEYS[0], ("tick_ms", hour_ago)).await.unwrap();
        assert_eq!(room.plan(burst_ms).await.planned, most);
    }
}

#[tokio::test]
async fn head_never_passes_issued_numbers() {
    let room = Room::new().await;
    let second_ago = (room.set(&[]).await - 1_000).to_string();
    room.set(&[("next", "3".to_owned()), ("rate", "1000".to_owned()), ("tick_ms", second_ago)])
        .await;
    assert_eq!(room.plan("1000").await.planned, 3);
    assert_eq!(room.run(&room.publish, &["7", "50000"]).await.head, 3);
}

#[tokio::test]
async fn no_budget_accrues_while_admissions_stop() {
    let room = Room::new().await;
    let (available, accepts) = (["AVAILABLE", "0"], ["ACCEPTS", "0"]);
    for (state, stock, intake) in [
        ("PAUSED", available, accepts),
        ("CLOSED", available, accepts),
        ("OPEN", ["TAKEN", "0"], accepts),
        ("OPEN", ["GONE", "0"], accepts),
        ("OPEN", available, ["REFUSES", "0"]),
    ] {
        let minute_ago = room.set(&[]).await - 60_000;
        let fields = [
            ("state", state.to_owned()),
            ("tick_ms", minute_ago.to_string()),
            ("carry", "5".to_owned()),
        ];
        room.set(&fields).await;
        let stopped = room.plan_with("1000", stock, intake).await;
        assert_eq!(stopped.planned, 0);
        let () = room.store.client().hset(KEYS[0], ("state", "OPEN")).await.unwrap();
        let reply = room.plan("1000").await;
        assert!(
            reply.planned <= (reply.now_ms - stopped.now_ms) * 10 / 1_000,
            "{state}: {reply:?}"
        );
    }
}

#[tokio::test]
async fn newest_answer_counts_for_all_instances() {
    let room = Room::new().await;
    let now_ms = room.now_ms().await;
    let (begun_ms, asked_ms) = (now_ms - 900, (now_ms - 10).to_string());
    room.set(&[
        ("tick_ms", begun_ms.to_string()),
        ("stock", "AVAILABLE".to_owned()),
        ("stock_ms", asked_ms.clone()),
        ("intake", "ACCEPTS".to_owned()),
        ("intake_ms", asked_ms),
    ])
    .await;
    // Beside an instance that is answered there is one that inventory has not answered since it
    // said no, one that checkout has not, and one that knows nothing.
    let (available, accepts) = (["AVAILABLE", "5"], ["ACCEPTS", "5"]);
    for (stock, intake) in [
        (["TAKEN", "3000"], accepts),
        (available, ["REFUSES", "3000"]),
        (SILENT, SILENT),
        (available, accepts),
    ] {
        let reply = room.plan_with("100000", stock, intake).await;
        assert_eq!(reply.hold, "", "{stock:?}, {intake:?}");
        assert_eq!(reply.planned, (reply.now_ms - begun_ms) * 10 / 1_000, "{reply:?}");
    }
    // A newer no counts for all, whatever the others knew before.
    let refused = room.plan_with("100000", ["TAKEN", "0"], accepts).await;
    let others = room.plan_with("100000", ["AVAILABLE", "2000"], accepts).await;
    for reply in [&refused, &others] {
        assert_eq!((reply.hold.as_str(), reply.planned), ("REFUSED", refused.planned));
    }
}

#[tokio::test]
async fn silence_is_no_answer() {
    let room = Room::new().await;
    let (available, accepts) = (["AVAILABLE", "0"], ["ACCEPTS", "0"]);
    let (long_ago, counts) = (["AVAILABLE", "5001"], ["AVAILABLE", "4000"]);
    for (stock, intake, hold) in [
        (SILENT, SILENT, "INVENTORY"),
        (SILENT, accepts, "INVENTORY"),
        (available, SILENT, "CHECKOUT"),
        (long_ago, accepts, "INVENTORY"),
        (available, ["ACCEPTS", "5001"], "CHECKOUT"),
        // A no that counts is reason enough.
        (SILENT, ["REFUSES", "0"], "REFUSED"),
        (["GONE", "0"], SILENT, "REFUSED"),
        (counts, ["ACCEPTS", "4000"], ""),
    ] {
        let second_ago = room.now_ms().await - 1_000;
        room.set(&[("tick_ms", second_ago.to_string())]).await;
        let reply = room.plan_with("1000", stock, intake).await;
        assert_eq!(reply.hold, hold, "{stock:?}, {intake:?}");
        assert_eq!(reply.planned, if hold.is_empty() { 10 } else { 0 }, "{stock:?}, {intake:?}");
    }
}

#[tokio::test]
async fn room_without_stock_needs_no_answer() {
    let room = Room::new().await;
    for (stock, intake) in [(SILENT, SILENT), (["GONE", "0"], ["REFUSES", "0"])] {
        let second_ago = room.set(&[]).await - 1_000;
        room.set(&[("watches", "0".to_owned()), ("tick_ms", second_ago.to_string())]).await;
        let reply = room.plan_with("1000", stock, intake).await;
        assert_eq!((reply.hold.as_str(), reply.planned), ("", 10), "{stock:?}, {intake:?}");
    }
}

#[tokio::test]
async fn time_of_a_hold_is_not_made_up_for() {
    let room = Room::new().await;
    // No instance has planned since the no of two seconds ago; the answer that ends the hold is of
    // 300 ms ago.
    let held_ms = (room.now_ms().await - 2_000).to_string();
    room.set(&[
        ("tick_ms", held_ms.clone()),
        ("hold", "REFUSED".to_owned()),
        ("stock", "TAKEN".to_owned()),
        ("stock_ms", held_ms),
    ])
    .await;
    let reply = room.plan_with("100000", ["AVAILABLE", "300"], ["ACCEPTS", "400"]).await;
    assert_eq!((reply.hold.as_str(), reply.planned), ("", 3), "{reply:?}");
}

#[tokio::test]
async fn answer_from_before_the_clock_was_set_back_is_replaced() {
    let room = Room::new().await;
    let later_ms = room.set(&[]).await + 60_000;
    room.set(&[("stock", "TAKEN".to_owned()), ("stock_ms", later_ms.to_string())]).await;
    assert_eq!(room.plan("1000").await.hold, "");
}

#[tokio::test]
async fn publishing_tells_how_far_it_has_moved_the_head() {
    let room = Room::new().await;
    room.set(&[]).await;
    for (head, moved) in [("5", "5"), ("5", "0"), ("9", "4"), ("7", "0"), ("2000", "991")] {
        let keys = KEYS.map(str::to_owned).to_vec();
        let args = vec![head.into(), "50000".into()];
        let texts: Vec<String> =
            room.store.eval(&room.publish, keys, args).await.unwrap().convert().unwrap();
        assert_eq!(texts[1], moved, "to {head}");
    }
}

#[tokio::test]
async fn room_of_another_server_is_gone() {
    let room = Room::new().await;
    room.set(&[("run_id", "another".to_owned())]).await;
    for (script, args) in [
        (&room.plan, ["1000", UNKNOWN_MS, "AVAILABLE", "0", "ACCEPTS", "0"].as_slice()),
        (&room.publish, &["7", "50000"]),
        (&room.grant, &["1000", "2000"]),
        (&room.configure, &["2", "CLOSED", "1", "5000", "", "", "", "0", "", "1"]),
    ] {
        assert_eq!(room.run(script, args).await.word, "GONE", "{}", script.name());
    }
    let head: i64 = room.store.client().hget(KEYS[0], "head").await.unwrap();
    let state: String = room.store.client().hget(KEYS[0], "state").await.unwrap();
    assert_eq!((head, state.as_str()), (0, "OPEN"));
}

#[tokio::test]
async fn late_blocks_are_dropped_and_gaps_skipped() {
    let room = Room::new().await;
    room.set(&[("next", "990".to_owned())]).await;
    for (from, upto, then) in [
        ("1000", "2000", (990, 2_000)),
        ("1000", "2000", (990, 2_000)),
        ("500", "1500", (990, 2_000)),
        ("3000", "4000", (3_000, 4_000)),
        ("2000", "3000", (3_000, 4_000)),
    ] {
        let reply = room.run(&room.grant, &[from, upto]).await;
        assert_eq!((reply.next, reply.upto), then, "{from} to {upto}");
    }
}

#[tokio::test]
async fn older_settings_never_win() {
    let room = Room::new().await;
    room.set(&[]).await;
    for (version, state, joins_ms, seen) in [
        ("3", "PAUSED", "30", ("PAUSED", Some(30))),
        ("2", "CLOSED", "20", ("PAUSED", Some(30))),
        ("3", "CLOSED", "30", ("PAUSED", Some(30))),
        ("4", "OPEN", "40", ("OPEN", Some(40))),
        ("5", "OPEN", "", ("OPEN", None)),
    ] {
        let args = [version, state, "1", "5000", joins_ms, "", "", "0", "", "1"];
        let reply = room.run(&room.configure, &args).await;
        assert_eq!((reply.state.as_str(), room.field("joins_ms").await), seen, "{version}");
    }
}

#[tokio::test]
async fn later_settings_are_copied_for_the_version_that_is_there() {
    let room = Room::new().await;
    // As an instance from before these settings puts it in place.
    room.set(&[("version", "3".to_owned())]).await;
    room.run(&room.configure, &["3", "OPEN", "10", "60000", "10", "20", "30", "0", "", "0"]).await;
    for (name, ms) in [("joins_ms", 10), ("admits_ms", 20), ("until_ms", 30), ("watches", 0)] {
        assert_eq!(room.field(name).await, Some(ms), "{name}");
    }
}

#[tokio::test]
async fn budget_begins_with_the_opening() {
    let room = Room::new().await;
    let now_ms = room.set(&[]).await;
    // Whether the last tick was before the opening, or long before it.
    for tick_ms in [now_ms - 1_100, now_ms - 3_600_000] {
        let opened_ms = now_ms - 1_000;
        room.set(&[
            ("admits_ms", opened_ms.to_string()),
            ("tick_ms", tick_ms.to_string()),
            ("carry", "5".to_owned()),
        ])
        .await;
        let reply = room.plan("100000").await;
        assert_eq!(reply.planned, (reply.now_ms - opened_ms) * 10 / 1_000, "{reply:?}");
    }
    // Long after the opening there is one burst, as always.
    room.set(&[
        ("admits_ms", (now_ms - 3_600_000).to_string()),
        ("tick_ms", (now_ms - 7_200_000).to_string()),
    ])
    .await;
    assert_eq!(room.plan("1000").await.planned, 10);
}

#[tokio::test]
async fn nothing_is_spent_outside_the_window() {
    let room = Room::new().await;
    let now_ms = room.set(&[]).await;
    let hour_ago = (now_ms - 3_600_000).to_string();
    for (name, at_ms) in [("admits_ms", now_ms + 3_600_000), ("until_ms", now_ms)] {
        for bound in ["admits_ms", "until_ms"] {
            let () = room.store.client().hset(KEYS[0], (bound, "")).await.unwrap();
        }
        room.set(&[
            (name, at_ms.to_string()),
            ("tick_ms", hour_ago.clone()),
            ("carry", "5".to_owned()),
            ("planned", "3".to_owned()),
        ])
        .await;
        assert_eq!(room.plan("1000").await.planned, 3, "{name}");
        let carry: f64 = room.store.client().hget(KEYS[0], "carry").await.unwrap();
        assert_eq!(carry, 0.0, "{name}");
        // Nor does the head follow what was planned within it.
        assert_eq!(room.run(&room.publish, &["3", "50000"]).await.head, 0, "{name}");
    }
}

#[tokio::test]
async fn only_many_expired_ticks_are_thinned() {
    let room = Room::new().await;
    let now_ms = room.set(&[("admission_ms", "5000".to_owned())]).await;
    let old = [(1.0, 20_000), (2.0, 10_000), (3.0, 1_000)];
    for (head, age_ms) in old {
        let member = format!("{head}:{}", now_ms - age_ms);
        let () = room
            .store
            .client()
            .zadd(KEYS[2], None, None, false, false, (head, member))
            .await
            .unwrap();
    }
    let () = room.store.client().hset(KEYS[0], ("head", "3")).await.unwrap();
    let count = async || -> i64 { room.store.client().zcard(KEYS[2]).await.unwrap() };
    room.run(&room.publish, &["4", "50000"]).await;
    assert_eq!(count().await, 4);
    // The first is dropped, because the second has expired too; the second stays, because the third
    // has not.
    room.run(&room.publish, &["5", "2"]).await;
    assert_eq!(count().await, 4);
    room.run(&room.publish, &["6", "2"]).await;
    assert_eq!(count().await, 5);
}

#[tokio::test]
async fn ticks_of_the_version_before_are_read() {
    let room = Room::new().await;
    let now_ms = room.set(&[("head", "9".to_owned())]).await;
    // That one tells its time alone: its admissions live as long as the room's do now.
    for (head, member) in [(5.0, format!("5:{now_ms}")), (9.0, format!("9:7000:0:{now_ms}"))] {
        let () = room
            .store
            .client()
            .zadd(KEYS[2], None, None, false, false, (head, member))
            .await
            .unwrap();
    }
    let read = script("read", include_str!("../../lua/read.lua"));
    for (number, lifetime_ms) in [("4", 60_000), ("5", 60_000), ("6", 7_000), ("9", 7_000)] {
        let keys = KEYS.map(str::to_owned).to_vec();
        let args = ["anna", number, "0"].map(Value::from).to_vec();
        let texts: Vec<String> =
            room.store.eval(&read, keys, args).await.unwrap().convert().unwrap();
        let ends_ms: i64 = texts[2].parse().unwrap();
        assert_eq!(ends_ms, (now_ms + lifetime_ms + 999) / 1_000 * 1_000, "number {number}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1, ..ProptestConfig::default() })]

    #[test]
    fn random_calls_keep_number_order(seed in any::<u64>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(any_order(seed));
    }
}

/// Hundreds of random calls on one room.
async fn any_order(seed: u64) {
    let mut random = seed;
    let mut below = |bound: u64| {
        // A linear congruential generator (Knuth, MMIX): the seed alone repeats the run.
        random =
            random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let room = Room::new().await;
    let now_ms = room.set(&[("next", "0".to_owned()), ("upto", "0".to_owned())]).await;
    let mut head = 0;
    for step in 0..400 {
        let reply = match below(5) {
            0 => {
                let past = (now_ms - 1_000 * i64::try_from(below(5)).unwrap()).to_string();
                let () = room.store.client().hset(KEYS[0], ("tick_ms", past)).await.unwrap();
                room.plan("1000").await
            }
            1 => room.run(&room.publish, &[&below(500).to_string(), "50"]).await,
            2 => {
                let from = below(20) * 25;
                room.run(&room.grant, &[&from.to_string(), &(from + 25).to_string()]).await
            }
            3 => {
                let state = ["OPEN", "OPEN", "PAUSED"][usize::try_from(below(3)).unwrap()];
                let rate = (1 + below(100)).to_string();
                let args: [&str; 10] =
                    [&step.to_string(), state, &rate, "5000", "", "", "", "0", "", "1"];
                room.run(&room.configure, &args).await
            }
            _ => {
                // A buyer joins.
                let reply = room.run(&room.publish, &["0", "50"]).await;
                if reply.next < reply.upto {
                    let next = (reply.next + 1).to_string();
                    let () = room.store.client().hset(KEYS[0], ("next", next)).await.unwrap();
                }
                room.run(&room.publish, &["0", "50"]).await
            }
        };
        assert!(reply.head >= head, "step {step} of seed {seed}: the head went back: {reply:?}");
        head = reply.head;
        let in_order = [reply.head, reply.planned, reply.next, reply.upto];
        assert!(in_order.is_sorted(), "step {step} of seed {seed}: {reply:?}");
    }
}
