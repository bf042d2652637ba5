//! `[admin]`: the doors of the admin service, and who has which role there.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf};

use serde::Deserialize;

use super::ConfigError;
use crate::operators::UnixRoles;

/// Where people call, and which local users may.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdminConfig {
    /// Address for operators with certificates; empty: none.
    pub listen: String,
    /// Path of the Unix socket; empty: `admin.sock` in the Verifier's directory.
    pub socket: String,
    /// Id of the group that may open the socket (mode 0660); empty: none (0600).
    pub socket_group: String,
    /// `uid:N` or `gid:N` to a role.
    pub unix_roles: BTreeMap<String, String>,
}

impl AdminConfig {
    /// The address for operators with certificates, if there is to be one.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] for what is no address.
    pub fn listen(&self) -> Result<Option<SocketAddr>, ConfigError> {
        match self.listen.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| ConfigError::OutOfRange {
                key: "admin.listen",
                value: text.to_owned(),
                rule: "write IP:PORT, or leave it empty for no such door",
            }),
        }
    }

    /// Where the socket is to be, unless in the Verifier's directory.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] for a relative path: it would depend on
    /// where the server was started.
    pub fn socket(&self) -> Result<Option<PathBuf>, ConfigError> {
        match self.socket.as_str() {
            "" => Ok(None),
            path if path.starts_with('/') => Ok(Some(PathBuf::from(path))),
            path => Err(ConfigError::OutOfRange {
                key: "admin.socket",
                value: path.to_owned(),
                rule: "write an absolute path, or leave it empty for admin.sock in the directory",
            }),
        }
    }

    /// The group that may open the socket.
    ///
    /// # Errors
    /// [`ConfigError::OutOfRange`] for anything but a group's number.
    pub fn socket_group(&self) -> Result<Option<u32>, ConfigError> {
        match self.socket_group.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| ConfigError::OutOfRange {
                key: "admin.socket_group",
                value: text.to_owned(),
                rule: "write a group's id, a number (getent group NAME), or leave it empty",
            }),
        }
    }

    /// Roles of local users; `own_uid` is the user that the Verifier runs as.
    ///
    /// # Errors
    /// [`ConfigError::UnixRoles`] names the entry.
    pub fn unix_roles(&self, own_uid: u32) -> Result<UnixRoles, ConfigError> {
        Ok(UnixRoles::parse(own_uid, &self.unix_roles)?)
    }

    pub(super) fn in_range(&self) -> Result<(), ConfigError> {
        self.listen()?;
        self.socket()?;
        self.socket_group()?;
        // Whose the process is decides no entry's form.
        self.unix_roles(0).map(drop)
    }

    /// As in the sample.
    pub(super) fn sample(&self) -> String {
        let text = |text: &str| toml::Value::from(text).to_string();
        let roles: Vec<String> = self
            .unix_roles
            .iter()
            .map(|(peer, role)| format!("{} = {}", text(peer), text(role)))
            .collect();
        format!(
            r#"[admin]
# IP:PORT where operators call with certificates that `holdfast-verifier operator
# issue` made (mutual TLS); empty: no such door, only the Unix socket.
listen = {}

# The Unix socket; empty: admin.sock in the Verifier's directory, which nobody
# else can enter. Its group, by number, makes it 0660; empty: it is 0600.
socket = {}
socket_group = {}

# Roles of local users beside root and the server's own user, who are admin:
# {{ "uid:1000" = "operator", "gid:50" = "viewer" }}. Roles: viewer, operator, admin.
# A user's entry counts before its (primary) group's. Nobody else has a role.
unix_roles = {{ {} }}
"#,
            text(&self.listen),
            text(&self.socket),
            text(&self.socket_group),
            roles.join(", "),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Config, operators::Role};

    fn load(table: &str) -> Result<AdminConfig, ConfigError> {
        Config::from_toml(&format!("[admin]\n{table}")).map(|config| config.admin)
    }

    #[test]
    fn nothing_is_open_by_default() {
        let admin = AdminConfig::default();
        assert_eq!(admin.listen().unwrap(), None);
        assert_eq!(admin.socket_group().unwrap(), None);
        assert_eq!(admin.unix_roles(990).unwrap().of(1000, 1000), None);
    }

    #[test]
    fn roles_are_read_and_strange_ones_refused() {
        let admin = load(r#"unix_roles = { "uid:1000" = "viewer" }"#).unwrap();
        assert_eq!(
            admin.unix_roles(990).unwrap().of(1000, 1),
            Some(Role::Viewer)
        );
        assert!(matches!(
            load(r#"unix_roles = { "uid:1000" = "root" }"#),
            Err(ConfigError::UnixRoles(_))
        ));
    }

    #[test]
    fn addresses_paths_and_groups_are_exact() {
        for (bad, key) in [
            (r#"listen = "7444""#, "admin.listen"),
            (r#"listen = "example.org:7444""#, "admin.listen"),
            (r#"socket = "admin.sock""#, "admin.socket"),
            (r#"socket_group = "staff""#, "admin.socket_group"),
            (r#"socket_group = "-1""#, "admin.socket_group"),
        ] {
            let error = load(bad).unwrap_err();
            assert!(
                matches!(error, ConfigError::OutOfRange { key: k, .. } if k == key),
                "{bad}: {error}"
            );
        }
    }

    #[test]
    fn the_sample_says_what_is_set() {
        let admin = load(
            "listen = \"127.0.0.1:7444\"\nsocket = \"/run/h.sock\"\nsocket_group = \"50\"\n\
             unix_roles = { \"gid:50\" = \"operator\", \"uid:7\" = \"admin\" }",
        )
        .unwrap();
        assert_eq!(Config::from_toml(&admin.sample()).unwrap().admin, admin);
    }
}
