//! The generated messages, clients and servers of every `flashsale.*.v1` package, and the
//! descriptors for reflection.
//!
//! The contract itself, with what each call does and how it fails, is in the files under `proto/`.

// Generated code is not ours to style.
#![allow(missing_debug_implementations, unreachable_pub, unused_qualifications)]
#![allow(clippy::all, clippy::wildcard_enum_match_arm)]

pub mod access;
mod codec;
pub mod named_channel;

/// The serialized `FileDescriptorSet` of every package, for server reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.binpb"));

pub mod google {
    /// `google.type`, vendored from googleapis.
    pub mod r#type {
        tonic::include_proto!("google.r#type");
    }
}

pub mod flashsale {
    /// `flashsale.access.v1`: the option that says who may call a method.
    pub mod access {
        pub mod v1 {
            tonic::include_proto!("flashsale.access.v1");
        }
    }
    /// `flashsale.errors.v1`: the reasons a call can fail with.
    pub mod errors {
        pub mod v1 {
            tonic::include_proto!("flashsale.errors.v1");
        }
    }
    pub mod sale {
        pub mod v1 {
            tonic::include_proto!("flashsale.sale.v1");
        }
    }
    pub mod inventory {
        pub mod v1 {
            tonic::include_proto!("flashsale.inventory.v1");
        }
    }
    pub mod waitingroom {
        pub mod v1 {
            tonic::include_proto!("flashsale.waitingroom.v1");
        }
    }
    pub mod checkout {
        pub mod v1 {
            tonic::include_proto!("flashsale.checkout.v1");
        }
    }
    pub mod order {
        pub mod v1 {
            tonic::include_proto!("flashsale.order.v1");
        }
    }
    pub mod payment {
        pub mod v1 {
            tonic::include_proto!("flashsale.payment.v1");
        }
    }
}

pub use flashsale::{
    checkout::v1 as checkout, errors::v1 as errors, inventory::v1 as inventory, order::v1 as order,
    payment::v1 as payment, sale::v1 as sale, waitingroom::v1 as waitingroom,
};
pub use google::r#type::Money;
pub use named_channel::NamedChannel;
