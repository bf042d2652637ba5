//! Who makes an admin call, as the gate found out.

use tokio::net::unix::UCred;
use tonic::Request;

use super::{Shared, error::Refusal};
use crate::{
    operators::{Role, UnixRoles},
    store::Sha256,
};

/// A person and a role. The gate alone makes one, and leaves it in the
/// extensions of the request: no other way leads to a name in the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    name: String,
    role: Role,
    /// The certificate that was shown; none on the admin socket.
    certificate: Option<Sha256>,
}

impl Caller {
    /// Whoever is at the other end of the admin socket: "uid:0".
    ///
    /// # Errors
    /// [`Refusal::NoRole`] for whoever has none.
    pub(super) fn of_unix_peer(roles: &UnixRoles, peer: Option<UCred>) -> Result<Self, Refusal> {
        let peer = peer.ok_or_else(|| Refusal::NoRole("a peer without credentials".to_owned()))?;
        let name = format!("uid:{}", peer.uid());
        match roles.of(peer.uid(), peer.gid()) {
            Some(role) => Ok(Self {
                name,
                role,
                certificate: None,
            }),
            None => Err(Refusal::NoRole(name)),
        }
    }

    /// Whoever proved to hold the key of this certificate: "cert:NAME/SERIAL".
    /// TLS has shown that the operators' CA signed it; here, whether it is on
    /// record and in force now.
    ///
    /// # Errors
    /// [`Refusal::OperatorNotGood`].
    pub(super) async fn of_certificate(
        shared: &Shared,
        certificate: Option<Sha256>,
    ) -> Result<Self, Refusal> {
        let not_good = |caller, state| Refusal::OperatorNotGood { caller, state };
        let sha256 = certificate.ok_or_else(|| {
            // The door asks for one in the handshake.
            Refusal::Internal("an operator without a certificate".to_owned())
        })?;
        let record =
            shared.store.operator(&sha256).await?.ok_or_else(|| {
                not_good(format!("cert:{}", hex::encode(sha256)), "not on record")
            })?;
        let name = format!("cert:{}/{}", record.name, record.serial);
        if record.revoked.is_some() {
            return Err(not_good(name, "revoked"));
        }
        let now = shared.clock.now().seconds();
        if now < record.not_before || record.not_after < now {
            return Err(not_good(name, "not valid now"));
        }
        Ok(Self {
            name,
            role: record.role,
            certificate: Some(sha256),
        })
    }

    /// Asks again, for what lasts longer than a call. Roles of local users are
    /// those that the server started with; a certificate's are on record.
    ///
    /// # Errors
    /// As [`of_certificate`](Self::of_certificate) and [`may`](Self::may).
    pub(super) async fn still(&self, shared: &Shared, needed: Role) -> Result<(), Refusal> {
        match self.certificate {
            None => self.may(needed),
            Some(_) => Self::of_certificate(shared, self.certificate)
                .await?
                .may(needed),
        }
    }

    /// Whoever the gate let this request in for.
    ///
    /// # Errors
    /// A request that did not come through the gate.
    pub(super) fn of<T>(request: &Request<T>) -> Result<&Self, Refusal> {
        request
            .extensions()
            .get::<Self>()
            .ok_or_else(|| Refusal::NoRole("a request that did not pass the gate".to_owned()))
    }

    /// As the gate would make one of a local user.
    #[cfg(test)]
    pub(super) fn local(name: &str, role: Role) -> Self {
        Self {
            name: name.to_owned(),
            role,
            certificate: None,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn role(&self) -> Role {
        self.role
    }

    /// Whether it may do what needs this role.
    ///
    /// # Errors
    /// [`Refusal::RoleTooLow`] where it may not.
    pub(super) fn may(&self, needed: Role) -> Result<(), Refusal> {
        if self.role < needed {
            return Err(Refusal::RoleTooLow {
                caller: self.name.clone(),
                role: self.role,
                needed,
            });
        }
        Ok(())
    }
}

/// Who calls, for the audit log.
///
/// # Errors
/// A request that did not come through the gate.
pub(super) fn actor<T>(request: &Request<T>) -> Result<String, Refusal> {
    Caller::of(request).map(|caller| caller.name.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_peer_without_credentials_has_no_role() {
        let roles = UnixRoles::parse(0, &BTreeMap::new()).unwrap();
        assert!(matches!(
            Caller::of_unix_peer(&roles, None),
            Err(Refusal::NoRole(_))
        ));
    }

    #[test]
    fn a_role_is_enough_for_itself_and_what_is_below() {
        for role in Role::ALL {
            let caller = Caller::local("uid:1", role);
            for needed in Role::ALL {
                assert_eq!(caller.may(needed).is_ok(), role >= needed);
            }
        }
    }

    #[test]
    fn a_request_that_did_not_pass_the_gate_is_nobodys() {
        assert!(matches!(actor(&Request::new(())), Err(Refusal::NoRole(_))));
    }
}
