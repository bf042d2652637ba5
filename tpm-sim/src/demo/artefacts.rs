//! What the story leaves behind, read as a stranger would read it: nothing is
//! taken from the programs' own words that these files can prove.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use holdfast_proto::binding;
use holdfast_proto::claims::{Claims, CoseAlg, SignedClaims};
use holdfast_proto::result::{Ear, SignedEar};
use holdfast_proto::tpm::{Attest, Attested, ClockInfo};
use picky_asn1_x509::{Certificate, PublicKey, SubjectPublicKeyInfo, validity::Time};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::stage::Stage;
use crate::Failure;

/// What a certificate says.
pub(crate) struct Identity {
    pub(crate) subject: String,
    pub(crate) issuer: String,
    pub(crate) serial: String,
    pub(crate) not_before: String,
    pub(crate) not_after: String,
    /// Uncompressed P-256 point.
    key: Vec<u8>,
}

/// Evidence whose signature and binding were checked.
pub(crate) struct Evidence {
    pub(crate) claims: Claims,
    pub(crate) selection: String,
    pub(crate) clock: ClockInfo,
}

impl Identity {
    /// Reads the first certificate of a PEM file.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let der = read_pem(path, "CERTIFICATE")?;
        let certificate: Certificate =
            picky_asn1_der::from_bytes(&der).map_err(|error| unreadable(path, error))?;
        let tbs = certificate.tbs_certificate;
        Ok(Self {
            subject: tbs.subject.to_string(),
            issuer: tbs.issuer.to_string(),
            serial: hex::encode(tbs.serial_number.as_unsigned_bytes_be()),
            not_before: in_words(&tbs.validity.not_before),
            not_after: in_words(&tbs.validity.not_after),
            key: point(path, tbs.subject_public_key_info)?,
        })
    }
}

impl Evidence {
    /// Reads what `--evidence-dir` wrote, and checks that the LDevID key signed
    /// the claims, and that the quote is bound to them and to the challenge.
    pub(crate) fn read(dir: &Path, identity: &Identity) -> Result<Self, Failure> {
        let path = dir.join("claims.cose");
        let cose = Stage::read(&path)?;
        let signed = SignedClaims::parse(&cose).map_err(|error| unreadable(&path, error))?;
        let claims = signed
            .open(|alg, message, signature| match alg {
                CoseAlg::Esp256 => verify(&identity.key, message, signature),
                other => Err(format!("{other:?} is not the LDevID key's algorithm")),
            })
            .map_err(|error| unreadable(&path, error))?;

        let path = dir.join("quote.attest");
        let attest =
            Attest::parse(&Stage::read(&path)?).map_err(|error| unreadable(&path, error))?;
        if attest.extra_data != binding::quote_extra_data(&cose) {
            return Err(unreadable(&path, "the quote is not bound to the claims"));
        }
        let Attested::Quote { selection, .. } = &attest.attested else {
            return Err(unreadable(&path, "not a quote"));
        };
        let selection: Vec<_> = selection.iter().map(ToString::to_string).collect();

        let path = dir.join("challenge.hex");
        let challenge = String::from_utf8_lossy(&Stage::read(&path)?)
            .trim()
            .to_owned();
        if challenge != hex::encode(claims.nonce) {
            return Err(unreadable(&path, "not the nonce in the claims"));
        }
        Ok(Self {
            claims,
            selection: selection.join(" "),
            clock: attest.clock_info,
        })
    }
}

/// Reads an attestation result, as a relying party that trusts the verifier's
/// key in `key`.
pub(crate) fn read_ear(path: &Path, key: &Path) -> Result<Ear, Failure> {
    let text = String::from_utf8_lossy(&Stage::read(path)?)
        .trim()
        .to_owned();
    let spki: SubjectPublicKeyInfo = picky_asn1_der::from_bytes(&read_pem(key, "PUBLIC KEY")?)
        .map_err(|error| unreadable(key, error))?;
    let key = point(key, spki)?;
    let signed = SignedEar::parse_jwt(&text).map_err(|error| unreadable(path, error))?;
    signed
        .open(|message, signature| verify(&key, message, signature))
        .map_err(|error| unreadable(path, error.0))
}

fn verify(key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), String> {
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key)
        .verify(message, signature)
        .map_err(|_| "the signature is not good".to_owned())
}

/// The point of a P-256 key, all that Holdfast uses here.
fn point(path: &Path, spki: SubjectPublicKeyInfo) -> Result<Vec<u8>, Failure> {
    match spki.subject_public_key {
        PublicKey::Ec(point) => Ok(point.payload_view().to_vec()),
        _ => Err(unreadable(path, "its key is not on an elliptic curve")),
    }
}

/// The first block of this label in a PEM file, DER.
fn read_pem(path: &Path, label: &str) -> Result<Vec<u8>, Failure> {
    let text = String::from_utf8_lossy(&Stage::read(path)?).into_owned();
    text.split_once(&format!("-----BEGIN {label}-----"))
        .and_then(|(_, rest)| rest.split_once(&format!("-----END {label}-----")))
        .and_then(|(body, _)| {
            STANDARD
                .decode(body.split_whitespace().collect::<String>())
                .ok()
        })
        .ok_or_else(|| unreadable(path, format!("no PEM block \"{label}\"")))
}

fn in_words(time: &Time) -> String {
    let (year, month, day, hour, minute, second) = match time {
        Time::Utc(time) => (
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
        ),
        Time::Generalized(time) => (
            time.year(),
            time.month(),
            time.day(),
            time.hour(),
            time.minute(),
            time.second(),
        ),
    };
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

fn unreadable(path: &Path, why: impl std::fmt::Display) -> Failure {
    Failure::Failed(format!("{}: {why}", path.display()))
}
