//! Dead letters and histories for the wire.

use flashsale_proto::order as proto;
use flashsale_service::wire;
use uuid::Uuid;

use crate::store::{
    dead_letters::{DeadLetter, Resolution},
    transitions::HistoryEntry,
};

pub(super) fn transition(entry: HistoryEntry) -> proto::Transition {
    proto::Transition {
        from_state: entry.from.unwrap_or_default(),
        to_state: entry.to,
        cause: entry.cause,
        time: Some(wire::timestamp(entry.at)),
    }
}

pub(super) fn dead_letter(from: DeadLetter) -> proto::DeadLetter {
    let id = |id: Option<Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let (how, resolved_at) = from.resolved.unzip();
    proto::DeadLetter {
        dead_letter_id: from.id,
        queue_seq: from.seq,
        reason: from.reason,
        order_id: id(from.order_id),
        sale_id: id(from.sale_id),
        create_time: Some(wire::timestamp(from.at)),
        review_deadline: Some(wire::timestamp(from.review_by)),
        resolution: how.map_or(proto::Resolution::Unspecified, resolution).into(),
        resolve_time: resolved_at.map(wire::timestamp),
    }
}

fn resolution(resolution: Resolution) -> proto::Resolution {
    match resolution {
        Resolution::Retried => proto::Resolution::Retried,
        Resolution::Dropped => proto::Resolution::Dropped,
        Resolution::Expired => proto::Resolution::Expired,
        Resolution::Cancelled => proto::Resolution::Cancelled,
    }
}
