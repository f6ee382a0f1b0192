//! A model of stock in plain Rust: it has no counters and shares nothing with the service. Every
//! sum is computed from the holds.

use std::collections::BTreeMap;

use uuid::Uuid;

/// The length of a hold, and the most with all its extensions, in steps of this model's clock.
pub(super) const HOLD: i64 = 4;
const LONGEST: i64 = 12;

pub(super) type Lines = BTreeMap<String, i64>;

/// A request, with everything that its id binds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    Reserve(Lines),
    Place(Lines, String),
    PlaceHold(Uuid, String),
    Extend(Uuid),
    Release(Uuid),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) buyer: String,
    pub(super) request_id: Uuid,
    pub(super) what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Held,
    Placed,
    Sold,
    Released,
    Expired,
}

#[derive(Debug, Clone)]
pub(super) struct Order {
    pub(super) id: Uuid,
    pub(super) request_id: Uuid,
    pub(super) details: String,
    /// The record is not known to have it.
    pub(super) waits: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Hold {
    pub(super) id: Uuid,
    pub(super) buyer: String,
    /// Regardless of the clock.
    pub(super) state: State,
    pub(super) taken: i64,
    pub(super) ends: i64,
    pub(super) lines: Lines,
    pub(super) admission: Option<String>,
    pub(super) order: Option<Order>,
}

#[derive(Debug, Clone)]
pub(super) struct Sku {
    pub(super) allotted: i64,
    pub(super) limit: i64,
    pub(super) price: i64,
}

/// A hold in an answer, and whether the request was known; or the word of the refusal with its
/// numbers.
pub(super) type Answer = Result<(Uuid, bool), String>;

#[derive(Debug, Clone)]
pub(super) struct Model {
    sale: Uuid,
    pub(super) state: &'static str,
    pub(super) room: bool,
    pub(super) now: i64,
    pub(super) skus: BTreeMap<String, Sku>,
    /// In the order in which they were taken.
    pub(super) holds: Vec<Hold>,
    known: Vec<(Asked, Uuid)>,
    adjusted: BTreeMap<Uuid, (String, i64, Result<(), String>)>,
}

impl Model {
    pub(super) fn new(sale: Uuid, room: bool, skus: BTreeMap<String, Sku>) -> Self {
        let (holds, known, adjusted) = Default::default();
        Self { sale, state: "OPEN", room, now: 0, skus, holds, known, adjusted }
    }

    pub(super) fn hold(&self, id: Uuid) -> Option<&Hold> {
        self.holds.iter().find(|hold| hold.id == id)
    }

    /// The state in which a hold reads now.
    pub(super) fn seen(&self, hold: &Hold) -> State {
        let over = hold.state == State::Held && hold.ends <= self.now;
        if over { State::Expired } else { hold.state }
    }

    /// Units of a sku in holds that satisfy this.
    fn units(&self, sku: &str, of: impl Fn(&Hold) -> bool) -> i64 {
        self.holds.iter().filter(|hold| of(hold)).filter_map(|hold| hold.lines.get(sku)).sum()
    }

    pub(super) fn in_state(&self, sku: &str, state: State) -> i64 {
        self.units(sku, |hold| hold.state == state)
    }

    pub(super) fn available(&self, sku: &str) -> i64 {
        self.skus[sku].allotted - self.units(sku, has_units)
    }

    pub(super) fn of_buyer(&self, sku: &str, buyer: &str) -> i64 {
        self.units(sku, |hold| hold.buyer == buyer && has_units(hold))
    }

    /// The id that follows from a buyer's request, of the hold it takes and of the order it places.
    pub(super) fn key(&self, buyer: &str, request_id: Uuid) -> Uuid {
        Uuid::new_v5(&self.sale, format!("{buyer}\u{1f}{request_id}").as_bytes())
    }

    pub(super) fn ask(&mut self, asked: &Asked, admission: Option<&str>) -> Answer {
        let before = self
            .known
            .iter()
            .find(|(known, _)| known.buyer == asked.buyer && known.request_id == asked.request_id);
        if let Some((known, hold)) = before {
            return if known == asked { Ok((*hold, true)) } else { refused("REUSED") };
        }
        let hold = match &asked.what {
            What::Reserve(lines) => self.take(asked, lines, None, admission),
            What::Place(lines, details) => self.take(asked, lines, Some(details), admission),
            What::PlaceHold(id, details) => self.place(asked, *id, details),
            What::Extend(id) => self.extend(&asked.buyer, *id),
            What::Release(id) => self.release(&asked.buyer, *id),
        }?;
        self.known.push((asked.clone(), hold));
        Ok((hold, false))
    }

    fn take(
        &mut self,
        asked: &Asked,
        lines: &Lines,
        details: Option<&String>,
        admission: Option<&str>,
    ) -> Result<Uuid, String> {
        let id = self.key(&asked.buyer, asked.request_id);
        if self.state != "OPEN" {
            return refused(format!("NOT_OPEN {}", self.state));
        }
        let admission = admission.filter(|_| self.room).map(str::to_owned);
        if self.room {
            let Some(mine) = &admission else { return refused("ADMISSION") };
            if let Some(spent) = self.holds.iter().find(|h| h.admission.as_ref() == Some(mine)) {
                return refused(format!("SPENT {}", spent.id));
            }
        }
        if let Some(sku) = lines.keys().find(|sku| !self.skus.contains_key(*sku)) {
            return refused(format!("NO_SKU {sku}"));
        }
        for (sku, asks) in lines {
            let (limit, has) = (self.skus[sku].limit, self.of_buyer(sku, &asked.buyer));
            if limit > 0 && has + asks > limit {
                return refused(format!("LIMIT {sku} {limit} {has} {asks}"));
            }
        }
        for (sku, asks) in lines {
            let available = self.available(sku);
            if available < *asks {
                return refused(format!("SOLD_OUT {sku} {available} {asks}"));
            }
        }
        let order = details.map(|details| Order {
            id,
            request_id: asked.request_id,
            details: details.clone(),
            waits: true,
        });
        self.holds.push(Hold {
            id,
            buyer: asked.buyer.clone(),
            state: if order.is_some() { State::Placed } else { State::Held },
            taken: self.now,
            ends: self.now + HOLD,
            lines: lines.clone(),
            admission,
            order,
        });
        Ok(id)
    }

    /// The buyer's hold, as long as it is held.
    fn held(&mut self, buyer: &str, id: Uuid) -> Result<&mut Hold, String> {
        let now = self.now;
        let hold = self.holds.iter_mut().find(|hold| hold.id == id && hold.buyer == buyer);
        let Some(hold) = hold else { return refused("NO_HOLD") };
        match hold.state {
            State::Held if hold.ends > now => Ok(hold),
            State::Held | State::Expired => refused("EXPIRED"),
            state @ (State::Placed | State::Sold | State::Released) => {
                refused(format!("RESOLVED {state:?}"))
            }
        }
    }

    fn place(&mut self, asked: &Asked, id: Uuid, details: &str) -> Result<Uuid, String> {
        let order = self.key(&asked.buyer, asked.request_id);
        let hold = self.held(&asked.buyer, id)?;
        hold.state = State::Placed;
        let (request_id, details) = (asked.request_id, details.to_owned());
        hold.order = Some(Order { id: order, request_id, details, waits: true });
        Ok(id)
    }

    fn extend(&mut self, buyer: &str, id: Uuid) -> Result<Uuid, String> {
        let until = self.now + HOLD;
        let hold = self.held(buyer, id)?;
        let latest = hold.taken + LONGEST;
        if hold.ends >= latest {
            return refused("AT_MAXIMUM");
        }
        hold.ends = until.min(latest);
        Ok(id)
    }

    fn release(&mut self, buyer: &str, id: Uuid) -> Result<Uuid, String> {
        let now = self.now;
        let hold = self.holds.iter_mut().find(|hold| hold.id == id && hold.buyer == buyer);
        let Some(hold) = hold else { return refused("NO_HOLD") };
        match hold.state {
            State::Held => {
                hold.state = if hold.ends > now { State::Released } else { State::Expired };
            }
            State::Released | State::Expired => {}
            State::Placed | State::Sold => return refused(format!("RESOLVED {:?}", hold.state)),
        }
        Ok(id)
    }

    /// Settles a hold; `end` is `None` when the record has taken the order over.
    pub(super) fn settle(
        &mut self,
        id: Uuid,
        end: Option<State>,
        of: Option<Uuid>,
    ) -> &'static str {
        let Some(hold) = self.holds.iter_mut().find(|hold| hold.id == id) else { return "UNKNOWN" };
        let carried = hold.order.as_ref().map(|order| order.id);
        if of.is_some() && of != carried {
            return "UNKNOWN";
        }
        let Some(order) = &mut hold.order else { return "CONFLICT" };
        match end {
            None if order.waits => {}
            None => return "ALREADY",
            Some(end) if hold.state == end => return "ALREADY",
            Some(end) if hold.state == State::Placed => hold.state = end,
            Some(_) => return "CONFLICT",
        }
        order.waits = false;
        "DONE"
    }

    /// Ends holds that are past their deadline, earliest by `deadline` first; returns how many, and
    /// whether none is left nor can come.
    pub(super) fn sweep(&mut self, limit: usize, deadline: impl Fn(Uuid) -> i64) -> (usize, bool) {
        let now = self.now;
        let mut due: Vec<&mut Hold> = self
            .holds
            .iter_mut()
            .filter(|hold| hold.state == State::Held && hold.ends <= now)
            .collect();
        due.sort_by_key(|hold| (deadline(hold.id), hold.id.to_string()));
        let swept = due.len().min(limit);
        for hold in due.into_iter().take(limit) {
            hold.state = State::Expired;
        }
        let none = self.holds.iter().all(|hold| hold.state != State::Held);
        (swept, self.state == "ENDED" && none)
    }

    pub(super) fn adjust(&mut self, request_id: Uuid, sku: &str, delta: i64) -> Result<(), String> {
        if let Some((of, by, outcome)) = self.adjusted.get(&request_id) {
            let same = of == sku && *by == delta;
            return if same { outcome.clone() } else { refused("REUSED") };
        }
        if !self.skus.contains_key(sku) {
            return refused(format!("NO_SKU {sku}"));
        }
        let available = self.available(sku);
        let outcome = if available + delta < 0 {
            refused(format!("COMMITTED {sku} {available} {}", -delta))
        } else {
            Ok(())
        };
        if let (Ok(()), Some(books)) = (&outcome, self.skus.get_mut(sku)) {
            books.allotted += delta;
        }
        self.adjusted.insert(request_id, (sku.to_owned(), delta, outcome.clone()));
        outcome
    }
}

fn has_units(hold: &Hold) -> bool {
    matches!(hold.state, State::Held | State::Placed | State::Sold)
}

fn refused<T>(word: impl Into<String>) -> Result<T, String> {
    Err(word.into())
}
