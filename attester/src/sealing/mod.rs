//! Sealing: a secret that comes out on this TPM, in a boot state that was
//! approved for its class ([`Binding::Approved`]) or in the present one
//! ([`Binding::Current`]), and nowhere else. docs/sealing.md has the whole.

mod approvals;
mod error;
mod record;

use holdfast_proto::sealing::{Purpose, object_policy, pcr_digest};
use holdfast_proto::tpm::{PcrSelection, policy_pcr};
use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

pub(crate) use approvals::equip;
pub use approvals::{OwnApprovals, held, read_approvals, read_approvals_from, take_in};
pub use error::SealError;
pub use holdfast_proto::secrets::SecretName;
pub use record::{Binding, MAX_SECRET};

use crate::state::{Enrolled, StateDir, StateView};
use crate::tpm::{Tpm, TpmError, Unlock};
use record::{KEY_LEN, Sealed};

/// PCRs from 16 on can be reset without a reboot, or are other localities'.
const FIRST_RESETTABLE: u32 = 16;

/// What to seal to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Whatever is approved for this gateway's class, now and later.
    Approved,
    /// The values that these PCRs have now. The one to be latched counts as
    /// after a reset, zero, so that sealing after a latch binds to the state
    /// before it.
    Current {
        /// Which, without the latched one.
        selection: PcrSelection,
        /// The one to be latched, where there is to be one.
        latch: Option<u32>,
    },
}

/// Seals `secret` under `name`.
///
/// # Errors
/// [`SealError`]; then nothing was written.
pub fn seal(
    tpm: &Tpm,
    state: &StateDir,
    name: &SecretName,
    policy: Policy,
    replace: bool,
    secret: &[u8],
) -> Result<Binding, SealError> {
    if !(1..=MAX_SECRET).contains(&secret.len()) {
        return Err(SealError::Length {
            len: secret.len(),
            max: MAX_SECRET,
        });
    }
    if !replace && Sealed::exists(state, name)? {
        return Err(SealError::Exists(name.to_string()));
    }
    let enrolled = state.require_enrolled()?;
    tpm.storage_root(Some(&enrolled.keys.srk_name))?;
    let (binding, digest) = bind(tpm, &enrolled, policy)?;
    let mut key = Zeroizing::new(vec![0; KEY_LEN]);
    SystemRandom::new()
        .fill(&mut key)
        .map_err(|_| SealError::Randomness)?;
    let object = tpm.seal(&enrolled.pinned_ek()?, digest, key.clone())?;
    Sealed::new(name, binding.clone(), object, &key, secret)?.write(state, name)?;
    Ok(binding)
}

/// The secret of `name`. With `latch`, extends that PCR before the secret is
/// handed out: until the next boot it comes out no more.
///
/// # Errors
/// [`SealError`]; a secret whose PCR could not be latched is not handed out.
pub fn unseal(
    tpm: &Tpm,
    state: &StateView,
    name: &SecretName,
    latch: Option<u32>,
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let sealed = Sealed::read(state, name)?;
    let enrolled = state.require_enrolled()?;
    tpm.storage_root(Some(&enrolled.keys.srk_name))?;
    let (unlock, selection) = unlock(tpm, state, &enrolled, &sealed.binding)?;
    if let Some(pcr) = latch {
        latchable(pcr)?;
        if !selection.pcrs.contains(pcr) {
            return Err(SealError::LatchOutsidePolicy {
                pcr,
                selection: selection.to_string(),
            });
        }
    }
    let key = tpm
        .unseal(&enrolled.pinned_ek()?, &sealed.object, &unlock)
        .map_err(|error| match (error, &sealed.binding) {
            (TpmError::PolicyRefused { .. }, Binding::Current { selection, .. }) => {
                SealError::OtherState {
                    selection: selection.to_string(),
                }
            }
            (error, _) => error.into(),
        })?;
    if let Some(pcr) = latch {
        tpm.latch(selection.hash, pcr)?;
    }
    sealed.open(name, &key)
}

/// # Errors
/// [`SealError::ResettablePcr`].
pub fn latchable(pcr: u32) -> Result<u32, SealError> {
    if pcr < FIRST_RESETTABLE {
        Ok(pcr)
    } else {
        Err(SealError::ResettablePcr(pcr))
    }
}

/// The object's policy, and what is remembered of it.
fn bind(tpm: &Tpm, enrolled: &Enrolled, policy: Policy) -> Result<(Binding, [u8; 32]), SealError> {
    match policy {
        Policy::Approved => {
            let (root, class) = (&enrolled.policy_root_name, &enrolled.class);
            let binding = Binding::Approved {
                class: class.clone(),
            };
            Ok((binding, object_policy(root, class, Purpose::Secret)))
        }
        Policy::Current { selection, latch } => {
            let mut values = tpm.read_pcrs(&selection)?;
            if let Some(pcr) = latch {
                let zero = vec![0; selection.hash.digest_len()];
                values.insert(latchable(pcr)?, zero);
            }
            let selection = PcrSelection {
                hash: selection.hash,
                pcrs: holdfast_proto::tpm::PcrSet::from_indices(values.keys().copied())
                    .expect("keys of a map ascend, and PCRs are below 24"),
            };
            let pcr_digest = pcr_digest(values.values().map(Vec::as_slice));
            let policy = policy_pcr(&selection, &pcr_digest);
            let binding = Binding::Current {
                selection,
                pcr_digest,
            };
            Ok((binding, policy))
        }
    }
}

fn unlock(
    tpm: &Tpm,
    state: &StateView,
    enrolled: &Enrolled,
    binding: &Binding,
) -> Result<(Unlock, PcrSelection), SealError> {
    match binding {
        Binding::Approved { class } => {
            if *class != enrolled.class {
                return Err(SealError::OtherClass {
                    named: enrolled.class.clone(),
                    wanted: class.clone(),
                });
            }
            let approved =
                OwnApprovals::on_file(state, enrolled)?.matching(tpm, Purpose::Secret)?;
            let selection = approved.selection;
            Ok((Unlock::Approved(Box::new(approved)), selection))
        }
        Binding::Current {
            selection,
            pcr_digest,
        } => {
            // The TPM decides; this only saves it a session.
            if approvals::present(tpm, selection)? != *pcr_digest {
                return Err(SealError::OtherState {
                    selection: selection.to_string(),
                });
            }
            Ok((Unlock::Pcrs(*selection), *selection))
        }
    }
}
