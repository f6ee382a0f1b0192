//! Reading the scripts' replies.

use std::vec;

use flashsale_record::{FIRST_PRICE_REVISION, SaleState};
use fred::types::Value;

use crate::domain::{AdmissionFault, HoldState, Refusal, SkuBooks, Terms};

/// How many values `read.lua` returns for each sku.
const COLUMNS: usize = 8;

/// A script's reply: a word, the store's time, and the values that go with the word.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) word: String,
    /// The store's clock, in milliseconds since 1970.
    pub(super) now_ms: i64,
    rest: vec::IntoIter<Value>,
}

pub(super) fn unreadable(what: &str) -> Refusal {
    Refusal::Fault { cause: format!("a script's reply cannot be read: {what}") }
}

/// A price as it is stored: in minor units, with its revision behind a comma unless that is the
/// first.
fn price(stored: &str) -> Option<(i64, i64)> {
    match stored.split_once(',') {
        None => Some((stored.parse().ok()?, FIRST_PRICE_REVISION)),
        Some((price, revision)) => Some((price.parse().ok()?, revision.parse().ok()?)),
    }
}

impl Reply {
    pub(super) fn read(value: Value) -> Result<Self, Refusal> {
        let Value::Array(values) = value else { return Err(unreadable("it is not an array")) };
        let mut reply = Self { word: String::new(), now_ms: 0, rest: values.into_iter() };
        reply.word = reply.text()?;
        reply.now_ms = reply.int()?;
        Ok(reply)
    }

    /// The next value, itself the reply to one request of a batch.
    pub(super) fn part(&mut self) -> Result<Self, Refusal> {
        let mut part =
            Self { word: String::new(), now_ms: self.now_ms, rest: self.list()?.into_iter() };
        part.word = part.text()?;
        Ok(part)
    }

    pub(super) fn has_more(&self) -> bool {
        !self.rest.as_slice().is_empty()
    }

    /// The next value, a text.
    pub(super) fn text(&mut self) -> Result<String, Refusal> {
        self.rest.next().and_then(Value::into_string).ok_or_else(|| unreadable("a text is missing"))
    }

    /// The next value, a text with invalid UTF-8 replaced.
    pub(super) fn lossy(&mut self) -> Result<String, Refusal> {
        let value = self.rest.next().ok_or_else(|| unreadable("a text is missing"))?;
        let bytes = value.as_bytes().ok_or_else(|| unreadable("a value is not text"))?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The next value, a whole number.
    pub(super) fn int(&mut self) -> Result<i64, Refusal> {
        self.rest
            .next()
            .and_then(|value| value.as_i64())
            .ok_or_else(|| unreadable("a number is missing"))
    }

    /// The next value, a list.
    pub(super) fn list(&mut self) -> Result<Vec<Value>, Refusal> {
        match self.rest.next() {
            Some(Value::Array(list)) => Ok(list),
            _ => Err(unreadable("a list is missing")),
        }
    }

    fn sale_state(&mut self) -> Result<SaleState, Refusal> {
        let name = self.text()?;
        SaleState::parse(&name).ok_or_else(|| unreadable("a sale's state"))
    }

    /// The next values, the terms with which the reply of `read.lua` begins.
    pub(super) fn terms(&mut self) -> Result<Terms, Refusal> {
        Ok(Terms {
            version: self.int()?,
            state: self.sale_state()?,
            starts_ms: self.int()?,
            ends_ms: self.int()?,
            begun: self.int()? == 1,
            over: self.int()? == 1,
            currency: self.text()?,
            price_revision: self.int()?,
            next_prices_ms: Some(self.int()?).filter(|at_ms| *at_ms > 0),
        })
    }

    /// The rest of the reply of `read.lua`, as the books of `skus` in their order.
    pub(super) fn books(&mut self, skus: &[String]) -> Result<Vec<SkuBooks>, Refusal> {
        let mut values = Vec::with_capacity(COLUMNS * skus.len());
        while self.has_more() {
            values.extend(self.list()?);
        }
        let incomplete = || unreadable("a sku's books are not complete");
        let mut values = values.into_iter();
        let mut next = || values.next().ok_or_else(incomplete);
        let int = |value: Value| value.as_i64().ok_or_else(incomplete);
        skus.iter()
            .map(|sku| {
                let (allotted, available) = (int(next()?)?, int(next()?)?);
                let (held, placed, sold) = (int(next()?)?, int(next()?)?, int(next()?)?);
                let per_buyer_limit = int(next()?)?;
                let (price_minor, price_revision) =
                    next()?.into_string().as_deref().and_then(price).ok_or_else(incomplete)?;
                let regular = next()?;
                Ok(SkuBooks {
                    sku: sku.clone(),
                    allotted,
                    available,
                    held,
                    placed,
                    sold,
                    price_minor,
                    price_revision,
                    regular_minor: if regular.is_null() { None } else { Some(int(regular)?) },
                    per_buyer_limit,
                })
            })
            .collect()
    }

    /// The refusal that this reply is, for a word that the caller did not expect.
    pub(super) fn refusal(mut self) -> Refusal {
        match self.read_refusal() {
            Ok(refusal) | Err(refusal) => refusal,
        }
    }

    fn read_refusal(&mut self) -> Result<Refusal, Refusal> {
        Ok(match self.word.as_str() {
            "FENCED" | "OVERTAKEN" => Refusal::Fenced,
            "TOO_LATE" => Refusal::TooLate,
            "REUSED" => Refusal::RequestReused,
            "NOT_OPEN" => {
                let state = self.sale_state()?;
                Refusal::NotOpen { state, window_ms: Some((self.int()?, self.int()?)) }
            }
            "ADMISSION" => {
                let verdict = self.text()?;
                Refusal::Admission(
                    AdmissionFault::parse(&verdict).ok_or_else(|| unreadable("a verdict"))?,
                )
            }
            "SPENT" => Refusal::AdmissionSpent { hold_id: self.text()? },
            "WITHDRAWN" => Refusal::AdmissionWithdrawn,
            "NO_SKU" => Refusal::SkuUnknown { sku: self.text()? },
            "LIMIT" => Refusal::BuyerLimit {
                sku: self.text()?,
                limit: self.int()?,
                has: self.int()?,
                requested: self.int()?,
            },
            "SOLD_OUT" => Refusal::SoldOut {
                sku: self.text()?,
                available: self.int()?,
                requested: self.int()?,
            },
            "TOO_MUCH" => Refusal::TotalTooHigh { most_minor: self.int()?, currency: self.text()? },
            "PRICE" => {
                let expected = self.text()?;
                let expected = expected.split_once(',').and_then(|(minor, _)| minor.parse().ok());
                Refusal::PriceChanged {
                    expected_minor: expected.ok_or_else(|| unreadable("an expected total"))?,
                    total_minor: self.int()?,
                    currency: self.text()?,
                }
            }
            "NO_HOLD" => Refusal::HoldUnknown,
            "EXPIRED" => Refusal::HoldExpired { deadline_ms: self.int()? },
            "AT_MAXIMUM" => Refusal::HoldAtMaximum { deadline_ms: self.int()? },
            "RESOLVED" => {
                let state = self.text()?;
                Refusal::HoldResolved {
                    state: HoldState::parse(&state).ok_or_else(|| unreadable("a state"))?,
                }
            }
            word => unreadable(word),
        })
    }
}
