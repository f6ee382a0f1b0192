//! An exhaustive search of the rule by which one of two living Redis servers counts, for orders
//! whose acceptance is revoked, stock that is sold twice, endless rebuilds and sales that stay
//! closed. `docs/decisions/2026-11-29-one-redis-counts.md` states the rule and the argument in
//! words.

#![allow(clippy::print_stdout)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calm;
mod model;
mod rule;
mod search;

use std::fmt::Write;

use model::{Action, Faults, Model};
use rule::Rule;
use search::{Found, search};

/// More states than any search here has, so that a model without bounds fails soon.
const MOST: usize = 3_000_000;

const REVOKED: &str = model::REVOKED;
const SOLD_TWICE: &str = model::SOLD_TWICE;

const NO_FAULTS: Faults = Faults {
    raises: 1,
    switches: 0,
    resyncs: 0,
    takeovers: 0,
    clock_jumps: 0,
    losses: 0,
    stale_leaders: 0,
    old_postgres: 0,
    raisers: 1,
};
const ONE_RAISE: Faults = NO_FAULTS;
const RAISE_TAKEN_UP: Faults = Faults { raises: 2, raisers: 2, ..NO_FAULTS };
const TAKEOVER: Faults = Faults { takeovers: 1, ..NO_FAULTS };
const SWITCHES: Faults = Faults { switches: 2, ..NO_FAULTS };
const RESYNC: Faults = Faults { resyncs: 1, switches: 1, ..NO_FAULTS };
const CLOCK_JUMP: Faults = Faults { clock_jumps: 1, ..NO_FAULTS };
const QUEUE_LOSS: Faults = Faults { losses: 1, ..NO_FAULTS };
const STALE_LEADER: Faults = Faults { stale_leaders: 1, ..NO_FAULTS };
/// Its standby's clock may be ahead.
const OLD_POSTGRES: Faults = Faults { old_postgres: 1, clock_jumps: 1, ..NO_FAULTS };

fn run(rule: Rule, faults: Faults) -> Found<model::State, Action> {
    search(&Model { rule, faults }, MOST)
}

fn story(way: &[Action]) -> String {
    let (mut seconds, mut told) = (0, String::new());
    for action in way {
        if matches!(action, Action::Second) {
            seconds += 1;
        } else {
            let _ = writeln!(told, "  {seconds} s  {action}");
        }
    }
    let _ = writeln!(told, "  {seconds} s  end");
    told
}

fn broken(name: &str, rule: Rule, faults: Faults) -> Option<&'static str> {
    let found = run(rule, faults);
    let verdict = found.broken.as_ref().map(|(what, _)| *what);
    println!("{name}: {} states, {}", found.states.len(), verdict.unwrap_or("holds"));
    if let Some((_, way)) = &found.broken {
        println!("{}", story(way));
    }
    verdict
}

#[test]
fn the_rule_holds() {
    let rule = Rule::BUILT;
    for (name, faults) in [
        ("a raise that dies and is taken up", RAISE_TAKEN_UP),
        ("the same with a takeover", Faults { takeovers: 1, ..RAISE_TAKEN_UP }),
        ("three raises", Faults { raises: 3, ..RAISE_TAKEN_UP }),
        ("there and back while raises die", Faults { switches: 1, ..RAISE_TAKEN_UP }),
        ("promoted there and back", Faults { resyncs: 2, ..NO_FAULTS }),
        ("a clock ahead", Faults { takeovers: 1, clock_jumps: 1, ..NO_FAULTS }),
        ("messages lost", Faults { losses: 1, takeovers: 1, ..NO_FAULTS }),
        ("a replaced Postgres", Faults { takeovers: 1, ..OLD_POSTGRES }),
    ] {
        assert_eq!(broken(name, rule, faults), None, "{name}");
    }
}

/// The rule as first written, and the two of its repairs that still leave a hole.
#[test]
fn the_draft_is_broken() {
    let rule = Rule::DRAFT;
    assert_eq!(broken("one raise", rule, ONE_RAISE), None);
    assert_eq!(broken("a takeover", rule, TAKEOVER), Some(REVOKED));
    let rule = Rule { remember_looks: true, ..rule };
    assert_eq!(broken("a takeover", rule, TAKEOVER), None);
    assert_eq!(broken("a raise taken up by the same server", rule, RAISE_TAKEN_UP), Some(REVOKED));
    let taken_up = Rule { quick_if_opened_there: true, ..rule };
    let faults = Faults { takeovers: 1, ..RAISE_TAKEN_UP };
    assert_eq!(broken("a takeover taken up", taken_up, faults), Some(REVOKED));
    assert_eq!(broken("Postgres' clock", rule, CLOCK_JUMP), Some(REVOKED));
    assert_eq!(broken("messages lost", rule, QUEUE_LOSS), Some(REVOKED));
    assert_eq!(broken("a deposed leader", rule, STALE_LEADER), Some(REVOKED));
}

#[test]
fn each_safeguard_matters() {
    let rule = Rule::BUILT;
    for (name, without, faults, what) in [
        ("cover 3", Rule { cover: 3, ..rule }, TAKEOVER, REVOKED),
        ("a look holds 2", Rule { look: 2, ..rule }, ONE_RAISE, REVOKED),
        ("gaps", Rule { continuous_looks: false, ..rule }, ONE_RAISE, REVOKED),
        ("beats not synced", Rule { beats_sync: false, ..rule }, OLD_POSTGRES, REVOKED),
        ("looks since the read", Rule { watched_from_start: false, ..rule }, OLD_POSTGRES, REVOKED),
        ("late reads", Rule { remember_looks: false, ..rule }, TAKEOVER, REVOKED),
        ("loss unnoticed", Rule { looks_notice_loss: false, ..rule }, QUEUE_LOSS, REVOKED),
        ("ack within 2", Rule { ack: 2, ..rule }, ONE_RAISE, REVOKED),
        ("any ack", Rule { ack: 255, ..rule }, ONE_RAISE, REVOKED),
        ("no closing", Rule { closing: false, ..rule }, ONE_RAISE, REVOKED),
        ("1 after closing", Rule { after_closing: 1, ..rule }, ONE_RAISE, REVOKED),
        ("2 after commit", Rule { after_commit: 2, ..rule }, TAKEOVER, REVOKED),
        ("2 after commit", Rule { after_commit: 2, ..rule }, CLOCK_JUMP, REVOKED),
        (
            "quick for the recorded server",
            Rule { quick_if_opened_there: false, ..rule },
            RAISE_TAKEN_UP,
            REVOKED,
        ),
        ("keys stay", Rule { clear_first: false, ..rule }, SWITCHES, REVOKED),
        ("any keys cleared", Rule { clear_names_server: false, ..rule }, SWITCHES, REVOKED),
        ("0 after clearing", Rule { after_clearing: 0, ..rule }, SWITCHES, REVOKED),
        (
            "stock of any server",
            Rule { script_checks_loaded_for: false, ..rule },
            SWITCHES,
            SOLD_TWICE,
        ),
        ("any replication id", Rule { script_checks_replid: false, ..rule }, RESYNC, SOLD_TWICE),
    ] {
        assert_eq!(broken(name, without, faults), Some(what), "{name}");
    }
}

/// A limit of what is built: looks believe the stream's leader. One that was deposed and has not
/// heard of it, while Postgres is silent and the sale is rebuilt elsewhere, lets an instance go on.
/// A look that publishes before it reads would close the gap.
#[test]
fn looks_believe_a_deposed_leader() {
    let faults = Faults { takeovers: 1, ..STALE_LEADER };
    assert_eq!(broken("a deposed leader", Rule::BUILT, faults), Some(REVOKED));
    let asked = Rule { looks_need_quorum: true, ..Rule::BUILT };
    assert_eq!(broken("a leader with its quorum", asked, faults), None);
}

/// What keeps sales open and avoids needless raises takes no part in the argument that an
/// acceptance stands. All are left out at once: each of them only forbids steps.
#[test]
fn safety_needs_no_more() {
    let less = Rule {
        row_lock: false,
        read_after_update: false,
        raise_checks_server: false,
        stale: 0,
        redis_half: false,
        ..Rule::BUILT
    };
    let one_path = Rule { quick_path: false, clear_first: false, ..Rule::BUILT };
    for (name, faults) in [
        ("a raise taken up", RAISE_TAKEN_UP),
        ("a takeover", TAKEOVER),
        ("a replaced Postgres", OLD_POSTGRES),
    ] {
        assert_eq!(broken(name, less, faults), None, "{name}");
        assert_eq!(broken(name, one_path, faults), None, "{name}, one path");
    }
}

/// From every state that faults lead to, with the instances on one server or on both: the slowest
/// reopening in seconds and the most raises.
fn calm(name: &str, rule: Rule, faults: Faults, slow: Option<usize>) -> Result<(u8, u8), String> {
    let model = Model { rule, faults };
    let found = search(&model, MOST);
    let (mut slowest, mut most) = (0, 0);
    for (index, state) in found.states.iter().enumerate() {
        let places = [[0, 0], [1, 1], [0, 1], [1, 0]];
        for (at, dead) in places.into_iter().flat_map(|at| [(at, false), (at, true)]) {
            let outcome = model.calm(*state, at, dead, slow);
            let told = || format!("{name}, then at {at:?}:\n{}", story(&found.way_to(index)));
            let Some(open_after) = outcome.open_after else {
                let what = if outcome.raises > 2 { "raised without end" } else { "never open" };
                return Err(format!("{what}: {}", told()));
            };
            if outcome.was_served && outcome.raises > 0 {
                return Err(format!("needlessly raised: {}", told()));
            }
            (slowest, most) = (slowest.max(open_after), most.max(outcome.raises));
        }
    }
    println!("{name}: {} states, open within {slowest} s, {most} raises", found.states.len());
    Ok((slowest, most))
}

#[test]
fn a_sale_opens_again() {
    for (name, faults, within) in [
        ("raises that died", RAISE_TAKEN_UP, 6),
        ("a takeover", TAKEOVER, 14),
        ("a resync", Faults { switches: 0, ..RESYNC }, 6),
        ("a clock ahead", CLOCK_JUMP, 6),
    ] {
        let (slowest, most) = calm(name, Rule::BUILT, faults, None).unwrap();
        assert!(slowest <= within && most <= 1, "{name}: {slowest} s, {most} raises");
    }
}

/// Reading that a sale is closed and raising its epoch are two steps. In between another instance
/// may open it, and raised then it would be closed again.
#[test]
fn sale_opened_meanwhile_is_not_raised() {
    let unchecked = Rule { raise_checks_open: false, ..Rule::BUILT };
    for (name, faults, within) in [
        ("raises that died", RAISE_TAKEN_UP, 6),
        ("a resync", Faults { switches: 0, ..RESYNC }, 6),
        ("a clock ahead", CLOCK_JUMP, 6),
    ] {
        for slow in [Some(0), Some(1)] {
            let (slowest, most) = calm(name, Rule::BUILT, faults, slow).unwrap();
            assert!(slowest <= within && most <= 1, "{name}: {slowest} s, {most} raises");
        }
        let told = calm(name, unchecked, faults, Some(1)).unwrap_err();
        assert!(told.starts_with("raised without end"), "{name}: {told}");
    }
}

#[test]
fn liveness_needs_its_safeguards() {
    let rule = Rule::BUILT;
    for (name, without, faults, what) in [
        (
            "any server raises",
            Rule { raise_checks_server: false, ..rule },
            ONE_RAISE,
            "raised without end",
        ),
        ("a takeover for good", Rule { takeover_lapses: false, ..rule }, TAKEOVER, "never open"),
        (
            "age by Postgres' clock",
            Rule { stale_by_two_reads: false, ..rule },
            ONE_RAISE,
            "needlessly raised",
        ),
    ] {
        let told = calm(name, without, faults, None).unwrap_err();
        println!("{told}");
        assert!(told.starts_with(what), "{name}: {told}");
    }
}

/// A model in which nothing happens would hold vacuously.
#[test]
fn everything_happens() {
    let faults = Faults { raises: 2, switches: 1, resyncs: 1, raisers: 1, ..NO_FAULTS };
    let found = run(Rule::BUILT, faults);
    let open = |epoch| found.states.iter().any(|state| state.open && state.epoch == epoch);
    assert!(open(1) && open(2) && open(3));
    let covered = |epoch| {
        let in_epoch = |state: &&model::State| {
            state.acceptor.order.is_some_and(|order| order.taken && order.epoch == epoch)
        };
        found.states.iter().any(|state| in_epoch(&state))
    };
    assert!(covered(1) && covered(2) && covered(3));
    let extended = |state: &model::State| {
        state.acceptor.cover.is_some_and(|cover| cover.age > 2)
            && state.acceptor.order.is_some_and(|order| order.age == 0 && order.taken)
    };
    assert!(found.states.iter().any(extended), "accepted while Postgres is silent");
}
