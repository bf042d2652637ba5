use clap::{CommandFactory as _, Parser as _};

use super::*;

#[test]
fn command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn every_command_has_help_with_its_purpose() {
    fn walk(command: &mut clap::Command, seen: &mut usize) {
        let help = command.render_long_help().to_string();
        assert!(help.contains("Usage:"), "{}", command.get_name());
        assert!(
            command.get_about().is_some(),
            "{} says what it does",
            command.get_name()
        );
        for argument in command.get_arguments() {
            assert!(
                argument.get_help().is_some(),
                "{} {}",
                command.get_name(),
                argument.get_id()
            );
        }
        *seen += 1;
        for sub in command.get_subcommands_mut() {
            walk(sub, seen);
        }
    }
    let mut seen = 0;
    let mut command = Cli::command();
    command.build();
    walk(&mut command, &mut seen);
    assert!(seen > 15);
    assert!(
        Cli::command()
            .render_help()
            .to_string()
            .contains("Exit codes: 0 done")
    );
}

/// Where /etc/holdfast/verifier.toml says where the verifier is. The OEM's desk
/// is another directory, and gets no default from it.
#[test]
fn the_machines_directory_stands_in_for_dir() {
    let at = |line: &str| {
        let words = std::iter::once("holdfast-verifier").chain(line.split(' '));
        command_at(Some(Path::new("/var/lib/v"))).try_get_matches_from(words)
    };
    command_at(Some(Path::new("/var/lib/v"))).debug_assert();
    for line in [
        "serve",
        "init",
        "token create",
        "key list",
        "gateway list",
        "ca check",
    ] {
        let matches = at(line).unwrap();
        let mut last = &matches;
        while let Some((_, sub)) = last.subcommand() {
            last = sub;
        }
        let dir = last.get_one::<PathBuf>("dir");
        assert_eq!(
            dir.map(PathBuf::as_path),
            Some(Path::new("/var/lib/v")),
            "{line}"
        );
    }
    let said = at("serve --dir D").unwrap();
    let (_, serve) = said.subcommand().unwrap();
    assert_eq!(serve.get_one::<PathBuf>("dir").unwrap(), Path::new("D"));
    assert!(at("oem issued").is_err());
    assert!(Cli::try_parse_from(["holdfast-verifier", "serve"]).is_err());
}

#[test]
fn command_lines_of_the_interface_parse() {
    for line in [
        "init --dir D --server-name a --server-name b --listen 127.0.0.1:0 --root-ca-dir R",
        "serve --dir D --listen 127.0.0.1:0 --address-file F",
        "oem init --dir D --organization Acme --vendor-ca F --vendor-ca G --root-dir R --passphrase env:P",
        "oem challenge --dir D C --output F --json",
        "oem issue --dir D C --answer A --output O --replace --passphrase file:/p --json",
        "oem issued --dir D --json",
        "token create --dir D --class default --uses 3 --valid-for 1h --server h:1 --output F",
        "endorsement import --dir D a b",
        "endorsement list --dir D --json",
        "reference import --dir D --class c FILE",
        "reference import --dry-run --format corim --key K --environment 2 --add-to J F --json",
        "reference import --dir D --format deb --ima-key K --ima-key L --statement S A B C",
        "reference import --dir D --format sha256sum --prefix /usr --dry-run --output O F",
        "reference allow-lists --dir D --class c --json",
        "reference import --dir D --class c FILE --owner-key K",
        "reference import --dir D FILE --statement S",
        "reference learn --dir D 01ab --class c --replace --until 14d --yes --json",
        "reference learn --dir D 01ab --add --output F",
        "reference list --dir D --class c --json",
        "reference diff --dir D 01ab --json",
        "gateway approve --dir D 01ab --window 14d --reason why --yes --json",
        "gateway approve --dir D 01ab --replace --statement S --yes",
        "policy check F --examples E --strict --json",
        "policy test F --examples E --json",
        "policy apply --dir D --owner-key K --json F",
        "policy apply --dir D --statement S F",
        "policy show default",
        "policy show --dir D --version 3 --json",
        "policy list --dir D --json",
        "owner sign --owner-key K --kind policy --subject * --version 2 --output S F --json",
        "gateway list --dir D --json",
        "gateway show --dir D 01ab",
        "gateway suspend --dir D 01ab --reason why",
        "gateway resume --dir D 01ab",
        "gateway revoke --dir D 01ab --reason why --json",
        "admission pending --dir D --json",
        "admission approve --dir D 01ab --class c",
        "admission deny --dir D 01ab --reason why",
        "admission forget --dir D 01ab",
        "admission allow --dir D --ek-sha256 ab --class c --note n --json",
        "admission list --dir D",
        "admission remove --dir D --ek-sha256 S",
        "admission bundle --dir D --valid-for 30d --output F",
        "gateway replace --dir D 01ab --by 01cd --reason broken",
        "operator init-ca --dir D --organization O --json",
        "operator issue alice --role viewer --days 30 --dir D --ca-dir C --output F --json",
        "operator add --dir D F --json",
        "operator list --admin-server h:1 --identity I --server-ca C --json",
        "operator revoke 01ab --reason why --admin-socket S",
        "operator whoami --dir D",
        "audit list --dir D --limit 7 --json",
        "audit verify --dir D --head 01ab --json",
        "init --dir D --policy-root-dir P --server-ca-dir S --offline-passphrase env:P",
        "init --dir D --ca-passphrase credential:ca",
        "init --dir D --endorsement a --endorsement b --reference F --class c --bundle B --bundle-valid-for 2d --user u",
        "init --dir D --ca-backend pkcs11 --pkcs11-module /m.so --pkcs11-token t --pkcs11-pin env:P",
        "init --dir D --ca-backend tpm --ca-tpm swtpm:h:1 --ca-tpm-handle 0x81010001",
        "ca show --dir D --json",
        "ca check --dir D --days 60 --json",
        "ca rotate --dir D issuing --root-ca-dir R --root-passphrase file:/p --overlap 8d",
        "ca request --dir D --output F --json",
        "ca sign --root-ca-dir R F --output G --json",
        "ca install --dir D F --overlap 9d --json",
        "key list --dir D --json",
        "key rotate --dir D token --overlap 1h --json",
        "key rotate --dir D server --server-ca-dir S",
        "key retire --dir D result 00ff --now --json",
        "inspect boot-log F --json",
        "inspect ima-log F --list --json",
        "inspect quote --key K --attest A --signature S --nonce 00 --pcr sha256:0=00 --json",
        "inspect ek-cert F --roots P --intermediates P --at 2026-01-01T00:00:00Z --json",
        "inspect claims F --key K --json",
        "inspect ldevid F --issuer C --json",
        "inspect result F --key K --json",
    ] {
        let words = std::iter::once("holdfast-verifier").chain(line.split(' '));
        Cli::try_parse_from(words).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
}

#[test]
fn init_makes_everything_once_and_only_once() {
    use std::os::unix::fs::MetadataExt as _;

    let parent = tempfile::tempdir().unwrap();
    let (dir, root) = (parent.path().join("v"), parent.path().join("offline"));
    let init = |dir: &Path| {
        let words = [
            "holdfast-verifier",
            "init",
            "--server-name",
            "verifier.example",
            "--dir",
        ];
        let cli = Cli::try_parse_from(words.into_iter().map(std::ffi::OsString::from).chain([
            dir.into(),
            "--root-ca-dir".into(),
            root.clone().into(),
        ]))
        .unwrap();
        match cli.command {
            Command::Init(args) => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .unwrap();
                runtime.block_on(init::run(&args, &Machine::default()))
            }
            _ => unreachable!(),
        }
    };
    init(&dir).unwrap();
    let home = crate::config::Home::open(&dir).unwrap();
    home.inspect_secrets().unwrap();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let entry = entry.unwrap();
        let name = entry.file_name().into_string().unwrap();
        let secret = name.ends_with("key.pem") || name.ends_with(".key") || name == "keyring.lock";
        let mode = entry.metadata().unwrap().mode() & 0o777;
        assert_eq!(mode, if secret { 0o600 } else { 0o644 }, "{name}");
    }
    use crate::config::home::file;
    assert!(!home.path(file::ROOT_CA_KEY).exists());
    assert!(root.join(file::ROOT_CA_KEY).exists());
    let config = crate::config::Config::load(&home.path(file::CONFIG)).unwrap();
    assert_eq!(config.server_names, ["verifier.example"]);

    let before = std::fs::read(home.path(file::SERVER_KEY)).unwrap();
    assert!(matches!(init(&dir), Err(Failure::Refused(_))));
    assert_eq!(std::fs::read(home.path(file::SERVER_KEY)).unwrap(), before);
    assert_eq!(
        std::fs::read_dir(parent.path()).unwrap().count(),
        2,
        "no staging left over"
    );
}

#[tokio::test]
async fn without_a_server_the_error_names_socket_and_command() {
    let parent = tempfile::tempdir().unwrap();
    let home = crate::config::Home::create(&parent.path().join("v")).unwrap();
    let dir = DirArg {
        dir: Some(home.dir().to_owned()),
        ..DirArg::default()
    };
    let Err(Failure::Refused(error)) = client::connect(&dir).await else {
        panic!()
    };
    let text = format!("{error:#}");
    assert!(
        text.contains("admin.sock") && text.contains("holdfast-verifier serve --dir"),
        "{text}"
    );
}
