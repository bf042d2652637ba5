//! Which kinds of EK count, and how many of them a gateway has to show.

use holdfast_proto::tpm::templates::EkTemplate;
use serde::Deserialize;

use super::{EkPublic, EndorsementError};

/// Which of the accepted EKs a gateway has to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RequiredEks {
    /// One of each accepted template. None of them is left for coming back as
    /// another gateway.
    #[default]
    All,
    /// One is enough. A TPM can come back by one that it never showed.
    Any,
}

impl RequiredEks {
    /// As in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Any => "any",
        }
    }
}

/// EK templates under which a TPM may be enrolled.
///
/// A TPM has one EK of each template, often two of them certified, and none of
/// its commands tells which others it has: that two are of one TPM shows only
/// where it activates credentials for both against one AK. So a TPM is one
/// gateway for certain only where it has to show every EK by which it could
/// enrol: then whoever was revoked by one of them has none left (ADVERSARY A18).
/// A certificate names a key and no template; which template an EK is of, the AK
/// says, which certifies an object under it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AcceptedEks {
    templates: Vec<EkTemplate>,
    required: RequiredEks,
}

impl AcceptedEks {
    /// What is accepted unless configured otherwise: L-2, ECC P-256, which is
    /// quick to make and which discrete and firmware TPMs have certified.
    pub const DEFAULT: EkTemplate = EkTemplate::L2;

    /// These templates and no others, each of which has to be shown; none at all
    /// accepts no gateway.
    #[must_use]
    pub fn new(templates: impl IntoIterator<Item = EkTemplate>) -> Self {
        let mut kept = Vec::new();
        for template in templates {
            if !kept.contains(&template) {
                kept.push(template);
            }
        }
        Self {
            templates: kept,
            required: RequiredEks::default(),
        }
    }

    /// With another rule on how many have to be shown.
    #[must_use]
    pub fn requiring(mut self, required: RequiredEks) -> Self {
        self.required = required;
        self
    }

    /// Whether one TPM can be at most one gateway.
    #[must_use]
    pub fn is_one_per_tpm(&self) -> bool {
        self.templates.len() <= 1 || self.required == RequiredEks::All
    }

    /// Every EK shown is of an accepted template, and as many are shown as have
    /// to be.
    ///
    /// # Errors
    /// [`EndorsementError::KindNotAccepted`], [`EndorsementError::EksMissing`].
    pub(crate) fn expect<'e>(
        &self,
        shown: impl Iterator<Item = &'e EkPublic> + Clone,
    ) -> Result<(), EndorsementError> {
        if let Some(other) = (shown.clone()).find(|ek| !self.templates.contains(&ek.template())) {
            return Err(EndorsementError::KindNotAccepted {
                got: other.template().label(),
                accepted: labels(&self.templates).join(", "),
            });
        }
        let missing = self.not_shown(shown);
        if self.required == RequiredEks::All && !missing.is_empty() {
            return Err(EndorsementError::EksMissing {
                missing: labels(&missing),
            });
        }
        Ok(())
    }

    /// The accepted templates of which none is shown.
    pub(crate) fn not_shown<'e>(
        &self,
        shown: impl Iterator<Item = &'e EkPublic> + Clone,
    ) -> Vec<EkTemplate> {
        let is_shown = |template: &EkTemplate| shown.clone().any(|ek| ek.template() == *template);
        (self.templates.iter().copied())
            .filter(|template| !is_shown(template))
            .collect()
    }
}

impl Default for AcceptedEks {
    fn default() -> Self {
        Self::new([Self::DEFAULT])
    }
}

fn labels(templates: &[EkTemplate]) -> Vec<&'static str> {
    templates.iter().map(|template| template.label()).collect()
}
