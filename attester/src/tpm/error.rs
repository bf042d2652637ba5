//! What can go wrong with a TPM, and what its operator can do about it.

use holdfast_proto::tpm::{HashAlg, Name, ParseError};
use thiserror::Error;

/// A TPM command, or a conversation with the TPM, that failed.
///
/// [`TpmError::next_step`] says what to do. Numbers are TPM 2.0 Library
/// Part 2 §6.6 response codes.
#[derive(Clone, Debug, Error)]
#[non_exhaustive]
pub enum TpmError {
    /// Nothing answers at the TCTI's address.
    #[error("no TPM at {tcti}: {reason}")]
    Unreachable {
        /// Where it was looked for.
        tcti: String,
        /// What the system said.
        reason: String,
    },
    /// The device exists; this user may not open it.
    #[error("permission denied on {device}")]
    Permission {
        /// The device node.
        device: String,
    },
    /// The library for this kind of TCTI is missing.
    #[error("libtss2 cannot load its driver for {tcti} (code {code:#x})")]
    DriverMissing {
        /// The TCTI whose driver was wanted.
        tcti: String,
        /// libtss2's code.
        code: u32,
    },
    /// The connection broke in the middle.
    #[error("{command}: the connection to the TPM broke (code {code:#x})")]
    ConnectionLost {
        /// The command under way.
        command: &'static str,
        /// libtss2's code.
        code: u32,
    },
    /// No answer within the limit.
    #[error("the TPM did not answer within {seconds} s")]
    NoAnswer {
        /// The limit.
        seconds: u64,
    },
    /// `TPM_RC_INITIALIZE`: nobody has sent `TPM2_Startup`.
    #[error("{command}: the TPM is not initialised (TPM_RC_INITIALIZE)")]
    NotInitialised {
        /// The refused command.
        command: &'static str,
    },
    /// `TPM_RC_FAILURE`: the TPM is in failure mode.
    #[error("{command}: the TPM is in failure mode (TPM_RC_FAILURE)")]
    FailureMode {
        /// The refused command.
        command: &'static str,
    },
    /// `TPM_RC_LOCKOUT`: dictionary-attack protection is active.
    #[error("{command}: the TPM is in dictionary-attack lockout (TPM_RC_LOCKOUT)")]
    LockedOut {
        /// The refused command.
        command: &'static str,
    },
    /// `TPM_RC_BAD_AUTH` or `TPM_RC_AUTH_FAIL`: the auth value is wrong. It is
    /// not tried again.
    #[error("{command}: authorisation refused (code {code:#x})")]
    AuthRefused {
        /// The refused command.
        command: &'static str,
        /// The TPM's code.
        code: u32,
    },
    /// `TPM_RC_HIERARCHY`: the hierarchy is disabled.
    #[error("{command}: the hierarchy is disabled (TPM_RC_HIERARCHY)")]
    HierarchyDisabled {
        /// The refused command.
        command: &'static str,
    },
    /// No room for an object or session.
    #[error("{command}: the TPM has no free slot (code {code:#x})")]
    NoFreeSlot {
        /// The refused command.
        command: &'static str,
        /// The TPM's code.
        code: u32,
    },
    /// The response's HMAC is wrong: something between here and the TPM
    /// changed it.
    #[error("{command}: the TPM's response was altered on its way (response HMAC wrong)")]
    ResponseAltered {
        /// The command whose response it was.
        command: &'static str,
    },
    /// The SRK handle holds something that cannot serve as our storage root.
    #[error("handle {handle:#010x} is occupied by something else: {found}")]
    HandleOccupied {
        /// The persistent handle.
        handle: u32,
        /// Why it does not fit.
        found: &'static str,
    },
    /// The storage root is not the one that this state was made with.
    #[error(
        "the storage root key at {handle:#010x} is {found}, not {pinned}: the TPM was cleared, or this state belongs to another TPM"
    )]
    OtherStorageRoot {
        /// The persistent handle.
        handle: u32,
        /// What is there now: a Name in hex, or "absent".
        found: String,
        /// What the state directory has pinned.
        pinned: Name,
    },
    /// `TPM_RC_INTEGRITY` on load: the blob was made by another TPM, or under
    /// another storage root.
    #[error("this TPM cannot load the key: it was made by another TPM (code {code:#x})")]
    KeyOfAnotherTpm {
        /// The TPM's code.
        code: u32,
    },
    /// No EK of the kind that was asked for.
    #[error("the TPM has no EK certificate in its NV memory{wanted}")]
    NoEkCertificate {
        /// " for …", or empty.
        wanted: String,
    },
    /// No device identity that can be used.
    #[error("the TPM has no usable IDevID and IAK: {lacks}")]
    NoDeviceIdentity {
        /// What is missing.
        lacks: &'static str,
    },
    /// Another key is where the OEM's was.
    #[error("the key at {handle:#010x} is not the IAK or IDevID that was there")]
    OtherDeviceKey {
        /// Where.
        handle: u32,
    },
    /// A required PCR is not there.
    #[error("the TPM has no value for PCR {index} in the {bank} bank")]
    PcrMissing {
        /// The bank.
        bank: &'static str,
        /// First missing index.
        index: u32,
    },
    /// PCR values kept changing while they were read or quoted.
    #[error("PCR values kept changing: {attempts} attempts to read them")]
    PcrsUnsteady {
        /// How often it was tried.
        attempts: u32,
    },
    /// The TPM cannot do an algorithm.
    #[error("{command}: the TPM does not support this algorithm or key size (code {code:#x})")]
    Unsupported {
        /// The refused command.
        command: &'static str,
        /// The TPM's code.
        code: u32,
    },
    /// Any other refusal.
    #[error("{command}: {text} (code {code:#x})")]
    Command {
        /// The refused command.
        command: &'static str,
        /// The raw response code, with its layer.
        code: u32,
        /// libtss2's words.
        text: String,
    },
    /// The TPM, or libtss2, gave something that is not what it should be.
    #[error("{what}: {source}")]
    Malformed {
        /// What was being read.
        what: &'static str,
        /// What is wrong with it.
        source: ParseError,
    },
    /// The digest in a quote is of an algorithm that cannot be.
    #[error("{what}: not a {} digest", alg.name())]
    WrongDigest {
        /// What was being read.
        what: &'static str,
        /// The algorithm needed.
        alg: HashAlg,
    },
    /// A certificate in NV is not DER.
    #[error("NV index {index:#010x}: {problem}")]
    NvContent {
        /// The NV index.
        index: u32,
        /// What is wrong.
        problem: &'static str,
    },
    /// The thread that owns the TPM ended.
    #[error("the TPM thread ended")]
    ThreadGone,
    /// The EK is not the one that enrolled: another TPM, or an answer that was
    /// made up on the bus.
    #[error("the TPM's EK makes UEID {found}, the one that enrolled makes {enrolled}")]
    OtherEndorsementKey {
        /// By the TPM's answer.
        found: String,
        /// By the enrolment.
        enrolled: String,
    },
    /// The Verifier sent an object that is not of the kind that was due.
    #[error(
        "the {what} that the verifier sent has other attributes or another scheme than a {what} has"
    )]
    NotAsExpected {
        /// What was due.
        what: &'static str,
    },
    /// The LDevID key is bound to boot states, and this is none of them.
    #[error(
        "the LDevID key is bound to approved boot states, and none of {count} approvals is of the \
         state that the TPM is in: it does not sign"
    )]
    BootNotApproved {
        /// How many are on file.
        count: usize,
    },
    /// The policy of an object does not hold: other PCR values, or a signature
    /// that is not by the key that the object names.
    #[error("{command}: the object's policy does not hold (code {code:#x})")]
    PolicyRefused {
        /// The refused command.
        command: &'static str,
        /// The TPM's code.
        code: u32,
    },
}

/// Codes of TPM 2.0 Library Part 2 §6.6.3, format-one ones without their
/// handle, session or parameter number.
pub(super) mod rc {
    pub(crate) const INITIALIZE: u32 = 0x100;
    pub(crate) const FAILURE: u32 = 0x101;
    pub(crate) const NV_AUTHORIZATION: u32 = 0x149;
    pub(crate) const NV_UNINITIALIZED: u32 = 0x14A;
    pub(crate) const ASYMMETRIC: u32 = 0x081;
    pub(crate) const HASH: u32 = 0x083;
    pub(crate) const VALUE: u32 = 0x084;
    pub(crate) const HIERARCHY: u32 = 0x085;
    pub(crate) const KEY_SIZE: u32 = 0x087;
    pub(crate) const HANDLE: u32 = 0x08B;
    pub(crate) const AUTH_FAIL: u32 = 0x08E;
    pub(crate) const SCHEME: u32 = 0x092;
    pub(crate) const SYMMETRIC: u32 = 0x096;
    pub(crate) const SIGNATURE: u32 = 0x09B;
    pub(crate) const POLICY_FAIL: u32 = 0x09D;
    pub(crate) const PCR_CHANGED: u32 = 0x128;
    pub(crate) const SIZE: u32 = 0x095;
    pub(crate) const INSUFFICIENT: u32 = 0x09A;
    pub(crate) const ECC_POINT: u32 = 0x0A7;
    pub(crate) const INTEGRITY: u32 = 0x09F;
    pub(crate) const BAD_AUTH: u32 = 0x0A2;
    pub(crate) const CURVE: u32 = 0x0A6;
    pub(crate) const OBJECT_MEMORY: u32 = 0x902;
    pub(crate) const SESSION_MEMORY: u32 = 0x903;
    pub(crate) const SESSION_HANDLES: u32 = 0x905;
    pub(crate) const OBJECT_HANDLES: u32 = 0x906;
    pub(crate) const YIELDED: u32 = 0x908;
    pub(crate) const TESTING: u32 = 0x90A;
    pub(crate) const LOCKOUT: u32 = 0x921;
    pub(crate) const RETRY: u32 = 0x922;
}

/// libtss2's layers (TSS 2.0 Overview §3): who made a response code.
const LAYER_TPM: u32 = 0;
const LAYER_ESYS: u32 = 7;
const LAYER_TCTI: u32 = 10;
const LAYER_RESMGR: u32 = 11;
const LAYER_RESMGR_TPM: u32 = 12;
/// `TSS2_BASE_RC_RSP_AUTH_FAILED`.
const RSP_AUTH_FAILED: u32 = 27;

impl TpmError {
    pub(super) fn from_tss(command: &'static str, error: tss_esapi::Error) -> Self {
        let Some(code) = raw_code(error) else {
            return Self::Command {
                command,
                code: 0,
                text: error.to_string(),
            };
        };
        match code >> 16 {
            LAYER_TPM | LAYER_RESMGR | LAYER_RESMGR_TPM => Self::from_rc(command, code, error),
            LAYER_TCTI => Self::ConnectionLost { command, code },
            LAYER_ESYS if code & 0xFFFF == RSP_AUTH_FAILED => Self::ResponseAltered { command },
            _ => Self::Command {
                command,
                code,
                text: "libtss2 refused it".to_owned(),
            },
        }
    }

    fn from_rc(command: &'static str, code: u32, error: tss_esapi::Error) -> Self {
        match base_code(code) {
            rc::INITIALIZE => Self::NotInitialised { command },
            rc::FAILURE => Self::FailureMode { command },
            rc::LOCKOUT => Self::LockedOut { command },
            rc::BAD_AUTH | rc::AUTH_FAIL => Self::AuthRefused { command, code },
            rc::HIERARCHY => Self::HierarchyDisabled { command },
            rc::POLICY_FAIL | rc::PCR_CHANGED => Self::PolicyRefused {
                command,
                code: base_code(code),
            },
            rc::OBJECT_MEMORY | rc::SESSION_MEMORY | rc::SESSION_HANDLES | rc::OBJECT_HANDLES => {
                Self::NoFreeSlot { command, code }
            }
            rc::ASYMMETRIC | rc::HASH | rc::KEY_SIZE | rc::SCHEME | rc::SYMMETRIC | rc::CURVE => {
                Self::Unsupported { command, code }
            }
            _ => Self::Command {
                command,
                code,
                text: error.to_string(),
            },
        }
    }

    /// The TPM's own code without layer and parameter number, where there is one.
    pub(super) fn base_code(&self) -> Option<u32> {
        match self {
            Self::Command { code, .. }
            | Self::AuthRefused { code, .. }
            | Self::Unsupported { code, .. }
            | Self::NoFreeSlot { code, .. } => Some(base_code(*code)),
            _ => None,
        }
    }

    /// "Try again" answers: the command was not started (Part 2 §6.6.3).
    pub(super) fn is_retryable(&self) -> bool {
        matches!(
            self.base_code(),
            Some(rc::RETRY | rc::YIELDED | rc::TESTING)
        )
    }

    /// The TPM is taken, restarting or gone for the moment: the same may do
    /// better later.
    pub(crate) fn is_passing(&self) -> bool {
        self.is_retryable()
            || matches!(
                self,
                Self::Unreachable { .. }
                    | Self::ConnectionLost { .. }
                    | Self::NoAnswer { .. }
                    | Self::NotInitialised { .. }
                    | Self::NoFreeSlot { .. }
                    | Self::ThreadGone
            )
    }

    /// An answer was altered, or none came: ESYS stays in an error state, and
    /// whoever wants to go on opens the TPM anew.
    pub(crate) fn ends_connection(&self) -> bool {
        matches!(
            self,
            Self::ResponseAltered { .. } | Self::ConnectionLost { .. }
        )
    }

    /// The index, object or session is not there.
    pub(super) fn is_absent(&self) -> bool {
        self.base_code() == Some(rc::HANDLE)
    }

    /// What the operator can do.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "check --tcti: does the device exist (is the TPM enabled in the firmware's setup?), is swtpm running on that port?"
            }
            Self::Permission { .. } => {
                "run as root, or add the user to the device's group (tss on Debian): usermod -aG tss USER"
            }
            Self::DriverMissing { .. } => {
                "install the driver: apt-get install libtss2-tcti-device0 libtss2-tcti-swtpm0 libtss2-tcti-tabrmd0"
            }
            Self::ConnectionLost { .. } => {
                "see whether the TPM or its resource manager was restarted, then run again"
            }
            Self::NoAnswer { .. } => {
                "see whether another program has the TPM (swtpm serves one at a time), and the kernel log (dmesg | grep -i tpm); a reboot resets a stuck TPM"
            }
            Self::NotInitialised { .. } => {
                "the firmware sends TPM2_Startup; for swtpm start it with --flags not-need-init,startup-clear"
            }
            Self::FailureMode { .. } => {
                "power-cycle the machine; if it stays, the TPM is defective"
            }
            Self::LockedOut { .. } => {
                "wait for the lockout to end (doctor shows the interval) or clear it: tpm2_dictionarylockout -c"
            }
            Self::AuthRefused { .. } => {
                "give the right hierarchy auth by --endorsement-auth-file / --owner-auth-file; a wrong one is not tried twice"
            }
            Self::HierarchyDisabled { .. } => {
                "enable the hierarchy in the firmware's TPM settings and reboot"
            }
            Self::NoFreeSlot { .. } => {
                "use the resource manager (device:/dev/tpmrm0); on a bare TPM flush what others left: tpm2_flushcontext -t -l -s"
            }
            Self::ResponseAltered { .. } => {
                "treat the machine as tampered with: something sits between the CPU and its TPM"
            }
            Self::HandleOccupied { .. } => {
                "choose a free persistent handle with --srk-handle (tpm2_getcap handles-persistent lists those in use)"
            }
            Self::OtherStorageRoot { .. } | Self::KeyOfAnotherTpm { .. } => {
                "a state directory works only with the TPM that made it; enrol anew with an empty --state-dir"
            }
            Self::NoEkCertificate { .. } => {
                "holdfast-attester doctor lists what the TPM has; fetch the certificate from the vendor into NV, or name a key by --ek and let the owner admit it"
            }
            Self::NoDeviceIdentity { .. } => {
                "holdfast-attester doctor lists what the OEM left in NV; ask the OEM to restore it, or use the EK road (--identity ek)"
            }
            Self::OtherDeviceKey { .. } => {
                "somebody replaced the OEM's key; restore it (the OEM can say how), or enrol anew"
            }
            Self::PcrMissing { .. } => {
                "enable that PCR bank in the firmware's setup (tpm2_pcrallocate), then reboot"
            }
            Self::PcrsUnsteady { .. } => {
                "wait until the system has finished booting, then run again"
            }
            Self::Unsupported { .. } => {
                "choose another --ek or --ak that doctor lists as supported"
            }
            Self::OtherEndorsementKey { .. } => {
                "the TPM was replaced, or something on its bus answers in its place: enrol anew with an empty --state-dir, or look at the board"
            }
            Self::BootNotApproved { .. } => {
                "boot a state that was approved; or have this one approved (holdfast-verifier seal approve, seal export) and bring the file: holdfast-attester seal approvals import FILE"
            }
            Self::PolicyRefused { .. } => {
                "boot the state that was approved, or have this one approved: holdfast-verifier seal approve"
            }
            Self::NotAsExpected { .. } => {
                "verifier and attester are of different versions, or the verifier is not to be trusted: tell its owner"
            }
            Self::NvContent { .. } => {
                "the certificate in NV is damaged; the vendor can say how to restore it"
            }
            Self::Command { .. }
            | Self::Malformed { .. }
            | Self::WrongDigest { .. }
            | Self::ThreadGone => "run holdfast-attester doctor, and report this with its output",
        }
    }
}

/// Format-one codes (bit 7) carry a parameter, handle or session number in
/// bits 6 and 8 to 11: take it away (Part 1 §39.4).
fn base_code(code: u32) -> u32 {
    let rc = code & 0xFFF;
    if rc & 0x80 != 0 { rc & 0xBF } else { rc }
}

/// The number behind a tss-esapi error. Its type has no accessor; its Display
/// is "Response code value: 0x…".
fn raw_code(error: tss_esapi::Error) -> Option<u32> {
    use tss_esapi::constants::response_code::Tss2ResponseCode;
    let shown = match error {
        tss_esapi::Error::Tss2Error(Tss2ResponseCode::FormatZero(code)) => code.to_string(),
        tss_esapi::Error::Tss2Error(Tss2ResponseCode::FormatOne(code)) => code.to_string(),
        _ => return None,
    };
    u32::from_str_radix(shown.rsplit("0x").next()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_off_format_one_codes() {
        assert_eq!(base_code(0x9A2), rc::BAD_AUTH);
        assert_eq!(base_code(0x98E), rc::AUTH_FAIL);
        assert_eq!(base_code(0x18B), rc::HANDLE);
        assert_eq!(base_code(0x1DF), rc::INTEGRITY);
        assert_eq!(base_code(0x922), rc::RETRY);
        assert_eq!(base_code(0x149), rc::NV_AUTHORIZATION);
    }
}
