//! What a challenge remembers, and for whom.

use std::fmt;

use holdfast_proto::{
    binding::Ueid,
    tpm::{Name, PcrSelection},
};
use subtle::{Choice, ConstantTimeEq};

use super::{
    codec::{Reader, Writer},
    error::FreshnessError,
    sealer::{FreshChallenge, TokenId},
};
use crate::{
    digest::sha256,
    endorsement::{DevidDigests, OemName},
    time::UnixTime,
};

/// Reference-value class: which golden measurements a gateway is held to. 1
/// to 64 of `a-z 0-9 . _ -`, first a letter or a digit, so that it is inert in
/// paths, logs and policy (ADVERSARY A18, A27).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(String);

impl Class {
    const MAX: usize = 64;

    /// # Errors
    /// [`FreshnessError::NotAClass`].
    pub fn parse(text: &str) -> Result<Self, FreshnessError> {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let mut bytes = text.bytes();
        let first = bytes.next().is_some_and(plain);
        let rest = bytes.all(|b| plain(b) || matches!(b, b'.' | b'_' | b'-'));
        if first && rest && text.len() <= Self::MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(FreshnessError::NotAClass)
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// By what a gateway may take part. The shell looks it up before step 1 and
/// again in the transaction that records the grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admission {
    /// On what ground.
    pub basis: AdmissionBasis,
    /// The class that the ground assigns.
    pub class: Class,
}

/// The ground of an [`Admission`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AdmissionBasis {
    /// A join token, by the store's id for it: 1 to 64 bytes.
    JoinToken(String),
    /// Recovery of a gateway on record.
    OnRecord,
    /// The owner named the device: its EK, which is the challenge's.
    Listed,
    /// Nobody admitted it yet. The exchange proves the TPM, and is no ground
    /// for a grant.
    Awaiting,
    /// The product's serial number is on the owner's allow list of its OEM.
    OemSerial {
        /// The OEM.
        oem: OemName,
        /// serialNumber of the IDevID: 1 to 64 bytes.
        serial: String,
    },
}

/// What stands behind the gateway's keys, as it was presented in step 1 and
/// must be in step 2: by digests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Presented {
    /// The EK road: [`crate::endorsement::EkChain::sha256`].
    EkChain([u8; 32]),
    /// The IAK road.
    Devid(DevidDigests),
}

impl Presented {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::EkChain(sha256) => {
                w.u8(1);
                w.array(sha256);
            }
            Self::Devid(digests) => {
                w.u8(2);
                w.array(&digests.iak_chain_sha256);
                w.array(&digests.idevid_chain_sha256);
                w.bytes(digests.idevid.as_bytes());
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, FreshnessError> {
        match r.u8()? {
            1 => Ok(Self::EkChain(r.array()?)),
            2 => Ok(Self::Devid(DevidDigests {
                iak_chain_sha256: r.array()?,
                idevid_chain_sha256: r.array()?,
                idevid: r.name()?,
            })),
            _ => Err(FreshnessError::Content),
        }
    }

    /// # Errors
    /// Which part is another.
    fn expect(&self, got: &Self) -> Result<(), FreshnessError> {
        match (self, got) {
            (Self::EkChain(asked), Self::EkChain(got)) if asked == got => Ok(()),
            (Self::EkChain(_), Self::EkChain(_)) => Err(FreshnessError::OtherEkChain),
            (Self::Devid(asked), Self::Devid(got)) => {
                if asked.iak_chain_sha256 != got.iak_chain_sha256 {
                    return Err(FreshnessError::OtherIakChain);
                }
                if asked.idevid != got.idevid {
                    return Err(FreshnessError::OtherIdevid(got.idevid.clone()));
                }
                if asked.idevid_chain_sha256 != got.idevid_chain_sha256 {
                    return Err(FreshnessError::OtherIdevidChain);
                }
                Ok(())
            }
            _ => Err(FreshnessError::OtherRoad),
        }
    }
}

impl Admission {
    const ID_MAX: usize = 64;

    fn write(&self, w: &mut Writer) -> Result<(), FreshnessError> {
        match &self.basis {
            AdmissionBasis::JoinToken(id) if (1..=Self::ID_MAX).contains(&id.len()) => {
                w.u8(1);
                w.bytes(id.as_bytes());
            }
            AdmissionBasis::JoinToken(id) => return Err(FreshnessError::AdmissionId(id.len())),
            AdmissionBasis::OnRecord => w.u8(2),
            AdmissionBasis::Listed => w.u8(3),
            AdmissionBasis::Awaiting => w.u8(4),
            AdmissionBasis::OemSerial { oem, serial } => {
                w.u8(5);
                w.bytes(oem.as_str().as_bytes());
                w.bytes(serial.as_bytes());
            }
        }
        w.bytes(self.class.0.as_bytes());
        Ok(())
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, FreshnessError> {
        let basis = match r.u8()? {
            1 => AdmissionBasis::JoinToken(r.text()?.to_owned()),
            2 => AdmissionBasis::OnRecord,
            3 => AdmissionBasis::Listed,
            4 => AdmissionBasis::Awaiting,
            5 => AdmissionBasis::OemSerial {
                oem: OemName::parse(r.text()?).map_err(|_| FreshnessError::Content)?,
                serial: r.text()?.to_owned(),
            },
            _ => return Err(FreshnessError::Content),
        };
        Ok(Self {
            basis,
            class: Class::parse(r.text()?)?,
        })
    }
}

/// Which of the two enrolment flows. A token of one does not open the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnrolmentPurpose {
    /// A gateway that is not on record.
    Enrol,
    /// A gateway on record whose LDevID expired, or that was silent.
    Recover,
}

/// What every challenge holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Challenge {
    /// UEID of the gateway.
    pub gateway: Ueid,
    /// Name of its AK.
    pub ak: Name,
    /// Name of its LDevID key.
    pub ldevid: Name,
    /// To be found in claims and certify.
    pub nonce: [u8; 32],
    /// PCRs that the quote must cover, exactly.
    pub selection: PcrSelection,
    /// Id of the policy in force.
    pub policy_id: [u8; 32],
    /// When it was made.
    pub issued: UnixTime,
    /// First moment at which it is refused.
    pub expires: UnixTime,
}

/// An EK beside the first, as it was challenged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengedEk {
    /// Its Name.
    pub ek: Name,
    /// [`crate::endorsement::EkChain::sha256`] of what came with it.
    pub chain_sha256: [u8; 32],
    /// SHA-256 of the secret in its credential.
    pub secret_sha256: [u8; 32],
}

/// A challenge in enrolment or recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnrolmentState {
    /// Which flow.
    pub purpose: EnrolmentPurpose,
    /// Name of the EK that the credential was made for.
    pub ek: Name,
    /// What stands behind the keys.
    pub presented: Presented,
    /// SHA-256 of the secret in the credential.
    pub secret_sha256: [u8; 32],
    /// Further EKs, each challenged with a secret of its own for the same AK.
    pub further: Vec<ChallengedEk>,
    /// By what the gateway was admitted.
    pub admission: Admission,
    /// The rest.
    pub challenge: Challenge,
}

/// A challenge for a gateway on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationState {
    /// All of it.
    pub challenge: Challenge,
}

/// What a token can seal.
pub(super) trait Sealable: Sized {
    fn purpose(&self) -> u8;
    fn challenge(&self) -> &Challenge;
    fn write(&self, w: &mut Writer) -> Result<(), FreshnessError>;
    fn read(purpose: u8, r: &mut Reader<'_>) -> Result<Self, FreshnessError>;
}

/// Purpose octets in the token. Authenticated, and part of the key derivation.
impl EnrolmentPurpose {
    pub(super) const fn octet(self) -> u8 {
        match self {
            Self::Enrol => 1,
            Self::Recover => 2,
        }
    }
}

impl AttestationState {
    pub(super) const PURPOSE: u8 = 3;
}

impl Sealable for EnrolmentState {
    fn purpose(&self) -> u8 {
        self.purpose.octet()
    }

    fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    fn write(&self, w: &mut Writer) -> Result<(), FreshnessError> {
        w.bytes(self.ek.as_bytes());
        self.presented.write(w);
        w.array(&self.secret_sha256);
        w.u8(u8::try_from(self.further.len()).map_err(|_| FreshnessError::Content)?);
        for further in &self.further {
            further.write(w);
        }
        self.admission.write(w)?;
        self.challenge.write(w);
        Ok(())
    }

    fn read(purpose: u8, r: &mut Reader<'_>) -> Result<Self, FreshnessError> {
        Ok(Self {
            purpose: match purpose {
                1 => EnrolmentPurpose::Enrol,
                2 => EnrolmentPurpose::Recover,
                _ => return Err(FreshnessError::Purpose),
            },
            ek: r.name()?,
            presented: Presented::read(r)?,
            secret_sha256: r.array()?,
            further: (0..r.u8()?)
                .map(|_| ChallengedEk::read(r))
                .collect::<Result<_, _>>()?,
            admission: Admission::read(r)?,
            challenge: Challenge::read(r)?,
        })
    }
}

impl ChallengedEk {
    fn write(&self, w: &mut Writer) {
        w.bytes(self.ek.as_bytes());
        w.array(&self.chain_sha256);
        w.array(&self.secret_sha256);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, FreshnessError> {
        Ok(Self {
            ek: r.name()?,
            chain_sha256: r.array()?,
            secret_sha256: r.array()?,
        })
    }
}

impl Sealable for AttestationState {
    fn purpose(&self) -> u8 {
        Self::PURPOSE
    }

    fn challenge(&self) -> &Challenge {
        &self.challenge
    }

    fn write(&self, w: &mut Writer) -> Result<(), FreshnessError> {
        self.challenge.write(w);
        Ok(())
    }

    fn read(_: u8, r: &mut Reader<'_>) -> Result<Self, FreshnessError> {
        Ok(Self {
            challenge: Challenge::read(r)?,
        })
    }
}

impl Challenge {
    fn write(&self, w: &mut Writer) {
        w.array(self.gateway.as_bytes());
        w.bytes(self.ak.as_bytes());
        w.bytes(self.ldevid.as_bytes());
        w.array(&self.nonce);
        w.selection(&self.selection);
        w.array(&self.policy_id);
        w.i64(self.issued.seconds());
        w.i64(self.expires.seconds());
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, FreshnessError> {
        Ok(Self {
            gateway: r.ueid()?,
            ak: r.name()?,
            ldevid: r.name()?,
            nonce: r.array()?,
            selection: r.selection()?,
            policy_id: r.array()?,
            issued: UnixTime::from_seconds(r.i64()?),
            expires: UnixTime::from_seconds(r.i64()?),
        })
    }
}

impl FreshChallenge<EnrolmentState> {
    /// The keys that are repeated in step 2 must be those of step 1: the token
    /// holds only their Names and hashes (ARCHITECTURE §4). `further` has the Name
    /// of each further EK and the digest of what came with it, in order.
    ///
    /// # Errors
    /// Which of them is another.
    pub fn expect_keys<'k>(
        &self,
        ek: &Name,
        presented: &Presented,
        further: impl Iterator<Item = (&'k Name, [u8; 32])>,
        ak: &Name,
        ldevid: &Name,
    ) -> Result<(), FreshnessError> {
        let state = self.state();
        if *ek != state.ek {
            return Err(FreshnessError::OtherEk(ek.clone()));
        }
        state.presented.expect(presented)?;
        let shown = further.map(|(ek, chain_sha256)| (ek.as_bytes(), chain_sha256));
        let challenged = (state.further.iter()).map(|f| (f.ek.as_bytes(), f.chain_sha256));
        if !challenged.eq(shown) {
            return Err(FreshnessError::OtherFurtherEks);
        }
        if *ak != state.challenge.ak {
            return Err(FreshnessError::OtherAk(ak.clone()));
        }
        if *ldevid != state.challenge.ldevid {
            return Err(FreshnessError::OtherLdevid(ldevid.clone()));
        }
        Ok(())
    }

    /// Takes the secrets that TPM2_ActivateCredential returned: for the EK, and
    /// for each further one in order. Digests are compared, in constant time, and
    /// all of them whatever the first is: neither the time nor the outcome tells
    /// a guesser how near he is, or with which.
    ///
    /// # Errors
    /// [`FreshnessError::WrongSecret`], whichever is wrong, missing or too many,
    /// and whatever its length.
    pub fn answer(
        self,
        secret: &[u8],
        further: &[Vec<u8>],
    ) -> Result<AnsweredChallenge, FreshnessError> {
        let state = self.state();
        let mut right = sha256(&[secret]).ct_eq(&state.secret_sha256);
        right &= Choice::from(u8::from(further.len() == state.further.len()));
        for (challenged, secret) in state.further.iter().zip(further) {
            right &= sha256(&[secret]).ct_eq(&challenged.secret_sha256);
        }
        if bool::from(right) {
            Ok(AnsweredChallenge { fresh: self })
        } else {
            Err(FreshnessError::WrongSecret)
        }
    }
}

/// A fresh enrolment challenge whose secrets were all found: the TPM that holds
/// the challenged EKs and AK took part. Not Clone; spent by
/// [`crate::verification::PendingActivation::complete`].
#[derive(Debug)]
#[must_use]
pub struct AnsweredChallenge {
    fresh: FreshChallenge<EnrolmentState>,
}

impl AnsweredChallenge {
    /// What it holds.
    #[must_use]
    pub fn state(&self) -> &EnrolmentState {
        self.fresh.state()
    }

    /// What every challenge holds.
    #[must_use]
    pub fn challenge(&self) -> &Challenge {
        self.fresh.challenge()
    }

    /// For the single-use table.
    #[must_use]
    pub fn token_id(&self) -> TokenId {
        self.fresh.token_id()
    }
}
