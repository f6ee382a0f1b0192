//! The order worker as a process of its own.

use std::process::ExitCode;

fn main() -> ExitCode {
    flashsale_service::main(
        "order-worker",
        flashsale_order_worker::DEFAULTS,
        flashsale_order_worker::build,
    )
}
