//! EKs beside the one that a gateway enrols by, for a Verifier that wants all of
//! a TPM's on one record.

use holdfast_proto::tpm::templates::EkTemplate;

use super::{EkCertificates, EndorsementKey};
use crate::tpm::engine::Engine;
use crate::tpm::{Tpm, TpmError};

impl Tpm {
    /// This TPM's EK of `template`, with its certificate where there is one. An
    /// RSA key may take a discrete TPM up to a minute.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command; `TPM2_CreatePrimary`'s where the TPM
    /// makes no such key.
    pub fn endorsement_key_of(&self, template: EkTemplate) -> Result<EndorsementKey, TpmError> {
        self.call(move |engine| {
            let indices = engine.endorsement_indices()?;
            if let Some(key) = engine.certified_key_of(template, &indices)? {
                return Ok(key);
            }
            let (area, public) = engine.bare_key(template, &indices)?;
            Ok(EndorsementKey {
                template: area,
                public,
                certificate_chain: Vec::new(),
            })
        })
    }

    /// This TPM's EK of `template`, where its vendor certified it; else nothing
    /// is made.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn certified_endorsement_key_of(
        &self,
        template: EkTemplate,
    ) -> Result<Option<EndorsementKey>, TpmError> {
        self.call(move |engine| {
            let indices = engine.endorsement_indices()?;
            engine.certified_key_of(template, &indices)
        })
    }
}

impl Engine {
    pub(super) fn certified_key_of(
        &mut self,
        template: EkTemplate,
        indices: &[u32],
    ) -> Result<Option<EndorsementKey>, TpmError> {
        if !indices.contains(&template.cert_nv_index()) {
            return Ok(None);
        }
        let mut found = EkCertificates::default();
        self.read_leaf(template, &mut found)?;
        let Some((_, certificate)) = found.leaves.pop() else {
            return Ok(None);
        };
        let Some((area, public)) = self.certified_key(template, &certificate, indices)? else {
            return Ok(None);
        };
        self.read_chain(indices, &mut found)?;
        let mut certificate_chain = vec![certificate];
        certificate_chain.append(&mut found.chain);
        Ok(Some(EndorsementKey {
            template: area,
            public,
            certificate_chain,
        }))
    }
}
