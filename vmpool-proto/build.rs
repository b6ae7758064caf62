//! Makes Rust code from the .proto files, without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(
        [
            "vmpool/agent/v1/agent.proto",
            "vmpool/peer/v1/peer.proto",
            "vmpool/v1/runner.proto",
        ],
        ["proto"],
    )?;
    tonic_prost_build::configure()
        .bytes(".vmpool.agent.v1.Output.data")
        .compile_fds(files)?;
    Ok(())
}
