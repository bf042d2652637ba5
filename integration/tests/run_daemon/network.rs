//! A network of the daemon's own (a network namespace) that is cut, and comes
//! back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::tpm::TctiName;
use holdfast_integration::programs::program;
use holdfast_integration::{oracle, skip};
use nix::sys::signal::Signal;

use crate::stand::Stand;

/// A namespace with two cables out of it: one to the TPM, one to the verifier.
struct Namespace {
    name: String,
    tpm: Ipv4Addr,
    verifier: Ipv4Addr,
}

impl Namespace {
    fn make() -> Result<Self> {
        let id = std::process::id();
        let [.., high, low] = id.to_be_bytes();
        let made = Self {
            name: format!("hf{id}"),
            tpm: Ipv4Addr::new(10, 213, low, 4 * (high % 64) + 1),
            verifier: Ipv4Addr::new(10, 214, low, 4 * (high % 64) + 1),
        };
        ip(&["netns", "add", &made.name])?;
        made.cable("t", made.tpm)?;
        made.cable("v", made.verifier)?;
        Ok(made)
    }

    /// The host's end has `address`, the other one the next.
    fn cable(&self, kind: &str, address: Ipv4Addr) -> Result<()> {
        let (outside, inside) = (self.outside(kind), self.inside(kind));
        let [a, b, c, d] = address.octets();
        let (ours, theirs) = (format!("{address}/30"), format!("{a}.{b}.{c}.{}/30", d + 1));
        let name = self.name.as_str();
        ip(&[
            "link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", name,
        ])?;
        ip(&["addr", "add", &ours, "dev", &outside])?;
        ip(&["link", "set", &outside, "up"])?;
        ip(&["-n", name, "addr", "add", &theirs, "dev", &inside])?;
        ip(&["-n", name, "link", "set", &inside, "up"])
    }

    fn outside(&self, kind: &str) -> String {
        format!("{}{kind}", self.name)
    }

    fn inside(&self, kind: &str) -> String {
        format!("in{kind}")
    }

    fn verifiers_cable(&self, state: &str) -> Result<()> {
        ip(&["-n", &self.name, "link", "set", &self.inside("v"), state])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["link", "del", &self.outside("t")]);
        let _ = ip(&["link", "del", &self.outside("v")]);
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    oracle::run("ip", arguments).map(drop)
}

/// Carries connections from `address` to the same port at `to`.
fn relay(address: Ipv4Addr, to: IpAddr, port: u16) -> Result<()> {
    let listener = TcpListener::bind((address, port))?;
    std::thread::spawn(move || {
        for outer in listener.incoming().flatten() {
            let Ok(inner) = TcpStream::connect((to, port)) else {
                continue;
            };
            for (from, to) in [(&outer, &inner), (&inner, &outer)] {
                if let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(std::net::Shutdown::Write);
                    });
                }
            }
        }
    });
    Ok(())
}

#[test]
fn a_network_that_is_cut_is_waited_for() -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        skip!("network namespaces are root's to make");
    }
    let stand = Stand::new()?;
    let namespace = Namespace::make()?;
    let TctiName::Swtpm { port, .. } = stand.sim.tcti().parse()? else {
        bail!("not over TCP");
    };
    let here = Ipv4Addr::LOCALHOST.into();
    relay(namespace.tpm, here, port)?;
    relay(namespace.tpm, here, port + 1)?;
    let verifier = stand.deployment.address();
    relay(namespace.verifier, verifier.ip(), verifier.port())?;
    let server = SocketAddr::from((namespace.verifier, verifier.port())).to_string();
    let bundle = stand.deployment.scratch().join("bundle");
    let bundle = bundle.to_str().context("path")?;
    let token = ["token", "create", "--class", "default", "--uses", "1"];
    let to = ["--valid-for", "1h", "--server", &server, "--output", bundle];
    stand.deployment.run(&[token.as_slice(), &to].concat())?;

    let mut command = Command::new("ip");
    command
        .args(["netns", "exec", &namespace.name])
        .arg(program("holdfast-attester")?);
    let tcti = format!("swtpm:host={},port={port}", namespace.tpm);
    let daemon = stand.run_as(command, &tcti, &stand.state(), &["--bundle", bundle])?;
    daemon.hears("event=\"affirmed\" act=\"enrol\"")?;

    namespace.verifiers_cable("down")?;
    daemon.signal(Signal::SIGUSR1)?;
    daemon.hears("event=\"act-failed\"")?;
    daemon.hears("cannot reach")?;
    let failed = daemon.count("event=\"act-failed\"");
    daemon.hears_again("event=\"act-failed\"", failed)?;
    ensure!(daemon.count("event=\"affirmed\"") == 1, "{}", daemon.log());
    namespace.verifiers_cable("up")?;
    daemon.hears("event=\"affirmed\" act=\"attest\"")
}
