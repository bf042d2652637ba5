//! Operators' certificates: recorded, listed, revoked.

use holdfast_proto::grpc::v1;
use tracing::info;

use super::{AdminService, page::Page, reason};
use crate::{service::error::Refusal, store::OperatorRecord};

/// A certificate has some hundred bytes, with an RSA key and a long name two
/// thousand.
const CERTIFICATE_MAX: usize = 16 * 1024;

impl AdminService {
    pub(super) async fn add_operator_certificate(
        &self,
        by: &str,
        request: v1::AddOperatorRequest,
    ) -> Result<v1::AddOperatorResponse, Refusal> {
        let shared = &self.shared;
        if request.certificate.len() > CERTIFICATE_MAX {
            return Err(Refusal::AdminInput(
                "a certificate has at most 16 KiB".to_owned(),
            ));
        }
        let ca = shared.operators_ca.as_ref().ok_or_else(|| {
            Refusal::AdminInput(
                "there is no CA for operators: make one with `holdfast-verifier operator init-ca`, \
                 and restart the server"
                    .to_owned(),
            )
        })?;
        let now = shared.clock.now();
        let certificate = ca
            .read(&request.certificate, now)
            .map_err(|e| Refusal::AdminInput(e.to_string()))?;
        let record = shared
            .store
            .add_operator(&certificate, by, now.seconds())
            .await?;
        info!(by, operator = record.name, role = %record.role, serial = record.serial, "operator added");
        Ok(v1::AddOperatorResponse {
            operator: Some(message(record)),
        })
    }

    pub(super) async fn operators_page(
        &self,
        request: v1::ListOperatorsRequest,
    ) -> Result<v1::ListOperatorsResponse, Refusal> {
        let page = Page::parse(request.page_size, &request.page_token)?;
        let records = self
            .shared
            .store
            .operators(page.from.unwrap_or(0), page.fetch())
            .await?;
        let (records, next) = page.cut(records, |record| record.id);
        Ok(v1::ListOperatorsResponse {
            operators: records.into_iter().map(message).collect(),
            next_page_token: next,
        })
    }

    pub(super) async fn revoke_operator_certificate(
        &self,
        by: &str,
        request: v1::RevokeOperatorRequest,
    ) -> Result<v1::RevokeOperatorResponse, Refusal> {
        let serial = request.serial.as_str();
        if !serial
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            || serial.len() > 64
        {
            return Err(Refusal::AdminInput(
                "a serial number is lower-case hex, as `operator list` shows it".to_owned(),
            ));
        }
        let now = self.shared.clock.now().seconds();
        let record = self
            .shared
            .store
            .revoke_operator(serial, reason(&request.reason)?, by, now)
            .await?;
        info!(by, operator = record.name, serial, "operator revoked");
        Ok(v1::RevokeOperatorResponse {
            operator: Some(message(record)),
        })
    }
}

fn message(record: OperatorRecord) -> v1::OperatorCertificate {
    let (revoked_at, revocation_reason) = record.revoked.unwrap_or_default();
    v1::OperatorCertificate {
        serial: record.serial,
        sha256: hex::encode(record.sha256),
        name: record.name,
        role: record.role.name().to_owned(),
        not_before: record.not_before,
        not_after: record.not_after,
        added_at: record.added_at,
        added_by: record.added_by,
        revoked_at,
        revocation_reason,
    }
}
