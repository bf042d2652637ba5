//! What the simulated OEM leaves in a TPM, looked at with tpm2-tools, OpenSSL
//! and certtool.

use std::fs;
use std::path::Path;
use std::process::Command;

use holdfast_proto::tpm::devid::{
    DevidKey, DevidTemplate, DevidUnique, IAK_CERTIFICATE_NV, IAK_HANDLE, IDEVID_CERTIFICATE_NV,
};
use holdfast_tpm_sim::{OemOptions, SimGateway, SimOptions};

fn run(program: &str, args: &[&str], tcti: &str) -> String {
    let output = Command::new(program)
        .args(args)
        .env("TPM2TOOLS_TCTI", tcti)
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn gateway(dir: &Path, oem: OemOptions) -> SimGateway {
    SimGateway::start(SimOptions {
        ek_certificates: Vec::new(),
        oem: Some(oem),
        ..SimOptions::new(dir)
    })
    .expect("swtpm is installed")
}

/// The leaf of what an index holds: OpenSSL reads the first DER value.
fn certificate(gateway: &SimGateway, index: u32, to: &Path) -> String {
    let content = gateway.nv_load(index).expect("NV can be read");
    fs::write(to, content.expect("the OEM wrote it")).expect("a folder of ours");
    let file = to.to_str().expect("a plain path");
    let pem = run("openssl", &["x509", "-inform", "DER", "-in", file], "");
    fs::write(to, &pem).expect("a folder of ours");
    pem
}

#[test]
fn certificates_are_read_and_verified_by_openssl_and_certtool() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(&dir.path().join("g"), OemOptions::new());
    let described = gateway.describe().oem.unwrap();
    let root = described.root.to_str().unwrap();
    let intermediate = described.intermediate.to_str().unwrap();
    for (index, name) in [
        (IAK_CERTIFICATE_NV, "iak.pem"),
        (IDEVID_CERTIFICATE_NV, "idevid.pem"),
    ] {
        let file = dir.path().join(name);
        certificate(&gateway, index, &file);
        let file = file.to_str().unwrap();
        let verify = [
            "verify",
            "-x509_strict",
            "-CAfile",
            root,
            "-untrusted",
            intermediate,
            file,
        ];
        run("openssl", &verify, "");
        let text = run("openssl", &["x509", "-noout", "-text", "-in", file], "");
        assert!(
            text.contains("Not After : Dec 31 23:59:59 9999 GMT"),
            "{text}"
        );
        assert!(
            text.contains(&format!("serialNumber = {}", described.serial)),
            "{text}"
        );
        assert!(text.contains("1.3.6.1.5.5.7.8.4"), "{text}");
        assert_eq!(text.contains("2.23.133.8.3"), name == "iak.pem", "{text}");
        let text = run("certtool", &["--certificate-info", "--infile", file], "");
        assert!(text.contains(&described.serial), "{text}");
    }
}

#[test]
fn tpm2_tools_make_the_certified_key_from_the_same_template() {
    let dir = tempfile::tempdir().unwrap();
    let gateway = gateway(
        &dir.path().join("g"),
        OemOptions {
            persistent: true,
            ..OemOptions::new()
        },
    );
    let pem = dir.path().join("iak.pub.pem");
    let handle = format!("{IAK_HANDLE:#x}");
    let args = ["-c", &handle, "-f", "pem", "-o", pem.to_str().unwrap()];
    let shown = run("tpm2_readpublic", &args, &gateway.tcti());
    assert!(shown.contains("raw: 0x500f2"), "{shown}");
    let policy = DevidKey::Iak
        .auth_policy(DevidTemplate::H2.hash())
        .to_string();
    assert!(shown.contains(&policy), "{shown}");
    let file = dir.path().join("iak.pem");
    certificate(&gateway, IAK_CERTIFICATE_NV, &file);
    let key = run(
        "openssl",
        &["x509", "-noout", "-pubkey", "-in", file.to_str().unwrap()],
        "",
    );
    assert_eq!(key, fs::read_to_string(pem).unwrap());
}

/// Each template in each convention is a key of its own on one TPM: makers that
/// follow another convention have other keys, which all must be tried.
#[test]
fn templates_and_conventions_each_make_another_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut keys = std::collections::BTreeSet::new();
    let mut made = 0;
    for template in [DevidTemplate::H2, DevidTemplate::H3, DevidTemplate::H4] {
        for unique in DevidUnique::ALL {
            let gateway = gateway(
                &dir.path().join("g"),
                OemOptions {
                    template,
                    unique,
                    ..OemOptions::new()
                },
            );
            let oem = gateway.oem().unwrap();
            for (key, public) in [(DevidKey::Idevid, &oem.idevid), (DevidKey::Iak, &oem.iak)] {
                assert_eq!(DevidTemplate::matching(public, key), Some(template));
                keys.insert(public.to_spki_der().unwrap());
                made += 1;
            }
        }
    }
    assert_eq!(keys.len(), made);
}
