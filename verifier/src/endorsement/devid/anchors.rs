//! OEM trust anchors, and the one way to an [`EndorsedIak`].

use std::collections::BTreeMap;

use holdfast_proto::{binding::Ueid, tpm::devid::DevidKey};

use super::{
    ClaimedDevid, DevidError, DevidFacts, IakPublic, IdevidPublic, OemName,
    leaf::{IakCertificate, IdevidCertificate},
    path::{self, DevidChain, OemCas},
};
use crate::{
    digest::sha256,
    endorsement::{
        EkKnownBy, EkPublic, EndorsementError, Finding, FindingCode, PathCertificate, Rules,
        TpmFacts, certificate::Certificate, facts::tpm_attribute, oid,
    },
    time::UnixTime,
};

/// Roots and intermediates of the OEMs that the owner trusts, by OEM.
#[derive(Debug, Default)]
pub struct OemAnchors {
    oems: BTreeMap<OemName, OemCas>,
}

impl OemAnchors {
    /// From the anchors of each OEM.
    #[must_use]
    pub fn new(oems: BTreeMap<OemName, OemCas>) -> Self {
        Self { oems }
    }

    /// How many OEMs are trusted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.oems.len()
    }

    /// Whether no OEM is trusted: then nobody comes in by the IAK road.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.oems.is_empty()
    }

    /// What speaks against what is on record of a gateway's IAK and IDevID: their
    /// OEM, or a CA of it, was withdrawn. Nothing of a gateway that came by
    /// another road.
    #[must_use]
    pub fn findings(&self, tpm: &TpmFacts) -> Vec<Finding> {
        let Some(devid) = &tpm.devid else {
            return Vec::new();
        };
        let known = self.oems.iter().find(|(oem, _)| oem.as_str() == devid.oem);
        let stands = match known {
            None => Err(format!("OEM {}", devid.oem)),
            Some((_, cas)) => cas
                .stands(&devid.iak_path)
                .and_then(|()| cas.stands(&devid.idevid_path)),
        };
        let Err(subject) = stands else {
            return Vec::new();
        };
        vec![Finding {
            code: FindingCode::OemWithdrawn,
            detail: format!(
                "\"{subject}\" does not endorse product {} of OEM {} any more",
                devid.serial, devid.oem
            ),
            next_step: "Import the OEM's certificate again if it is still trusted, resume the gateway and let it \
                        recover; else revoke the gateway.",
        }]
    }

    /// Whether IAK and IDevID are certified by one OEM that the owner trusts,
    /// at the time `at` (RFC 5280 §6), and whether the owner's `rules` let it
    /// pass. `ek` is the gateway's word: only activation links it to the IAK.
    ///
    /// # Errors
    /// [`DevidError`] names the certificate and the rule that it broke.
    pub fn endorse(
        &self,
        claimed: ClaimedDevid,
        ek: EkPublic,
        rules: &Rules,
        at: UnixTime,
    ) -> Result<EndorsedIak, DevidError> {
        let iak = |source| DevidError::Certificate {
            of: DevidKey::Iak,
            source,
        };
        let iak_chain = &claimed.iak_certificate.get().chain;
        let idevid = claimed.idevid_certificate.get();
        expect_leaf(iak_chain, DevidKey::Iak)?;
        expect_leaf(&idevid.chain, DevidKey::Idevid)?;
        let (oem, anchors, iak_path) = self.issuer_of(iak_chain, at)?;
        let idevid_path = anchors
            .verify(&idevid.chain, IdevidCertificate::PURPOSE, at)
            .map_err(|source| DevidError::OtherOem {
                iak: oem.clone(),
                source,
            })?;
        let leaf = Certificate::parse(iak_chain.leaf(), 0).map_err(iak)?;
        rules.expect_not_denied(&iak_path).map_err(iak)?;
        rules
            .expect_not_denied(&idevid_path)
            .map_err(|source| DevidError::Certificate {
                of: DevidKey::Idevid,
                source,
            })?;
        let facts = facts(&claimed, &leaf, oem, &ek, [iak_path, idevid_path]);
        rules.expect_certified_firmware(&facts).map_err(iak)?;
        Ok(EndorsedIak {
            oem: oem.clone(),
            serial: idevid.names.serial.clone(),
            iak: claimed.iak,
            idevid: claimed.idevid,
            ek,
            facts,
        })
    }

    /// The OEM whose anchors the IAK's chain ends in. Names in certificates do
    /// not tell OEMs apart (anybody may write any), so each is tried; the
    /// owner imports a handful. Of the refusals the one that got furthest is
    /// given: an issuer that nobody knows is the least.
    fn issuer_of(
        &self,
        chain: &DevidChain,
        at: UnixTime,
    ) -> Result<(&OemName, &OemCas, Vec<PathCertificate>), DevidError> {
        let mut refusal = None;
        for (oem, anchors) in &self.oems {
            match anchors.verify(chain, IakCertificate::PURPOSE, at) {
                Ok(path) => return Ok((oem, anchors, path)),
                Err(error) => {
                    let unknown = matches!(error, EndorsementError::UnknownIssuer(_));
                    if refusal.is_none() || !unknown {
                        refusal = Some(error);
                    }
                }
            }
        }
        Err(
            refusal.map_or(DevidError::NoOem, |source| DevidError::Certificate {
                of: DevidKey::Iak,
                source,
            }),
        )
    }
}

/// What webpki does not look at, or would name less exactly.
fn expect_leaf(chain: &DevidChain, of: DevidKey) -> Result<(), DevidError> {
    let broken = |source| DevidError::Certificate { of, source };
    let leaf = Certificate::parse(chain.leaf(), 0).map_err(broken)?;
    leaf.expect_strong(0, &path::strict()).map_err(broken)?;
    if leaf.is_self_issued() {
        return Err(broken(EndorsementError::SelfSigned));
    }
    if leaf.is_ca() {
        return Err(broken(EndorsementError::LeafIsCa));
    }
    for (position, der) in chain.intermediates().iter().enumerate() {
        let position = position.saturating_add(1);
        Certificate::parse(der, position)
            .and_then(|certificate| certificate.expect_strong(position, &path::strict()))
            .map_err(broken)?;
    }
    Ok(())
}

fn facts(
    claimed: &ClaimedDevid,
    leaf: &Certificate<'_>,
    oem: &OemName,
    ek: &EkPublic,
    [iak_path, idevid_path]: [Vec<PathCertificate>; 2],
) -> TpmFacts {
    let names = leaf.extension(oid::SUBJECT_ALT_NAME).unwrap_or_default();
    let attribute = |wanted| tpm_attribute(names, wanted).unwrap_or_default();
    let (of_iak, of_idevid) = (
        claimed.iak_certificate.get(),
        claimed.idevid_certificate.get(),
    );
    let hardware = of_idevid.names.hardware.clone();
    let (hardware_type, hardware_serial) = hardware
        .or_else(|| of_iak.names.hardware.clone())
        .unwrap_or_default();
    let digest = |chain: &DevidChain| hex::encode(sha256(&[chain.leaf().as_ref()]));
    TpmFacts {
        // Few OEMs name the TPM; what is not said stays empty.
        manufacturer: attribute(oid::TPM_MANUFACTURER),
        model: attribute(oid::TPM_MODEL),
        version: attribute(oid::TPM_VERSION),
        issuer: of_iak.names.issuer.clone(),
        ek_certificate_serial: String::new(),
        ek_certificate_aki: String::new(),
        ek_certificate_sha256: String::new(),
        ek_template: ek.template().label().to_owned(),
        known_by: EkKnownBy::IakCertificate,
        leniencies: Vec::new(),
        path: Vec::new(),
        devid: Some(DevidFacts {
            oem: oem.as_str().to_owned(),
            serial: of_idevid.names.serial.clone(),
            hardware_type,
            hardware_serial,
            iak_template: claimed.iak.template().label().to_owned(),
            iak_certificate_sha256: digest(&of_iak.chain),
            idevid_certificate_sha256: digest(&of_idevid.chain),
            idevid_spki_sha256: hex::encode(claimed.idevid.spki_sha256()),
            iak_path,
            idevid_path,
        }),
    }
}

/// An IAK that an OEM certified together with an IDevID, both to that OEM's
/// imported anchors. Only [`OemAnchors::endorse`] makes one. The EK that came
/// along is *not* endorsed: see [`crate::verification::PendingActivation`].
#[derive(Debug)]
#[must_use]
pub struct EndorsedIak {
    iak: IakPublic,
    idevid: IdevidPublic,
    oem: OemName,
    serial: String,
    ek: EkPublic,
    facts: TpmFacts,
}

impl EndorsedIak {
    /// The IAK.
    #[must_use]
    pub fn iak(&self) -> &IakPublic {
        &self.iak
    }

    /// UEID of the gateway: 0x01 ‖ SHA-256 of the IAK's SPKI.
    #[must_use]
    pub fn gateway_id(&self) -> &Ueid {
        &self.iak.gateway
    }

    /// The IDevID that the same OEM certified for the same product. That it is
    /// in the IAK's TPM, the IAK has yet to certify.
    #[must_use]
    pub fn idevid(&self) -> &IdevidPublic {
        &self.idevid
    }

    /// Who certified both.
    #[must_use]
    pub fn oem(&self) -> &OemName {
        &self.oem
    }

    /// The product's serial number.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    /// The EK that the gateway claims.
    #[must_use]
    pub fn ek(&self) -> &EkPublic {
        &self.ek
    }

    /// What the certificates say.
    #[must_use]
    pub fn facts(&self) -> &TpmFacts {
        &self.facts
    }
}
