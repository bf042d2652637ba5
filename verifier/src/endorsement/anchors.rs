//! Trust anchors, and the one way to an [`EndorsedEk`].

use std::{cell::RefCell, fmt};

use rustls_pki_types::{CertificateDer, TrustAnchor};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath, anchor_from_trusted_cert};

use super::{
    certificate::{Certificate, SubjectKey, display_name},
    chain::EkChain,
    crl::{Crl, CrlError, CrlFacts, ParsedCrl, ReadCrl},
    ek::EkPublic,
    error::{EndorsementError, WeakAlg},
    facts::{PathCertificate, TpmFacts},
    leniency::{Leniencies, Leniency},
    missing::MissingIssuer,
    oid,
    policy_ca::{Authority, Climb},
    rules::{Rules, StaleCrl},
    signature,
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

    /// The DER certificates of a path, EK certificate first, root last; and
    /// whether it took that an end is excused.
    fn path(
        &self,
        chain: &EkChain,
        leaf: &Certificate<'_>,
        at: UnixTime,
    ) -> Result<(Vec<Vec<u8>>, Option<Leniency>), EndorsementError> {
        let lenient = self.rules.leniencies.allow(Leniency::Expired);
        let mut then = at;
        let mut first = None;
        // Each turn goes back to the end of one more certificate of the path.
        for _ in 0..=EkChain::MAX_CERTIFICATES {
            match self.path_at(chain, leaf, then) {
                Ok(path) => return Ok((path, first.map(|_| Leniency::Expired))),
                Err(EndorsementError::Expired { not_after }) if lenient && not_after < then => {
                    first.get_or_insert(not_after);
                    then = not_after;
                }
                Err(error) => {
                    // Never valid all at once: then the first end counts.
                    return Err(match (first, error) {
                        (Some(not_after), EndorsementError::NotYetValid { .. }) => {
                            EndorsementError::Expired { not_after }
                        }
                        (_, error) => error,
                    });
                }
            }
        }
        Err(EndorsementError::PathTooLong)
    }

    fn path_at(
        &self,
        chain: &EkChain,
        leaf: &Certificate<'_>,
        at: UnixTime,
    ) -> Result<Vec<Vec<u8>>, EndorsementError> {
        let Some(leaf_der) = chain.leaf() else {
            return Ok(Vec::new());
        };
        let leniencies = &self.rules.leniencies;
        let pool: Vec<Authority<'_>> = self
            .named_above(leaf, chain.intermediates())
            .into_iter()
            .filter_map(authority)
            .filter(|a| a.certificate.expect_strong(0, leniencies).is_ok())
            .collect();
        let issues = |root: &&Known| {
            root.subject == leaf.issuer || pool.iter().any(|a| a.certificate.issuer == root.subject)
        };
        let roots: Vec<Authority<'_>> = (self.roots.iter().filter(issues))
            .filter_map(|root| authority(&root.der))
            .collect();
        let refused = RefCell::new(None);
        let revoked = |issuer: &Certificate<'_>, certificate: &Certificate<'_>| {
            let verdict = self.revocation(issuer, certificate);
            let is_revoked = verdict.is_some();
            if is_revoked {
                *refused.borrow_mut() = verdict;
            }
            is_revoked
        };
        let climb = Climb {
            roots: &roots,
            pool: &pool,
            leniencies,
            at,
            revoked: &revoked,
            budget: Climb::budget(),
        };
        let found = if leaf.has_critical_policies() {
            climb.leaf(leaf).map_or_else(
                || {
                    leaf.expect_valid(at)?;
                    Err(webpki::Error::UnknownIssuer.into())
                },
                |above| Ok(above.iter().map(|a| a.der.to_vec()).collect()),
            )
        } else {
            self.by_webpki(leaf_der, &climb)
        };
        match found {
            Ok(above) => Ok(std::iter::once(leaf_der.to_vec()).chain(above).collect()),
            Err(EndorsementError::Path(error)) => {
                if let Some(revoked) = refused.take() {
                    return Err(revoked);
                }
                if error != webpki::Error::UnknownIssuer {
                    return Err(EndorsementError::Path(error));
                }
                // webpki did not get to see these.
                for a in pool.iter().map(|a| &a.certificate) {
                    if a.has_critical_policies() {
                        a.expect_valid(at)?;
                    }
                }
                let known = pool.iter().map(|a| a.der);
                let missing = MissingIssuer::above(leaf, known);
                Err(EndorsementError::UnknownIssuer(Box::new(missing)))
            }
            Err(error) => Err(error),
        }
    }

    /// The certificates among what was sent and imported that a chain of names
    /// leads to from the leaf.
    fn named_above<'a>(
        &'a self,
        leaf: &Certificate<'_>,
        sent: &'a [CertificateDer<'static>],
    ) -> Vec<&'a [u8]> {
        let sent = sent.iter().filter_map(|der| {
            let certificate = Certificate::parse(der, 0).ok()?;
            Some((der.as_ref(), certificate.subject, certificate.issuer))
        });
        let imported = self.intermediates.iter();
        let mut left: Vec<(&[u8], &[u8], &[u8])> = sent
            .chain(imported.map(|c| (c.der.as_slice(), c.subject.as_slice(), c.issuer.as_slice())))
            .collect();
        let (mut found, mut wanted) = (Vec::new(), vec![leaf.issuer.to_vec()]);
        // Each name is looked for once, and takes out what it names.
        while let Some(name) = wanted.pop() {
            left.retain(|(der, subject, issuer)| {
                let is_named = *subject == name.as_slice();
                if is_named {
                    found.push(*der);
                    wanted.push(issuer.to_vec());
                }
                !is_named
            });
        }
        found
    }

    /// What stands above the leaf, root last.
    fn by_webpki<'a>(
        &self,
        leaf: &CertificateDer<'_>,
        climb: &Climb<'a>,
    ) -> Result<Vec<Vec<u8>>, EndorsementError> {
        // webpki cannot pass through these: they stand as anchors where they
        // stand below a root.
        let (special, plain): (Vec<_>, Vec<_>) = climb
            .pool
            .iter()
            .partition(|a| a.certificate.has_critical_policies());
        let plain: Vec<CertificateDer<'_>> =
            plain.iter().map(|a| CertificateDer::from(a.der)).collect();
        let mut anchors = (climb.roots.iter())
            .map(|root| anchor(root.der))
            .collect::<Result<Vec<_>, _>>()?;
        let mut standing = Vec::new();
        for special in special {
            if let Some(stands) = climb.issuer(special) {
                anchors.push(anchor(special.der)?);
                standing.push(stands);
            }
        }
        // What stands above the anchor of a path, anchor included.
        let above = |path: &VerifiedPath<'_>| {
            let place = anchors.iter().position(|a| a == path.anchor())?;
            match place.checked_sub(climb.roots.len()) {
                None => Some((climb.roots.get(place).into_iter().collect::<Vec<_>>(), None)),
                Some(place) => standing
                    .get(place)
                    .map(|stands| (stands.path.clone(), stands.issuers_below)),
            }
        };
        // Called for each path that webpki finds, so that a worse path does not
        // hide a good one.
        let expect = |path: &VerifiedPath<'_>| {
            let between = path.intermediate_certificates().count();
            let (above, issuers_below) = above(path).ok_or(webpki::Error::UnknownIssuer)?;
            if issuers_below.is_some_and(|most| between > most) {
                return Err(webpki::Error::PathLenConstraintViolated);
            }
            let parse = |der| Certificate::parse(der, 0).map_err(|_| webpki::Error::BadDer);
            let ders: Vec<_> = path.intermediate_certificates().map(|c| c.der()).collect();
            let mut certificates = vec![parse(leaf)?];
            for der in &ders {
                let issuer = parse(der)?;
                if !issuer.may_issue() {
                    return Err(webpki::Error::EndEntityUsedAsCa);
                }
                certificates.push(issuer);
            }
            let top = above.first().map(|a| &a.certificate);
            let issuers = certificates.iter().skip(1).chain(top);
            for (certificate, issuer) in certificates.iter().zip(issuers) {
                if (climb.revoked)(issuer, certificate) {
                    return Err(webpki::Error::CertRevoked);
                }
            }
            Ok(())
        };
        let leaf_cert = EndEntityCert::try_from(leaf)?;
        let path = leaf_cert.verify_for_usage(
            signature::algorithms(climb.leniencies),
            &anchors,
            &plain,
            climb.at.to_pki(),
            KeyUsage::required_if_present(oid::EK_CERTIFICATE),
            None,
            Some(&expect),
        )?;
        let (top, _) = above(&path).ok_or(webpki::Error::UnknownIssuer)?;
        let between = path.intermediate_certificates().map(|c| c.der().to_vec());
        Ok(between.chain(top.iter().map(|a| a.der.to_vec())).collect())
    }

    /// The refusal of a certificate that its issuer revoked.
    fn revocation(
        &self,
        issuer: &Certificate<'_>,
        certificate: &Certificate<'_>,
    ) -> Option<EndorsementError> {
        let (name, key) = (sha256(&[issuer.subject]), sha256(&[issuer.spki]));
        let crl = self.crls.iter().find(|crl| crl.is_of(&name, &key))?;
        crl.revokes(certificate.serial)
            .then(|| EndorsementError::Revoked {
                issuer: display_name(certificate.issuer),
                serial: hex::encode(certificate.serial),
            })
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

fn authority(der: &[u8]) -> Option<Authority<'_>> {
    let certificate = Certificate::parse(der, 0).ok()?;
    Some(Authority { der, certificate })
}

fn anchor(der: &[u8]) -> Result<TrustAnchor<'static>, EndorsementError> {
    ca(der)?.expect_anchor(0)?;
    Ok(anchor_from_trusted_cert(&CertificateDer::from(der))?.to_owned())
}

fn ca(der: &[u8]) -> Result<Certificate<'_>, EndorsementError> {
    if der.len() > EkChain::MAX_CERTIFICATE_LEN {
        return Err(EndorsementError::TooLong {
            at: 0,
            len: der.len(),
        });
    }
    let certificate = Certificate::parse(der, 0)?;
    if certificate.may_issue() {
        Ok(certificate)
    } else {
        Err(EndorsementError::IssuerNotCa)
    }
}

/// A CA certificate that may be imported: strong key, CA, known extensions.
/// For the shell: to tell roots from intermediates and to list them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CertificateFacts {
    /// SHA-256 of the DER.
    pub sha256: [u8; 32],
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub key_sha256: [u8; 32],
    /// Subject, for people; inert.
    pub subject: String,
    /// To be trusted by itself; else an intermediate.
    pub root: bool,
    /// When it ends.
    pub not_after: UnixTime,
}

impl CertificateFacts {
    /// From DER. Self-signed it is a root, else an intermediate.
    ///
    /// # Errors
    /// Where it is malformed, no CA's, weak, or has unknown critical
    /// extensions. A root's own signature proves nothing and may be weak; an
    /// intermediate's may not, unless `leniencies` excuse it.
    pub fn parse(der: &[u8], leniencies: &Leniencies) -> Result<Self, EndorsementError> {
        let certificate = ca(der)?;
        if certificate.is_self_issued() {
            return Self::as_root(der);
        }
        certificate.expect_strong(0, leniencies)?;
        Ok(Self::of(&certificate, der, false))
    }

    /// Whether a CA certificate is self-signed, by its names.
    ///
    /// # Errors
    /// As [`CertificateFacts::as_root`].
    pub fn self_signed(der: &[u8]) -> Result<bool, EndorsementError> {
        Ok(ca(der)?.is_self_issued())
    }

    /// From DER, to be trusted by itself although another CA issued it: for an
    /// intermediate whose own signature or extensions will not do, or whose
    /// root is not to be trusted for everything.
    ///
    /// # Errors
    /// Where it is malformed, no CA's, or its key is weak.
    pub fn as_root(der: &[u8]) -> Result<Self, EndorsementError> {
        let certificate = ca(der)?;
        certificate.expect_anchor(0)?;
        Ok(Self::of(&certificate, der, true))
    }

    fn of(certificate: &Certificate<'_>, der: &[u8], root: bool) -> Self {
        Self {
            sha256: sha256(&[der]),
            key_sha256: sha256(&[certificate.spki]),
            subject: display_name(certificate.subject),
            root,
            not_after: certificate.not_after,
        }
    }
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
