//! The waiting room: numbered tickets in front of a sale, a head that moves at the room's rate, and
//! admissions for the tickets it has passed.
//!
//! Joining is one script in Redis, following a ticket none: a place is the ticket's number less the
//! head, which every process broadcasts to its watchers once a tick. Postgres records how far
//! numbers may go and how far the head has gone, so that losing Redis repeats no number and takes
//! no turn back.

mod app;
mod config;
mod domain;
mod grpc;
mod http;
mod metrics;
mod peers;
mod store;
mod tasks;

use std::sync::Arc;

pub use config::{AdmissionConfig, Config, Peers, RoomConfig};
use flashsale_proto::waitingroom::{
    waiting_room_admin_service_server::WaitingRoomAdminServiceServer,
    waiting_room_service_server::WaitingRoomServiceServer,
};
use flashsale_service::{Drain, Hosted, peer};

use crate::{
    app::{Farewell, Feeds, Line, RoomAdmin, SigningKeys},
    grpc::{Admin, WaitingRoom},
    metrics::Metrics,
    peers::{Checkout, Inventory},
    store::{Record, Rooms, Scripts},
    tasks::{AtOnce, HeadMover, check_store},
};

/// The name of the service, by which others know it.
const NAME: &str = "waiting-room";

/// The compiled-in configuration.
pub const DEFAULTS: &[&str] =
    &[flashsale_pg::DEFAULTS, flashsale_redis::DEFAULTS, include_str!("../config.default.toml")];

/// How long the start waits for Redis to show whether it can be used.
const CHECK_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Builds the service; it starts whether or not its stores answer.
///
/// # Errors
/// There is no key to sign with, a URL of the configuration cannot be used, or Redis evicts keys or
/// is too old. A Redis that answers later than the start waits ends the service then.
pub async fn build(config: Config, drain: Drain) -> anyhow::Result<Hosted> {
    let keys = SigningKeys::load(&config.admission)?;
    let record = Record::new(flashsale_pg::connect(&config.postgres, NAME)?);
    let store = flashsale_redis::Store::connect(&config.redis).await?;
    store.check_until(tokio::time::sleep(CHECK_WITHIN)).await?;
    let grace = std::time::Duration::from_millis(config.server.drain_timeout_ms);
    let farewell = Farewell::new(&drain, grace);
    let check = check_store(store.clone(), drain);
    let scripts = Scripts::new(store);
    let rooms = Rooms::new(record, scripts, i64::from(config.room.block));
    let feeds = Feeds::new(config.room.max_watchers, farewell);
    let metrics = Metrics::new();
    let shown = feeds.clone();
    metrics::show_rooms(move || shown.rooms());
    let line = Line {
        rooms: rooms.clone(),
        feeds: feeds.clone(),
        keys: Arc::clone(&keys),
        metrics: metrics.clone(),
        heartbeat: std::time::Duration::from_millis(config.room.heartbeat_ms),
    };
    let inventory = Inventory::new(peer::connect(NAME, "inventory", &config.peers.inventory)?);
    let head_mover = HeadMover {
        rooms: rooms.clone(),
        feeds: feeds.clone(),
        inventory,
        checkout: Checkout::new(peer::connect(NAME, "checkout", &config.peers.checkout)?),
        metrics,
        config: config.room,
        at_once: AtOnce::default(),
    };
    let room = WaitingRoom::new(line, i64::from(config.admission.leeway_ms));
    Ok(Hosted::new()
        .grpc(WaitingRoomServiceServer::new(room))
        .grpc(WaitingRoomAdminServiceServer::new(Admin::new(RoomAdmin::new(rooms, feeds))))
        .http(http::routes(keys))
        .task("store-check", check)
        .task("admissions", head_mover.run()))
}
