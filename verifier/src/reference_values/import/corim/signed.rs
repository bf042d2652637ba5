//! A signed CoRIM (§4.2): COSE_Sign1 (RFC 9052 §4.2) with the CoRIM inside.
//! Read here and not by `proto::cose`, whose profile is Holdfast's own
//! messages': CoRIMs carry a content type, signers and claims.

use std::fmt;

use ciborium::Value;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, UnparsedPublicKey};

use super::{
    Corim, CorimError, Validity,
    document::{is_sign1, validity},
    item::{Item, Map},
};
use crate::endorsement::{KeyMaterial, ShownCertificate};

/// Content types of a CoRIM in a COSE_Sign1: that of the draft, and that of
/// drafts before 03.
const CONTENT_TYPES: [&str; 2] = ["application/rim+cbor", "application/corim-unsigned+cbor"];

/// The key of whoever signs CoRIMs.
pub struct SignerKey {
    curve: Curve,
    point: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Curve {
    P256,
    P384,
}

impl SignerKey {
    /// From a file: a SubjectPublicKeyInfo or an X.509 certificate, in PEM or
    /// DER, of P-256 or P-384. A certificate's dates and issuer say nothing
    /// here: the owner does.
    ///
    /// # Errors
    /// [`CorimError::Key`].
    pub fn read(file: &[u8]) -> Result<Self, CorimError> {
        use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
        let certificate = CertificateDer::from_pem_slice(file).map(|der| der.to_vec());
        let key = SubjectPublicKeyInfoDer::from_pem_slice(file).map(|der| der.to_vec());
        let der = certificate.or(key).unwrap_or_else(|_| file.to_vec());
        let key = match ShownCertificate::parse(&der) {
            Ok(shown) => shown.key().cloned(),
            Err(_) => KeyMaterial::from_spki_der(&der).ok(),
        };
        let point = key
            .and_then(|key| key.to_ec_point())
            .ok_or(CorimError::Key)?;
        let curve = match point.len() {
            65 => Curve::P256,
            97 => Curve::P384,
            _ => return Err(CorimError::Key),
        };
        Ok(Self { curve, point })
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({})", hex::encode(&self.point))
    }
}

/// Validities, by where they stand.
pub(super) type Dates = Vec<(&'static str, Validity)>;

/// One of the two forms of a CoRIM.
pub(super) enum Form {
    Unsigned(Item),
    Signed(Signed),
}

/// Well-formed, and nobody has verified it.
pub(super) struct Signed {
    protected: Vec<u8>,
    alg: i64,
    validities: Dates,
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Signed {
    pub(super) fn of(item: Item) -> Result<Form, CorimError> {
        if !is_sign1(&item) {
            return Ok(Form::Unsigned(item));
        }
        let (_, item) = item.tagged()?;
        let [protected, unprotected, payload, signature] =
            item.tuple("[protected, unprotected, payload, signature]")?;
        let protected = protected.bytes()?;
        // What is not signed decides nothing, and is not looked into.
        unprotected.map()?;
        let header = Item::decode("corim.protected", &protected)?.map()?;
        let (alg, validities) = header_of(header)?;
        if payload.value.is_null() {
            return Err(payload.refused("the CoRIM is not inside (detached payload)"));
        }
        Ok(Form::Signed(Self {
            alg,
            validities,
            payload: payload.bytes()?,
            signature: signature.bytes()?,
            protected,
        }))
    }

    /// Only what verifies is read.
    pub(super) fn verify(self, key: &SignerKey) -> Result<Corim, CorimError> {
        let algorithm = match (self.alg, key.curve) {
            // ESP256 and ES256; ESP384 and ES384 (RFC 9864).
            (-9 | -7, Curve::P256) => &ECDSA_P256_SHA256_FIXED,
            (-51 | -35, Curve::P384) => &ECDSA_P384_SHA384_FIXED,
            (other, _) => return Err(CorimError::Algorithm(other)),
        };
        // Sig_structure (RFC 9052 §4.4), over the header's bytes as they came.
        let structure = Value::Array(vec![
            Value::from("Signature1"),
            Value::Bytes(self.protected),
            Value::Bytes(Vec::new()),
            Value::Bytes(self.payload.clone()),
        ]);
        let mut signed = Vec::new();
        ciborium::into_writer(&structure, &mut signed).map_err(|_| CorimError::Signature)?;
        UnparsedPublicKey::new(algorithm, &key.point)
            .verify(&signed, &self.signature)
            .map_err(|_| CorimError::Signature)?;
        let mut corim = Corim::read(Item::decode("corim.payload", &self.payload)?)?;
        corim.signature_validities = self.validities;
        Ok(corim)
    }
}

/// `protected-corim-header-map` (§4.2.1): its algorithm and its dates.
fn header_of(mut header: Map) -> Result<(i64, Dates), CorimError> {
    if let Some(crit) = header.take("crit", 2) {
        return Err(crit.refused("critical headers, none of which is known"));
    }
    if let Some(envelope) = header.take("payload-hash-alg", 258) {
        return Err(envelope.refused("only a hash of the CoRIM is inside (hash envelope)"));
    }
    let alg = header.need("alg", 1)?.int()?;
    let content = header.need("content-type", 3)?;
    let known =
        matches!(&content.value, Value::Text(text) if CONTENT_TYPES.contains(&text.as_str()));
    if !known {
        return Err(content.refused(format!("{:?} is no CoRIM", content.shown())));
    }
    header.take("kid", 4);
    let mut validities = Dates::new();
    let meta = header.take("corim-meta", 8);
    let claims = header.take("CWT-Claims", 15);
    if meta.is_none() && claims.is_none() {
        return Err(CorimError::Missing {
            at: header.at,
            missing: "corim-meta and no CWT-Claims",
        });
    }
    if let Some(meta) = meta {
        let at = meta.at.clone();
        let mut meta = Item::decode(&at, &meta.bytes()?)?.map()?;
        let mut signer = meta.need("signer", 0)?.map()?;
        signer.need("signer-name", 0)?.text()?;
        if let Some(item) = meta.take("signature-validity", 1) {
            validities.push(("its signature (corim-meta)", validity(item)?));
        }
    }
    if let Some(claims) = claims {
        let mut claims = claims.map()?;
        claims.need("iss", 1)?.text()?;
        let not_after = claims.take("exp", 4).map(Item::time).transpose()?;
        let not_before = claims.take("nbf", 5).map(Item::time).transpose()?;
        validities.push((
            "its signature (CWT claims)",
            Validity {
                not_before,
                not_after,
            },
        ));
    }
    // x5chain and the like: the key is the owner's to give.
    Ok((alg, validities))
}
