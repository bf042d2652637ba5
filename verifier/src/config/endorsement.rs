//! `[endorsement]`: what EK certificates may do, where no signed bundle says.

use serde::Deserialize;

use crate::endorsement::{Leniencies, RequiredEks, Rules, StaleCrl};

/// What EK certificates may do. An endorsement bundle of the owner's that says
/// so itself comes before this.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EndorsementConfig {
    /// The leniencies that are on (docs/endorsement.md); this list in place of
    /// the default one.
    pub leniencies: Leniencies,
    /// What happens where a CA's newest CRL is over.
    pub stale_crl: StaleCrl,
    /// Which of the EKs of `accepted_eks` a gateway has to show.
    pub eks: RequiredEks,
}

impl EndorsementConfig {
    /// As the core takes it.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            leniencies: self.leniencies.clone(),
            stale_crl: self.stale_crl,
            ..Rules::default()
        }
    }

    /// The table as `init` writes it.
    pub(super) fn sample(&self) -> String {
        let on: Vec<&str> = self.leniencies.iter().map(|l| l.name()).collect();
        format!(
            r#"[endorsement]
# What real EK certificates may do that the rules forbid (docs/endorsement.md).
# More: "ecc-key-encipherment", "sha1-signature", "expired". An endorsement bundle
# that says so itself comes before this.
leniencies = {on:?}

# Where the newest CRL of an EK CA is over: "refuse" new enrolments of its TPMs
# until a fresh one is imported, or "warn". Gateways on record go on either way.
stale_crl = "{}"

# Where accepted_eks has several templates: "all", an EK of each has to be shown,
# endorsed and proven to be of the same TPM, so that one TPM is one gateway; or
# "any", one is enough (for fleets that have no kind in common), and a TPM can come
# back by one that it never showed (docs/endorsement.md).
eks = "{}"
"#,
            self.stale_crl.name(),
            self.eks.name()
        )
    }
}
