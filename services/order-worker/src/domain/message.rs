//! Messages of the order queue, and the checks before they are recorded.

use std::collections::HashSet;

use time::OffsetDateTime;
use uuid::Uuid;

use super::{FIRST_PRICE_REVISION, Line, OrderDetails};

/// The most lines an order may have: far above what checkout accepts, so that only corrupt messages
/// are refused.
const MAX_LINES: usize = 1_000;
/// The longest text of a field, in bytes.
const MAX_TEXT_BYTES: usize = 1_024;

/// An order as it was placed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedOrder {
    /// The UUIDv5 of (sale, buyer, request id).
    pub order_id: Uuid,
    pub sale_id: Uuid,
    /// The buyer as the shop knows them.
    pub buyer_id: String,
    /// The hold that carries its units.
    pub hold_id: Uuid,
    /// The epoch of the stock its units came from.
    pub epoch: i64,
    /// The admission that was spent on it.
    pub admission_id: Option<String>,
    /// The request that placed it.
    pub request_id: Uuid,
    /// The hash of that request's content.
    pub request_hash: String,
    /// What was ordered; each sku once.
    pub lines: Vec<Line>,
    /// ISO 4217.
    pub currency: String,
    /// The sum of the lines, in minor units.
    pub total_minor: i64,
    /// When it was placed.
    pub placed_at: OffsetDateTime,
    /// What it carries besides.
    pub details: OrderDetails,
}

/// The order that a buyer asks to cancel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CancelTarget {
    /// It was in the record when the buyer asked: only its ids are known from the message.
    Recorded { order_id: Uuid, sale_id: Uuid },
    /// The whole order: it may be known only from the message.
    Placed(Box<PlacedOrder>),
}

impl CancelTarget {
    /// The order.
    pub fn order_id(&self) -> Uuid {
        match self {
            Self::Recorded { order_id, .. } => *order_id,
            Self::Placed(order) => order.order_id,
        }
    }

    /// Its sale.
    pub fn sale_id(&self) -> Uuid {
        match self {
            Self::Recorded { sale_id, .. } => *sale_id,
            Self::Placed(order) => order.sale_id,
        }
    }
}

/// A readable message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// An order was placed.
    Place(PlacedOrder),
    /// The buyer asks to cancel it.
    Cancel {
        /// The order.
        target: CancelTarget,
        /// When the buyer asked.
        requested_at: OffsetDateTime,
    },
    /// An order was placed, but the message cannot be recorded as it is.
    Unrecordable {
        /// The part of the order that can be recorded.
        order: PlacedOrder,
        /// What is wrong, as the history names it.
        cause: &'static str,
    },
    /// The stock of a sale is rebuilt from what stands before this.
    Fence {
        sale_id: Uuid,
        /// The epoch that the stock will have.
        epoch: i64,
    },
    /// Instances of inventory that serve an older epoch of the sale's stock are to stop. The record
    /// is not concerned.
    Closing { sale_id: Uuid },
}

impl Message {
    /// The order that it is about, if there is one.
    pub fn order_id(&self) -> Option<Uuid> {
        match self {
            Self::Place(order) | Self::Unrecordable { order, .. } => Some(order.order_id),
            Self::Cancel { target, .. } => Some(target.order_id()),
            Self::Fence { .. } | Self::Closing { .. } => None,
        }
    }

    /// The sale it is about.
    pub fn sale_id(&self) -> Uuid {
        match self {
            Self::Place(order) | Self::Unrecordable { order, .. } => order.sale_id,
            Self::Cancel { target, .. } => target.sale_id(),
            Self::Fence { sale_id, .. } | Self::Closing { sale_id } => *sale_id,
        }
    }
}

/// Why an order's values cannot go into the record. The name is kept with the dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unacceptable {
    /// No lines, or absurdly many.
    Lines,
    /// The same sku twice.
    SkuTwice,
    /// A quantity that is not positive.
    Quantity,
    /// A negative price, or a revision of it that there is none of.
    Price,
    /// A price that is not the one the sale has for the sku in that revision, or in another
    /// currency.
    PriceForeign,
    /// A price that was replaced longer before the order was placed than a hold may live.
    PriceReplaced,
    /// The total is not the sum of the lines.
    Total,
    /// Not a currency code.
    Currency,
    /// The epoch is not positive.
    Epoch,
    /// An empty, overlong or unprintable text.
    Text,
    /// No such sale.
    SaleUnknown,
}

impl Unacceptable {
    /// Its name in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lines => "lines_invalid",
            Self::SkuTwice => "sku_twice",
            Self::Quantity => "quantity_invalid",
            Self::Price => "price_invalid",
            Self::PriceForeign => "price_foreign",
            Self::PriceReplaced => "price_replaced",
            Self::Total => "total_is_not_the_sum",
            Self::Currency => "currency_invalid",
            Self::Epoch => "epoch_invalid",
            Self::Text => "text_invalid",
            Self::SaleUnknown => "sale_unknown",
        }
    }
}

impl PlacedOrder {
    /// Checks the rules that checkout keeps. A message that breaks one was not written by the
    /// current version of checkout.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn check(&self) -> Result<(), Unacceptable> {
        if self.lines.is_empty() || self.lines.len() > MAX_LINES {
            return Err(Unacceptable::Lines);
        }
        let mut skus = HashSet::new();
        let mut sum: i64 = 0;
        for line in &self.lines {
            text(&line.sku)?;
            if !skus.insert(line.sku.as_str()) {
                return Err(Unacceptable::SkuTwice);
            }
            if line.quantity <= 0 {
                return Err(Unacceptable::Quantity);
            }
            if line.unit_price_minor < 0 || line.price_revision < FIRST_PRICE_REVISION {
                return Err(Unacceptable::Price);
            }
            sum = line
                .quantity
                .checked_mul(line.unit_price_minor)
                .and_then(|price| sum.checked_add(price))
                .ok_or(Unacceptable::Total)?;
        }
        if sum != self.total_minor {
            return Err(Unacceptable::Total);
        }
        if self.currency.len() != 3 || !self.currency.bytes().all(|byte| byte.is_ascii_uppercase())
        {
            return Err(Unacceptable::Currency);
        }
        if self.epoch <= 0 {
            return Err(Unacceptable::Epoch);
        }
        let details = &self.details;
        for field in [&self.buyer_id, &self.request_hash, &details.email, &details.payment_method] {
            text(field)?;
        }
        if let Some(admission_id) = &self.admission_id {
            text(admission_id)?;
        }
        if !details.locale.is_empty() {
            text(&details.locale)?;
        }
        // The others, such as the name, only address the buyer: an empty one, or one with odd
        // characters, is no reason to lose the order. The mail cleans them.
        if details.texts().iter().any(|text| text.len() > MAX_TEXT_BYTES || text.contains('\0')) {
            return Err(Unacceptable::Text);
        }
        Ok(())
    }
}

impl PlacedOrder {
    /// What of a broken order can be kept in the row of a dead letter: no lines, and of the rest
    /// what [`Self::check`] lets through. `None` if it does not say who the buyer is.
    pub fn salvage(&self) -> Option<Self> {
        text(&self.buyer_id).ok()?;
        let kept = |value: &String| text(value).map_or_else(|_| String::new(), |()| value.clone());
        let currency =
            self.currency.len() == 3 && self.currency.bytes().all(|byte| byte.is_ascii_uppercase());
        Some(Self {
            lines: Vec::new(),
            // ISO 4217's code for no currency.
            currency: if currency { self.currency.clone() } else { "XXX".to_owned() },
            // Nothing is claimed, so there is nothing to pay.
            total_minor: 0,
            admission_id: self.admission_id.as_ref().map(kept).filter(|id| !id.is_empty()),
            request_hash: kept(&self.request_hash),
            // Postgres has no times before 4713 BC, and an order placed before 1970 is corrupt.
            placed_at: self.placed_at.max(OffsetDateTime::UNIX_EPOCH),
            details: self.details.map(kept),
            ..self.clone()
        })
    }
}

fn text(value: &str) -> Result<(), Unacceptable> {
    // Control characters include NUL, which Postgres cannot store.
    let fine =
        !value.is_empty() && value.len() <= MAX_TEXT_BYTES && !value.chars().any(char::is_control);
    if fine { Ok(()) } else { Err(Unacceptable::Text) }
}
