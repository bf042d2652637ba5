//! The owner's side as an intruder would use it: the admin socket without the
//! command line in between, and any key to sign with.

use anyhow::{Context, Result};
use holdfast_proto::grpc::v1::admin_client::AdminClient;
use holdfast_verifier::identity::SecretKey;
use holdfast_verifier::owner::{Kind, OwnerSigner};
use ring::rand::SystemRandom;
use tonic::transport::{Channel, Endpoint};

use crate::Deployment;

/// Calls over `admin.sock`, as root or the server's own user can make them.
///
/// # Errors
/// Where nobody answers there.
pub async fn admin(deployment: &Deployment) -> Result<AdminClient<Channel>> {
    let socket = deployment.dir().join("admin.sock");
    let endpoint = Endpoint::from_shared(format!("unix:{}", socket.display()))?;
    Ok(AdminClient::new(endpoint.connect().await?))
}

/// A key that signs statements.
#[derive(Debug)]
pub struct Signer(OwnerSigner);

impl Signer {
    /// The owner's own, from the deployment's directory.
    ///
    /// # Errors
    /// Where it is not there.
    pub fn owner(deployment: &Deployment) -> Result<Self> {
        let path = deployment.dir().join("policy-root.key.pem");
        let text = std::fs::read_to_string(path)?;
        Ok(Self(OwnerSigner::from_pkcs8_pem(
            &text,
            &SystemRandom::new(),
        )?))
    }

    /// Anybody's.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn stranger() -> Result<Self> {
        let rng = SystemRandom::new();
        let key = SecretKey::generate(&rng)?;
        Ok(Self(OwnerSigner::from_pkcs8(key.expose_der(), &rng)?))
    }

    /// That `document` is `version` of `subject`.
    ///
    /// # Errors
    /// Where there is no randomness.
    pub fn state(
        &self,
        kind: Kind,
        subject: &str,
        version: u64,
        document: &str,
    ) -> Result<Vec<u8>> {
        let rng = SystemRandom::new();
        self.0
            .state(kind, subject, version, document.as_bytes(), &rng)
            .context("signing")
    }
}
