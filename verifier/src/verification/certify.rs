//! TPM2_Certify: the LDevID key lives in the TPM of this AK (TPM 2.0 Part 3
//! §18.2; ADVERSARY A08, A09).

use holdfast_proto::{binding::certify_extra_data, grpc::v1, tpm::Attested};

use super::{
    error::VerificationError,
    evidence::SignedAttest,
    keys::{AkPublic, LdevidPublic},
    signature::verify_signature,
    verified::CertifiedNow,
};
use crate::digest::sha256;

/// A certification as received: well formed, untrusted.
#[derive(Debug)]
pub struct KeyCertification {
    signed: SignedAttest,
}

impl KeyCertification {
    /// # Errors
    /// Sizes and TPM structures.
    pub fn parse(certification: &v1::KeyCertification) -> Result<Self, VerificationError> {
        let signed = SignedAttest::parse(
            "ldevid_certification.attest",
            &certification.attest,
            "ldevid_certification.signature",
            &certification.signature,
        )?;
        Ok(Self { signed })
    }

    /// SHA-256 of the TPMS_ATTEST, as the claims hold it.
    pub(super) fn sha256(&self) -> [u8; 32] {
        sha256(&[&self.signed.bytes])
    }

    /// `ak` states that the object with this very public area is in its TPM.
    /// The Name is recomputed from the area that was supplied, and that area
    /// passed its checklist, so the certified attributes are the checked ones.
    pub(super) fn verify(
        &self,
        ak: &AkPublic,
        ak_qualified_name: &[u8],
        ldevid: LdevidPublic,
        nonce: &[u8; 32],
    ) -> Result<CertifiedNow, VerificationError> {
        let attest = &self.signed.attest;
        let Attested::Certify {
            name,
            qualified_name,
        } = &attest.attested
        else {
            return Err(VerificationError::NotACertify);
        };
        if attest.extra_data != certify_extra_data(nonce, ak.name(), ldevid.name()) {
            return Err(VerificationError::CertifyBinding);
        }
        if name != ldevid.name() {
            return Err(VerificationError::CertifyName);
        }
        if qualified_name == name {
            return Err(VerificationError::CertifyQualifiedName);
        }
        if attest.qualified_signer != ak_qualified_name {
            return Err(VerificationError::SignersDiffer);
        }
        verify_signature(ak, &self.signed.bytes, &self.signed.signature)
            .map_err(VerificationError::CertifySignature)?;
        Ok(CertifiedNow::new(ldevid))
    }
}
