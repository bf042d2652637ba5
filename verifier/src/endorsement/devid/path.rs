//! Chains of DevID certificates, and the anchors that one OEM has. Strict: what
//! TPM vendors' old certificates have to be excused, no OEM's are.

use std::{collections::BTreeSet, fmt};

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use crate::{
    digest::sha256,
    endorsement::{
        EkChain, EndorsementError, Leniencies, MissingIssuer, PathCertificate,
        certificate::Certificate, signature,
    },
    time::UnixTime,
};

/// A DevID certificate first, then intermediates in any order; well formed,
/// untrusted.
#[derive(Clone, Debug)]
pub(super) struct DevidChain {
    leaf: CertificateDer<'static>,
    rest: Vec<CertificateDer<'static>>,
    sha256: [u8; 32],
}

impl DevidChain {
    pub(super) fn parse(certificates: &[Vec<u8>]) -> Result<Self, EndorsementError> {
        if certificates.len() > EkChain::MAX_CERTIFICATES {
            return Err(EndorsementError::TooMany(certificates.len()));
        }
        for (at, der) in certificates.iter().enumerate() {
            if der.len() > EkChain::MAX_CERTIFICATE_LEN {
                return Err(EndorsementError::TooLong { at, len: der.len() });
            }
            Certificate::parse(der, at)?;
        }
        let (leaf, rest) = certificates
            .split_first()
            .ok_or(EndorsementError::Malformed {
                at: 0,
                part: "certificate (none)",
            })?;
        // A digest for each, so that certificates cannot be shifted against
        // one another.
        let digests: Vec<[u8; 32]> = certificates.iter().map(|der| sha256(&[der])).collect();
        let own = |der: &Vec<u8>| CertificateDer::from(der.clone());
        Ok(Self {
            leaf: own(leaf),
            rest: rest.iter().map(own).collect(),
            sha256: sha256(&[digests.as_flattened()]),
        })
    }

    pub(super) fn leaf(&self) -> &CertificateDer<'static> {
        &self.leaf
    }

    pub(super) fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.rest
    }

    /// SHA-256 of the certificates' SHA-256 digests, in order.
    pub(super) fn sha256(&self) -> [u8; 32] {
        self.sha256
    }
}

/// Nothing is excused.
pub(super) fn strict() -> Leniencies {
    std::iter::empty().collect()
}

/// One OEM's roots and intermediates, as the owner imported them.
pub struct OemCas {
    roots: Vec<TrustAnchor<'static>>,
    /// DER of the roots, in the same order.
    root_ders: Vec<Vec<u8>>,
    intermediates: Vec<CertificateDer<'static>>,
    /// SHA-256 of the SubjectPublicKeyInfo of CAs that the owner withdrew.
    withdrawn: BTreeSet<[u8; 32]>,
}

impl fmt::Debug for OemCas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OemCas")
            .field("roots", &self.roots.len())
            .field("intermediates", &self.intermediates.len())
            .field("withdrawn", &self.withdrawn.len())
            .finish()
    }
}

impl OemCas {
    /// From DER certificates of CAs. Intermediates only help to find a path.
    ///
    /// # Errors
    /// [`EndorsementError::Import`] names the certificate that cannot serve.
    pub fn new(roots: Vec<Vec<u8>>, intermediates: Vec<Vec<u8>>) -> Result<Self, EndorsementError> {
        let checked = |(at, der): (usize, &Vec<u8>)| -> Result<(), EndorsementError> {
            let usable = Certificate::parse(der, 0).and_then(|certificate| {
                certificate.expect_anchor(0)?;
                match certificate.may_issue() {
                    true => Ok(()),
                    false => Err(EndorsementError::IssuerNotCa),
                }
            });
            usable.map_err(|source| EndorsementError::Import {
                at,
                source: Box::new(source),
            })
        };
        (roots.iter().enumerate()).try_for_each(checked)?;
        (intermediates.iter().enumerate()).try_for_each(checked)?;
        let anchors = roots.iter().map(|der| {
            let der = CertificateDer::from(der.as_slice());
            Ok(anchor_from_trusted_cert(&der)?.to_owned())
        });
        Ok(Self {
            roots: anchors.collect::<Result<_, EndorsementError>>()?,
            root_ders: roots,
            withdrawn: BTreeSet::new(),
            intermediates: intermediates
                .into_iter()
                .map(CertificateDer::from)
                .collect(),
        })
    }

    /// Refuses every path through a CA with one of these keys (SHA-256 of the
    /// SubjectPublicKeyInfo), whoever certified it.
    #[must_use]
    pub fn without(mut self, keys: BTreeSet<[u8; 32]>) -> Self {
        self.withdrawn = keys;
        self
    }

    fn is_withdrawn(&self, der: &[u8]) -> bool {
        let key = Certificate::parse(der, 0).map(|certificate| sha256(&[certificate.spki]));
        key.map_or(true, |key| self.withdrawn.contains(&key))
    }

    /// Whether this path, as it is on record of a gateway, ends in one of these
    /// roots and goes through nothing that was withdrawn. Of an old record, whose
    /// path is not known, it does so while nothing was withdrawn.
    ///
    /// # Errors
    /// What it fails at, for people.
    pub(super) fn stands(&self, path: &[PathCertificate]) -> Result<(), String> {
        let Some(root) = path.last() else {
            return match self.withdrawn.is_empty() {
                true => Ok(()),
                false => Err("a path that is not on record".to_owned()),
            };
        };
        let withdrawn = path.iter().find(|certificate| {
            let mut keys = self.withdrawn.iter().map(hex::encode);
            keys.any(|key| key == certificate.key_sha256)
        });
        let mut roots = self.root_ders.iter().map(|der| hex::encode(sha256(&[der])));
        let known = roots.any(|known| known == root.sha256);
        match withdrawn.or((!known).then_some(root)) {
            None => Ok(()),
            Some(certificate) => Err(certificate.subject.clone()),
        }
    }

    /// The path from the chain's leaf to one of these roots, at the time `at`
    /// (RFC 5280 §6).
    /// An extended key usage, where there is one, must have `purpose` (an OID's
    /// content).
    pub(super) fn verify(
        &self,
        chain: &DevidChain,
        purpose: &'static [u8],
        at: UnixTime,
    ) -> Result<Vec<PathCertificate>, EndorsementError> {
        let candidates: Vec<CertificateDer<'_>> = (chain.rest.iter())
            .chain(&self.intermediates)
            .map(|der| CertificateDer::from(der.as_ref()))
            .collect();
        // Called for each path that webpki finds: a withdrawn CA on one does not
        // hide another that is good.
        let expect = |path: &VerifiedPath<'_>| {
            expect_issuers(path)?;
            let root = self.root_of(path).ok_or(webpki::Error::UnknownIssuer)?;
            let mut between = path.intermediate_certificates();
            match self.is_withdrawn(root) || between.any(|c| self.is_withdrawn(&c.der())) {
                true => Err(webpki::Error::CertRevoked),
                false => Ok(()),
            }
        };
        let leaf = EndEntityCert::try_from(&chain.leaf)?;
        leaf.verify_for_usage(
            signature::algorithms(&strict()),
            &self.roots,
            &candidates,
            at.to_pki(),
            KeyUsage::required_if_present(purpose),
            None,
            Some(&expect),
        )
        .map_err(|error| match (error, Certificate::parse(&chain.leaf, 0)) {
            (webpki::Error::UnknownIssuer, Ok(leaf)) => {
                let known = candidates.iter().map(AsRef::as_ref);
                let missing = MissingIssuer::above(&leaf, known);
                EndorsementError::UnknownIssuer(Box::new(missing))
            }
            (other, _) => other.into(),
        })
        .and_then(|path| self.facts(&path, &chain.leaf))
    }

    /// DER of the root that a path ends in.
    fn root_of(&self, path: &VerifiedPath<'_>) -> Option<&[u8]> {
        let place = self.roots.iter().position(|root| root == path.anchor())?;
        self.root_ders.get(place).map(Vec::as_slice)
    }

    /// What is recorded of a path: leaf first, root last.
    fn facts(
        &self,
        path: &VerifiedPath<'_>,
        leaf: &[u8],
    ) -> Result<Vec<PathCertificate>, EndorsementError> {
        let of = |der: &[u8]| {
            Certificate::parse(der, 0).map(|certificate| PathCertificate::of(&certificate, der))
        };
        let mut facts = vec![of(leaf)?];
        for certificate in path.intermediate_certificates() {
            facts.push(of(&certificate.der())?);
        }
        facts.extend(self.root_of(path).map(of).transpose()?);
        Ok(facts)
    }
}

/// Every issuer between leaf and root may issue: webpki leaves keyCertSign to
/// us (RFC 5280 §6.1.4 n).
fn expect_issuers(path: &VerifiedPath<'_>) -> Result<(), webpki::Error> {
    let may_issue = |der: &[u8]| Certificate::parse(der, 0).is_ok_and(|c| c.may_issue());
    if path
        .intermediate_certificates()
        .all(|c| may_issue(&c.der()))
    {
        Ok(())
    } else {
        Err(webpki::Error::EndEntityUsedAsCa)
    }
}
