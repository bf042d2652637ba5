//! Two certificates for a proven device.

use std::collections::BTreeMap;

use holdfast_proto::tpm::devid::DevidKey;
use ring::rand::SecureRandom;

use super::{CsrRefusal, ProvenDevice};
use crate::{
    endorsement::{ClaimedDevid, EkPublic, OemAnchors, OemCas, OemName, Rules},
    identity::DevidCa,
    time::UnixTime,
};

/// Certificates that are signed and not yet recorded. They leave the desk only
/// through [`super::Ledger::record`].
#[derive(Debug)]
#[must_use]
pub struct IssuedDevid {
    pub(super) device: ProvenDevice,
    pub(super) iak: Vec<u8>,
    pub(super) idevid: Vec<u8>,
}

impl IssuedDevid {
    /// Prepares, lints and signs both certificates, then reads them as the
    /// verifier does that trusts `root`: what it would not take is not issued.
    ///
    /// # Errors
    /// [`CsrRefusal::Identity`], [`CsrRefusal::Unusable`].
    pub fn sign(
        device: ProvenDevice,
        ca: &DevidCa,
        root: &[u8],
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<Self, CsrRefusal> {
        let csr = device.csr();
        let iak_public = csr.iak().public();
        let iak_spki = iak_public
            .to_spki_der()
            .map_err(|source| CsrRefusal::Area {
                of: DevidKey::Iak,
                source,
            })?;
        let iak = ca.issue(DevidKey::Iak, csr.subject(), &iak_spki, now, rng)?;
        let idevid = ca.issue(
            DevidKey::Idevid,
            csr.subject(),
            csr.idevid().spki_der(),
            now,
            rng,
        )?;
        let unusable = CsrRefusal::Unusable;
        let chain = |leaf: &Vec<u8>| [leaf.clone(), ca.certificate().to_vec()];
        let claimed = ClaimedDevid::parse(
            &iak_public.encode(),
            &chain(&iak),
            &csr.idevid().public().encode(),
            &chain(&idevid),
        )
        .map_err(unusable)?;
        let name = OemName::parse("this").map_err(unusable)?;
        let cas = OemCas::new(vec![root.to_vec()], Vec::new())?;
        let endorsed = OemAnchors::new(BTreeMap::from([(name, cas)]))
            .endorse(claimed, EkPublic::clone(csr.ek()), &Rules::default(), now)
            .map_err(unusable)?;
        debug_assert_eq!(endorsed.serial(), csr.subject().serial());
        Ok(Self {
            device,
            iak,
            idevid,
        })
    }
}
