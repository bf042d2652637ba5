//! OEMs: their certificates, and the products of theirs that are admitted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use holdfast_proto::grpc::v1;
use tracing::info;

use super::{AdminService, PAGE_DEFAULT, PAGE_MAX, reason, to_its_end};
use crate::{
    endorsement::{
        CertificateFacts, Item, Leniencies, OemAnchors, OemCas, OemName, is_product_serial, items,
    },
    exchange::Class,
    service::error::Refusal,
    store::{Anchor, OemAnchor, OfWithdrawn, Sha256, WithdrawnCa},
};

/// Certificates in one import.
const CERTIFICATES_MAX: usize = 10_000;
/// OEMs that are trusted at once: each is tried for every IAK chain.
const OEMS_MAX: usize = 64;
/// Serial numbers in one call; a delivery has fewer.
const SERIALS_MAX: usize = 10_000;

impl AdminService {
    pub(super) async fn oem_anchors(
        &self,
        by: &str,
        request: v1::ImportOemAnchorsRequest,
    ) -> Result<v1::ImportOemAnchorsResponse, Refusal> {
        let oem = oem_name(&request.oem)?;
        let mut anchors: Vec<Anchor> = Vec::new();
        for file in &request.certificates {
            for item in items(file).map_err(|e| Refusal::AdminInput(e.to_string()))? {
                match item {
                    Item::Certificate(der) => anchors.push(anchor(der)?),
                    Item::Crl(_) => {
                        return Err(Refusal::AdminInput("OEMs' CRLs are not read".to_owned()));
                    }
                }
            }
        }
        if anchors.is_empty() || anchors.len() > CERTIFICATES_MAX {
            return Err(Refusal::AdminInput(
                "an import has 1 to 10,000 certificates".to_owned(),
            ));
        }
        let of_withdrawn = match request.trust_again {
            true => OfWithdrawn::TrustAgain,
            false => OfWithdrawn::Refuse,
        };
        let (shared, by) = (Arc::clone(&self.shared), by.to_owned());
        let importing = Arc::clone(&self.importing_oems);
        to_its_end(async move {
            // One at a time: store and memory change in the same order.
            let _one = importing.lock().await;
            let now = shared.clock.now().seconds();
            // A set that the core refuses is never stored.
            let mut would_be = shared.store.oem_anchors().await?;
            would_be.extend(anchors.iter().cloned().map(|anchor| OemAnchor {
                oem: oem.as_str().to_owned(),
                anchor,
            }));
            build_oems(&would_be, &[])?;
            let keyed = anchors.into_iter().map(|anchor| {
                let key_sha256 = key_sha256(&anchor)?;
                Ok((anchor, key_sha256))
            });
            let anchors = keyed.collect::<Result<_, Refusal>>()?;
            let imported = shared
                .store
                .import_oem_anchors(oem.as_str(), anchors, of_withdrawn, &by, now)
                .await?;
            let all = shared.store.oem_anchors().await?;
            let withdrawn = shared.store.withdrawn_oem_cas().await?;
            shared.verifier.replace_oems(build_oems(&all, &withdrawn)?);
            info!(by, %oem, roots = imported.roots, intermediates = imported.intermediates, "OEM imported");
            Ok(v1::ImportOemAnchorsResponse {
                roots: imported.roots,
                intermediates: imported.intermediates,
                already_known: imported.already_known,
            })
        })
        .await
    }

    pub(super) async fn withdraw(
        &self,
        by: &str,
        request: v1::WithdrawOemRequest,
    ) -> Result<v1::WithdrawOemResponse, Refusal> {
        let oem = oem_name(&request.oem)?;
        let why = reason(&request.reason)?.to_owned();
        if why.is_empty() {
            return Err(Refusal::AdminInput(
                "say why with --reason: gateways are suspended by it".to_owned(),
            ));
        }
        let (shared, by) = (Arc::clone(&self.shared), by.to_owned());
        let importing = Arc::clone(&self.importing_oems);
        to_its_end(async move {
            let _one = importing.lock().await;
            let now = shared.clock.now().seconds();
            let (cas, left): (Vec<_>, Vec<_>) = shared
                .store
                .oem_anchors()
                .await?
                .into_iter()
                .partition(|known| {
                    let wanted = &request.certificate_sha256;
                    known.oem == oem.as_str()
                        && (wanted.is_empty() || hex::encode(known.anchor.sha256) == *wanted)
                });
            if cas.is_empty() {
                return Err(Refusal::AdminInput(format!(
                    "OEM {oem} has no such certificate: see oem list"
                )));
            }
            let cas = cas.into_iter().map(withdrawn_ca);
            let cas = cas.collect::<Result<Vec<_>, Refusal>>()?;
            let certificates = u32::try_from(cas.len()).unwrap_or(u32::MAX);
            let mut withdrawn = shared.store.withdrawn_oem_cas().await?;
            withdrawn.extend(cas.iter().cloned());
            // From here on no exchange that begins takes them, and after the
            // transaction none that is under way is recorded for long: its
            // gateway loses its standing at the next one.
            let anchors = build_oems(&left, &withdrawn)?;
            let done = shared
                .store
                .withdraw_oem_cas(oem.as_str(), cas, &why, &by, now)
                .await?;
            shared.verifier.replace_oems(anchors);
            info!(by, %oem, certificates, gateways = done.gateways.len(), "OEM withdrawn");
            Ok(v1::WithdrawOemResponse {
                certificates,
                gateway_ids: done.gateways.iter().map(ToString::to_string).collect(),
                serials_removed: done.serials,
            })
        })
        .await
    }

    pub(super) async fn known_oem_anchors(&self) -> Result<v1::ListOemAnchorsResponse, Refusal> {
        let anchors = self.shared.store.oem_anchors().await?;
        Ok(v1::ListOemAnchorsResponse {
            anchors: anchors
                .into_iter()
                .map(|OemAnchor { oem, anchor }| v1::OemAnchor {
                    oem,
                    sha256: hex::encode(anchor.sha256),
                    subject: anchor.subject,
                    root: anchor.root,
                    not_after: anchor.not_after,
                })
                .collect(),
        })
    }

    pub(super) async fn allow_serials(
        &self,
        by: &str,
        request: v1::AllowOemSerialsRequest,
    ) -> Result<v1::AllowOemSerialsResponse, Refusal> {
        let shared = &self.shared;
        let oem = oem_name(&request.oem)?;
        let class = Class::parse(&request.class).map_err(|e| Refusal::AdminInput(e.to_string()))?;
        expect_serials(&request.serials)?;
        let known = shared.store.oem_anchors().await?;
        if !known.iter().any(|a| a.oem == oem.as_str()) {
            return Err(Refusal::AdminInput(format!(
                "no certificates of OEM {oem} are imported (endorsement import --oem {oem})"
            )));
        }
        let now = shared.clock.now().seconds();
        let changed = shared
            .store
            .allow_oem_serials(oem.as_str(), request.serials, class.as_str(), by, now)
            .await?;
        Ok(v1::AllowOemSerialsResponse { changed })
    }

    pub(super) async fn remove_serials(
        &self,
        by: &str,
        request: v1::RemoveOemSerialsRequest,
    ) -> Result<v1::RemoveOemSerialsResponse, Refusal> {
        let shared = &self.shared;
        let oem = oem_name(&request.oem)?;
        expect_serials(&request.serials)?;
        let now = shared.clock.now().seconds();
        let removed = shared
            .store
            .remove_oem_serials(oem.as_str(), request.serials, by, now)
            .await?;
        Ok(v1::RemoveOemSerialsResponse { removed })
    }

    pub(super) async fn serials(
        &self,
        request: v1::ListOemSerialsRequest,
    ) -> Result<v1::ListOemSerialsResponse, Refusal> {
        let size = match request.page_size {
            0 => PAGE_DEFAULT,
            size if size <= PAGE_MAX => size,
            _ => {
                return Err(Refusal::AdminInput(
                    "a page has at most 1000 serial numbers".to_owned(),
                ));
            }
        };
        let after = (request.after_oem.as_str(), request.after_serial.as_str());
        let listed = self.shared.store.oem_serials(Some(after), size).await?;
        Ok(v1::ListOemSerialsResponse {
            serials: listed
                .into_iter()
                .map(|entry| v1::AllowedSerial {
                    oem: entry.oem,
                    serial: entry.serial,
                    class: entry.class,
                    added_at: entry.added_at,
                })
                .collect(),
        })
    }
}

fn oem_name(text: &str) -> Result<OemName, Refusal> {
    OemName::parse(text).map_err(|e| Refusal::AdminInput(e.to_string()))
}

fn anchor(der: Vec<u8>) -> Result<Anchor, Refusal> {
    let facts = CertificateFacts::parse(&der, &Leniencies::default())
        .map_err(|e| Refusal::AdminInput(format!("not a CA certificate: {e}")))?;
    Ok(Anchor {
        sha256: facts.sha256,
        subject: facts.subject,
        root: facts.root,
        not_after: facts.not_after.seconds(),
        der,
    })
}

fn expect_serials(serials: &[String]) -> Result<(), Refusal> {
    if serials.is_empty() || serials.len() > SERIALS_MAX {
        return Err(Refusal::AdminInput(
            "a call has 1 to 10,000 serial numbers".to_owned(),
        ));
    }
    match serials.iter().position(|serial| !is_product_serial(serial)) {
        Some(at) => Err(Refusal::AdminInput(format!(
            "serial number {}: 1 to 64 visible ASCII characters or inner blanks",
            at.saturating_add(1)
        ))),
        None => Ok(()),
    }
}

fn withdrawn_ca(known: OemAnchor) -> Result<WithdrawnCa, Refusal> {
    let OemAnchor { oem, anchor } = known;
    Ok(WithdrawnCa {
        oem,
        sha256: anchor.sha256,
        key_sha256: key_sha256(&anchor)?,
        subject: anchor.subject,
    })
}

/// SHA-256 of the key of a certificate that was read once.
fn key_sha256(anchor: &Anchor) -> Result<Sha256, Refusal> {
    CertificateFacts::parse(&anchor.der, &Leniencies::default())
        .map(|facts| facts.key_sha256)
        .map_err(|e| Refusal::Internal(format!("an OEM's certificate: {e}")))
}

/// The core's OEM anchors from what the store holds.
pub fn build_oems(known: &[OemAnchor], withdrawn: &[WithdrawnCa]) -> Result<OemAnchors, Refusal> {
    let mut by_oem: BTreeMap<OemName, Vec<&Anchor>> = BTreeMap::new();
    for OemAnchor { oem, anchor } in known {
        by_oem.entry(oem_name(oem)?).or_default().push(anchor);
    }
    if by_oem.len() > OEMS_MAX {
        return Err(Refusal::AdminInput("more than 64 OEMs".to_owned()));
    }
    let anchors = by_oem.into_iter().map(|(oem, anchors)| {
        let (roots, intermediates): (Vec<_>, Vec<_>) = anchors.into_iter().partition(|a| a.root);
        let der = |anchors: Vec<&Anchor>| anchors.into_iter().map(|a| a.der.clone()).collect();
        let cas = OemCas::new(der(roots), der(intermediates))
            .map_err(|e| Refusal::AdminInput(format!("OEM {oem}: {e}")))?;
        let keys = withdrawn.iter().filter(|ca| ca.oem == oem.as_str());
        let keys: BTreeSet<_> = keys.map(|ca| ca.key_sha256).collect();
        Ok((oem, cas.without(keys)))
    });
    Ok(OemAnchors::new(anchors.collect::<Result<_, Refusal>>()?))
}
