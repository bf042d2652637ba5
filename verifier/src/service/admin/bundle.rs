//! Join tokens, and the bundles that carry them.

use holdfast_proto::{
    bundle::{Bundle, JoinToken as BundleToken},
    grpc::v1,
};
use ring::rand::SecureRandom as _;
use zeroize::Zeroizing;

use super::{AdminService, class};
use crate::{
    identity::ServerName,
    service::{convert, error::Refusal},
    store::JoinToken,
};

/// Uses of a join token (admin.proto).
const USES: std::ops::RangeInclusive<u32> = 1..=1_000_000;
/// Lifetime of a join token (admin.proto): a minute to thirty days.
const VALID_FOR: std::ops::RangeInclusive<u32> = 60..=30 * 86_400;
impl AdminService {
    pub(super) async fn token(
        &self,
        by: &str,
        request: v1::CreateTokenRequest,
    ) -> Result<v1::CreateTokenResponse, Refusal> {
        let shared = &self.shared;
        let now = shared.clock.now();
        let class = class(&request.class)?;
        if !USES.contains(&request.uses) {
            return Err(Refusal::AdminInput(
                "a token has 1 to 1,000,000 uses".to_owned(),
            ));
        }
        if !VALID_FOR.contains(&request.valid_for_seconds) {
            return Err(Refusal::AdminInput(
                "a token is valid for 60 s to 30 days".to_owned(),
            ));
        }
        let expires = now.plus(i64::from(request.valid_for_seconds)).seconds();
        let (server, server_name) = self.dial(&request.server_url)?;
        let mut secret = Zeroizing::new([0_u8; 32]);
        shared
            .rng
            .fill(secret.as_mut_slice())
            .map_err(|_| Refusal::Internal("no randomness".to_owned()))?;
        let secret_sha256 = convert::sha256(secret.as_slice());
        let bundle = Bundle {
            server,
            server_name,
            server_ca_der: shared.bundle.server_ca.clone(),
            join_token: BundleToken::new(secret.as_slice())
                .map_err(|e| Refusal::Internal(format!("bundle: {e}")))?,
            policy_root_name: shared.bundle.policy_root.clone(),
            class: class.as_str().to_owned(),
            expires,
        };
        // Encoded before it is recorded: a bundle that cannot be handed out
        // leaves no token behind.
        let text = bundle
            .encode()
            .map_err(|e| Refusal::AdminInput(e.to_string()))?;
        let token = JoinToken {
            secret_sha256,
            class: class.as_str().to_owned(),
            uses_left: request.uses,
            expires,
        };
        shared
            .store
            .create_join_token(token, by, now.seconds())
            .await?;
        Ok(v1::CreateTokenResponse {
            bundle: text.as_str().to_owned(),
            token_id: hex::encode(secret_sha256),
            expires,
        })
    }

    /// What gateways dial, and the name that the certificate must show them.
    pub(super) fn dial(&self, given: &str) -> Result<(String, String), Refusal> {
        let names = &self.shared.bundle.server_names;
        let first = names
            .first()
            .ok_or_else(|| Refusal::Internal("the server has no name".to_owned()))?;
        if given.is_empty() {
            let ip = self.listening.ip();
            let own = ip.to_string();
            // An address is dialled without a resolver; else by name.
            let name = if !ip.is_unspecified() && names.contains(&own) {
                &own
            } else {
                first
            };
            return Ok((join_host_port(name, self.listening.port()), name.clone()));
        }
        let address = given
            .strip_prefix("https://")
            .unwrap_or(given)
            .trim_end_matches('/');
        let bad = || {
            Refusal::AdminInput("the server is written host:port or https://host:port".to_owned())
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        let port: u16 = port.parse().map_err(|_| bad())?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        // Nothing else than a name or an address: no scheme, path or control
        // character gets into a bundle.
        if ServerName::parse(host).is_err() || port == 0 {
            return Err(bad());
        }
        // A host that the certificate does not name (a port forward, say) is
        // dialled, but the certificate is checked for a name that it has.
        let name = names
            .iter()
            .find(|n| n.eq_ignore_ascii_case(host))
            .unwrap_or(first);
        Ok((join_host_port(host, port), name.clone()))
    }
}

fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}
