//! Certificate revocation lists (RFC 5280 §5): version 2, signed by the CA
//! that issued the certificates, complete for their scope. There are no delta
//! CRLs: few relying parties read them (webpki and GnuTLS refuse them), and
//! parts by distribution point do the same for size (docs/revocation.md).

use webpki::BorrowedCertRevocationList;

use super::{IdentityError, RevocationReason, certificate as x509, der, issuing::IssuingCa, oid};
use crate::time::UnixTime;

/// A certificate on a CRL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrlEntry {
    /// Serial number, big-endian, positive.
    pub serial: Vec<u8>,
    /// When it was revoked.
    pub revoked_at: UnixTime,
    /// Why.
    pub reason: RevocationReason,
}

/// What a CRL says.
#[derive(Clone, Debug)]
pub struct CrlContents<'a> {
    /// cRLNumber (§5.2.3): higher with each CRL of this scope.
    pub number: u64,
    /// When it was made.
    pub this_update: UnixTime,
    /// When the next one is there at the latest.
    pub next_update: UnixTime,
    /// Where its scope is the certificates that name one distribution point:
    /// that point's URLs, of which each certificate names one. Empty for the
    /// full CRL.
    pub distribution_point: &'a [String],
    /// Certificates that are revoked, in any order.
    pub entries: &'a [CrlEntry],
}

impl CrlContents<'_> {
    /// Writes, signs, and reads back the CRL; DER. Blocks as
    /// [`super::CaSigner::sign`] does.
    ///
    /// # Errors
    /// [`IdentityError::TimeOutOfRange`], [`IdentityError::Sign`],
    /// [`IdentityError::BadCrl`] where another decoder does not read it.
    pub fn sign(&self, ca: &IssuingCa) -> Result<Vec<u8>, IdentityError> {
        let crl = ca.signed(&self.to_be_signed(ca)?)?;
        BorrowedCertRevocationList::from_der(&crl)
            .map_err(|error| IdentityError::BadCrl(error.to_string()))?;
        Ok(crl)
    }

    /// DER `TBSCertList`.
    fn to_be_signed(&self, ca: &IssuingCa) -> Result<Vec<u8>, IdentityError> {
        let version_2 = der::unsigned(&[1]);
        let algorithm = ca.public().signature_algorithm();
        let (this_update, next_update) = (time(self.this_update)?, time(self.next_update)?);
        // §5.1.2.6: where none is revoked, the list is left out.
        let revoked = if self.entries.is_empty() {
            Vec::new()
        } else {
            let entries = self.entries.iter().map(entry);
            let entries = entries.collect::<Result<Vec<_>, _>>()?.concat();
            der::sequence(&[&entries])
        };
        let extensions = self.extensions(ca).concat();
        Ok(der::sequence(&[
            &version_2,
            &algorithm,
            ca.subject(),
            &this_update,
            &next_update,
            &revoked,
            &der::explicit(0, &der::sequence(&[&extensions])),
        ]))
    }

    fn extensions(&self, ca: &IssuingCa) -> Vec<Vec<u8>> {
        let number = der::unsigned(&self.number.to_be_bytes());
        let mut extensions = vec![
            x509::authority_key_identifier(ca.key_identifier()),
            x509::extension(oid::CRL_NUMBER, false, &number),
        ];
        // §5.2.5: critical. One of its names is, to the byte, that in the
        // certificate (§6.3.3 (b)(2)(i)): they were issued under several, where
        // the public URL has changed.
        if !self.distribution_point.is_empty() {
            let point = der::sequence(&[&x509::distribution_point_name(self.distribution_point)]);
            let point = x509::extension(oid::ISSUING_DISTRIBUTION_POINT, true, &point);
            extensions.push(point);
        }
        extensions
    }
}

fn entry(entry: &CrlEntry) -> Result<Vec<u8>, IdentityError> {
    let serial = der::unsigned(&entry.serial);
    let revoked_at = time(entry.revoked_at)?;
    Ok(match entry.reason {
        // §5.3.1: rather left out than said.
        RevocationReason::Unspecified => der::sequence(&[&serial, &revoked_at]),
        reason => {
            let code = der::enumerated(reason.code());
            let extension = x509::extension(oid::CRL_REASON, false, &code);
            der::sequence(&[&serial, &revoked_at, &der::sequence(&[&extension])])
        }
    })
}

fn time(at: UnixTime) -> Result<Vec<u8>, IdentityError> {
    der::time(at).ok_or(IdentityError::TimeOutOfRange(at))
}
