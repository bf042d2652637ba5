//! Programs that link OpenSSL, with the exported key.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use holdfast_integration::skip;

use crate::daemons::{Abrmd, Nginx, missing};
use crate::stand::{Stand, curl, words};

#[test]
fn the_export_has_the_right_modes_and_openssl_reads_it() -> Result<()> {
    if let Some(lacking) = missing(&[]) {
        skip!("{lacking}");
    }
    let mut stand = Stand::new()?;
    for (name, mode) in [
        ("ldevid.tss2.pem", 0o600),
        ("ldevid.chain.pem", 0o644),
        ("openssl.cnf", 0o644),
        ("openssl.env", 0o644),
    ] {
        let found = std::fs::metadata(stand.exported.join(name))?.mode() & 0o7777;
        ensure!(found == mode, "{name} has mode {found:04o}");
    }
    // OpenSSL finds in the key what the certificate certifies, signs with it
    // in the TPM, and checks that without a TPM.
    let (environment, key) = (stand.environment()?, stand.key());
    let signature = stand.folder("signature");
    let public = stand.folder("public.pem");
    let chain = stand.chain();
    stand.scene.gateway.with_sim(|_| -> Result<()> {
        let mut sign = Command::new("openssl");
        sign.args(["dgst", "-sha256", "-sign"])
            .arg(&key)
            .arg("-out")
            .arg(&signature)
            .arg(&chain)
            .envs(environment);
        let output = sign.output()?;
        ensure!(output.status.success(), "{}", words(&output));
        Ok(())
    })?;
    let output = Command::new("openssl")
        .args(["x509", "-noout", "-pubkey", "-in"])
        .arg(&chain)
        .output()?;
    std::fs::write(&public, output.stdout)?;
    let output = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify"])
        .arg(&public)
        .arg("-signature")
        .arg(&signature)
        .arg(&chain)
        .output()?;
    ensure!(words(&output).contains("Verified OK"), "{}", words(&output));
    Ok(())
}

#[test]
fn cve_c14_no_export_where_others_could_replace_it() -> Result<()> {
    let mut stand = Stand::new()?;
    let shared = stand.folder("shared");
    std::fs::create_dir(&shared)?;
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777))?;
    let output = ["key", "export", "--output", shared.to_str().unwrap_or("")];
    let output = stand.scene.gateway.try_run(&output)?;
    ensure!(output.status.code() == Some(1), "{}", words(&output));
    let said = words(&output);
    ensure!(
        said.contains("has mode 0777: others could replace"),
        "{said}"
    );
    ensure!(std::fs::read_dir(&shared)?.next().is_none());
    Ok(())
}

/// nginx as a TLS 1.3 server with the TPM's key: three handshakes, each with a
/// signature by the TPM, checked by a client without one.
#[test]
fn nginx_serves_tls_with_the_ldevid() -> Result<()> {
    if let Some(lacking) = missing(&["nginx"]) {
        skip!("{lacking}");
    }
    let mut stand = Stand::new()?;
    let server = format!(
        "ssl_certificate {};\nssl_certificate_key {};\nlocation / {{ return 200 \"served\"; }}",
        stand.chain().display(),
        stand.key().display()
    );
    let (environment, folder) = (stand.environment()?, stand.folder("nginx"));
    let (root, id) = (stand.root(), stand.id.clone());
    stand.scene.gateway.with_sim(|_| -> Result<()> {
        let nginx = Nginx::start(&folder, &server, &environment)?;
        for _ in 0..3 {
            // An LDevID of the default profile is for clients: hence any purpose.
            let mut client = Command::new("openssl");
            client
                .args(["s_client", "-connect", &format!("127.0.0.1:{}", nginx.port)])
                .args(["-tls1_3", "-verify_return_error", "-purpose", "any"])
                .arg("-CAfile")
                .arg(&root)
                .stdin(Stdio::null());
            let said = words(&client.output()?);
            for part in [
                "Verify return code: 0 (ok)",
                "Peer signature type: ECDSA",
                &id[2..],
            ] {
                ensure!(
                    said.contains(part),
                    "{part:?} is not in {said}\n{}",
                    nginx.daemon.log()
                );
            }
        }
        Ok(())
    })
}

/// curl as a client behind tpm2-abrmd, of an nginx that requires LDevIDs of
/// this verifier's CA.
#[test]
fn curl_proves_itself_to_nginx_with_the_ldevid() -> Result<()> {
    let programs = ["nginx", "curl", "tpm2-abrmd", "dbus-daemon", "tpm2_getcap"];
    if let Some(lacking) = missing(&programs) {
        skip!("{lacking}");
    }
    let mut stand = Stand::new()?;
    let (server_key, server_certificate) = stand.software_server()?;
    let server = require_ldevids(&server_certificate, &server_key, &stand.root());
    let mut environment = stand.environment()?;
    let (nginx, abrmd) = (stand.folder("nginx"), stand.folder("abrmd"));
    let (key, chain) = (stand.key(), stand.chain());
    let id = stand.id.clone();
    stand.scene.gateway.with_sim(|sim| -> Result<()> {
        let nginx = Nginx::start(&nginx, &server, &[])?;
        let abrmd = Abrmd::start(&abrmd, &sim.tcti())?;
        environment.extend(abrmd.environment());
        for _ in 0..2 {
            let mut client = curl(nginx.port, &server_certificate);
            client.arg("--cert").arg(&chain).arg("--key").arg(&key);
            let output = client.envs(environment.iter().cloned()).output()?;
            let said = words(&output);
            ensure!(
                said.contains("SUCCESS") && said.contains(&id[2..]),
                "{said}"
            );
        }
        // The server does ask.
        let said = words(&curl(nginx.port, &server_certificate).output()?);
        ensure!(said.contains("No required SSL certificate"), "{said}");
        // And does not take anybody's certificate.
        let mut stranger = curl(nginx.port, &server_certificate);
        stranger.arg("--cert").arg(&server_certificate);
        stranger.arg("--key").arg(&server_key);
        let said = words(&stranger.output()?);
        ensure!(said.contains("SSL certificate error"), "{said}");
        Ok(())
    })
}

/// What docs/using-the-ldevid.md says that does not work, and why.
#[test]
fn on_a_bare_tpm_an_openssl_client_runs_out_of_slots() -> Result<()> {
    if let Some(lacking) = missing(&["nginx", "curl"]) {
        skip!("{lacking}");
    }
    let mut stand = Stand::new()?;
    let (server_key, server_certificate) = stand.software_server()?;
    let server = require_ldevids(&server_certificate, &server_key, &stand.root());
    let (environment, folder) = (stand.environment()?, stand.folder("nginx"));
    let (key, chain) = (stand.key(), stand.chain());
    stand.scene.gateway.with_sim(|_| -> Result<()> {
        let nginx = Nginx::start(&folder, &server, &[])?;
        let mut client = Command::new("openssl");
        client
            .args(["s_client", "-connect", &format!("127.0.0.1:{}", nginx.port)])
            .arg("-cert")
            .arg(&chain)
            .arg("-key")
            .arg(&key)
            .arg("-CAfile")
            .arg(&server_certificate)
            .envs(environment)
            .stdin(Stdio::null());
        let said = words(&client.output()?);
        let cause = "cannot duplicate context";
        ensure!(said.contains(cause), "{said}");
        ensure!(
            said.contains("2306 tpm:warn(2.0): out of memory for object contexts"),
            "{said}"
        );
        Ok(())
    })
}

pub(crate) fn require_ldevids(certificate: &Path, key: &Path, root: &Path) -> String {
    format!(
        "ssl_certificate {};\nssl_certificate_key {};\nssl_client_certificate {};\n\
         ssl_verify_client on;\nssl_verify_depth 2;\n\
         location / {{ return 200 \"$ssl_client_verify $ssl_client_s_dn\"; }}",
        certificate.display(),
        key.display(),
        root.display()
    )
}
