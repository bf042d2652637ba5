//! What the Debian packages are made of, and what they rely on: `init` for an
//! account, `serve` under systemd. `make deb-test` installs them.

mod content;
mod init_at_once;
mod under_systemd;
