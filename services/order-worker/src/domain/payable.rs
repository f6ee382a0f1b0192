//! What the payment service is told about an order.

use uuid::Uuid;

/// What the payment of an order needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payable {
    pub(crate) order_id: Uuid,
    pub(crate) sale_id: Uuid,
    /// ISO 4217.
    pub(crate) currency: String,
    pub(crate) total_minor: i64,
    /// The provider's token of the means of payment.
    pub(crate) payment_method: String,
}
