//! A15: claims. Each set is signed by the right key and quoted over; only what
//! it says is wrong, or how it says it.

use anyhow::{Context, Result, ensure};
use ciborium::Value;
use holdfast_attester::evidence::now;
use holdfast_integration::scene::{PURPOSES, sign_bytes};
use holdfast_integration::{Attacks, ReadyEnrolment, Refusal, Scene};
use holdfast_proto::claims::{Claims, Purpose, Ueid};

/// One thing changed.
type Change<T> = fn(&mut T);

// As in docs/claims.cddl.
const IAT: i64 = 6;
const EAT_NONCE: i64 = 10;
const UEID: i64 = 256;
const UPTIME: i64 = 261;
const SUBMODS: i64 = 266;
const EAT_PROFILE: i64 = 265;
const SWNAME: i64 = 270;
const SWVERSION: i64 = 271;
const PURPOSE: i64 = -75_001;
const EXPORTER: i64 = -75_002;
const CERTIFY_SHA256: i64 = -75_003;
const BOOT_LOG_SHA256: i64 = -75_004;

/// The nonce: of no challenge, one bit off, of an earlier challenge, of other
/// lengths, several, absent, twice.
#[tokio::test]
async fn adv_a15_nonce() -> Result<()> {
    const OTHER: &str = "claims hold another nonce";
    let scene = Scene::new()?;
    let earlier = scene.ready_to_enrol().await?.nonce()?;
    let mut attacks = Attacks::on(&scene).await?;
    attacks
        .refused(Refusal::STALE, OTHER, |r| {
            r.resign_claims(|c| c.nonce = [0; 32])
        })
        .await?;
    attacks
        .refused(Refusal::STALE, OTHER, |r| {
            r.resign_claims(|c| c.nonce[31] ^= 1)
        })
        .await?;
    attacks
        .refused(Refusal::STALE, OTHER, |r| {
            r.resign_claims(|c| c.nonce = earlier)
        })
        .await?;
    let malformed: [Case; 8] = [
        ("no claim eat_nonce", |set| remove(set, EAT_NONCE)),
        ("claims set: key 10 twice", |set| twice(set, EAT_NONCE)),
        // The right one first, then another.
        ("claims set: key 10 twice", |set| {
            insert_after(set, EAT_NONCE, vec![0; 32].into())
        }),
        ("eat_nonce: out of range", |set| cut(set, EAT_NONCE, 31)),
        ("eat_nonce: out of range", |set| cut(set, EAT_NONCE, 8)),
        ("eat_nonce: out of range", |set| {
            put(set, EAT_NONCE, vec![0; 33].into())
        }),
        // RFC 9711 allows an array of nonces: we take one.
        ("eat_nonce: found array, expected byte string", |set| {
            let nonce = take(set, EAT_NONCE)?;
            put(
                set,
                EAT_NONCE,
                Value::Array(vec![nonce, vec![0; 32].into()]),
            )
        }),
        (
            "eat_nonce: found text string, expected byte string",
            |set| put(set, EAT_NONCE, "0".repeat(64).into()),
        ),
    ];
    all_refused(&mut attacks, &malformed).await?;
    attacks.then_the_good_run().await
}

/// The id: of another genuine gateway, one bit off, of other types and lengths.
#[tokio::test]
async fn adv_a15_ueid_of_another_device() -> Result<()> {
    let scene = Scene::new()?;
    let other = scene.another_gateway("other")?;
    let other: Ueid = *other
        .enrolment(holdfast_attester::enrolment::KeyChoice::default())?
        .gateway_id();
    let mut attacks = Attacks::on(&scene).await?;
    let cause = format!("claims are about gateway {other}");
    attacks
        .refused(Refusal::NOT_AUTHENTIC, &cause, |r| {
            r.resign_claims(|c| c.ueid = other)
        })
        .await?;
    attacks
        .refused(Refusal::NOT_AUTHENTIC, "claims are about gateway", |r| {
            r.resign_claims(|c| {
                let mut bytes = *c.ueid.as_bytes();
                bytes[32] ^= 1;
                c.ueid = Ueid::parse(&bytes).expect("of type RAND");
            })
        })
        .await?;
    let malformed: [Case; 7] = [
        ("no claim ueid", |set| remove(set, UEID)),
        ("claims set: key 256 twice", |set| twice(set, UEID)),
        ("claim ueid is out of range", |set| cut(set, UEID, 32)),
        ("claim ueid is out of range", |set| {
            put(set, UEID, Vec::<u8>::new().into())
        }),
        // Types of UEID that we do not make (RFC 9711 §4.2.1).
        ("claim ueid is out of range", |set| retype(set, 2)),
        ("claim ueid is out of range", |set| retype(set, 0)),
        ("ueid: found text string", |set| put(set, UEID, "01".into())),
    ];
    all_refused(&mut attacks, &malformed).await?;
    attacks.then_the_good_run().await
}

/// Evidence for one call, sent in another; and purposes that do not exist.
#[tokio::test]
async fn adv_a15_purpose() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    for purpose in PURPOSES.into_iter().filter(|p| *p != Purpose::Enrol) {
        let cause = format!("claims were made to {purpose:?}, this call is to Enrol");
        attacks
            .refused(Refusal::NOT_AUTHENTIC, &cause, |r| {
                r.resign_claims(|c| c.purpose = purpose)
            })
            .await?;
    }
    let malformed: [Case; 6] = [
        ("claim purpose is out of range", |set| {
            put(set, PURPOSE, 0.into())
        }),
        ("claim purpose is out of range", |set| {
            put(set, PURPOSE, 5.into())
        }),
        ("claim purpose is out of range", |set| {
            put(set, PURPOSE, 257.into())
        }),
        ("claim purpose is out of range", |set| {
            put(set, PURPOSE, u64::MAX.into())
        }),
        ("purpose: out of range", |set| {
            put(set, PURPOSE, (-1).into())
        }),
        ("no claim purpose", |set| remove(set, PURPOSE)),
    ];
    all_refused(&mut attacks, &malformed).await?;
    attacks.then_the_good_run().await
}

/// Times: ahead of the verifier's clock, before the challenge, at the ends of
/// what numbers can say. A clock within the tolerance is taken.
#[tokio::test]
async fn adv_a15_issued_in_the_future_or_before_the_challenge() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    for iat in [
        now() + 310,
        now() + 86_400,
        now() - 310,
        0,
        253_402_300_799, // the end of year 9999
    ] {
        let cause = format!("claims were issued at {iat}, outside");
        attacks
            .refused(Refusal::NOT_AUTHENTIC, &cause, |r| {
                r.resign_claims(|c| c.issued_at = iat)
            })
            .await?;
    }
    let malformed: [Case; 7] = [
        ("claim iat is out of range", |set| {
            put(set, IAT, (-1).into())
        }),
        ("claim iat is out of range", |set| {
            put(set, IAT, 253_402_300_800_i64.into())
        }),
        ("claim iat is out of range", |set| {
            put(set, IAT, i64::MAX.into())
        }),
        ("claim iat is out of range", |set| {
            put(set, IAT, i64::MIN.into())
        }),
        ("iat: out of range", |set| put(set, IAT, u64::MAX.into())),
        ("iat: found float or simple value", |set| {
            put(set, IAT, 1.8e9.into())
        }),
        ("no claim iat", |set| remove(set, IAT)),
    ];
    all_refused(&mut attacks, &malformed).await?;
    attacks
        .then_granted(|r| r.resign_claims(|c| c.issued_at += 200))
        .await
}

/// The exporter, absent, cut, or another; the certification's digest, absent,
/// or another; the boot log's, absent, another, or of a log that is not sent.
#[tokio::test]
async fn adv_a15_digests_that_bind() -> Result<()> {
    const CERTIFY: &str = "claims do not hold the digest of the certification";
    const LOG: &str = "claims do not hold the digest of the boot log";
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    let bound: [(&str, Change<Claims>); 6] = [
        ("claims are bound to another TLS connection", |c| {
            c.exporter[0] ^= 1
        }),
        ("claims are bound to another TLS connection", |c| {
            c.exporter = [0; 32]
        }),
        (CERTIFY, |c| c.certify_sha256 = None),
        (CERTIFY, |c| c.certify_sha256 = Some([0; 32])),
        (LOG, |c| c.boot_log_sha256 = None),
        (LOG, |c| c.boot_log_sha256 = Some([0; 32])),
    ];
    for (cause, change) in bound {
        attacks
            .refused(Refusal::NOT_AUTHENTIC, cause, |r| r.resign_claims(change))
            .await?;
    }
    // The log itself: gone, changed, another.
    let logs: [fn(&mut Vec<u8>); 3] = [Vec::clear, |log| log.push(0), |log| log[40] ^= 1];
    for change in logs {
        attacks
            .refused(Refusal::NOT_AUTHENTIC, LOG, |r| {
                let log = r.evidence().boot_log.as_mut().context("a log")?;
                let Some(holdfast_proto::grpc::v1::boot_log::Log::Content(content)) = &mut log.log
                else {
                    anyhow::bail!("not whole");
                };
                change(content);
                Ok(())
            })
            .await?;
    }
    attacks
        .refused(Refusal::NOT_AUTHENTIC, LOG, |r| {
            r.evidence().boot_log = None;
            Ok(())
        })
        .await?;
    let malformed: [Case; 6] = [
        ("no claim exporter", |set| remove(set, EXPORTER)),
        ("exporter: out of range", |set| cut(set, EXPORTER, 31)),
        ("exporter: out of range", |set| {
            put(set, EXPORTER, Vec::<u8>::new().into())
        }),
        ("certify-sha256: out of range", |set| {
            cut(set, CERTIFY_SHA256, 20)
        }),
        ("boot-log-sha256: out of range", |set| {
            cut(set, BOOT_LOG_SHA256, 31)
        }),
        ("certify-sha256: found float or simple value", |set| {
            put(set, CERTIFY_SHA256, Value::Null)
        }),
    ];
    all_refused(&mut attacks, &malformed).await?;
    attacks.then_the_good_run().await
}

/// The profile: absent, of a later version, of a like name; and claims that it
/// does not have, submodules first of all.
#[tokio::test]
async fn adv_a15_profile_and_smuggled_claims() -> Result<()> {
    const PROFILE: &str = "eat_profile is not tag:holdfast.dev,2026:evidence/1";
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    let malformed: [Case; 14] = [
        ("no claim eat_profile", |set| remove(set, EAT_PROFILE)),
        ("claims set: key 265 twice", |set| twice(set, EAT_PROFILE)),
        (PROFILE, |set| {
            put(set, EAT_PROFILE, "tag:holdfast.dev,2026:evidence/2".into())
        }),
        (PROFILE, |set| {
            put(set, EAT_PROFILE, "tag:holdfast.dev,2026:evidence/1 ".into())
        }),
        (PROFILE, |set| {
            put(set, EAT_PROFILE, "tag:github.com,2023:veraison/ear".into())
        }),
        // An OID, which RFC 9711 §4.3.2 also allows.
        ("eat_profile: found byte string", |set| {
            put(set, EAT_PROFILE, vec![0x2A, 3, 4].into())
        }),
        ("unknown claim 266", |set| put(set, SUBMODS, submodule())),
        ("unknown claim 266", |set| {
            put(set, SUBMODS, Value::Map(Vec::new()))
        }),
        // iss, exp, cnf (a key of the attacker's), debug status, measurements.
        ("unknown claim 1", |set| put(set, 1, "verifier".into())),
        ("unknown claim 4", |set| put(set, 4, i64::MAX.into())),
        ("unknown claim 8", |set| put(set, 8, Value::Map(Vec::new()))),
        ("unknown claim 263", |set| put(set, 263, 0.into())),
        ("unknown claim -75005", |set| put(set, -75_005, 0.into())),
        ("claims set: found text string, expected integer", |set| {
            set.push(("ueid".into(), vec![1; 33].into()));
            Ok(())
        }),
    ];
    all_refused(&mut attacks, &malformed).await?;
    attacks.then_the_good_run().await
}

/// Numbers and texts outside their ranges: what a log, a page or a policy
/// would have to show.
#[tokio::test]
async fn adv_a15_numbers_and_texts_out_of_range() -> Result<()> {
    const NAME: &str = "claim swname is out of range";
    const VERSION: &str = "claim swversion is out of range";
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    let malformed: [Case; 18] = [
        ("claim uptime is out of range", |set| {
            put(set, UPTIME, u64::MAX.into())
        }),
        ("claim uptime is out of range", |set| {
            put(set, UPTIME, 3_162_240_001_u64.into())
        }),
        ("uptime: out of range", |set| put(set, UPTIME, (-1).into())),
        ("uptime: found float", |set| put(set, UPTIME, 1.5.into())),
        ("uptime: found float", |set| {
            put(set, UPTIME, f64::NAN.into())
        }),
        ("uptime: found tag", |set| {
            let bignum = Value::Tag(2, Box::new(vec![1; 9].into()));
            put(set, UPTIME, bignum)
        }),
        (NAME, |set| put(set, SWNAME, "".into())),
        (NAME, |set| put(set, SWNAME, "x".repeat(65).into())),
        (NAME, |set| put(set, SWNAME, "\u{1b}[2J".into())),
        (NAME, |set| put(set, SWNAME, "a\nb".into())),
        (NAME, |set| put(set, SWNAME, "a\0".into())),
        // A homoglyph: Cyrillic о.
        (NAME, |set| put(set, SWNAME, "h\u{43e}ldfast".into())),
        (VERSION, |set| {
            put(set, SWVERSION, Value::Array(vec!["\r".into()]))
        }),
        (VERSION, |set| put(set, SWVERSION, Value::Array(Vec::new()))),
        (VERSION, |set| {
            put(
                set,
                SWVERSION,
                Value::Array(vec!["1".into(), "semver".into()]),
            )
        }),
        ("swversion: found text string, expected array", |set| {
            put(set, SWVERSION, "1".into())
        }),
        ("swname: found byte string", |set| {
            put(set, SWNAME, vec![0xFF].into())
        }),
        ("no claim swversion", |set| remove(set, SWVERSION)),
    ];
    all_refused(&mut attacks, &malformed).await?;
    // 64 KiB of it does not even get so far.
    attacks
        .refused(
            Refusal::INVALID_REQUEST,
            "bytes are over the limit of 16384",
            |r| r.resign_claims(|c| c.software_name = "x".repeat(1 << 16)),
        )
        .await?;
    attacks.then_the_good_run().await
}

/// A re-attestation's claims, likewise: for another purpose, about another
/// gateway, with a certification where none comes along.
#[tokio::test]
async fn adv_a15_in_a_reattestation() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let cases: [(Refusal, &str, Change<Claims>); 5] = [
        (Refusal::STALE, "claims hold another nonce", |c| {
            c.nonce = [7; 32]
        }),
        (Refusal::NOT_AUTHENTIC, "claims are about gateway", |c| {
            let mut other = *c.ueid.as_bytes();
            other[1] ^= 1;
            c.ueid = Ueid::parse(&other).expect("of type RAND");
        }),
        (
            Refusal::NOT_AUTHENTIC,
            "claims were made to Renew, this call is to Attest",
            |c| c.purpose = Purpose::Renew,
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "claims do not hold the digest of the certification",
            |c| c.certify_sha256 = Some([0; 32]),
        ),
        (Refusal::NOT_AUTHENTIC, "claims were issued at", |c| {
            c.issued_at += 86_400
        }),
    ];
    for (refusal, cause, change) in cases {
        let mut attack = scene.ready_to_attest(&enrolled, false).await?;
        let (tpm, keys) = (scene.gateway.tpm(), &enrolled.keys);
        let evidence = attack.request.evidence.as_mut().context("evidence")?;
        let signed = holdfast_proto::claims::SignedClaims::parse(&evidence.claims)?;
        let mut claims = signed
            .open(|_, _, _| Ok::<_, std::convert::Infallible>(()))
            .context("our own claims")?;
        change(&mut claims);
        evidence.claims = holdfast_integration::scene::sign_claims(tpm, keys, &claims)?;
        let selection = holdfast_integration::scene::selection(&attack.challenge.pcr_selection)?;
        let bound = holdfast_proto::binding::quote_extra_data(&evidence.claims);
        let quote = tpm.quote(&keys.ak, &selection, bound)?;
        evidence.quote_attest = quote.attest;
        evidence.quote_signature = quote.signature;
        let refused = scene.assert_attest_refused(attack, refusal);
        scene.because(cause, refused).await?;
    }
    Ok(())
}

/// A claims set, to be changed.
type Set = Vec<(Value, Value)>;
/// A change, and what the verifier must log.
type Case = (&'static str, fn(&mut Set) -> Result<()>);

async fn all_refused(attacks: &mut Attacks<'_>, cases: &[Case]) -> Result<()> {
    for (cause, change) in cases {
        attacks
            .refused(Refusal::INVALID_REQUEST, cause, |ready| {
                let forged = changed(ready, change)?;
                ready.replace_claims(forged)
            })
            .await?;
    }
    Ok(())
}

/// The good claims with one change, in deterministic order, signed again.
fn changed(
    ready: &mut ReadyEnrolment,
    change: impl FnOnce(&mut Set) -> Result<()>,
) -> Result<Vec<u8>> {
    let value: Value = ciborium::from_reader(ready.evidence().claims.as_slice())?;
    let items = value
        .as_tag()
        .and_then(|(_, value)| value.as_array())
        .context("not a COSE_Sign1")?;
    let payload = items[2].as_bytes().context("payload")?;
    let Value::Map(mut set) = ciborium::from_reader(payload.as_slice())? else {
        anyhow::bail!("not a map");
    };
    let before = set.clone();
    change(&mut set)?;
    // Stable: of two equal keys the first stays the first.
    set.sort_by_key(|(key, _)| encode(key));
    ensure!(set != before, "nothing was changed");
    let payload = Value::Bytes(encode(&Value::Map(set)));
    let to_be_signed = encode(&Value::Array(vec![
        "Signature1".into(),
        items[0].clone(),
        Vec::<u8>::new().into(),
        payload.clone(),
    ]));
    let signature = sign_bytes(ready.tpm(), ready.enrolment.keys(), &to_be_signed)?;
    let sign1 = Value::Array(vec![
        items[0].clone(),
        items[1].clone(),
        payload,
        signature.into(),
    ]);
    Ok(encode(&Value::Tag(18, Box::new(sign1))))
}

fn encode(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("a Vec takes everything");
    bytes
}

fn find(set: &Set, key: i64) -> Result<usize> {
    set.iter()
        .position(|(k, _)| *k == Value::from(key))
        .with_context(|| format!("no claim {key}"))
}

fn take(set: &mut Set, key: i64) -> Result<Value> {
    let at = find(set, key)?;
    Ok(set.remove(at).1)
}

fn remove(set: &mut Set, key: i64) -> Result<()> {
    take(set, key).map(drop)
}

/// Replaces the claim, or adds it.
fn put(set: &mut Set, key: i64, value: Value) -> Result<()> {
    let _ = take(set, key);
    set.push((key.into(), value));
    Ok(())
}

fn twice(set: &mut Set, key: i64) -> Result<()> {
    let value = set[find(set, key)?].1.clone();
    insert_after(set, key, value)
}

fn insert_after(set: &mut Set, key: i64, value: Value) -> Result<()> {
    let at = find(set, key)?;
    set.insert(at + 1, (key.into(), value));
    Ok(())
}

fn cut(set: &mut Set, key: i64, len: usize) -> Result<()> {
    let mut bytes = take(set, key)?.into_bytes().ok().context("bytes")?;
    bytes.truncate(len);
    put(set, key, bytes.into())
}

/// Another first byte of the UEID.
fn retype(set: &mut Set, kind: u8) -> Result<()> {
    let mut bytes = take(set, UEID)?.into_bytes().ok().context("bytes")?;
    bytes[0] = kind;
    put(set, UEID, bytes.into())
}

/// A submodule that claims another id.
fn submodule() -> Value {
    let inner = Value::Map(vec![(UEID.into(), vec![1; 33].into())]);
    Value::Map(vec![("tpm".into(), inner)])
}
