//! The waiting-room service.

use std::process::ExitCode;

fn main() -> ExitCode {
    flashsale_service::main(
        "waiting-room",
        flashsale_waiting_room::DEFAULTS,
        flashsale_waiting_room::build,
    )
}
