//! The checks of a TCG-CSR-IDEVID, cheapest first (TCG "TPM 2.0 Keys for Device
//! Identity and Attestation" §6.2).

use holdfast_proto::{
    devid_challenge::DevidChallenge,
    idevid_csr::SignedIdevidCsr,
    tpm::{
        Public, Signature,
        devid::{DevidKey, DevidTemplate},
    },
};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use super::{CsrRefusal, PendingDevid};
use crate::{
    appraisal,
    digest::sha256,
    endorsement::{Anchors, EkChain, EkPublic, EndorsedEk},
    freshness::random_32,
    identity::DevidSubject,
    time::UnixTime,
    verification::{AkPublic, IdevidKey, KeyCertification, VerificationError, make_credential},
};

/// A request whose every statement that can be checked offline holds. That the
/// EK and the IAK share a TPM is what the challenge is for. Only
/// [`CheckedCsr::check`] makes one.
#[derive(Debug)]
#[must_use]
pub struct CheckedCsr {
    sha256: [u8; 32],
    subject: DevidSubject,
    iak: AkPublic,
    idevid: IdevidKey,
    ek: EndorsedEk,
}

impl CheckedCsr {
    /// Form and digest; names; both public areas exactly a template of the
    /// standard, with sound keys; the request's signature by the IDevID key; the
    /// IDevID key's certification by the IAK; the EK certificate to the vendors'
    /// anchors at the time `at`. prodCaData, bootEvntLog, and the IAK's own
    /// creation ticket and certification are not looked at: nothing is made of
    /// them.
    ///
    /// # Errors
    /// [`CsrRefusal`]: the first rule that it breaks.
    pub fn check(bytes: &[u8], vendors: &Anchors, at: UnixTime) -> Result<Self, CsrRefusal> {
        let signed = SignedIdevidCsr::parse(bytes)?;
        let csr = signed.csr();
        // The names first; the hardware serial is known at the end.
        DevidSubject::new(&csr.product_model, &csr.product_serial, "-")?;

        let iak = area(&csr.attest_public, DevidKey::Iak)?;
        DevidTemplate::matching(&iak, DevidKey::Iak).ok_or(CsrRefusal::NotATemplate)?;
        let iak = AkPublic::new(iak)?;
        let idevid = IdevidKey::new(area(&csr.signing_public, DevidKey::Idevid)?)?;
        let ek_chain = EkChain::parse(std::slice::from_ref(&csr.ek_certificate))?;
        let ek = ek_chain
            .leaf()
            .map(|leaf| EkPublic::of_certificate(leaf))
            .transpose()?
            .ok_or(VerificationError::EkUnfit)?;

        let signature = Signature::parse(&signed.signature).map_err(CsrRefusal::SignatureForm)?;
        idevid
            .verify(signed.contents(), &signature)
            .map_err(CsrRefusal::Signature)?;
        KeyCertification::parse_csr(&csr.signing_certify_info, &csr.signing_certify_signature)?
            .verify_primaries(&iak, idevid.name())?;
        let ek = vendors.endorse(&ek_chain, ek, at)?;

        let hardware = appraisal::hardware_serial(ek.facts(), ek.ek().gateway_id());
        Ok(Self {
            sha256: sha256(&[bytes]),
            subject: DevidSubject::new(&csr.product_model, &csr.product_serial, &hardware)?,
            iak,
            idevid,
            ek,
        })
    }

    /// SHA-256 of the request's file.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The product.
    #[must_use]
    pub fn subject(&self) -> &DevidSubject {
        &self.subject
    }

    /// The IAK.
    #[must_use]
    pub fn iak(&self) -> &AkPublic {
        &self.iak
    }

    /// The IDevID key.
    #[must_use]
    pub fn idevid(&self) -> &IdevidKey {
        &self.idevid
    }

    /// The EK.
    #[must_use]
    pub fn ek(&self) -> &EkPublic {
        self.ek.ek()
    }

    /// A credential over a fresh secret, for the TPM that holds both this EK and
    /// this IAK, and what is kept of it.
    ///
    /// # Errors
    /// [`VerificationError::EkUnfit`], [`VerificationError::Entropy`].
    pub fn challenge(
        &self,
        at: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<(DevidChallenge, PendingDevid), CsrRefusal> {
        let secret = Zeroizing::new(random_32(rng).map_err(|_| VerificationError::Entropy)?);
        let credential = make_credential(self.ek(), self.iak.name(), &secret, rng)?;
        let challenge = DevidChallenge {
            csr_sha256: self.sha256,
            id_object: credential.id_object,
            encrypted_secret: credential.encrypted_secret,
        };
        let pending = PendingDevid::new(self.sha256, sha256(&[secret.as_slice()]), at);
        Ok((challenge, pending))
    }
}

/// TPM2B_PUBLIC or TPMT_PUBLIC: the standard is read both ways. No type of key
/// is as large as an area, so that the first two bytes tell.
fn area(bytes: &[u8], of: DevidKey) -> Result<Public, CsrRefusal> {
    let tpmt = match bytes.split_first_chunk::<2>() {
        Some((size, rest)) if usize::from(u16::from_be_bytes(*size)) == rest.len() => rest,
        _ => bytes,
    };
    Public::parse(tpmt).map_err(|source| CsrRefusal::Area { of, source })
}
