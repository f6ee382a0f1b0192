//! The servers of our services for tests that fake a peer. Each call of a trait here has a default
//! that answers UNIMPLEMENTED: a fake implements only the calls it answers, and a new RPC touches
//! none. The traits of `flashsale_proto`, which the services implement, have no defaults: there an
//! RPC that is not implemented does not compile.
//!
//! The messages are those of `flashsale_proto`. A call that streams answers with a
//! [`BoxStream`](tonic::codegen::BoxStream).

// Generated code is not ours to style.
#![allow(missing_docs, unreachable_pub, unused_qualifications, clippy::all)]

/// `flashsale.checkout.v1`.
pub mod checkout {
    tonic::include_proto!("flashsale.checkout.v1");
}

/// `flashsale.inventory.v1`.
pub mod inventory {
    tonic::include_proto!("flashsale.inventory.v1");
}

/// `flashsale.order.v1`.
pub mod order {
    tonic::include_proto!("flashsale.order.v1");
}

/// `flashsale.payment.v1`.
pub mod payment {
    tonic::include_proto!("flashsale.payment.v1");
}

/// `flashsale.sale.v1`.
pub mod sale {
    tonic::include_proto!("flashsale.sale.v1");
}

/// `flashsale.waitingroom.v1`.
pub mod waiting_room {
    tonic::include_proto!("flashsale.waitingroom.v1");
}
