//! Settings: flags and environment (by clap), then the TOML file, then the
//! defaults.

use std::io::ErrorKind;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use holdfast_proto::tpm::templates::AkAlg;
use serde::Deserialize;

use super::report::Failure;
use super::{Global, KeyArgs};
use crate::enrolment::{KeyChoice, Road};
use crate::evidence::{BOOT_LOG_PATH, IMA_LOG_PATH};
use crate::names::parse_ak_alg;
use crate::state::{DEFAULT_DIR, Enrolled, StateDir, StateError};
use crate::tpm::{AuthValue, DEFAULT_SRK_HANDLE, EkChoice, Settings, TctiName, Tpm, TpmError};

/// A verifier notices within the hour what the boot logs and PCRs say.
const ATTEST_EVERY: NonZeroU32 = NonZeroU32::new(3600).expect("not zero");
/// Long enough that a fleet does not crush a verifier that comes back.
const RETRY_MAX: NonZeroU32 = NonZeroU32::new(300).expect("not zero");

const STATUS_SOCKET: &str = "status.sock";
/// `RuntimeDirectory=` of the unit.
const UNIT_RUNTIME_DIR: &str = "/run/holdfast-attester";

const DEFAULT_FILE: &str = "/etc/holdfast/attester.toml";

/// `attester.toml`. Everything is optional; an unknown key is an error.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    /// As `--tcti`.
    tcti: Option<String>,
    /// As `--state-dir`.
    state_dir: Option<PathBuf>,
    /// As `--srk-handle`, e.g. "0x81000001".
    srk_handle: Option<String>,
    /// As `--endorsement-auth-file`.
    endorsement_auth_file: Option<PathBuf>,
    /// As `--owner-auth-file`.
    owner_auth_file: Option<PathBuf>,
    /// As `--boot-log`.
    boot_log: Option<PathBuf>,
    /// As `--ima-log`.
    ima_log: Option<PathBuf>,
    /// As `--ek`.
    ek: Option<String>,
    /// As `--ak`.
    ak: Option<String>,
    /// As `--identity`.
    identity: Option<String>,
    /// About `run`.
    #[serde(default)]
    run: RunFile,
}

/// `[run]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RunFile {
    /// As `run --bundle`.
    pub(super) bundle: Option<PathBuf>,
    /// As `run --bind-to-boot`.
    pub(super) bind_to_boot: Option<PathBuf>,
    /// As `run --attest-every`, in seconds.
    pub(super) attest_every_seconds: NonZeroU32,
    /// As `run --retry-max`, in seconds.
    pub(super) retry_max_seconds: NonZeroU32,
    /// As `run --heartbeats`.
    pub(super) heartbeats: bool,
    /// As `--status-socket`.
    pub(super) status_socket: Option<PathBuf>,
}

impl Default for RunFile {
    fn default() -> Self {
        Self {
            bundle: None,
            bind_to_boot: None,
            attest_every_seconds: ATTEST_EVERY,
            retry_max_seconds: RETRY_MAX,
            heartbeats: false,
            status_socket: None,
        }
    }
}

/// What is in force.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) tcti: TctiName,
    pub(super) state_dir: PathBuf,
    pub(super) settings: Settings,
    pub(super) boot_log: PathBuf,
    pub(super) ima_log: PathBuf,
    ek: EkChoice,
    ak: AkAlg,
    identity: Road,
    pub(super) run: RunFile,
}

impl Config {
    pub(super) fn resolve(global: &Global) -> Result<Self, Failure> {
        let file = read_file(global.config.as_deref())?;
        let wrong = |key: &str, why: String| {
            Failure::bad_input(format!("{key}: {why}"), "correct the settings file")
        };
        let tcti = file.tcti.map(|t| t.parse::<TctiName>()).transpose();
        let handle = file.srk_handle.map(|h| parse_handle(&h)).transpose();
        let ek = file.ek.map(|ek| ek.parse()).transpose();
        let ak = file.ak.map(|ak| parse_ak_alg(&ak)).transpose();
        let identity = file.identity.map(|road| road.parse()).transpose();
        let endorsement = global
            .endorsement_auth_file
            .clone()
            .or(file.endorsement_auth_file);
        let owner = global.owner_auth_file.clone().or(file.owner_auth_file);
        Ok(Self {
            tcti: match &global.tcti {
                Some(tcti) => tcti.clone(),
                None => tcti
                    .map_err(|e| wrong("tcti", e.to_string()))?
                    .unwrap_or_default(),
            },
            state_dir: global
                .state_dir
                .clone()
                .or(file.state_dir)
                .unwrap_or_else(|| PathBuf::from(DEFAULT_DIR)),
            settings: Settings {
                srk_handle: match global.srk_handle {
                    Some(handle) => handle,
                    None => handle
                        .map_err(|e| wrong("srk_handle", e))?
                        .unwrap_or(DEFAULT_SRK_HANDLE),
                },
                endorsement_auth: auth(endorsement.as_deref())?,
                owner_auth: auth(owner.as_deref())?,
            },
            boot_log: file
                .boot_log
                .unwrap_or_else(|| PathBuf::from(BOOT_LOG_PATH)),
            ima_log: file.ima_log.unwrap_or_else(|| PathBuf::from(IMA_LOG_PATH)),
            ek: ek.map_err(|e| wrong("ek", e))?.unwrap_or_default(),
            ak: ak.map_err(|e| wrong("ak", e))?.unwrap_or_default(),
            identity: identity
                .map_err(|e| wrong("identity", e))?
                .unwrap_or_default(),
            run: RunFile {
                status_socket: global.status_socket.clone().or(file.run.status_socket),
                ..file.run
            },
        })
    }

    /// Where a daemon that is started now tells its status.
    pub(super) fn status_socket(&self) -> PathBuf {
        let runtime = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
        match &self.run.status_socket {
            Some(path) => path.clone(),
            None => runtime
                .unwrap_or_else(|| self.state_dir.clone())
                .join(STATUS_SOCKET),
        }
    }

    /// Where one that was started otherwise may.
    pub(super) fn status_sockets(&self) -> Vec<PathBuf> {
        match &self.run.status_socket {
            Some(path) => vec![path.clone()],
            None => vec![
                self.state_dir.join(STATUS_SOCKET),
                Path::new(UNIT_RUNTIME_DIR).join(STATUS_SOCKET),
            ],
        }
    }

    pub(super) fn open_tpm(&self) -> Result<Tpm, TpmError> {
        Tpm::open_with(&self.tcti, self.settings.clone())
    }

    /// The state of an enrolment. Asking after one makes no directory.
    pub(super) fn open_enrolled(&self) -> Result<StateDir, StateError> {
        if std::fs::symlink_metadata(&self.state_dir).is_err() {
            return Err(StateError::NotEnrolled(self.state_dir.clone()));
        }
        StateDir::open(&self.state_dir)
    }

    /// The storage root's handle that the state was made with wins over the
    /// default: nobody should have to remember `--srk-handle`.
    pub(super) fn open_tpm_for(&self, state: &StateDir) -> Result<Tpm, Failure> {
        let settings = match state.enrolled()? {
            Some(enrolled) => self.settings_of(&enrolled),
            None => self.settings.clone(),
        };
        Ok(Tpm::open_with(&self.tcti, settings)?)
    }

    /// The same for a state that is only read.
    pub(super) fn open_tpm_of(&self, enrolled: &Enrolled) -> Result<Tpm, TpmError> {
        Tpm::open_with(&self.tcti, self.settings_of(enrolled))
    }

    /// The settings, with the storage root's handle of the enrolment.
    pub(super) fn settings_of(&self, enrolled: &Enrolled) -> Settings {
        self.settings.made_with(enrolled.keys.srk_handle)
    }

    pub(super) fn road(&self, args: &KeyArgs) -> Road {
        args.identity.unwrap_or(self.identity)
    }

    pub(super) fn keys(&self, args: &KeyArgs) -> KeyChoice {
        KeyChoice {
            ek: args.ek.unwrap_or(self.ek),
            ak: args.ak.unwrap_or(self.ak),
        }
    }
}

/// A persistent handle in hex (0x81…).
pub(super) fn parse_handle(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    match u32::from_str_radix(digits, 16) {
        // TPM_HT_PERSISTENT; from 0x81800000 on they are the platform's.
        Ok(handle @ 0x8100_0000..=0x817F_FFFF) => Ok(handle),
        _ => Err(format!(
            "{text:?} is not a persistent handle from 0x81000000 to 0x817fffff"
        )),
    }
}

fn auth(path: Option<&Path>) -> Result<Option<AuthValue>, Failure> {
    path.map(AuthValue::from_file).transpose().map_err(|e| {
        Failure::bad_input(
            e,
            "correct the file, or leave the flag out where the hierarchy has no auth value",
        )
    })
}

fn read_file(path: Option<&Path>) -> Result<File, Failure> {
    let named = path.is_some();
    let path = path.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let bad = |e: &dyn std::fmt::Display| {
        Failure::bad_input(
            format!("{}: {e}", path.display()),
            "correct the settings file",
        )
    };
    match std::fs::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|e| bad(&e)),
        Err(e) if e.kind() == ErrorKind::NotFound && !named => Ok(File::default()),
        Err(e) => Err(bad(&e)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_the_owners() {
        assert_eq!(parse_handle("0x81000001"), Ok(0x8100_0001));
        assert_eq!(parse_handle("81000002"), Ok(0x8100_0002));
        for bad in ["0x81800000", "0x80000000", "1", "x"] {
            assert!(parse_handle(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn unknown_settings_are_refused() {
        assert!(toml::from_str::<File>("tcti = \"tabrmd:\"").is_ok());
        assert!(toml::from_str::<File>("tctl = \"tabrmd:\"").is_err());
    }

    /// The package's conffile: it changes nothing as it comes, and each setting
    /// that it shows is one.
    #[test]
    fn the_sample_parses_and_its_defaults_are_ours() {
        let sample = include_str!("../../../packaging/etc/attester.toml");
        let plain = toml::from_str::<toml::Table>(sample).unwrap();
        assert!(plain.is_empty(), "{plain:?}");
        // "#name = " has the default, "# name = " has none; all else is prose.
        let setting = |line: &str| line.starts_with('[') || line.contains(" = ");
        let on: String = sample
            .lines()
            .filter_map(|line| line.strip_prefix('#').map(str::trim_start))
            .filter(|line| setting(line))
            .map(|line| format!("{line}\n"))
            .collect();
        let table = toml::from_str::<toml::Table>(&on).unwrap();
        assert_eq!(table.len(), 11, "every setting is shown: {on}");
        let run = table["run"].as_table().unwrap();
        assert_eq!(run.len(), 6, "every setting of [run] is shown: {on}");
        let file: File = toml::from_str(&on).unwrap();
        assert_eq!(
            file.tcti.unwrap().parse::<TctiName>().unwrap(),
            TctiName::default()
        );
        assert_eq!(file.state_dir.unwrap(), Path::new(DEFAULT_DIR));
        assert_eq!(
            parse_handle(&file.srk_handle.unwrap()),
            Ok(DEFAULT_SRK_HANDLE)
        );
        assert_eq!(file.boot_log.unwrap(), Path::new(BOOT_LOG_PATH));
        assert_eq!(file.ima_log.unwrap(), Path::new(IMA_LOG_PATH));
        assert_eq!(file.ek.unwrap().parse(), Ok(EkChoice::default()));
        assert_eq!(parse_ak_alg(&file.ak.unwrap()), Ok(AkAlg::default()));
        assert_eq!(file.identity.unwrap().parse(), Ok(Road::default()));
        assert_eq!(file.run.attest_every_seconds, ATTEST_EVERY);
        assert_eq!(file.run.retry_max_seconds, RETRY_MAX);
        assert!(!file.run.heartbeats);
    }
}
