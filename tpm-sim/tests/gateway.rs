//! Simulated gateways on a live swtpm, looked at with tpm2-tools.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use holdfast_proto::tpm::HashAlg;
use holdfast_proto::tpm::templates::EkTemplate;
use holdfast_tpm_sim::{BootImage, SimError, SimGateway, SimOptions, Transport};

fn tool(tcti: &str, program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .env("TPM2TOOLS_TCTI", tcti)
        .output()
        .expect("tpm2-tools is installed");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {complaints}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// PCRs of the SHA-256 bank as tpm2-tools read them.
fn pcrs_by_tool(tcti: &str) -> BTreeMap<u32, String> {
    tool(tcti, "tpm2_pcrread", &["sha256:all"])
        .lines()
        .filter_map(|line| {
            let (pcr, value) = line.split_once(": 0x")?;
            Some((pcr.trim().parse().ok()?, value.trim().to_lowercase()))
        })
        .collect()
}

fn golden_pcrs() -> BTreeMap<u32, String> {
    let values = BootImage::golden().boot().replay(HashAlg::Sha256);
    values
        .into_iter()
        .map(|(pcr, value)| (pcr, value.to_string()))
        .collect()
}

/// Asserts that the TPM holds the golden boot's PCRs and nothing more.
fn assert_golden(tcti: &str) {
    let golden = golden_pcrs();
    for (pcr, value) in pcrs_by_tool(tcti) {
        let expected = golden.get(&pcr).cloned().unwrap_or_else(|| {
            if (17..=22).contains(&pcr) {
                "f".repeat(64)
            } else {
                "0".repeat(64)
            }
        });
        assert_eq!(value, expected, "PCR {pcr}");
    }
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}/exe")).exists()
}

#[test]
fn boots_with_the_pcrs_of_its_log() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = SimGateway::start(SimOptions::new(dir.path())).unwrap();
    assert_golden(&gateway.tcti());
    // The same from the log in the file, by an independent reader.
    let log = gateway.boot_log();
    let yaml = tool("", "tpm2_eventlog", &[log.to_str().unwrap()]);
    let (_, sha256) = yaml.rsplit_once("sha256:").unwrap();
    for (pcr, value) in golden_pcrs() {
        assert!(
            sha256.contains(value.trim_start_matches('0')),
            "PCR {pcr} {value}"
        );
    }
    // Only banks that the log has digests for are active.
    let banks = tool(&gateway.tcti(), "tpm2_getcap", &["pcrs"]);
    assert!(!banks.contains("sha384: [ 0"), "{banks}");
}

#[test]
fn reference_values_are_those_of_the_installed_image() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = SimGateway::start(SimOptions::new(dir.path())).unwrap();
    let read = |gateway: &SimGateway| {
        let text = std::fs::read_to_string(gateway.reference_values()).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()
    };
    let values = read(&gateway);
    for (pcr, value) in golden_pcrs() {
        assert_eq!(values["pcrs"]["sha256"][pcr.to_string()][0], value);
    }
    let other = BootImage::golden().with_kernel("6.1.0-99-amd64").boot();
    gateway.reboot_with(&other).unwrap();
    assert_eq!(read(&gateway), values);
    let pcr_4 = other.replay(HashAlg::Sha256)[&4].to_string();
    assert_eq!(pcrs_by_tool(&gateway.tcti())[&4], pcr_4);
}

#[test]
fn extension_is_undone_by_a_power_cycle_only() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = SimGateway::start(SimOptions::new(dir.path())).unwrap();
    let before = gateway.read_pcrs(HashAlg::Sha256).unwrap();
    gateway.extend_pcr(9, b"something new").unwrap();
    let after = gateway.read_pcrs(HashAlg::Sha256).unwrap();
    let extended = HashAlg::Sha256.digest(&[
        before[&9].as_bytes(),
        HashAlg::Sha256.digest(&[b"something new"]).as_bytes(),
    ]);
    assert_eq!(after[&9], extended);
    let (tcti, clock) = (gateway.tcti(), gateway.clock().unwrap());
    gateway.reboot().unwrap();
    assert_eq!(gateway.tcti(), tcti, "a gateway stays where it is");
    assert_golden(&tcti);
    let after = gateway.clock().unwrap();
    assert_eq!(after.reset_count, clock.reset_count + 1);
    assert!(!after.safe, "the power was cut");
}

/// Whoever is connected is cut off with the power, and cannot hold it up.
#[test]
fn a_connected_client_does_not_hold_up_a_power_cycle() {
    let dir = tempfile::tempdir().unwrap();
    let mut gateway = SimGateway::start(SimOptions::new(dir.path())).unwrap();
    let port: u16 = gateway.tcti().rsplit_once('=').unwrap().1.parse().unwrap();
    let _client = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    gateway.reboot().unwrap();
    assert_golden(&gateway.tcti());
}

#[test]
fn a_second_start_is_the_same_gateway() {
    let dir = tempfile::tempdir().unwrap();
    let options = SimOptions {
        ek_certificates: vec![
            EkTemplate::L1,
            EkTemplate::L2,
            EkTemplate::H3,
            EkTemplate::H6,
        ],
        ..SimOptions::new(dir.path())
    };
    let certificates = |gateway: &SimGateway| {
        options
            .ek_certificates
            .iter()
            .map(|template| {
                gateway
                    .ek_certificate(*template)
                    .unwrap()
                    .expect("was provisioned")
            })
            .collect::<Vec<_>>()
    };
    let gateway = SimGateway::start(options.clone()).unwrap();
    let first = certificates(&gateway);
    let pid = gateway.swtpm_pid();
    drop(gateway);
    assert!(!is_alive(pid));
    let gateway = SimGateway::start(options.clone()).unwrap();
    assert_eq!(certificates(&gateway), first);
    assert_golden(&gateway.tcti());
}

/// tpm2-tools make the EK on their own, read its certificate, and OpenSSL finds
/// the same key in it and a path to the vendor's root.
#[test]
fn certificates_in_nv_certify_the_eks() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = SimGateway::start(SimOptions::new(dir.path())).unwrap();
    let tcti = gateway.tcti();
    let file = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    for (algorithm, index) in [("rsa", "0x01C00002"), ("ecc", "0x01C0000A")] {
        let (context, public, certificate) = (file("ek.ctx"), file("ek.pem"), file("ek.der"));
        let args = ["-c", &context, "-G", algorithm, "-u", &public, "-f", "pem"];
        tool(&tcti, "tpm2_createek", &args);
        tool(&tcti, "tpm2_nvread", &["-o", &certificate, index]);
        let spki = [
            "x509",
            "-inform",
            "DER",
            "-in",
            &certificate,
            "-noout",
            "-pubkey",
        ];
        let spki = tool(&tcti, "openssl", &spki);
        assert_eq!(spki, std::fs::read_to_string(&public).unwrap());
        let pem = file("ek-cert.pem");
        tool(
            &tcti,
            "openssl",
            &["x509", "-inform", "DER", "-in", &certificate, "-out", &pem],
        );
        let (root, intermediate) = (
            gateway.vendor().root_path(),
            gateway.vendor().intermediate_path(),
        );
        let (root, intermediate) = (root.to_str().unwrap(), intermediate.to_str().unwrap());
        tool(
            &tcti,
            "openssl",
            &["verify", "-CAfile", root, "-untrusted", intermediate, &pem],
        );
        tool(&tcti, "tpm2_flushcontext", &["-t"]);
    }
    let chain = file("chain.der");
    tool(&tcti, "tpm2_nvread", &["-o", &chain, "0x01C00100"]);
    assert_eq!(
        std::fs::read(&chain).unwrap(),
        gateway.vendor().intermediate_der()
    );
}

#[test]
fn listens_on_a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("tpm.sock");
    let options = SimOptions {
        transport: Transport::Unix(socket.clone()),
        ..SimOptions::new(dir.path().join("gateway"))
    };
    let mut gateway = SimGateway::start(options).unwrap();
    assert_eq!(gateway.tcti(), format!("swtpm:path={}", socket.display()));
    assert_golden(&gateway.tcti());
    assert_eq!(
        socket.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    gateway.extend_pcr(7, b"x").unwrap();
    gateway.reboot().unwrap();
    assert_golden(&gateway.tcti());
    drop(gateway);
    assert!(!socket.exists() && !dir.path().join("tpm.sock.ctrl").exists());
}

#[test]
fn many_start_at_once_and_each_has_its_own_tpm() {
    let dir = tempfile::tempdir().unwrap();
    let vendor = dir.path().join("vendor");
    let start = |n: usize| {
        let mut options = SimOptions::new(dir.path().join(n.to_string()));
        options.vendor_ca = Some(vendor.clone());
        options.ek_certificates = vec![EkTemplate::L2];
        SimGateway::start(options).unwrap()
    };
    let gateways: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|n| scope.spawn(move || start(n))).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let mut certificates: Vec<_> = gateways
        .iter()
        .map(|gateway| gateway.ek_certificate(EkTemplate::L2).unwrap())
        .collect();
    certificates.sort();
    certificates.dedup();
    assert_eq!(certificates.len(), 8);
    for gateway in &gateways {
        assert_golden(&gateway.tcti());
    }
}

/// The thread that started it ends, and the gateway lives on.
#[test]
fn lives_longer_than_the_thread_that_started_it() {
    let dir = tempfile::tempdir().unwrap();
    let options = SimOptions::new(dir.path());
    let mut gateway = std::thread::spawn(|| SimGateway::start(options).unwrap())
        .join()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(50));
    assert!(gateway.is_running());
}

#[test]
fn refuses_a_directory_in_use_and_a_path_that_swtpm_cannot_take() {
    let dir = tempfile::tempdir().unwrap();
    let _first = SimGateway::start(SimOptions::new(dir.path())).unwrap();
    let second = SimGateway::start(SimOptions {
        transport: Transport::Unix(dir.path().join("other.sock")),
        ..SimOptions::new(dir.path())
    });
    assert!(matches!(second, Err(SimError::Swtpm { .. })), "{second:?}");
    let comma = SimGateway::start(SimOptions::new(dir.path().join("a,b")));
    assert!(matches!(comma, Err(SimError::Path { .. })), "{comma:?}");
    let file = dir.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    let occupied = SimGateway::start(SimOptions {
        transport: Transport::Unix(file.clone()),
        ..SimOptions::new(dir.path().join("third"))
    });
    assert!(
        matches!(occupied, Err(SimError::Path { .. })),
        "{occupied:?}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}
