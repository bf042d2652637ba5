//! A TPM in memory, for tests: it holds keys, activates credentials, quotes,
//! certifies, and signs whatever a test has spoiled first, so that the check
//! under test is the only thing that can notice.

use std::collections::BTreeMap;

use aes::cipher::{AsyncStreamCipher, KeyIvInit};
use holdfast_proto::{
    binding::{certify_ek_extra_data, certify_extra_data, gateway_id, quote_extra_data},
    claims::{self, Claims, CoseAlg, Purpose},
    grpc::v1,
    tpm::{
        Attest, Attested, ClockInfo, Digest, EccCurve, HashAlg, Hierarchy, Name, PcrSelection,
        PcrSet, Public, Signature, Unique,
        templates::{AkAlg, EkTemplate, ak_template, ek_child_template, ldevid_template},
    },
};
use p256::{
    EncodedPoint,
    elliptic_curve::sec1::{FromEncodedPoint, ToEncodedPoint},
};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, KeyPair, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaKeyPair,
    },
};

use crate::verification::kdf::{kdf_a, kdf_e};

/// The exporter of the connection in every good run.
pub(crate) const EXPORTER: [u8; 32] = [0xE5; 32];

/// A log of the older format with a single event: it has no digests of the
/// quoted bank, so that it neither explains a PCR nor contradicts one.
pub(crate) const BOOT_LOG: &[u8] = b"\x00\0\0\0\x04\0\0\0a digest of 20 bytes\x04\0\0\0\0\0\0\0";

pub(crate) fn selection() -> PcrSelection {
    PcrSelection {
        hash: HashAlg::Sha256,
        pcrs: PcrSet::from_indices([0, 1, 7, 14]).unwrap(),
    }
}

/// A signing key of the TPM.
pub(crate) enum SigningKey {
    P256(EcdsaKeyPair),
    P384(EcdsaKeyPair),
    RsaSsa(RsaKeyPair),
    RsaPss(RsaKeyPair),
}

fn ecdsa(alg: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    let rng = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(alg, &rng).unwrap();
    EcdsaKeyPair::from_pkcs8(alg, pkcs8.as_ref(), &rng).unwrap()
}

fn rsa() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(include_bytes!("data/rsa2048.pk8")).unwrap()
}

impl SigningKey {
    pub(crate) fn new(alg: AkAlg) -> Self {
        match alg {
            AkAlg::EcdsaP256 => Self::P256(ecdsa(&ECDSA_P256_SHA256_FIXED_SIGNING)),
            AkAlg::EcdsaP384 => Self::P384(ecdsa(&ECDSA_P384_SHA384_FIXED_SIGNING)),
            AkAlg::Rsa2048 => Self::RsaSsa(rsa()),
            AkAlg::RsaPss2048 => Self::RsaPss(rsa()),
        }
    }

    pub(crate) fn unique(&self) -> Unique {
        match self {
            Self::P256(key) | Self::P384(key) => {
                let point = &key.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                Unique::Ecc {
                    x: x.to_vec(),
                    y: y.to_vec(),
                }
            }
            Self::RsaSsa(key) | Self::RsaPss(key) => {
                let components = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(key.public());
                Unique::Rsa(components.n)
            }
        }
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        let rng = SystemRandom::new();
        let fixed = |key: &EcdsaKeyPair, hash| {
            let signature = key.sign(&rng, message).unwrap();
            let (r, s) = signature.as_ref().split_at(signature.as_ref().len() / 2);
            Signature::Ecdsa {
                hash,
                r: r.to_vec(),
                s: s.to_vec(),
            }
        };
        let rsa = |key: &RsaKeyPair, padding| {
            let mut sig = vec![0; key.public().modulus_len()];
            key.sign(padding, &rng, message, &mut sig).unwrap();
            sig
        };
        let hash = HashAlg::Sha256;
        match self {
            Self::P256(key) => fixed(key, HashAlg::Sha256),
            Self::P384(key) => fixed(key, HashAlg::Sha384),
            Self::RsaSsa(key) => Signature::RsaSsa {
                hash,
                sig: rsa(key, &RSA_PKCS1_SHA256),
            },
            Self::RsaPss(key) => Signature::RsaPss {
                hash,
                sig: rsa(key, &RSA_PSS_SHA256),
            },
        }
    }
}

/// What a test may spoil, in the order in which it is made.
pub(crate) enum Step<'a> {
    Certify(&'a mut Attest),
    CertifySignature(&'a mut Signature),
    Claims(&'a mut Claims),
    /// The finished COSE_Sign1, before the quote binds it.
    Signed(&'a mut Vec<u8>),
    Quote(&'a mut Attest),
    QuoteSignature(&'a mut Signature),
    /// The finished Evidence.
    Evidence(&'a mut v1::Evidence),
}

pub(crate) struct SoftTpm {
    ek: p256::SecretKey,
    pub(crate) ek_public: Public,
    pub(crate) ak: SigningKey,
    pub(crate) ak_public: Public,
    pub(crate) ldevid: SigningKey,
    pub(crate) ldevid_public: Public,
    pub(crate) pcrs: BTreeMap<u32, Digest>,
    pub(crate) clock: ClockInfo,
    pub(crate) boot_log: Option<v1::BootLog>,
}

impl SoftTpm {
    pub(crate) fn new(alg: AkAlg) -> Self {
        let ek = p256_key();
        let unique = point_of(&ek);
        let (ak, ldevid) = (SigningKey::new(alg), SigningKey::new(AkAlg::EcdsaP256));
        let pcrs = (0_u32..24)
            .map(|i| (i, HashAlg::Sha256.digest(&[&i.to_be_bytes()])))
            .collect();
        Self {
            ek_public: Public {
                unique,
                ..EkTemplate::L2.public()
            },
            ak_public: Public {
                unique: ak.unique(),
                ..ak_template(alg, &[0; 32])
            },
            ldevid_public: Public {
                unique: ldevid.unique(),
                ..ldevid_template()
            },
            ek,
            ak,
            ldevid,
            pcrs,
            clock: ClockInfo {
                clock: 4711,
                reset_count: 3,
                restart_count: 1,
                safe: true,
            },
            boot_log: Some(v1::BootLog {
                log: Some(v1::boot_log::Log::Content(BOOT_LOG.to_vec())),
            }),
        }
    }

    pub(crate) fn challenge_request(&self, chain: &[Vec<u8>]) -> v1::RequestChallengeRequest {
        v1::RequestChallengeRequest {
            ek_public: self.ek_public.encode(),
            ek_certificate_chain: chain.to_vec(),
            ak_public: self.ak_public.encode(),
            ldevid_public: self.ldevid_public.encode(),
            join_token: vec![9; 32],
            ..Default::default()
        }
    }

    /// TPM2_ActivateCredential for the AK (TPM 2.0 Part 3 §12.5).
    pub(crate) fn activate(&self, id_object: &[u8], encrypted_secret: &[u8]) -> Option<Vec<u8>> {
        self.unwrap(
            b"IDENTITY",
            &self.ak_public.name(),
            id_object,
            encrypted_secret,
        )
    }

    /// Undoes the outer wrap of MakeCredential (`IDENTITY`) or of an object to
    /// be imported (`DUPLICATE`).
    pub(crate) fn unwrap(
        &self,
        usage: &[u8],
        name: &Name,
        protected: &[u8],
        encrypted_seed: &[u8],
    ) -> Option<Vec<u8>> {
        unwrap_for(
            &self.ek,
            &self.ek_public,
            (usage, name),
            protected,
            encrypted_seed,
        )
    }

    fn attest(&self, extra_data: &[u8], attested: Attested) -> Attest {
        let signer = Name::qualified_primary(Hierarchy::Endorsement, &self.ak_public.name());
        Attest {
            qualified_signer: signer.as_bytes().to_vec(),
            extra_data: extra_data.to_vec(),
            clock_info: self.clock,
            firmware_version: 0x0007_0055,
            attested,
        }
    }

    /// TPM2_Certify of the LDevID key.
    pub(crate) fn certify(&self, nonce: &[u8; 32]) -> Attest {
        let name = self.ldevid_public.name();
        let binding = certify_extra_data(nonce, &self.ak_public.name(), &name);
        let srk = Name::qualified_primary(Hierarchy::Owner, &self.ek_public.name());
        let qualified_name = Name::qualified(srk.as_bytes(), &name);
        self.attest(
            &binding,
            Attested::Certify {
                name,
                qualified_name,
            },
        )
    }

    /// TPM2_Certify of an endorsement primary by the AK, signed.
    pub(crate) fn certify_primary(&self, binding: &[u8], name: Name) -> v1::KeyCertification {
        let qualified_name = Name::qualified_primary(Hierarchy::Endorsement, &name);
        let attest = self.attest(
            binding,
            Attested::Certify {
                name,
                qualified_name,
            },
        );
        let attest = attest.encode();
        v1::KeyCertification {
            signature: self.ak.sign(&attest).encode(),
            attest,
        }
    }

    /// TPM2_Certify by the AK of an object under the EK with this area, for the
    /// challenge with this nonce.
    pub(crate) fn certify_ek(&self, nonce: &[u8], ek: &Public) -> v1::KeyCertification {
        let nonce = nonce.try_into().unwrap();
        let binding = certify_ek_extra_data(nonce, &self.ak_public.name(), &ek.name());
        let place = Name::qualified_primary(Hierarchy::Endorsement, &ek.name());
        self.certify_under(&binding, &place)
    }

    /// The same, of an object whose parent has this Qualified Name.
    pub(crate) fn certify_under(&self, binding: &[u8], place: &Name) -> v1::KeyCertification {
        self.certify_child(binding, place, &ek_child_template())
    }

    /// The same, of this object.
    pub(crate) fn certify_child(
        &self,
        binding: &[u8],
        place: &Name,
        child: &Public,
    ) -> v1::KeyCertification {
        let name = child.name();
        let qualified_name = Name::qualified(place.as_bytes(), &name);
        let attested = Attested::Certify {
            name,
            qualified_name,
        };
        let attest = self.attest(binding, attested).encode();
        v1::KeyCertification {
            signature: self.ak.sign(&attest).encode(),
            attest,
        }
    }

    /// TPM2_Quote.
    pub(crate) fn quote(&self, extra_data: &[u8], selection: &PcrSelection) -> Attest {
        let values: Vec<&[u8]> = selection
            .pcrs
            .iter()
            .map(|i| self.pcrs[&i].as_bytes())
            .collect();
        let hash = match &self.ak {
            SigningKey::P384(_) => HashAlg::Sha384,
            _ => HashAlg::Sha256,
        };
        let pcr_digest = hash.digest(&values).as_bytes().to_vec();
        self.attest(
            extra_data,
            Attested::Quote {
                selection: vec![*selection],
                pcr_digest,
            },
        )
    }

    pub(crate) fn sign_claims(&self, claims: &Claims) -> Vec<u8> {
        let kid = self.ldevid_public.name();
        let sign = |tbs: &[u8]| {
            let signature = self.ldevid.sign(tbs).ecdsa_fixed(EccCurve::P256);
            Ok::<_, std::convert::Infallible>(signature.unwrap())
        };
        match claims::sign(claims, CoseAlg::Esp256, kid.as_bytes(), sign) {
            Ok(bytes) => bytes,
        }
    }

    /// Everything that one exchange needs from the gateway.
    pub(crate) fn evidence(
        &self,
        nonce: &[u8],
        purpose: Purpose,
        issued_at: i64,
        spoil: &mut dyn FnMut(Step<'_>),
    ) -> (v1::KeyCertification, v1::Evidence) {
        let nonce: [u8; 32] = nonce.try_into().unwrap();
        let mut attest = self.certify(&nonce);
        spoil(Step::Certify(&mut attest));
        let attest = attest.encode();
        let mut signature = self.ak.sign(&attest);
        spoil(Step::CertifySignature(&mut signature));
        let certification = v1::KeyCertification {
            attest,
            signature: signature.encode(),
        };

        let sha256 = |bytes: &[u8]| crate::digest::sha256(&[bytes]);
        let certifies = purpose != Purpose::Attest;
        let mut claims = Claims {
            nonce,
            ueid: gateway_id(&self.ek_public).unwrap(),
            issued_at,
            purpose,
            exporter: EXPORTER,
            certify_sha256: certifies.then(|| sha256(&certification.attest)),
            boot_log_sha256: self
                .boot_log
                .as_ref()
                .map(|log| match log.log.as_ref().unwrap() {
                    v1::boot_log::Log::Content(content) => sha256(content),
                    v1::boot_log::Log::Sha256(digest) => digest.as_slice().try_into().unwrap(),
                }),
            software_name: "holdfast-attester".into(),
            software_version: "0.1.0".into(),
            uptime_seconds: Some(12),
        };
        spoil(Step::Claims(&mut claims));
        let mut claims = self.sign_claims(&claims);
        spoil(Step::Signed(&mut claims));

        let mut quote = self.quote(&quote_extra_data(&claims), &selection());
        spoil(Step::Quote(&mut quote));
        let quote_attest = quote.encode();
        let mut signature = self.ak.sign(&quote_attest);
        spoil(Step::QuoteSignature(&mut signature));
        let mut evidence = v1::Evidence {
            claims,
            quote_attest,
            quote_signature: signature.encode(),
            pcr_values: selection()
                .pcrs
                .iter()
                .map(|index| v1::PcrValue {
                    index,
                    value: self.pcrs[&index].as_bytes().to_vec(),
                })
                .collect(),
            boot_log: self.boot_log.clone(),
            ima_log: None,
        };
        spoil(Step::Evidence(&mut evidence));
        (certification, evidence)
    }
}

/// One more EK of a TPM: P-256, of `template`.
pub(crate) struct SoftEk {
    key: p256::SecretKey,
    pub(crate) public: Public,
}

impl SoftEk {
    pub(crate) fn new(template: EkTemplate) -> Self {
        let key = p256_key();
        let public = Public {
            unique: point_of(&key),
            ..template.public()
        };
        Self { key, public }
    }

    /// TPM2_ActivateCredential for the object called `ak`. A TPM asks besides that
    /// it holds that object.
    pub(crate) fn activate(
        &self,
        ak: &Name,
        id_object: &[u8],
        encrypted_secret: &[u8],
    ) -> Option<Vec<u8>> {
        let use_of = (b"IDENTITY".as_slice(), ak);
        unwrap_for(&self.key, &self.public, use_of, id_object, encrypted_secret)
    }
}

fn p256_key() -> p256::SecretKey {
    loop {
        let bytes = crate::freshness::random_32(&SystemRandom::new()).unwrap();
        if let Ok(key) = p256::SecretKey::from_slice(&bytes) {
            break key;
        }
    }
}

fn point_of(key: &p256::SecretKey) -> Unique {
    let point = key.public_key().to_encoded_point(false);
    Unique::Ecc {
        x: point.x().unwrap().to_vec(),
        y: point.y().unwrap().to_vec(),
    }
}

fn unwrap_for(
    ek: &p256::SecretKey,
    ek_public: &Public,
    (usage, name): (&[u8], &Name),
    protected: &[u8],
    encrypted_seed: &[u8],
) -> Option<Vec<u8>> {
    let hash = HashAlg::Sha256;
    let (x, rest) = tpm2b(encrypted_seed)?;
    let (y, rest) = tpm2b(rest)?;
    if !rest.is_empty() {
        return None;
    }
    let point = EncodedPoint::from_affine_coordinates(x.into(), y.into(), false);
    let peer = Option::<p256::PublicKey>::from(p256::PublicKey::from_encoded_point(&point))?;
    let z = p256::ecdh::diffie_hellman(ek.to_nonzero_scalar(), peer.as_affine());
    let Unique::Ecc { x: ek_x, .. } = &ek_public.unique else {
        return None;
    };
    let seed = kdf_e(hash, z.raw_secret_bytes(), usage, x, ek_x, 256);

    let (integrity, sealed) = tpm2b(protected)?;
    let key = kdf_a(hash, &seed, b"INTEGRITY", &[], &[], 256);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, &[sealed, name.as_bytes()].concat(), integrity).ok()?;
    let key = kdf_a(hash, &seed, b"STORAGE", name.as_bytes(), &[], 128);
    let mut plain = sealed.to_vec();
    cfb_mode::Decryptor::<aes::Aes128>::new_from_slices(&key, &[0; 16])
        .ok()?
        .decrypt(&mut plain);
    tpm2b(&plain).map(|(data, _)| data.to_vec())
}

/// First TPM2B and the rest.
fn tpm2b(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(usize::from(u16::from_be_bytes(*len)))
}
