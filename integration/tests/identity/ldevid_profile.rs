//! LDevIDs by the profile of a class, issued to a live swtpm, as OpenSSL and
//! GnuTLS read them.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use holdfast_integration::{Scene, oracle, story};

const PROFILE: &str = r#"
[class.edge.ldevid]
validity_seconds = 43200
spiffe_trust_domain = "edge.example.org"
dns_names = ["{id32}.edge.example.org"]
uris = ["urn:example:{class}:{id}"]
extended_key_usages = ["server-auth"]
mud_url = "https://mud.example.org/edge.json"
"#;

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path that is text")
}

/// Enrols in `class`; the gateway's id, and the file of its chain.
fn enrolled(scene: &mut Scene, class: &str) -> Result<(String, PathBuf)> {
    let references = scene.gateway.sim().describe().reference_values;
    scene.deployment.import_references(class, &references)?;
    let id = story::enrol(&mut scene.gateway, &scene.deployment, class)?;
    let output = scene.deployment.scratch().join(format!("key-{class}"));
    let export = ["key", "export", "--format", "tss2-pem", "--output"];
    scene
        .gateway
        .run(&[&export[..], &[text(&output)?]].concat())?;
    Ok((id, output.join("ldevid.chain.pem")))
}

/// RFC 4648 §6 in lower case, by Python.
fn base32(hex: &str) -> Result<String> {
    let program = "import base64, sys; \
        print(base64.b32encode(bytes.fromhex(sys.argv[1])).decode().rstrip('=').lower())";
    Ok(oracle::run("python3", ["-c", program, hex])?
        .trim()
        .to_owned())
}

#[test]
fn the_profile_of_a_class_is_in_its_ldevids_and_in_no_other() -> Result<()> {
    let mut scene = Scene::with(
        |_| {},
        |configuration| format!("{configuration}\n{PROFILE}"),
    )?;
    let (id, chain) = enrolled(&mut scene, "edge")?;
    oracle::openssl_verify(&scene.deployment.dir().join("root-ca.pem"), &chain)?;
    let names = [
        format!("spiffe://edge.example.org/gateway/{id}"),
        format!("{}.edge.example.org", base32(&id[2..])?),
        format!("urn:example:edge:{id}"),
        "https://mud.example.org/edge.json".to_owned(),
    ];

    let shown = oracle::openssl_text(&chain)?;
    let [spiffe, dns, uri, mud] = &names;
    for wanted in [
        &format!("URI:{spiffe}"),
        &format!("DNS:{dns}"),
        &format!("URI:{uri}"),
        mud,
        "1.3.6.1.5.5.7.1.25",
        "TLS Web Client Authentication, TLS Web Server Authentication",
        "2.23.133.11.1.2",
    ] {
        ensure!(shown.contains(wanted), "{wanted:?} is not in {shown}");
    }
    // Twelve hours.
    let file = text(&chain)?;
    let left = |seconds: &str| {
        oracle::run(
            "openssl",
            ["x509", "-in", file, "-noout", "-checkend", seconds],
        )
    };
    ensure!(left("42000").is_ok() && left("43300").is_err());

    if oracle::present("certtool") {
        let shown = oracle::run("certtool", ["--certificate-info", "--infile", file])?;
        for wanted in [
            &format!("URI: {spiffe}"),
            &format!("DNSname: {dns}"),
            &format!("URI: {uri}"),
            mud,
            "1.3.6.1.5.5.7.1.25",
            "TLS WWW Client.",
            "TLS WWW Server.",
        ] {
            ensure!(shown.contains(wanted), "{wanted:?} is not in {shown}");
        }
    }

    // Another class has none of it.
    scene.gateway = scene.another_gateway("plain")?;
    let (_, chain) = enrolled(&mut scene, "default")?;
    let shown = oracle::openssl_text(&chain)?;
    for absent in [
        "edge.example.org",
        "urn:example",
        "1.3.6.1.5.5.7.1.25",
        "Web Server",
    ] {
        ensure!(!shown.contains(absent), "{absent:?} is in {shown}");
    }
    Ok(())
}
