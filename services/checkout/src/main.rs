//! The checkout service.

use std::process::ExitCode;

fn main() -> ExitCode {
    flashsale_service::main("checkout", flashsale_checkout::DEFAULTS, flashsale_checkout::build)
}
