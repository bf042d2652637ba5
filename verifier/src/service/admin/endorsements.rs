//! The owner's calls about endorsements: certificates and CRLs one by one, and
//! the signed bundle. Taken into use at once.

use std::sync::Arc;

use holdfast_proto::grpc::v1;
use tracing::info;

use super::{AdminService, to_its_end};
use crate::{
    digest::sha256,
    endorsement::CertificateFacts,
    service::{
        endorsements::{FileReport, ItemReport, OnRecord, Outcome},
        error::Refusal,
    },
};

impl AdminService {
    pub(super) async fn import_endorsements_of(
        &self,
        by: &str,
        request: v1::ImportEndorsementsRequest,
    ) -> Result<v1::ImportEndorsementsResponse, Refusal> {
        let (shared, by) = (Arc::clone(&self.shared), by.to_owned());
        let reports = to_its_end(async move {
            let (verifier, now) = (&shared.verifier, shared.clock.now());
            let v1::ImportEndorsementsRequest {
                certificates,
                as_roots,
            } = request;
            shared
                .endorsements
                .import(verifier, &certificates, as_roots, &by, now)
                .await
        })
        .await?;
        Ok(response(reports))
    }

    pub(super) async fn apply_endorsements_of(
        &self,
        by: &str,
        request: v1::ApplyEndorsementsRequest,
    ) -> Result<v1::ApplyEndorsementsResponse, Refusal> {
        let v1::ApplyEndorsementsRequest {
            document,
            statement,
        } = request;
        let (shared, by_them) = (Arc::clone(&self.shared), by.to_owned());
        let applied = to_its_end(async move {
            let (verifier, now) = (&shared.verifier, shared.clock.now());
            shared
                .endorsements
                .apply(verifier, &document, &statement, &by_them, now)
                .await
        })
        .await?;
        let (version, sha256) = (applied.record.version, hex::encode(applied.record.sha256));
        if applied.changed {
            info!(by, version, bundle = sha256, "endorsements applied");
        }
        Ok(v1::ApplyEndorsementsResponse {
            version,
            sha256,
            changed: applied.changed,
        })
    }

    pub(super) async fn list_endorsements_of(
        &self,
    ) -> Result<v1::ListEndorsementsResponse, Refusal> {
        let endorsements = &self.shared.endorsements;
        let anchors = endorsements.load().await?;
        let OnRecord {
            certificates,
            bundle,
            ..
        } = endorsements.on_record().await?;
        let mut listed: Vec<v1::Endorsement> = certificates
            .into_iter()
            .map(|a| v1::Endorsement {
                sha256: hex::encode(a.sha256),
                subject: a.subject,
                root: a.root,
                not_after: a.not_after,
                bundled: false,
            })
            .collect();
        if let Some((_, bundle)) = &bundle {
            let roots = bundle.roots().iter().map(|der| (der, true));
            let others = bundle.intermediates().iter().map(|der| (der, false));
            listed.extend(roots.chain(others).map(|(der, root)| bundled(der, root)));
        }
        let rules = anchors.rules();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Ok(v1::ListEndorsementsResponse {
            endorsements: listed,
            crls: anchors
                .crls()
                .map(|crl| v1::EndorsementCrl {
                    sha256: hex::encode(crl.sha256),
                    issuer: crl.issuer.clone(),
                    this_update: crl.this_update.seconds(),
                    next_update: crl.next_update.seconds(),
                    entries: u64::try_from(crl.entries).unwrap_or(u64::MAX),
                })
                .collect(),
            bundle: bundle.map(|(record, _)| v1::EndorsementBundle {
                version: record.version,
                sha256: hex::encode(record.sha256),
                applied_at: record.applied_at,
                applied_by: record.applied_by,
            }),
            leniencies: rules
                .leniencies
                .iter()
                .map(|l| l.name().to_owned())
                .collect(),
            stale_crl: rules.stale_crl.name().to_owned(),
            fingerprints: count(rules.fingerprints.len()),
            denied_issuers: count(rules.denied.len()),
            firmware_floors: count(rules.floors.len()),
        })
    }
}

fn bundled(der: &[u8], root: bool) -> v1::Endorsement {
    // Read when the bundle was: as a root, it reads again.
    let facts = CertificateFacts::as_root(der).ok();
    v1::Endorsement {
        sha256: hex::encode(sha256(&[der])),
        not_after: facts.as_ref().map_or(0, |f| f.not_after.seconds()),
        subject: facts.map(|f| f.subject).unwrap_or_default(),
        root,
        bundled: true,
    }
}

fn response(reports: Vec<FileReport>) -> v1::ImportEndorsementsResponse {
    let mut response = v1::ImportEndorsementsResponse::default();
    for FileReport { reason, items } in reports {
        if !reason.is_empty() {
            response.refused = response.refused.saturating_add(1);
        }
        for item in &items {
            let counter = match (&item.outcome, item.kind) {
                (Outcome::Refused(_), _) => &mut response.refused,
                (Outcome::Known, _) => &mut response.already_known,
                (Outcome::New, "root") => &mut response.roots,
                (Outcome::New, "crl") => &mut response.crls,
                (Outcome::New, _) => &mut response.intermediates,
            };
            *counter = counter.saturating_add(1);
        }
        response.files.push(v1::EndorsementFile {
            reason,
            items: items.into_iter().map(item).collect(),
        });
    }
    response
}

fn item(item: ItemReport) -> v1::EndorsementItem {
    let (outcome, reason) = match item.outcome {
        Outcome::New => ("new", String::new()),
        Outcome::Known => ("known", String::new()),
        Outcome::Refused(reason) => ("refused", reason),
    };
    v1::EndorsementItem {
        kind: item.kind.to_owned(),
        sha256: hex::encode(item.sha256),
        name: item.name,
        outcome: outcome.to_owned(),
        reason,
    }
}
