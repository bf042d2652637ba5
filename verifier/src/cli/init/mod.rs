//! `init`: everything that a new verifier needs, in one directory, or nothing.

mod first;

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use anyhow::anyhow;
use clap::Args;
use nix::unistd::{Uid, User};
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Failure, JsonArg, Outcome, input, output};
use crate::{
    appraisal::DEFAULT_POLICY,
    config::{
        CaBackend, CaConfig, Config, Home, Machine,
        home::file,
        policy_root_spki, sample,
        staging::{self, Staging},
    },
    custody::{
        Cabinet, Custodian, KeyKind, KeyPlace, Rotation, SecretSource, encrypt, issuing_key_text,
    },
    identity::{
        Authority, CaCertificate, CaSettings, CaSigner as _, FileSigner, Initial, SecretKey,
        ServerName, ca_init, pem,
    },
    owner::{EVERY_CLASS, Kind, OwnerSigner},
    service::Clock,
};

use first::{BundlePlace, First, FirstArgs};

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast-verifier init --dir /var/lib/holdfast --server-name verifier.example --listen 0.0.0.0:7443
  holdfast-verifier init --dir /var/lib/holdfast --root-ca-dir /media/safe/root \\
    --policy-root-dir /media/safe/root --offline-passphrase file:/media/safe/passphrase
  holdfast-verifier init --dir /var/lib/holdfast --ca-passphrase credential:ca-passphrase
  holdfast-verifier init --dir /var/lib/holdfast --ca-backend pkcs11 \\
    --pkcs11-module /usr/lib/softhsm/libsofthsm2.so --pkcs11-token holdfast --pkcs11-pin env:PIN
  holdfast-verifier init --dir /var/lib/holdfast --server-name verifier.example --listen 0.0.0.0:7443 \\
    --endorsement vendor-cas/ --reference golden.json --bundle gateway-1.bundle

The root CA's key is needed again only to replace the issuing CA. With
--root-ca-dir it never touches DIR: keep that directory offline. So with the
policy root (signs policies and reference values) and the server CA. docs/ca.md.")]
pub(super) struct InitArgs {
    /// Directory to make; it must not exist, or be empty.
    #[arg(long, env = "HOLDFAST_DIR", value_name = "DIR")]
    dir: PathBuf,
    /// Name or address that gateways dial; repeat for more. The first goes
    /// into bundles. Default: localhost and 127.0.0.1.
    #[arg(long = "server-name", value_name = "NAME")]
    server_names: Vec<String>,
    /// Address to listen on.
    #[arg(long, env = "HOLDFAST_LISTEN", value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Put the root CA's key there instead of into DIR.
    #[arg(long, value_name = "DIR")]
    root_ca_dir: Option<PathBuf>,
    /// Put the policy root's key there instead of into DIR; may be the same.
    #[arg(long, value_name = "DIR")]
    policy_root_dir: Option<PathBuf>,
    /// Put the server CA's key there instead of into DIR; may be the same. The
    /// server then cannot renew its own certificate.
    #[arg(long, value_name = "DIR")]
    server_ca_dir: Option<PathBuf>,
    /// Encrypt the keys in those directories: credential:NAME, env:NAME or
    /// file:/PATH says where the passphrase is.
    #[arg(long, value_name = "SOURCE")]
    offline_passphrase: Option<SecretSource>,
    #[command(flatten)]
    ca: CaArgs,
    #[command(flatten)]
    first: FirstArgs,
    /// Give DIR to this account, which will serve; for root. Default: the one
    /// in /etc/holdfast/verifier.toml, where DIR is the one there.
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Organisation in the CAs' names.
    #[arg(long, default_value = "Holdfast", value_name = "NAME")]
    organization: String,
    #[command(flatten)]
    json: JsonArg,
}

/// Where the issuing key is made.
#[derive(Debug, Args)]
struct CaArgs {
    /// Where the issuing CA's key is made.
    #[arg(long, value_enum, default_value = "file")]
    ca_backend: CaBackend,
    /// Encrypt the issuing key's file: credential:NAME (systemd), env:NAME or
    /// file:/PATH says where the passphrase is.
    #[arg(long, value_name = "SOURCE")]
    ca_passphrase: Option<SecretSource>,
    /// The PKCS#11 module, a shared library.
    #[arg(long, value_name = "FILE")]
    pkcs11_module: Option<PathBuf>,
    /// Label of the PKCS#11 token.
    #[arg(long, value_name = "LABEL")]
    pkcs11_token: Option<String>,
    /// Where the token's PIN is, as above.
    #[arg(long, value_name = "SOURCE")]
    pkcs11_pin: Option<SecretSource>,
    /// The TPM: device:/dev/tpmrm0 or swtpm:HOST:PORT.
    #[arg(long, value_name = "DEVICE")]
    ca_tpm: Option<String>,
    /// Persistent handle of the key in the TPM.
    #[arg(long, value_name = "HANDLE", value_parser = handle)]
    ca_tpm_handle: Option<u32>,
    /// Where the authorisation of the key in the TPM is, as above.
    #[arg(long, value_name = "SOURCE")]
    ca_tpm_key_auth: Option<SecretSource>,
    /// Where the authorisation of the TPM's owner hierarchy is, as above.
    #[arg(long, value_name = "SOURCE")]
    ca_tpm_owner_auth: Option<SecretSource>,
}

impl CaArgs {
    fn config(&self) -> CaConfig {
        let mut ca = CaConfig {
            backend: self.ca_backend,
            passphrase: self.ca_passphrase.clone(),
            ..CaConfig::default()
        };
        ca.pkcs11.pin = self.pkcs11_pin.clone();
        ca.tpm.key_auth = self.ca_tpm_key_auth.clone();
        ca.tpm.owner_auth = self.ca_tpm_owner_auth.clone();
        if let Some(module) = &self.pkcs11_module {
            ca.pkcs11.module.clone_from(module);
        }
        if let Some(token) = &self.pkcs11_token {
            ca.pkcs11.token.clone_from(token);
        }
        if let Some(device) = &self.ca_tpm {
            ca.tpm.device.clone_from(device);
        }
        if let Some(handle) = self.ca_tpm_handle {
            ca.tpm.handle = handle;
        }
        ca
    }
}

/// 0x81010010, or in decimal.
fn handle(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "write a persistent handle as 0x81010010".to_owned())
}

pub(super) async fn run(args: &InitArgs, machine: &Machine) -> Outcome {
    let here = machine.dir.as_deref() == Some(args.dir.as_path());
    let configured = machine.user.as_deref().filter(|_| here);
    let account = args.user.as_deref().or(configured);
    let account = account.map(account_of).transpose()?.flatten();
    let mut config = Config {
        ca: args.ca.config(),
        ..Config::default()
    };
    config.ca.in_range().map_err(input)?;
    if !args.server_names.is_empty() {
        config.server_names.clone_from(&args.server_names);
    }
    if let Some(listen) = args.listen {
        config.listen = listen;
    }
    let server_names = config
        .server_names
        .iter()
        .map(|name| ServerName::parse(name))
        .collect::<Result<Vec<_>, _>>()
        .map_err(input)?;
    let first = First::read(&args.first, &config)?;
    // Where it cannot be written, nothing is made.
    let place = args.first.bundle.as_deref();
    let mut place = place
        .map(|file| BundlePlace::of(file, &args.dir))
        .transpose()?;
    let settings = CaSettings {
        organization: args.organization.clone(),
        server_names,
    };

    let rng = SystemRandom::new();
    let initial = ca_init(&settings, Clock::system().now(), &rng).map_err(input)?;
    let policy_root = SecretKey::generate(&rng)?;
    let keys = long_term_keys(args, &initial, &policy_root, &rng)?;
    staging::expect_absent_or_empty(&args.dir)?;
    for dir in keys.offline.keys() {
        staging::expect_absent_or_empty(dir)?;
    }

    // Made beside DIR and then renamed: DIR is whole or it is not there.
    let staging = Staging::beside(&args.dir)?;
    write_all(
        staging.home(),
        &config,
        &initial,
        &policy_root,
        &args.organization,
        &rng,
    )?;
    write_files(staging.home(), &keys.here)?;
    let mut offline = Vec::new();
    for (dir, files) in &keys.offline {
        let made = Staging::beside(dir)?;
        write_files(made.home(), files)?;
        offline.push((made, dir));
    }
    // Last of what can fail: a device keeps what is made in it.
    let issuing = Issuing::make(staging.home(), &config, &initial, &rng)?;
    let owner = OwnerSigner::from_pkcs8(policy_root.expose_der(), &rng)?;
    let given = first.give(staging.home(), &config, &owner).await;
    let given = given.and_then(|bundle| {
        if let (Some(place), Some(bundle)) = (&mut place, bundle) {
            place.write(&Zeroizing::new(bundle), staging.home())?;
        }
        if let Some(account) = &account {
            staging.give_to(account.uid.as_raw(), account.gid.as_raw())?;
        }
        Ok(())
    });
    if let Err(error) = given {
        issuing.undo();
        return Err(error);
    }
    let placed = offline
        .into_iter()
        .try_for_each(|(made, dir)| made.become_dir(dir))
        .and_then(|()| staging.become_dir(&args.dir));
    if let Err(error) = placed {
        issuing.undo();
        return Err(error.into());
    }

    // After the verifier that it is for.
    if let Some(place) = place {
        place.finish()?;
    }

    if args.json.json {
        return output::print_json(&json!({
            "user": account.as_ref().map(|account| &account.name),
            "bundle": args.first.bundle,
            "dir": args.dir,
            "listen": config.listen,
            "server_names": config.server_names,
            "ca_backend": config.ca.backend.name(),
            "root_ca": args.root_ca_dir.as_deref().unwrap_or(&args.dir).join(file::ROOT_CA),
        }));
    }
    let dir = output::shell(&args.dir);
    let plain = match (config.ca.backend, &config.ca.passphrase) {
        (CaBackend::File, None) => {
            "The issuing CA's key is in a file that is not encrypted (docs/ca.md has other ways).\n"
        }
        _ => "",
    };
    let serve = match here {
        true => "systemctl enable --now holdfast-verifier".to_owned(),
        false => format!("holdfast-verifier serve --dir {dir}"),
    };
    let mut next = vec![serve];
    if !first.has_endorsements() {
        next.push(format!(
            "holdfast-verifier endorsement import --dir {dir} VENDOR-CERTIFICATES..."
        ));
    }
    if !first.has_reference() {
        next.push(format!(
            "holdfast-verifier reference import --dir {dir} FILE"
        ));
    }
    next.push(match &args.first.bundle {
        None => format!("holdfast-verifier token create --dir {dir} --output gateway.bundle"),
        Some(file) => format!(
            "on the gateway: holdfast-attester enroll --bundle {}",
            output::shell(file)
        ),
    });
    output::print(&format!(
        "{dir} holds a new verifier. {plain}Next:\n  {}",
        next.join("\n  ")
    ))
}

/// The account that the directory is for; none where it is this process's own.
fn account_of(name: &str) -> Result<Option<User>, Failure> {
    let user = User::from_name(name)?.ok_or_else(|| {
        input(anyhow!(
            "there is no account {name:?}: make it, or name another with --user"
        ))
    })?;
    let own = Uid::effective();
    if user.uid == own {
        return Ok(None);
    }
    if !own.is_root() {
        return Err(input(anyhow!(
            "only root can make a directory for {name:?}: run this as root, or as {name}"
        )));
    }
    Ok(Some(user))
}

/// A file of `init`: name, content, mode.
type InitFile = (&'static str, Zeroizing<Vec<u8>>, u32);

/// The keys that serving does not need, by the directory that they go to.
#[derive(Default)]
struct LongTermKeys {
    here: Vec<InitFile>,
    offline: BTreeMap<PathBuf, Vec<InitFile>>,
}

fn long_term_keys(
    args: &InitArgs,
    initial: &Initial,
    policy_root: &SecretKey,
    rng: &SystemRandom,
) -> Result<LongTermKeys, Failure> {
    let passphrase = args
        .offline_passphrase
        .as_ref()
        .map(SecretSource::read)
        .transpose()
        .map_err(input)?;
    let mut keys = LongTermKeys::default();
    let public = policy_root_public(policy_root)?;
    let root = initial.root.certificate_pem();
    let server_ca = initial.server_ca.certificate_pem();
    for (dir, key_name, key, public_name, public) in [
        (
            &args.root_ca_dir,
            file::ROOT_CA_KEY,
            &initial.root.key,
            file::ROOT_CA,
            root,
        ),
        (
            &args.server_ca_dir,
            file::SERVER_CA_KEY,
            &initial.server_ca.key,
            file::SERVER_CA,
            server_ca,
        ),
        (
            &args.policy_root_dir,
            file::POLICY_ROOT_KEY,
            policy_root,
            file::POLICY_ROOT_PUBLIC,
            public,
        ),
    ] {
        let plain = || Zeroizing::new(key.expose_pem().as_bytes().to_vec());
        let Some(dir) = dir else {
            keys.here.push((key_name, plain(), SECRET));
            continue;
        };
        let text = match &passphrase {
            None => plain(),
            Some(passphrase) => {
                Zeroizing::new(encrypt(key.expose_der(), passphrase, rng)?.into_bytes())
            }
        };
        let files = keys.offline.entry(dir.clone()).or_default();
        files.push((key_name, text, SECRET));
        files.push((public_name, Zeroizing::new(public.into_bytes()), PUBLIC));
    }
    Ok(keys)
}

fn policy_root_public(key: &SecretKey) -> Result<String, Failure> {
    let signer = FileSigner::from_pkcs8(key.expose_der())?;
    let spki = policy_root_spki(signer.public().point());
    Ok(pem::encode("PUBLIC KEY", &spki))
}

fn write_files(home: &Home, files: &[InitFile]) -> Result<(), Failure> {
    for (name, content, mode) in files {
        home.write_new(name, content, *mode)?;
    }
    Ok(())
}

fn write_all(
    home: &Home,
    config: &Config,
    initial: &Initial,
    policy_root: &SecretKey,
    organization: &str,
    rng: &SystemRandom,
) -> Result<(), Failure> {
    let mut token_key = Zeroizing::new([0_u8; 32]);
    rng.fill(token_key.as_mut_slice())
        .map_err(|_| anyhow!("the system has no randomness"))?;
    let token_key = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(*token_key))));
    let owner = OwnerSigner::from_pkcs8(policy_root.expose_der(), rng)?;
    let statement = owner.state(Kind::Policy, EVERY_CLASS, 1, DEFAULT_POLICY.as_bytes(), rng)?;
    let public = |name, content: &[u8]| home.write_new(name, content, PUBLIC);
    let secret = |name, content: &str| home.write_new(name, content.as_bytes(), SECRET);

    public(file::CONFIG, sample(config).as_bytes())?;
    public(file::POLICY, DEFAULT_POLICY.as_bytes())?;
    public(file::POLICY_STATEMENT, &statement)?;
    public(
        file::POLICY_ROOT_PUBLIC,
        policy_root_public(policy_root)?.as_bytes(),
    )?;
    public(file::ROOT_CA, initial.root.certificate_pem().as_bytes())?;
    public(
        file::SERVER_CA,
        initial.server_ca.certificate_pem().as_bytes(),
    )?;
    public(file::SERVER, initial.server.certificate_pem().as_bytes())?;
    secret(file::SERVER_KEY, &initial.server.key.expose_pem())?;
    public(file::RESULT_PUBLIC, initial.result_public_pem.as_bytes())?;
    secret(file::RESULT_KEY, &initial.result_key.expose_pem())?;
    secret(file::TOKEN_KEY, &token_key)?;
    let now = Clock::system().now();
    let (_, operator_ca) = Authority::new_root(organization, "Operator CA", 0, now, rng)?;
    public(file::OPERATOR_CA, operator_ca.certificate_pem().as_bytes())?;
    secret(file::OPERATOR_CA_KEY, &operator_ca.key.expose_pem())?;
    Ok(())
}

/// The issuing key, its certificate and the keyring, in the directory.
struct Issuing {
    custodian: Custodian,
    place: KeyPlace,
}

impl Issuing {
    fn make(
        home: &Home,
        config: &Config,
        initial: &Initial,
        rng: &SystemRandom,
    ) -> Result<Self, Failure> {
        let custodian = Custodian::new(home.clone(), config);
        let (certificate, place) = match config.ca.backend {
            CaBackend::File => {
                let key = &initial.issuing.key;
                let text = issuing_key_text(key, &config.ca, rng).map_err(input)?;
                home.write_new(file::ISSUING_CA_KEY, &text, SECRET)?;
                let place = KeyPlace::File(file::ISSUING_CA_KEY.to_owned());
                (initial.issuing.certificate.clone(), place)
            }
            CaBackend::Pkcs11 | CaBackend::Tpm => {
                let made = custodian.make(KeyKind::Issuing, rng)?;
                let root = FileSigner::from_pkcs8(initial.root.key.expose_der())?;
                let root = Authority::open(&initial.root.certificate, root)?;
                let organization = CaCertificate::parse(&initial.root.certificate)?
                    .organization()
                    .unwrap_or_default()
                    .to_owned();
                let certificate = root.certify_ca(
                    made.signer.public(),
                    &organization,
                    "Issuing CA",
                    Clock::system().now(),
                    rng,
                )?;
                (certificate, made.place)
            }
        };
        let issuing = Self { custodian, place };
        match issuing.write(home, &certificate) {
            Ok(()) => Ok(issuing),
            Err(error) => {
                issuing.undo();
                Err(error)
            }
        }
    }

    fn write(&self, home: &Home, certificate: &[u8]) -> Result<(), Failure> {
        let certificate = pem::encode("CERTIFICATE", certificate);
        home.write_new(file::ISSUING_CA, certificate.as_bytes(), PUBLIC)?;
        let cabinet = Cabinet::new(home);
        let ring = cabinet.begin(self.place.clone())?;
        let now = Clock::system().now();
        let lock = cabinet.lock()?;
        cabinet.write(&ring, &lock)?;
        cabinet.publish(&ring, now)?;
        drop(lock);
        // So that `serve` has nothing to write before all else was looked at.
        Rotation::begin(home, now)?.heartbeat(0)?;
        Ok(())
    }

    /// Nobody would know of the key in the device.
    fn undo(&self) {
        if !matches!(self.place, KeyPlace::File(_)) {
            let _ = self.custodian.destroy(&self.place);
        }
    }
}
