//! What verification costs beside the signatures that it cannot do without.

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use holdfast_proto::binding::quote_extra_data;
use holdfast_verifier::appraisal::AttestationResult;
use holdfast_verifier::exchange::Outcome;
use holdfast_verifier::verification::verify_quote;

use crate::stand::Stand;

/// Long enough for a steady ratio on a machine that does other things too.
const MEASURE: Duration = Duration::from_secs(5);

/// `quote_over_verify`: parse, selection, PCR digest and P-256 signature,
/// against one P-256 verification by ring.
pub(crate) fn quote(criterion: &mut Criterion, stand: &Stand) {
    let mut group = criterion.benchmark_group("quote_over_verify");
    group.measurement_time(MEASURE);
    let floor = stand.ring_verify();
    group.bench_function("floor", |bench| bench.iter(&floor));
    let evidence = stand.evidence();
    let bound = quote_extra_data(&evidence.claims);
    group.bench_function("holdfast", |bench| {
        bench.iter(|| {
            let values = evidence
                .pcr_values
                .iter()
                .map(|pcr| (pcr.index, pcr.value.clone()))
                .collect();
            verify_quote(
                &stand.ak,
                black_box(&evidence.quote_attest),
                &evidence.quote_signature,
                &bound,
                &stand.selection,
                values,
            )
            .expect("a good quote")
        });
    });
    group.finish();
}

/// `reattest_over_floor`: token, quote, claims, bindings and appraisal of an
/// unchanged gateway, against two P-256 verifications by ring.
pub(crate) fn reattest(criterion: &mut Criterion, stand: &Stand) {
    let mut group = criterion.benchmark_group("reattest_over_floor");
    group.measurement_time(MEASURE);
    let verify = stand.ring_verify();
    group.bench_function("floor", |bench| {
        bench.iter(|| {
            verify();
            verify();
        });
    });
    group.bench_function("holdfast", |bench| {
        bench.iter(|| {
            let attestation = stand
                .verifier
                .attest(
                    &stand.gateway,
                    black_box(&stand.request),
                    &stand.channel,
                    Some(&stand.references),
                    None,
                    stand.now,
                )
                .expect("good evidence");
            assert!(
                matches!(&attestation.outcome, Outcome::Unchanged(result) if affirming(result)),
                "the gateway is unchanged"
            );
            attestation
        });
    });
    group.finish();
}

fn affirming<K>(result: &AttestationResult<K>) -> bool
where
    K: holdfast_verifier::verification::KeyProof,
{
    result.is_affirming()
}
