//! `key export`.

use serde_json::json;

use super::config::Config;
use super::report::{DONE, Failure, Report, date};
use super::{Key, KeyExport, KeyFormat};
use crate::keys::{ExportError, export};
use crate::state::StateView;

pub(super) fn run(config: &Config, command: &Key, report: &Report) -> Result<u8, Failure> {
    match command {
        Key::Export(args) => run_export(config, args, report),
    }
}

fn run_export(config: &Config, args: &KeyExport, report: &Report) -> Result<u8, Failure> {
    let enrolled = StateView::open(&config.state_dir)?.require_enrolled()?;
    let exported = match args.format {
        KeyFormat::Tss2Pem => export(&enrolled, &config.tcti, &args.output)?,
    };
    let (key, chain, conf, env) = (
        exported.key.display(),
        exported.chain.display(),
        exported.conf.display(),
        exported.env.display(),
    );
    report.say(format_args!(
        "{key}: the LDevID key, encrypted by this TPM (0600)"
    ));
    report.say(format_args!(
        "{chain}: its certificate and the issuing CA's, valid until {}",
        date(enrolled.not_after)
    ));
    report.say(format_args!("{conf}: for OPENSSL_CONF"));
    report.say(format_args!(
        "{env}: OPENSSL_CONF and TPM2OPENSSL_TCTI for a shell or EnvironmentFile=. For example:"
    ));
    report.say(format_args!(
        "  set -a; . {env}; openssl s_server -accept 8443 -tls1_3 -key {key} -cert {chain} -cert_chain {chain}"
    ));
    report.say("Run this again after each renewal, and let the program read the chain again.");
    report.result(&json!({
        "key": exported.key,
        "chain": exported.chain,
        "openssl_conf": exported.conf,
        "openssl_env": exported.env,
        "not_after": enrolled.not_after,
    }));
    Ok(DONE)
}

impl From<ExportError> for Failure {
    fn from(error: ExportError) -> Self {
        Self::refused(&error, error.next_step())
    }
}
