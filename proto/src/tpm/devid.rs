//! IDevID and IAK by the TCG's "TPM 2.0 Keys for Device Identity and
//! Attestation" §7.3: recoverable primary keys of the endorsement hierarchy,
//! made again on the same TPM from the same template.
//!
//! Each has an `authPolicy` of four branches. The ADMIN role (being certified,
//! activating a credential) is by policy alone; signing needs no more than the
//! key's empty auth value.

use super::{
    AsymScheme, Digest, EccCurve, HashAlg, ObjectAttributes, Parameters, Public, Symmetric, Unique,
};

/// `TPM_RH_ENDORSEMENT`, whose Name is the handle (Part 1 §16).
const RH_ENDORSEMENT: u32 = 0x4000_000B;
/// Commands as policies name them (Part 2 §6.5.2).
const CC_CERTIFY: u32 = 0x148;
const CC_ACTIVATE_CREDENTIAL: u32 = 0x147;
const CC_POLICY_SECRET: u32 = 0x151;
const CC_POLICY_COMMAND_CODE: u32 = 0x16C;
const CC_POLICY_OR: u32 = 0x171;
const CC_POLICY_AUTHORIZE_NV: u32 = 0x192;

/// `TPMA_NV` of the indices that hold a policy: POLICYWRITE, WRITEALL, PPREAD,
/// OWNERREAD, AUTHREAD, POLICYREAD, NO_DA, WRITTEN.
const POLICY_NV_ATTRIBUTES: u32 = 0x220F_1008;

/// The block of NV indices that the TCG reserves for device identities.
pub const DEVID_NV: std::ops::RangeInclusive<u32> = 0x01C9_0000..=0x01C9_FFFF;
/// Where the IAK's certificate is expected; nothing but a scan is relied on.
pub const IAK_CERTIFICATE_NV: u32 = 0x01C9_0100;
/// Where the IDevID's certificate is expected; as for the IAK's.
pub const IDEVID_CERTIFICATE_NV: u32 = 0x01C9_0200;
/// Where OEMs keep the IDevID key, if they keep it at all.
pub const IDEVID_HANDLE: u32 = 0x8102_0000;
/// Where OEMs keep the IAK, if they keep it at all.
pub const IAK_HANDLE: u32 = 0x8102_0001;

/// Which of the two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DevidKey {
    /// The initial device identity (IEEE 802.1AR): signs for applications.
    Idevid,
    /// The initial attestation key: restricted, signs what the TPM made.
    Iak,
}

/// Templates of the standard's table, high range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DevidTemplate {
    /// H-1: RSA-2048; the IAK signs by RSASSA-PSS.
    H1,
    /// H-1 as older tools make the IAK: RSASSA-PKCS1-v1_5. As an IDevID, whose
    /// scheme is null, it is H-1.
    H1Ssa,
    /// H-2: ECC P-256.
    H2,
    /// H-3: ECC P-384.
    H3,
    /// H-4: ECC P-521.
    H4,
}

/// What goes into the template's `unique`, where makers do not agree. Each
/// gives another key: an attester tries all, a verifier looks at none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DevidUnique {
    /// The label (`IDEVID`, `IAK`) in x and nothing in y, unpadded, as
    /// swtpm_setup writes; for RSA, the label.
    LabelInX,
    /// The label in both coordinates, as Keylime writes; for RSA, the label.
    LabelInBoth,
    /// Zeros as long as the key, as for a low-range EK.
    Zeros,
}

impl DevidUnique {
    /// All of them, the most common first.
    pub const ALL: [Self; 3] = [Self::LabelInX, Self::LabelInBoth, Self::Zeros];

    /// Short name, as on the command line.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::LabelInX => "label-x",
            Self::LabelInBoth => "label-xy",
            Self::Zeros => "zeros",
        }
    }
}

impl DevidKey {
    /// `IDevID` or `IAK`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Idevid => "IDevID",
            Self::Iak => "IAK",
        }
    }

    const fn unique(self) -> &'static [u8] {
        match self {
            Self::Idevid => b"IDEVID",
            Self::Iak => b"IAK",
        }
    }

    /// fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth,
    /// adminWithPolicy, sign: 0x000400F2; the IAK is restricted too.
    const fn attributes(self) -> ObjectAttributes {
        let common = ObjectAttributes::FIXED_TPM
            .union(ObjectAttributes::FIXED_PARENT)
            .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
            .union(ObjectAttributes::USER_WITH_AUTH)
            .union(ObjectAttributes::ADMIN_WITH_POLICY)
            .union(ObjectAttributes::SIGN);
        match self {
            Self::Idevid => common,
            Self::Iak => common.union(ObjectAttributes::RESTRICTED),
        }
    }

    /// NV index whose content can replace the policy (PolicyAuthorizeNV).
    const fn policy_nv_index(self, alg: HashAlg) -> u32 {
        let first = match self {
            Self::Idevid => 0x01C9_0010,
            Self::Iak => 0x01C9_0018,
        };
        match alg {
            HashAlg::Sha1 | HashAlg::Sha256 => first,
            HashAlg::Sha384 => first + 1,
            HashAlg::Sha512 => first + 2,
        }
    }

    /// The four branches of the key's `authPolicy`, in order, as
    /// `TPM2_PolicyOR` takes them: PolicySecret(endorsement); that for
    /// TPM2_Certify; that for TPM2_ActivateCredential; PolicyAuthorizeNV.
    #[must_use]
    pub fn policy_branches(self, alg: HashAlg) -> [Digest; 4] {
        let secret = policy_secret_endorsement(alg);
        [
            secret,
            with_command_code(&secret, CC_CERTIFY),
            with_command_code(&secret, CC_ACTIVATE_CREDENTIAL),
            policy_authorize_nv(self.policy_nv_index(alg), &secret),
        ]
    }

    /// The key's `authPolicy`: PolicyOR of [`Self::policy_branches`].
    #[must_use]
    pub fn auth_policy(self, alg: HashAlg) -> Digest {
        let branches = self.policy_branches(alg);
        let mut parts = vec![vec![0; alg.digest_len()], CC_POLICY_OR.to_be_bytes().into()];
        parts.extend(branches.iter().map(|branch| branch.as_bytes().to_vec()));
        alg.digest(&[&parts.concat()])
    }
}

impl DevidTemplate {
    /// All of them, in the order in which an attester tries them: ECC first,
    /// because an RSA primary takes a TPM up to a minute.
    pub const ALL: [Self; 5] = [Self::H2, Self::H3, Self::H1, Self::H1Ssa, Self::H4];

    /// As the standard writes it.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::H1 => "H-1",
            Self::H1Ssa => "H-1 (RSASSA)",
            Self::H2 => "H-2",
            Self::H3 => "H-3",
            Self::H4 => "H-4",
        }
    }

    /// `nameAlg`, and the hash of its signature scheme.
    #[must_use]
    pub const fn hash(self) -> HashAlg {
        match self {
            Self::H1 | Self::H1Ssa | Self::H2 => HashAlg::Sha256,
            Self::H3 => HashAlg::Sha384,
            Self::H4 => HashAlg::Sha512,
        }
    }

    /// The template as it goes to `TPM2_CreatePrimary` in the endorsement
    /// hierarchy.
    #[must_use]
    pub fn public(self, key: DevidKey, unique: DevidUnique) -> Public {
        let hash = self.hash();
        let (parameters, key_len) = self.parameters(key);
        let label = key.unique().to_vec();
        let is_ecc = matches!(parameters, Parameters::Ecc { .. });
        Public {
            name_alg: hash,
            attributes: key.attributes(),
            auth_policy: key.auth_policy(hash).as_bytes().to_vec(),
            parameters,
            unique: match (is_ecc, unique) {
                (true, DevidUnique::LabelInX) => Unique::Ecc {
                    x: label,
                    y: Vec::new(),
                },
                (true, DevidUnique::LabelInBoth) => Unique::Ecc {
                    x: label.clone(),
                    y: label,
                },
                (true, DevidUnique::Zeros) => Unique::Ecc {
                    x: vec![0; key_len],
                    y: vec![0; key_len],
                },
                (false, DevidUnique::LabelInX | DevidUnique::LabelInBoth) => Unique::Rsa(label),
                (false, DevidUnique::Zeros) => Unique::Rsa(vec![0; key_len]),
            },
        }
    }

    /// The template that `public` equals in everything but `unique`.
    #[must_use]
    pub fn matching(public: &Public, key: DevidKey) -> Option<Self> {
        [Self::H1, Self::H1Ssa, Self::H2, Self::H3, Self::H4]
            .into_iter()
            .find(|template| public.matches_template(&template.public(key, DevidUnique::Zeros)))
    }

    /// Parameters, and the length of the modulus or of a coordinate.
    fn parameters(self, key: DevidKey) -> (Parameters, usize) {
        let rsa = |iak| Parameters::Rsa {
            symmetric: Symmetric::Null,
            // Unrestricted, an RSA key may leave the scheme to the command.
            scheme: match key {
                DevidKey::Idevid => AsymScheme::Null,
                DevidKey::Iak => iak,
            },
            key_bits: 2048,
            exponent: 0,
        };
        let ecc = |curve: EccCurve| {
            let parameters = Parameters::Ecc {
                symmetric: Symmetric::Null,
                scheme: AsymScheme::Ecdsa(self.hash()),
                curve,
            };
            (parameters, curve.coordinate_len())
        };
        match self {
            Self::H1 => (rsa(AsymScheme::RsaPss(HashAlg::Sha256)), 256),
            Self::H1Ssa => (rsa(AsymScheme::RsaSsa(HashAlg::Sha256)), 256),
            Self::H2 => ecc(EccCurve::P256),
            Self::H3 => ecc(EccCurve::P384),
            Self::H4 => ecc(EccCurve::P521),
        }
    }
}

/// PolicySecret(TPM_RH_ENDORSEMENT) with an empty policyRef, from an empty
/// policy: H(H(0… ‖ CC ‖ Name) ‖ policyRef) (Part 3 §23.4).
fn policy_secret_endorsement(alg: HashAlg) -> Digest {
    let extended = alg.digest(&[
        &vec![0; alg.digest_len()],
        &CC_POLICY_SECRET.to_be_bytes(),
        &RH_ENDORSEMENT.to_be_bytes(),
    ]);
    alg.digest(&[extended.as_bytes()])
}

/// PolicyCommandCode after `before` (Part 3 §23.11).
fn with_command_code(before: &Digest, command: u32) -> Digest {
    before.alg().digest(&[
        before.as_bytes(),
        &CC_POLICY_COMMAND_CODE.to_be_bytes(),
        &command.to_be_bytes(),
    ])
}

/// PolicyAuthorizeNV of an index that holds a TPMT_HA and is written under
/// `write_policy` (Part 3 §23.22). It resets the policy before it.
fn policy_authorize_nv(index: u32, write_policy: &Digest) -> Digest {
    let alg = write_policy.alg();
    let digest_len = u16::try_from(alg.digest_len()).expect("digests have at most 64 bytes");
    let alg_id = alg.id().to_be_bytes();
    // TPMS_NV_PUBLIC (Part 2 §13.5).
    let nv_digest = alg.digest(&[
        &index.to_be_bytes(),
        &alg_id,
        &POLICY_NV_ATTRIBUTES.to_be_bytes(),
        &digest_len.to_be_bytes(),
        write_policy.as_bytes(),
        &(digest_len + 2).to_be_bytes(),
    ]);
    alg.digest(&[
        &vec![0; alg.digest_len()],
        &CC_POLICY_AUTHORIZE_NV.to_be_bytes(),
        &alg_id,
        nv_digest.as_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(digest: &Digest) -> String {
        digest.to_string()
    }

    /// The values that the standard prints, as Keylime and swtpm_setup have
    /// them too.
    #[test]
    fn policies_are_the_standards() {
        let branches = |key: DevidKey, alg| key.policy_branches(alg).map(|d| hex(&d));
        let [a, b, c, d] = branches(DevidKey::Idevid, HashAlg::Sha256);
        assert_eq!(a, hex::encode(super::super::templates::POLICY_A_SHA256));
        assert_eq!(
            b,
            "b2a69e6391e2684a0fe752d39e14acd2e5cb922e4bd035830eea31f2aabe9870"
        );
        assert_eq!(
            c,
            "cd9917cf18c3848c3a2e606986a066c68142f9bc2710a278287a650ca3bbf245"
        );
        assert_eq!(
            d,
            "629c50b05f1adb5b4297feb241549d4217a1c792c162feb861022def88fa9501"
        );
        let [.., d] = branches(DevidKey::Iak, HashAlg::Sha256);
        assert_eq!(
            d,
            "101e689dadf145222412c05b76e14532af1e5c74208e0ae7cdb0cff1906c8a09"
        );
        for (key, alg, policy) in [
            (
                DevidKey::Idevid,
                HashAlg::Sha256,
                "ad6b3a2284fd698a0710bf5cc1b9bdf15e2532e3f601fa4b93a6a8fa8de579ea",
            ),
            (
                DevidKey::Iak,
                HashAlg::Sha256,
                "5437182326e414fca797d5f174615a1641f61255797c3a2b22c21d120b2d1e07",
            ),
            (
                DevidKey::Idevid,
                HashAlg::Sha384,
                "4db1aa836d0b5615df6ee53a40ef70c61c217f4303d44695925972bc927006cfa5cbdf6dc18c4dbe329b2f1542c3dd33",
            ),
            (
                DevidKey::Iak,
                HashAlg::Sha384,
                "129d94ebf84556652c6eef43bbb757512ac87e52be7b349ca6ce4d826f749fcf672f51716c5cbb605f313bf345aab312",
            ),
            (
                DevidKey::Idevid,
                HashAlg::Sha512,
                "7dd7500fd6c1b94f97a6af910da147301ef28f662fee06f225a4ccadda3b4e6b38e66b2f3ad5dee1a0503cd2daedb1e68cfe4f84b03a8cd22bb6a976f071a72f",
            ),
            (
                DevidKey::Iak,
                HashAlg::Sha512,
                "8060d1fb31716a29e48a6e5fece088bcfc1b278fc162255e81c3eca3544cd44af94410c3715d561cccd9e39a6cb2646d43535bb54ea88710deb5f7836bd9b586",
            ),
        ] {
            assert_eq!(hex(&key.auth_policy(alg)), policy, "{key:?} {alg:?}");
        }
    }

    #[test]
    fn attributes_are_the_standards() {
        let bits = |key| {
            DevidTemplate::H2
                .public(key, DevidUnique::LabelInX)
                .attributes
                .bits()
        };
        assert_eq!(bits(DevidKey::Idevid), 0x0004_00F2);
        assert_eq!(bits(DevidKey::Iak), 0x0005_00F2);
    }

    #[test]
    fn a_template_is_known_whatever_its_unique_and_is_of_one_key_alone() {
        for template in DevidTemplate::ALL {
            for unique in DevidUnique::ALL {
                let iak = template.public(DevidKey::Iak, unique);
                assert_eq!(
                    DevidTemplate::matching(&iak, DevidKey::Iak),
                    Some(template),
                    "{template:?} {unique:?}"
                );
                assert_eq!(DevidTemplate::matching(&iak, DevidKey::Idevid), None);
                let idevid = template.public(DevidKey::Idevid, unique);
                let same = match template {
                    DevidTemplate::H1Ssa => DevidTemplate::H1,
                    other => other,
                };
                assert_eq!(
                    DevidTemplate::matching(&idevid, DevidKey::Idevid),
                    Some(same)
                );
                let bytes = idevid.encode();
                assert_eq!(Public::parse(&bytes).as_ref(), Ok(&idevid));
            }
        }
    }

    #[test]
    fn conventions_differ_in_unique_alone() {
        let of = |unique| DevidTemplate::H2.public(DevidKey::Iak, unique);
        assert_eq!(
            of(DevidUnique::LabelInX).unique,
            Unique::Ecc {
                x: b"IAK".to_vec(),
                y: Vec::new()
            }
        );
        assert_eq!(
            of(DevidUnique::LabelInBoth).unique,
            Unique::Ecc {
                x: b"IAK".to_vec(),
                y: b"IAK".to_vec()
            }
        );
        assert_eq!(
            of(DevidUnique::Zeros).unique,
            Unique::Ecc {
                x: vec![0; 32],
                y: vec![0; 32]
            }
        );
    }
}
