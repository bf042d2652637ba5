//! What the Verifier, or the road to it, said no to, in words for the
//! operator.

use std::time::Duration;

use holdfast_proto::grpc::v1;
use holdfast_proto::tpm::templates::EkTemplate;
use rustls::CertificateError;
use thiserror::Error;
use tonic::{Code, Status};

/// Why a conversation failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nothing answers there.
    #[error("cannot reach {server}: {source}")]
    Unreachable {
        /// `host:port`.
        server: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// No connection within the limit.
    #[error("{server} did not finish the TLS handshake within {} s", limit.as_secs())]
    Timeout {
        /// `host:port`.
        server: String,
        /// The limit.
        limit: Duration,
    },
    /// The server is not the one that the bundle pins.
    #[error("{server} is not the pinned verifier {name}: {reason}")]
    Untrusted {
        /// `host:port`.
        server: String,
        /// The expected name.
        name: String,
        /// rustls' reason.
        reason: String,
        /// Whether the reason is a date: then it may be our own that is wrong.
        date: bool,
    },
    /// TLS failed in another way.
    #[error("TLS with {server} failed: {reason}")]
    Handshake {
        /// `host:port`.
        server: String,
        /// rustls' reason.
        reason: String,
    },
    /// The pinned CA certificate cannot be a trust anchor.
    #[error("the pinned CA certificate is unusable: {0}")]
    PinnedCa(rustls::Error),
    /// rustls refused its settings.
    #[error("TLS set-up: {0}")]
    Tls(rustls::Error),
    /// rustls gave no exporter.
    #[error("TLS exporter: {0}")]
    Exporter(rustls::Error),
    /// Neither a DNS name nor an address.
    #[error("{0:?} is not a server name")]
    ServerName(String),
    /// HTTP/2 did not start.
    #[error("HTTP/2: {0}")]
    Transport(tonic::transport::Error),
    /// The server ended TLS with a fatal alert: it does not accept the LDevID.
    #[error("the verifier does not accept this gateway's LDevID (TLS alert {alert})")]
    IdentityRefused {
        /// The alert, by rustls' name.
        alert: String,
    },
    /// The Verifier refused the call, or the connection broke under it.
    #[error("{call}: {}", describe(status))]
    Refused {
        /// The gRPC method.
        call: &'static str,
        /// Its status.
        status: Box<Status>,
    },
    /// The answer is not what the contract says.
    #[error("{call}: the verifier's answer {problem}")]
    BadAnswer {
        /// The gRPC method.
        call: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What the Verifier concluded, free of characters that a terminal obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether it is affirming.
    pub affirming: bool,
    /// Why, and what to do.
    pub reasons: Vec<v1::Reason>,
    /// The attestation result, signed by the Verifier.
    pub ear_jwt: String,
}

impl Verdict {
    pub(crate) fn from_answer(
        call: &'static str,
        verdict: Option<v1::Verdict>,
    ) -> Result<Self, ClientError> {
        let verdict = verdict.ok_or(ClientError::BadAnswer {
            call,
            problem: "holds no verdict",
        })?;
        let reasons = verdict
            .reasons
            .into_iter()
            .map(|reason| v1::Reason {
                code: inert(&reason.code),
                detail: inert(&reason.detail),
                next_step: inert(&reason.next_step),
            })
            .collect();
        Ok(Self {
            affirming: verdict.affirming,
            reasons,
            ear_jwt: inert(&verdict.ear_jwt),
        })
    }
}

impl ClientError {
    pub(super) fn from_handshake(server: &str, name: &str, error: std::io::Error) -> Self {
        let server = server.to_owned();
        let tls = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(reason)) => Self::Untrusted {
                server,
                name: name.to_owned(),
                reason: reason.to_string(),
                date: matches!(
                    reason,
                    CertificateError::Expired
                        | CertificateError::ExpiredContext { .. }
                        | CertificateError::NotValidYet
                        | CertificateError::NotValidYetContext { .. }
                ),
            },
            Some(rustls::Error::AlertReceived(alert)) => Self::Handshake {
                server,
                reason: format!("the server refused it ({alert:?})"),
            },
            Some(other) => Self::Handshake {
                server,
                reason: other.to_string(),
            },
            None => Self::Handshake {
                server,
                reason: error.to_string(),
            },
        }
    }

    /// Whether the connection broke, or the server was busy: the same call may
    /// do better later.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Transport(_) => true,
            // A server that restarts closes in the middle of a handshake.
            Self::Handshake { reason, .. } => reason.contains("eof") || reason.contains("reset"),
            Self::Refused { status, .. } => {
                matches!(
                    status.code(),
                    Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded
                ) || is_broken_connection(status)
            }
            _ => false,
        }
    }

    /// Whether the Verifier does not accept the LDevID.
    #[must_use]
    pub fn is_identity_refused(&self) -> bool {
        match self {
            Self::IdentityRefused { .. } => true,
            Self::Refused { status, .. } => status.code() == Code::Unauthenticated,
            _ => false,
        }
    }

    /// The Verifier's own name for its refusal, where it gave one.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        match self {
            Self::Refused { status, .. } => kind_of(status),
            _ => None,
        }
    }

    /// The EK templates that the Verifier wants to see as well, where that is why
    /// it refused; empty where it is not.
    pub(crate) fn missing_eks(&self) -> Vec<EkTemplate> {
        let Self::Refused { status, .. } = self else {
            return Vec::new();
        };
        if kind_of(status) != Some("eks-missing") {
            return Vec::new();
        }
        let labels = status.metadata().get(MISSING_EKS);
        let labels = labels.and_then(|labels| labels.to_str().ok());
        crate::enrolment::exchange::templates(labels.unwrap_or_default().split(',').map(str::trim))
    }

    /// Whether the server's certificate does not fit the date: then our own
    /// clock may be wrong, and be put right.
    #[must_use]
    pub fn is_about_a_date(&self) -> bool {
        matches!(self, Self::Untrusted { date: true, .. })
    }

    /// When the Verifier wants to be asked again, where it said so
    /// (`grpc-retry-pushback-ms`, gRPC proposal A6).
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let Self::Refused { status, .. } = self else {
            return None;
        };
        let asked = status.metadata().get(RETRY_PUSHBACK)?.to_str().ok()?;
        asked.parse().ok().map(Duration::from_millis)
    }

    /// What the operator can do.
    #[must_use]
    pub fn next_step(&self) -> &'static str {
        match self {
            Self::IdentityRefused { .. } => {
                "the LDevID is expired, revoked or suspended (holdfast-attester status): after silence or expiry use recover, otherwise ask the verifier's owner (gateway show ID)"
            }
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Transport(_) => {
                "check that the verifier is running and that a firewall lets this gateway reach it"
            }
            Self::Untrusted { date: true, .. } => {
                "check this machine's clock (date); where it is right, the verifier's owner renews the server's certificate"
            }
            Self::Untrusted { .. } => {
                "somebody else answers at this address, or the server's certificate was replaced: get a new bundle from the verifier's owner"
            }
            Self::Handshake { .. } | Self::Tls(_) | Self::Exporter(_) => {
                "check that the address leads to holdfast-verifier itself: TLS must end there, not in a proxy"
            }
            Self::PinnedCa(_) | Self::ServerName(_) => {
                "get a new bundle: holdfast-verifier token create"
            }
            Self::BadAnswer { .. } => "check that verifier and attester are of the same release",
            Self::Refused { status, .. } => next_step_of(status),
        }
    }
}

/// Metadata key of a refusal's stable kind.
const KIND: &str = "holdfast-kind";

/// Metadata key of the EK templates to be shown, by label, between commas.
const MISSING_EKS: &str = "holdfast-missing-eks";

/// Metadata key of a wish for a pause, in milliseconds.
const RETRY_PUSHBACK: &str = "grpc-retry-pushback-ms";

/// Whether the Verifier wants the IMA log from its first entry.
pub(crate) fn is_ima_resync(status: &Status) -> bool {
    kind_of(status) == Some("ima-resync")
}

fn kind_of(status: &Status) -> Option<&str> {
    let kind = status.metadata().get(KIND)?;
    kind.to_str().ok()
}

/// By the Verifier's own kind where it gave one, else by the gRPC code.
fn next_step_of(status: &Status) -> &'static str {
    match (kind_of(status), status.code()) {
        (Some("not-admitted"), _) => "get a new bundle from the verifier's owner: token create",
        (Some("awaiting-approval"), _) => {
            "the verifier's owner approves it (holdfast-verifier admission pending, admission approve ID); `enroll --wait` asks until then"
        }
        (Some("queue-full"), _) => {
            "ask the verifier's owner to look at those that wait: holdfast-verifier admission pending"
        }
        (Some("too-many-ldevids"), _) => {
            "attest without --renew: a renewal is due at two thirds of an LDevID's life"
        }
        (Some("restore-unconfirmed"), _) => {
            "come again later: the verifier's owner first looks at what was revoked since the backup"
        }
        (Some("not-endorsed"), _) => {
            "the verifier's owner imports the TPM vendor's certificates (endorsement import), or accepts this kind of EK (accepted_eks in config.toml); doctor shows what this TPM has"
        }
        (Some("eks-missing"), _) => {
            "the verifier's owner wants to see EKs that this TPM or this attester does not have: its accepted_eks names them; with [endorsement] eks = \"any\" one is enough"
        }
        (Some("key-of-another"), _) => {
            "this TPM is on record by another of its EKs, or by its IAK: enrol by that one (--ek, --identity); else ask the verifier's owner: gateway list"
        }
        (Some("blocked"), _) => {
            "ask the verifier's owner: gateway show ID; after a resume, holdfast-attester recover"
        }
        (Some("boot-log-malformed"), _) => {
            "the verifier cannot read this machine's boot log: holdfast-verifier inspect boot-log FILE says where it breaks; to go without, name a file that does not exist by --boot-log"
        }
        (Some("nothing-to-recover"), _) => "holdfast-attester attest --renew",
        (Some("ldevid-not-good" | "no-ldevid"), _) => {
            "after expiry or silence holdfast-attester recover, else ask the verifier's owner: gateway show ID"
        }
        (Some("ima-resync"), _) => {
            "the IMA log does not lead to PCR 10 as quoted: see whether another program extends PCR 10, or a kexec began the log anew; then reboot"
        }
        (Some("stale" | "not-authentic" | "overtaken"), _)
        | (_, Code::FailedPrecondition | Code::Aborted) => {
            "run the command again; if it stays, see the verifier's log"
        }
        (_, Code::PermissionDenied | Code::Unauthenticated) => {
            "ask the verifier's owner: is the join token spent or expired, the gateway revoked or suspended? (gateway show ID, token create)"
        }
        (_, Code::InvalidArgument) => {
            "the verifier could not use what this TPM gave: run holdfast-attester doctor; the verifier's log names the cause"
        }
        (_, Code::NotFound) => "this gateway is not on record there: enrol it with a join token",
        (_, Code::ResourceExhausted) => {
            "wait a minute, then run again: the verifier limits how often a gateway may ask"
        }
        (_, Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled) => {
            "run the command again; if it stays, see the verifier's log"
        }
        _ => "see the verifier's log: it has the cause under this request's id",
    }
}

/// tonic reports a connection that broke under a call as Unknown, Cancelled or
/// Unavailable, with the cause as source; a server's own status has no source.
fn is_broken_connection(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
        && matches!(
            status.code(),
            Code::Unknown | Code::Cancelled | Code::Unavailable | Code::Internal
        )
}

fn describe(status: &Status) -> String {
    let message = inert(status.message());
    match std::error::Error::source(status) {
        Some(_) => format!("connection broke: {}", inert(&chain(status))),
        None if message.is_empty() => status.code().description().to_owned(),
        None => format!("{message} ({:?})", status.code()),
    }
}

/// An error with all its causes.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = String::new();
    let mut next = error.source();
    while let Some(error) = next {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}

/// The peer's text without what a terminal obeys: control characters, and the
/// format characters that hide text or show it in another order.
pub(crate) fn inert(text: &str) -> String {
    text.chars()
        .map(|c| if is_obeyed(c) { '\u{FFFD}' } else { c })
        .collect()
}

fn is_obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}'
            | '\u{2060}'..='\u{206F}' | '\u{FEFF}' | '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adv_a27_what_a_terminal_obeys_is_taken_out() {
        for obeyed in [
            '\u{1B}',
            '\u{9B}',
            '\r',
            '\n',
            '\u{7F}',
            '\u{202E}',
            '\u{2066}',
            '\u{200B}',
            '\u{2028}',
            '\u{FEFF}',
            '\u{E0041}',
        ] {
            let shown = inert(&format!("a{obeyed}b"));
            assert_eq!(shown, "a\u{FFFD}b", "{:x}", u32::from(obeyed));
        }
        assert_eq!(inert("Zürich 漢字 \"x\""), "Zürich 漢字 \"x\"");
    }

    #[test]
    fn missing_eks_are_read_of_their_own_refusal_alone() {
        let missing = |kind: &'static str, labels: &'static str| {
            let mut status = Status::new(Code::FailedPrecondition, "more");
            let value = tonic::metadata::MetadataValue::from_static;
            status.metadata_mut().insert(KIND, value(kind));
            status.metadata_mut().insert(MISSING_EKS, value(labels));
            let call = "RequestChallenge";
            let status = Box::new(status);
            ClientError::Refused { call, status }.missing_eks()
        };
        assert_eq!(
            missing("eks-missing", "L-1, H-3"),
            [EkTemplate::L1, EkTemplate::H3]
        );
        // Of a later verifier.
        assert_eq!(missing("eks-missing", "L-1,X-9"), [EkTemplate::L1]);
        assert_eq!(missing("eks-missing", ""), []);
        assert_eq!(missing("stale", "L-1"), []);
    }

    #[test]
    fn a_wish_for_a_pause_is_read() {
        let refused = |value: &'static str| {
            let mut status = Status::new(Code::ResourceExhausted, "later");
            let value = tonic::metadata::MetadataValue::from_static(value);
            status.metadata_mut().insert(RETRY_PUSHBACK, value);
            ClientError::Refused {
                call: "Attest",
                status: Box::new(status),
            }
        };
        assert_eq!(
            refused("60000").retry_after(),
            Some(Duration::from_secs(60))
        );
        // A negative value means "do not retry": the daemon's own pause holds.
        for none in ["-1", "", "1e3", "99999999999999999999"] {
            assert_eq!(refused(none).retry_after(), None, "{none}");
        }
    }

    #[test]
    fn a_wrong_clock_is_not_called_an_intruder() {
        let failed = |reason| {
            let error = rustls::Error::InvalidCertificate(reason);
            ClientError::from_handshake("v:1", "v", std::io::Error::other(error)).next_step()
        };
        for reason in [CertificateError::NotValidYet, CertificateError::Expired] {
            assert!(failed(reason).contains("clock"));
        }
        assert!(!failed(CertificateError::UnknownIssuer).contains("clock"));
    }
}
