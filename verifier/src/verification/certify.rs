//! TPM2_Certify: the LDevID key, on the IAK road the IDevID key, and something
//! under each EK live in the TPM of this AK (TPM 2.0 Part 3 §18.2; ADVERSARY A08,
//! A09, A18).

use holdfast_proto::{
    binding::{certify_ek_extra_data, certify_extra_data, certify_idevid_extra_data},
    grpc::v1,
    tpm::{Attested, Hierarchy, Name, templates::ek_child_template},
};

use super::{
    error::VerificationError,
    evidence::SignedAttest,
    keys::{AkPublic, LdevidPublic},
    signature::verify_signature,
    verified::{CertifiedEks, CertifiedNow},
};
use crate::{
    digest::sha256,
    endorsement::{EkPublic, FurtherEk, IdevidPublic},
};

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

    /// As [`parse`](Self::parse), for the certification of the IDevID key.
    ///
    /// # Errors
    /// Sizes and TPM structures.
    pub fn parse_idevid(certification: &v1::KeyCertification) -> Result<Self, VerificationError> {
        let signed = SignedAttest::parse(
            "idevid_certification.attest",
            &certification.attest,
            "idevid_certification.signature",
            &certification.signature,
        )?;
        Ok(Self { signed })
    }

    /// As [`parse`](Self::parse), for the certification of an object under an EK.
    ///
    /// # Errors
    /// Sizes and TPM structures.
    pub fn parse_ek(certification: &v1::KeyCertification) -> Result<Self, VerificationError> {
        let signed = SignedAttest::parse(
            "ek_certification.attest",
            &certification.attest,
            "ek_certification.signature",
            &certification.signature,
        )?;
        Ok(Self { signed })
    }

    /// As [`parse`](Self::parse), from the fields of a TCG-CSR-IDEVID.
    ///
    /// # Errors
    /// Sizes and TPM structures.
    pub fn parse_csr(attest: &[u8], signature: &[u8]) -> Result<Self, VerificationError> {
        let signed = SignedAttest::parse(
            "sgnCertifyInfo",
            attest,
            "sgnCertifyInfoSignature",
            signature,
        )?;
        Ok(Self { signed })
    }

    /// `iak` states that the IDevID key called `idevid` is in its TPM, both
    /// being primary keys of the endorsement hierarchy. When it said so does
    /// not count: neither key can leave the TPM, and the hierarchy's seed makes
    /// both or none.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn verify_primaries(&self, iak: &AkPublic, idevid: &Name) -> Result<(), VerificationError> {
        let place = |name: &Name| Name::qualified_primary(Hierarchy::Endorsement, name);
        let attest = &self.signed.attest;
        let Attested::Certify {
            name,
            qualified_name,
        } = &attest.attested
        else {
            return Err(VerificationError::NotACertify);
        };
        if name != idevid {
            return Err(VerificationError::CertifyName);
        }
        if qualified_name.as_bytes() != place(idevid).as_bytes() {
            return Err(VerificationError::CertifyQualifiedName);
        }
        if attest.qualified_signer != place(iak.name()).as_bytes() {
            return Err(VerificationError::SignersDiffer);
        }
        verify_signature(iak, &self.signed.bytes, &self.signed.signature)
            .map_err(VerificationError::CertifySignature)
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
        let binding = certify_extra_data(nonce, ak.name(), ldevid.name());
        self.verify_object(ak, ak_qualified_name, ldevid.name(), &binding)?;
        Ok(CertifiedNow::new(ldevid))
    }

    /// `iak` states that the IDevID key with this public area is in its TPM.
    pub(super) fn verify_idevid(
        &self,
        iak: &AkPublic,
        iak_qualified_name: &[u8],
        idevid: &IdevidPublic,
        nonce: &[u8; 32],
    ) -> Result<(), VerificationError> {
        let binding = certify_idevid_extra_data(nonce, iak.name(), idevid.name());
        self.verify_object(iak, iak_qualified_name, idevid.name(), &binding)
            .map_err(|source| VerificationError::Idevid(Box::new(source)))
    }

    /// `ak` states that a key with this very public area is an EK of its TPM.
    ///
    /// An EK answers with its private key alone, whatever area was shown with
    /// it, and its policy lets nobody certify it. So an object under it is
    /// certified, whose Qualified Name is over the parent's (Part 1 §16): the
    /// parent has the Name that the shown area has, and stands where an EK does.
    /// None can be made under a key that is loaded by its public area alone.
    fn verify_ek(
        &self,
        ak: &AkPublic,
        ak_qualified_name: &[u8],
        ek: &EkPublic,
        nonce: &[u8; 32],
    ) -> Result<(), VerificationError> {
        let binding = certify_ek_extra_data(nonce, ak.name(), ek.name());
        let place = Name::qualified_primary(Hierarchy::Endorsement, ek.name());
        let alg = ek_child_template().name_alg;
        self.verify_statement(ak, ak_qualified_name, &binding, |name, qualified_name| {
            // The Qualified Name is by the object's hash, which its maker chose:
            // a weak one would say little of the parent.
            if name.alg() != alg {
                return Err(VerificationError::EkChildNameAlg { got: name.alg() });
            }
            if *qualified_name != Name::qualified(place.as_bytes(), name) {
                return Err(VerificationError::NotUnderEk);
            }
            Ok(())
        })
        .map_err(|source| VerificationError::EkName {
            template: ek.template().label(),
            source: Box::new(source),
        })
    }

    fn verify_object(
        &self,
        ak: &AkPublic,
        ak_qualified_name: &[u8],
        object: &Name,
        binding: &[u8; 32],
    ) -> Result<(), VerificationError> {
        self.verify_statement(ak, ak_qualified_name, binding, |name, qualified_name| {
            if name != object {
                return Err(VerificationError::CertifyName);
            }
            if qualified_name == name {
                return Err(VerificationError::CertifyQualifiedName);
            }
            Ok(())
        })
    }

    /// `ak` stated it now, of an object that is as `expect` says by its Name and
    /// Qualified Name.
    fn verify_statement(
        &self,
        ak: &AkPublic,
        ak_qualified_name: &[u8],
        binding: &[u8; 32],
        expect: impl FnOnce(&Name, &Name) -> Result<(), VerificationError>,
    ) -> Result<(), VerificationError> {
        let attest = &self.signed.attest;
        let Attested::Certify {
            name,
            qualified_name,
        } = &attest.attested
        else {
            return Err(VerificationError::NotACertify);
        };
        if attest.extra_data != binding {
            return Err(VerificationError::CertifyBinding);
        }
        expect(name, qualified_name)?;
        if attest.qualified_signer != ak_qualified_name {
            return Err(VerificationError::SignersDiffer);
        }
        verify_signature(ak, &self.signed.bytes, &self.signed.signature)
            .map_err(VerificationError::CertifySignature)
    }
}

/// `ak` certified every EK that was shown, each in its place: `certifications`
/// are of `first`, then of `further`.
pub(super) fn verify_eks(
    certifications: &[KeyCertification],
    ak: &AkPublic,
    ak_qualified_name: &[u8],
    first: EkPublic,
    further: Vec<FurtherEk>,
    nonce: &[u8; 32],
) -> Result<CertifiedEks, VerificationError> {
    let shown = further.len().saturating_add(1);
    if certifications.len() != shown {
        return Err(VerificationError::EksNotCertified {
            certified: certifications.len(),
            shown,
        });
    }
    let eks = std::iter::once(&first).chain(further.iter().map(FurtherEk::ek));
    for (certification, ek) in certifications.iter().zip(eks) {
        certification.verify_ek(ak, ak_qualified_name, ek, nonce)?;
    }
    Ok(CertifiedEks::new(first, further))
}
