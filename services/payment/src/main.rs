//! The payment service.

use std::process::ExitCode;

fn main() -> ExitCode {
    flashsale_service::main("payment", flashsale_payment::DEFAULTS, flashsale_payment::build)
}
