//! The owner's calls about the appraisal policy.

use std::sync::Arc;

use holdfast_proto::grpc::v1;
use tracing::info;

use super::{
    AdminService,
    page::{VERSIONS_FETCH, cut_versions},
    to_its_end,
};
use crate::{
    service::error::Refusal,
    store::{PolicyRecord, PolicyVersion},
};

impl AdminService {
    pub(super) async fn get_policy(
        &self,
        request: v1::GetPolicyRequest,
    ) -> Result<v1::GetPolicyResponse, Refusal> {
        let version = Some(request.version).filter(|version| *version != 0);
        let record = self.shared.store.policy(version).await?;
        let record = record.ok_or_else(|| {
            Refusal::AdminInput(format!(
                "the policy has no version {}: `policy list` has them all",
                request.version
            ))
        })?;
        Ok(v1::GetPolicyResponse {
            policy: Some(whole(record)),
        })
    }

    pub(super) async fn list_policies(&self) -> Result<v1::ListPoliciesResponse, Refusal> {
        let policies = self.shared.store.policies(VERSIONS_FETCH).await?;
        let (policies, cut) = cut_versions(policies);
        Ok(v1::ListPoliciesResponse {
            policies: policies.into_iter().map(line).collect(),
            cut,
        })
    }

    pub(super) async fn apply_policy(
        &self,
        by: &str,
        request: v1::ApplyPolicyRequest,
    ) -> Result<v1::ApplyPolicyResponse, Refusal> {
        let v1::ApplyPolicyRequest { source, statement } = request;
        let (shared, by_them) = (Arc::clone(&self.shared), by.to_owned());
        let applied = to_its_end(async move {
            let (now, verifier) = (shared.clock.now(), &shared.verifier);
            let policies = &shared.policies;
            policies
                .apply(verifier, source, &statement, &by_them, now)
                .await
        })
        .await?;
        let (version, sha256) = (applied.record.version, hex::encode(applied.record.sha256));
        if applied.changed {
            info!(by, version, policy = sha256, "policy applied");
        }
        Ok(v1::ApplyPolicyResponse {
            version,
            policy_id: sha256,
            changed: applied.changed,
        })
    }
}

fn whole(record: PolicyRecord) -> v1::Policy {
    v1::Policy {
        version: record.version,
        policy_id: hex::encode(record.sha256),
        source: record.source,
        statement: record.statement,
        applied_at: record.applied_at,
        applied_by: record.applied_by,
    }
}

fn line(version: PolicyVersion) -> v1::Policy {
    v1::Policy {
        version: version.version,
        policy_id: hex::encode(version.sha256),
        source: String::new(),
        statement: Vec::new(),
        applied_at: version.applied_at,
        applied_by: version.applied_by,
    }
}
