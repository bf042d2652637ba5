//! An issuing key in a TPM of the Verifier's own machine: an ECDSA P-256 key
//! under the owner hierarchy that cannot leave the TPM, at a persistent handle.
//! The five commands that this takes are spoken here, so that the Verifier
//! links no TPM stack.
//!
//! What the handle holds is whatever was put there last. So the object's Name
//! (Part 1 §16: the digest of its whole public area) is recorded when the key
//! is made, and looked at before each signature.

mod wire;

use holdfast_proto::tpm::{
    AsymScheme, EccCurve, HashAlg, ObjectAttributes, Parameters, Public, Signature, Symmetric,
    Unique,
};
use ring::rand::SecureRandom;
use zeroize::Zeroizing;

use self::wire::{Answer, Command, Failure, Link, sized};
use super::{Device, DeviceError, SecretSource};
use crate::{config::CaTpmConfig, identity::CaPublic};

const TPM_RH_OWNER: u32 = 0x4000_0001;
const TPM_RH_NULL: u32 = 0x4000_0007;
const TPM_ST_HASHCHECK: u16 = 0x8024;
const TPM_ALG_NULL: u16 = 0x0010;
const TPM_CC_EVICT_CONTROL: u32 = 0x120;
const TPM_CC_CREATE_PRIMARY: u32 = 0x131;
const TPM_CC_SIGN: u32 = 0x15D;
const TPM_CC_FLUSH_CONTEXT: u32 = 0x165;
const TPM_CC_READ_PUBLIC: u32 = 0x173;
/// An authorisation value is at most as long as the nameAlg's digest.
const AUTH_MAX: usize = 32;
/// TPM_RC_HANDLE for the first handle: nothing is there.
const RC_NO_OBJECT: u32 = 0x18B;
/// TPM_RC_NV_DEFINED: the persistent handle is taken.
const RC_OCCUPIED: u32 = 0x14C;
/// TPM_RC_BAD_AUTH and TPM_RC_AUTH_FAIL, for the first session.
const RC_BAD_AUTH: [u32; 2] = [0x9A2, 0x98E];

/// Sign, and nothing else; made in this TPM and fixed to it.
const ATTRIBUTES: ObjectAttributes = ObjectAttributes::FIXED_TPM
    .union(ObjectAttributes::FIXED_PARENT)
    .union(ObjectAttributes::SENSITIVE_DATA_ORIGIN)
    .union(ObjectAttributes::USER_WITH_AUTH)
    .union(ObjectAttributes::NO_DA)
    .union(ObjectAttributes::SIGN);

/// A key in the TPM.
pub(super) struct TpmKey {
    config: CaTpmConfig,
    handle: u32,
    /// Hex.
    name: String,
    expected: CaPublic,
}

impl TpmKey {
    pub(super) fn new(config: CaTpmConfig, handle: u32, name: String, expected: CaPublic) -> Self {
        Self {
            config,
            handle,
            name,
            expected,
        }
    }
}

impl Device for TpmKey {
    fn sign(&mut self, digest: &[u8]) -> Result<Vec<u8>, DeviceError> {
        let mut link = Link::open(&self.config.device.parse()?)?;
        let public = read_public(&mut link, self.handle)?;
        let found = hex::encode(public.name().as_bytes());
        if found != self.name || point(&public)? != self.expected {
            return Err(DeviceError::Substituted {
                expected: self.name.clone(),
                found,
            });
        }
        let auth = auth(self.config.key_auth.as_ref())?;
        let parameters = [
            sized(digest).as_slice(),
            // inScheme: the key's own. validation: none, it is unrestricted.
            &TPM_ALG_NULL.to_be_bytes(),
            &TPM_ST_HASHCHECK.to_be_bytes(),
            &TPM_RH_NULL.to_be_bytes(),
            &sized(&[]),
        ]
        .concat();
        let sign = Command {
            name: "TPM2_Sign",
            code: TPM_CC_SIGN,
            handles: &[self.handle],
            password: Some(&auth),
            parameters: &parameters,
        };
        let (_, answer) = link.run(&sign, 0).map_err(told)?;
        Signature::parse(&answer)
            .and_then(|signature| signature.ecdsa_fixed(EccCurve::P256))
            .map_err(|e| DeviceError::Refused(e.to_string()))
    }
}

/// The first free handle after the configured one, which is the issuing key's.
pub(super) fn free_handle(config: &CaTpmConfig) -> Result<u32, DeviceError> {
    /// Generations of issuing and policy keys at once, and some.
    const LOOKED_AT: u32 = 32;
    let mut link = Link::open(&config.device.parse()?)?;
    for handle in (1..=LOOKED_AT).map(|n| config.handle.saturating_add(n)) {
        match read_public(&mut link, handle) {
            Err(DeviceError::NoKey(_)) => return Ok(handle),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    Err(occupied(config.handle.saturating_add(LOOKED_AT)))
}

/// Makes a key at the configured handle. Answers its public key and its Name
/// in hex.
pub(super) fn generate(
    config: &CaTpmConfig,
    rng: &dyn SecureRandom,
) -> Result<(CaPublic, String), DeviceError> {
    let mut link = Link::open(&config.device.parse()?)?;
    match read_public(&mut link, config.handle) {
        Err(DeviceError::NoKey(_)) => {}
        Err(error) => return Err(error),
        Ok(_) => return Err(occupied(config.handle)),
    }
    // A primary key is derived from the template and the hierarchy's seed: what
    // is random in the template makes it another key than the one before.
    let (mut x, y) = (vec![0; 32], vec![0; 32]);
    rng.fill(&mut x)
        .map_err(|_| DeviceError::Unreachable("no randomness".to_owned()))?;
    let template = Public {
        name_alg: HashAlg::Sha256,
        attributes: ATTRIBUTES,
        auth_policy: Vec::new(),
        parameters: Parameters::Ecc {
            symmetric: Symmetric::Null,
            scheme: AsymScheme::Ecdsa(HashAlg::Sha256),
            curve: EccCurve::P256,
        },
        unique: Unique::Ecc { x, y },
    };
    let (owner, key_auth) = (
        auth(config.owner_auth.as_ref())?,
        auth(config.key_auth.as_ref())?,
    );
    let sensitive = Zeroizing::new([sized(&key_auth), sized(&[])].concat());
    let parameters = Zeroizing::new(
        [
            sized(&sensitive).as_slice(),
            &template.encode_tpm2b(),
            // outsideInfo and creationPCR: nothing.
            &sized(&[]),
            &0_u32.to_be_bytes(),
        ]
        .concat(),
    );
    let create = Command {
        name: "TPM2_CreatePrimary",
        code: TPM_CC_CREATE_PRIMARY,
        handles: &[TPM_RH_OWNER],
        password: Some(&owner),
        parameters: &parameters,
    };
    let (handles, answer) = link.run(&create, 1).map_err(told)?;
    let transient = handles.first().copied().unwrap_or_default();
    let kept = keep(
        &mut link,
        config.handle,
        transient,
        &owner,
        &answer,
        &template,
    );
    // A bare TPM has few places for transient objects; the resource manager
    // would flush this one with the connection.
    let flush = Command {
        name: "TPM2_FlushContext",
        code: TPM_CC_FLUSH_CONTEXT,
        handles: &[],
        password: None,
        parameters: &transient.to_be_bytes(),
    };
    let _ = link.run(&flush, 0);
    kept
}

/// Checks what the TPM made, and gives it its persistent handle.
fn keep(
    link: &mut Link,
    handle: u32,
    transient: u32,
    owner: &[u8],
    created: &[u8],
    template: &Public,
) -> Result<(CaPublic, String), DeviceError> {
    let public = Answer(created).sized()?;
    let public = Public::parse(public).map_err(|e| DeviceError::Refused(e.to_string()))?;
    if !public.matches_template(template) {
        return Err(DeviceError::Refused(
            "the TPM made another kind of key than was asked for".to_owned(),
        ));
    }
    persist(link, transient, handle, owner)?;
    // As it is read from the handle, which is how it will be found again.
    let public = read_public(link, handle)?;
    Ok((point(&public)?, hex::encode(public.name().as_bytes())))
}

/// Removes a key of ours from its handle, for good.
pub(super) fn destroy(config: &CaTpmConfig, handle: u32, name: &str) -> Result<(), DeviceError> {
    let mut link = Link::open(&config.device.parse()?)?;
    match read_public(&mut link, handle) {
        Err(DeviceError::NoKey(_)) => Ok(()),
        Err(error) => Err(error),
        Ok(public) if hex::encode(public.name().as_bytes()) == name => {
            let owner = auth(config.owner_auth.as_ref())?;
            persist(&mut link, handle, handle, &owner)
        }
        // Somebody else's by now.
        Ok(_) => Ok(()),
    }
}

/// TPM2_EvictControl: makes `object` persistent, or evicts it where it is the
/// persistent handle itself.
fn persist(link: &mut Link, object: u32, handle: u32, owner: &[u8]) -> Result<(), DeviceError> {
    let evict = Command {
        name: "TPM2_EvictControl",
        code: TPM_CC_EVICT_CONTROL,
        handles: &[TPM_RH_OWNER, object],
        password: Some(owner),
        parameters: &handle.to_be_bytes(),
    };
    match link.run(&evict, 0) {
        Err(Failure::Code(_, RC_OCCUPIED)) => Err(occupied(handle)),
        other => other.map(|_| ()).map_err(told),
    }
}

fn read_public(link: &mut Link, handle: u32) -> Result<Public, DeviceError> {
    let read = Command {
        name: "TPM2_ReadPublic",
        code: TPM_CC_READ_PUBLIC,
        handles: &[handle],
        password: None,
        parameters: &[],
    };
    match link.run(&read, 0) {
        Ok((_, answer)) => Public::parse(Answer(&answer).sized()?)
            .map_err(|e| DeviceError::Refused(format!("the key at {handle:#010x}: {e}"))),
        Err(Failure::Code(_, RC_NO_OBJECT)) => {
            Err(DeviceError::NoKey(format!("at handle {handle:#010x}")))
        }
        Err(other) => Err(told(other)),
    }
}

fn point(public: &Public) -> Result<CaPublic, DeviceError> {
    let Unique::Ecc { x, y } = &public.unique else {
        return Err(DeviceError::Refused("not an ECC key".to_owned()));
    };
    let pad = |coordinate: &[u8]| -> Vec<u8> {
        let zeros = 32_usize.saturating_sub(coordinate.len());
        [&vec![0; zeros], coordinate].concat()
    };
    CaPublic::from_point(&[&[4], pad(x).as_slice(), &pad(y)].concat())
        .map_err(|e| DeviceError::Refused(e.to_string()))
}

fn auth(source: Option<&SecretSource>) -> Result<Zeroizing<Vec<u8>>, DeviceError> {
    let Some(source) = source else {
        return Ok(Zeroizing::default());
    };
    let secret = source
        .read()
        .map_err(|e| DeviceError::Secret(e.to_string()))?;
    if secret.len() > AUTH_MAX {
        return Err(DeviceError::Secret(format!(
            "{source} is longer than the {AUTH_MAX} bytes that a TPM takes"
        )));
    }
    Ok(Zeroizing::new(secret.as_bytes().to_vec()))
}

fn occupied(handle: u32) -> DeviceError {
    DeviceError::Refused(format!(
        "there is a key at handle {handle:#010x} already: set another [ca.tpm] handle in config.toml"
    ))
}

fn told(failure: Failure) -> DeviceError {
    match failure {
        Failure::Code(_, code) if RC_BAD_AUTH.contains(&code) => DeviceError::WrongPin,
        other => other.into(),
    }
}
