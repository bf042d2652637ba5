//! Key templates that attester, verifier and simulator agree on: EKs by the TCG
//! EK Credential Profile 2.x, and Holdfast's own AK, LDevID key and SRK.
//!
//! A TPM fills `unique` with the key; compare an area that came back by
//! [`Public::matches_template`].

use super::{
    AsymScheme, EccCurve, HashAlg, KeyedHashScheme, ObjectAttributes, Parameters, Public,
    Symmetric, Unique,
};

/// PolicySecret(TPM_RH_ENDORSEMENT), SHA-256: "PolicyA".
pub const POLICY_A_SHA256: [u8; 32] = [
    0x83, 0x71, 0x97, 0x67, 0x44, 0x84, 0xB3, 0xF8, 0x1A, 0x90, 0xCC, 0x8D, 0x46, 0xA5, 0xD7, 0x24,
    0xFD, 0x52, 0xD7, 0x6E, 0x06, 0x52, 0x0B, 0x64, 0xF2, 0xA1, 0xDA, 0x1B, 0x33, 0x14, 0x69, 0xAA,
];

/// PolicyOR(PolicyA, PolicyC), SHA-256: "PolicyB" of the high-range EKs, where
/// PolicyC is PolicyAuthorizeNV(0x01C07F01).
pub const POLICY_B_SHA256: [u8; 32] = [
    0xCA, 0x3D, 0x0A, 0x99, 0xA2, 0xB9, 0x39, 0x06, 0xF7, 0xA3, 0x34, 0x24, 0x14, 0xEF, 0xCF, 0xB3,
    0xA3, 0x85, 0xD4, 0x4C, 0xD1, 0xFD, 0x45, 0x90, 0x89, 0xD1, 0x9B, 0x50, 0x71, 0xC0, 0xB7, 0xA0,
];

/// "PolicyB" in SHA-384, where PolicyC is PolicyAuthorizeNV(0x01C07F02).
pub const POLICY_B_SHA384: [u8; 48] = [
    0xB2, 0x6E, 0x7D, 0x28, 0xD1, 0x1A, 0x50, 0xBC, 0x53, 0xD8, 0x82, 0xBC, 0xF5, 0xFD, 0x3A, 0x1A,
    0x07, 0x41, 0x48, 0xBB, 0x35, 0xD3, 0xB4, 0xE4, 0xCB, 0x1C, 0x0A, 0xD9, 0xBD, 0xE4, 0x19, 0xCA,
    0xCB, 0x47, 0xBA, 0x09, 0x69, 0x96, 0x46, 0x15, 0x0F, 0x9F, 0xC0, 0x00, 0xF3, 0xF8, 0x0E, 0x12,
];

/// fixedTPM, fixedParent, sensitiveDataOrigin: born in this TPM and bound to
/// stay. What Holdfast's own keys add is userWithAuth (their authValue is
/// empty) and noDA (an empty authValue gains nothing from dictionary-attack
/// protection, and a TPM in lockout must still be able to attest).
const BORN_HERE: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .union(ObjectAttributes::FIXED_PARENT)
    .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN);

const OWN_KEY: ObjectAttributes = BORN_HERE
    .union(ObjectAttributes::USER_WITH_AUTH)
    .union(ObjectAttributes::NO_DA);

/// 0x000300B2
const EK_LOW: ObjectAttributes = BORN_HERE
    .union(ObjectAttributes::ADMIN_WITH_POLICY)
    .union(ObjectAttributes::RESTRICTED)
    .union(ObjectAttributes::DECRYPT);

/// 0x000300F2
const EK_HIGH: ObjectAttributes = EK_LOW.union(ObjectAttributes::USER_WITH_AUTH);

/// EK templates of the TCG EK Credential Profile 2.x §B.3 and §B.4.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EkTemplate {
    /// L-1: RSA-2048, low range.
    L1,
    /// L-2: ECC P-256, low range.
    L2,
    /// H-1: RSA-2048, high range.
    H1,
    /// H-2: ECC P-256, high range.
    H2,
    /// H-3: ECC P-384, high range.
    H3,
    /// H-6: RSA-3072, high range.
    H6,
}

impl EkTemplate {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::L1, Self::L2, Self::H1, Self::H2, Self::H3, Self::H6];

    /// The template as it goes to `TPM2_CreatePrimary` in the endorsement
    /// hierarchy.
    #[must_use]
    pub fn public(self) -> Public {
        let (name_alg, attributes, auth_policy, aes_bits) = match self {
            Self::L1 | Self::L2 => (HashAlg::Sha256, EK_LOW, POLICY_A_SHA256.as_slice(), 128),
            Self::H1 | Self::H2 => (HashAlg::Sha256, EK_HIGH, POLICY_B_SHA256.as_slice(), 128),
            Self::H3 | Self::H6 => (HashAlg::Sha384, EK_HIGH, POLICY_B_SHA384.as_slice(), 256),
        };
        let symmetric = Symmetric::Aes { key_bits: aes_bits };
        let rsa = |key_bits| Parameters::Rsa {
            symmetric,
            scheme: AsymScheme::Null,
            key_bits,
            exponent: 0,
        };
        let ecc = |curve| Parameters::Ecc {
            symmetric,
            scheme: AsymScheme::Null,
            curve,
        };
        // The low range has `unique` full of zeros, the high range has it empty.
        let (parameters, unique) = match self {
            Self::L1 => (rsa(2048), Unique::Rsa(vec![0; 256])),
            Self::L2 => (
                ecc(EccCurve::P256),
                Unique::Ecc {
                    x: vec![0; 32],
                    y: vec![0; 32],
                },
            ),
            Self::H1 => (rsa(2048), Unique::Rsa(Vec::new())),
            Self::H2 => (
                ecc(EccCurve::P256),
                Unique::Ecc {
                    x: Vec::new(),
                    y: Vec::new(),
                },
            ),
            Self::H3 => (
                ecc(EccCurve::P384),
                Unique::Ecc {
                    x: Vec::new(),
                    y: Vec::new(),
                },
            ),
            Self::H6 => (rsa(3072), Unique::Rsa(Vec::new())),
        };
        Public {
            name_alg,
            attributes,
            auth_policy: auth_policy.to_vec(),
            parameters,
            unique,
        }
    }

    /// NV index of the EK certificate.
    #[must_use]
    pub const fn cert_nv_index(self) -> u32 {
        match self {
            Self::L1 => 0x01C0_0002,
            Self::L2 => 0x01C0_000A,
            Self::H1 => 0x01C0_0012,
            Self::H2 => 0x01C0_0014,
            Self::H3 => 0x01C0_0016,
            Self::H6 => 0x01C0_001C,
        }
    }

    /// NV index of a template that, where present, replaces the standard one.
    #[must_use]
    pub const fn template_nv_index(self) -> u32 {
        match self {
            Self::L1 => 0x01C0_0004,
            Self::L2 => 0x01C0_000C,
            Self::H1 => 0x01C0_0013,
            Self::H2 => 0x01C0_0015,
            Self::H3 => 0x01C0_0017,
            Self::H6 => 0x01C0_001D,
        }
    }

    /// NV index of a nonce that, where present, goes into `unique`. The high
    /// range has none.
    #[must_use]
    pub const fn nonce_nv_index(self) -> Option<u32> {
        match self {
            Self::L1 => Some(0x01C0_0003),
            Self::L2 => Some(0x01C0_000B),
            Self::H1 | Self::H2 | Self::H3 | Self::H6 => None,
        }
    }

    /// Short name, as the profile writes it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::L1 => "L-1",
            Self::L2 => "L-2",
            Self::H1 => "H-1",
            Self::H2 => "H-2",
            Self::H3 => "H-3",
            Self::H6 => "H-6",
        }
    }

    /// The template with this short name.
    #[must_use]
    pub fn from_label(label: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|template| template.label() == label)
    }

    /// The template that `ek` equals in everything but `unique`.
    #[must_use]
    pub fn matching(ek: &Public) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|template| ek.matches_template(&template.public()))
    }
}

/// What an AK signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum AkAlg {
    /// ECDSA, P-256, SHA-256.
    #[default]
    EcdsaP256,
    /// ECDSA, P-384, SHA-384.
    EcdsaP384,
    /// RSASSA-PKCS1-v1_5, RSA-2048, SHA-256.
    Rsa2048,
    /// RSASSA-PSS, RSA-2048, SHA-256.
    RsaPss2048,
}

impl AkAlg {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::EcdsaP256,
        Self::EcdsaP384,
        Self::Rsa2048,
        Self::RsaPss2048,
    ];

    /// The algorithm of the AK template that `ak` equals in everything but
    /// `unique`.
    #[must_use]
    pub fn matching(ak: &Public) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|alg| ak.matches_template(&ak_template(*alg, &[0; 32])))
    }
}

/// The AK: restricted signing primary in the endorsement hierarchy, so that
/// `clockInfo` is not obfuscated. `unique` is the caller's: 32 random bytes, not
/// secret, for a fresh AK per enrolment. The same bytes give the same AK again,
/// so that it need not be stored. It goes into `x`, or where the modulus will be.
#[must_use]
pub fn ak_template(alg: AkAlg, unique: &[u8; 32]) -> Public {
    let rsa = |scheme| Parameters::Rsa {
        symmetric: Symmetric::Null,
        scheme,
        key_bits: 2048,
        exponent: 0,
    };
    let ecc = |scheme, curve| Parameters::Ecc {
        symmetric: Symmetric::Null,
        scheme,
        curve,
    };
    let parameters = match alg {
        AkAlg::EcdsaP256 => ecc(AsymScheme::Ecdsa(HashAlg::Sha256), EccCurve::P256),
        AkAlg::EcdsaP384 => ecc(AsymScheme::Ecdsa(HashAlg::Sha384), EccCurve::P384),
        AkAlg::Rsa2048 => rsa(AsymScheme::RsaSsa(HashAlg::Sha256)),
        AkAlg::RsaPss2048 => rsa(AsymScheme::RsaPss(HashAlg::Sha256)),
    };
    Public {
        name_alg: match alg {
            AkAlg::EcdsaP384 => HashAlg::Sha384,
            AkAlg::EcdsaP256 | AkAlg::Rsa2048 | AkAlg::RsaPss2048 => HashAlg::Sha256,
        },
        attributes: OWN_KEY | ObjectAttributes::RESTRICTED | ObjectAttributes::SIGN,
        auth_policy: Vec::new(),
        parameters,
        unique: match parameters {
            Parameters::Ecc { .. } => Unique::Ecc {
                x: unique.to_vec(),
                y: Vec::new(),
            },
            Parameters::Rsa { .. } | Parameters::KeyedHash { .. } => Unique::Rsa(unique.to_vec()),
        },
    }
}

/// The LDevID key: unrestricted ECDSA P-256 / SHA-256 signing key under the
/// SRK. The scheme is in the key, so that it signs nothing by another.
#[must_use]
pub fn ldevid_template() -> Public {
    Public {
        name_alg: HashAlg::Sha256,
        attributes: OWN_KEY | ObjectAttributes::SIGN,
        auth_policy: Vec::new(),
        parameters: Parameters::Ecc {
            symmetric: Symmetric::Null,
            scheme: AsymScheme::Ecdsa(HashAlg::Sha256),
            curve: EccCurve::P256,
        },
        unique: Unique::Ecc {
            x: Vec::new(),
            y: Vec::new(),
        },
    }
}

/// The same, but that it signs by `policy` alone: userWithAuth is clear, and so
/// is adminWithPolicy, so that the AK can certify it by its empty auth value
/// (TPM2_Certify takes the ADMIN role, Part 3 §18.2).
#[must_use]
pub fn bound_ldevid_template(policy: &[u8; 32]) -> Public {
    Public {
        attributes: BORN_HERE | ObjectAttributes::NO_DA | ObjectAttributes::SIGN,
        auth_policy: policy.to_vec(),
        ..ldevid_template()
    }
}

/// An object that an EK is asked to make under itself, so that the AK can certify
/// it: its Qualified Name is of the EK's Name (Part 1 §16), which the EK's own
/// policy lets nobody certify. An HMAC key, which costs a TPM next to nothing;
/// what it is does not matter, and nothing is done with it.
#[must_use]
pub fn ek_child_template() -> Public {
    Public {
        name_alg: HashAlg::Sha256,
        attributes: OWN_KEY | ObjectAttributes::SIGN,
        auth_policy: Vec::new(),
        parameters: Parameters::KeyedHash {
            scheme: KeyedHashScheme::Hmac(HashAlg::Sha256),
        },
        unique: Unique::KeyedHash(Vec::new()),
    }
}

/// Objects that the Verifier makes, and a TPM imports under its EK. They were
/// not born there, so fixedTPM, fixedParent and sensitiveDataOrigin are clear
/// (Part 3 §13.3). They cannot leave again all the same: TPM2_Duplicate needs
/// the DUP role, which only a policy can authorise (Part 1 §19.2), and with an
/// empty authPolicy there is none.
const IMPORTED: ObjectAttributes = ObjectAttributes::USER_WITH_AUTH.union(ObjectAttributes::NO_DA);

/// The heartbeat key: HMAC with SHA-256, restricted, so that it signs what the
/// TPM itself states (quotes) and nothing else; `unique` is still empty.
#[must_use]
pub fn heartbeat_key_template() -> Public {
    imported_template(
        IMPORTED | ObjectAttributes::SIGN | ObjectAttributes::RESTRICTED,
        KeyedHashScheme::Hmac(HashAlg::Sha256),
    )
}

/// A secret of the Verifier's for this TPM, to be unsealed; `unique` is still
/// empty.
#[must_use]
pub fn delivered_secret_template() -> Public {
    imported_template(IMPORTED, KeyedHashScheme::Null)
}

fn imported_template(attributes: ObjectAttributes, scheme: KeyedHashScheme) -> Public {
    Public {
        name_alg: HashAlg::Sha256,
        attributes,
        auth_policy: Vec::new(),
        parameters: Parameters::KeyedHash { scheme },
        unique: Unique::KeyedHash(Vec::new()),
    }
}

/// The SRK: ECC P-256 storage primary in the owner hierarchy, attributes
/// 0x00030472 (TCG Provisioning Guidance §7.5.1).
#[must_use]
pub fn srk_template() -> Public {
    Public {
        name_alg: HashAlg::Sha256,
        attributes: OWN_KEY | ObjectAttributes::RESTRICTED | ObjectAttributes::DECRYPT,
        auth_policy: Vec::new(),
        parameters: Parameters::Ecc {
            symmetric: Symmetric::Aes { key_bits: 128 },
            scheme: AsymScheme::Null,
            curve: EccCurve::P256,
        },
        unique: Unique::Ecc {
            x: Vec::new(),
            y: Vec::new(),
        },
    }
}
