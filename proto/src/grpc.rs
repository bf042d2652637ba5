//! The wire contract: code generated from `holdfast/v1/*.proto`.

/// Messages, clients and servers of package `holdfast.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    reason = "generated code; the documentation is in the .proto files"
)]
pub mod v1 {
    tonic::include_proto!("holdfast.v1");
}

/// Serialised `google.protobuf.FileDescriptorSet` of package `holdfast.v1`,
/// for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("holdfast.v1");
