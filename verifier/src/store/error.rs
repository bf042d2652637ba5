//! What a store refuses, and how it breaks.

use holdfast_proto::{
    binding::Ueid,
    secrets::{MAX_BYTES_OF_CLASS, MAX_NAMES, SecretName},
};

use super::{
    admissions::DeviceName,
    model::{LDEVIDS_IN_FORCE, Seconds, SuspensionKind},
};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The join token is not on record (any more).
    #[error("join token is unknown")]
    JoinTokenUnknown,
    /// The join token's time is over.
    #[error("join token expired at {expires}")]
    JoinTokenExpired {
        /// When it ended.
        expires: Seconds,
    },
    /// Every use of the join token was taken.
    #[error("join token has no uses left")]
    JoinTokenSpent,
    /// A join token with this secret exists already.
    #[error("join token exists already")]
    JoinTokenExists,
    /// The challenge has been answered by another request.
    #[error("challenge was spent by another request")]
    ChallengeSpent,
    /// The gateway's state does not allow this.
    #[error("gateway {id} is {blocked}")]
    Blocked {
        /// Which gateway.
        id: Ueid,
        /// Its state.
        blocked: Blocked,
    },
    /// Recovery of a gateway that holds a valid LDevID: it has Attest.
    #[error("gateway {id} holds a valid LDevID and needs no recovery")]
    NothingToRecover {
        /// Which gateway.
        id: Ueid,
    },
    /// No such gateway.
    #[error("gateway {id} is not on record")]
    UnknownGateway {
        /// Which gateway was asked for.
        id: Ueid,
    },
    /// A key belongs to one gateway only.
    #[error("{key} belongs to gateway {owner}")]
    KeyOfAnother {
        /// Which key.
        key: OwnedKey,
        /// Whose it is.
        owner: Ueid,
    },
    /// Its record has as many EKs as one may have.
    #[error("gateway {id} has shown as many EKs as a record may have")]
    TooManyEks {
        /// Which gateway.
        id: Ueid,
    },
    /// The product's serial number is not on its OEM's allow list (any more),
    /// or for another class.
    #[error("the product is not on the allow list of OEM {oem}")]
    SerialNotAllowed {
        /// Whose list.
        oem: String,
    },
    /// A CA that certified the gateway's IAK or IDevID was withdrawn since it was
    /// looked at.
    #[error("OEM {oem} was withdrawn")]
    OemWithdrawn {
        /// The owner's name for it.
        oem: String,
    },
    /// A CA with the key of this certificate was withdrawn of an OEM.
    #[error(
        "the key of certificate {sha256} ({subject}) is that of a CA of OEM {oem} that was \
         withdrawn (oem withdraw), and nothing was imported: leave it out, or, where that key is \
         to be trusted once more, import with --trust-again"
    )]
    OemCaWithdrawn {
        /// The owner's name for the OEM of which it was withdrawn.
        oem: String,
        /// Of its DER, hex.
        sha256: String,
        /// Its subject, inert.
        subject: String,
    },
    /// The gateway is bound to another IDevID.
    #[error("gateway {id} is bound to another IDevID")]
    OtherIdevid {
        /// Which gateway.
        id: Ueid,
    },
    /// The gateway's keys are not those that the evidence was checked with:
    /// it enrolled anew in between.
    #[error("gateway {id} has other keys now")]
    KeysChanged {
        /// Which gateway.
        id: Ueid,
    },
    /// The certificate that the caller authenticated with is revoked.
    #[error("LDevID of gateway {id} is revoked")]
    CertificateRevoked {
        /// Which gateway.
        id: Ueid,
    },
    /// It has as many LDevIDs in force as a gateway may have.
    #[error(
        "gateway {id} has {LDEVIDS_IN_FORCE} LDevIDs in force; the first of them ends at {until}"
    )]
    TooManyLdevids {
        /// Which gateway.
        id: Ueid,
        /// When there is room again.
        until: Seconds,
    },
    /// Evidence of the same time was recorded already: another exchange of the
    /// gateway was quicker.
    #[error("gateway {id} has been seen at a later TPM clock")]
    ClockFell {
        /// Which gateway.
        id: Ueid,
    },
    /// Within one TPM reset the clock fell, or the reset counter fell, since the
    /// challenge was made: a TPM that was put back, or a copy of it. The gateway
    /// is suspended for it.
    #[error(
        "the TPM of gateway {id} is behind what it showed before; if somebody cleared it \
         (TPM2_Clear) and it has the same IAK still: holdfast-verifier gateway reset-clock {id} \
         --reason …, gateway resume {id}, then enrol it"
    )]
    RolledBack {
        /// Which gateway.
        id: Ueid,
    },
    /// The gateway says that a boot log was sent before, but it was not.
    #[error("boot log is not on record")]
    BootLogUnknown,
    /// Another allow list was imported in between.
    #[error("version {version} of the allow list does not follow version {last}")]
    AllowListVersion {
        /// The version to be recorded.
        version: u64,
        /// The newest on record.
        last: u64,
    },
    /// The statement's version is not the next one.
    #[error(
        "reference values of class {class} are at version {newest}, the statement is for version \
         {stated}: look at what is in use (reference list), and sign version {}",
        newest.saturating_add(1)
    )]
    ReferenceVersion {
        /// Whose reference values.
        class: String,
        /// What the statement says.
        stated: u64,
        /// What is in use; 0 for none.
        newest: u64,
    },
    /// Approval of a gateway that is not suspended for its evidence.
    #[error(
        "gateway {id} is not suspended for its evidence: there is no drift to approve (gateway \
         show has its state; gateway resume lifts a suspension by the operator)"
    )]
    NotForEvidence {
        /// Which gateway.
        id: Ueid,
    },
    /// The gateway was refused for more than its reference values.
    #[error(
        "gateway {id} was refused for more than its reference values ({codes}): new values do not \
         answer that; see gateway show"
    )]
    NotApprovable {
        /// Which gateway.
        id: Ueid,
        /// The other reasons.
        codes: String,
    },
    /// The last quote is not the one that was looked at.
    #[error(
        "gateway {id} has quoted something else since, or nothing yet: look again (reference diff)"
    )]
    QuoteChanged {
        /// Which gateway.
        id: Ueid,
    },
    /// The owner has put something else in force since the appraisal began.
    #[error("another {what} than the gateway was appraised by is in force (class {class})")]
    Superseded {
        /// "policy", "reference values", "allow list".
        what: &'static str,
        /// As which class it was appraised.
        class: String,
    },
    /// Another policy was applied in between.
    #[error("version {version} of the policy does not follow version {last}")]
    PolicyVersion {
        /// The version to be recorded.
        version: u64,
        /// The newest on record.
        last: u64,
    },
    /// This certificate, or another with its serial number, is on record.
    #[error("operator's certificate {serial} is on record already")]
    OperatorExists {
        /// Serial number, hex.
        serial: String,
    },
    /// No such certificate that is not revoked yet.
    #[error("no operator's certificate {serial} is on record that could be revoked")]
    UnknownOperator {
        /// Serial number as asked for.
        serial: String,
    },
    /// Another endorsement bundle was applied in between.
    #[error("version {version} of the endorsement bundle does not follow version {last}")]
    EndorsementVersion {
        /// The version to be recorded.
        version: u64,
        /// The newest on record.
        last: u64,
    },
    /// The device is admitted already.
    #[error("{name} is admitted already")]
    DeviceExists {
        /// Which.
        name: DeviceName,
    },
    /// The device is not admitted (any more).
    #[error("{name} is not admitted")]
    UnknownDevice {
        /// Which.
        name: DeviceName,
    },
    /// Nothing waits under this id.
    #[error("gateway {id} does not wait for approval")]
    UnknownPending {
        /// Which.
        id: Ueid,
    },
    /// The owner turned it away.
    #[error("gateway {id} was denied: admission approve or admission forget lifts that")]
    PendingDenied {
        /// Which.
        id: Ueid,
    },
    /// Too many wait already.
    #[error("too many gateways wait for approval, in all or from this address")]
    PendingFull,
    /// It cannot take the place of the broken one.
    #[error("gateway {new} cannot take its place: {why}")]
    NotAReplacement {
        /// Which.
        new: Ueid,
        /// Why.
        why: &'static str,
    },
    /// The store was brought back from a backup, and nobody has said yet that
    /// what was taken away since is taken away again.
    #[error(
        "the verifier was restored from backup {backup} and that is not confirmed: look at what \
         was revoked, denied and removed since, then holdfast-verifier confirm-restore"
    )]
    RestoreUnconfirmed {
        /// Id of the backup.
        backup: String,
    },
    /// No restore of this backup waits for confirmation.
    #[error("no restore of backup {backup} waits for confirmation")]
    UnknownRestore {
        /// Id as given.
        backup: String,
    },
    /// The secrets of the class were changed in between.
    #[error("the secrets of class {class} were changed in between: at {found} now, not {expected}")]
    SecretsChanged {
        /// Whose gateways they are for.
        class: String,
        /// The count that was expected.
        expected: u64,
        /// The count on record.
        found: u64,
    },
    /// A full attestation, or another stream, ended the key's epoch.
    #[error("the epoch of the heartbeat key of gateway {id} has ended")]
    EpochEnded {
        /// Whose.
        id: Ueid,
    },
    /// It was sent the same too often of late.
    #[error(
        "gateway {id} was sent these secrets before, and too often of late to be sent them now"
    )]
    RedeliverySpent {
        /// To whom.
        id: Ueid,
    },
    /// More names or bytes than the gateways of a class are sent.
    #[error(
        "class {class} has all the secrets that a class may have: {MAX_NAMES} names, \
         {MAX_BYTES_OF_CLASS} bytes in all; revoke one first"
    )]
    SecretsFull {
        /// Whose gateways they are for.
        class: String,
    },
    /// No version of it is in force.
    #[error("no secret {name} of class {class} is in force")]
    UnknownSecret {
        /// Whose gateways it would be for.
        class: String,
        /// Its name.
        name: SecretName,
    },
    /// A row that no version of this program wrote.
    #[error("store holds an unreadable {column} in {table}")]
    Corrupt {
        /// Table.
        table: &'static str,
        /// Column.
        column: &'static str,
    },
    /// The database cannot be opened or brought to this version's schema.
    #[error("store cannot be opened")]
    Open(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The database failed.
    #[error("store failed")]
    Database(#[from] sqlx::Error),
}

/// A key that belongs to one gateway at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnedKey {
    /// Attestation key.
    Ak,
    /// LDevID key.
    Ldevid,
    /// Endorsement key.
    Ek,
    /// IDevID key.
    Idevid,
    /// Not a key, but as good as one: an OEM's serial number of a product.
    Product,
}

impl std::fmt::Display for OwnedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ak => "AK",
            Self::Ldevid => "LDevID key",
            Self::Ek => "EK",
            Self::Idevid => "IDevID key",
            Self::Product => "product serial number",
        })
    }
}

/// A state that blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// Suspended, and why.
    Suspended(SuspensionKind),
    /// Revoked for ever.
    Revoked,
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Suspended(kind) => write!(f, "suspended for {kind}"),
            Self::Revoked => f.write_str("revoked"),
        }
    }
}
