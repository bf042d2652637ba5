//! Issuers with critical certificatePolicies, as ST and Intel have them: webpki
//! refuses any path through one. Here such an issuer is verified up to an
//! imported root by RFC 5280 §6.1, and then serves webpki as trust anchor for
//! what is below it.
//!
//! Stricter than webpki where the two differ: no name constraints above or in
//! such an issuer, as nobody would process them here.

use std::cell::Cell;

use super::{certificate::Certificate, leniency::Leniencies, oid, signature};
use crate::time::UnixTime;

/// Longest climb: vendors have one to three certificates above such an issuer.
const MAX_CLIMB: usize = 6;
/// Signatures verified for one EK here, at most: the peer sends up to seven
/// certificates, whose names can make every one the issuer of every other.
const MAX_SIGNATURES: u32 = 32;

/// A CA certificate with what it was parsed from.
pub(super) struct Authority<'a> {
    pub(super) der: &'a [u8],
    pub(super) certificate: Certificate<'a>,
}

/// What a climb may use, and by which rules.
pub(super) struct Climb<'a> {
    pub(super) roots: &'a [Authority<'a>],
    pub(super) pool: &'a [Authority<'a>],
    pub(super) leniencies: &'a Leniencies,
    pub(super) at: UnixTime,
    /// Whether a certificate (second) of this issuer (first) is revoked.
    pub(super) revoked: &'a dyn Fn(&Certificate<'_>, &Certificate<'_>) -> bool,
    pub(super) budget: Cell<u32>,
}

/// A certificate that stands below a root: from it (first) to the root.
pub(super) struct Standing<'a> {
    pub(super) path: Vec<&'a Authority<'a>>,
    /// How many issuers may stand below the first of the path; none for any
    /// number.
    pub(super) issuers_below: Option<usize>,
}

impl<'a> Climb<'a> {
    pub(super) fn budget() -> Cell<u32> {
        Cell::new(MAX_SIGNATURES)
    }

    /// From an issuer with critical policies to a root.
    pub(super) fn issuer(&self, start: &'a Authority<'a>) -> Option<Standing<'a>> {
        let certificate = &start.certificate;
        if !self.may_issue(certificate) {
            return None;
        }
        let above = self.above(certificate, 1)?;
        let path: Vec<&Authority<'_>> = std::iter::once(start).chain(above).collect();
        // The root is left out: an anchor's constraints are the owner's to
        // choose, as with webpki.
        let below_root = path.split_last().map_or(&[][..], |(_, rest)| rest);
        let mut issuers_below: Option<usize> = None;
        for (below, authority) in below_root.iter().enumerate() {
            if let Some(allowed) = authority.certificate.path_len() {
                let left = usize::from(allowed).checked_sub(below)?;
                issuers_below = Some(issuers_below.map_or(left, |n: usize| n.min(left)));
            }
        }
        Some(Standing {
            path,
            issuers_below,
        })
    }

    /// From an EK certificate that has critical policies itself: its issuers up
    /// to a root.
    pub(super) fn leaf(&self, leaf: &Certificate<'_>) -> Option<Vec<&'a Authority<'a>>> {
        leaf.expect_valid(self.at).ok()?;
        let above = self.above(leaf, 0)?;
        let below_root = above.split_last().map_or(&[][..], |(_, rest)| rest);
        let fits = below_root.iter().enumerate().all(|(below, authority)| {
            let allowed = authority.certificate.path_len();
            allowed.is_none_or(|allowed| below <= usize::from(allowed))
        });
        fits.then_some(above)
    }

    /// The issuers of a certificate, the root last.
    fn above(
        &self,
        certificate: &Certificate<'_>,
        climbed: usize,
    ) -> Option<Vec<&'a Authority<'a>>> {
        if climbed > MAX_CLIMB {
            return None;
        }
        let is_issuer =
            |authority: &&'a Authority<'a>| authority.certificate.subject == certificate.issuer;
        for root in self.roots.iter().filter(is_issuer) {
            if !root.certificate.has_name_constraints() && self.signed(certificate, root) {
                return Some(vec![root]);
            }
        }
        for issuer in self.pool.iter().filter(is_issuer) {
            if !self.may_issue(&issuer.certificate) || !self.signed(certificate, issuer) {
                continue;
            }
            if let Some(above) = self.above(&issuer.certificate, climbed.saturating_add(1)) {
                return Some(std::iter::once(issuer).chain(above).collect());
            }
        }
        None
    }

    fn may_issue(&self, certificate: &Certificate<'_>) -> bool {
        certificate.may_issue()
            && certificate.expect_strong(0, self.leniencies).is_ok()
            && certificate.expect_valid(self.at).is_ok()
            && certificate.leaves_extended_key_usage(oid::EK_CERTIFICATE)
            && !certificate.has_name_constraints()
    }

    fn signed(&self, certificate: &Certificate<'_>, issuer: &Authority<'_>) -> bool {
        let Some(left) = self.budget.get().checked_sub(1) else {
            return false;
        };
        self.budget.set(left);
        let by = signature::verifies(
            issuer.certificate.spki,
            certificate.algorithm,
            certificate.tbs,
            certificate.signature,
            self.leniencies,
        );
        by && !(self.revoked)(&issuer.certificate, certificate)
    }
}
