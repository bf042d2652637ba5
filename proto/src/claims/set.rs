//! The claims set (RFC 9711 §4), keys and ranges as in `docs/claims.cddl`.

use ciborium::Value;

use super::{ClaimsError, Ueid};
use crate::cbor::{self, Fields, FromValue};

/// `eat_profile` (RFC 9711 §6) of what this module reads and writes.
pub const PROFILE: &str = "tag:holdfast.dev,2026:evidence/1";

// Registered claims (IANA CWT registry).
const IAT: i64 = 6;
const EAT_NONCE: i64 = 10;
const UEID: i64 = 256;
const UPTIME: i64 = 261;
const EAT_PROFILE: i64 = 265;
const SWNAME: i64 = 270;
const SWVERSION: i64 = 271;

// Private use, below -65536 (RFC 8392 §9.1).
const PURPOSE: i64 = -75_001;
const EXPORTER: i64 = -75_002;
const CERTIFY_SHA256: i64 = -75_003;
const BOOT_LOG_SHA256: i64 = -75_004;

/// 9999-12-31T23:59:59Z, the last second that X.509 and RFC 3339 can say.
const MAX_TIME: i64 = 253_402_300_799;

/// A hundred years: more than any gateway stays up, small enough for every
/// number type that policies and JSON know.
const MAX_UPTIME: u64 = 100 * 366 * 86_400;

/// Name and version of a program are for people: one short line.
const MAX_SOFTWARE_TEXT: usize = 64;

/// What a gateway claims. Fields outside their ranges encode, and are refused
/// on the other side.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// `eat_nonce`: the challenge's.
    pub nonce: [u8; 32],
    /// `ueid`: the gateway's id.
    pub ueid: Ueid,
    /// `iat`: seconds since the Unix epoch by the gateway's clock, 0 to the end
    /// of year 9999. A clock that nobody vouches for.
    pub issued_at: i64,
    /// What the evidence is for.
    pub purpose: Purpose,
    /// TLS exporter of the connection that carries the evidence.
    pub exporter: [u8; 32],
    /// SHA-256 of the `TPMS_ATTEST` that certifies the LDevID key, where one
    /// comes along.
    pub certify_sha256: Option<[u8; 32]>,
    /// SHA-256 of the boot log, where the gateway keeps one.
    pub boot_log_sha256: Option<[u8; 32]>,
    /// `swname`: 1 to 64 characters of printable ASCII.
    pub software_name: String,
    /// `swversion`: 1 to 64 characters of printable ASCII.
    pub software_version: String,
    /// `uptime`: seconds since the gateway's boot, at most a hundred years.
    pub uptime_seconds: Option<u64>,
}

/// What evidence is for: evidence of one purpose is refused for every other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// First enrolment.
    Enrol,
    /// Enrolment of a gateway on record.
    Recover,
    /// Re-attestation that leaves the LDevID as it is.
    Attest,
    /// Re-attestation that renews the LDevID.
    Renew,
}

impl Purpose {
    const ALL: [Self; 4] = [Self::Enrol, Self::Recover, Self::Attest, Self::Renew];

    /// The value of the claim.
    #[must_use]
    pub const fn id(self) -> u8 {
        match self {
            Self::Enrol => 1,
            Self::Recover => 2,
            Self::Attest => 3,
            Self::Renew => 4,
        }
    }

    /// The inverse of [`Purpose::id`].
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.id() == id)
    }

    /// For logs and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Enrol => "enrol",
            Self::Recover => "recover",
            Self::Attest => "attest",
            Self::Renew => "renew",
        }
    }
}

impl Claims {
    pub(super) fn encode(&self) -> Vec<u8> {
        let always = [
            (IAT, self.issued_at.into()),
            (EAT_NONCE, self.nonce.as_slice().into()),
            (UEID, self.ueid.as_bytes().as_slice().into()),
            (EAT_PROFILE, PROFILE.into()),
            (SWNAME, self.software_name.as_str().into()),
            (
                SWVERSION,
                Value::Array(vec![self.software_version.as_str().into()]),
            ),
            (PURPOSE, self.purpose.id().into()),
            (EXPORTER, self.exporter.as_slice().into()),
        ];
        let digest = |digest: [u8; 32]| digest.as_slice().into();
        let sometimes = [
            self.uptime_seconds.map(|seconds| (UPTIME, seconds.into())),
            self.certify_sha256
                .map(|sha256| (CERTIFY_SHA256, digest(sha256))),
            self.boot_log_sha256
                .map(|sha256| (BOOT_LOG_SHA256, digest(sha256))),
        ];
        cbor::encode(&cbor::map(
            always.into_iter().chain(sometimes.into_iter().flatten()),
        ))
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, ClaimsError> {
        let mut set = Fields::from_value("claims set", cbor::decode("claims set", payload)?)?;
        if needed::<String>(&mut set, "eat_profile", EAT_PROFILE)? != PROFILE {
            return Err(ClaimsError::Profile);
        }
        let claims = Self {
            nonce: needed(&mut set, "eat_nonce", EAT_NONCE)?,
            ueid: ueid(&needed::<Vec<u8>>(&mut set, "ueid", UEID)?)?,
            issued_at: time(needed(&mut set, "iat", IAT)?)?,
            purpose: purpose(needed(&mut set, "purpose", PURPOSE)?)?,
            exporter: needed(&mut set, "exporter", EXPORTER)?,
            certify_sha256: set.take("certify-sha256", CERTIFY_SHA256)?,
            boot_log_sha256: set.take("boot-log-sha256", BOOT_LOG_SHA256)?,
            software_name: line("swname", needed(&mut set, "swname", SWNAME)?)?,
            software_version: version(needed(&mut set, "swversion", SWVERSION)?)?,
            uptime_seconds: set.take("uptime", UPTIME)?.map(uptime).transpose()?,
        };
        if let Some(key) = set.left_over() {
            return Err(ClaimsError::UnknownClaim(key));
        }
        cbor::same("claims set", &claims.encode(), payload)?;
        Ok(claims)
    }
}

fn needed<T: FromValue>(set: &mut Fields, claim: &'static str, key: i64) -> Result<T, ClaimsError> {
    set.take(claim, key)?
        .ok_or(ClaimsError::MissingClaim(claim))
}

fn time(seconds: i64) -> Result<i64, ClaimsError> {
    (0..=MAX_TIME)
        .contains(&seconds)
        .then_some(seconds)
        .ok_or(ClaimsError::OutOfRange("iat"))
}

fn uptime(seconds: u64) -> Result<u64, ClaimsError> {
    (seconds <= MAX_UPTIME)
        .then_some(seconds)
        .ok_or(ClaimsError::OutOfRange("uptime"))
}

fn ueid(bytes: &[u8]) -> Result<Ueid, ClaimsError> {
    Ueid::parse(bytes).map_err(|_| ClaimsError::OutOfRange("ueid"))
}

fn purpose(id: u64) -> Result<Purpose, ClaimsError> {
    u8::try_from(id)
        .ok()
        .and_then(Purpose::from_id)
        .ok_or(ClaimsError::OutOfRange("purpose"))
}

/// One version, without a scheme (RFC 9711 §4.2.7).
fn version(texts: Vec<String>) -> Result<String, ClaimsError> {
    let claim = "swversion";
    let [text] = <[String; 1]>::try_from(texts).map_err(|_| ClaimsError::OutOfRange(claim))?;
    line(claim, text)
}

/// Printable ASCII, so that no terminal, log or page can be made to lie.
fn line(claim: &'static str, text: String) -> Result<String, ClaimsError> {
    let printable = text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if text.is_empty() || text.len() > MAX_SOFTWARE_TEXT || !printable {
        return Err(ClaimsError::OutOfRange(claim));
    }
    Ok(text)
}
