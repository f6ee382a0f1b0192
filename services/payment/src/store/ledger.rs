//! `money_moves`: each move of money at the provider, once. Nothing changes a row.

use sqlx::{PgConnection, query_file};

use crate::domain::Payment;

/// A kind of move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoveKind {
    /// Money was taken, on an intent.
    Captured,
    /// Money is back, by a refund.
    Refunded,
    /// A refund that had counted failed after all.
    RefundFailed,
    /// The buyer's bank took the money back for now.
    Disputed,
    /// It is ours again.
    DisputeWon,
}

impl MoveKind {
    /// The name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Captured => "CAPTURED",
            Self::Refunded => "REFUNDED",
            Self::RefundFailed => "REFUND_FAILED",
            Self::Disputed => "DISPUTED",
            Self::DisputeWon => "DISPUTE_WON",
        }
    }
}

/// How something was learnt from the provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LearntBy {
    /// From the answer to a call.
    Call,
    /// From an event that was sent to us.
    Event,
    /// From an event that was not, and was read later.
    Comparison,
}

impl LearntBy {
    /// The name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Event => "event",
            Self::Comparison => "comparison",
        }
    }
}

/// Writes a move of the payment's money, unless it stands there.
pub(super) async fn write(
    connection: &mut PgConnection,
    payment: &Payment,
    kind: MoveKind,
    provider_ref: &str,
    amount_minor: i64,
    learnt_by: LearntBy,
) -> sqlx::Result<()> {
    query_file!(
        "sql/insert_move.sql",
        kind.as_str(),
        provider_ref,
        payment.order_id,
        amount_minor,
        payment.currency,
        learnt_by.as_str()
    )
    .execute(connection)
    .await?;
    Ok(())
}
