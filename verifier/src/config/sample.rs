//! The text of a fresh `config.toml`: every setting, its default, and a line
//! that explains it. A test holds it to the defaults.

use super::{Config, WebhookConfig};

/// `config.toml` as `init` writes it.
#[must_use]
pub fn sample(config: &Config) -> String {
    let Config {
        listen,
        server_names,
        pcr_selection,
        accepted_eks,
        challenge_seconds,
        ear_form,
        ldevid,
        limits,
        log,
        admin,
        ca,
        endorsement,
        admission,
        class: _,
        revocation,
        silence,
        webhook,
    } = config;
    let names: Vec<String> = server_names
        .iter()
        .map(|n| toml::Value::from(n.as_str()).to_string())
        .collect();
    let names = names.join(", ");
    let class = super::class::SAMPLE;
    let (admin, admission) = (admin.sample(), admission.sample());
    let ca = ca.sample();
    let endorsement = endorsement.sample();
    let revocation = revocation.sample();
    let silence = silence.sample();
    let webhook = WebhookConfig::sample(webhook);
    let ear_form = ear_form.name();
    let trust_domain = toml::Value::from(ldevid.spiffe_trust_domain.as_str()).to_string();
    let filter = toml::Value::from(log.filter.as_str()).to_string();
    let format = match log.format {
        super::LogFormat::Text => "text",
        super::LogFormat::Json => "json",
    };
    format!(
        r#"# Settings of holdfast-verifier. Unknown keys are an error. Flags and
# HOLDFAST_* variables (HOLDFAST_LISTEN, HOLDFAST_LIMITS__REQUESTS, ...) come
# before this file. Restart the server after a change.

# Address to listen on; port 0 lets the system choose.
listen = "{listen}"

# Names in the server's certificate; bundles carry the first.
server_names = [{names}]

# SHA-256 PCRs that every quote must cover, exactly. 16 and 23 are refused:
# they can be reset without a reboot.
pcr_selection = {pcr_selection:?}

# EK templates that may enrol (TCG EK Credential Profile): L-1 and H-1 RSA 2048,
# L-2 and H-2 ECC P-256, H-3 ECC P-384, H-6 RSA 3072. A TPM may hold one EK of
# each: with more than one kind here, eks under [endorsement] says whether a
# gateway has to show all of them.
accepted_eks = {accepted_eks:?}

# How long a challenge may be answered, in seconds (10 to 3600).
challenge_seconds = {challenge_seconds}

# How attestation results (EAR) are written: "draft-04" as in
# draft-ietf-rats-ear-04, or "dotted" with the older names (ear.status, ...) for
# relying parties that know no other.
ear_form = "{ear_form}"

[ldevid]
# Lifetime of an LDevID, in seconds (60 to 604800). A gateway that stops
# attesting holds nothing after this time.
validity_seconds = {}

# Trust domain for a SPIFFE ID in the LDevID; empty: none.
spiffe_trust_domain = {trust_domain}

[limits]
# Connections in all, from one address (IPv6: one /64), and TLS handshakes
# under way at once, of which one address gets an eighth.
connections = {}
connections_per_address = {}
handshakes = {}

# Requests under way at once, of which one address gets a quarter, and
# requests per minute from one address.
requests = {}
requests_per_minute_per_address = {}

# Challenges per minute for one EK. Each costs the Verifier a certificate
# chain and one public-key encryption.
challenges_per_minute_per_ek = {}

# Threads that do public-key work; 0: as many as processors.
crypto_threads = {}

# Seconds until a request is given up, and that a shutdown waits for requests
# under way.
request_seconds = {}
drain_seconds = {}

[log]
# "text" for people or "json" for machines, on standard error.
format = "{format}"

# What to log, as tracing's EnvFilter has it, e.g. "info,holdfast_verifier=debug".
filter = {filter}

{admin}{ca}
{endorsement}
{admission}
{revocation}
{silence}
[class]
{class}
{webhook}"#,
        ldevid.validity_seconds,
        limits.connections,
        limits.connections_per_address,
        limits.handshakes,
        limits.requests,
        limits.requests_per_minute_per_address,
        limits.challenges_per_minute_per_ek,
        limits.crypto_threads,
        limits.request_seconds,
        limits.drain_seconds,
    )
}
