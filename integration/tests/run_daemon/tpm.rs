//! A TPM that is reset, taken by others, or gone for a while.

use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use holdfast_attester::tpm::{TctiName, Tpm};
use holdfast_integration::oracle;
use nix::sys::signal::Signal;

use crate::stand::Stand;

#[test]
fn a_tpm_that_was_reset_is_used_again() -> Result<()> {
    let mut stand = Stand::new()?;
    let daemon = stand.enrolled()?;
    stand.sim.reboot()?;
    let before = daemon.count("event=\"affirmed\"");
    daemon.signal(Signal::SIGUSR1)?;
    daemon.hears_again("event=\"affirmed\"", before)?;
    ensure!(
        daemon.count("event=\"act-failed\"") == 0,
        "{}",
        daemon.log()
    );
    Ok(())
}

#[test]
fn a_tpm_that_another_program_has_is_waited_for() -> Result<()> {
    let stand = Stand::new()?;
    let daemon = stand.enrolled()?;
    // swtpm serves one connection at a time, as /dev/tpm0 has one opener.
    let TctiName::Swtpm { host, port } = stand.sim.tcti().parse()? else {
        bail!("not over TCP");
    };
    let other = TcpStream::connect((host, port))?;
    let affirmed = daemon.count("event=\"affirmed\"");
    daemon.signal(Signal::SIGUSR1)?;
    daemon.hears("did not answer within")?;
    ensure!(daemon.count("event=\"affirmed\"") == affirmed);
    drop(other);
    daemon.hears_again("event=\"affirmed\"", affirmed)
}

#[test]
fn between_acts_others_have_the_tpm() -> Result<()> {
    let stand = Stand::new()?;
    let daemon = stand.enrolled()?;
    std::thread::sleep(Duration::from_millis(200));
    let other = Tpm::open(&stand.sim.tcti().parse::<TctiName>()?)?;
    let facts = other.facts()?;
    // Nothing of the daemon's is left in it: a bare TPM has three slots of each.
    ensure!(facts.free_transient >= Some(3), "{facts:?}");
    ensure!(facts.free_sessions >= Some(3), "{facts:?}");
    drop(daemon);
    Ok(())
}

#[test]
fn what_others_have_loaded_stays_loaded() -> Result<()> {
    let stand = Stand::new()?;
    let daemon = stand.enrolled()?;
    let tcti = stand.sim.tcti();
    let context = stand.deployment.scratch().join("other.ctx");
    let context = context.to_str().context("path")?;
    // On a bare TPM, tpm2-tools leave what they load where it is.
    oracle::run(
        "tpm2_createprimary",
        [
            "-T", &tcti, "-C", "n", "-g", "sha256", "-G", "ecc", "-c", context,
        ],
    )?;
    let loaded = || oracle::run("tpm2_getcap", ["-T", &tcti, "handles-transient"]);
    let before = loaded()?;
    ensure!(before.contains("0x80"), "{before}");
    let affirmed = daemon.count("event=\"affirmed\"");
    daemon.signal(Signal::SIGUSR1)?;
    daemon.hears_again("event=\"affirmed\"", affirmed)?;
    ensure!(loaded()? == before);
    ensure!(
        daemon.count("event=\"act-failed\"") == 0,
        "{}",
        daemon.log()
    );
    Ok(())
}
