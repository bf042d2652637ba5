//! What a new verifier is given at once: vendors' CAs, reference values, the
//! first bundle. Each goes the way of its own command, through the admin
//! service of a server that runs for this alone, so that nothing is recorded
//! which that command would refuse.

use std::{
    ffi::OsString,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, anyhow};
use clap::Args;
use holdfast_proto::grpc::v1::{
    ApplyEndorsementsRequest, CreateTokenRequest, ImportEndorsementsRequest,
    ImportReferenceValuesRequest, admin_client::AdminClient,
};
use ring::rand::SystemRandom;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use zeroize::Zeroizing;

use crate::{
    cli::{
        DirArg, Failure, client,
        endorsement::{files, import::is_bundle},
        init::SECRET,
        input,
        reference::source::{self, Document, How},
        serve::assemble,
        token,
    },
    config::{
        Config, Home, HomeError,
        files::{NewFile, write_new},
    },
    freshness::Class,
    owner::{EVERY_CLASS, Kind, OwnerSigner},
    service::{Clock, Server},
};

#[derive(Debug, Args)]
pub(super) struct FirstArgs {
    /// Trust these TPM vendors' CAs, as `endorsement import` does: a file or
    /// folder of certificates and CRLs, or the owner's bundle; repeat for more.
    #[arg(long = "endorsement", value_name = "PATH")]
    endorsements: Vec<PathBuf>,
    /// Make these the reference values of --class, as `reference import` does.
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// Class of --reference and --bundle.
    #[arg(long, default_value = "default")]
    class: String,
    /// Write the bundle that admits the first gateway to this new file, mode
    /// 0600, as `token create` does. Needs a port in --listen.
    #[arg(long, value_name = "FILE")]
    pub(super) bundle: Option<PathBuf>,
    /// How long it is valid: a number and s, m, h or d; 1 minute to 30 days.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = token::seconds)]
    bundle_valid_for: u32,
}

/// What was read of it, before anything is made.
pub(super) struct First {
    certificates: Vec<Vec<u8>>,
    owners_bundle: Option<String>,
    reference: Option<String>,
    class: Class,
    /// What gateways dial, and how long the bundle is good, in seconds.
    bundle: Option<(String, u32)>,
}

impl First {
    pub(super) fn read(args: &FirstArgs, config: &Config) -> Result<Self, Failure> {
        let class = Class::parse(&args.class).map_err(input)?;
        let mut first = Self {
            certificates: Vec::new(),
            owners_bundle: None,
            reference: args.reference.as_ref().map(reference).transpose()?,
            class,
            bundle: None,
        };
        for file in files::all(&args.endorsements).map_err(input)? {
            if !is_bundle(&file.content) {
                first.certificates.push(file.content);
                continue;
            }
            let text = String::from_utf8(file.content)
                .map_err(|_| input(anyhow!("{} is not text in UTF-8", file.path.display())))?;
            if first.owners_bundle.replace(text).is_some() {
                return Err(input(anyhow!("there can be one endorsement bundle only")));
            }
        }
        if !first.has_endorsements() && !args.endorsements.is_empty() {
            return Err(input(anyhow!(
                "--endorsement: no .pem, .crt, .cer, .der, .p7b, .p7c or .crl files there"
            )));
        }
        if let Some(file) = &args.bundle {
            if file.symlink_metadata().is_ok() {
                return Err(input(HomeError::Exists { path: file.clone() }));
            }
            first.bundle = Some((dialled(config)?, args.bundle_valid_for));
        }
        Ok(first)
    }

    pub(super) fn has_endorsements(&self) -> bool {
        !self.certificates.is_empty() || self.owners_bundle.is_some()
    }

    pub(super) fn has_reference(&self) -> bool {
        self.reference.is_some()
    }

    fn is_empty(&self) -> bool {
        !self.has_endorsements() && !self.has_reference() && self.bundle.is_none()
    }

    /// Gives it to the verifier in `home`; the bundle's text, if one is asked
    /// for.
    pub(super) async fn give(
        &self,
        home: &Home,
        config: &Config,
        owner: &OwnerSigner,
    ) -> Result<Option<String>, Failure> {
        if self.is_empty() {
            return Ok(None);
        }
        let _lock = home.lock()?;
        let mut config = config.clone();
        // Gateways come later, to the address that is configured.
        config.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (shared, settings) = assemble(home, &config).await?;
        let listening = Server::bind(Arc::clone(&shared), settings).await?;
        let stop = CancellationToken::new();
        let serving = tokio::spawn(listening.run(stop.clone().cancelled_owned()));
        let given = self.send(home, owner).await;
        stop.cancel();
        serving.await??;
        given
    }

    async fn send(&self, home: &Home, owner: &OwnerSigner) -> Result<Option<String>, Failure> {
        let at = DirArg {
            dir: Some(home.dir().to_owned()),
            ..DirArg::default()
        };
        let mut admin = client::connect(&at).await?;
        self.send_endorsements(&mut admin, owner).await?;
        if let Some(document) = &self.reference {
            let class = self.class.as_str();
            let statement = owner.state(
                Kind::ReferenceValues,
                class,
                1,
                document.as_bytes(),
                &SystemRandom::new(),
            )?;
            let request = ImportReferenceValuesRequest {
                class: class.to_owned(),
                document: document.clone(),
                statement,
                ..ImportReferenceValuesRequest::default()
            };
            admin
                .import_reference_values(request)
                .await
                .map_err(|s| of("--reference", client::refused(&s)))?;
        }
        let Some((server, seconds)) = &self.bundle else {
            return Ok(None);
        };
        let request = CreateTokenRequest {
            class: self.class.as_str().to_owned(),
            uses: 1,
            valid_for_seconds: *seconds,
            server_url: server.clone(),
        };
        let made = admin
            .create_token(request)
            .await
            .map_err(|s| of("--bundle", client::refused(&s)))?;
        Ok(Some(made.into_inner().bundle))
    }

    async fn send_endorsements(
        &self,
        admin: &mut AdminClient<Channel>,
        owner: &OwnerSigner,
    ) -> Result<(), Failure> {
        if let Some(document) = &self.owners_bundle {
            let (kind, rng) = (Kind::Endorsements, SystemRandom::new());
            let statement = owner.state(kind, EVERY_CLASS, 1, document.as_bytes(), &rng)?;
            let request = ApplyEndorsementsRequest {
                document: document.clone(),
                statement,
            };
            admin
                .apply_endorsements(request)
                .await
                .map_err(|s| of("--endorsement", client::refused(&s)))?;
        }
        if self.certificates.is_empty() {
            return Ok(());
        }
        let done = admin
            .import_endorsements(ImportEndorsementsRequest {
                certificates: self.certificates.clone(),
                as_roots: false,
            })
            .await
            .map_err(|s| of("--endorsement", client::refused(&s)))?
            .into_inner();
        if done.refused == 0 {
            return Ok(());
        }
        // All or nothing, as everything else that `init` makes.
        let mut reasons = done.files.iter().flat_map(|file| {
            let items = file.items.iter().map(|item| item.reason.as_str());
            std::iter::once(file.reason.as_str()).chain(items)
        });
        let reason = reasons.find(|r| !r.is_empty()).unwrap_or_default();
        Err(input(anyhow!(
            "--endorsement: {} certificates or files cannot be used: {reason}",
            done.refused
        )))
    }
}

/// Where the bundle goes: begun before anything is made, so that a place that
/// cannot be written to is told then.
pub(super) enum BundlePlace {
    /// Elsewhere.
    Beside(NewFile),
    /// Under this name in the directory that is made.
    Within(OsString),
}

impl BundlePlace {
    pub(super) fn of(file: &Path, dir: &Path) -> Result<Self, Failure> {
        let whole = |path: &Path| {
            std::path::absolute(path)
                .map_err(|e| input(anyhow!("--bundle {}: {e}", path.display())))
        };
        let (path, dir) = (whole(file)?, whole(dir)?);
        match path.file_name() {
            Some(name) if path.parent() == Some(dir.as_path()) => Ok(Self::Within(name.to_owned())),
            Some(_) => NewFile::create(file, SECRET)
                .map(Self::Beside)
                .map_err(|e| input(anyhow!("--bundle: {e}"))),
            None => Err(input(anyhow!("--bundle {}: name a file", file.display()))),
        }
    }

    /// Writes it, not yet under its name where that is beside the directory.
    pub(super) fn write(&mut self, bundle: &str, home: &Home) -> Result<(), Failure> {
        let text = Zeroizing::new(format!("{bundle}\n"));
        match self {
            Self::Beside(new) => new
                .file()
                .write_all(text.as_bytes())
                .map_err(|e| anyhow!("--bundle: {e}").into()),
            Self::Within(name) => {
                write_new(&home.dir().join(name), text.as_bytes(), SECRET).map_err(Failure::from)
            }
        }
    }

    /// Gives it its name.
    pub(super) fn finish(self) -> Result<(), Failure> {
        match self {
            Self::Beside(new) => Ok(new.finish()?),
            Self::Within(_) => Ok(()),
        }
    }
}

fn reference(path: &PathBuf) -> Result<String, Failure> {
    let how = How {
        format: None,
        key: None,
        unsigned: false,
        environment: None,
        add_to: None,
        prefix: None,
        ima_keys: &[],
        now: Clock::system().now(),
    };
    match source::read(std::slice::from_ref(path), &how)?.document {
        Document::ReferenceValues(text) => Ok(text),
        Document::AllowList(_) => Err(input(anyhow!(
            "--reference {}: an allow list is imported once the verifier serves, by `reference import`",
            path.display()
        ))),
    }
}

/// The first name, and the port that will be listened on.
fn dialled(config: &Config) -> Result<String, Failure> {
    let port = config.listen.port();
    let name = config.server_names.first().context("no server name")?;
    if port == 0 {
        return Err(input(anyhow!(
            "--bundle: the bundle says where to dial; name the port with --listen"
        )));
    }
    Ok(match name.contains(':') {
        true => format!("[{name}]:{port}"),
        false => format!("{name}:{port}"),
    })
}

/// Says which option it was.
fn of(option: &'static str, failure: Failure) -> Failure {
    match failure {
        Failure::Refused(error) => Failure::Refused(error.context(option)),
        Failure::Input(error) => Failure::Input(error.context(option)),
    }
}
