//! The audit log, as it is read.

use holdfast_proto::grpc::v1;

use super::{AdminService, page::Page};
use crate::service::error::Refusal;

impl AdminService {
    pub(super) async fn audit_page(
        &self,
        request: v1::ListAuditRequest,
    ) -> Result<v1::ListAuditResponse, Refusal> {
        let page = Page::parse(request.page_size, &request.page_token)?;
        let rows = self
            .shared
            .store
            .audit_page(page.from, page.fetch())
            .await?;
        let (rows, next) = page.cut(rows, |row| row.id);
        Ok(v1::ListAuditResponse {
            records: rows
                .into_iter()
                .map(|row| v1::AuditRecord {
                    id: row.id,
                    at: row.entry.at,
                    actor: row.entry.actor,
                    action: row.entry.action,
                    subject: row.entry.subject,
                    detail: row.entry.detail,
                    hash: row.hash.map(Vec::from).unwrap_or_default(),
                })
                .collect(),
            next_page_token: next,
        })
    }
}
