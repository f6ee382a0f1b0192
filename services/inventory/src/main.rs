//! The inventory service.

use std::process::ExitCode;

fn main() -> ExitCode {
    flashsale_service::main("inventory", flashsale_inventory::DEFAULTS, flashsale_inventory::build)
}
