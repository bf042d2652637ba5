//! The approvals that this gateway has: of its own class, under the policy root
//! that its bundle pinned, every signature checked.

use std::io::Read;
use std::path::Path;

use holdfast_proto::grpc::v1;
use holdfast_proto::sealing::{Approval, Approvals, Authority, Purpose, policy_ref};
use holdfast_proto::tpm::Name;
use holdfast_proto::tpm::{PcrSelection, Public};
use prost::Message as _;
use ring::digest::{SHA256, digest};
use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

use super::SealError;
use crate::state::{Enrolled, StateDir, StateError, StateView};
use crate::tpm::{ApprovedState, Tpm};

const FILE: &str = "seal-approvals";
/// More than the longest text.
const MAX_FILE: u64 = 64 * 1024;

/// What `holdfast-verifier seal export` wrote; nothing of it is checked yet.
///
/// # Errors
/// [`SealError::ApprovalsFile`].
pub fn read_approvals(path: &Path) -> Result<Approvals, SealError> {
    let file = std::fs::File::open(path).map_err(|e| unreadable(path, e))?;
    read_approvals_from(path, file)
}

/// The same from a reader; `path` is for words alone.
///
/// # Errors
/// As [`read_approvals`].
pub fn read_approvals_from(path: &Path, reader: impl Read) -> Result<Approvals, SealError> {
    let mut text = String::new();
    reader
        .take(MAX_FILE)
        .read_to_string(&mut text)
        .map_err(|e| unreadable(path, e))?;
    Approvals::from_text(&text).map_err(|e| unreadable(path, e))
}

fn unreadable(path: &Path, problem: impl std::fmt::Display) -> SealError {
    SealError::ApprovalsFile {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

/// Approvals that this gateway may go by.
#[derive(Clone, Debug)]
pub struct OwnApprovals(Approvals);

impl OwnApprovals {
    /// # Errors
    /// [`SealError::OtherRoot`], [`SealError::OtherClass`], or the signature
    /// that does not hold.
    pub fn check(approvals: Approvals, enrolled: &Enrolled) -> Result<Self, SealError> {
        Self::check_for(approvals, &enrolled.policy_root_name, &enrolled.class)
    }

    /// The same for a gateway that is to be enrolled: what its bundle says.
    ///
    /// # Errors
    /// As [`OwnApprovals::check`].
    pub fn check_for(approvals: Approvals, root: &Name, class: &str) -> Result<Self, SealError> {
        let named = approvals.root_name();
        if named != *root {
            return Err(SealError::OtherRoot {
                named,
                pinned: root.clone(),
            });
        }
        if approvals.class != class {
            return Err(SealError::OtherClass {
                named: approvals.class,
                wanted: class.to_owned(),
            });
        }
        approvals.verify(is_signed)?;
        Ok(Self(approvals))
    }

    /// What they say.
    #[must_use]
    pub fn approvals(&self) -> &Approvals {
        &self.0
    }

    /// Those on file.
    ///
    /// # Errors
    /// [`SealError::NoApprovals`] where there are none.
    pub fn on_file(state: &StateView, enrolled: &Enrolled) -> Result<Self, SealError> {
        let bytes = state
            .read_file(FILE, MAX_FILE)?
            .ok_or_else(|| SealError::NoApprovals {
                class: enrolled.class.clone(),
            })?;
        let approvals = Approvals::from_text(&String::from_utf8_lossy(&bytes))?;
        Self::check(approvals, enrolled)
    }

    /// Keeps them in place of those on file.
    ///
    /// # Errors
    /// [`SealError::State`].
    pub fn keep(&self, state: &StateDir) -> Result<(), SealError> {
        Ok(state.write_file(FILE, self.0.to_text().as_bytes())?)
    }

    /// All of them, newest first.
    #[must_use]
    pub fn states(&self, purpose: Purpose) -> Vec<ApprovedState> {
        let of = |authority: &'_ Authority| -> Vec<ApprovedState> {
            let approvals = authority.approvals.iter();
            approvals
                .map(|approval| self.state(authority, approval, purpose))
                .collect()
        };
        self.0.authorities.iter().flat_map(of).collect()
    }

    fn state(&self, by: &Authority, approval: &Approval, purpose: Purpose) -> ApprovedState {
        ApprovedState {
            selection: approval.selection,
            pcr_digest: approval.pcr_digest,
            policy_ref: policy_ref(&self.0.class, purpose),
            key: by.key.clone(),
            approval: *approval.signatures.of(purpose),
            root: self.0.root.clone(),
            delegation: *by.delegations.of(purpose),
        }
    }

    /// The approval of the state that the TPM has now, newest first.
    ///
    /// # Errors
    /// [`SealError::NotApproved`] where there is none.
    pub fn matching(&self, tpm: &Tpm, purpose: Purpose) -> Result<ApprovedState, SealError> {
        let (mut count, mut nearest) = (0, None);
        for authority in &self.0.authorities {
            for approval in &authority.approvals {
                count += 1;
                if present(tpm, &approval.selection)? != approval.pcr_digest {
                    nearest.get_or_insert(approval.selection);
                    continue;
                }
                return Ok(self.state(authority, approval, purpose));
            }
        }
        match nearest {
            Some(selection) => Err(SealError::NotApproved {
                count,
                selection: selection.to_string(),
            }),
            None => Err(SealError::NoApprovals {
                class: self.0.class.clone(),
            }),
        }
    }
}

/// Gives the LDevID key of an enrolment, where it is bound to boot states, the
/// approvals on file. Approvals that cannot be used leave it with none: it then
/// does not sign, and says so.
pub(crate) fn equip(
    mut enrolled: Enrolled,
    read: impl FnOnce(&str, u64) -> Result<Option<Vec<u8>>, StateError>,
) -> Result<Enrolled, StateError> {
    if !enrolled.keys.ldevid.is_bound() {
        return Ok(enrolled);
    }
    let Some(bytes) = read(FILE, MAX_FILE)? else {
        return Ok(enrolled);
    };
    let own = Approvals::from_text(&String::from_utf8_lossy(&bytes))
        .map_err(SealError::from)
        .and_then(|approvals| OwnApprovals::check(approvals, &enrolled));
    match own {
        Ok(own) => {
            let states = own.states(Purpose::LdevidKey);
            enrolled.keys.ldevid = enrolled.keys.ldevid.approved_for(states);
        }
        Err(error) => tracing::warn!(%error, "approvals for the LDevID key"),
    }
    Ok(enrolled)
}

/// SHA-256 of the message on file, for `known_seal_approvals_sha256`; empty
/// where there is none, or what there is cannot be read.
///
/// # Errors
/// [`SealError::State`].
pub fn held(state: &StateDir) -> Result<Vec<u8>, SealError> {
    let Some(bytes) = state.read_file(FILE, MAX_FILE)? else {
        return Ok(Vec::new());
    };
    let read = Approvals::from_text(&String::from_utf8_lossy(&bytes));
    Ok(read.map_or_else(
        |_| Vec::new(),
        |approvals| {
            let message = approvals.to_message().encode_to_vec();
            digest(&SHA256, &message).as_ref().to_vec()
        },
    ))
}

/// Keeps what the Verifier sent, where it is for this gateway.
///
/// # Errors
/// As [`OwnApprovals::check`].
pub fn take_in(
    state: &StateDir,
    enrolled: &Enrolled,
    message: v1::SealApprovals,
) -> Result<(), SealError> {
    OwnApprovals::check(Approvals::from_message(message)?, enrolled)?.keep(state)
}

/// SHA-256 over the present values of a selection.
pub(super) fn present(tpm: &Tpm, selection: &PcrSelection) -> Result<[u8; 32], SealError> {
    let values = tpm.read_pcrs(selection)?;
    Ok(holdfast_proto::sealing::pcr_digest(
        values.values().map(Vec::as_slice),
    ))
}

fn is_signed(key: &Public, message: &[u8], signature: &[u8; 64]) -> bool {
    key.to_ec_point().is_ok_and(|point| {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
            .verify(message, signature)
            .is_ok()
    })
}
