//! The claims set (RFC 9711 §4), keys and ranges as in `docs/claims.cddl`.

use super::{ClaimsError, Ueid};
use crate::cbor::{Decoder, Encoder, Keys};

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
        let optional = [
            self.uptime_seconds.is_some(),
            self.certify_sha256.is_some(),
            self.boot_log_sha256.is_some(),
        ];
        let count = 8 + optional.into_iter().map(u64::from).sum::<u64>();
        let mut out = Encoder::default();
        // In the order of deterministic encoding (RFC 8949 §4.2.1).
        out.map(count);
        out.integer(IAT).integer(self.issued_at);
        out.integer(EAT_NONCE).bytes(&self.nonce);
        out.integer(UEID).bytes(self.ueid.as_bytes());
        if let Some(uptime) = self.uptime_seconds {
            out.integer(UPTIME).unsigned(uptime);
        }
        out.integer(EAT_PROFILE).text(PROFILE);
        out.integer(SWNAME).text(&self.software_name);
        out.integer(SWVERSION).array(1).text(&self.software_version);
        out.integer(PURPOSE).unsigned(self.purpose.id().into());
        out.integer(EXPORTER).bytes(&self.exporter);
        if let Some(digest) = &self.certify_sha256 {
            out.integer(CERTIFY_SHA256).bytes(digest);
        }
        if let Some(digest) = &self.boot_log_sha256 {
            out.integer(BOOT_LOG_SHA256).bytes(digest);
        }
        out.into_bytes()
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, ClaimsError> {
        let mut input = Decoder::new(payload);
        let mut keys = Keys::default();
        let (mut issued_at, mut nonce, mut ueid, mut uptime_seconds) = (None, None, None, None);
        let (mut profile, mut software_name, mut software_version) = (None, None, None);
        let (mut purpose, mut exporter) = (None, None);
        let (mut certify_sha256, mut boot_log_sha256) = (None, None);
        // Keys ascend and unknown ones end it: the count costs nothing.
        for _ in 0..input.map("claims set")? {
            match keys.next(&mut input, "claim key")? {
                IAT => issued_at = Some(time(input.integer("iat")?)?),
                EAT_NONCE => nonce = Some(input.array_of_bytes("eat_nonce")?),
                UEID => ueid = Some(read_ueid(input.bytes("ueid")?)?),
                UPTIME => uptime_seconds = Some(uptime(input.unsigned("uptime")?)?),
                EAT_PROFILE => profile = Some(input.text("eat_profile")?),
                SWNAME => software_name = Some(line("swname", input.text("swname")?)?),
                SWVERSION => {
                    input.array("swversion", 1)?;
                    software_version = Some(line("swversion", input.text("swversion")?)?);
                }
                PURPOSE => purpose = Some(read_purpose(input.unsigned("purpose")?)?),
                EXPORTER => exporter = Some(input.array_of_bytes("exporter")?),
                CERTIFY_SHA256 => certify_sha256 = Some(input.array_of_bytes("certify-sha256")?),
                BOOT_LOG_SHA256 => boot_log_sha256 = Some(input.array_of_bytes("boot-log-sha256")?),
                other => return Err(ClaimsError::UnknownClaim(other)),
            }
        }
        input.finish()?;
        if profile.ok_or(ClaimsError::MissingClaim("eat_profile"))? != PROFILE {
            return Err(ClaimsError::Profile);
        }
        Ok(Self {
            nonce: nonce.ok_or(ClaimsError::MissingClaim("eat_nonce"))?,
            ueid: ueid.ok_or(ClaimsError::MissingClaim("ueid"))?,
            issued_at: issued_at.ok_or(ClaimsError::MissingClaim("iat"))?,
            purpose: purpose.ok_or(ClaimsError::MissingClaim("purpose"))?,
            exporter: exporter.ok_or(ClaimsError::MissingClaim("exporter"))?,
            certify_sha256,
            boot_log_sha256,
            software_name: software_name.ok_or(ClaimsError::MissingClaim("swname"))?,
            software_version: software_version.ok_or(ClaimsError::MissingClaim("swversion"))?,
            uptime_seconds,
        })
    }
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

fn read_ueid(bytes: &[u8]) -> Result<Ueid, ClaimsError> {
    Ueid::parse(bytes).map_err(|_| ClaimsError::OutOfRange("ueid"))
}

fn read_purpose(id: u64) -> Result<Purpose, ClaimsError> {
    u8::try_from(id)
        .ok()
        .and_then(Purpose::from_id)
        .ok_or(ClaimsError::OutOfRange("purpose"))
}

/// Printable ASCII, so that no terminal, log or page can be made to lie.
fn line(claim: &'static str, text: &str) -> Result<String, ClaimsError> {
    let printable = text
        .bytes()
        .all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if text.is_empty() || text.len() > MAX_SOFTWARE_TEXT || !printable {
        return Err(ClaimsError::OutOfRange(claim));
    }
    Ok(text.to_owned())
}
