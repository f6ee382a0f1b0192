//! Generates the servers of `src/fakes.rs`. The messages are those of `flashsale_proto`.

#[path = "../proto/files.rs"]
mod files;

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    tonic_prost_build::configure()
        .build_client(false)
        .generate_default_stubs(true)
        .extern_path(".flashsale", "::flashsale_proto::flashsale")
        .extern_path(".google.type", "::flashsale_proto::google::type")
        .emit_rerun_if_changed(false)
        .compile_fds(files::compile()?.file_descriptor_set())?;
    Ok(())
}
