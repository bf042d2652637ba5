//! A11: signatures. Each is altered in structure or put under another scheme;
//! each belongs to a run that is good otherwise.

use anyhow::{Context, Result, bail};
use holdfast_attester::enrolment::KeyChoice;
use holdfast_integration::scene::sign_bytes;
use holdfast_integration::{Attacks, ReadyEnrolment, Refusal, Scene};
use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::templates::AkAlg;
use holdfast_proto::tpm::{Digest, HashAlg, Signature};

/// One thing changed.
type Change<T> = fn(&mut T);

/// Order of the group of P-256 (SP 800-186 §3.2.1.3).
const N: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0x00, 0x00, 0x00, 0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF,
    0xBC, 0xE6, 0xFA, 0xAD, 0xA7, 0x17, 0x9E, 0x84, 0xF3, 0xB9, 0xCA, 0xC2, 0xFC, 0x63, 0x25, 0x51,
];

/// A change of a signature, and what is wrong with it then.
type Case = (&'static str, fn(&mut Signature) -> Result<()>);

/// r or s zero, not below the order, too long or empty: in quote and
/// certification.
#[tokio::test]
async fn adv_a11_ecdsa_scalars_out_of_range() -> Result<()> {
    let cases: [Case; 12] = [
        ("r or s is zero", |sig| scalars(sig, |r, _| r.fill(0))),
        ("r or s is zero", |sig| scalars(sig, |_, s| s.fill(0))),
        ("r or s is zero", |sig| {
            scalars(sig, |r, s| (*r, *s) = (vec![0], vec![0]))
        }),
        ("out of range", |sig| scalars(sig, |r, _| *r = N.to_vec())),
        ("out of range", |sig| scalars(sig, |_, s| *s = N.to_vec())),
        ("out of range", |sig| scalars(sig, |r, _| r.fill(0xFF))),
        ("out of range", |sig| scalars(sig, |_, s| s.fill(0xFF))),
        ("wrong length", |sig| scalars(sig, |r, _| r.clear())),
        ("wrong length", |sig| scalars(sig, |_, s| s.clear())),
        // The sign byte of a DER INTEGER; and room for P-521.
        ("wrong length", |sig| scalars(sig, |r, _| padded(r, 33))),
        ("wrong length", |sig| scalars(sig, |_, s| padded(s, 66))),
        ("does not verify", |sig| scalars(sig, std::mem::swap)),
    ];
    refused_everywhere(KeyChoice::default(), &cases).await
}

/// Another hash than the key's, another algorithm, no algorithm.
#[tokio::test]
async fn adv_a11_scheme_is_not_the_keys() -> Result<()> {
    const SCHEME: &str = "not of the key's scheme EcdsaP256";
    let cases: [Case; 6] = [
        (SCHEME, |sig| hash(sig, HashAlg::Sha1)),
        (SCHEME, |sig| hash(sig, HashAlg::Sha384)),
        (SCHEME, |sig| hash(sig, HashAlg::Sha512)),
        (SCHEME, |sig| {
            *sig = Signature::RsaSsa {
                hash: HashAlg::Sha256,
                sig: vec![1; 256],
            };
            Ok(())
        }),
        (SCHEME, |sig| {
            *sig = Signature::RsaPss {
                hash: HashAlg::Sha256,
                sig: vec![1; 256],
            };
            Ok(())
        }),
        // An HMAC, which anybody could key with the public key.
        (SCHEME, |sig| {
            *sig = Signature::Hmac {
                digest: Digest::from_bytes(HashAlg::Sha256, &[7; 32])?,
            };
            Ok(())
        }),
    ];
    refused_everywhere(KeyChoice::default(), &cases).await
}

/// Bytes that are no TPMT_SIGNATURE: null algorithm, ECDAA, a DER signature,
/// bytes after the end, an RSA buffer over its limit.
#[tokio::test]
async fn adv_a11_not_a_signature_structure() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    for place in PLACES {
        let cases: [(&str, Change<Vec<u8>>); 9] = [
            ("TPMT_SIGNATURE.sigAlg: input ends", Vec::clear),
            // TPM_ALG_NULL, which has no body: alg none of the TPM's world.
            ("TPMT_SIGNATURE.sigAlg: unsupported value 0x10", |b| {
                *b = vec![0x00, 0x10];
            }),
            ("TPMT_SIGNATURE.sigAlg: unsupported value 0x1a", |b| {
                b[1] = 0x1A
            }),
            ("TPMT_SIGNATURE.hash: unsupported value 0x10", |b| {
                b[2..4].copy_from_slice(&[0x00, 0x10]);
            }),
            ("TPMT_SIGNATURE: 1 byte(s) after its end", |b| b.push(0)),
            (
                "TPMT_SIGNATURE.signatureS: input ends 1 byte(s) early",
                |b| {
                    b.pop();
                },
            ),
            (
                "TPMT_SIGNATURE.signatureR: length 65535 is over the limit of 66",
                |b| b[4..6].fill(0xFF),
            ),
            ("TPMT_SIGNATURE.sigAlg: unsupported value 0x3044", |b| {
                b.splice(0..4, [0x30, 0x44, 0x02, 0x20]);
            }),
            ("has 65536 bytes, at most 768 are taken", |b| {
                b.resize(1 << 16, 0)
            }),
        ];
        for (cause, change) in cases {
            attacks
                .refused(Refusal::INVALID_REQUEST, cause, |ready| {
                    change(place.bytes(ready)?);
                    Ok(())
                })
                .await?;
        }
    }
    attacks.then_the_good_run().await
}

/// RSASSA: its signature called RSAPSS, other hashes, other lengths, not below
/// the modulus, trivial ones.
#[tokio::test]
async fn adv_a11_rsassa() -> Result<()> {
    const SCHEME: &str = "not of the key's scheme RsaSsa(Sha256)";
    let mut cases: Vec<Case> = vec![
        (SCHEME, |sig| {
            let sig_bytes = rsa(sig)?.clone();
            *sig = Signature::RsaPss {
                hash: HashAlg::Sha256,
                sig: sig_bytes,
            };
            Ok(())
        }),
        (SCHEME, |sig| {
            *sig = Signature::Ecdsa {
                hash: HashAlg::Sha256,
                r: vec![1; 32],
                s: vec![1; 32],
            };
            Ok(())
        }),
        (SCHEME, |sig| hash(sig, HashAlg::Sha1)),
        (SCHEME, |sig| hash(sig, HashAlg::Sha512)),
    ];
    cases.extend(RSA_BYTES);
    refused_everywhere(choice(AkAlg::Rsa2048), &cases).await
}

/// RSAPSS, likewise.
#[tokio::test]
async fn adv_a11_rsapss() -> Result<()> {
    const SCHEME: &str = "not of the key's scheme RsaPss(Sha256)";
    let mut cases: Vec<Case> = vec![
        (SCHEME, |sig| {
            let sig_bytes = rsa(sig)?.clone();
            *sig = Signature::RsaSsa {
                hash: HashAlg::Sha256,
                sig: sig_bytes,
            };
            Ok(())
        }),
        (SCHEME, |sig| hash(sig, HashAlg::Sha1)),
        (SCHEME, |sig| hash(sig, HashAlg::Sha384)),
    ];
    cases.extend(RSA_BYTES);
    refused_everywhere(choice(AkAlg::RsaPss2048), &cases).await
}

/// The claims' own signature, raw r ‖ s by the LDevID key.
#[tokio::test]
async fn adv_a11_claims_signature() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    let cases: [(Refusal, &str, Change<[u8]>); 6] = [
        (
            Refusal::NOT_AUTHENTIC,
            "claims' signature: r or s is zero",
            |sig| sig[..32].fill(0),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "claims' signature: r or s is zero",
            |sig| sig[32..].fill(0),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "claims' signature: out of range",
            |sig| sig[..32].copy_from_slice(&N),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "claims' signature: out of range",
            |sig| sig[32..].fill(0xFF),
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "claims' signature: does not verify",
            |sig| sig[63] ^= 1,
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "claims' signature: does not verify",
            |sig| sig.rotate_left(32),
        ),
    ];
    for (refusal, cause, change) in cases {
        attacks
            .refused(refusal, cause, |ready| {
                let mut claims = ready.evidence().claims.clone();
                let start = claims.len() - 64;
                change(&mut claims[start..]);
                ready.replace_claims(claims)
            })
            .await?;
    }
    attacks.then_the_good_run().await
}

/// The algorithm in the COSE header: of another curve, of another hash, of
/// another family, none at all; the signature by the right key each time.
#[tokio::test]
async fn adv_a11_alg_of_the_claims_is_not_the_keys() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    let cases: [(Refusal, &str, &[u8], usize); 10] = [
        // ESP384 and ES384, whose signatures have 96 bytes.
        (
            Refusal::NOT_AUTHENTIC,
            "claims are signed as Esp384",
            &[0x38, 50],
            96,
        ),
        (
            Refusal::NOT_AUTHENTIC,
            "claims are signed as Esp384",
            &[0x38, 34],
            96,
        ),
        // ES512, EdDSA, PS256, RS256, HMAC 256/256, A128GCM.
        (
            Refusal::INVALID_REQUEST,
            "unsupported alg -36",
            &[0x38, 35],
            64,
        ),
        (Refusal::INVALID_REQUEST, "unsupported alg -8", &[0x27], 64),
        (
            Refusal::INVALID_REQUEST,
            "unsupported alg -37",
            &[0x38, 36],
            64,
        ),
        (
            Refusal::INVALID_REQUEST,
            "unsupported alg -257",
            &[0x39, 1, 0],
            64,
        ),
        (Refusal::INVALID_REQUEST, "unsupported alg 5", &[0x05], 64),
        (Refusal::INVALID_REQUEST, "unsupported alg 1", &[0x01], 64),
        // `none`, which COSE does not have: as text, and as the reserved 0.
        (
            Refusal::INVALID_REQUEST,
            "signed claims:",
            &[0x64, b'n', b'o', b'n', b'e'],
            64,
        ),
        (Refusal::INVALID_REQUEST, "signed claims:", &[0x00], 64),
    ];
    for (refusal, cause, alg, len) in cases {
        attacks
            .refused(refusal, cause, |ready| {
                let forged = with_alg(ready, alg, len)?;
                ready.replace_claims(forged)
            })
            .await?;
    }
    // Nothing signed, for nothing said: an empty signature.
    attacks
        .refused(
            Refusal::INVALID_REQUEST,
            "signature of 0 bytes where 64 are needed",
            |ready| {
                let forged = with_alg(ready, &[0x28], 0)?;
                ready.replace_claims(forged)
            },
        )
        .await?;
    // ES256 by its deprecated name is the same algorithm (RFC 9864).
    attacks
        .then_granted(|ready| {
            let old = with_alg(ready, &[0x26], 64)?;
            ready.replace_claims(old)
        })
        .await
}

/// FIPS 186-5 takes every s in 1..n, so both s and n - s are good: of quote,
/// certification and claims alike. TPMs make high ones.
#[tokio::test]
async fn adv_a11_high_s_is_taken() -> Result<()> {
    let scene = Scene::new()?;
    for high in [true, false] {
        let attacks = Attacks::on(&scene).await?;
        attacks
            .then_granted(|ready| {
                for place in PLACES {
                    place.alter(ready, |sig| scalars(sig, |_, s| *s = of_height(s, high)))?;
                }
                let mut claims = ready.evidence().claims.clone();
                let start = claims.len() - 32;
                let s = of_height(&claims[start..], high);
                claims[start..].copy_from_slice(&s);
                ready.evidence().claims = claims.clone();
                ready.replace_claims(claims)?;
                PLACES[0].alter(ready, |sig| scalars(sig, |_, s| *s = of_height(s, high)))
            })
            .await?;
    }
    Ok(())
}

/// A signature of the same key, over something else of its own: the quote's
/// under the certification, and the reverse.
#[tokio::test]
async fn adv_a11_signatures_swapped() -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::on(&scene).await?;
    attacks
        .refused(
            Refusal::NOT_AUTHENTIC,
            "quote's signature: does not verify",
            |ready| {
                let other = PLACES[1].bytes(ready)?.clone();
                *PLACES[0].bytes(ready)? = other;
                Ok(())
            },
        )
        .await?;
    attacks
        .refused(
            Refusal::NOT_AUTHENTIC,
            "certification's signature: does not verify",
            |ready| {
                let other = PLACES[0].bytes(ready)?.clone();
                *PLACES[1].bytes(ready)? = other;
                Ok(())
            },
        )
        .await?;
    // One bit of what was signed.
    attacks
        .refused(
            Refusal::NOT_AUTHENTIC,
            "quote's signature: does not verify",
            |ready| {
                let mut attest =
                    holdfast_proto::tpm::Attest::parse(&ready.evidence().quote_attest)?;
                attest.clock_info.reset_count ^= 1;
                ready.evidence().quote_attest = attest.encode();
                Ok(())
            },
        )
        .await?;
    attacks.then_the_good_run().await
}

/// Where a request has a TPMT_SIGNATURE by the AK.
#[derive(Clone, Copy)]
enum Place {
    Quote,
    Certification,
}

const PLACES: [Place; 2] = [Place::Quote, Place::Certification];

impl Place {
    const fn name(self) -> &'static str {
        match self {
            Self::Quote => "quote's signature",
            Self::Certification => "certification's signature",
        }
    }

    fn bytes(self, ready: &mut ReadyEnrolment) -> Result<&mut Vec<u8>> {
        Ok(match self {
            Self::Quote => &mut ready.evidence().quote_signature,
            Self::Certification => {
                let certification: &mut v1::KeyCertification = ready
                    .request
                    .ldevid_certification
                    .as_mut()
                    .context("certification")?;
                &mut certification.signature
            }
        })
    }

    fn alter(
        self,
        ready: &mut ReadyEnrolment,
        change: impl FnOnce(&mut Signature) -> Result<()>,
    ) -> Result<()> {
        let bytes = self.bytes(ready)?;
        let mut signature = Signature::parse(bytes)?;
        change(&mut signature)?;
        *bytes = signature.encode();
        Ok(())
    }
}

/// Every case, in every place, on one run.
async fn refused_everywhere(choice: KeyChoice, cases: &[Case]) -> Result<()> {
    let scene = Scene::new()?;
    let mut attacks = Attacks::with_keys(&scene, choice).await?;
    for place in PLACES {
        for (fault, change) in cases {
            let cause = format!("{}: {fault}", place.name());
            attacks
                .refused(Refusal::NOT_AUTHENTIC, &cause, |ready| {
                    place.alter(ready, change)
                })
                .await?;
        }
    }
    attacks.then_the_good_run().await
}

/// What can be wrong with the bytes of either RSA scheme.
const RSA_BYTES: [Case; 7] = [
    ("wrong length", |sig| {
        rsa(sig)?.pop();
        Ok(())
    }),
    ("wrong length", |sig| {
        rsa(sig)?.insert(0, 0);
        Ok(())
    }),
    ("wrong length", |sig| {
        rsa(sig)?.clear();
        Ok(())
    }),
    ("out of range", |sig| {
        rsa(sig)?.fill(0xFF);
        Ok(())
    }),
    // 0 and 1 are their own powers.
    ("does not verify", |sig| {
        rsa(sig)?.fill(0);
        Ok(())
    }),
    ("does not verify", |sig| {
        let sig = rsa(sig)?;
        sig.fill(0);
        sig[255] = 1;
        Ok(())
    }),
    ("does not verify", |sig| {
        rsa(sig)?[128] ^= 1;
        Ok(())
    }),
];

fn choice(ak: AkAlg) -> KeyChoice {
    KeyChoice {
        ak,
        ..KeyChoice::default()
    }
}

fn scalars(
    signature: &mut Signature,
    change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>),
) -> Result<()> {
    let Signature::Ecdsa { r, s, .. } = signature else {
        bail!("not ECDSA");
    };
    change(r, s);
    Ok(())
}

fn rsa(signature: &mut Signature) -> Result<&mut Vec<u8>> {
    match signature {
        Signature::RsaSsa { sig, .. } | Signature::RsaPss { sig, .. } => Ok(sig),
        _ => bail!("not RSA"),
    }
}

fn hash(signature: &mut Signature, other: HashAlg) -> Result<()> {
    match signature {
        Signature::RsaSsa { hash, .. }
        | Signature::RsaPss { hash, .. }
        | Signature::Ecdsa { hash, .. } => *hash = other,
        Signature::Hmac { .. } => bail!("not of a key pair"),
    }
    Ok(())
}

/// The same number with zeros before it.
fn padded(scalar: &mut Vec<u8>, len: usize) {
    scalar.splice(0..0, vec![0; len - scalar.len()]);
}

/// s or n - s, whichever is above (or below) half of the order.
fn of_height(s: &[u8], high: bool) -> Vec<u8> {
    let mut whole = s.to_vec();
    padded(&mut whole, 32);
    let mut negated = vec![0; 32];
    let mut borrow = 0;
    for i in (0..32).rev() {
        let difference = i16::from(N[i]) - i16::from(whole[i]) - borrow;
        borrow = i16::from(difference < 0);
        negated[i] = u8::try_from(difference.rem_euclid(256)).expect("a byte");
    }
    if (whole > negated) == high {
        whole
    } else {
        negated
    }
}

/// The good claims under a protected header {1: alg, 4: kid}, signed by the
/// LDevID key as it signs; cut or padded to `len` bytes.
fn with_alg(ready: &mut ReadyEnrolment, alg: &[u8], len: usize) -> Result<Vec<u8>> {
    let good = ready.evidence().claims.clone();
    let kid = ready.enrolment.keys().ldevid.name();
    let (protected, payload) = parts(&good)?;
    anyhow::ensure!(protected.ends_with(kid.as_bytes()), "kid comes last");
    let protected = [&[0xA2, 0x01][..], alg, &[0x04, 0x58, 34], kid.as_bytes()].concat();
    let to_be_signed = [
        &[0x84, 0x6A][..],
        b"Signature1",
        &bstr(&protected),
        &[0x40],
        &bstr(&payload),
    ]
    .concat();
    let mut signature = sign_bytes(ready.tpm(), ready.enrolment.keys(), &to_be_signed)?;
    signature.resize(len, 1);
    Ok([
        &[0xD2, 0x84][..],
        &bstr(&protected),
        &[0xA0],
        &bstr(&payload),
        &bstr(&signature),
    ]
    .concat())
}

/// Protected header and payload of a COSE_Sign1.
fn parts(sign1: &[u8]) -> Result<(Vec<u8>, Vec<u8>)> {
    let value: ciborium::Value = ciborium::from_reader(sign1)?;
    let items = value
        .as_tag()
        .and_then(|(_, value)| value.as_array())
        .context("not a COSE_Sign1")?;
    let bytes = |i: usize| items[i].as_bytes().cloned().context("bytes");
    Ok((bytes(0)?, bytes(2)?))
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
