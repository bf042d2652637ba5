//! Roles of Unix peers, by what the kernel says of them (`SO_PEERCRED`).

use std::collections::BTreeMap;

use super::role::{Role, UnknownRole};

/// Which local users have which role. Root and the user that the Verifier runs
/// as are admins, always: both can read its keys anyway. Nobody else has a role
/// unless named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixRoles {
    own_uid: u32,
    uids: BTreeMap<u32, Role>,
    gids: BTreeMap<u32, Role>,
}

/// Why a table of Unix roles cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnixRolesError {
    /// Neither `uid:N` nor `gid:N`. Names are not taken: they are resolved by
    /// whatever the host's name service says at the time.
    #[error("{0:?} names nobody: write uid:N or gid:N, with N in decimal")]
    Peer(String),
    /// The word beside it is no role.
    #[error("{peer}: {source}")]
    Role {
        /// For whom.
        peer: String,
        /// Which word.
        #[source]
        source: UnknownRole,
    },
    /// Root's role cannot be another.
    #[error("uid:0 is always admin; leave it out")]
    Root,
}

impl UnixRoles {
    /// Roles as configured: `uid:N` or `gid:N` to a role's name. `own_uid` is
    /// the user that the Verifier runs as.
    ///
    /// # Errors
    /// [`UnixRolesError`] names the entry.
    pub fn parse(own_uid: u32, entries: &BTreeMap<String, String>) -> Result<Self, UnixRolesError> {
        let (mut uids, mut gids) = (BTreeMap::new(), BTreeMap::new());
        for (peer, role) in entries {
            let nobody = || UnixRolesError::Peer(peer.clone());
            let (kind, number) = peer.split_once(':').ok_or_else(nobody)?;
            let number = decimal(number).ok_or_else(nobody)?;
            let role = role.parse().map_err(|source| UnixRolesError::Role {
                peer: peer.clone(),
                source,
            })?;
            match kind {
                "uid" if number == 0 => return Err(UnixRolesError::Root),
                "uid" => uids.insert(number, role),
                "gid" => gids.insert(number, role),
                _ => return Err(nobody()),
            };
        }
        Ok(Self {
            own_uid,
            uids,
            gids,
        })
    }

    /// The role of a peer. An entry for its user counts before one for its
    /// (effective, primary) group; supplementary groups do not count, for the
    /// kernel does not tell them.
    #[must_use]
    pub fn of(&self, uid: u32, gid: u32) -> Option<Role> {
        if uid == 0 || uid == self.own_uid {
            return Some(Role::Admin);
        }
        self.uids.get(&uid).or_else(|| self.gids.get(&gid)).copied()
    }
}

/// One way to write each number: else two entries could speak of one user.
fn decimal(text: &str) -> Option<u32> {
    let number: u32 = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u32 = 990;

    fn parse(entries: &[(&str, &str)]) -> Result<UnixRoles, UnixRolesError> {
        let entries = entries
            .iter()
            .map(|(peer, role)| ((*peer).to_owned(), (*role).to_owned()))
            .collect();
        UnixRoles::parse(OWN, &entries)
    }

    #[test]
    fn nobody_has_a_role_but_root_and_the_verifiers_own_user() {
        let roles = parse(&[]).unwrap();
        assert_eq!(roles.of(0, 5), Some(Role::Admin));
        assert_eq!(roles.of(OWN, 5), Some(Role::Admin));
        // Not by its group.
        assert_eq!(roles.of(1000, 0), None);
        assert_eq!(roles.of(1000, OWN), None);
    }

    #[test]
    fn a_user_counts_before_its_group() {
        let roles = parse(&[("uid:1000", "viewer"), ("gid:50", "operator")]).unwrap();
        assert_eq!(roles.of(1000, 50), Some(Role::Viewer));
        assert_eq!(roles.of(1001, 50), Some(Role::Operator));
        assert_eq!(roles.of(50, 1000), None);
    }

    #[test]
    fn an_entry_is_exact_or_refused() {
        for bad in [
            "1000",
            "uid:",
            "uid:-1",
            "uid:+1",
            "uid:01000",
            "uid: 1",
            "user:1",
            "UID:1",
            "gid:4294967296",
            "uid:root",
        ] {
            assert_eq!(
                parse(&[(bad, "viewer")]),
                Err(UnixRolesError::Peer(bad.to_owned())),
            );
        }
        assert_eq!(parse(&[("uid:0", "viewer")]), Err(UnixRolesError::Root));
        assert!(matches!(
            parse(&[("uid:1", "root")]),
            Err(UnixRolesError::Role { .. })
        ));
    }
}
