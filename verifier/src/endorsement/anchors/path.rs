//! The certification path of an EK certificate (RFC 5280 §6).

use std::cell::RefCell;

use rustls_pki_types::CertificateDer;
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::{Anchors, Known, anchor};
use crate::{
    digest::sha256,
    endorsement::{
        certificate::{Certificate, display_name},
        chain::EkChain,
        error::EndorsementError,
        leniency::Leniency,
        missing::MissingIssuer,
        oid,
        policy_ca::{Authority, Climb},
        signature,
    },
    time::UnixTime,
};

impl Anchors {
    /// The DER certificates of a path, EK certificate first, root last; and
    /// whether it took that an end is excused.
    pub(super) fn path(
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
}

fn authority(der: &[u8]) -> Option<Authority<'_>> {
    let certificate = Certificate::parse(der, 0).ok()?;
    Some(Authority { der, certificate })
}
