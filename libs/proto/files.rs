//! The protos under `proto/`, compiled with protox, so that protoc is not needed. Shared by the
//! build scripts of `libs/proto` and `libs/testbed`.

use std::{env, error::Error, path::PathBuf};

use protox::Compiler;

const FILES: &[&str] = &[
    "flashsale/access/v1/access.proto",
    "flashsale/errors/v1/error_reason.proto",
    "flashsale/sale/v1/sale.proto",
    "flashsale/inventory/v1/inventory.proto",
    "flashsale/waitingroom/v1/waiting_room.proto",
    "flashsale/checkout/v1/checkout.proto",
    "flashsale/payment/v1/payment.proto",
    "flashsale/order/v1/order_admin.proto",
];

/// Compiles all of them, and has Cargo run the build script again after a change.
pub fn compile() -> Result<Compiler, Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let mut compiler = Compiler::new([root])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;
    Ok(compiler)
}
