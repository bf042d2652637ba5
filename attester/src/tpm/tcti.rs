//! How to reach the TPM: the TCTI name that an operator gives.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;
use tss_esapi::tcti_ldr::TctiNameConf;

/// The device with the kernel's resource manager: the one to use on a gateway.
pub const DEFAULT_DEVICE: &str = "/dev/tpmrm0";
/// swtpm's and libtss2's default TCP port.
const DEFAULT_SWTPM_PORT: u16 = 2321;

/// A TPM's address, in the notation of tpm2-tools (`-T`): `device:PATH`,
/// `swtpm:host=HOST,port=PORT` or `tabrmd:[bus_name=…,bus_type=…]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TctiName {
    /// A character device, by default [`DEFAULT_DEVICE`].
    Device(PathBuf),
    /// A software TPM over TCP.
    Swtpm {
        /// Host name or IP address.
        host: String,
        /// Port of the command channel; the control channel is the next one.
        port: u16,
    },
    /// The user-space resource manager tpm2-abrmd, with its settings.
    Tabrmd(String),
}

/// Why a TCTI name cannot be used.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TctiNameError {
    /// Not one of the three kinds.
    #[error(
        "TCTI {0:?} is not known; use device:/dev/tpmrm0, swtpm:host=127.0.0.1,port=2321 or tabrmd:"
    )]
    UnknownKind(String),
    /// tss-esapi 7.x hands libtss2 nothing but host and port.
    #[error(
        "TCTI swtpm:path={0} (a Unix socket) cannot be used: this TSS speaks to swtpm over TCP only; \
         start swtpm with --server type=tcp,port=2321 --ctrl type=tcp,port=2322 and use swtpm:host=127.0.0.1,port=2321"
    )]
    UnixSocket(String),
    /// A key that the kind does not have.
    #[error("TCTI setting {0:?} is not known; swtpm takes host=…,port=…")]
    UnknownSetting(String),
    /// A value that cannot be meant.
    #[error("TCTI setting {key}={value:?} is not valid")]
    BadValue {
        /// Which setting.
        key: &'static str,
        /// What it held.
        value: String,
    },
}

impl TctiName {
    /// Whether each connection has the TPM for itself, without a resource
    /// manager: then whatever is loaded at connect is a crashed run's left-over.
    pub(super) fn is_exclusive(&self) -> bool {
        matches!(self, Self::Swtpm { .. })
    }

    pub(super) fn to_tss(&self) -> Result<TctiNameConf, tss_esapi::Error> {
        TctiNameConf::from_str(&self.to_string())
    }
}

impl Default for TctiName {
    fn default() -> Self {
        Self::Device(PathBuf::from(DEFAULT_DEVICE))
    }
}

impl fmt::Display for TctiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(path) => write!(f, "device:{}", path.display()),
            Self::Swtpm { host, port } => write!(f, "swtpm:host={host},port={port}"),
            Self::Tabrmd(settings) if settings.is_empty() => f.write_str("tabrmd"),
            Self::Tabrmd(settings) => write!(f, "tabrmd:{settings}"),
        }
    }
}

impl FromStr for TctiName {
    type Err = TctiNameError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let (kind, settings) = name.split_once(':').unwrap_or((name, ""));
        match kind {
            "device" if settings.is_empty() => Ok(Self::default()),
            "device" => Ok(Self::Device(PathBuf::from(settings))),
            "swtpm" => parse_swtpm(settings),
            "tabrmd" => Ok(Self::Tabrmd(settings.to_owned())),
            _ => Err(TctiNameError::UnknownKind(name.to_owned())),
        }
    }
}

fn parse_swtpm(settings: &str) -> Result<TctiName, TctiNameError> {
    let mut host = "127.0.0.1".to_owned();
    let mut port = DEFAULT_SWTPM_PORT;
    for setting in settings.split(',').filter(|s| !s.is_empty()) {
        match setting.split_once('=') {
            Some(("host", value)) if !value.is_empty() => value.clone_into(&mut host),
            Some(("host", value)) => {
                return Err(TctiNameError::BadValue {
                    key: "host",
                    value: value.to_owned(),
                });
            }
            Some(("port", value)) => {
                port = value.parse().map_err(|_| TctiNameError::BadValue {
                    key: "port",
                    value: value.to_owned(),
                })?;
            }
            Some(("path", value)) => return Err(TctiNameError::UnixSocket(value.to_owned())),
            _ => return Err(TctiNameError::UnknownSetting(setting.to_owned())),
        }
    }
    Ok(TctiName::Swtpm { host, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_print() {
        for name in [
            "device:/dev/tpm0",
            "swtpm:host=127.0.0.1,port=2321",
            "tabrmd",
        ] {
            assert_eq!(name.parse::<TctiName>().unwrap().to_string(), name);
        }
        assert_eq!("device".parse::<TctiName>().unwrap(), TctiName::default());
        assert_eq!(
            "tabrmd:".parse::<TctiName>().unwrap(),
            TctiName::Tabrmd(String::new())
        );
    }

    #[test]
    fn unix_socket_names_the_tcp_form() {
        let error = "swtpm:path=/run/s".parse::<TctiName>().unwrap_err();
        assert_eq!(error, TctiNameError::UnixSocket("/run/s".into()));
        assert!(error.to_string().contains("swtpm:host=127.0.0.1,port=2321"));
    }

    #[test]
    fn bad_names_are_refused() {
        assert!(matches!(
            "mssim:".parse::<TctiName>(),
            Err(TctiNameError::UnknownKind(_))
        ));
        assert!(matches!(
            "swtpm:port=x".parse::<TctiName>(),
            Err(TctiNameError::BadValue { .. })
        ));
        assert!(matches!(
            "swtpm:host=".parse::<TctiName>(),
            Err(TctiNameError::BadValue { .. })
        ));
        assert!(matches!(
            "swtpm:a=b".parse::<TctiName>(),
            Err(TctiNameError::UnknownSetting(_))
        ));
    }
}
