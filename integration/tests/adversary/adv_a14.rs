//! A14: COSE. Hand-made envelopes around good claims, each signed by the right
//! key as its own bytes say and quoted over, so that nothing but the envelope
//! is wrong; refused in bounded time and memory.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_integration::scene::sign_bytes;
use holdfast_integration::{Attacks, ReadyEnrolment, Refusal, Scene};

/// More than any refusal of a few KiB may take, on a busy machine in the dev
/// profile, with the TPM's own time for signing and quoting in it.
const BOUND: Duration = Duration::from_secs(3);

/// Payload and signature: nil, missing, of other types, cut.
#[tokio::test]
async fn adv_a14_payload_detached_or_not_bytes() -> Result<()> {
    refused(&[
        ("the payload is detached", |c| {
            c.body(&c.protected, EMPTY, &[0xF6])
        }),
        ("signed claims: ", |c| c.body(&c.protected, EMPTY, &[0xF7])),
        ("signed claims: ", |c| c.body(&c.protected, EMPTY, &[0xA0])),
        // The claims as a map, not inside a byte string.
        ("signed claims: ", |c| {
            c.body(&c.protected, EMPTY, &c.payload)
        }),
        ("signed claims: ", |c| c.body(&c.protected, EMPTY, &[0x60])),
        // A claims set of nothing at all, signed.
        ("no claim eat_profile", |c| {
            c.body(&c.protected, EMPTY, &[0x41, 0xA0])
        }),
        ("claims set: input ends early", |c| {
            c.body(&c.protected, EMPTY, &[0x40])
        }),
        ("signature of 0 bytes where 64 are needed", |c| {
            c.sign1(&[0x84], &c.protected, EMPTY, &bstr(&c.payload), &[0x40])
        }),
        ("signed claims: ", |c| {
            c.sign1(&[0x84], &c.protected, EMPTY, &bstr(&c.payload), &[0xF6])
        }),
        // Three items, and five.
        ("signed claims: ", |c| {
            c.sign1(&[0x83], &c.protected, EMPTY, &bstr(&c.payload), &[])
        }),
        ("signed claims: ", |c| {
            let mut signature = bstr(&[1; 64]);
            signature.push(0xF6);
            c.sign1(&[0x85], &c.protected, EMPTY, &bstr(&c.payload), &signature)
        }),
    ])
    .await
}

/// Untagged, tagged as something else, tagged twice, a CWT's tag around it.
#[tokio::test]
async fn adv_a14_tag_confusion() -> Result<()> {
    const NOT_SIGN1: &str = "not a tagged COSE_Sign1 (tag 18)";
    refused(&[
        (NOT_SIGN1, |c| Ok(c.good()?[1..].to_vec())),
        // COSE_Sign, COSE_Mac0, COSE_Encrypt0, the self-described tag.
        (NOT_SIGN1, |c| retag(c, &[0xD8, 98])),
        (NOT_SIGN1, |c| retag(c, &[0xD1])),
        (NOT_SIGN1, |c| retag(c, &[0xD0])),
        (NOT_SIGN1, |c| retag(c, &[0xD9, 0xD9, 0xF7])),
        // CWT (RFC 8392 §6) around a COSE_Sign1: 61(18(…)).
        (NOT_SIGN1, |c| retag(c, &[0xD8, 61, 0xD2])),
        // Tag 18 in a longer encoding.
        (NOT_SIGN1, |c| retag(c, &[0xD8, 18])),
        (NOT_SIGN1, |c| retag(c, &[0xDB, 0, 0, 0, 0, 0, 0, 0, 18])),
        ("signed claims: ", |c| retag(c, &[0xD2, 0xD2])),
        // Not CBOR at all, or not an array.
        (NOT_SIGN1, |_| Ok(Vec::new())),
        (NOT_SIGN1, |_| Ok(b"{\"alg\":\"none\"}".to_vec())),
        ("input ends early", |_| Ok(vec![0xD2])),
        ("signed claims: ", |_| Ok(vec![0xD2, 0xA0])),
        ("signed claims: ", |_| Ok(vec![0xD2, 0x80])),
        ("COSE_Sign1: 1 byte(s) after the end", |c| {
            let mut longer = c.good()?;
            longer.push(0);
            Ok(longer)
        }),
        ("input ends early", |c| {
            let mut cut = c.good()?;
            cut.pop();
            Ok(cut)
        }),
    ])
    .await
}

/// alg, kid and others in the unprotected header, where no signature covers
/// them.
#[tokio::test]
async fn adv_a14_unprotected_header() -> Result<()> {
    refused(&[
        // alg there alone; there too; `none` there.
        ("the unprotected header has 1 parameter(s)", |c| {
            c.body(
                &[&[0xA1][..], &c.kid()].concat(),
                &[&[0xA1][..], ALG].concat(),
                &bstr(&c.payload),
            )
        }),
        ("the unprotected header has 1 parameter(s)", |c| {
            c.body(
                &c.protected,
                &[&[0xA1][..], ALG].concat(),
                &bstr(&c.payload),
            )
        }),
        ("the unprotected header has 1 parameter(s)", |c| {
            c.body(&c.protected, &[0xA1, 0x01, 0x00], &bstr(&c.payload))
        }),
        ("the unprotected header has 1 parameter(s)", |c| {
            c.body(
                &[&[0xA1][..], ALG].concat(),
                &[&[0xA1][..], &c.kid()].concat(),
                &bstr(&c.payload),
            )
        }),
        // A counter signature inside a counter signature, and so on.
        ("signed claims: ", |c| {
            let mut nested = vec![0xA0];
            for _ in 0..1000 {
                nested = [&[0xA1, 0x07, 0x83, 0x40][..], &nested, &[0x40]].concat();
            }
            c.body(&c.protected, &nested, &bstr(&c.payload))
        }),
        ("signed claims: ", |c| {
            c.body(&c.protected, &[0x80], &bstr(&c.payload))
        }),
        ("signed claims: ", |c| {
            c.body(&c.protected, &[0xF6], &bstr(&c.payload))
        }),
        // Not empty, but empty in a way that is not deterministic.
        ("not in deterministic encoding", |c| {
            c.body(&c.protected, &[0xBF, 0xFF], &bstr(&c.payload))
        }),
    ])
    .await
}

/// The protected header: labels twice, crit, certificates as keys, unknown
/// labels, none, no map.
#[tokio::test]
async fn adv_a14_protected_header() -> Result<()> {
    refused(&[
        // alg twice, equal and unequal; kid twice.
        ("the protected header has a parameter twice", |c| {
            c.header(0xA3, &[ALG, ALG, &c.kid()])
        }),
        ("the protected header has a parameter twice", |c| {
            c.header(0xA3, &[ALG, &[0x01, 0x38, 50], &c.kid()])
        }),
        ("the protected header has a parameter twice", |c| {
            c.header(0xA3, &[ALG, &c.kid(), &c.kid()])
        }),
        // crit: known label, unknown label, empty.
        ("the protected header has crit", |c| {
            c.header(0xA3, &[ALG, &[0x02, 0x81, 0x01], &c.kid()])
        }),
        ("the protected header has crit", |c| {
            c.header(
                0xA4,
                &[ALG, &[0x02, 0x81, 0x18, 99], &c.kid(), &[0x18, 99, 0xF5]],
            )
        }),
        ("the protected header has crit", |c| {
            c.header(0xA3, &[ALG, &[0x02, 0x80], &c.kid()])
        }),
        // x5chain, x5bag, x5t, x5u: a certificate offered as the key.
        ("the protected header has unknown parameter 33", |c| {
            c.header(0xA3, &[ALG, &c.kid(), &[0x18, 33], &bstr(&[0x30; 300])])
        }),
        ("the protected header has unknown parameter 32", |c| {
            c.header(0xA3, &[ALG, &c.kid(), &[0x18, 32], &bstr(&[0x30; 30])])
        }),
        ("the protected header has unknown parameter 34", |c| {
            c.header(0xA3, &[ALG, &c.kid(), &[0x18, 34, 0x82, 0x2F, 0x41, 0]])
        }),
        ("the protected header has unknown parameter 35", |c| {
            c.header(0xA3, &[ALG, &c.kid(), &[0x18, 35, 0x61, b'/']])
        }),
        // content type; CWT claims; a private one; a text label.
        ("the protected header has unknown parameter 3", |c| {
            c.header(0xA3, &[ALG, &[0x03, 0x18, 60], &c.kid()])
        }),
        ("the protected header has unknown parameter 15", |c| {
            c.header(0xA3, &[ALG, &c.kid(), &[0x0F, 0xA0]])
        }),
        ("the protected header has unknown parameter -70001", |c| {
            c.header(0xA3, &[ALG, &c.kid(), &[0x3A, 0, 1, 0x11, 0x70, 0]])
        }),
        ("header label of another type", |c| {
            c.header(0xA3, &[ALG, &c.kid(), &[0x63, b'a', b'l', b'g', 0x26]])
        }),
        // No alg; no kid; none of both, written in both ways.
        ("the protected header has no alg", |c| {
            c.header(0xA1, &[&c.kid()])
        }),
        ("the protected header has no kid", |c| {
            c.header(0xA1, &[ALG])
        }),
        ("the protected header has no alg", |c| c.header(0xA0, &[])),
        ("the protected header has no alg", |c| {
            c.body(&[], EMPTY, &bstr(&c.payload))
        }),
        // No map; a map outside a byte string; two maps.
        ("signed claims: ", |c| {
            c.body(&[0x80], EMPTY, &bstr(&c.payload))
        }),
        ("signed claims: ", |c| {
            let whole = c.good()?;
            let inside = bstr(&c.protected);
            let rest = &whole[2 + inside.len()..];
            Ok([&whole[..2], &c.protected, rest].concat())
        }),
        ("protected header: 1 byte(s) after the end", |c| {
            let longer = [&c.protected[..], &[0xA0]].concat();
            c.body(&longer, EMPTY, &bstr(&c.payload))
        }),
    ])
    .await
}

/// kid is compared with the key in hand, never used to find one.
#[tokio::test]
async fn adv_a14_kid_points_elsewhere() -> Result<()> {
    const ELSEWHERE: &str = "claims' kid is not the Name of the LDevID key";
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    for (refusal, cause, kid) in [
        (Refusal::NOT_AUTHENTIC, ELSEWHERE, Kid::OfTheAk),
        (Refusal::NOT_AUTHENTIC, ELSEWHERE, Kid::OneBit),
        (Refusal::NOT_AUTHENTIC, ELSEWHERE, Kid::Longest),
        (
            Refusal::INVALID_REQUEST,
            "kid of 3 bytes names no key",
            Kid::Short,
        ),
        (
            Refusal::INVALID_REQUEST,
            "kid of 67 bytes names no key",
            Kid::Long,
        ),
        (Refusal::INVALID_REQUEST, "signed claims: ", Kid::Empty),
    ] {
        attacks
            .refused(refusal, cause, |ready| {
                let mut crafted = Crafted::of(ready)?;
                let name = crafted.name.clone();
                crafted.name = match kid {
                    Kid::OfTheAk => ready.enrolment.ak_public().name().as_bytes().to_vec(),
                    Kid::OneBit => {
                        let mut other = name;
                        other[33] ^= 1;
                        other
                    }
                    Kid::Longest => vec![0; 66],
                    Kid::Short => name[..3].to_vec(),
                    Kid::Long => vec![0; 67],
                    Kid::Empty => Vec::new(),
                };
                let forged = crafted.header(0xA2, &[ALG, &crafted.kid()])?;
                ready.replace_claims(forged)
            })
            .await?;
    }
    attacks.then_the_good_run().await
}

enum Kid {
    OfTheAk,
    OneBit,
    Longest,
    Short,
    Long,
    Empty,
}

/// Everything that says the same in other bytes.
#[tokio::test]
async fn adv_a14_not_deterministic() -> Result<()> {
    const OTHER: &str = "not in deterministic encoding";
    refused(&[
        // Indefinite lengths: array, byte strings, map.
        (OTHER, |c| {
            let mut whole = c.sign1(&[0x9F], &c.protected, EMPTY, &bstr(&c.payload), &[])?;
            whole.push(0xFF);
            Ok(whole)
        }),
        (OTHER, |c| {
            c.body(
                &c.protected,
                EMPTY,
                &[&[0x5F][..], &bstr(&c.payload), &[0xFF]].concat(),
            )
        }),
        (OTHER, |c| {
            let (first, second) = c.payload.split_at(9);
            let chunks = [&[0x5F][..], &bstr(first), &bstr(second), &[0xFF]].concat();
            c.body(&c.protected, EMPTY, &chunks)
        }),
        (OTHER, |c| {
            let header = [&[0xBF][..], ALG, &c.kid(), &[0xFF]].concat();
            c.body(&header, EMPTY, &bstr(&c.payload))
        }),
        // Longer integers and lengths than needed.
        (OTHER, |c| c.header(0xA2, &[&[0x01, 0x38, 8], &c.kid()])),
        (OTHER, |c| c.header(0xA2, &[&[0x18, 1, 0x28], &c.kid()])),
        (OTHER, |c| {
            c.header(0xA2, &[&[0x1B, 0, 0, 0, 0, 0, 0, 0, 1, 0x28], &c.kid()])
        }),
        (OTHER, |c| {
            let kid = [&[0x04, 0x59, 0, 34][..], &c.name].concat();
            c.header(0xA2, &[ALG, &kid])
        }),
        (OTHER, |c| {
            let header = [&[0xB8, 2][..], ALG, &c.kid()].concat();
            c.body(&header, EMPTY, &bstr(&c.payload))
        }),
        (OTHER, |c| {
            c.sign1(&[0x98, 4], &c.protected, EMPTY, &bstr(&c.payload), &[])
        }),
        (OTHER, |c| {
            let len = u32::try_from(c.payload.len())?.to_be_bytes();
            c.body(
                &c.protected,
                EMPTY,
                &[&[0x5A][..], &len, &c.payload].concat(),
            )
        }),
        // Keys out of order.
        (OTHER, |c| c.header(0xA2, &[&c.kid(), ALG])),
        // A bignum for alg: tag 3 is -1 - n.
        ("signed claims: ", |c| {
            c.header(0xA2, &[&[0x01, 0xC3, 0x41, 8], &c.kid()])
        }),
        // A float.
        ("signed claims: ", |c| {
            c.header(0xA2, &[&[0x01, 0xF9, 0xC8, 0x80], &c.kid()])
        }),
    ])
    .await
}

/// The same inside the payload, which is looked into after its signature only.
#[tokio::test]
async fn adv_a14_payload_is_not_deterministic() -> Result<()> {
    const OTHER: &str = "not in deterministic encoding";
    refused(&[
        (OTHER, |c| {
            let mut claims = c.payload.clone();
            claims[0] = 0xBF;
            claims.push(0xFF);
            c.body(&c.protected, EMPTY, &bstr(&claims))
        }),
        (OTHER, |c| {
            let entries = c.payload[0] & 0x1F;
            let claims = [&[0xB8, entries][..], &c.payload[1..]].concat();
            c.body(&c.protected, EMPTY, &bstr(&claims))
        }),
        ("claims set: 1 byte(s) after the end", |c| {
            let claims = [&c.payload[..], &[0]].concat();
            c.body(&c.protected, EMPTY, &bstr(&claims))
        }),
        ("claims set: input ends early", |c| {
            let claims = &c.payload[..c.payload.len() - 1];
            c.body(&c.protected, EMPTY, &bstr(claims))
        }),
        ("claims set: nested too deep", |c| {
            c.body(&c.protected, EMPTY, &bstr(&nested(0x81, 10_000)))
        }),
        ("not the CBOR of the profile", |c| {
            c.body(&c.protected, EMPTY, &bstr(&[0x80]))
        }),
    ])
    .await
}

/// Ten thousand levels, lengths of 2^64, maps of a thousand entries, 1 MiB:
/// time is bounded, and the verifier stands.
#[tokio::test]
async fn adv_a14_bombs() -> Result<()> {
    let cases: [Case; 13] = [
        ("nested too deep", |_| {
            Ok([vec![0xD2], nested(0x81, 10_000)].concat())
        }),
        ("nested too deep", |_| {
            Ok([vec![0xD2], nested(0x9F, 10_000)].concat())
        }),
        // Tags in one another.
        ("signed claims: ", |_| Ok(nested(0xD2, 10_000))),
        ("nested too deep", |_| {
            Ok([vec![0xD2], nested(0xC1, 10_000)].concat())
        }),
        // In the protected header, in kid's place, and in the unprotected.
        ("nested too deep", |c| {
            c.body(&nested(0x81, 10_000), EMPTY, &bstr(&c.payload))
        }),
        ("nested too deep", |c| {
            c.header(0xA2, &[ALG, &[0x04], &nested(0x81, 10_000)])
        }),
        ("nested too deep", |c| {
            let header = [&[0xA1, 0x18, 99][..], &nested(0x81, 10_000)].concat();
            c.body(&c.protected, &header, &bstr(&c.payload))
        }),
        // Maps in maps: key 0, and then the next one.
        ("nested too deep", |_| {
            Ok([vec![0xD2], [0xA1, 0x00].repeat(8_000), vec![0]].concat())
        }),
        // Lengths of 2^64 - 1, with nothing behind them.
        ("input ends early", |_| {
            Ok([&[0xD2, 0x9B][..], &[0xFF; 8]].concat())
        }),
        ("input ends early", |_| {
            Ok([&[0xD2, 0x84, 0x5B][..], &[0xFF; 8]].concat())
        }),
        ("input ends early", |c| {
            c.body(
                &[&[0xBB][..], &[0xFF; 8]].concat(),
                EMPTY,
                &bstr(&c.payload),
            )
        }),
        // A header of four thousand parameters.
        ("the unprotected header has 4000 parameter(s)", |c| {
            let mut map = vec![0xB9, 0x0F, 0xA0];
            // Labels 0 to 3999 in three bytes and a value take 16,000 bytes;
            // without a payload they stay under the limit of 16 KiB.
            map.extend((0..4000_u16).flat_map(|label| {
                let [high, low] = label.to_be_bytes();
                [0x19, high, low, 0]
            }));
            c.body(&c.protected, &map, &[0x40])
        }),
        ("bytes are over the limit of 16384", |c| {
            c.body(&c.protected, EMPTY, &bstr(&[0; 60_000]))
        }),
    ];
    refused(&cases).await
}

/// A case: what the verifier must log, and the claims that it is sent.
type Case = (&'static str, fn(&Crafted<'_>) -> Result<Vec<u8>>);

/// Sends all of them on one run; the good one is granted in the end.
async fn refused(cases: &[Case]) -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    for (number, (cause, craft)) in cases.iter().enumerate() {
        let started = Instant::now();
        attacks
            .refused(Refusal::INVALID_REQUEST, cause, |ready| {
                let forged = craft(&Crafted::of(ready)?)?;
                ready.replace_claims(forged)
            })
            .await
            .with_context(|| format!("case {number}"))?;
        let took = started.elapsed();
        ensure!(took < BOUND, "{cause}, case {number}: took {took:?}");
    }
    attacks.then_the_good_run().await
}

/// What envelopes are made from: the good claims, taken apart.
struct Crafted<'a> {
    ready: &'a ReadyEnrolment,
    protected: Vec<u8>,
    payload: Vec<u8>,
    /// Name of the LDevID key.
    name: Vec<u8>,
}

/// 1: ESP256.
const ALG: &[u8] = &[0x01, 0x28];
/// A header with nothing in it.
const EMPTY: &[u8] = &[0xA0];

impl<'a> Crafted<'a> {
    fn of(ready: &'a ReadyEnrolment) -> Result<Self> {
        let evidence = ready.request.evidence.as_ref().context("evidence")?;
        let value: ciborium::Value = ciborium::from_reader(evidence.claims.as_slice())?;
        let items = value
            .as_tag()
            .and_then(|(_, value)| value.as_array())
            .context("not a COSE_Sign1")?;
        let bytes = |i: usize| items[i].as_bytes().cloned().context("bytes");
        let crafted = Self {
            protected: bytes(0)?,
            payload: bytes(2)?,
            name: ready.enrolment.keys().ldevid.name().as_bytes().to_vec(),
            ready,
        };
        ensure!(crafted.protected == [&[0xA2][..], ALG, &crafted.kid()].concat());
        Ok(crafted)
    }

    /// 4: the Name.
    fn kid(&self) -> Vec<u8> {
        [&[0x04][..], &bstr(&self.name)].concat()
    }

    /// The good claims again, signed again.
    fn good(&self) -> Result<Vec<u8>> {
        self.body(&self.protected, EMPTY, &bstr(&self.payload))
    }

    /// The good payload under a protected header of these parts.
    fn header(&self, map: u8, parts: &[&[u8]]) -> Result<Vec<u8>> {
        let header = [&[map][..], &parts.concat()].concat();
        self.body(&header, EMPTY, &bstr(&self.payload))
    }

    /// A COSE_Sign1 of these parts, signed. `payload` is the whole item.
    fn body(&self, protected: &[u8], unprotected: &[u8], payload: &[u8]) -> Result<Vec<u8>> {
        self.sign1(&[0x84], protected, unprotected, payload, &[])
    }

    /// As [`body`](Self::body), with another array head, and another item in
    /// the signature's place where there is one.
    fn sign1(
        &self,
        array: &[u8],
        protected: &[u8],
        unprotected: &[u8],
        payload: &[u8],
        signature: &[u8],
    ) -> Result<Vec<u8>> {
        let to_be_signed = [
            &[0x84, 0x6A][..],
            b"Signature1",
            &bstr(protected),
            &[0x40],
            payload,
        ]
        .concat();
        let signature = if signature.is_empty() && array[0] != 0x83 {
            let keys = self.ready.enrolment.keys();
            bstr(&sign_bytes(self.ready.tpm(), keys, &to_be_signed)?)
        } else {
            signature.to_vec()
        };
        Ok([
            &[0xD2][..],
            array,
            &bstr(protected),
            unprotected,
            payload,
            &signature,
        ]
        .concat())
    }
}

fn retag(crafted: &Crafted<'_>, tag: &[u8]) -> Result<Vec<u8>> {
    Ok([tag, &crafted.good()?[1..]].concat())
}

/// `depth` items of one element each, by their first byte.
fn nested(head: u8, depth: usize) -> Vec<u8> {
    let mut bytes = vec![head; depth];
    bytes.push(0);
    bytes
}

/// A byte string of up to 65,535 bytes, in its shortest encoding.
fn bstr(bytes: &[u8]) -> Vec<u8> {
    let head = match bytes.len() {
        len @ 0..24 => vec![0x40 | u8::try_from(len).expect("short")],
        len @ 24..256 => vec![0x58, u8::try_from(len).expect("short")],
        len => {
            let [high, low] = u16::try_from(len).expect("short").to_be_bytes();
            vec![0x59, high, low]
        }
    };
    [&head, bytes].concat()
}
