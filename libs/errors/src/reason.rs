//! The closed set of reasons, and the table of what each of them means to a caller.

use std::time::Duration;

use tonic::Code;

/// What a caller should do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Send the same request, with the same request id, after about this long.
    SameAfter(Duration),
    /// Sending the same request again cannot help: change it, or give up.
    Never,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $code:ident, $retry:expr, $next:literal;)+) => {
        /// Why a call failed. The names and codes are part of the public contract
        /// (`flashsale.errors.v1.ErrorReason`).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[$doc])* $variant,)+ }

        impl Reason {
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)+];

            /// The name in `google.rpc.ErrorInfo.reason`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Reason::$variant => $name,)+ }
            }

            pub const fn code(self) -> Code {
                match self { $(Reason::$variant => Code::$code,)+ }
            }

            /// Whether the same request may be sent again. No retry can charge twice, because every
            /// retry carries its request id.
            pub const fn retry(self) -> Retry {
                match self { $(Reason::$variant => $retry,)+ }
            }

            /// What the caller does next, as a sentence.
            pub const fn next_step(self) -> &'static str {
                match self { $(Reason::$variant => $next,)+ }
            }

            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Reason::$variant),)+ _ => None }
            }
        }
    };
}

const fn after_ms(ms: u64) -> Retry {
    Retry::SameAfter(Duration::from_millis(ms))
}

reasons! {
    /// A field is missing, too long or malformed.
    ArgumentInvalid = "ARGUMENT_INVALID", InvalidArgument, Retry::Never, "Correct the named field and send it again.";
    /// `request_id` is not a UUID.
    RequestIdInvalid = "REQUEST_ID_INVALID", InvalidArgument, Retry::Never, "Send a fresh UUID as request_id, and the same one on every retry.";
    /// A quantity is out of range.
    QuantityInvalid = "QUANTITY_INVALID", InvalidArgument, Retry::Never, "Ask for a quantity within the named bounds.";
    ExportInvalid = "EXPORT_INVALID", InvalidArgument, Retry::Never, "Correct the named rows and import the whole file again; nothing was stored.";
    /// The page token is malformed or of another list.
    PageTokenInvalid = "PAGE_TOKEN_INVALID", InvalidArgument, Retry::Never, "Start the list again without a page token.";
    /// The request id was used with other content.
    RequestIdReused = "REQUEST_ID_REUSED", AlreadyExists, Retry::Never, "Send a fresh request_id for a new request; repeat a request only unchanged.";
    SaleNotFound = "SALE_NOT_FOUND", NotFound, Retry::Never, "Check the sale id; `flashsale sale show` lists the sales there are.";
    /// No such sku in this sale.
    SkuNotFound = "SKU_NOT_FOUND", NotFound, Retry::Never, "Ask only for skus of this sale; `flashsale stock show` lists them.";
    /// No such hold for this buyer.
    HoldNotFound = "HOLD_NOT_FOUND", NotFound, Retry::Never, "Check the hold id and the buyer; reserve again if the hold is old.";
    /// No such order for this buyer.
    OrderNotFound = "ORDER_NOT_FOUND", NotFound, Retry::Never, "Check the order id, the sale and the buyer.";
    /// The order has no payment.
    PaymentNotFound = "PAYMENT_NOT_FOUND", NotFound, Retry::Never, "Check the order id; a payment exists once the order is claimed.";
    /// The sale has no room.
    RoomNotFound = "ROOM_NOT_FOUND", NotFound, Retry::Never, "Check the sale id; a sale without a room needs no admission.";
    /// The sale sells nothing now.
    SaleNotOpen = "SALE_NOT_OPEN", FailedPrecondition, Retry::Never, "Wait until the sale is open, or give up if it has ended.";
    /// The sale's state forbids the change.
    SaleStateConflict = "SALE_STATE_CONFLICT", FailedPrecondition, Retry::Never, "Read the sale's state and choose a change that it allows.";
    /// Too few units are left.
    SoldOut = "SOLD_OUT", FailedPrecondition, Retry::Never, "Ask for fewer units or another sku; held units may come back.";
    BuyerLimit = "BUYER_LIMIT", FailedPrecondition, Retry::Never, "Ask for no more than the limit leaves this buyer.";
    /// The hold's time has run out.
    HoldExpired = "HOLD_EXPIRED", FailedPrecondition, Retry::Never, "Reserve again; the units are back on sale.";
    /// The hold was resolved before.
    HoldResolved = "HOLD_RESOLVED", FailedPrecondition, Retry::Never, "Read the hold's state; reserve again if units are still wanted.";
    /// The hold was lost with its store, and its units have been sold since.
    HoldLost = "HOLD_LOST", FailedPrecondition, Retry::Never, "Reserve again if units are left.";
    /// The sale has a room, and no admission was sent.
    AdmissionRequired = "ADMISSION_REQUIRED", PermissionDenied, Retry::Never, "Join the waiting room and send the admission it gives out.";
    /// Not an admission signed by a known key.
    AdmissionInvalid = "ADMISSION_INVALID", PermissionDenied, Retry::Never, "Send the admission exactly as the waiting room gave it out.";
    /// The admission of another buyer or sale.
    AdmissionForeign = "ADMISSION_FOREIGN", PermissionDenied, Retry::Never, "Send the admission of this buyer for this sale.";
    AdmissionExpired = "ADMISSION_EXPIRED", FailedPrecondition, Retry::Never, "Join the waiting room again for a new place.";
    AdmissionSpent = "ADMISSION_SPENT", FailedPrecondition, Retry::Never, "Go on with the hold or order it was used for, or join again.";
    /// Not a ticket signed by a known key.
    TicketInvalid = "TICKET_INVALID", PermissionDenied, Retry::Never, "Send the ticket exactly as Join returned it, or join again.";
    /// The sale's stock has been loaded before.
    StockAlreadyLoaded = "STOCK_ALREADY_LOADED", AlreadyExists, Retry::Never, "Nothing to do; use AdjustStock to change what is loaded.";
    /// The stock is fenced until it has been rebuilt.
    StockFenced = "STOCK_FENCED", Unavailable, after_ms(2_000), "Retry with the same request_id; on call: see the runbook on fenced stock.";
    Overloaded = "OVERLOADED", ResourceExhausted, after_ms(500), "Nothing was done; retry with the same request_id after the given delay.";
    /// Too many orders wait to be recorded.
    QueueFull = "QUEUE_FULL", ResourceExhausted, after_ms(2_000), "Nothing was taken; retry with the same request_id after the given delay.";
    /// The order is past cancelling.
    OrderNotCancellable = "ORDER_NOT_CANCELLABLE", FailedPrecondition, Retry::Never, "Read the order's state; ask for a refund if it was paid.";
    /// No money was captured.
    PaymentNotRefundable = "PAYMENT_NOT_REFUNDABLE", FailedPrecondition, Retry::Never, "Read the payment's state; only captured money can be refunded.";
    /// The call's deadline passed; its effect is unknown.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded, after_ms(200), "It may have had its effect; retry with the same request_id to learn the answer.";
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable, after_ms(1_000), "Retry with the same request_id after the given delay.";
    PeerUnavailable = "PEER_UNAVAILABLE", Unavailable, after_ms(1_000), "Retry with the same request_id after the given delay.";
    /// A bug or misconfiguration on our side.
    Internal = "INTERNAL", Internal, Retry::Never, "Report the incident number; retrying with the same request_id is safe.";
    /// In the contract, not built yet.
    NotImplemented = "NOT_IMPLEMENTED", Unimplemented, Retry::Never, "This call is not built yet; its comment in the contract says so.";
    /// The hold has reached its maximum length.
    HoldAtMaximum = "HOLD_AT_MAXIMUM", FailedPrecondition, Retry::Never, "Place the order before the hold's deadline, or let it go and reserve again.";
    /// Units to be withdrawn belong to buyers.
    UnitsCommitted = "UNITS_COMMITTED", FailedPrecondition, Retry::Never, "Withdraw no more than is available; held units may come back.";
    DeadLetterNotFound = "DEAD_LETTER_NOT_FOUND", NotFound, Retry::Never, "Check the number; `flashsale order dead-letters list` lists them.";
    /// Another operator, or the deadline, has resolved it before.
    DeadLetterResolved = "DEAD_LETTER_RESOLVED", FailedPrecondition, Retry::Never, "Nothing to do; read its resolution and its order.";
    /// Nothing readable is left that could be queued again.
    DeadLetterNotRetryable = "DEAD_LETTER_NOT_RETRYABLE", FailedPrecondition, Retry::Never, "Drop it: nothing readable is left of its order.";
}
