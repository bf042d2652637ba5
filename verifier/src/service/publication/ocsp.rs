//! Answers OCSP requests from the store. Answers without a nonce are kept and
//! given again: they are the same for everybody.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper::body::Bytes;
use tracing::{debug, error};

use crate::{
    identity::{
        IdentityError, IssuingCa, RevocationReason,
        ocsp::{CertId, CertStatus, OcspError, OcspRequest, OcspResponder, SingleResponse},
    },
    service::Shared,
    store::{Issued, KeyId, Seconds, StoreError},
    time::UnixTime,
};

/// Answers kept; of some 900 octets each.
const KEPT_MAX: usize = 10_000;

pub(super) struct Ocsp {
    shared: Arc<Shared>,
    seconds: Seconds,
    responders: tokio::sync::Mutex<HashMap<Vec<u8>, Arc<OcspResponder>>>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    /// Place in the order of revocations that the answers are of.
    place: u64,
    /// By the CertID's DER.
    answers: HashMap<Vec<u8>, Signed>,
}

/// A signed answer.
#[derive(Clone)]
struct Signed {
    der: Bytes,
    at: Seconds,
}

/// What is sent back.
pub(super) struct Answer {
    pub(super) der: Bytes,
    /// From when to when caches may give it to others; none for what is of
    /// this request alone.
    pub(super) counts: Option<(Seconds, Seconds)>,
}

impl From<OcspError> for Answer {
    fn from(error: OcspError) -> Self {
        Self {
            der: error.to_der().into(),
            counts: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("signing ended early: {0}")]
    Join(#[from] tokio::task::JoinError),
}

impl Ocsp {
    pub(super) fn new(shared: Arc<Shared>, seconds: Seconds) -> Self {
        Self {
            shared,
            seconds,
            responders: tokio::sync::Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// Whatever comes, there is an answer.
    pub(super) async fn answer(&self, request: &[u8]) -> Answer {
        let request = match OcspRequest::parse(request) {
            Ok(request) => request,
            Err(error) => {
                debug!(%error, "OCSP request");
                return OcspError::MalformedRequest.into();
            }
        };
        let cas = self.shared.issuer.cas();
        // One CA signs the answer: that of the first certificate that is of any.
        let asked = request.cert_ids().iter();
        let Some(ca) = asked
            .clone()
            .find_map(|id| cas.all().find(|ca| id.is_of(ca)))
        else {
            return OcspError::Unauthorized.into();
        };
        match self.answer_by(ca, &request).await {
            Ok(answer) => answer,
            Err(Failure::Store(error)) => {
                error!(%error, "OCSP");
                OcspError::TryLater.into()
            }
            Err(error) => {
                error!(%error, "OCSP");
                OcspError::InternalError.into()
            }
        }
    }

    async fn answer_by(
        &self,
        ca: &Arc<IssuingCa>,
        request: &OcspRequest<'_>,
    ) -> Result<Answer, Failure> {
        let now = self.shared.clock.now();
        let place = self.shared.revocations.place();
        let alone = match (request.cert_ids(), request.nonce()) {
            ([one], None) => Some(one),
            _ => None,
        };
        if let Some(signed) = alone.and_then(|id| self.kept(place).fresh(id, now, self.seconds)) {
            return Ok(self.for_everybody(signed));
        }
        let mut responses = Vec::with_capacity(request.cert_ids().len());
        let mut known = true;
        for cert_id in request.cert_ids() {
            let recorded = self.recorded(ca, cert_id).await?;
            known &= recorded.is_some();
            responses.push(SingleResponse {
                cert_id: *cert_id,
                status: recorded.unwrap_or_else(|| of_no_record(ca, cert_id)),
            });
        }
        let responder = self.responder(ca, now).await?;
        let der = responder.respond(&responses, request.nonce(), now, self.seconds)?;
        let der = Bytes::from(der);
        let signed = Signed {
            der,
            at: now.seconds(),
        };
        match alone {
            None => Ok(Answer {
                der: signed.der,
                counts: None,
            }),
            Some(id) => {
                // Of numbers that are made up there is no end.
                if known {
                    self.kept(place).keep(id, signed.clone());
                }
                Ok(self.for_everybody(signed))
            }
        }
    }

    fn for_everybody(&self, signed: Signed) -> Answer {
        Answer {
            der: signed.der,
            counts: Some((signed.at, signed.at.saturating_add(self.seconds))),
        }
    }

    /// What is on record of a certificate, if anything is.
    async fn recorded(
        &self,
        ca: &IssuingCa,
        cert_id: &CertId<'_>,
    ) -> Result<Option<CertStatus>, StoreError> {
        let Some(issuer) = issuer_of(ca, cert_id) else {
            return Ok(None);
        };
        let issued = self
            .shared
            .store
            .issued(&issuer, &cert_id.serial_hex())
            .await?;
        Ok(issued.map(|issued| match issued {
            Issued::Good => CertStatus::Good,
            Issued::Revoked { at, reason } => CertStatus::Revoked {
                at: UnixTime::from_seconds(at),
                reason,
            },
        }))
    }

    /// The responder of a CA; a new one where it is time.
    async fn responder(
        &self,
        ca: &Arc<IssuingCa>,
        now: UnixTime,
    ) -> Result<Arc<OcspResponder>, Failure> {
        let mut responders = self.responders.lock().await;
        let id = ca.key_identifier().to_vec();
        let before = responders.get(&id).cloned();
        if let Some(responder) = &before
            && responder.serves_at(now)
            && now < responder.renew_at()
        {
            return Ok(Arc::clone(responder));
        }
        let (ca, shared) = (Arc::clone(ca), Arc::clone(&self.shared));
        let issue = move || OcspResponder::issue(ca, now, &shared.rng);
        match tokio::task::spawn_blocking(issue).await? {
            Ok(responder) => {
                let responder = Arc::new(responder);
                responders.insert(id, Arc::clone(&responder));
                Ok(responder)
            }
            // The one before is good for as long again.
            Err(error) => match before.filter(|responder| responder.serves_at(now)) {
                Some(before) => {
                    error!(%error, "no new OCSP responder");
                    Ok(before)
                }
                None => Err(error.into()),
            },
        }
    }

    fn kept(&self, place: u64) -> MutexGuard<'_, Kept> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // After a revocation nothing from before it is given out.
        if kept.place != place {
            kept.place = place;
            kept.answers.clear();
        }
        kept
    }
}

impl Kept {
    /// Given again for half of its time, so that whoever gets it has some left.
    fn fresh(&self, id: &CertId<'_>, now: UnixTime, seconds: Seconds) -> Option<Signed> {
        let signed = self.answers.get(id.as_der())?;
        let age = now.seconds().checked_sub(signed.at)?;
        (0..seconds / 2).contains(&age).then(|| signed.clone())
    }

    fn keep(&mut self, id: &CertId<'_>, signed: Signed) {
        if self.answers.len() >= KEPT_MAX {
            self.answers.clear();
        }
        self.answers.insert(id.as_der().to_vec(), signed);
    }
}

/// Of a CA that is void, whatever is on no record is revoked: it was issued
/// after the backup that the record is from (RFC 6960 §2.2 lets a responder say
/// so of what it does not know). Else nothing is known of it.
fn of_no_record(ca: &IssuingCa, cert_id: &CertId<'_>) -> CertStatus {
    match ca.voided().filter(|_| cert_id.is_of(ca)) {
        None => CertStatus::Unknown,
        Some(at) => CertStatus::Revoked {
            at,
            reason: RevocationReason::Superseded,
        },
    }
}

fn issuer_of(ca: &IssuingCa, cert_id: &CertId<'_>) -> Option<KeyId> {
    let issuer = ca.key_identifier().try_into().ok()?;
    cert_id.is_of(ca).then_some(issuer)
}
