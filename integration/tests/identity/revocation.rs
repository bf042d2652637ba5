//! Revocation as relying parties see it: CRLs and OCSP over HTTP, read by
//! OpenSSL and curl; and the acceptor, against the clock.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use holdfast_attester::state::Enrolled;
use holdfast_integration::{Scene, oracle, skip};

/// What docs/revocation.md promises for the acceptor, and what a CRL takes at
/// most: it is looked for twice in that time.
const BOUND: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(20);

/// SQL by Python's sqlite3: nothing of ours.
pub(super) fn sql(store: &Path, script: &str) -> Result<()> {
    let program = "import sqlite3,sys\nc=sqlite3.connect(sys.argv[1])\n\
                   c.executescript(sys.stdin.read())\nc.close()";
    let arguments = ["-c", program, &store.display().to_string()];
    oracle::run_with_input("python3", arguments, script.as_bytes()).map(drop)
}

/// A scene whose verifier publishes, and where.
struct Published {
    scene: Scene,
    base: String,
}

impl Published {
    fn new(table: &str) -> Result<Self> {
        let address = free_address()?;
        let base = format!("http://{address}");
        let table =
            format!("listen = \"{address}\"\npublic_url = \"{base}\"\nocsp_seconds = 60\n{table}");
        let scene = Scene::with(|_| {}, |text| set_revocation(&text, &table))?;
        Ok(Self { scene, base })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scene.deployment.scratch().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The LDevID as a file, and its issuer.
    fn write(&self, enrolled: &Enrolled) -> Result<()> {
        for (name, der) in ["ldevid", "issuing"].iter().zip(&enrolled.ldevid_chain) {
            std::fs::write(self.path(&format!("{name}.der")), der)?;
            openssl(&format!(
                "x509 -inform DER -in {} -out {}",
                self.text(&format!("{name}.der")),
                self.text(&format!("{name}.pem"))
            ))?;
        }
        Ok(())
    }

    /// The URL in the LDevID that OpenSSL shows after `label`.
    fn url(&self, label: &str) -> Result<String> {
        let shown = oracle::openssl_text(&self.path("ldevid.pem"))?;
        let start = shown
            .find(label)
            .with_context(|| format!("no {label} in {shown}"))?;
        let rest = &shown[start + label.len()..];
        Ok(rest
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .to_owned())
    }

    fn crl_url(&self) -> Result<String> {
        let shown = oracle::openssl_text(&self.path("ldevid.pem"))?;
        let points = shown.find("CRL Distribution Points").context("no CRL")?;
        let url = shown[points..].split("URI:").nth(1).context("no URI")?;
        Ok(url.split_whitespace().next().unwrap_or_default().to_owned())
    }

    /// `openssl verify -crl_check` with the CRL that the LDevID names, fetched
    /// now: what it says.
    fn verify(&self) -> Result<String> {
        let (crl, pem) = (self.text("now.crl"), self.text("now.pem"));
        curl(&["-o", &crl, &self.crl_url()?])?;
        openssl(&format!("crl -inform DER -in {crl} -out {pem}"))?;
        let root = self.scene.deployment.dir().join("root-ca.pem");
        let output = std::process::Command::new("openssl")
            .args(["verify", "-x509_strict", "-crl_check", "-CRLfile", &pem])
            .arg("-CAfile")
            .arg(root)
            .args([
                "-untrusted",
                &self.text("issuing.pem"),
                &self.text("ldevid.pem"),
            ])
            .output()?;
        Ok(format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// `openssl ocsp` over HTTP: what it says.
    fn ocsp(&self, more: &[&str]) -> Result<String> {
        let url = self.url("OCSP - URI:")?;
        self.ocsp_at(&url, &self.text("issuing.pem"), more)
    }

    fn ocsp_at(&self, url: &str, issuer: &str, more: &[&str]) -> Result<String> {
        let root = self.scene.deployment.dir().join("root-ca.pem");
        let output = std::process::Command::new("openssl")
            .args(["ocsp", "-url", url, "-issuer", issuer, "-CAfile"])
            .arg(root)
            .args(["-verify_other", &self.text("issuing.pem")])
            .args(more)
            .output()?;
        Ok(format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ))
    }

    /// Until `look` says so, or patience ends.
    fn until(&self, what: &str, look: impl Fn() -> Result<bool>) -> Result<Duration> {
        let began = Instant::now();
        while !look()? {
            ensure!(began.elapsed() < PATIENCE, "{what}: not in {PATIENCE:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(began.elapsed())
    }
}

impl Published {
    /// Restarts with another `public_url`.
    fn move_url(&mut self, from: &str, to: &str) -> Result<()> {
        self.scene.deployment.stop()?;
        let path = self.scene.deployment.dir().join("config.toml");
        let text = std::fs::read_to_string(&path)?;
        let line = |url: &str| format!("public_url = \"{url}\"");
        ensure!(text.contains(&line(from)), "{text}");
        std::fs::write(&path, text.replace(&line(from), &line(to)))?;
        self.scene.deployment.serve()
    }
}

fn free_address() -> Result<SocketAddr> {
    // Free now; a test that finds it taken fails to start, and says so.
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn set_revocation(text: &str, table: &str) -> String {
    let start = text.find("[revocation]").expect("the sample has the table");
    let rest = &text[start + 1..];
    let end = rest.find("\n[").map_or(text.len(), |end| start + 1 + end);
    format!("{}[revocation]\n{table}\n{}", &text[..start], &text[end..])
}

fn openssl(arguments: &str) -> Result<String> {
    oracle::run("openssl", arguments.split_whitespace())
}

fn curl(arguments: &[&str]) -> Result<String> {
    let common = ["--silent", "--show-error", "--max-time", "10"];
    oracle::run("curl", common.iter().chain(arguments))
}

/// Status and headers of a request; names in lower case.
fn head(arguments: &[&str]) -> Result<String> {
    let shown = curl(&[&["--include", "--output", "-"], arguments].concat())?;
    Ok(shown
        .split("\r\n\r\n")
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase())
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

/// After a rotation both CAs speak for what they issued: the old one's CRL and
/// its OCSP responder go on, for what is revoked only then too; the new one has
/// its own.
#[tokio::test]
async fn a_rotated_ca_goes_on_telling_of_what_it_issued() -> Result<()> {
    if !oracle::present("curl") {
        skip!("curl is not installed (apt install curl)");
    }
    let published = Published::new("")?;
    let old = published.scene.enrol().await?;
    published
        .scene
        .deployment
        .run(&["key", "rotate", "issuing"])?;
    let other = published.scene.another_gateway("other")?;
    let bundle = published
        .scene
        .deployment
        .bundle_with(&holdfast_integration::TokenOptions::default())?;
    let new = holdfast_integration::scene::enrol(&other, &bundle).await?;
    ensure!(
        old.ldevid_chain[1] != new.ldevid_chain[1],
        "one CA for both"
    );
    let ldevid = published.text("ldevid.pem");
    let ask = ["-cert", ldevid.as_str()];
    let good = |enrolled: &Enrolled| -> Result<()> {
        published.write(enrolled)?;
        let said = published.verify()?;
        ensure!(said.contains("ldevid.pem: OK"), "{said}");
        let said = published.ocsp(&ask)?;
        ensure!(said.contains("Response verify OK"), "{said}");
        ensure!(said.contains("ldevid.pem: good"), "{said}");
        Ok(())
    };
    good(&old)?;
    good(&new)?;

    let id = old.gateway_id.to_string();
    published
        .scene
        .deployment
        .run(&["gateway", "revoke", &id])?;
    published.write(&old)?;
    published.until("the old CA's CRL", || {
        Ok(published.verify()?.contains("certificate revoked"))
    })?;
    let said = published.ocsp(&ask)?;
    ensure!(said.contains("Response verify OK"), "{said}");
    ensure!(said.contains("ldevid.pem: revoked"), "{said}");
    good(&new)
}

#[tokio::test]
async fn openssl_goes_by_crl_and_ocsp_from_grant_to_revocation_and_over_kill_9() -> Result<()> {
    if !oracle::present("curl") {
        skip!("curl is not installed (apt install curl)");
    }
    let mut published = Published::new("")?;
    let enrolled = published.scene.enrol().await?;
    published.write(&enrolled)?;
    let ldevid = published.text("ldevid.pem");
    let ask = ["-cert", ldevid.as_str()];

    // Good, by all three.
    let said = published.verify()?;
    ensure!(said.contains("ldevid.pem: OK"), "{said}");
    let said = published.ocsp(&ask)?;
    ensure!(said.contains("Response verify OK"), "{said}");
    ensure!(said.contains("ldevid.pem: good"), "{said}");
    ensure!(!said.contains("no nonce in response"), "{said}");
    for more in [["-no_nonce"], ["-sha256"]] {
        let said = published.ocsp(&[&more[..], &ask].concat())?;
        ensure!(said.contains("ldevid.pem: good"), "{more:?}: {said}");
    }
    // Never issued: unknown, and never good.
    let said = published.ocsp(&["-serial", "0x1122334455667788"])?;
    ensure!(said.contains("unknown"), "{said}");
    // Another issuer: not ours to answer.
    openssl(&format!(
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=other -keyout {} \
         -out {}",
        published.text("other.key"),
        published.text("other.pem")
    ))?;
    let url = published.url("OCSP - URI:")?;
    let said = published.ocsp_at(&url, &published.text("other.pem"), &["-serial", "1"])?;
    ensure!(said.contains("unauthorized (6)"), "{said}");
    // The issuing CA's certificate is where the LDevID says.
    let issuer = published.url("CA Issuers - URI:")?;
    curl(&["-o", &published.text("fetched.der"), &issuer])?;
    ensure!(std::fs::read(published.path("fetched.der"))? == enrolled.ldevid_chain[1]);

    // Revoked, answered, killed at once: every one of them knows it afterwards.
    let id = enrolled.gateway_id.to_string();
    published.scene.deployment.run(&[
        "gateway",
        "revoke",
        &id,
        "--reason-code",
        "key-compromise",
        "--reason",
        "stolen",
    ])?;
    published.scene.deployment.crash_and_restart()?;
    let said = published.ocsp(&ask)?;
    ensure!(said.contains("ldevid.pem: revoked"), "{said}");
    ensure!(said.contains("Reason: keyCompromise"), "{said}");
    ensure!(said.contains("Revocation Time: "), "{said}");
    published.until("the CRL", || {
        Ok(published.verify()?.contains("certificate revoked"))
    })?;
    let shown = openssl(&format!(
        "crl -inform DER -in {} -noout -text",
        published.text("now.crl")
    ))?;
    ensure!(shown.contains("Key Compromise"), "{shown}");
    let refused = published.scene.gateway.try_run(&["attest"])?;
    let words = String::from_utf8_lossy(&refused.stderr).into_owned();
    ensure!(words.contains("CertificateRevoked"), "{words}");
    Ok(())
}

#[tokio::test]
async fn a_suspension_is_told_within_a_second_and_resuming_brings_nothing_back() -> Result<()> {
    let published = Published::new("")?;
    let enrolled = published.scene.enrol().await?;
    published.write(&enrolled)?;
    let ldevid = published.text("ldevid.pem");
    let ask = ["-no_nonce", "-cert", ldevid.as_str()];
    // Into the responder's memory.
    ensure!(published.ocsp(&ask)?.contains("good"));
    let number = |crl: &Path| -> Result<u64> {
        let shown = openssl(&format!(
            "crl -inform DER -in {} -noout -crlnumber",
            crl.display()
        ))?;
        let hex = shown.trim().trim_start_matches("crlNumber=0x");
        Ok(u64::from_str_radix(hex, 16)?)
    };
    published.verify()?;
    let before = number(&published.path("now.crl"))?;

    let id = enrolled.gateway_id.to_string();
    published
        .scene
        .deployment
        .run(&["gateway", "suspend", &id])?;
    let answered = Instant::now();
    // What was kept from before is not given any more.
    let said = published.ocsp(&ask)?;
    ensure!(said.contains("ldevid.pem: revoked"), "{said}");
    published.until("the CRL", || {
        Ok(published.verify()?.contains("certificate revoked"))
    })?;
    eprintln!("CRL seen {:?} after the answer", answered.elapsed());
    let shown = openssl(&format!(
        "crl -inform DER -in {} -noout -text",
        published.text("now.crl")
    ))?;
    ensure!(shown.contains("Privilege Withdrawn"), "{shown}");
    ensure!(number(&published.path("now.crl"))? > before);

    published
        .scene
        .deployment
        .run(&["gateway", "resume", &id])?;
    ensure!(published.ocsp(&ask)?.contains("ldevid.pem: revoked"));
    ensure!(published.verify()?.contains("certificate revoked"));
    Ok(())
}

#[tokio::test]
async fn caches_are_told_what_they_may_do() -> Result<()> {
    if !oracle::present("curl") {
        skip!("curl is not installed (apt install curl)");
    }
    let published = Published::new("crl_seconds = 120\ncache_seconds = 90")?;
    let enrolled = published.scene.enrol().await?;
    published.write(&enrolled)?;
    let url = published.crl_url()?;

    let first = head(&[&url])?;
    ensure!(first.starts_with("http/1.1 200"), "{first}");
    ensure!(
        header(&first, "content-type") == Some("application/pkix-crl"),
        "{first}"
    );
    let control = header(&first, "cache-control").context("cache-control")?;
    let age: u32 = control
        .split("max-age=")
        .nth(1)
        .and_then(|rest| rest.split(',').next())
        .context("max-age")?
        .parse()?;
    ensure!((1..=90).contains(&age), "{control}");
    let tag = header(&first, "etag").context("etag")?.to_owned();
    let date = header(&first, "last-modified")
        .context("last-modified")?
        .to_owned();
    ensure!(header(&first, "expires").is_some(), "{first}");

    let same = head(&["-H", &format!("If-None-Match: {tag}"), &url])?;
    ensure!(same.starts_with("http/1.1 304"), "{same}");
    let other = head(&["-H", "If-None-Match: \"x\"", &url])?;
    ensure!(other.starts_with("http/1.1 200"), "{other}");
    let same = head(&["--time-cond", &date, &url])?;
    ensure!(same.starts_with("http/1.1 304"), "{same}");
    let head_only = curl(&["--head", &url])?.to_ascii_lowercase();
    ensure!(head_only.contains("content-length: "), "{head_only}");
    ensure!(!head_only.contains("content-length: 0"), "{head_only}");
    for method in ["POST", "PUT", "DELETE"] {
        let refused = head(&["-X", method, &url])?;
        ensure!(refused.starts_with("http/1.1 405"), "{method}: {refused}");
        ensure!(header(&refused, "allow") == Some("get, head"), "{refused}");
    }
    for path in ["/", "/crl/00.crl", "/../config.toml", "/ocspx"] {
        let gone = head(&["--path-as-is", &format!("{}{path}", published.base)])?;
        ensure!(gone.starts_with("http/1.1 404"), "{path}: {gone}");
    }

    // OCSP by GET: the request that OpenSSL writes, in base64.
    let (ldevid, issuing) = (published.text("ldevid.pem"), published.text("issuing.pem"));
    let request = published.text("request.der");
    openssl(&format!(
        "ocsp -no_nonce -issuer {issuing} -cert {ldevid} -reqout {request}"
    ))?;
    let encoded = openssl(&format!("base64 -A -in {request}"))?
        .trim()
        .replace('+', "%2B")
        .replace('/', "%2F")
        .replace('=', "%3D");
    let get = format!("{}/ocsp/{encoded}", published.base);
    let first = head(&[&get])?;
    ensure!(first.starts_with("http/1.1 200"), "{first}");
    ensure!(
        header(&first, "content-type") == Some("application/ocsp-response"),
        "{first}"
    );
    ensure!(first.contains("max-age="), "{first}");
    let tag = header(&first, "etag").context("etag")?.to_owned();
    let same = head(&["-H", &format!("If-None-Match: {tag}"), &get])?;
    ensure!(same.starts_with("http/1.1 304"), "{same}");
    let body = published.text("response.der");
    curl(&["-o", &body, &get])?;
    let shown = openssl(&format!("ocsp -respin {body} -noverify -resp_text"))?;
    ensure!(shown.contains("Cert Status: good"), "{shown}");

    // And what is no request gets a status, not a connection reset.
    let ocsp = format!("{}/ocsp", published.base);
    curl(&[
        "-H",
        "Content-Type: application/ocsp-request",
        "--data-binary",
        "nonsense",
        "-o",
        &body,
        &ocsp,
    ])?;
    let shown = std::process::Command::new("openssl")
        .args(["ocsp", "-respin", &body, "-noverify"])
        .output()?;
    let shown = [shown.stdout, shown.stderr].concat();
    let shown = String::from_utf8_lossy(&shown).into_owned();
    ensure!(shown.contains("malformedrequest (1)"), "{shown}");
    let refused = head(&["--data-binary", "nonsense", &ocsp])?;
    ensure!(refused.starts_with("http/1.1 415"), "{refused}");
    let large = published.text("large");
    std::fs::write(&large, vec![b'x'; 5000])?;
    let refused = head(&[
        "-H",
        "Content-Type: application/ocsp-request",
        "-H",
        "Expect:",
        "--data-binary",
        &format!("@{large}"),
        &ocsp,
    ])?;
    ensure!(refused.starts_with("http/1.1 413"), "{refused}");
    ensure!(head(&["-X", "PUT", &ocsp])?.starts_with("http/1.1 405"));
    Ok(())
}

/// 12,000 LDevIDs in force, 10,500 of them revoked: the full CRL lists them
/// all, and a new LDevID names a part, which OpenSSL goes by.
#[tokio::test]
async fn beyond_ten_thousand_certificates_crls_are_divided() -> Result<()> {
    let mut published = Published::new("")?;
    let enrolled = published.scene.enrol().await?;
    published.write(&enrolled)?;
    ensure!(!published.crl_url()?.contains("/2.crl"));
    published.scene.deployment.stop()?;
    sql(
        &published.scene.deployment.dir().join("holdfast.db"),
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 12000)
         INSERT INTO certificates (sha256, serial, gateway, der, not_before, not_after, issued_at,
           issuer, crl, revoked_at, revocation_reason, reason_code, revocation)
         SELECT randomblob(32), lower(hex(randomblob(15))) || '01', c.gateway, x'00', c.not_before,
           c.not_after, c.issued_at, c.issuer, 1,
           iif(i <= 10500, c.issued_at, NULL), iif(i <= 10500, 'operator', NULL),
           iif(i <= 10500, 5, NULL), iif(i <= 10500, 1, NULL)
         FROM n, (SELECT * FROM certificates LIMIT 1) c;",
    )?;
    published.scene.deployment.serve()?;
    let said = published.verify()?;
    ensure!(said.contains("ldevid.pem: OK"), "{said}");
    let shown = openssl(&format!(
        "crl -inform DER -in {} -noout -text",
        published.text("now.crl")
    ))?;
    ensure!(shown.matches("Serial Number:").count() == 10_500);
    ensure!(!shown.contains("Issuing Distribution Point"));

    // From now on, two parts.
    let divided = published.scene.enrol().await?;
    published.write(&divided)?;
    let url = published.crl_url()?;
    ensure!(url.ends_with("/2.crl") || url.ends_with("/3.crl"), "{url}");
    let said = published.verify()?;
    ensure!(said.contains("ldevid.pem: OK"), "{said}");
    let shown = openssl(&format!(
        "crl -inform DER -in {} -noout -text",
        published.text("now.crl")
    ))?;
    ensure!(shown.contains("X509v3 Issuing Distribution Point: critical"));
    ensure!(shown.contains(&url), "{shown}");

    // The public URL changes: the part goes on counting for those that name it
    // under the former one, which is answered.
    let (base, moved) = (published.base.clone(), format!("{}/pki", published.base));
    published.move_url(&base, &moved)?;
    let said = published.verify()?;
    ensure!(said.contains("ldevid.pem: OK"), "{said}");
    let new = published.scene.enrol().await?;
    published.write(&new)?;
    ensure!(published.crl_url()?.starts_with(&moved));
    published.move_url(&moved, &base)?;
    let said = published.verify()?;
    ensure!(said.contains("ldevid.pem: OK"), "{said}");
    let id = divided.gateway_id.to_string();
    published
        .scene
        .deployment
        .run(&["gateway", "revoke", &id])?;
    published.until("the part", || {
        Ok(published.verify()?.contains("certificate revoked"))
    })?;
    // The other part does not answer for it, and the full one does.
    let other = match url.strip_suffix("/2.crl") {
        Some(base) => format!("{base}/3.crl"),
        None => url.replace("/3.crl", "/2.crl"),
    };
    ensure!(head(&[&other])?.starts_with("http/1.1 200"));
    Ok(())
}

/// From the answer to `gateway revoke` until nothing gets through any more, by
/// connections that are open and by new ones.
#[tokio::test]
async fn adv_a19_the_acceptor_refuses_within_a_second_of_the_answer() -> Result<()> {
    use holdfast_attester::attestation::exchange::connect;
    use holdfast_proto::grpc::v1;
    use holdfast_proto::grpc::v1::attestation_client::AttestationClient;

    let scene = Scene::new()?;
    let enrolled = scene.enrol().await?;
    let open = connect(scene.gateway.tpm(), &enrolled).await?;
    let mut client = AttestationClient::new(open.channel.clone());
    client.get_status(v1::GetStatusRequest {}).await?;
    let id = enrolled.gateway_id.to_string();
    scene.deployment.run(&["gateway", "revoke", &id])?;
    let answered = Instant::now();

    // Refused at once, cut within the bound.
    loop {
        let status = client
            .get_status(v1::GetStatusRequest {})
            .await
            .err()
            .context("served after its revocation")?;
        if holdfast_integration::refusal::kind_of(&status).is_none() {
            break;
        }
        ensure!(answered.elapsed() < BOUND, "still connected: {status:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    eprintln!("cut {:?} after the answer", answered.elapsed());
    let refused = match connect(scene.gateway.tpm(), &enrolled).await {
        Err(error) => error.to_string(),
        Ok(connection) => {
            let status = AttestationClient::new(connection.channel.clone())
                .get_status(v1::GetStatusRequest {})
                .await
                .err()
                .context("a new connection was served")?;
            connection.failed("GetStatus", status).to_string()
        }
    };
    ensure!(refused.contains("CertificateRevoked"), "{refused}");
    Ok(())
}

/// What was issued after the backup is on no record: the CA that issued it is
/// void as a whole, by OCSP, and by the root's CRL for those who ask no OCSP.
#[tokio::test]
async fn what_was_issued_after_the_backup_is_refused_by_relying_parties() -> Result<()> {
    let mut published = Published::new("")?;
    let enrolled = published.scene.enrol().await?;
    let (backup, passphrase) = (published.text("holdfast.tar"), published.path("pass"));
    std::fs::write(&passphrase, "a long one, in a file\n")?;
    oracle::run("chmod", ["600", &passphrase.display().to_string()])?;
    let source = format!("file:{}", passphrase.display());
    let keys = ["--passphrase", source.as_str()];
    let deployment = &published.scene.deployment;
    deployment.run(&[&["backup", "--output", &backup][..], &keys].concat())?;
    let ready = published.scene.ready_to_attest(&enrolled, true).await?;
    let grant = ready.send().await?.grant.context("renewed")?;
    for (name, der) in ["ldevid", "issuing"].iter().zip(&grant.ldevid_chain) {
        let der_file = published.text(&format!("{name}.der"));
        std::fs::write(&der_file, der)?;
        let pem = published.text(&format!("{name}.pem"));
        openssl(&format!("x509 -inform DER -in {der_file} -out {pem}"))?;
    }
    let ldevid = published.text("ldevid.pem");
    let ask = ["-cert", ldevid.as_str()];
    ensure!(published.ocsp(&ask)?.contains("ldevid.pem: good"));

    let deployment = &mut published.scene.deployment;
    deployment.kill_9()?;
    std::fs::rename(deployment.dir(), deployment.scratch().join("lost"))?;
    deployment.run(&[&["restore", "--from", &backup][..], &keys].concat())?;
    for kind in ["token", "result", "issuing"] {
        deployment.run(&["key", "rotate", kind])?;
    }
    deployment.serve()?;
    let said = published.ocsp(&ask)?;
    ensure!(said.contains("ldevid.pem: revoked"), "{said}");
    ensure!(said.contains("superseded"), "{said}");
    // Of a number that was never issued as well: which is which is not known.
    let said = published.ocsp(&["-serial", "0x1122334455667788"])?;
    ensure!(said.contains("revoked"), "{said}");

    // By CRLs alone it is good, as docs/backup.md says, until the root speaks.
    let said = published.verify()?;
    ensure!(said.contains("ldevid.pem: OK"), "{said}");
    let (root_crl, dir) = (published.text("root.crl"), published.scene.deployment.dir());
    let dir_text = dir.display().to_string();
    let issuing = published.text("issuing.pem");
    let revoke = [
        "ca",
        "revoke",
        "--root-ca-dir",
        &dir_text,
        &issuing,
        "--output",
        &root_crl,
    ];
    let mut command = std::process::Command::new(holdfast_integration::programs::program(
        "holdfast-verifier",
    )?);
    let output = command.args(revoke).output()?;
    oracle::succeed(&command, &output)?;
    let output = std::process::Command::new("openssl")
        .args(["verify", "-x509_strict", "-crl_check_all", "-CRLfile"])
        .args([&published.text("now.pem"), "-CRLfile", &root_crl, "-CAfile"])
        .arg(dir.join("root-ca.pem"))
        .args(["-untrusted", &issuing, &ldevid])
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success(), "{said}");
    ensure!(said.contains("certificate revoked"), "{said}");
    Ok(())
}
