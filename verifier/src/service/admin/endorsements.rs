//! TPM vendors' certificates: imported, and taken into use at once.

use holdfast_proto::grpc::v1;
use tracing::info;

use super::AdminService;
use crate::{
    endorsement::{Anchors, CertificateFacts},
    service::{convert, error::Refusal},
    store::Anchor,
};

/// Certificates in one import; a vendor's whole set has some hundred.
const CERTIFICATES_MAX: usize = 10_000;
impl AdminService {
    pub(super) async fn endorsements(
        &self,
        by: &str,
        request: v1::ImportEndorsementsRequest,
    ) -> Result<v1::ImportEndorsementsResponse, Refusal> {
        let shared = &self.shared;
        let now = shared.clock.now().seconds();
        let mut anchors: Vec<Anchor> = Vec::new();
        for file in &request.certificates {
            for der in certificates(file)? {
                anchors.push(anchor(der)?);
                if anchors.len() > CERTIFICATES_MAX {
                    return Err(Refusal::AdminInput(
                        "more than 10,000 certificates in one import; import them in parts"
                            .to_owned(),
                    ));
                }
            }
        }
        if anchors.is_empty() {
            return Err(Refusal::AdminInput(
                "no certificates in what was sent".to_owned(),
            ));
        }
        let _one = self.importing.lock().await;
        // Built from what would be known before anything is recorded: a set
        // that the core refuses is never stored.
        let known = shared.store.anchors().await?;
        build_anchors(known.iter().chain(&anchors))?;
        let imported = shared.store.import_anchors(anchors, by, now).await?;
        let all = shared.store.anchors().await?;
        shared.verifier.replace_anchors(build_anchors(&all)?);
        info!(
            by,
            roots = imported.roots,
            intermediates = imported.intermediates,
            "endorsements imported"
        );
        Ok(v1::ImportEndorsementsResponse {
            roots: imported.roots,
            intermediates: imported.intermediates,
            already_known: imported.already_known,
        })
    }
}

/// PEM with any number of certificates, or one in DER.
fn certificates(file: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    // A DER certificate is a SEQUENCE; PEM text never begins with 0x30 ("0").
    if file.first() == Some(&0x30) {
        return Ok(vec![file.to_vec()]);
    }
    CertificateDer::pem_slice_iter(file)
        .map(|der| der.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|e| Refusal::AdminInput(format!("not PEM: {e}")))
}

fn anchor(der: Vec<u8>) -> Result<Anchor, Refusal> {
    let facts = CertificateFacts::parse(&der)
        .map_err(|e| Refusal::AdminInput(format!("not a CA certificate: {e}")))?;
    Ok(Anchor {
        sha256: convert::sha256(&der),
        subject: facts.subject,
        root: facts.self_signed,
        not_after: facts.not_after.seconds(),
        der,
    })
}

/// The core's anchors from what the store holds.
pub fn build_anchors<'a>(known: impl IntoIterator<Item = &'a Anchor>) -> Result<Anchors, Refusal> {
    let (roots, intermediates): (Vec<_>, Vec<_>) = known.into_iter().partition(|a| a.root);
    let der = |anchors: Vec<&Anchor>| anchors.into_iter().map(|a| a.der.clone()).collect();
    Anchors::new(der(roots), der(intermediates))
        .map_err(|e| Refusal::AdminInput(format!("endorsements: {e}")))
}
