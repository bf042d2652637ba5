//! An enrolled gateway, its exported key, and a server of another kind beside
//! it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result};
use holdfast_integration::story::enrol;
use holdfast_integration::{Scene, oracle};

pub(crate) struct Stand {
    pub(crate) scene: Scene,
    /// The enrolled gateway's id.
    pub(crate) id: String,
    /// Where `key export` wrote to.
    pub(crate) exported: PathBuf,
}

impl Stand {
    pub(crate) fn new() -> Result<Self> {
        let mut scene = Scene::new()?;
        let id = enrol(&mut scene.gateway, &scene.deployment, "default")?;
        let exported = scene.deployment.scratch().join("ldevid");
        let output = exported.to_str().context("path")?.to_owned();
        scene
            .gateway
            .run(&["key", "export", "--format", "tss2-pem", "--output", &output])?;
        Ok(Self {
            scene,
            id,
            exported,
        })
    }

    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.scene.deployment.scratch().join(name)
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.exported.join("ldevid.tss2.pem")
    }

    pub(crate) fn chain(&self) -> PathBuf {
        self.exported.join("ldevid.chain.pem")
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.scene.deployment.dir().join("root-ca.pem")
    }

    /// What `openssl.env` says, for a child.
    pub(crate) fn environment(&self) -> Result<Vec<(String, String)>> {
        let text = std::fs::read_to_string(self.exported.join("openssl.env"))?;
        text.lines()
            .map(|line| {
                let (name, value) = line.split_once('=').context("NAME=VALUE")?;
                Ok((name.to_owned(), value.trim_matches('"').to_owned()))
            })
            .collect()
    }

    /// A key and a self-signed certificate for `localhost`, by OpenSSL alone.
    pub(crate) fn software_server(&self) -> Result<(PathBuf, PathBuf)> {
        let (key, certificate) = (self.folder("server.key"), self.folder("server.pem"));
        let mut arguments: Vec<&OsStr> = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-subj",
            "/CN=localhost",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
        ]
        .map(OsStr::new)
        .to_vec();
        arguments.extend([key.as_os_str(), OsStr::new("-out"), certificate.as_os_str()]);
        oracle::run("openssl", arguments)?;
        Ok((key, certificate))
    }
}

/// Both streams.
pub(crate) fn words(output: &Output) -> String {
    holdfast_integration::story::printed(output)
}

/// `curl` to `https://localhost:PORT/`, trusting `ca` alone.
pub(crate) fn curl(port: u16, ca: &Path) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["-q", "-sS", "--max-time", "20", "--noproxy", "*"])
        .args(["--resolve", &format!("localhost:{port}:127.0.0.1")])
        .arg("--cacert")
        .arg(ca)
        .arg(format!("https://localhost:{port}/"));
    command
}
