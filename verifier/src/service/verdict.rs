//! A result, as the gateway and relying parties get it: EAR signed with the
//! result key, and the reasons in words.

use holdfast_proto::{grpc::v1, result::VerifierId};

use super::{Shared, error::Refusal};
use crate::{appraisal::AttestationResult, store::Reason, time::UnixTime};

/// `ear_verifier_id` (EAR §4.2).
const DEVELOPER: &str = "https://holdfast.dev";
const BUILD: &str = concat!("holdfast-verifier ", env!("CARGO_PKG_VERSION"));

/// The verdict on the wire. The EAR ends when an LDevID issued now would. A
/// refusal comes as JWT and CWT; `jwt` says whether an affirmation does.
pub(super) fn verdict<K>(
    shared: &Shared,
    result: &AttestationResult<K>,
    jwt: bool,
    now: UnixTime,
) -> Result<v1::Verdict, Refusal> {
    let verifier = VerifierId {
        developer: DEVELOPER.to_owned(),
        build: BUILD.to_owned(),
    };
    let expires = now.plus(shared.issuer.profile(result.class()).validity_seconds());
    let ear = result.to_ear(verifier, now, expires);
    let key = shared.result_key.get();
    let failed = |e| Refusal::Internal(format!("result key: {e}"));
    let ear_jwt = if jwt || !result.is_affirming() {
        ear.sign_jwt_as(shared.ear_form, key.id(), |message| key.sign(message))
            .map_err(failed)?
    } else {
        String::new()
    };
    Ok(v1::Verdict {
        ear_jwt,
        ear_cwt: ear
            .sign_cwt_as(shared.ear_form, key.id(), |message| key.sign(message))
            .map_err(failed)?,
        affirming: result.is_affirming(),
        reasons: result
            .reasons()
            .iter()
            .map(|r| v1::Reason {
                code: r.code.clone(),
                detail: r.detail.clone(),
                next_step: r.next_step.clone(),
            })
            .collect(),
    })
}

/// The reasons as the store keeps them.
pub(super) fn recorded_reasons(verdict: &v1::Verdict) -> Vec<Reason> {
    verdict
        .reasons
        .iter()
        .map(|r| Reason {
            code: r.code.clone(),
            detail: r.detail.clone(),
            next_step: r.next_step.clone(),
        })
        .collect()
}
