//! Further EKs of a gateway's TPM, beside the one that its id is of or that its
//! IAK came with. They are on its record, so that the TPM cannot be another
//! gateway by them (ADVERSARY A18).

use holdfast_proto::tpm::templates::EkTemplate;

use super::{Anchors, EkChain, EkPublic, Endorsed, EndorsementError, TpmFacts};
use crate::time::UnixTime;

/// Most EKs beside the first: with it, one of each template that there is. Each
/// costs a chain of certificates and a public-key encryption.
pub const MAX_FURTHER_EKS: usize = EkTemplate::ALL.len() - 1;

/// An EK and what came with it: well formed, untrusted.
#[derive(Clone, Debug)]
struct ClaimedEk {
    ek: EkPublic,
    chain: EkChain,
}

/// Further EKs as a gateway shows them, no two of one template. Untrusted.
#[derive(Clone, Debug, Default)]
pub struct FurtherEks(Vec<ClaimedEk>);

impl FurtherEks {
    /// From TPMT_PUBLIC and certificates of each. `first` is the EK that they
    /// come beside.
    ///
    /// # Errors
    /// [`EndorsementError::TooManyEks`] before anything is read;
    /// [`EndorsementError::EkTwice`], [`EndorsementError::SameEk`];
    /// [`EndorsementError::FurtherEk`] says which is malformed.
    pub fn parse(first: &EkPublic, shown: &[ShownEk<'_>]) -> Result<Self, EndorsementError> {
        if shown.len() > MAX_FURTHER_EKS {
            return Err(EndorsementError::TooManyEks(shown.len()));
        }
        let mut parsed: Vec<ClaimedEk> = Vec::with_capacity(shown.len());
        for (at, one) in shown.iter().enumerate() {
            let of = |which: String| {
                move |source| EndorsementError::FurtherEk {
                    which,
                    source: Box::new(source),
                }
            };
            let ek = EkPublic::parse(one.public).map_err(of(format!("number {at}")))?;
            let label = ek.template().label();
            let mut before = std::iter::once(first).chain(parsed.iter().map(|other| &other.ek));
            if before
                .clone()
                .any(|other| other.template() == ek.template())
            {
                return Err(EndorsementError::EkTwice(label));
            }
            // A certificate names a key and no template: one key must not stand
            // for two, and the other be left for coming back by.
            if before.any(|other| other.spki_sha256() == ek.spki_sha256()) {
                return Err(EndorsementError::SameEk(label));
            }
            let chain = EkChain::parse(one.chain).map_err(of(label.to_owned()))?;
            parsed.push(ClaimedEk { ek, chain });
        }
        Ok(Self(parsed))
    }

    /// The EKs. Untrusted.
    pub fn eks(&self) -> impl Iterator<Item = &EkPublic> + Clone {
        self.0.iter().map(|claimed| &claimed.ek)
    }

    /// By digests of what came with each; for the challenge.
    pub(crate) fn chains_sha256(&self) -> impl Iterator<Item = [u8; 32]> {
        self.0.iter().map(|claimed| claimed.chain.sha256())
    }

    /// Each endorsed as the first is: by its vendor or the owner's list on the EK
    /// road; on the IAK road claimed, as `first` is, for it is to the IAK that
    /// the OEM's word is given.
    ///
    /// # Errors
    /// [`EndorsementError::FurtherEk`] says which is not endorsed, and why.
    pub fn endorse_beside(
        self,
        first: &Endorsed,
        anchors: &Anchors,
        at: UnixTime,
    ) -> Result<Vec<FurtherEk>, EndorsementError> {
        let endorse = |ClaimedEk { ek, chain }: ClaimedEk| {
            let chain_sha256 = chain.sha256();
            let label = ek.template().label();
            match first {
                Endorsed::Ek(_) => {
                    let endorsed = anchors.endorse(&chain, ek, at).map_err(|source| {
                        EndorsementError::FurtherEk {
                            which: label.to_owned(),
                            source: Box::new(source),
                        }
                    })?;
                    Ok(FurtherEk {
                        ek: endorsed.ek().clone(),
                        facts: endorsed.facts().clone(),
                        chain_sha256,
                    })
                }
                Endorsed::Iak(iak) => Ok(FurtherEk {
                    ek,
                    facts: TpmFacts {
                        ek_template: label.to_owned(),
                        ..iak.facts().clone()
                    },
                    chain_sha256,
                }),
            }
        };
        self.0.into_iter().map(endorse).collect()
    }
}

/// One further EK as it comes over the wire.
#[derive(Clone, Copy, Debug)]
pub struct ShownEk<'a> {
    /// TPMT_PUBLIC.
    pub public: &'a [u8],
    /// DER: its certificate, then intermediates.
    pub chain: &'a [Vec<u8>],
}

/// An EK beside the first, endorsed by the rules of the road that the first came
/// by: [`TpmFacts::known_by`] says how. Whose TPM it is in, activation shows.
/// Only [`FurtherEks::endorse_beside`] makes one.
#[derive(Debug)]
#[must_use]
pub struct FurtherEk {
    ek: EkPublic,
    facts: TpmFacts,
    chain_sha256: [u8; 32],
}

impl FurtherEk {
    /// The EK.
    #[must_use]
    pub fn ek(&self) -> &EkPublic {
        &self.ek
    }

    /// [`EkChain::sha256`] of what came with it.
    #[must_use]
    pub fn chain_sha256(&self) -> [u8; 32] {
        self.chain_sha256
    }

    /// As it goes on record.
    #[must_use]
    pub fn facts(&self) -> EkFacts {
        EkFacts {
            spki_sha256: self.ek.spki_sha256(),
            public: self.ek.public().encode(),
            chain_sha256: self.chain_sha256,
            tpm: self.facts.clone(),
        }
    }
}

/// What is on record of one EK. Plain facts: having them proves nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EkFacts {
    /// SHA-256 of its DER SubjectPublicKeyInfo.
    pub spki_sha256: [u8; 32],
    /// TPMT_PUBLIC.
    pub public: Vec<u8>,
    /// [`EkChain::sha256`] of its certificates as shown; on the IAK road, of the
    /// first EK, of the IAK's.
    pub chain_sha256: [u8; 32],
    /// What its certificate says of the TPM, and how it was endorsed.
    pub tpm: TpmFacts,
}
