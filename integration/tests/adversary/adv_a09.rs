//! A09: TPMS_ATTEST. Wrong magic, wrong type, wrong extraData, bytes after its
//! end, lengths that lie; in the quote and in the certification alike.

use anyhow::{Context, Result};
use holdfast_integration::{Attacks, ReadyEnrolment, Refusal, Scene};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::{Attest, Attested, ClockInfo, HashAlg};

/// One thing changed.
type Change<T> = fn(&mut T);

/// Offsets in every TPMS_ATTEST: magic, then type, then the first TPM2B.
const MAGIC: usize = 0;
const TYPE: usize = 4;
const SIGNER: usize = 6;

const ST_ATTEST_CERTIFY: u16 = 0x8017;
const ST_ATTEST_QUOTE: u16 = 0x8018;
const ST_ATTEST_NV: u16 = 0x8014;

/// A structure that the TPM never made: its magic is of something else. Quotes
/// and certifications both; the CVEs C21 and C23 are this.
#[tokio::test]
async fn adv_a09_wrong_magic() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    for magic in [0xFF54_4348_u32, 0, 0x4743_54FF, 0xFF54_4747] {
        for field in FIELDS {
            let cause = format!("{}: TPMS_ATTEST.magic is {magic:#010x}", field.name);
            attacks
                .refused(Refusal::INVALID_REQUEST, &cause, |ready| {
                    let attest = (field.of)(ready)?;
                    attest[MAGIC..TYPE].copy_from_slice(&magic.to_be_bytes());
                    Ok(())
                })
                .await?;
        }
    }
    attacks.then_the_good_run().await
}

/// Genuine structures, genuinely signed by the challenged AK, each in the
/// other's place.
#[tokio::test]
async fn adv_a09_certify_sent_as_quote_and_the_reverse() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    attacks
        .refused(
            Refusal::NOT_AUTHENTIC,
            "quote is not a TPM2_Quote attestation",
            |ready| {
                let certification = certification(ready)?.clone();
                ready.evidence().quote_attest = certification.attest;
                ready.evidence().quote_signature = certification.signature;
                Ok(())
            },
        )
        .await?;
    attacks
        .refused(
            Refusal::NOT_AUTHENTIC,
            // The claims hold the digest of the certification that was.
            "claims do not hold the digest of the certification",
            |ready| {
                let evidence = ready.evidence().clone();
                *certification(ready)? = v1::KeyCertification {
                    attest: evidence.quote_attest,
                    signature: evidence.quote_signature,
                };
                Ok(())
            },
        )
        .await?;
    // The same, with claims that hold the digest of what is sent.
    attacks
        .refused(
            Refusal::NOT_AUTHENTIC,
            "certification is not a TPM2_Certify attestation",
            |ready| {
                let evidence = ready.evidence().clone();
                let digest = sha256(&evidence.quote_attest);
                *certification(ready)? = v1::KeyCertification {
                    attest: evidence.quote_attest,
                    signature: evidence.quote_signature,
                };
                ready.resign_claims(|claims| claims.certify_sha256 = Some(digest))
            },
        )
        .await?;
    attacks.then_the_good_run().await
}

/// The type alone is overwritten, or is one of another attestation that this
/// AK could have signed.
#[tokio::test]
async fn adv_a09_wrong_type() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    // What follows is then read by another layout.
    for (field, kind, cause) in [
        (&QUOTE, ST_ATTEST_CERTIFY, "quote_attest: "),
        (
            &CERTIFY,
            ST_ATTEST_QUOTE,
            "ldevid_certification.attest: TPML_PCR_SELECTION.count",
        ),
        (
            &QUOTE,
            ST_ATTEST_NV,
            "quote_attest: TPMS_ATTEST.type: unsupported value 0x8014",
        ),
        (
            &CERTIFY,
            0,
            "ldevid_certification.attest: TPMS_ATTEST.type: unsupported value 0x0",
        ),
        (
            &QUOTE,
            0xFFFF,
            "quote_attest: TPMS_ATTEST.type: unsupported value 0xffff",
        ),
    ] {
        attacks
            .refused(Refusal::INVALID_REQUEST, cause, |ready| {
                (field.of)(ready)?[TYPE..SIGNER].copy_from_slice(&kind.to_be_bytes());
                Ok(())
            })
            .await?;
    }
    // Well formed, of a type that is no quote.
    for other in [Other::Creation, Other::Time] {
        attacks
            .refused(
                Refusal::NOT_AUTHENTIC,
                "quote is not a TPM2_Quote attestation",
                |ready| other.put(&mut ready.evidence().quote_attest),
            )
            .await?;
        attacks
            .refused(
                Refusal::NOT_AUTHENTIC,
                "certification is not a TPM2_Certify attestation",
                |ready| {
                    let attest = &mut certification(ready)?.attest;
                    other.put(attest)?;
                    let digest = sha256(attest);
                    ready.resign_claims(|claims| claims.certify_sha256 = Some(digest))
                },
            )
            .await?;
    }
    attacks.then_the_good_run().await
}

/// A genuine quote of the right PCRs, bound to something else than these
/// claims.
#[tokio::test]
async fn adv_a09_extra_data_is_not_the_binding() -> Result<()> {
    const CAUSE: &str = "quote's extraData is not SHA-256(tag";
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    let required = |ready: &ReadyEnrolment| {
        holdfast_integration::scene::selection(&ready.challenge.pcr_selection)
    };
    for other in [
        Binding::Nonce,
        Binding::Zero,
        Binding::OneBit,
        Binding::Untagged,
    ] {
        attacks
            .refused(Refusal::NOT_AUTHENTIC, CAUSE, |ready| {
                let selection = required(ready)?;
                let (nonce, claims) = (ready.nonce()?, ready.evidence().claims.clone());
                ready.requote(&selection, |bound| other.of(bound, nonce, &claims))
            })
            .await?;
    }
    // Shorter and longer than a SHA-256: empty, cut, with a byte more, and the
    // longest that a TPM2B_DATA can be.
    for change in [
        |data: &mut Vec<u8>| data.clear(),
        |data: &mut Vec<u8>| data.truncate(31),
        |data: &mut Vec<u8>| data.push(0),
        |data: &mut Vec<u8>| data.resize(66, 0),
    ] {
        attacks
            .refused(Refusal::NOT_AUTHENTIC, CAUSE, |ready| {
                let mut attest = Attest::parse(&ready.evidence().quote_attest)?;
                change(&mut attest.extra_data);
                ready.evidence().quote_attest = attest.encode();
                Ok(())
            })
            .await?;
    }
    // The certification's.
    attacks
        .refused(
            Refusal::NOT_AUTHENTIC,
            "certification's extraData is not SHA-256(tag",
            |ready| {
                let (key, ak) = (
                    ready.enrolment.keys().ldevid.clone(),
                    ready.enrolment.keys().ak.clone(),
                );
                let certified = ready.tpm().certify(&key, &ak, ready.nonce()?)?;
                let digest = sha256(&certified.attest);
                *certification(ready)? = v1::KeyCertification {
                    attest: certified.attest,
                    signature: certified.signature,
                };
                ready.resign_claims(|claims| claims.certify_sha256 = Some(digest))
            },
        )
        .await?;
    attacks.then_the_good_run().await
}

/// Bytes too many or too few, and TPM2B lengths that lie.
#[tokio::test]
async fn adv_a09_trailing_bytes_truncation_and_oversize() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    for field in FIELDS {
        let name = field.name;
        let changes: [(String, Change<Vec<u8>>); 9] = [
            (
                format!("{name}: TPMS_ATTEST: 1 byte(s) after its end"),
                |a| a.push(0),
            ),
            // The quote twice, the second time unsigned.
            (format!("{name}: TPMS_ATTEST: "), |a| a.extend(a.clone())),
            (format!("{name}: "), |a| a.truncate(a.len() - 1)),
            (
                format!("{name}: TPMS_ATTEST.qualifiedSigner: input ends"),
                |a| a.truncate(SIGNER + 2 + 33),
            ),
            (
                format!("{name}: TPMS_ATTEST.magic: input ends 4 byte(s) early"),
                Vec::clear,
            ),
            (
                format!(
                    "{name}: TPMS_ATTEST.qualifiedSigner: length 65535 is over the limit of 66"
                ),
                |a| a[SIGNER..SIGNER + 2].fill(0xFF),
            ),
            (
                format!("{name}: TPMS_ATTEST.qualifiedSigner: length 67 is over the limit of 66"),
                |a| a[SIGNER..SIGNER + 2].copy_from_slice(&[0, 67]),
            ),
            // As a TPM2B_ATTEST, with its size before it.
            (format!("{name}: TPMS_ATTEST.magic is 0x00"), |a| {
                let size = u16::try_from(a.len()).expect("short").to_be_bytes();
                a.splice(0..0, size);
            }),
            (
                format!("{name} has 1048576 bytes, at most 1024 are taken"),
                |a| a.resize(1 << 20, 0),
            ),
        ];
        for (cause, change) in changes {
            attacks
                .refused(Refusal::INVALID_REQUEST, &cause, |ready| {
                    change((field.of)(ready)?);
                    Ok(())
                })
                .await?;
        }
    }
    attacks.then_the_good_run().await
}

/// The same checks stand before a re-attestation of an enrolled gateway.
#[tokio::test]
async fn adv_a09_in_a_reattestation() -> Result<()> {
    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let changes: [(Refusal, &str, Change<v1::Evidence>); 4] = [
        (
            Refusal::INVALID_REQUEST,
            "quote_attest: TPMS_ATTEST.magic is 0x00000000",
            |evidence| evidence.quote_attest[MAGIC..TYPE].fill(0),
        ),
        (
            Refusal::INVALID_REQUEST,
            "quote_attest: TPMS_ATTEST: 1 byte(s) after its end",
            |evidence| evidence.quote_attest.push(0),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "quote is not a TPM2_Quote attestation",
            |evidence| {
                Other::Time
                    .put(&mut evidence.quote_attest)
                    .expect("a quote")
            },
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "quote's extraData is not SHA-256(tag",
            |evidence| {
                let mut attest = Attest::parse(&evidence.quote_attest).expect("a quote");
                attest.extra_data[31] ^= 1;
                evidence.quote_attest = attest.encode();
            },
        ),
    ];
    for (refusal, cause, change) in changes {
        let mut attack = scene.ready_to_attest(&enrolled, false).await?;
        change(attack.request.evidence.as_mut().context("evidence")?);
        let refused = scene.assert_attest_refused(attack, refusal);
        scene.because(cause, refused).await?;
    }
    Ok(())
}

/// Where a request has a TPMS_ATTEST.
struct Field {
    name: &'static str,
    of: fn(&mut ReadyEnrolment) -> Result<&mut Vec<u8>>,
}

const QUOTE: Field = Field {
    name: "quote_attest",
    of: |ready| Ok(&mut ready.evidence().quote_attest),
};
const CERTIFY: Field = Field {
    name: "ldevid_certification.attest",
    of: |ready| Ok(&mut certification(ready)?.attest),
};
const FIELDS: [&Field; 2] = [&QUOTE, &CERTIFY];

fn certification(ready: &mut ReadyEnrolment) -> Result<&mut v1::KeyCertification> {
    ready
        .request
        .ldevid_certification
        .as_mut()
        .context("certification")
}

/// What extraData may be instead.
enum Binding {
    /// The nonce itself, as other protocols have it.
    Nonce,
    Zero,
    OneBit,
    /// SHA-256 of the claims, without our tag.
    Untagged,
}

impl Binding {
    fn of(&self, mut bound: [u8; 32], nonce: [u8; 32], claims: &[u8]) -> [u8; 32] {
        match self {
            Self::Nonce => nonce,
            Self::Zero => [0; 32],
            Self::OneBit => {
                bound[0] ^= 0x80;
                bound
            }
            Self::Untagged => sha256(claims),
        }
    }
}

/// Attestations that are neither quote nor certification, with everything that
/// they have in common taken from a genuine one.
#[derive(Clone, Copy)]
enum Other {
    Creation,
    Time,
}

impl Other {
    fn put(self, bytes: &mut Vec<u8>) -> Result<()> {
        let mut attest = Attest::parse(bytes)?;
        let clock_info: ClockInfo = attest.clock_info;
        attest.attested = match self {
            Self::Creation => Attested::Creation {
                object_name: holdfast_proto::tpm::Name::parse(&[&[0, 11][..], &[7; 32]].concat())?,
                creation_hash: vec![7; 32],
            },
            Self::Time => Attested::Time {
                time: clock_info.clock,
                clock_info,
                firmware_version: attest.firmware_version,
            },
        };
        *bytes = attest.encode();
        Ok(())
    }
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = HashAlg::Sha256.digest(&[bytes]);
    digest.as_bytes().try_into().expect("SHA-256 has 32 bytes")
}
