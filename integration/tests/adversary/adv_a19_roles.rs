//! A19: people. Operators with certificates over mutual TLS and local users
//! over the Unix socket, by the programs as they are run; C37: what decides
//! appraisals needs more than reaching a door.

use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use holdfast_integration::deployment::SERVER_NAME;
use holdfast_integration::programs::program;
use holdfast_integration::{Deployment, oracle, skip};
use serde_json::Value;

/// A deployment with the door for operators open, and its address.
fn with_door() -> Result<(Deployment, String)> {
    let deployment = Deployment::start_with(|configuration| {
        configuration.replacen("listen = \"\"", "listen = \"127.0.0.1:0\"", 1)
    })?;
    // Logged right after the gateways' address is told.
    for _ in 0..500 {
        let log = deployment.log();
        let address = log
            .lines()
            .find(|line| line.contains("serving operators"))
            .and_then(|line| line.split("address=").nth(1))
            .and_then(|rest| rest.split_whitespace().next());
        if let Some(address) = address {
            return Ok((deployment, address.to_owned()));
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    anyhow::bail!("no door in {}", deployment.log())
}

/// Runs the command line as somebody elsewhere would: no directory.
fn remote(
    deployment: &Deployment,
    address: &str,
    identity: &Path,
    words: &[&str],
) -> Result<Output> {
    Ok(remotely(deployment, address, identity, words)?.output()?)
}

fn remotely(
    deployment: &Deployment,
    address: &str,
    identity: &Path,
    words: &[&str],
) -> Result<Command> {
    let mut command = Command::new(program("holdfast-verifier")?);
    command
        .args(words)
        .args([
            "--admin-server",
            address,
            "--admin-server-name",
            SERVER_NAME,
        ])
        .arg("--identity")
        .arg(identity)
        .arg("--server-ca")
        .arg(deployment.dir().join("server-ca.pem"))
        .env_remove("HOLDFAST_DIR")
        .stdin(Stdio::null());
    Ok(command)
}

/// The same with something on stdin.
fn piped(mut command: Command, input: &[u8]) -> Result<Output> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Where it refuses before it reads, nobody reads.
    let _ = child.stdin.take().context("stdin")?.write_all(input);
    Ok(child.wait_with_output()?)
}

fn issue(deployment: &Deployment, name: &str, role: &str) -> Result<PathBuf> {
    let file = deployment.scratch().join(format!("{name}.pem"));
    let path = file.to_str().context("path")?;
    deployment.run(&["operator", "issue", name, "--role", role, "--output", path])?;
    Ok(file)
}

/// The exit code and what was said.
fn told(output: &Output) -> (Option<i32>, String) {
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

const SUSPEND: [&str; 3] = [
    "gateway",
    "suspend",
    "010000000000000000000000000000000000000000000000000000000000000000",
];

#[test]
fn adv_a19_operators_over_the_network_by_role() -> Result<()> {
    let (deployment, address) = with_door()?;
    for (role, may_suspend) in [("viewer", false), ("operator", true), ("admin", true)] {
        let identity = issue(&deployment, role, role)?;
        let mode = std::fs::metadata(&identity)?.permissions().mode() & 0o777;
        ensure!(mode == 0o600, "{mode:o}");
        let run = |words: &[&str]| remote(&deployment, &address, &identity, words);

        let me = run(&["operator", "whoami", "--json"])?;
        let me: Value = serde_json::from_slice(&me.stdout)?;
        ensure!(me["role"] == role, "{me}");
        ensure!(run(&["gateway", "list"])?.status.success(), "{role} sees");
        ensure!(run(&["policy", "list"])?.status.success(), "{role} sees");

        let (code, said) = told(&run(&SUSPEND)?);
        let expected = if may_suspend {
            "not on record"
        } else {
            "role-too-low"
        };
        ensure!(code == Some(1) && said.contains(expected), "{role}: {said}");

        let added = run(&["operator", "revoke", "00"])?;
        let (code, said) = told(&added);
        let expected = if role == "admin" {
            "no operator's certificate"
        } else {
            "role-too-low"
        };
        ensure!(code == Some(1) && said.contains(expected), "{role}: {said}");
    }

    // Independent eyes: a client certificate of the operators' CA.
    let ca = deployment.dir().join("operator-ca.pem");
    let viewer = deployment.scratch().join("viewer.pem");
    oracle::run(
        "openssl",
        [
            "verify",
            "-purpose",
            "sslclient",
            "-CAfile",
            ca.to_str().context("path")?,
            viewer.to_str().context("path")?,
        ],
    )?;

    // Revoked, at once; the log says who did what, and is whole.
    let listed = deployment.run_json(&["operator", "list"])?;
    let serial = listed["operators"][2]["serial"]
        .as_str()
        .context("serial")?;
    deployment.run(&["operator", "revoke", serial, "--reason", "left"])?;
    let admin = deployment.scratch().join("admin.pem");
    let (code, said) = told(&remote(
        &deployment,
        &address,
        &admin,
        &["gateway", "list"],
    )?);
    ensure!(
        code == Some(1) && said.contains("operator-not-good"),
        "{said}"
    );

    let audit = deployment.run_json(&["audit", "list"])?;
    let records = audit["records"].as_array().context("records")?;
    let has = |actor: &str, action: &str, subject: &str| {
        records.iter().any(|r| {
            r["actor"].as_str().is_some_and(|a| a.starts_with(actor))
                && r["action"] == action
                && r["subject"]
                    .as_str()
                    .is_some_and(|s| s.starts_with(subject))
        })
    };
    ensure!(has("uid:", "operator-added", ""), "{audit}");
    ensure!(has("uid:", "operator-revoked", serial), "{audit}");
    ensure!(has("cert:viewer/", "refused", "SuspendGateway"), "{audit}");
    ensure!(
        has("cert:operator/", "refused", "SuspendGateway"),
        "{audit}"
    );
    ensure!(has("cert:admin/", "refused", "ListGateways"), "{audit}");
    let whole = deployment.run_json(&["audit", "verify"])?;
    let head = whole["head"].as_str().context("head")?;
    deployment.run(&["audit", "verify", "--head", head])?;
    let lost = deployment.try_run(&["audit", "verify", "--head", &"00".repeat(32)])?;
    ensure!(told(&lost).0 == Some(1), "{lost:?}");
    Ok(())
}

/// Secrets for gateways are admins' to give and to take back; operators see their
/// names, viewers nothing of them. By the program, over mutual TLS.
#[test]
fn adv_a19_secrets_are_put_and_revoked_by_admins_alone() -> Result<()> {
    const SECRET: &[u8] = b"the password of the database";
    let (deployment, address) = with_door()?;
    let identity = |role: &str| issue(&deployment, role, role);
    let (viewer, operator, admin) = (
        identity("viewer")?,
        identity("operator")?,
        identity("admin")?,
    );
    let put = ["secret", "put", "--class", "default", "db-password"];
    let revoke = ["secret", "revoke", "--class", "default", "db-password"];
    let putting = |who: &Path| piped(remotely(&deployment, &address, who, &put)?, SECRET);
    let run = |who: &Path, words: &[&str]| remote(&deployment, &address, who, words);
    let refused = |output: &Output| -> Result<()> {
        let (code, said) = told(output);
        ensure!(code == Some(1) && said.contains("role-too-low"), "{said}");
        ensure!(output.stdout.is_empty(), "{output:?}");
        Ok(())
    };
    let listed = || -> Result<Value> { deployment.run_json(&["secret", "list"]) };

    for who in [&viewer, &operator] {
        refused(&putting(who)?)?;
        // Nothing of it was put, nor was a key for it made.
        ensure!(listed()?["secrets"] == serde_json::json!([]));
    }
    let done = putting(&admin)?;
    ensure!(done.status.success(), "{done:?}");
    for who in [&viewer, &operator] {
        refused(&run(who, &revoke)?)?;
        refused(&putting(who)?)?;
        let secrets = listed()?;
        ensure!(secrets["secrets"][0]["state"] == "current", "{secrets}");
        ensure!(secrets["secrets"][0]["version"] == 1, "{secrets}");
    }
    // Who sees what of it.
    let show = ["secret", "show", "--class", "default", "db-password"];
    for words in [&["secret", "list"][..], &show] {
        refused(&run(&viewer, words)?)?;
        let seen = run(&operator, words)?;
        ensure!(seen.status.success(), "{seen:?}");
        let text = String::from_utf8_lossy(&seen.stdout).into_owned();
        ensure!(
            text.contains("current") && !text.contains("password of"),
            "{text}"
        );
    }
    let done = run(&admin, &revoke)?;
    ensure!(done.status.success(), "{done:?}");

    let audit = deployment.run_json(&["audit", "list"])?;
    let records = audit["records"].as_array().context("records")?;
    let count = |actor: &str, action: &str, subject: &str| {
        let is = |record: &&Value| {
            let starts = |field: &str, with: &str| {
                record[field]
                    .as_str()
                    .is_some_and(|text| text.starts_with(with))
            };
            starts("actor", actor) && record["action"] == action && starts("subject", subject)
        };
        records.iter().filter(is).count()
    };
    for who in ["cert:viewer/", "cert:operator/"] {
        ensure!(count(who, "refused", "PutSecret") == 2, "{who}: {audit}");
        ensure!(count(who, "refused", "RevokeSecret") == 1, "{who}: {audit}");
        ensure!(count(who, "secret-put", "") == 0, "{who}: {audit}");
    }
    ensure!(
        count("cert:admin/", "secret-put", "db-password") == 1,
        "{audit}"
    );
    ensure!(
        count("cert:admin/", "secret-revoked", "db-password") == 1,
        "{audit}"
    );
    Ok(())
}

/// Trustee 486, PR 957: who is nobody brings in no policy and takes no token.
#[test]
fn cve_c37_the_policy_endpoint_is_for_admins_and_takes_signed_policies_only() -> Result<()> {
    let (deployment, address) = with_door()?;
    let operator = issue(&deployment, "operator", "operator")?;
    let admin = issue(&deployment, "admin", "admin")?;
    let policy = deployment.scratch().join("mine.rego");
    std::fs::copy(deployment.dir().join("policy.rego"), &policy)?;
    let policy = policy.to_str().context("path")?;
    let key = deployment.dir().join("policy-root.key.pem");
    let key = key.to_str().context("path")?;
    // Signed by the owner, brought by one who may not.
    let apply = ["policy", "apply", policy, "--owner-key", key];
    let (code, said) = told(&remote(&deployment, &address, &operator, &apply)?);
    ensure!(code == Some(1) && said.contains("role-too-low"), "{said}");
    // Brought by one who may, and not signed by the owner.
    let other = deployment.scratch().join("other.key.pem");
    oracle::run(
        "openssl",
        [
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            other.to_str().context("path")?,
        ],
    )?;
    std::fs::set_permissions(&other, std::fs::Permissions::from_mode(0o600))?;
    let apply = [
        "policy",
        "apply",
        policy,
        "--owner-key",
        other.to_str().context("path")?,
    ];
    let (code, said) = told(&remote(&deployment, &address, &admin, &apply)?);
    ensure!(
        code == Some(1) && said.contains("not-signed-by-owner"),
        "{said}"
    );
    let versions = deployment.run_json(&["policy", "list"])?;
    ensure!(
        versions.to_string().matches("policy_id").count() == 1,
        "{versions}"
    );
    Ok(())
}

/// Local users by number, in a socket that they can reach.
#[test]
fn adv_a19_local_users_by_role() -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        skip!("root, to run programs as other users");
    }
    const VIEWER: u32 = 61_001;
    const OPERATOR: u32 = 61_002;
    const STRANGER: u32 = 61_003;
    const GROUP: u32 = 61_000;
    let run = tempfile::Builder::new().prefix("holdfast-run-").tempdir()?;
    std::fs::set_permissions(run.path(), std::fs::Permissions::from_mode(0o755))?;
    let socket = run.path().join("admin.sock");
    let tool = run.path().join("holdfast-verifier");
    std::fs::copy(program("holdfast-verifier")?, &tool)?;
    chown(&tool, Some(VIEWER), None)?;
    std::fs::set_permissions(&tool, std::fs::Permissions::from_mode(0o755))?;
    let deployment = Deployment::start_with(|configuration| {
        configuration
            .replacen("socket = \"\"", &format!("socket = {socket:?}"), 1)
            .replacen("socket_group = \"\"", &format!("socket_group = \"{GROUP}\""), 1)
            .replacen(
                "unix_roles = {  }",
                &format!(
                    "unix_roles = {{ \"uid:{VIEWER}\" = \"viewer\", \"uid:{OPERATOR}\" = \"operator\" }}"
                ),
                1,
            )
    })?;
    // The owner's own command line finds it by the configuration.
    deployment.run(&["gateway", "list"])?;
    let call = |uid: u32, gid: u32, words: &[&str]| -> Result<Output> {
        Ok(Command::new(&tool)
            .args(words)
            .arg("--admin-socket")
            .arg(&socket)
            .uid(uid)
            .gid(gid)
            .current_dir("/")
            .stdin(Stdio::null())
            .output()?)
    };
    for (uid, list, suspend) in [
        (VIEWER, None, "role-too-low"),
        (OPERATOR, None, "not on record"),
        (STRANGER, Some("no-role"), "no-role"),
    ] {
        let (code, said) = told(&call(uid, GROUP, &["gateway", "list"])?);
        match list {
            None => ensure!(code == Some(0), "{uid}: {said}"),
            Some(refused) => ensure!(code == Some(1) && said.contains(refused), "{uid}: {said}"),
        }
        let (code, said) = told(&call(uid, GROUP, &SUSPEND)?);
        ensure!(code == Some(1) && said.contains(suspend), "{uid}: {said}");
    }
    // Not in the group: the kernel does not even let it in.
    let (code, said) = told(&call(OPERATOR, OPERATOR, &["gateway", "list"])?);
    ensure!(code == Some(1) && said.contains("cannot reach"), "{said}");
    let audit = deployment.run(&["audit", "list"])?;
    ensure!(audit.contains(&format!("uid:{STRANGER}")), "{audit}");
    Ok(())
}
