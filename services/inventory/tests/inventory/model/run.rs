//! One sequence, run on the store and on the model.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use flashsale_inventory::{
    domain::{
        self, AdmissionFault, Delta, HoldId, Outcome, Proof, Refusal, Settled, Settlement, SkuBooks,
    },
    store::keys,
};
use fred::types::Value;
use proptest::{prelude::*, test_runner::TestCaseError};
use uuid::Uuid;

use super::{
    steps::{Ask, BUYERS, DETAILS, End, OrderOf, SKUS, Settling, Step, UNKNOWN_SKU},
    stock::{Asked, HOLD, Hold, Lines, Model, Sku, State, What},
    words::{request, word},
};
use crate::world::{SaleSpec, World, good};

type Checked = Result<(), TestCaseError>;

/// The length of a step of the model's clock: long compared with what a sequence really takes, so
/// that no hold expires by real time.
const TICK_MS: i64 = 900_000;
/// The most real time that a sequence may take.
const SLACK_MS: i64 = 120_000;

/// Lets time pass: moves everything that a sale remembers into the past by that much.
const WAIT: &str = "
    for _, id in ipairs(redis.call('HKEYS', KEYS[1])) do
      local hold = cjson.decode(redis.call('HGET', KEYS[1], id))
      hold.d, hold.t = hold.d - DELTA, hold.t - DELTA
      hold.p = hold.p and hold.p - DELTA
      redis.call('HSET', KEYS[1], id, cjson.encode(hold))
    end
    for i = 2, 3 do
      for _, id in ipairs(redis.call('ZRANGE', KEYS[i], 0, -1)) do
        redis.call('ZINCRBY', KEYS[i], -DELTA, id)
      end
    end";

/// The final state, as of one instant.
const BEHIND: &str = "
    return { redis.call('HGETALL', KEYS[1]), redis.call('ZRANGE', KEYS[2], 0, -1, 'WITHSCORES'),
      redis.call('ZRANGE', KEYS[3], 0, -1, 'WITHSCORES'), redis.call('HGETALL', KEYS[4]) }";

/// The first words of the answers, and how often each occurred.
pub(super) type Words = RefCell<BTreeMap<String, u32>>;

pub(super) async fn run(world: &World, words: &Words, room: bool, steps: &[Step]) -> Checked {
    let spec = SaleSpec { hold_ms: HOLD * TICK_MS, room, ..SaleSpec::default() };
    let sale = world.sale(spec, &SKUS).await;
    let sku = |(sku, allotted, limit, price): (&str, i64, i64, i64)| {
        (sku.to_owned(), Sku { allotted, limit, price })
    };
    let mut run = Run {
        world,
        words,
        sale,
        model: Model::new(sale, room, SKUS.map(sku).into()),
        began_ms: SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64,
        sent: Vec::new(),
        adjusted: Vec::new(),
        deadlines: BTreeMap::new(),
        placed: BTreeMap::new(),
    };
    for step in steps {
        run.step(step).await?;
        run.compare_behind().await?;
    }
    run.compare_holds().await
}

struct Run<'a> {
    world: &'a World,
    words: &'a Words,
    sale: Uuid,
    model: Model,
    began_ms: i64,
    sent: Vec<Asked>,
    adjusted: Vec<(Uuid, usize, i64)>,
    /// To the millisecond, as answered.
    deadlines: BTreeMap<Uuid, i64>,
    placed: BTreeMap<Uuid, i64>,
}

impl Run<'_> {
    fn heard(&self, answer: &str) {
        let word = answer.split(' ').next().unwrap_or_default();
        *self.words.borrow_mut().entry(word.to_owned()).or_default() += 1;
    }

    async fn step(&mut self, step: &Step) -> Checked {
        match step {
            Step::Ask(ask, admission) => {
                let (buyer, what) = self.what(ask);
                let asked = Asked { buyer, request_id: Uuid::new_v4(), what };
                self.sent.push(asked.clone());
                self.ask(&asked, *admission).await
            }
            Step::Again(of, admission) => {
                let Some(asked) = picked(&self.sent, *of).cloned() else { return Ok(()) };
                self.ask(&asked, *admission).await
            }
            Step::Reuse(of, ask) => {
                let Some(asked) = picked(&self.sent, *of).cloned() else { return Ok(()) };
                let what = self.what(ask).1;
                self.ask(&Asked { what, ..asked }, Some(0)).await
            }
            Step::Settle(settlements) => self.settle(settlements).await,
            Step::Sweep(limit) => {
                let swept = self.world.inventory.sweep(self.sale, 1, *limit).await.unwrap();
                let deadlines = &self.deadlines;
                let expected = self.model.sweep(*limit, |hold| deadlines[&hold]);
                prop_assert_eq!((swept.ended, swept.over), expected, "a sweep");
                self.heard(if swept.ended > 0 { "swept" } else { "nothing_swept" });
                Ok(())
            }
            Step::Adjust(sku, delta) => {
                let adjusted = (Uuid::new_v4(), *sku, *delta);
                self.adjusted.push(adjusted);
                self.adjust(adjusted).await
            }
            Step::AdjustAgain(of, more) => {
                let Some(&(id, sku, delta)) = picked(&self.adjusted, *of) else { return Ok(()) };
                self.adjust((id, sku, delta + more)).await
            }
            Step::Wait(ticks) => {
                self.wait(*ticks).await;
                Ok(())
            }
            Step::Keep(hold, times) => {
                let held = |hold: &&Hold| self.model.seen(hold) == State::Held;
                let held: Vec<Hold> = self.model.holds.iter().filter(held).cloned().collect();
                let Some(hold) = picked(&held, *hold) else { return Ok(()) };
                for _ in 0..*times {
                    // At the last tick: the deadline is another one after each extension.
                    let ends = self.model.hold(hold.id).map_or(hold.ends, |hold| hold.ends);
                    self.wait((ends - self.model.now - 1).max(0)).await;
                    let (buyer, what) = (hold.buyer.clone(), What::Extend(hold.id));
                    let asked = Asked { buyer, request_id: Uuid::new_v4(), what };
                    self.ask(&asked, None).await?;
                }
                Ok(())
            }
            Step::Turn(state) => {
                let set = match *state {
                    "OPEN" => "state = 'OPEN'",
                    "PAUSED" => "state = 'PAUSED'",
                    _ => "state = 'ENDED'",
                };
                self.world.change_sale(self.sale, set).await;
                self.model.state = state;
                Ok(())
            }
        }
    }

    async fn wait(&mut self, ticks: i64) {
        let passed = ticks * TICK_MS;
        let [_, _, holds, deadlines, pending, ..] = all_keys(self.sale);
        let script = format!("local DELTA = {passed}{WAIT}");
        self.world.lua(&script, vec![holds, deadlines, pending]).await;
        self.model.now += ticks;
        let times = self.deadlines.values_mut().chain(self.placed.values_mut());
        times.for_each(|time| *time -= passed);
    }

    /// The buyer and the request, in full.
    fn what(&self, ask: &Ask) -> (String, What) {
        let details = |index: usize| DETAILS[index].to_owned();
        // An unknown hold, as long as there is none.
        let hold = |pick: usize, foreign: bool| match picked(&self.model.holds, pick) {
            Some(hold) if foreign => (next_buyer(&hold.buyer), hold.id),
            Some(hold) => (hold.buyer.clone(), hold.id),
            None => (buyer(0), Uuid::nil()),
        };
        match ask {
            Ask::Reserve { buyer: index, lines } => (buyer(*index), What::Reserve(summed(lines))),
            Ask::Place { buyer: index, lines, details: with } => {
                (buyer(*index), What::Place(summed(lines), details(*with)))
            }
            Ask::PlaceHold { hold: pick, foreign, details: with } => {
                let (buyer, id) = hold(*pick, *foreign);
                (buyer, What::PlaceHold(id, details(*with)))
            }
            Ask::Extend { hold: pick, foreign } => {
                let (buyer, id) = hold(*pick, *foreign);
                (buyer, What::Extend(id))
            }
            Ask::Release { hold: pick, foreign } => {
                let (buyer, id) = hold(*pick, *foreign);
                (buyer, What::Release(id))
            }
        }
    }

    async fn ask(&mut self, asked: &Asked, admission: Option<usize>) -> Checked {
        let admission = admission.map(|number| format!("admission-{number}"));
        let proof = match &admission {
            Some(id) => good(id),
            None => Proof::Fault(AdmissionFault::Required),
        };
        let answer = self.world.ask_with(&request(self.sale, asked), &proof).await;
        let expected = self.model.ask(asked, admission.as_deref());
        match answer {
            Ok(answer) => {
                self.heard(if answer.replayed { "replayed" } else { "done" });
                prop_assert_eq!(
                    Ok((answer.hold.hold_id, answer.replayed)),
                    expected,
                    "{:?}",
                    asked
                );
                self.check_hold(&answer.hold)
            }
            Err(refusal) => {
                self.heard(&word(&refusal));
                prop_assert_eq!(Err(word(&refusal)), expected, "{:?}", asked);
                Ok(())
            }
        }
    }

    async fn settle(&mut self, settlements: &[Settling]) -> Checked {
        let (mut asked, mut expected) = (Vec::new(), Vec::new());
        for Settling { hold, of_all, end, order: of } in settlements {
            let holds = &self.model.holds;
            let of_orders: Vec<&Hold> =
                holds.iter().filter(|hold| *of_all || hold.order.is_some()).collect();
            let hold = picked(&of_orders, *hold).copied().or(picked(holds, *hold));
            let order = |hold: Option<&Hold>| {
                Some(hold.and_then(|hold| Some(hold.order.as_ref()?.id)).unwrap_or(Uuid::nil()))
            };
            let order_id = match of {
                OrderOf::Any => None,
                OrderOf::TheHold => order(hold),
                OrderOf::AnotherHold(other) => order(picked(&self.model.holds, *other)),
            };
            let hold_id = hold.map_or(Uuid::nil(), |hold| hold.id);
            let (outcome, state) = match end {
                End::Claimed => (Outcome::Claimed, None),
                End::Sold => (Outcome::Sold, Some(State::Sold)),
                End::Released => (Outcome::Released, Some(State::Released)),
            };
            asked.push(Settlement { hold_id, outcome, order_id });
            expected.push(self.model.settle(hold_id, state, order_id));
        }
        let settled = self.world.inventory.settle(self.sale, &asked).await.unwrap();
        let word = |settled: Settled| match settled {
            Settled::Done => "DONE",
            Settled::Already => "ALREADY",
            Settled::Unknown => "UNKNOWN",
            Settled::Conflict => "CONFLICT",
        };
        let settled: Vec<&str> = settled.into_iter().map(word).collect();
        settled.iter().for_each(|word| self.heard(word));
        prop_assert_eq!(settled, expected, "{:?}", asked);
        Ok(())
    }

    async fn adjust(&mut self, (request_id, sku, by): (Uuid, usize, i64)) -> Checked {
        let Some(delta) = Delta::new(by) else { return Ok(()) };
        let (sku, reason) = (sku_name(sku).to_owned(), "counted".to_owned());
        let expected = self.model.adjust(request_id, &sku, by);
        let asked =
            domain::AdjustmentRequest { request_id, sale_id: self.sale, sku, delta, reason };
        let answer = self.world.inventory.adjust(&asked).await;
        let answer = answer.map(|_| ()).map_err(|refusal| word(&refusal));
        self.heard(answer.as_ref().err().map_or("adjusted", |word| word));
        prop_assert_eq!(answer, expected, "{:?}", asked);
        Ok(())
    }

    /// Compares a hold in an answer with the model's, and records its times.
    fn check_hold(&mut self, answered: &domain::Hold) -> Checked {
        let Some(hold) = self.model.hold(answered.hold_id) else {
            return Err(TestCaseError::fail(format!("the model has no hold {answered:?}")));
        };
        let lines = hold.lines.iter().map(|(sku, units)| domain::PlacedLine {
            sku: sku.clone(),
            quantity: *units,
            price_minor: self.model.skus[sku].price,
            price_revision: 1,
        });
        prop_assert_eq!(&answered.lines, &lines.collect::<Vec<_>>());
        prop_assert_eq!(&answered.buyer_id, &hold.buyer);
        prop_assert_eq!(format!("{:?}", answered.state), format!("{:?}", self.model.seen(hold)));
        prop_assert_eq!(&answered.admission_id, &hold.admission);
        prop_assert_eq!((answered.currency.as_str(), answered.epoch), ("EUR", 1));
        let order = hold.order.as_ref();
        prop_assert_eq!(answered.order_id, order.map(|order| order.id));
        let request_id = order.map(|order| order.request_id.to_string());
        prop_assert_eq!(&answered.request_id, &request_id);
        let details = order.filter(|order| order.waits).map_or("", |order| &order.details);
        prop_assert_eq!(&answered.details, details);
        prop_assert_eq!(answered.placed_ms.is_some(), order.is_some());
        let late = answered.deadline_ms - (self.began_ms + (hold.ends - self.model.now) * TICK_MS);
        prop_assert!((-1_000..SLACK_MS).contains(&late), "the deadline is {} ms off", late);
        self.deadlines.insert(answered.hold_id, answered.deadline_ms);
        if let Some(placed) = answered.placed_ms {
            self.placed.entry(answered.hold_id).or_insert(placed);
            prop_assert_eq!(placed, self.placed[&answered.hold_id], "when it was placed");
        }
        Ok(())
    }

    /// Compares the books, deadlines, waiting orders and buyers' units in the store.
    async fn compare_behind(&self) -> Checked {
        let [_, stock, _, deadlines, pending, _, _, buyers, _] = all_keys(self.sale);
        let behind = self.world.lua(BEHIND, vec![stock, deadlines, pending, buyers]).await;
        let behind: Vec<Value> = behind.convert().unwrap();
        let numbers = |index: usize| -> BTreeMap<String, i64> {
            behind[index].clone().convert::<BTreeMap<String, i64>>().unwrap()
        };
        let mut stock = BTreeMap::new();
        let mut buyers = BTreeMap::new();
        let mut books = Vec::new();
        for (name, sku) in &self.model.skus {
            let columns = [
                ("t", sku.allotted),
                ("a", self.model.available(name)),
                ("h", self.model.in_state(name, State::Held)),
                ("p", self.model.in_state(name, State::Placed)),
                ("s", self.model.in_state(name, State::Sold)),
                ("l", sku.limit),
                ("m", sku.price),
            ];
            books.push(SkuBooks {
                sku: name.clone(),
                allotted: sku.allotted,
                available: self.model.available(name),
                held: self.model.in_state(name, State::Held),
                placed: self.model.in_state(name, State::Placed),
                sold: self.model.in_state(name, State::Sold),
                price_minor: sku.price,
                price_revision: 1,
                regular_minor: None,
                per_buyer_limit: sku.limit,
            });
            stock.extend(columns.map(|(column, units)| (format!("{column}:{name}"), units)));
            for buyer in (0..BUYERS).map(buyer) {
                buyers.insert(format!("{name}\u{1f}{buyer}"), self.model.of_buyer(name, &buyer));
            }
        }
        prop_assert_eq!(numbers(0), stock, "the books");
        let read = self.world.inventory.read(self.sale, &[]).await.unwrap();
        prop_assert_eq!(read.skus, books, "the books as they are read");
        buyers.retain(|_, units| *units != 0);
        let mut counted = numbers(3);
        counted.retain(|_, units| *units != 0);
        prop_assert_eq!(counted, buyers, "units of buyers");
        let times = |of: fn(&Hold) -> bool, times: &BTreeMap<Uuid, i64>| -> BTreeMap<String, i64> {
            let held = self.model.holds.iter().filter(|hold| of(hold));
            held.map(|hold| (hold.id.to_string(), times[&hold.id])).collect()
        };
        let held = times(|hold| hold.state == State::Held, &self.deadlines);
        prop_assert_eq!(numbers(1), held, "deadlines");
        let waits = times(|hold| hold.order.as_ref().is_some_and(|o| o.waits), &self.placed);
        prop_assert_eq!(numbers(2), waits, "orders that wait");
        Ok(())
    }

    /// Compares every hold, by its id and by its order's, and the list of waiting holds.
    async fn compare_holds(&mut self) -> Checked {
        let inventory = &self.world.inventory;
        for hold in self.model.holds.clone() {
            let read = inventory.hold(self.sale, HoldId::Hold(hold.id), None).await.unwrap();
            prop_assert_eq!(read.hold_id, hold.id);
            self.check_hold(&read)?;
            let foreign = next_buyer(&hold.buyer);
            let of = inventory.hold(self.sale, HoldId::Hold(hold.id), Some(&foreign)).await;
            prop_assert_eq!(of, Err(Refusal::HoldUnknown));
            if let Some(order) = &hold.order {
                let id = HoldId::Order(order.id);
                prop_assert_eq!(inventory.hold(self.sale, id, Some(&hold.buyer)).await, Ok(read));
            }
        }
        let listed =
            inventory.list_placed(self.sale, i64::MAX / 1_000_000, 100).await.unwrap().placed;
        let mut waits: Vec<(i64, String)> = self
            .model
            .holds
            .iter()
            .filter(|hold| hold.order.as_ref().is_some_and(|order| order.waits))
            .map(|hold| (self.placed[&hold.id], hold.id.to_string()))
            .collect();
        waits.sort();
        let ids: Vec<String> = listed.iter().map(|hold| hold.hold_id.to_string()).collect();
        prop_assert_eq!(ids, waits.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
        listed.iter().try_for_each(|hold| self.check_hold(hold))
    }
}

fn all_keys(sale: Uuid) -> [String; 9] {
    keys(sale).try_into().unwrap()
}

fn picked<T>(all: &[T], pick: usize) -> Option<&T> {
    all.get(pick % all.len().max(1))
}

fn buyer(index: usize) -> String {
    format!("buyer-{index}")
}

fn next_buyer(name: &str) -> String {
    let index = (0..BUYERS).find(|index| buyer(*index) == name).unwrap();
    buyer((index + 1) % BUYERS)
}

fn sku_name(index: usize) -> &'static str {
    SKUS.get(index).map_or(UNKNOWN_SKU, |sku| sku.0)
}

fn summed(asked: &[(usize, i64)]) -> Lines {
    let mut lines = Lines::new();
    for (sku, units) in asked {
        *lines.entry(sku_name(*sku).to_owned()).or_default() += units;
    }
    lines
}
