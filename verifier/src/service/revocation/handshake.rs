//! The client certificate verifier of the acceptor: chain and key as webpki
//! and rustls have it, then the view of what is revoked. A revoked LDevID does
//! not get through the handshake.

use std::{fmt, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use rustls_pki_types::{CertificateDer, UnixTime};

use super::view::{RevocationView, Standing};
use crate::digest::sha256;

/// A verifier that asks the view where `chain` has found nothing wrong.
pub(in crate::service) struct RevocationAware {
    chain: Arc<dyn ClientCertVerifier>,
    view: Arc<RevocationView>,
}

impl RevocationAware {
    pub(in crate::service) fn new(
        chain: Arc<dyn ClientCertVerifier>,
        view: Arc<RevocationView>,
    ) -> Self {
        Self { chain, view }
    }
}

impl fmt::Debug for RevocationAware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RevocationAware").field(&self.view).finish()
    }
}

impl ClientCertVerifier for RevocationAware {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        match self.view.standing(&sha256(&[end_entity.as_ref()])) {
            Standing::NotRevoked => Ok(verified),
            Standing::Revoked => Err(CertificateError::Revoked.into()),
            // The alert is access_denied: rustls has unknown_ca for an unknown
            // status, which would send people looking in the wrong place.
            Standing::Unknown => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}
