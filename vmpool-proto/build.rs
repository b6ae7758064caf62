//! Makes Rust code from the .proto files, without protoc.

use std::path::Path;

use prost::Message as _;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(
        [
            "vmpool/agent/v1/agent.proto",
            "vmpool/peer/v1/peer.proto",
            "vmpool/v1/builds.proto",
            "vmpool/v1/runner.proto",
        ],
        ["proto"],
    )?;
    describe(&files)?;
    tonic_prost_build::configure()
        .bytes(".vmpool.agent.v1.Output.data")
        .bytes(".vmpool.v1.Output.data")
        .compile_fds(files)?;
    Ok(())
}

/// What callers may learn by reflection: the services that are for them.
fn describe(files: &FileDescriptorSet) -> Result<(), Box<dyn std::error::Error>> {
    let public = files.file.iter();
    let public = public.filter(|file| file.package() == "vmpool.v1");
    let public = FileDescriptorSet {
        file: public.cloned().collect(),
    };
    let folder = std::env::var_os("OUT_DIR").ok_or("no OUT_DIR")?;
    let file = Path::new(&folder).join("vmpool.v1.bin");
    std::fs::write(file, public.encode_to_vec())?;
    Ok(())
}
