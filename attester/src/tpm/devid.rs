//! IDevID and IAK, and the certificates that the OEM left in NV memory (TCG
//! "TPM 2.0 Keys for Device Identity and Attestation" §7).
//!
//! Makers do not agree on NV indices, nor on what a template has in `unique`.
//! So all of the TCG's block is scanned, and every template that could have
//! made a certified key is tried: what fits is what was meant.

use holdfast_proto::tpm::devid::{DEVID_NV, DevidKey, DevidTemplate, DevidUnique};
use holdfast_proto::tpm::{HashAlg, Hierarchy, Name, Public};
use tss_esapi::constants::CommandCode;
use tss_esapi::handles::{KeyHandle, PersistentTpmHandle, TpmHandle};
use tss_esapi::interface_types::session_handles::{AuthSession, PolicySession};
use tss_esapi::structures::{Data, Digest, DigestList, SignatureScheme};

use super::attestation::marshalled;
use super::convert::{from_tss_public, to_tss_hash};
use super::endorsement::certifies;
use super::engine::{Encrypt, Engine, NO_SESSION};
use super::nv::split_chain;
use super::{Attestation, Tpm, TpmError};

/// OEMs write two certificates and a few of their chain; what is beyond is not
/// read, so that a full block costs a bounded time.
const MAX_INDICES: usize = 16;
/// Persistent handles that the TCG leaves to device identities.
const DEVID_HANDLES: std::ops::RangeInclusive<u32> = 0x8102_0000..=0x8102_FFFF;
/// Persistent keys that are looked at.
const MAX_HANDLES: u32 = 16;

/// How a key of the OEM's is had again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceKeySource {
    /// By `TPM2_CreatePrimary` in the endorsement hierarchy, from this area.
    Template(Box<Public>),
    /// It is kept at this handle, and has this Name.
    Persistent {
        /// `0x8102…`
        handle: u32,
        /// Its Name, so that no other key there is taken for it.
        name: Name,
    },
}

/// A key of the OEM's and what certifies it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceKey {
    /// How it is had.
    pub source: DeviceKeySource,
    /// Its template, whatever `unique` it was made with.
    pub template: DevidTemplate,
    /// Its public area.
    pub public: Public,
    /// DER: its certificate, then others that were found beside it.
    pub certificate_chain: Vec<Vec<u8>>,
    /// NV index of its certificate.
    pub nv_index: u32,
}

/// The device identity that the OEM gave: IDevID and IAK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// Attests.
    pub iak: DeviceKey,
    /// Names the device.
    pub idevid: DeviceKey,
}

/// What a search for a device identity brought to light.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIdentityFindings {
    /// The IAK, where its certificate and key were found.
    pub iak: Option<DeviceKey>,
    /// The IDevID, likewise.
    pub idevid: Option<DeviceKey>,
    /// NV indices with certificates, and how many each.
    pub certificates: Vec<(u32, usize)>,
    /// Indices that hold something else than they should.
    pub problems: Vec<(u32, &'static str)>,
}

impl DeviceIdentityFindings {
    /// Both keys, or why not.
    ///
    /// # Errors
    /// [`TpmError::NoDeviceIdentity`].
    pub fn complete(self) -> Result<DeviceIdentity, TpmError> {
        let found = !self.certificates.is_empty();
        match (self.iak, self.idevid) {
            (Some(iak), Some(idevid)) => Ok(DeviceIdentity { iak, idevid }),
            (iak, idevid) => Err(TpmError::NoDeviceIdentity {
                lacks: match (found, iak, idevid) {
                    (false, ..) => "its NV memory has no IDevID or IAK certificate",
                    (true, None, None) => "no template makes a key that a certificate is for",
                    (true, None, Some(_)) => "there is an IDevID, and no IAK",
                    (true, Some(_), _) => "there is an IAK, and no IDevID",
                },
            }),
        }
    }
}

impl Tpm {
    /// Looks for IDevID and IAK. Changes nothing.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn find_device_identity(&self) -> Result<DeviceIdentityFindings, TpmError> {
        self.call(Engine::find_device_identity)
    }

    /// IDevID and IAK with their certificates.
    ///
    /// # Errors
    /// [`TpmError::NoDeviceIdentity`] says what is missing.
    pub fn device_identity(&self) -> Result<DeviceIdentity, TpmError> {
        self.find_device_identity()?.complete()
    }

    /// TPM2_Certify of the IDevID key by the IAK: through the second branch of
    /// the IDevID's policy, since being certified is an ADMIN's business.
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn certify_idevid(
        &self,
        identity: &DeviceIdentity,
        extra_data: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        let identity = identity.clone();
        self.call(move |engine| engine.certify_idevid(&identity, extra_data))
    }
}

/// A certificate found, and where.
struct Found {
    index: u32,
    der: Vec<u8>,
}

impl Engine {
    fn find_device_identity(&mut self) -> Result<DeviceIdentityFindings, TpmError> {
        let mut findings = DeviceIdentityFindings::default();
        let certificates = self.devid_certificates(&mut findings)?;
        if certificates.is_empty() {
            return Ok(findings);
        }
        let kept = self.persistent_devids()?;
        findings.iak = self.certified_devid(DevidKey::Iak, &certificates, &kept)?;
        findings.idevid = self.certified_devid(DevidKey::Idevid, &certificates, &kept)?;
        Ok(findings)
    }

    fn devid_certificates(
        &mut self,
        findings: &mut DeviceIdentityFindings,
    ) -> Result<Vec<Found>, TpmError> {
        let indices = self.nv_indices_from(*DEVID_NV.start())?;
        let mut certificates = Vec::new();
        for index in indices
            .into_iter()
            .filter(|index| DEVID_NV.contains(index))
            .take(MAX_INDICES)
        {
            let Some(bytes) = self.read_nv(index)? else {
                continue;
            };
            // Policies live in this block too (0x01C90010 …): a TPMT_HA starts
            // with a hash algorithm, no certificate with a zero.
            if bytes.first() != Some(&0x30) {
                continue;
            }
            match split_chain(&bytes) {
                Ok(chain) => {
                    findings.certificates.push((index, chain.len()));
                    certificates.extend(chain.into_iter().map(|der| Found { index, der }));
                }
                Err(problem) => findings.problems.push((index, problem)),
            }
        }
        Ok(certificates)
    }

    /// Keys that are kept at the handles for device identities.
    fn persistent_devids(&mut self) -> Result<Vec<(u32, Public)>, TpmError> {
        let handles = self.handles(*DEVID_HANDLES.start(), MAX_HANDLES)?;
        let mut kept = Vec::new();
        for handle in handles.into_iter().filter(|h| DEVID_HANDLES.contains(h)) {
            // What is of a kind that we do not know is no IDevID or IAK.
            match self.with_persistent(handle, |_, _, public| Ok(public.clone())) {
                Ok(public) => kept.push((handle, public)),
                Err(TpmError::Malformed { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(kept)
    }

    /// The key that one of the certificates is for: kept, or made anew.
    fn certified_devid(
        &mut self,
        key: DevidKey,
        certificates: &[Found],
        kept: &[(u32, Public)],
    ) -> Result<Option<DeviceKey>, TpmError> {
        for (handle, public) in kept {
            if let Some(template) = DevidTemplate::matching(public, key)
                && let Some(found) = certificates.iter().find(|c| certifies(&c.der, public))
            {
                let source = DeviceKeySource::Persistent {
                    handle: *handle,
                    name: public.name(),
                };
                let public = public.clone();
                return Ok(Some(device_key(
                    source,
                    template,
                    public,
                    found,
                    certificates,
                )));
            }
        }
        for template in DevidTemplate::ALL {
            // An RSA primary takes a TPM up to a minute: only for an RSA key.
            if !certificates.iter().any(|c| is_for_kind(&c.der, template)) {
                continue;
            }
            for unique in DevidUnique::ALL {
                let area = template.public(key, unique);
                let made = self.with_primary(Hierarchy::Endorsement, &area, |_, _, public| {
                    Ok(public.clone())
                });
                let public = match made {
                    Ok(public) => public,
                    // This TPM has no such curve or hash: none of its keys is.
                    Err(TpmError::Unsupported { .. }) => break,
                    Err(error) => return Err(error),
                };
                if let Some(found) = certificates.iter().find(|c| certifies(&c.der, &public)) {
                    let source = DeviceKeySource::Template(Box::new(area));
                    return Ok(Some(device_key(
                        source,
                        template,
                        public,
                        found,
                        certificates,
                    )));
                }
            }
        }
        Ok(None)
    }

    /// Runs `work` with a key of the OEM's.
    pub(super) fn with_device_key<T>(
        &mut self,
        source: &DeviceKeySource,
        work: impl FnOnce(&mut Self, KeyHandle, &Public) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        match source {
            DeviceKeySource::Template(area) => {
                self.with_primary(Hierarchy::Endorsement, area, work)
            }
            DeviceKeySource::Persistent { handle, name } => {
                self.with_persistent(*handle, |engine, key, public| {
                    if public.name() != *name {
                        return Err(TpmError::OtherDeviceKey { handle: *handle });
                    }
                    work(engine, key, public)
                })
            }
        }
    }

    fn with_persistent<T>(
        &mut self,
        handle: u32,
        work: impl FnOnce(&mut Self, KeyHandle, &Public) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let handle = PersistentTpmHandle::new(handle)
            .map(TpmHandle::from)
            .map_err(|e| TpmError::from_tss("persistent handle", e))?;
        self.with_reference("TPM2_ReadPublic", handle, |engine, object| {
            let key = KeyHandle::from(object);
            let (public, ..) =
                engine.command("TPM2_ReadPublic", NO_SESSION, |c| c.read_public(key))?;
            let public = from_tss_public(&public)?;
            work(engine, key, &public)
        })
    }

    /// Runs `work` with a policy session for one ADMIN command on a key of the
    /// OEM's: PolicySecret(endorsement), PolicyCommandCode, PolicyOR.
    pub(super) fn with_devid_policy<T>(
        &mut self,
        key: DevidKey,
        hash: HashAlg,
        command: CommandCode,
        work: impl FnOnce(&mut Self, AuthSession) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let branches = key
            .policy_branches(hash)
            .iter()
            .map(|branch| Digest::try_from(branch.as_bytes()))
            .collect::<Result<Vec<_>, _>>()
            .and_then(|digests| {
                let mut list = DigestList::new();
                digests.into_iter().try_for_each(|d| list.add(d))?;
                Ok(list)
            })
            .map_err(|e| TpmError::from_tss("policy branches", e))?;
        self.with_policy_session_of(to_tss_hash(hash), |engine, session| {
            let policy = PolicySession::try_from(session)
                .map_err(|e| TpmError::from_tss("policy session", e))?;
            engine.policy_secret_endorsement(policy)?;
            engine.command("TPM2_PolicyCommandCode", NO_SESSION, |c| {
                c.policy_command_code(policy, command)
            })?;
            engine.command("TPM2_PolicyOR", NO_SESSION, |c| {
                c.policy_or(policy, branches.clone())
            })?;
            work(engine, session)
        })
    }

    pub(super) fn certify_idevid(
        &mut self,
        identity: &DeviceIdentity,
        extra_data: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        self.root()?;
        let hash = identity.idevid.template.hash();
        self.with_device_key(&identity.idevid.source, |engine, idevid, _| {
            engine.with_device_key(&identity.iak.source, |engine, iak, _| {
                engine.with_devid_policy(
                    DevidKey::Idevid,
                    hash,
                    CommandCode::Certify,
                    |engine, policy| {
                        let session = engine.session(Encrypt::Both)?;
                        // The third protects both parameters, and authorises
                        // nothing; the IAK's auth value is empty.
                        let sessions = (Some(policy), Some(AuthSession::Password), Some(session));
                        let (attest, signature) =
                            engine.command("TPM2_Certify", sessions, |c| {
                                c.certify(
                                    idevid.into(),
                                    iak,
                                    Data::try_from(extra_data.as_slice())?,
                                    SignatureScheme::Null,
                                )
                            })?;
                        marshalled(&attest, &signature)
                    },
                )
            })
        })
    }
}

/// The certificate first, then what is no leaf of ours: the Verifier takes
/// intermediates in any order, and looks only at those that lead on.
fn device_key(
    source: DeviceKeySource,
    template: DevidTemplate,
    public: Public,
    found: &Found,
    certificates: &[Found],
) -> DeviceKey {
    let mut certificate_chain = vec![found.der.clone()];
    for other in certificates.iter().filter(|c| c.index == found.index) {
        if !certificate_chain.contains(&other.der) {
            certificate_chain.push(other.der.clone());
        }
    }
    DeviceKey {
        source,
        template,
        public,
        certificate_chain,
        nv_index: found.index,
    }
}

/// Whether a certificate names the template's kind of key anywhere: a sieve,
/// so that no key is made in vain.
fn is_for_kind(certificate: &[u8], template: DevidTemplate) -> bool {
    // Whole OBJECT IDENTIFIERs.
    let kind: &[u8] = match template {
        DevidTemplate::H1 | DevidTemplate::H1Ssa => &[
            0x06, 9, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01,
        ],
        DevidTemplate::H2 => &[0x06, 8, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07],
        DevidTemplate::H3 => &[0x06, 5, 0x2B, 0x81, 0x04, 0x00, 0x22],
        DevidTemplate::H4 => &[0x06, 5, 0x2B, 0x81, 0x04, 0x00, 0x23],
    };
    certificate.windows(kind.len()).any(|window| window == kind)
}
