//! `init`: everything that a new verifier needs, in one directory, or nothing.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::json;
use zeroize::Zeroizing;

use super::{Failure, JsonArg, Outcome, input, output};
use crate::{
    appraisal::DEFAULT_POLICY,
    config::{Config, Home, HomeError, files, home::file, policy_root_spki, sample},
    identity::{
        CaSettings, CaSigner as _, FileSigner, Initial, SecretKey, ServerName, ca_init, pem,
    },
    owner::{EVERY_CLASS, Kind, OwnerSigner},
    service::Clock,
};

const SECRET: u32 = 0o600;
const PUBLIC: u32 = 0o644;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  holdfast-verifier init --dir /var/lib/holdfast --server-name verifier.example --listen 0.0.0.0:7443
  holdfast-verifier init --dir /var/lib/holdfast --root-ca-dir /media/offline/holdfast-root

The root CA's key is needed again only to replace the issuing CA. With
--root-ca-dir it never touches DIR: keep that directory offline.")]
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
    /// Organisation in the CAs' names.
    #[arg(long, default_value = "Holdfast", value_name = "NAME")]
    organization: String,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) fn run(args: &InitArgs) -> Outcome {
    let mut config = Config::default();
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
    let settings = CaSettings {
        organization: args.organization.clone(),
        server_names,
    };

    expect_absent_or_empty(&args.dir)?;
    if let Some(root) = &args.root_ca_dir {
        expect_absent_or_empty(root)?;
    }
    let rng = SystemRandom::new();
    let initial = ca_init(&settings, Clock::system().now(), &rng).map_err(input)?;

    // Made beside DIR and then renamed: DIR is whole or it is not there.
    let staging = Staging::beside(&args.dir)?;
    write_all(
        &staging.home,
        &config,
        &initial,
        args.root_ca_dir.is_none(),
        &rng,
    )?;
    if let Some(root) = &args.root_ca_dir {
        let root_staging = Staging::beside(root)?;
        write_root(&root_staging.home, &initial)?;
        root_staging.become_dir(root)?;
    }
    staging.become_dir(&args.dir)?;

    if args.json.json {
        return output::print_json(&json!({
            "dir": args.dir,
            "listen": config.listen,
            "server_names": config.server_names,
            "root_ca": args.root_ca_dir.as_deref().unwrap_or(&args.dir).join(file::ROOT_CA),
        }));
    }
    let dir = args.dir.display();
    output::print(&format!(
        "{dir} holds a new verifier. Next:\n  \
         holdfast-verifier serve --dir {dir}\n  \
         holdfast-verifier endorsement import --dir {dir} VENDOR-CERTIFICATES...\n  \
         holdfast-verifier reference import --dir {dir} FILE\n  \
         holdfast-verifier token create --dir {dir} --output gateway.bundle"
    ))
}

fn write_all(
    home: &Home,
    config: &Config,
    initial: &Initial,
    with_root_key: bool,
    rng: &SystemRandom,
) -> Result<(), Failure> {
    let mut token_key = Zeroizing::new([0_u8; 32]);
    rng.fill(token_key.as_mut_slice())
        .map_err(|_| anyhow!("the system has no randomness"))?;
    let token_key = Zeroizing::new(format!("{}\n", *Zeroizing::new(hex::encode(*token_key))));
    let policy_root = SecretKey::generate(rng)?;
    let signer = FileSigner::from_pkcs8(policy_root.expose_der())?;
    let policy_root_public = pem::encode("PUBLIC KEY", &policy_root_spki(signer.public_point()));

    home.write_new(file::CONFIG, sample(config).as_bytes(), PUBLIC)?;
    home.write_new(file::POLICY, DEFAULT_POLICY.as_bytes(), PUBLIC)?;
    let owner = OwnerSigner::from_pkcs8(policy_root.expose_der(), rng)?;
    let statement = owner.state(Kind::Policy, EVERY_CLASS, 1, DEFAULT_POLICY.as_bytes(), rng)?;
    home.write_new(file::POLICY_STATEMENT, &statement, PUBLIC)?;
    home.write_new(
        file::ROOT_CA,
        initial.root.certificate_pem().as_bytes(),
        PUBLIC,
    )?;
    if with_root_key {
        home.write_new(
            file::ROOT_CA_KEY,
            initial.root.key.expose_pem().as_bytes(),
            SECRET,
        )?;
    }
    for (certificate, key, keyed) in [
        (file::ISSUING_CA, file::ISSUING_CA_KEY, &initial.issuing),
        (file::SERVER_CA, file::SERVER_CA_KEY, &initial.server_ca),
        (file::SERVER, file::SERVER_KEY, &initial.server),
    ] {
        home.write_new(certificate, keyed.certificate_pem().as_bytes(), PUBLIC)?;
        home.write_new(key, keyed.key.expose_pem().as_bytes(), SECRET)?;
    }
    home.write_new(
        file::RESULT_KEY,
        initial.result_key.expose_pem().as_bytes(),
        SECRET,
    )?;
    home.write_new(
        file::RESULT_PUBLIC,
        initial.result_public_pem.as_bytes(),
        PUBLIC,
    )?;
    home.write_new(
        file::POLICY_ROOT_KEY,
        policy_root.expose_pem().as_bytes(),
        SECRET,
    )?;
    home.write_new(
        file::POLICY_ROOT_PUBLIC,
        policy_root_public.as_bytes(),
        PUBLIC,
    )?;
    home.write_new(file::TOKEN_KEY, token_key.as_bytes(), SECRET)?;
    Ok(())
}

fn write_root(home: &Home, initial: &Initial) -> Result<(), Failure> {
    home.write_new(
        file::ROOT_CA,
        initial.root.certificate_pem().as_bytes(),
        PUBLIC,
    )?;
    home.write_new(
        file::ROOT_CA_KEY,
        initial.root.key.expose_pem().as_bytes(),
        SECRET,
    )?;
    Ok(())
}

fn expect_absent_or_empty(dir: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(anyhow::Error::from(e)
            .context(dir.display().to_string())
            .into()),
        Ok(meta) if !meta.is_dir() => Err(HomeError::NotPlain {
            path: dir.to_owned(),
            expected: "directory",
        }
        .into()),
        Ok(_) => {
            let mut entries = fs::read_dir(dir).with_context(|| dir.display().to_string())?;
            match entries.next() {
                None => Ok(()),
                Some(_) => Err(HomeError::Exists {
                    path: dir.to_owned(),
                }
                .into()),
            }
        }
    }
}

/// A directory in the making; removed when dropped before it is done.
struct Staging {
    home: Home,
    done: bool,
}

impl Staging {
    fn beside(dir: &Path) -> Result<Self, Failure> {
        let parent = match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        let name = dir.file_name().ok_or_else(|| {
            input(anyhow!(
                "{} names no directory that could be made",
                dir.display()
            ))
        })?;
        let mut hidden = std::ffi::OsString::from(".");
        hidden.push(name);
        hidden.push(format!(".init-{}", std::process::id()));
        Ok(Self {
            home: Home::create(&parent.join(hidden))?,
            done: false,
        })
    }

    /// Renames to `dir`, which fails where something came there meanwhile (an
    /// empty directory is replaced).
    fn become_dir(mut self, dir: &Path) -> Result<(), Failure> {
        fs::rename(self.home.dir(), dir).map_err(|source| HomeError::Io {
            path: dir.to_owned(),
            source,
        })?;
        self.done = true;
        files::sync_parent(dir)?;
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_dir_all(self.home.dir());
        }
    }
}
