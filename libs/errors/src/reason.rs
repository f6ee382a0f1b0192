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
    ($(
        $(#[$doc:meta])*
        $variant:ident = $name:literal, $code:ident, $retry:expr, $page:literal, $next:literal;
    )+) => {
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

            /// Whether the same request may be sent again. No reason invites a retry that could
            /// charge twice: every retry carries its request id.
            pub const fn retry(self) -> Retry {
                match self { $(Reason::$variant => $retry,)+ }
            }

            /// What the caller does next, as a sentence.
            pub const fn next_step(self) -> &'static str {
                match self { $(Reason::$variant => $next,)+ }
            }

            /// The file name of its page in `docs/errors/`.
            pub const fn page(self) -> &'static str {
                match self { $(Reason::$variant => $page,)+ }
            }

            /// The Markdown of its page. A reason without a page does not compile.
            pub const fn page_text(self) -> &'static str {
                match self {
                    $(Reason::$variant => include_str!(concat!("../../../docs/errors/", $page)),)+
                }
            }

            /// The reason with this name.
            pub fn parse(name: &str) -> Option<Self> {
                match name { $($name => Some(Reason::$variant),)+ _ => None }
            }
        }
    };
}

const fn after_ms(ms: u64) -> Retry {
    Retry::SameAfter(Duration::from_millis(ms))
}

// A row: the name on the wire, the status code, the retry rule, the page in docs/errors/, and the
// next step.
reasons! {
    /// A field is missing, too long or malformed.
    ArgumentInvalid = "ARGUMENT_INVALID", InvalidArgument, Retry::Never, "argument-invalid.md",
        "Correct the named field and send it again.";
    /// `request_id` is not a UUID.
    RequestIdInvalid = "REQUEST_ID_INVALID", InvalidArgument, Retry::Never, "request-id-invalid.md",
        "Send a fresh UUID as request_id, and the same one on every retry.";
    /// A quantity is out of range.
    QuantityInvalid = "QUANTITY_INVALID", InvalidArgument, Retry::Never, "quantity-invalid.md",
        "Ask for a quantity within the named bounds.";
    /// An export cannot be imported.
    ExportInvalid = "EXPORT_INVALID", InvalidArgument, Retry::Never, "export-invalid.md",
        "Correct the named rows and import the whole file again; nothing was stored.";
    /// A page token of another list.
    PageTokenInvalid = "PAGE_TOKEN_INVALID", InvalidArgument, Retry::Never, "page-token-invalid.md",
        "Start the list again without a page token.";
    /// The request id was used with other content.
    RequestIdReused = "REQUEST_ID_REUSED", AlreadyExists, Retry::Never, "request-id-reused.md",
        "Send a fresh request_id for a new request; repeat a request only unchanged.";
    /// No such sale.
    SaleNotFound = "SALE_NOT_FOUND", NotFound, Retry::Never, "sale-not-found.md",
        "Check the sale id; `flashsale sale show` lists the sales there are.";
    /// No such sku in this sale.
    SkuNotFound = "SKU_NOT_FOUND", NotFound, Retry::Never, "sku-not-found.md",
        "Ask only for skus of this sale; `flashsale stock show` lists them.";
    /// No such hold for this buyer.
    HoldNotFound = "HOLD_NOT_FOUND", NotFound, Retry::Never, "hold-not-found.md",
        "Check the hold id and the buyer; reserve again if the hold is old.";
    /// No such order for this buyer.
    OrderNotFound = "ORDER_NOT_FOUND", NotFound, Retry::Never, "order-not-found.md",
        "Check the order id, the sale and the buyer.";
    /// The order has no payment.
    PaymentNotFound = "PAYMENT_NOT_FOUND", NotFound, Retry::Never, "payment-not-found.md",
        "Check the order id; a payment exists once the order is claimed.";
    /// The sale has no room.
    RoomNotFound = "ROOM_NOT_FOUND", NotFound, Retry::Never, "room-not-found.md",
        "Check the sale id; a sale without a room needs no admission.";
    /// The sale sells nothing now.
    SaleNotOpen = "SALE_NOT_OPEN", FailedPrecondition, Retry::Never, "sale-not-open.md",
        "Wait until the sale is open, or give up if it has ended.";
    /// The sale's state forbids the change.
    SaleStateConflict = "SALE_STATE_CONFLICT", FailedPrecondition, Retry::Never,
        "sale-state-conflict.md",
        "Read the sale's state and choose a change that it allows.";
    /// Too few units are left.
    SoldOut = "SOLD_OUT", FailedPrecondition, Retry::Never, "sold-out.md",
        "Ask for fewer units or another sku; held units may come back.";
    /// The per-buyer limit is reached.
    BuyerLimit = "BUYER_LIMIT", FailedPrecondition, Retry::Never, "buyer-limit.md",
        "Ask for no more than the limit leaves this buyer.";
    /// The hold's time has run out.
    HoldExpired = "HOLD_EXPIRED", FailedPrecondition, Retry::Never, "hold-expired.md",
        "Reserve again; the units are back on sale.";
    /// The hold was resolved before.
    HoldResolved = "HOLD_RESOLVED", FailedPrecondition, Retry::Never, "hold-resolved.md",
        "Read the hold's state; reserve again if units are still wanted.";
    /// The hold went with its store and the units are gone.
    HoldLost = "HOLD_LOST", FailedPrecondition, Retry::Never, "hold-lost.md",
        "Reserve again if units are left.";
    /// The sale has a room.
    AdmissionRequired = "ADMISSION_REQUIRED", PermissionDenied, Retry::Never,
        "admission-required.md",
        "Join the waiting room and send the admission it gives out.";
    /// Not an admission of ours.
    AdmissionInvalid = "ADMISSION_INVALID", PermissionDenied, Retry::Never, "admission-invalid.md",
        "Send the admission exactly as the waiting room gave it out.";
    /// The admission of another buyer or sale.
    AdmissionForeign = "ADMISSION_FOREIGN", PermissionDenied, Retry::Never, "admission-foreign.md",
        "Send the admission of this buyer for this sale.";
    /// The admission has run out.
    AdmissionExpired = "ADMISSION_EXPIRED", FailedPrecondition, Retry::Never,
        "admission-expired.md",
        "Join the waiting room again for a new place.";
    /// The admission was used.
    AdmissionSpent = "ADMISSION_SPENT", FailedPrecondition, Retry::Never, "admission-spent.md",
        "Go on with the hold or order it was used for, or join again.";
    /// Not a ticket of ours.
    TicketInvalid = "TICKET_INVALID", PermissionDenied, Retry::Never, "ticket-invalid.md",
        "Send the ticket exactly as Join returned it, or join again.";
    /// The stock is there already.
    StockAlreadyLoaded = "STOCK_ALREADY_LOADED", AlreadyExists, Retry::Never,
        "stock-already-loaded.md",
        "Nothing to do; use AdjustStock to change what is loaded.";
    /// The stock is closed until rebuilt.
    StockFenced = "STOCK_FENCED", Unavailable, after_ms(2_000), "stock-fenced.md",
        "Retry with the same request_id; on call: see the runbook on fenced stock.";
    /// Load is shed.
    Overloaded = "OVERLOADED", ResourceExhausted, after_ms(500), "overloaded.md",
        "Nothing was done; retry with the same request_id after the given delay.";
    /// Too many orders wait to be recorded.
    QueueFull = "QUEUE_FULL", ResourceExhausted, after_ms(2_000), "queue-full.md",
        "Nothing was taken; retry with the same request_id after the given delay.";
    /// The order is past cancelling.
    OrderNotCancellable = "ORDER_NOT_CANCELLABLE", FailedPrecondition, Retry::Never,
        "order-not-cancellable.md",
        "Read the order's state; ask for a refund if it was paid.";
    /// No captured money.
    PaymentNotRefundable = "PAYMENT_NOT_REFUNDABLE", FailedPrecondition, Retry::Never,
        "payment-not-refundable.md",
        "Read the payment's state; only captured money can be refunded.";
    /// The deadline passed.
    DeadlineExceeded = "DEADLINE_EXCEEDED", DeadlineExceeded, after_ms(200), "deadline-exceeded.md",
        "It may have had its effect; retry with the same request_id to learn the answer.";
    /// A store does not answer.
    StoreUnavailable = "STORE_UNAVAILABLE", Unavailable, after_ms(1_000), "store-unavailable.md",
        "Retry with the same request_id after the given delay.";
    /// Another service does not answer.
    PeerUnavailable = "PEER_UNAVAILABLE", Unavailable, after_ms(1_000), "peer-unavailable.md",
        "Retry with the same request_id after the given delay.";
    /// A fault of ours.
    Internal = "INTERNAL", Internal, Retry::Never, "internal.md",
        "Report the incident number; retrying with the same request_id is safe.";
    /// In the contract, not built yet.
    NotImplemented = "NOT_IMPLEMENTED", Unimplemented, Retry::Never, "not-implemented.md",
        "This call is not built yet; its comment in the contract says so.";
    /// The hold cannot last longer.
    HoldAtMaximum = "HOLD_AT_MAXIMUM", FailedPrecondition, Retry::Never, "hold-at-maximum.md",
        "Place the order before the hold's deadline, or let it go and reserve again.";
    /// Units to be withdrawn belong to buyers.
    UnitsCommitted = "UNITS_COMMITTED", FailedPrecondition, Retry::Never, "units-committed.md",
        "Withdraw no more than is available; held units may come back.";
    /// No such dead letter.
    DeadLetterNotFound = "DEAD_LETTER_NOT_FOUND", NotFound, Retry::Never,
        "dead-letter-not-found.md",
        "Check the number; `flashsale order dead-letters list` lists them.";
    /// It was resolved before, by an operator or its deadline.
    DeadLetterResolved = "DEAD_LETTER_RESOLVED", FailedPrecondition, Retry::Never,
        "dead-letter-resolved.md",
        "Nothing to do; read its resolution and its order.";
    /// There is nothing to queue again.
    DeadLetterNotRetryable = "DEAD_LETTER_NOT_RETRYABLE", FailedPrecondition, Retry::Never,
        "dead-letter-not-retryable.md",
        "Drop it: nothing readable is left of its order.";
    /// No caller is known.
    CallerUnknown = "CALLER_UNKNOWN", Unauthenticated, Retry::Never, "caller-unknown.md",
        "Send a key that is known here as `authorization: Bearer fsk_...`, or a known certificate.";
    /// The method is not for the caller's role.
    CallerNotAllowed = "CALLER_NOT_ALLOWED", PermissionDenied, Retry::Never, "caller-not-allowed.md",
        "Call with a key of a role that may: the contract names it at the call.";
    /// The key is for other sales.
    SaleNotYours = "SALE_NOT_YOURS", PermissionDenied, Retry::Never, "sale-not-yours.md",
        "Name a sale that the caller reaches, or call as one that reaches all sales.";
    /// A shop has to name the buyer.
    BuyerUnproven = "BUYER_UNPROVEN", PermissionDenied, Retry::Never, "buyer-unproven.md",
        "Name the buyer the call is for; only operators read without one.";
    /// Nothing may be charged for the order.
    OrderNotPayable = "ORDER_NOT_PAYABLE", FailedPrecondition, Retry::Never,
        "order-not-payable.md",
        "Read the order; only one that waits for its payment is charged.";
    /// The buyer's token is another buyer's.
    BuyerMismatch = "BUYER_MISMATCH", PermissionDenied, Retry::Never, "buyer-mismatch.md",
        "Name the buyer whom the token is for; one token speaks for one buyer.";
    /// The order does not wait for another card.
    PaymentRetryClosed = "PAYMENT_RETRY_CLOSED", FailedPrecondition, Retry::Never,
        "payment-retry-closed.md",
        "Read the order: its payment_action says whether another card is taken, and until when.";
    /// Less of the captured money is left than is to be refunded.
    RefundExceedsCaptured = "REFUND_EXCEEDS_CAPTURED", FailedPrecondition, Retry::Never,
        "refund-exceeds-captured.md",
        "Ask for no more than is left, or leave the amount out for all of it.";
    /// It is not certain that a payment can never be captured.
    PaymentNotAbandonable = "PAYMENT_NOT_ABANDONABLE", FailedPrecondition, Retry::Never,
        "payment-not-abandonable.md",
        "Read the obstacle; only a payment that can never be captured is ended by hand.";
    /// Another sale offers one of its skus at the same time.
    ScheduleConflict = "SCHEDULE_CONFLICT", FailedPrecondition, Retry::Never,
        "schedule-conflict.md",
        "Choose another window or other skus, end or cancel the other sale, or allow shared skus.";
    /// The sale has changed since the caller saw it.
    SaleVersionConflict = "SALE_VERSION_CONFLICT", Aborted, Retry::Never,
        "sale-version-conflict.md",
        "Read the sale as it is now, and send the change with its present version.";
    /// What is ordered does not cost what the caller expects.
    PriceChanged = "PRICE_CHANGED", FailedPrecondition, Retry::Never, "price-changed.md",
        "Show the buyer the total as it is now; if they agree, order again and expect that one.";
    /// The place of the admission was left or replaced.
    AdmissionWithdrawn = "ADMISSION_WITHDRAWN", FailedPrecondition, Retry::Never,
        "admission-withdrawn.md",
        "Ask for the position of the buyer's newest ticket, and use the admission that it carries.";
}
