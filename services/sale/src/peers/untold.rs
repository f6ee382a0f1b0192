//! Why a call failed.

use flashsale_errors::Failure;
use tonic::Status;

/// Why a service could not be told of a sale, or did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Untold {
    /// The service.
    pub peer: &'static str,
    /// The reason that it gave, or that stands for the transport's.
    pub why: &'static str,
}

impl Untold {
    pub(super) fn from_status(peer: &'static str, status: &Status) -> Self {
        Self { peer, why: Failure::from_peer(peer, status).reason().as_str() }
    }
}
