//! Certification requests (PKCS #10, RFC 2986): how an issuing key asks an
//! offline root for its certificate. The request proves that the key is the
//! asker's, and says nothing else that the root would believe: the name is the
//! root's to give.

use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject as _};

use super::{
    IdentityError,
    ca_public::CaPublic,
    certificate as x509, der, oid, pem,
    signed::{Signed, element},
    signer::CaSigner,
};

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

/// PEM of a request for the signer's key.
///
/// # Errors
/// [`IdentityError::Sign`], [`IdentityError::BadSignature`].
pub fn certification_request(signer: &dyn CaSigner) -> Result<String, IdentityError> {
    let public = signer.public();
    let tag = hex::encode(public.key_identifier().get(..4).unwrap_or_default());
    let subject = x509::name(&[(
        oid::COMMON_NAME,
        der::utf8_string(&format!("Holdfast Issuing CA {tag}")),
    )]);
    let info = der::sequence(&[
        &der::unsigned(&[]),
        &subject,
        &public.spki(),
        // attributes [0] IMPLICIT SET OF: none.
        &der::implicit_sequence(0, &[]),
    ]);
    let signature = signer.sign(&info)?;
    public.verify(&info, &signature)?;
    let request = x509::assemble(&info, public, &signature);
    Ok(pem::encode("CERTIFICATE REQUEST", &request))
}

/// A key whose holder asked for a certificate: the request is signed with it.
/// Only [`RequestedKey::parse`] makes one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestedKey(CaPublic);

impl RequestedKey {
    /// From the PEM of a request, ours or another program's.
    ///
    /// # Errors
    /// [`IdentityError::BadRequest`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let bad = IdentityError::BadRequest;
        let request = CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
            .map_err(|_| bad("it is not a CERTIFICATE REQUEST in PEM"))?;
        let signed = Signed::parse(request.as_ref()).ok_or(bad("it does not decode"))?;
        let spki = subject_key(signed.to_be_signed).ok_or(bad("it does not decode"))?;
        let public =
            CaPublic::from_spki(spki).map_err(|_| bad("its key is not on P-256 or P-384"))?;
        if signed.algorithm != public.signature_algorithm() {
            return Err(bad("it is not signed with the hash of its key's curve"));
        }
        public
            .verify(signed.to_be_signed, signed.signature)
            .map_err(|_| bad("it is not signed with the key that it is for"))?;
        Ok(Self(public))
    }

    /// The key.
    #[must_use]
    pub fn public(&self) -> &CaPublic {
        &self.0
    }
}

/// subjectPublicKeyInfo of a CertificationRequestInfo (RFC 2986 §4.1).
fn subject_key(info: &[u8]) -> Option<&[u8]> {
    let (info, _) = element(info, SEQUENCE)?;
    let (version, rest) = element(info.content, INTEGER)?;
    let (_subject, rest) = element(rest, SEQUENCE)?;
    let (spki, _attributes) = element(rest, SEQUENCE)?;
    (version.content == [0]).then_some(spki.whole)
}
