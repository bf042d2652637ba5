//! Claims: opened with the LDevID key and bound to challenge and channel
//! (RFC 9711, RFC 9052; ADVERSARY A14 to A16).

use holdfast_proto::{
    binding::Ueid,
    claims::{Claims, CoseAlg, OpenError, Purpose, SignedClaims},
    tpm::{EccCurve, Name, Public},
};

use super::{
    error::{SignatureFault, VerificationError},
    evidence::{BootLog, SentLog},
    keys::LdevidPublic,
    signature::verify_fixed,
    verified::ChannelBinding,
};
use crate::time::UnixTime;

/// How far a gateway's clock may be off. Freshness does not rest on it: the
/// nonce is ours. A claim from further ahead or before is a broken clock that
/// the owner should hear of.
pub(super) const IAT_TOLERANCE_SECONDS: i64 = 300;

/// What the claims must say.
pub(super) struct Expected<'a> {
    pub(super) gateway: &'a Ueid,
    pub(super) nonce: &'a [u8; 32],
    pub(super) purpose: Purpose,
    pub(super) channel: &'a ChannelBinding,
    pub(super) certify_sha256: Option<[u8; 32]>,
    pub(super) issued: UnixTime,
    pub(super) now: UnixTime,
}

/// Checks the signature, then everything that binds the claims.
pub(super) fn open(
    signed: SignedClaims,
    ldevid: &LdevidPublic,
    expected: &Expected<'_>,
) -> Result<Claims, VerificationError> {
    let claims = open_signed(signed, ldevid.public(), ldevid.curve(), Some(ldevid.name()))?;
    expected.check(claims)
}

/// Checks algorithm, kid (where the key's Name is known) and signature.
pub(super) fn open_signed(
    signed: SignedClaims,
    public: &Public,
    curve: EccCurve,
    name: Option<&Name>,
) -> Result<Claims, VerificationError> {
    let fits = matches!(
        (signed.alg(), curve),
        (CoseAlg::Esp256, EccCurve::P256) | (CoseAlg::Esp384, EccCurve::P384)
    );
    if !fits {
        return Err(VerificationError::ClaimsAlg { got: signed.alg() });
    }
    if name.is_some_and(|name| signed.kid() != name.as_bytes()) {
        return Err(VerificationError::ClaimsKid);
    }
    signed
        .open(|_, message, signature| verify_fixed(public, curve, message, signature))
        .map_err(|e| match e {
            OpenError::Signature(fault) => VerificationError::ClaimsSignature(fault),
            OpenError::Claims(e) => VerificationError::Claims(e),
            // A way to fail that proto learns later is a failure all the same.
            _ => VerificationError::ClaimsSignature(SignatureFault::Invalid),
        })
}

impl Expected<'_> {
    fn check(&self, claims: Claims) -> Result<Claims, VerificationError> {
        if claims.nonce != *self.nonce {
            return Err(VerificationError::Nonce);
        }
        if claims.ueid != *self.gateway {
            return Err(VerificationError::Ueid { got: claims.ueid });
        }
        if claims.purpose != self.purpose {
            return Err(VerificationError::Purpose {
                got: claims.purpose,
                expected: self.purpose,
            });
        }
        if claims.exporter != *self.channel.bytes() {
            return Err(VerificationError::Exporter);
        }
        if claims.certify_sha256 != self.certify_sha256 {
            return Err(VerificationError::CertifyDigest);
        }
        let earliest = self.issued.plus(-IAT_TOLERANCE_SECONDS).seconds();
        let latest = self.now.plus(IAT_TOLERANCE_SECONDS).seconds();
        if !(earliest..=latest).contains(&claims.issued_at) {
            return Err(VerificationError::IssuedAt {
                iat: claims.issued_at,
                earliest,
                latest,
            });
        }
        Ok(claims)
    }
}

/// The boot log is the one whose digest the claims hold; by hash only where
/// we hold that very log.
pub(super) fn bind_log(
    sent: SentLog,
    claims: &Claims,
    known: Option<&[u8; 32]>,
) -> Result<BootLog, VerificationError> {
    let digest = match &sent {
        SentLog::Absent => None,
        SentLog::Whole { sha256, .. } | SentLog::ByHash(sha256) => Some(*sha256),
    };
    if claims.boot_log_sha256 != digest {
        return Err(VerificationError::BootLogDigest);
    }
    match sent {
        SentLog::Absent => Ok(BootLog::Absent),
        SentLog::Whole { content, sha256 } => Ok(BootLog::Whole { content, sha256 }),
        SentLog::ByHash(sha256) if known == Some(&sha256) => Ok(BootLog::Known { sha256 }),
        SentLog::ByHash(_) => Err(VerificationError::BootLogUnknown),
    }
}
