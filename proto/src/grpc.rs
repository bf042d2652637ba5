//! The wire contract: code generated from `holdfast/v1/*.proto`.

/// Type of those fields that are too long to be copied about.
pub use prost::bytes::Bytes;

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

/// Debug of the messages that hold a secret (`build.rs` derives none for them).
mod redacted {
    use std::fmt;

    use super::v1::{
        ActivatedEk, CreateTokenResponse, EnrollRequest, PutSecretRequest, RequestChallengeRequest,
    };

    impl fmt::Debug for ActivatedEk {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("ActivatedEk")
                .field("ek_public", &self.ek_public)
                .field("ek_certificate_chain", &self.ek_certificate_chain)
                .finish_non_exhaustive()
        }
    }

    impl fmt::Debug for RequestChallengeRequest {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("RequestChallengeRequest")
                .field("ek_public", &self.ek_public)
                .field("ek_certificate_chain", &self.ek_certificate_chain)
                .field("ak_public", &self.ak_public)
                .field("ldevid_public", &self.ldevid_public)
                .field("further_eks", &self.further_eks)
                .finish_non_exhaustive()
        }
    }

    impl fmt::Debug for EnrollRequest {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("EnrollRequest")
                .field("ek_public", &self.ek_public)
                .field("ek_certificate_chain", &self.ek_certificate_chain)
                .field("ak_public", &self.ak_public)
                .field("ldevid_public", &self.ldevid_public)
                .field("ldevid_certification", &self.ldevid_certification)
                .field("evidence", &self.evidence)
                .field("further_eks", &self.further_eks)
                .finish_non_exhaustive()
        }
    }

    impl fmt::Debug for CreateTokenResponse {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("CreateTokenResponse")
                .field("token_id", &self.token_id)
                .field("expires", &self.expires)
                .finish_non_exhaustive()
        }
    }

    impl fmt::Debug for PutSecretRequest {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.debug_struct("PutSecretRequest")
                .field("class", &self.class)
                .field("name", &self.name)
                .finish_non_exhaustive()
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn no_secret_is_shown() {
            let secret = vec![0xA5; 32];
            let asked = RequestChallengeRequest {
                join_token: secret.clone(),
                ..Default::default()
            };
            let enrol = EnrollRequest {
                activated_secret: secret.clone(),
                token: secret.clone(),
                further_eks: vec![ActivatedEk {
                    activated_secret: secret,
                    ..Default::default()
                }],
                ..Default::default()
            };
            let put = PutSecretRequest {
                secret: vec![0xA5; 32],
                ..Default::default()
            };
            let token = CreateTokenResponse {
                bundle: "165165".to_owned(),
                ..Default::default()
            };
            let shown =
                format!("{asked:?} {asked:#?} {enrol:?} {enrol:#?} {token:?} {token:#?} {put:?}");
            assert!(!shown.contains("165"), "{shown}");
        }
    }
}

/// Serialised `google.protobuf.FileDescriptorSet` of package `holdfast.v1`,
/// for gRPC server reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("holdfast.v1");
