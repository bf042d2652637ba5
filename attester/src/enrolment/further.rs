//! Further EKs of the same TPM: a Verifier may want all of them on one record,
//! so that the TPM cannot come back as another gateway by a second one.

use holdfast_proto::binding::certify_ek_extra_data;
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::templates::EkTemplate;

use super::Enrolment;
use crate::AttesterError;
use crate::tpm::EndorsementKey;

impl Enrolment {
    /// The same, showing the TPM's EKs of these templates as well: the Verifier
    /// takes nobody without. Blocks on the TPM, which makes each key: an RSA key
    /// may take it a minute.
    ///
    /// # Errors
    /// [`AttesterError::NoSuchEk`] where the TPM makes none by a template.
    pub fn showing(mut self, templates: &[EkTemplate]) -> Result<Self, AttesterError> {
        for template in self.not_shown(templates) {
            let key = self.tpm.endorsement_key_of(template).map_err(|source| {
                let template = template.label();
                AttesterError::NoSuchEk { template, source }
            })?;
            self.show(key);
        }
        Ok(self)
    }

    /// The same, showing those of the TPM's EKs of these templates that its
    /// vendor certified: the Verifier goes without, if need be. `None` where
    /// there is none. Blocks on the TPM.
    ///
    /// # Errors
    /// [`AttesterError`] of the TPM.
    pub fn showing_certified(
        mut self,
        templates: &[EkTemplate],
    ) -> Result<Option<Self>, AttesterError> {
        let before = self.further.len();
        for template in self.not_shown(templates) {
            if let Some(key) = self.tpm.certified_endorsement_key_of(template)? {
                self.show(key);
            }
        }
        Ok((self.further.len() > before).then_some(self))
    }

    /// The EKs that are shown beside the first.
    #[must_use]
    pub fn further_endorsement_keys(&self) -> &[EndorsementKey] {
        &self.further
    }

    /// The AK's word that this EK has the public area that is shown of it.
    pub(super) fn ek_certification(
        &self,
        key: &EndorsementKey,
        nonce: &[u8; 32],
    ) -> Result<v1::KeyCertification, AttesterError> {
        let extra_data = certify_ek_extra_data(nonce, &self.keys.ak_name, &key.public.name());
        let ak = &self.keys.ak;
        Ok(self.tpm.certify_ek(&key.template, ak, extra_data)?.into())
    }

    fn show(&mut self, mut key: EndorsementKey) {
        if self.device.is_some() {
            // As of the first: the OEM's word, for the IAK, is what counts.
            key.certificate_chain.clear();
        }
        self.further.push(key);
    }

    fn not_shown(&self, templates: &[EkTemplate]) -> Vec<EkTemplate> {
        let shown: Vec<EkTemplate> = std::iter::once(&self.ek)
            .chain(&self.further)
            .filter_map(|key| EkTemplate::matching(&key.public))
            .collect();
        let mut wanted = templates.to_vec();
        wanted.retain(|template| !shown.contains(template));
        wanted
    }

    pub(super) fn further_eks(&self) -> Vec<v1::FurtherEk> {
        let shown = |key: &EndorsementKey| v1::FurtherEk {
            ek_public: key.public.encode(),
            ek_certificate_chain: key.certificate_chain.clone(),
        };
        self.further.iter().map(shown).collect()
    }

    /// Each further EK with the secret of its credential and the certification of
    /// its Name, against the same AK.
    pub(super) fn activate_further(
        &self,
        credentials: &[v1::EkCredential],
        nonce: &[u8; 32],
    ) -> Result<Vec<v1::ActivatedEk>, AttesterError> {
        if credentials.len() != self.further.len() {
            return Err(AttesterError::Challenge {
                field: "further_credentials",
                problem: format!(
                    "has {} credentials for {} EKs",
                    credentials.len(),
                    self.further.len()
                ),
            });
        }
        let activate = |(key, credential): (&EndorsementKey, &v1::EkCredential)| {
            let secret = self.tpm.activate_credential(
                &key.template,
                &self.keys.ak,
                &credential.credential_blob,
                &credential.encrypted_secret,
            )?;
            Ok(v1::ActivatedEk {
                ek_public: key.public.encode(),
                ek_certificate_chain: key.certificate_chain.clone(),
                activated_secret: secret.to_vec(),
                ek_certification: Some(self.ek_certification(key, nonce)?),
            })
        };
        self.further.iter().zip(credentials).map(activate).collect()
    }
}
