//! Trust anchors, and the one way to an [`EndorsedEk`].

mod path;

use std::fmt;

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use super::{
    authority::ca,
    certificate::{Certificate, SubjectKey},
    chain::EkChain,
    crl::{Crl, CrlError, CrlFacts, ParsedCrl, ReadCrl},
    ek::EkPublic,
    error::{EndorsementError, WeakAlg},
    facts::{PathCertificate, TpmFacts},
    leniency::Leniency,
    oid,
    rules::{Rules, StaleCrl},
};
use crate::{digest::sha256, time::UnixTime};

/// keyUsage bits in the first octet (RFC 5280 §4.2.1.3).
const KEY_ENCIPHERMENT: u8 = 0x20;
const KEY_AGREEMENT: u8 = 0x08;

/// Vendor roots, intermediates and CRLs that the owner imported, and the
/// owner's rules.
pub struct Anchors {
    roots: Vec<Known>,
    intermediates: Vec<Known>,
    crls: Vec<Crl>,
    rules: Rules,
}

/// An imported certificate, with its names at hand: of hundreds that are
/// imported, an endorsement has to look into two or three.
struct Known {
    der: Vec<u8>,
    /// Whole DER of the Names.
    subject: Vec<u8>,
    issuer: Vec<u8>,
}

impl fmt::Debug for Anchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Anchors")
            .field("roots", &self.roots.len())
            .field("intermediates", &self.intermediates.len())
            .field("crls", &self.crls.len())
            .finish_non_exhaustive()
    }
}

impl Anchors {
    /// From DER certificates. Roots are trusted because the owner says so, and
    /// need not be self-signed; their own signatures and extensions are not
    /// what trust rests on. Intermediates only help to find a path: one that
    /// the rules do not let pass is as if it were not there.
    ///
    /// # Errors
    /// [`EndorsementError::Import`] names the certificate that cannot serve.
    pub fn new(roots: Vec<Vec<u8>>, intermediates: Vec<Vec<u8>>) -> Result<Self, EndorsementError> {
        let import = |at| {
            move |source| EndorsementError::Import {
                at,
                source: Box::new(source),
            }
        };
        let known = |ders: Vec<Vec<u8>>| {
            ders.into_iter()
                .enumerate()
                .map(|(at, der)| Known::new(der).map_err(import(at)))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            roots: known(roots)?,
            intermediates: known(intermediates)?,
            crls: Vec::new(),
            rules: Rules::default(),
        })
    }

    /// With the owner's rules in place of the default ones.
    #[must_use]
    pub fn with_rules(mut self, rules: Rules) -> Self {
        self.rules = rules;
        self
    }

    /// With DER CRLs of the imported CAs. A certificate on one is refused; one
    /// whose CA has no CRL here is not.
    ///
    /// # Errors
    /// [`EndorsementError::Crl`] names the CRL that does not parse, or that no
    /// imported CA signed.
    pub fn with_crls(mut self, crls: &[Vec<u8>]) -> Result<Self, EndorsementError> {
        for (at, der) in crls.iter().enumerate() {
            let crl = ParsedCrl::parse(der)
                .and_then(|crl| crl.verify(self.authorities()))
                .map_err(|source| EndorsementError::Crl { at, source })?;
            self.add_crl(crl);
        }
        Ok(self)
    }

    /// With those of `crls` that parse and that imported CAs signed; and what
    /// is wrong with the others.
    pub fn with_good_crls(mut self, crls: &[Vec<u8>]) -> (Self, Vec<EndorsementError>) {
        let mut bad = Vec::new();
        for (at, der) in crls.iter().enumerate() {
            match ParsedCrl::parse(der).and_then(|crl| crl.verify(self.authorities())) {
                Ok(crl) => self.add_crl(crl),
                Err(source) => bad.push(EndorsementError::Crl { at, source }),
            }
        }
        (self, bad)
    }

    /// A CRL that may be imported at the time `at`: an imported CA signed it,
    /// and it is no older than the one in use.
    ///
    /// # Errors
    /// [`CrlError`].
    pub fn read_crl(&self, der: &[u8], at: UnixTime) -> Result<ReadCrl, CrlError> {
        let crl = ParsedCrl::parse(der)?.verify(self.authorities())?;
        let this_update = crl.facts().this_update;
        if this_update > at {
            return Err(CrlError::Future(this_update));
        }
        let in_use = self.crls.iter().find(|other| other.is_of_same_ca(&crl));
        match in_use.map(Crl::facts) {
            Some(newer) if newer.this_update > this_update => Err(CrlError::Older {
                this_update,
                in_use: newer.this_update,
            }),
            other => Ok(ReadCrl::new(
                &crl,
                other.is_some_and(|other| other.sha256 == crl.facts().sha256),
            )),
        }
    }

    /// Of several CRLs of one CA the newest counts.
    fn add_crl(&mut self, crl: Crl) {
        match self.crls.iter_mut().find(|other| other.is_of_same_ca(&crl)) {
            Some(other) if other.facts().this_update < crl.facts().this_update => *other = crl,
            Some(_) => {}
            None => self.crls.push(crl),
        }
    }

    /// What the CRLs in use say of themselves.
    pub fn crls(&self) -> impl Iterator<Item = &CrlFacts> {
        self.crls.iter().map(Crl::facts)
    }

    /// Whether no EK at all can be endorsed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.rules.fingerprints.is_empty()
    }

    /// The owner's rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Whether `ek` is the key of an EK certificate that chains to an imported
    /// root at the time `at` (EK Credential Profile §3.2, RFC 5280 §6), or,
    /// without any certificate, one that the owner listed.
    ///
    /// # Errors
    /// [`EndorsementError`] names the certificate and the rule that it broke.
    pub fn endorse(
        &self,
        chain: &EkChain,
        ek: EkPublic,
        at: UnixTime,
    ) -> Result<EndorsedEk, EndorsementError> {
        if ek.is_roca() {
            return Err(EndorsementError::Roca);
        }
        let Some(leaf_der) = chain.leaf() else {
            return self.by_fingerprint(ek);
        };
        let leaf = Certificate::parse(leaf_der, 0)?;
        let mut used = chain.quirks();
        self.rules.leniencies.expect(&used, 0)?;
        used.extend(self.expect_ek_certificate(&leaf, &ek)?);
        for (position, der) in chain.intermediates().iter().enumerate() {
            let position = position.saturating_add(1);
            Certificate::parse(der, position)?.expect_strong(position, &self.rules.leniencies)?;
        }
        let mut facts = TpmFacts::read(&leaf, leaf_der, &ek)?;
        let (path, expired) = self.path(chain, &leaf, at)?;
        used.extend(expired);
        for der in path.iter().take(path.len().saturating_sub(1)) {
            let certificate = Certificate::parse(der, 0)?;
            used.extend(&certificate.quirks);
            let sha1 = certificate.weak_signature() == Some(WeakAlg::Sha1);
            used.extend(sha1.then_some(Leniency::Sha1Signature));
        }
        facts.leniencies = used.into_iter().collect();
        facts.path = path
            .iter()
            .map(|der| Ok(PathCertificate::of(&Certificate::parse(der, 0)?, der)))
            .collect::<Result<_, EndorsementError>>()?;
        // By its own key: as a certificate that is a root itself would be.
        if let [first, above @ ..] = facts.path.as_slice()
            && above
                .iter()
                .any(|issuer| issuer.key_sha256 == first.key_sha256)
        {
            return Err(EndorsementError::SelfSigned);
        }
        self.expect_allowed(&facts, at)?;
        Ok(EndorsedEk { ek, facts })
    }

    fn by_fingerprint(&self, ek: EkPublic) -> Result<EndorsedEk, EndorsementError> {
        let spki_sha256 = ek.spki_sha256();
        let listed = self.rules.fingerprints.get(&spki_sha256);
        let entry = listed.ok_or_else(|| EndorsementError::NoCertificate {
            spki_sha256: hex::encode(spki_sha256),
        })?;
        let facts = TpmFacts::listed(entry, &ek);
        self.rules.expect_certified_firmware(&facts)?;
        Ok(EndorsedEk { ek, facts })
    }

    /// What an EK certificate must be, whoever issued it; and what of that is
    /// excused.
    fn expect_ek_certificate(
        &self,
        leaf: &Certificate<'_>,
        ek: &EkPublic,
    ) -> Result<Vec<Leniency>, EndorsementError> {
        let leniencies = &self.rules.leniencies;
        let mut used = Vec::new();
        if !ek.is_key(&leaf.key) {
            return Err(EndorsementError::OtherKey);
        }
        leaf.expect_strong(0, leniencies)?;
        if leaf.is_self_issued() {
            return Err(EndorsementError::SelfSigned);
        }
        if leaf.is_ca() {
            return Err(EndorsementError::LeafIsCa);
        }
        let (bit, name) = match leaf.key {
            SubjectKey::Rsa { .. } => (KEY_ENCIPHERMENT, "keyEncipherment"),
            SubjectKey::Ec { .. } | SubjectKey::Other { .. } => (KEY_AGREEMENT, "keyAgreement"),
        };
        if leaf.key_usage() & bit == 0 {
            let instead = bit == KEY_AGREEMENT && leaf.key_usage() & KEY_ENCIPHERMENT != 0;
            if !instead || !leniencies.allow(Leniency::EccKeyEncipherment) {
                return Err(EndorsementError::KeyUsage(name));
            }
            used.push(Leniency::EccKeyEncipherment);
        }
        if !leaf.has_extended_key_usage(oid::EK_CERTIFICATE) {
            return Err(EndorsementError::ExtendedKeyUsage);
        }
        Ok(used)
    }

    /// What the owner's rules say of an endorsement that a path bears out.
    fn expect_allowed(&self, facts: &TpmFacts, at: UnixTime) -> Result<(), EndorsementError> {
        self.rules.expect_not_denied(&facts.path)?;
        if self.rules.stale_crl == StaleCrl::Refuse {
            let pairs = facts.path.iter().zip(facts.path.iter().skip(1));
            let stale = pairs
                .filter_map(|(c, issuer)| self.crl_of(&c.issuer_sha256, &issuer.key_sha256))
                .find(|crl| crl.is_stale(at));
            if let Some(crl) = stale {
                return Err(EndorsementError::StaleCrl {
                    issuer: crl.facts().issuer.clone(),
                    next_update: crl.facts().next_update,
                });
            }
        }
        self.rules.expect_certified_firmware(facts)
    }

    /// By hex of the SHA-256 of the issuer's Name, and of its key.
    pub(super) fn crl_of(&self, name_sha256: &str, key_sha256: &str) -> Option<&Crl> {
        let digest = |text: &str| {
            let mut digest = [0; 32];
            hex::decode_to_slice(text, &mut digest)
                .ok()
                .map(|()| digest)
        };
        let (name, key) = (digest(name_sha256)?, digest(key_sha256)?);
        self.crls.iter().find(|crl| crl.is_of(&name, &key))
    }

    pub(super) fn crl_of_key_id(&self, key_id: &[u8]) -> Option<&Crl> {
        self.crls.iter().find(|crl| crl.is_of_key_id(key_id))
    }

    /// By hex of its SHA-256.
    pub(super) fn has_root(&self, sha256_hex: &str) -> bool {
        self.roots
            .iter()
            .any(|root| hex::encode(sha256(&[&root.der])) == sha256_hex)
    }

    fn authorities(&self) -> impl Iterator<Item = &[u8]> {
        self.roots
            .iter()
            .chain(&self.intermediates)
            .map(|known| known.der.as_slice())
    }
}

impl Known {
    fn new(der: Vec<u8>) -> Result<Self, EndorsementError> {
        let certificate = ca(&der)?;
        certificate.expect_anchor(0)?;
        let (subject, issuer) = (certificate.subject.to_vec(), certificate.issuer.to_vec());
        // What webpki cannot read as an anchor is told at import.
        anchor(&der)?;
        Ok(Self {
            der,
            subject,
            issuer,
        })
    }
}

fn anchor(der: &[u8]) -> Result<TrustAnchor<'static>, EndorsementError> {
    ca(der)?.expect_anchor(0)?;
    Ok(anchor_from_trusted_cert(&CertificateDer::from(der))?.to_owned())
}

/// An endorsement key whose certificate chains to an imported vendor root (EK
/// Credential Profile 2.x §3), or that the owner listed by its fingerprint:
/// [`TpmFacts::known_by`] says which. Only [`Anchors::endorse`] makes one.
#[derive(Debug)]
#[must_use]
pub struct EndorsedEk {
    ek: EkPublic,
    facts: TpmFacts,
}

impl EndorsedEk {
    /// The EK.
    #[must_use]
    pub fn ek(&self) -> &EkPublic {
        &self.ek
    }

    /// What its certificate says of the TPM, and what it took to endorse it.
    #[must_use]
    pub fn facts(&self) -> &TpmFacts {
        &self.facts
    }
}
