//! `token create`: a bundle that admits gateways.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use holdfast_proto::grpc::v1::CreateTokenRequest;
use serde_json::json;

use super::{DirArg, JsonArg, Outcome, client, input, output};
use crate::config::{HomeError, files};

#[derive(Debug, Subcommand)]
pub(super) enum TokenCommand {
    /// Make a bundle: join token, server CA, policy root, in one line of text.
    #[command(after_help = "\
The bundle is a secret until it is used: whoever has it, and a TPM that a
trusted vendor made, can enrol. Take it to the gateway by a way that you trust:
    holdfast-verifier token create --dir DIR --output gateway.bundle
    scp gateway.bundle gateway: && ssh gateway holdfast-attester enroll --bundle gateway.bundle")]
    Create(CreateArgs),
}

#[derive(Debug, Args)]
pub(super) struct CreateArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Class of reference values that the gateways are held to.
    #[arg(long, default_value = "default")]
    class: String,
    /// How many gateways it admits.
    #[arg(long, default_value_t = 1, value_name = "N")]
    uses: u32,
    /// How long it is valid: a number and s, m, h or d; 1 minute to 30 days.
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = seconds)]
    valid_for: u32,
    /// What gateways dial, where that is not the server's own name.
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Write the bundle to a new file of mode 0600 instead of printing it.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn run(command: TokenCommand) -> Outcome {
    let TokenCommand::Create(args) = command;
    if let Some(file) = &args.output
        && file.symlink_metadata().is_ok()
    {
        // Before the token is made: a token that nobody got is a loose end.
        return Err(input(HomeError::Exists { path: file.clone() }));
    }
    let mut client = client::connect(&args.dir).await?;
    let request = CreateTokenRequest {
        class: args.class,
        uses: args.uses,
        valid_for_seconds: args.valid_for,
        server_url: args.server.unwrap_or_default(),
    };
    let made = client
        .create_token(request)
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner();
    if let Some(file) = &args.output {
        files::write_new(file, format!("{}\n", made.bundle).as_bytes(), 0o600)?;
    }
    if args.json.json {
        let (token_id, expires) = (made.token_id, made.expires);
        return output::print_json(&match &args.output {
            Some(file) => json!({ "token_id": token_id, "expires": expires, "output": file }),
            None => json!({ "token_id": token_id, "expires": expires, "bundle": made.bundle }),
        });
    }
    match &args.output {
        None => output::print(&made.bundle),
        Some(file) => output::print(&format!(
            "bundle written to {}; valid until {}",
            file.display(),
            output::when(made.expires)
        )),
    }
}

/// "90s", "30m", "1h", "2d".
pub(super) fn seconds(text: &str) -> Result<u32, String> {
    let bad = || "write a number and s, m, h or d, e.g. 90s, 30m, 1h, 2d".to_owned();
    let unit = text.chars().last().ok_or_else(bad)?;
    let scale = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(bad()),
    };
    let number = text.strip_suffix(unit).ok_or_else(bad)?;
    let number: u32 = number.parse().map_err(|_| bad())?;
    number
        .checked_mul(scale)
        .ok_or_else(|| "that is too long: at most 30 days".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("2d"), Ok(172_800));
        for bad in ["", "1", "h", "-1h", "1w", "1é", "99999999d"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
