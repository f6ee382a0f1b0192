//! Requests: the key under which each is remembered, and the hash of its content.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::Lines;

/// A request of one buyer in one sale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub sale_id: Uuid,
    /// The buyer as the shop knows them; no control characters.
    pub buyer_id: String,
    /// The id that the caller chose.
    pub request_id: Uuid,
    pub content: Content,
}

/// What a request does to a hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Take units until a deadline.
    Reserve(Lines),
    /// Take units and place them.
    PlaceLines(Lines, Placing),
    /// Place this hold.
    PlaceHold(Uuid, Placing),
    /// Move this hold's deadline.
    Extend(Uuid),
    /// Give this hold's units back.
    Release(Uuid),
}

/// What is to be placed besides the units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Placing {
    /// What the order carries; JSON.
    pub details: String,
    /// What everything has to cost; `None` for any total.
    pub expected: Option<Amount>,
}

/// An amount of money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount {
    pub minor: i64,
    /// ISO 4217.
    pub currency: &'static str,
}

/// An operation on a hold. A request id binds one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Reserve,
    Place,
    Extend,
    Release,
}

impl Request {
    /// The key under which it is remembered: the UUIDv5 of (sale, buyer, request id), which is also
    /// the id of the hold that it takes and of the order that it places.
    pub fn key(&self) -> Uuid {
        let name = format!("{}\u{1f}{}", self.buyer_id, self.request_id.as_hyphenated());
        Uuid::new_v5(&self.sale_id, name.as_bytes())
    }

    /// The hash of the content, lower-case hexadecimal: SHA-256 over its parts, each preceded by
    /// its length, so that no two contents have the same input. Neither the request id nor the
    /// admission is part of it: a retry may carry an admission that was issued again.
    pub fn hash(&self) -> String {
        let mut hash = ContentHash(Sha256::new());
        hash.add(self.content.operation().as_str().as_bytes());
        hash.add(self.sale_id.as_bytes());
        hash.add(self.buyer_id.as_bytes());
        match &self.content {
            Content::Reserve(lines) => hash.add_lines(lines),
            Content::PlaceLines(lines, placing) => {
                hash.add(b"lines");
                hash.add_lines(lines);
                hash.add_placing(placing);
            }
            Content::PlaceHold(hold_id, placing) => {
                hash.add(b"hold");
                hash.add(hold_id.as_bytes());
                hash.add_placing(placing);
            }
            Content::Extend(hold_id) | Content::Release(hold_id) => hash.add(hold_id.as_bytes()),
        }
        format!("{:x}", hash.0.finalize())
    }
}

/// A hash over parts, each preceded by its length.
struct ContentHash(Sha256);

impl ContentHash {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// A total that is not expected adds nothing: the hashes of requests without one stay what they
    /// were before there were any.
    fn add_placing(&mut self, placing: &Placing) {
        self.add(placing.details.as_bytes());
        if let Some(Amount { minor, currency }) = &placing.expected {
            self.add(&minor.to_be_bytes());
            self.add(currency.as_bytes());
        }
    }

    fn add_lines(&mut self, lines: &Lines) {
        self.add(&(lines.len() as u64).to_be_bytes());
        for line in lines.iter() {
            self.add(line.sku.as_bytes());
            self.add(&line.quantity.to_be_bytes());
        }
    }
}

impl Content {
    /// What it does.
    pub fn operation(&self) -> Operation {
        match self {
            Self::Reserve(_) => Operation::Reserve,
            Self::PlaceLines(..) | Self::PlaceHold(..) => Operation::Place,
            Self::Extend(_) => Operation::Extend,
            Self::Release(_) => Operation::Release,
        }
    }
}

impl Operation {
    /// Its name in the scripts.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reserve => "reserve",
            Self::Place => "place",
            Self::Extend => "extend",
            Self::Release => "release",
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::collections::BTreeSet;

    use super::*;
    use crate::domain::Line;

    fn lines(asked: &[(&str, i64)]) -> Lines {
        Lines::new(
            asked
                .iter()
                .map(|(sku, quantity)| Line { sku: (*sku).to_owned(), quantity: *quantity }),
        )
        .unwrap()
    }

    fn request(buyer_id: &str, content: Content) -> Request {
        Request {
            sale_id: Uuid::from_u128(7),
            buyer_id: buyer_id.to_owned(),
            request_id: Uuid::from_u128(9),
            content,
        }
    }

    fn placing(details: &str, expected: Option<i64>) -> Placing {
        let expected = expected.map(|minor| Amount { minor, currency: "EUR" });
        Placing { details: details.to_owned(), expected }
    }

    /// A retry of a request that the version before has answered is the same request.
    #[test]
    fn hash_without_an_expected_total_is_that_of_the_version_before() {
        let hold = Content::PlaceHold(Uuid::from_u128(1), placing("{}", None));
        let mut hash = ContentHash(Sha256::new());
        hash.add(b"place");
        hash.add(Uuid::from_u128(7).as_bytes());
        hash.add(b"ada");
        hash.add(b"hold");
        hash.add(Uuid::from_u128(1).as_bytes());
        hash.add(b"{}");
        assert_eq!(request("ada", hold).hash(), format!("{:x}", hash.0.finalize()));
    }

    #[test]
    fn key_matches_other_services() {
        let request = request("ada", Content::Extend(Uuid::from_u128(1)));
        let name = b"ada\x1f00000000-0000-0000-0000-000000000009";
        assert_eq!(request.key(), Uuid::new_v5(&Uuid::from_u128(7), name));
    }

    #[test]
    fn distinct_contents_have_distinct_hashes() {
        let hold = Uuid::from_u128(1);
        let contents = [
            request("ada", Content::Reserve(lines(&[("a", 1)]))),
            request("ad", Content::Reserve(lines(&[("a", 1)]))),
            request("ada", Content::Reserve(lines(&[("a", 2)]))),
            request("ada", Content::Reserve(lines(&[("a", 1), ("b", 1)]))),
            request("ada", Content::Reserve(lines(&[("a1", 1)]))),
            request("ada", Content::PlaceLines(lines(&[("a", 1)]), placing("", None))),
            request("ada", Content::PlaceLines(lines(&[("a", 1)]), placing("{}", None))),
            request("ada", Content::PlaceLines(lines(&[("a", 1)]), placing("{}", Some(5)))),
            request("ada", Content::PlaceHold(hold, placing("{}", None))),
            request("ada", Content::PlaceHold(hold, placing("{}", Some(5)))),
            request("ada", Content::PlaceHold(hold, placing("{}", Some(6)))),
            request("ada", Content::PlaceHold(Uuid::from_u128(2), placing("{}", None))),
            request("ada", Content::Extend(hold)),
            request("ada", Content::Release(hold)),
        ];
        let hashes: BTreeSet<String> = contents.iter().map(Request::hash).collect();
        assert_eq!(hashes.len(), contents.len());
        assert!(hashes.iter().all(|hash| hash.len() == 64));
    }

    #[test]
    fn hash_ignores_split_and_order_of_lines() {
        let one = request("ada", Content::Reserve(lines(&[("a", 3), ("b", 1)])));
        let other = request("ada", Content::Reserve(lines(&[("b", 1), ("a", 1), ("a", 2)])));
        assert_eq!(one.hash(), other.hash());
    }
}
