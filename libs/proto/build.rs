//! Compiles `proto/` with protox, so that nobody needs protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: &[&str] = &[
    "flashsale/errors/v1/error_reason.proto",
    "flashsale/sale/v1/sale.proto",
    "flashsale/inventory/v1/inventory.proto",
    "flashsale/waitingroom/v1/waiting_room.proto",
    "flashsale/checkout/v1/checkout.proto",
    "flashsale/payment/v1/payment.proto",
    "flashsale/order/v1/order_admin.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    println!("cargo:rerun-if-changed={}", root.display());
    let descriptors = protox::compile(FILES, [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.binpb"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .codec_path("crate::codec::MessageCodec")
        .compile_fds(descriptors)?;
    Ok(())
}
