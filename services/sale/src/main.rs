//! The sale service.

use std::process::ExitCode;

fn main() -> ExitCode {
    flashsale_service::main("sale", flashsale_sale::DEFAULTS, flashsale_sale::build)
}
