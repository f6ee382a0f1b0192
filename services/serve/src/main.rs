//! `flashsale-serve`: every service by its name, and all of them in one process.

mod all;
#[cfg(test)]
mod secrets;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use flashsale_service::main as serve;

/// Serves one service of flashsale, or all of them, until SIGTERM or SIGINT.
///
/// The environment configures it: `FLASHSALE_<SECTION>__<KEY>` for each key of
/// `services/<service>/config.default.toml` and, in the sections that services have in common, of
/// `libs/*/config.default.toml`.
#[derive(Debug, Parser)]
#[command(name = "flashsale-serve", version)]
struct Args {
    #[command(subcommand)]
    service: Service,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Service {
    /// Creates, imports, starts and ends sales, and reports how they went.
    Sale,
    /// Stock and holds.
    Inventory,
    /// The line in front of a sale, and admissions.
    WaitingRoom,
    /// Takes orders, and tells how they stand.
    Checkout,
    /// Claims orders from the queue and carries out what follows from them.
    OrderWorker,
    /// One payment per order, at the provider's pace.
    Payment,
    /// All of them in this process, behind one port.
    All,
}

fn main() -> ExitCode {
    match Args::parse().service {
        Service::Sale => serve("sale", flashsale_sale::DEFAULTS, flashsale_sale::build),
        Service::Inventory => {
            serve("inventory", flashsale_inventory::DEFAULTS, flashsale_inventory::build)
        }
        Service::WaitingRoom => {
            serve("waiting-room", flashsale_waiting_room::DEFAULTS, flashsale_waiting_room::build)
        }
        Service::Checkout => {
            serve("checkout", flashsale_checkout::DEFAULTS, flashsale_checkout::build)
        }
        Service::OrderWorker => {
            serve("order-worker", flashsale_order_worker::DEFAULTS, flashsale_order_worker::build)
        }
        Service::Payment => serve("payment", flashsale_payment::DEFAULTS, flashsale_payment::build),
        Service::All => all::main(),
    }
}
