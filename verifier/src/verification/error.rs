//! Why verification refused.

use holdfast_proto::{
    claims::{ClaimsError, CoseAlg, Purpose},
    ima_log::ImaLogError,
    tpm::{EccCurve, HashAlg, Name, ParseError},
};
use thiserror::Error;

use super::keys::AkScheme;

/// A rule that a public area breaks (ADVERSARY A07, A08).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// nameAlg is weak: the Name would not bind the area.
    #[error("nameAlg {0:?} is too weak")]
    NameAlg(HashAlg),
    /// fixedTPM is clear: the key can be duplicated (Part 2 §8.3.3.1).
    #[error("fixedTPM is clear")]
    NotFixedTpm,
    /// fixedParent is clear: the key can be duplicated (Part 2 §8.3.3.3).
    #[error("fixedParent is clear")]
    NotFixedParent,
    /// sensitiveDataOrigin is clear: the key came from outside (Part 2
    /// §8.3.3.4).
    #[error("sensitiveDataOrigin is clear: the key was not made by the TPM")]
    NotMadeByTpm,
    /// sign is clear.
    #[error("sign is clear")]
    NotSigning,
    /// decrypt is set.
    #[error("decrypt is set")]
    Decrypts,
    /// x509sign is set: would let the TPM sign X.509 structures.
    #[error("x509sign is set")]
    X509Sign,
    /// encryptedDuplication is set: meaningless with fixedTPM, so a forgery.
    #[error("encryptedDuplication is set")]
    Duplicable,
    /// An AK must be restricted: else it signs forged attestations (Part 1
    /// §24.5).
    #[error("restricted is clear")]
    NotRestricted,
    /// An LDevID key must not be restricted: it has to sign TLS and COSE.
    #[error("restricted is set")]
    Restricted,
    /// An AK on the EK road is used by its auth value alone: a policy could be
    /// shown of an object that is not the TPM's own.
    #[error("has an authPolicy")]
    Policy,
    /// The key's type is not one that this role takes.
    #[error("key type not allowed for this role")]
    KeyType,
    /// The key's curve is not one that this role takes.
    #[error("curve {0:?} not allowed for this role")]
    Curve(EccCurve),
    /// Coordinates missing or over-long.
    #[error("malformed point")]
    Point,
    /// The key's scheme is not one that this role takes.
    #[error("signing scheme not allowed for this role")]
    Scheme,
    /// A signing key has no symmetric cipher.
    #[error("symmetric algorithm present in a signing key")]
    Symmetric,
    /// RSA size out of bounds.
    #[error("RSA key of {0} bits")]
    RsaBits(u16),
    /// RSA exponent other than 65537.
    #[error("RSA exponent {0}")]
    RsaExponent(u32),
    /// RSA modulus even, or not of the stated size.
    #[error("malformed RSA modulus")]
    RsaModulus,
    /// An RSA modulus of the form of CVE-2017-15361: its factors can be found.
    #[error(
        "its RSA modulus has the form of CVE-2017-15361 (ROCA), so that its factors can be \
         found: update the TPM's firmware and make the key anew, or replace the TPM"
    )]
    Roca,
    /// The area is no template of the standard but for `unique`.
    #[error("equals none of the standard's templates")]
    Template,
}

/// What is wrong with a signature (ADVERSARY A11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SignatureFault {
    /// Its algorithm or hash is not the key's own scheme.
    #[error("not of the key's scheme {0:?}")]
    Scheme(AkScheme),
    /// r or s is empty or longer than the curve's order, or an RSA signature
    /// is not as long as the modulus.
    #[error("wrong length")]
    Length,
    /// r or s is zero.
    #[error("r or s is zero")]
    Zero,
    /// r or s is not below the curve's order, or an RSA signature not below
    /// the modulus.
    #[error("out of range")]
    Range,
    /// Everything is in its place, but it does not verify.
    #[error("does not verify")]
    Invalid,
}

/// Why Evidence or its keys were refused. The value names what broke; the
/// docs name the clause.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum VerificationError {
    // ---- malformed input
    /// The AK's TPMT_PUBLIC does not parse.
    #[error("ak_public: {0}")]
    AkPublic(#[source] ParseError),
    /// The LDevID key's TPMT_PUBLIC does not parse.
    #[error("ldevid_public: {0}")]
    LdevidPublic(#[source] ParseError),
    /// A TPM structure in Evidence or certification does not parse.
    #[error("{field}: {source}")]
    Structure {
        /// Field of the request.
        field: &'static str,
        /// What the parser said.
        source: ParseError,
    },
    /// A field is longer than any honest one.
    #[error("{field} has {len} bytes, at most {max} are taken")]
    TooLong {
        /// Field of the request.
        field: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A digest that is not 32 bytes.
    #[error("{field} has {len} bytes, not 32")]
    NotADigest {
        /// Field of the request.
        field: &'static str,
        /// Its length.
        len: usize,
    },
    /// Claims are not a well-formed COSE_Sign1 of our profile (A14, A15).
    #[error("claims: {0}")]
    Claims(#[source] ClaimsError),
    /// PCR values are not ascending, or an index is above 23.
    #[error("PCR values are not strictly ascending at index {0}")]
    PcrOrder(u32),

    // ---- keys
    /// The AK breaks a rule of its checklist (A07).
    #[error("AK: {0}")]
    Ak(#[source] KeyFault),
    /// The LDevID key breaks a rule of its checklist (A08).
    #[error("LDevID key: {0}")]
    Ldevid(#[source] KeyFault),
    /// The IDevID key of a certificate request breaks a rule of its checklist.
    #[error("IDevID key: {0}")]
    IdevidKey(#[source] KeyFault),
    /// The EK's point is not on its curve, or its modulus is unfit: no
    /// credential can be made for it.
    #[error("no credential can be made for this EK")]
    EkUnfit,
    /// The token was made for another EK than the one endorsed (A03).
    #[error("activated with another EK than the endorsed one")]
    OtherEk,
    /// The token was made for another AK (A03).
    #[error("AK {got} is not the one that was challenged")]
    OtherAk {
        /// Name presented.
        got: Name,
    },
    /// The LDevID key is not the one that was challenged.
    #[error("LDevID key {got} is not the one that was challenged")]
    OtherLdevid {
        /// Name presented.
        got: Name,
    },
    /// The challenge was made for another gateway (A19).
    #[error("the challenge was made for another gateway")]
    OtherGateway,

    // ---- certify
    /// TPMS_ATTEST is not of type certify (TPM_ST_ATTEST_CERTIFY; A09).
    #[error("certification is not a TPM2_Certify attestation")]
    NotACertify,
    /// Certify's extraData is not the expected binding (A08).
    #[error("certification's extraData is not SHA-256(tag ‖ nonce ‖ AK Name ‖ the key's Name)")]
    CertifyBinding,
    /// Certify names another object than the supplied public area (A08).
    #[error("certification is of another key")]
    CertifyName,
    /// Certify's qualified name equals the name: no such object exists.
    #[error("certification's qualified name equals its name")]
    CertifyQualifiedName,
    /// Certify's qualified signer is not that of the quote.
    #[error("certification and quote name different signers")]
    SignersDiffer,
    /// Certify's signature is bad (A08, A11).
    #[error("certification's signature: {0}")]
    CertifySignature(#[source] SignatureFault),

    /// The IDevID key is not shown to be in the IAK's TPM.
    #[error("IDevID key: {0}")]
    Idevid(#[source] Box<VerificationError>),
    /// The IAK road needs a certification of the IDevID key; the EK road has
    /// none.
    #[error("the IDevID key is not certified")]
    IdevidNotCertified,
    /// An EK is not shown to have the public area that came with it (A18).
    #[error("EK {template}: {source}")]
    EkName {
        /// The template that it claims.
        template: &'static str,
        /// What does not hold.
        source: Box<VerificationError>,
    },
    /// What is certified is under another key, or under none: that key is of
    /// another template than it claims, or is no EK.
    #[error("the object that the AK certified is not under a key with this public area")]
    NotUnderEk,
    /// What is certified has another nameAlg than the template for it.
    #[error("the object that the AK certified has nameAlg {got}")]
    EkChildNameAlg {
        /// Its nameAlg.
        got: HashAlg,
    },
    /// As many EKs are certified as are shown.
    #[error("{certified} EKs are certified, {shown} are shown")]
    EksNotCertified {
        /// How many are.
        certified: usize,
        /// How many have to be.
        shown: usize,
    },

    // ---- quote
    /// TPMS_ATTEST is not of type quote (TPM_ST_ATTEST_QUOTE; A09).
    #[error("quote is not a TPM2_Quote attestation")]
    NotAQuote,
    /// The quote's extraData is not the expected binding (A01, A09).
    #[error("quote's extraData is not SHA-256(tag ‖ claims)")]
    QuoteBinding,
    /// The AK does not stand where it should in the endorsement hierarchy.
    #[error(
        "the AK is not a child of the endorsed EK or a primary key of the endorsement hierarchy"
    )]
    QualifiedSigner,
    /// The quote covers other PCRs than required (A10).
    #[error("quote covers {got}, required is {required}")]
    Selection {
        /// Banks and PCRs quoted.
        got: String,
        /// Bank and PCRs required.
        required: String,
    },
    /// The list of PCR values is not exactly the selection (A10).
    #[error("PCR values cover {got:?}, required is {required:?}")]
    PcrList {
        /// Indices in the list.
        got: Vec<u32>,
        /// Indices required.
        required: Vec<u32>,
    },
    /// A PCR value is not as long as its bank's digest (A10).
    #[error("PCR {index} has {len} bytes")]
    PcrLength {
        /// Index.
        index: u32,
        /// Its length.
        len: usize,
    },
    /// PCR values do not hash to the quote's pcrDigest (A10).
    #[error("PCR values do not match the quote's digest")]
    PcrDigest,
    /// The quote's signature is bad (A11).
    #[error("quote's signature: {0}")]
    QuoteSignature(#[source] SignatureFault),

    // ---- claims
    /// The COSE algorithm does not fit the LDevID key (A11).
    #[error("claims are signed as {got:?}, which does not fit the LDevID key")]
    ClaimsAlg {
        /// The header's algorithm.
        got: CoseAlg,
    },
    /// The COSE kid is not the LDevID key's Name (A14).
    #[error("claims' kid is not the Name of the LDevID key")]
    ClaimsKid,
    /// The COSE signature is bad.
    #[error("claims' signature: {0}")]
    ClaimsSignature(#[source] SignatureFault),
    /// Claims hold another nonce (A01, A15).
    #[error("claims hold another nonce")]
    Nonce,
    /// Claims are about another gateway (A15).
    #[error("claims are about gateway {got}")]
    Ueid {
        /// The UEID claimed.
        got: holdfast_proto::binding::Ueid,
    },
    /// Claims were made for another purpose.
    #[error("claims were made to {got:?}, this call is to {expected:?}")]
    Purpose {
        /// Purpose claimed.
        got: Purpose,
        /// Purpose of this call.
        expected: Purpose,
    },
    /// Claims are bound to another channel (A16).
    #[error("claims are bound to another TLS connection")]
    Exporter,
    /// Claims' digest of the certification differs, or is there without one.
    #[error("claims do not hold the digest of the certification")]
    CertifyDigest,
    /// Claims' digest of the boot log differs, or is there without one.
    #[error("claims do not hold the digest of the boot log")]
    BootLogDigest,
    /// A boot log was sent by hash that we do not hold: send it whole.
    #[error("the boot log was sent by hash, but the Verifier does not have it")]
    BootLogUnknown,
    /// The boot log does not parse (A12).
    #[error("the boot log cannot be read: {0}")]
    BootLog(#[from] holdfast_proto::boot_log::BootLogError),
    /// Claims' iat is before the challenge or after now, beyond tolerance.
    #[error("claims were issued at {iat}, outside {earliest} to {latest}")]
    IssuedAt {
        /// Seconds since the Unix epoch.
        iat: i64,
        /// Earliest accepted.
        earliest: i64,
        /// Latest accepted.
        latest: i64,
    },

    // ---- IMA log
    /// An IMA log where PCR 10, which alone could prove it, is not quoted.
    #[error("an IMA log was sent, and PCR 10 is not among the quoted PCRs")]
    ImaNotQuoted,
    /// Text where the binary records belong.
    #[error("the IMA log is not in the format of binary_runtime_measurements")]
    ImaFormat,
    /// An entry that is malformed, before the replay reached the quote (A13).
    #[error("IMA log: {0}")]
    ImaLog(#[source] ImaLogError),
    /// A log from boot that does not lead to the quoted PCR 10 (A13): entries
    /// are missing or were changed.
    #[error("the IMA log does not lead to the quoted PCR 10")]
    ImaMissed,
    /// A log that begins in the middle, and does not go on from where the last
    /// replay ended to the quoted PCR 10: of another boot, or not as it was
    /// (A13). The whole of it may.
    #[error("the IMA log from entry {entry} on does not go on to the quoted PCR 10")]
    ImaResync {
        /// Entries that the sender left out.
        entry: u64,
    },

    // ---- ours
    /// The system's randomness failed.
    #[error("no randomness")]
    Entropy,
}

impl VerificationError {
    /// Whether the input was wrong on its face: no key was needed to tell.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(
            self,
            Self::AkPublic(_)
                | Self::LdevidPublic(_)
                | Self::Structure { .. }
                | Self::TooLong { .. }
                | Self::NotADigest { .. }
                | Self::Claims(_)
                | Self::PcrOrder(_)
                | Self::Ak(_)
                | Self::Ldevid(_)
                | Self::IdevidKey(_)
                | Self::EkUnfit
                | Self::ImaNotQuoted
                | Self::ImaFormat
                | Self::ImaLog(_)
                | Self::BootLog(_)
        )
    }

    /// Whether the fault is ours.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        matches!(self, Self::Entropy)
    }
}
