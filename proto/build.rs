//! Compiles `holdfast/v1/*.proto` with protox, so that no `protoc` is needed,
//! and leaves the descriptor set beside the code for gRPC reflection.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const PROTOS: [&str; 8] = [
    "holdfast/v1/admin.proto",
    "holdfast/v1/attestation.proto",
    "holdfast/v1/enrollment.proto",
    "holdfast/v1/evidence.proto",
    "holdfast/v1/heartbeat.proto",
    "holdfast/v1/sealing.proto",
    "holdfast/v1/secrets.proto",
    "holdfast/v1/wrapped.proto",
];

/// Messages with a secret in them: no Debug is derived for these, so that none
/// can come into a log; `grpc` writes one that leaves the secret out.
const SECRET: [&str; 5] = [
    "holdfast.v1.ActivatedEk",
    "holdfast.v1.RequestChallengeRequest",
    "holdfast.v1.EnrollRequest",
    "holdfast.v1.CreateTokenResponse",
    "holdfast.v1.PutSecretRequest",
];

fn main() -> Result<(), Box<dyn Error>> {
    for proto in PROTOS {
        println!("cargo:rerun-if-changed={proto}");
    }
    let descriptors = protox::compile(PROTOS, ["."])?;
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("holdfast.v1.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .skip_debug(SECRET)
        // Up to 16 MiB: shared with the buffer that it arrived in, not copied.
        .bytes(".holdfast.v1.ImaLog.content")
        .compile_fds(descriptors)?;
    Ok(())
}
