//! Generates the messages, clients and servers, the table of who may call what, and writes the
//! descriptors for reflection.

mod files;
mod rules;

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let compiled = files::compile()?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Encoded by the compiler: the messages of prost-types would lose our own options.
    fs::write(out.join("descriptors.binpb"), compiled.encode_file_descriptor_set())?;
    fs::write(out.join("rules.rs"), rules::generate(&compiled.descriptor_pool())?)?;
    tonic_prost_build::configure()
        .emit_rerun_if_changed(false)
        .codec_path("crate::codec::MessageCodec")
        .compile_fds(compiled.file_descriptor_set())?;
    Ok(())
}
