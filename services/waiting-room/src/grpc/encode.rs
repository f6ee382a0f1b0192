//! Responses.

use flashsale_proto::waitingroom as proto;
use flashsale_service::wire;
use uuid::Uuid;

use crate::{
    app::Standing,
    domain::{Outlook, Progress, RoomState, RoomView},
};

pub(super) fn position(standing: Standing) -> proto::Position {
    let Standing { number, outlook, admission } = standing;
    let (kind, progress) = match outlook {
        Outlook::Waiting(progress) => (proto::Outlook::Waiting, Some(progress)),
        Outlook::NotStarted(progress) => (proto::Outlook::NotStarted, Some(progress)),
        Outlook::Admitted { .. } => (proto::Outlook::Admitted, None),
        Outlook::Lapsed => (proto::Outlook::Lapsed, None),
        Outlook::SoldOutForNow(progress) => (proto::Outlook::SoldOutForNow, Some(progress)),
        Outlook::SoldOut => (proto::Outlook::SoldOut, None),
        Outlook::Paused(progress) => (proto::Outlook::Paused, Some(progress)),
        Outlook::Closed => (proto::Outlook::Closed, None),
        Outlook::Used => (proto::Outlook::Used, None),
        Outlook::Left => (proto::Outlook::Left, None),
    };
    let expires_at_ms =
        if let Outlook::Admitted { expires_at_ms } = outlook { Some(expires_at_ms) } else { None };
    let Progress { ahead, wait } = progress.unwrap_or(Progress { ahead: 0, wait: None });
    proto::Position {
        number,
        ahead,
        expected_wait: wait.map(wire::duration),
        outlook: kind.into(),
        admission: admission.unwrap_or_default(),
        admission_expire_time: expires_at_ms.map(wire::timestamp_ms),
    }
}

pub(super) fn room(sale_id: Uuid, room: &RoomView) -> proto::Room {
    let state = match room.state {
        RoomState::Closed => proto::RoomState::Closed,
        RoomState::Open => proto::RoomState::Open,
        RoomState::Paused => proto::RoomState::Paused,
    };
    let ttl = std::time::Duration::from_millis(u64::try_from(room.admission_ms).unwrap_or(0));
    proto::Room {
        sale_id: sale_id.to_string(),
        state: state.into(),
        admissions_per_second: room.rate,
        admission_ttl: Some(wire::duration(ttl)),
        issued: room.next,
        head: room.head,
        joins_from: room.window.joins_from_ms.map(wire::timestamp_ms),
        admits_from: room.window.admits_from_ms.map(wire::timestamp_ms),
        admits_until: room.window.admits_until_ms.map(wire::timestamp_ms),
        watches_stock: room.watches_stock,
    }
}
