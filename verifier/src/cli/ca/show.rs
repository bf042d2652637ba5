//! `ca show` and `ca check`.

use anyhow::anyhow;
use clap::Args;
use serde_json::json;

use crate::{
    cli::{
        Failure, JsonArg, Outcome,
        key::{HomeArg, config, until},
        output,
    },
    config::Home,
    custody::{Cabinet, KeyKind},
    service::{Clock, Ending, endings},
};

#[derive(Debug, Args)]
pub(in crate::cli) struct ShowArgs {
    #[command(flatten)]
    dir: HomeArg,
    #[command(flatten)]
    json: JsonArg,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct CheckArgs {
    #[command(flatten)]
    dir: HomeArg,
    /// Days before its end from which on a certificate counts as ending.
    /// Default: [ca] warn_days of config.toml.
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=3650))]
    days: Option<u32>,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) fn show(args: &ShowArgs) -> Outcome {
    let home = Home::open(&args.dir.dir)?;
    let warn_days = config(&home)?.ca.warn_days;
    let found = endings(&home, warn_days, Clock::system().now())?;
    print(&home, &found, args.json)
}

pub(super) fn check(args: &CheckArgs) -> Outcome {
    let home = Home::open(&args.dir.dir)?;
    let days = args
        .days
        .map_or_else(|| Ok(config(&home)?.ca.warn_days), Ok::<_, Failure>)?;
    let found = endings(&home, days, Clock::system().now())?;
    print(&home, &found, args.json)?;
    let soon: Vec<&str> = found.iter().filter(|e| e.soon).map(|e| e.which).collect();
    if soon.is_empty() {
        Ok(())
    } else {
        Err(anyhow!("ended, or ends within {days} days: {}", soon.join(", ")).into())
    }
}

fn print(home: &Home, found: &[Ending], json: JsonArg) -> Outcome {
    let ring = Cabinet::new(home).read()?;
    // Without a certificate: gateways know it by what the policy root signed.
    let now = Clock::system().now();
    let policy_keys = || {
        let seal = ring.of(KeyKind::Seal).iter();
        seal.filter(|entry| entry.counts(now))
    };
    let place = |ending: &Ending| match ending.which {
        "issuing CA" => ring.current(KeyKind::Issuing).key.describe(),
        "server" => ring.current(KeyKind::Server).key.describe(),
        _ => {
            let key = ending.file.replace(".pem", ".key.pem");
            if home.path(&key).exists() {
                format!("file {key}")
            } else {
                "elsewhere".to_owned()
            }
        }
    };
    if json.json {
        let listed: Vec<_> = found
            .iter()
            .map(|ending| {
                json!({
                    "certificate": ending.which,
                    "file": ending.file,
                    "key": place(ending),
                    "not_after": ending.not_after.seconds(),
                    "ends_soon": ending.soon,
                })
            })
            .collect();
        let keys: Vec<_> = policy_keys()
            .map(|entry| {
                json!({
                    "kind": KeyKind::Seal.name(),
                    "key_id": entry.id,
                    "key": entry.key.describe(),
                    "until": entry.until,
                })
            })
            .collect();
        return output::print_json(&json!({ "certificates": listed, "keys": keys }));
    }
    let mut rows: Vec<Vec<String>> = found
        .iter()
        .map(|ending| {
            vec![
                ending.which.to_owned(),
                ending.not_after.to_string(),
                if ending.soon { "SOON" } else { "" }.to_owned(),
                ending.file.clone(),
                place(ending),
            ]
        })
        .collect();
    rows.extend(policy_keys().map(|entry| {
        vec![
            "sealing policy key".to_owned(),
            until(entry),
            String::new(),
            entry.id.clone(),
            entry.key.describe(),
        ]
    }));
    let header = ["CERTIFICATE OR KEY", "ENDS", "", "FILE OR ID", "KEY"];
    output::print(&output::table(&header, &rows))
}
