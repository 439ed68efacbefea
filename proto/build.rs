//! Compiles the contracts with protox, so that no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=protos");
    let files = protox::compile(["lane.proto", "node.proto", "admin.proto", "group.proto", "lease.proto"], ["protos"])?;
    tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    Ok(())
}
