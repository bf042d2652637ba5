//! The owner's calls, over the admin socket.

use std::{net::SocketAddr, sync::Arc};

use holdfast_proto::{
    binding::Ueid,
    bundle::{Bundle, JoinToken as BundleToken},
    grpc::v1::{self, admin_server::Admin},
};
use ring::rand::SecureRandom as _;
use tonic::{Request, Response, Status};
use tracing::info;
use zeroize::Zeroizing;

use super::{Shared, admin_socket::actor, convert, error::Refusal};
use crate::{
    endorsement::{self, Anchors},
    exchange::Class,
    store::{Anchor, JoinToken, SuspensionKind},
};

/// Uses of a join token (admin.proto).
const USES: std::ops::RangeInclusive<u32> = 1..=1_000_000;
/// Lifetime of a join token (admin.proto): a minute to thirty days.
const VALID_FOR: std::ops::RangeInclusive<u32> = 60..=30 * 86_400;
/// Certificates in one import; a vendor's whole set has some hundred.
const CERTIFICATES_MAX: usize = 10_000;
/// Gateways on one page (admin.proto; CVE class of SPIRE 1.9.3).
const PAGE_MAX: u32 = 1000;
const PAGE_DEFAULT: u32 = 100;
/// A reason is a line for the audit log.
const REASON_MAX: usize = 500;

/// Handlers of `holdfast.v1.Admin`.
pub(super) struct AdminService {
    shared: Arc<Shared>,
    listening: SocketAddr,
    /// Imports of endorsements, one at a time: each reads all anchors back.
    importing: tokio::sync::Mutex<()>,
}

impl AdminService {
    pub(super) fn new(shared: Arc<Shared>, listening: SocketAddr) -> Self {
        Self {
            shared,
            listening,
            importing: tokio::sync::Mutex::default(),
        }
    }

    async fn token(
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
    fn dial(&self, given: &str) -> Result<(String, String), Refusal> {
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
        if host.is_empty() || port == 0 {
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

    async fn endorsements(
        &self,
        by: &str,
        request: v1::ImportEndorsementsRequest,
    ) -> Result<v1::ImportEndorsementsResponse, Refusal> {
        let shared = &self.shared;
        let now = shared.clock.now().seconds();
        let mut anchors: Vec<Anchor> = Vec::new();
        for file in &request.certificates {
            for der in certificates(file)? {
                anchors.push(anchor(der)?);
                if anchors.len() > CERTIFICATES_MAX {
                    return Err(Refusal::AdminInput(
                        "more than 10,000 certificates in one import; import them in parts"
                            .to_owned(),
                    ));
                }
            }
        }
        if anchors.is_empty() {
            return Err(Refusal::AdminInput(
                "no certificates in what was sent".to_owned(),
            ));
        }
        let _one = self.importing.lock().await;
        // Built from what would be known before anything is recorded: a set
        // that the core refuses is never stored.
        let known = shared.store.anchors().await?;
        build_anchors(known.iter().chain(&anchors))?;
        let imported = shared.store.import_anchors(anchors, by, now).await?;
        let all = shared.store.anchors().await?;
        shared.verifier.replace_anchors(build_anchors(&all)?);
        info!(
            by,
            roots = imported.roots,
            intermediates = imported.intermediates,
            "endorsements imported"
        );
        Ok(v1::ImportEndorsementsResponse {
            roots: imported.roots,
            intermediates: imported.intermediates,
            already_known: imported.already_known,
        })
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn create_token(
        &self,
        request: Request<v1::CreateTokenRequest>,
    ) -> Result<Response<v1::CreateTokenResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.token(&by, request.into_inner()).await)
    }

    async fn import_endorsements(
        &self,
        request: Request<v1::ImportEndorsementsRequest>,
    ) -> Result<Response<v1::ImportEndorsementsResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        answer(self.endorsements(&by, request.into_inner()).await)
    }

    async fn list_endorsements(
        &self,
        request: Request<v1::ListEndorsementsRequest>,
    ) -> Result<Response<v1::ListEndorsementsResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        let anchors = self.shared.store.anchors().await.map_err(Refusal::from);
        answer(anchors.map(|anchors| {
            v1::ListEndorsementsResponse {
                endorsements: anchors
                    .into_iter()
                    .map(|a| v1::Endorsement {
                        sha256: hex::encode(a.sha256),
                        subject: a.subject,
                        root: a.root,
                        not_after: a.not_after,
                    })
                    .collect(),
            }
        }))
    }

    async fn import_reference_values(
        &self,
        request: Request<v1::ImportReferenceValuesRequest>,
    ) -> Result<Response<v1::ImportReferenceValuesResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let import = async {
            let class = class(&request.class)?;
            let now = self.shared.clock.now();
            let record = self
                .shared
                .references
                .import(&class, &request.document, &by, now)
                .await?;
            Ok(v1::ImportReferenceValuesResponse {
                class: record.class,
                version: record.version,
                digest: hex::encode(record.sha256),
            })
        };
        answer(import.await)
    }

    async fn list_gateways(
        &self,
        request: Request<v1::ListGatewaysRequest>,
    ) -> Result<Response<v1::ListGatewaysResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let list = async {
            let size = match request.page_size {
                0 => PAGE_DEFAULT,
                size if size <= PAGE_MAX => size,
                _ => {
                    return Err(Refusal::AdminInput(
                        "a page has at most 1000 gateways".to_owned(),
                    ));
                }
            };
            // The token is the last id of the page before.
            let after = match request.page_token.as_str() {
                "" => None,
                text => Some(gateway_id(text)?),
            };
            let page = self.shared.store.gateways(after.as_ref(), size).await?;
            Ok(v1::ListGatewaysResponse {
                gateways: page.gateways.into_iter().map(convert::gateway).collect(),
                next_page_token: page.next.map(|id| id.to_string()).unwrap_or_default(),
            })
        };
        answer(list.await)
    }

    async fn get_gateway(
        &self,
        request: Request<v1::GetGatewayRequest>,
    ) -> Result<Response<v1::GetGatewayResponse>, Status> {
        actor(&request).map_err(Refusal::into_admin_status)?;
        let get = async {
            let id = gateway_id(&request.get_ref().gateway_id)?;
            let record = self
                .shared
                .store
                .gateway(&id)
                .await?
                .ok_or(crate::store::StoreError::UnknownGateway { id })?;
            Ok(v1::GetGatewayResponse {
                gateway: Some(convert::gateway(record)),
            })
        };
        answer(get.await)
    }

    async fn suspend_gateway(
        &self,
        request: Request<v1::SuspendGatewayRequest>,
    ) -> Result<Response<v1::SuspendGatewayResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let suspend = async {
            let (id, reason) = (gateway_id(&request.gateway_id)?, reason(&request.reason)?);
            let now = self.shared.clock.now().seconds();
            let store = &self.shared.store;
            let record = store
                .suspend(&id, SuspensionKind::Operator, reason, &by, now)
                .await?;
            info!(by, gateway = %id, "suspended");
            Ok(v1::SuspendGatewayResponse {
                gateway: Some(convert::gateway(record)),
            })
        };
        answer(suspend.await)
    }

    async fn resume_gateway(
        &self,
        request: Request<v1::ResumeGatewayRequest>,
    ) -> Result<Response<v1::ResumeGatewayResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let resume = async {
            let (id, reason) = (gateway_id(&request.gateway_id)?, reason(&request.reason)?);
            let now = self.shared.clock.now().seconds();
            let record = self.shared.store.resume(&id, reason, &by, now).await?;
            info!(by, gateway = %id, "resumed");
            Ok(v1::ResumeGatewayResponse {
                gateway: Some(convert::gateway(record)),
            })
        };
        answer(resume.await)
    }

    async fn revoke_gateway(
        &self,
        request: Request<v1::RevokeGatewayRequest>,
    ) -> Result<Response<v1::RevokeGatewayResponse>, Status> {
        let by = actor(&request).map_err(Refusal::into_admin_status)?;
        let request = request.into_inner();
        let revoke = async {
            let (id, reason) = (gateway_id(&request.gateway_id)?, reason(&request.reason)?);
            let now = self.shared.clock.now().seconds();
            let record = self.shared.store.revoke(&id, reason, &by, now).await?;
            info!(by, gateway = %id, "revoked");
            Ok(v1::RevokeGatewayResponse {
                gateway: Some(convert::gateway(record)),
            })
        };
        answer(revoke.await)
    }
}

fn answer<T>(result: Result<T, Refusal>) -> Result<Response<T>, Status> {
    result
        .map(Response::new)
        .map_err(Refusal::into_admin_status)
}

fn class(text: &str) -> Result<Class, Refusal> {
    Class::parse(text).map_err(|e| Refusal::AdminInput(e.to_string()))
}

fn gateway_id(text: &str) -> Result<Ueid, Refusal> {
    text.parse().map_err(|_| {
        Refusal::AdminInput(
            "a gateway id is 66 lower-case hex digits, as `gateway list` shows them".to_owned(),
        )
    })
}

fn reason(text: &str) -> Result<&str, Refusal> {
    if text.len() > REASON_MAX || text.chars().any(char::is_control) {
        return Err(Refusal::AdminInput(
            "a reason is one line of at most 500 bytes".to_owned(),
        ));
    }
    Ok(text)
}

fn join_host_port(host: &str, port: u16) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// PEM with any number of certificates, or one in DER.
fn certificates(file: &[u8]) -> Result<Vec<Vec<u8>>, Refusal> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    // A DER certificate is a SEQUENCE; PEM text never begins with 0x30 ("0").
    if file.first() == Some(&0x30) {
        return Ok(vec![file.to_vec()]);
    }
    CertificateDer::pem_slice_iter(file)
        .map(|der| der.map(|der| der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|e| Refusal::AdminInput(format!("not PEM: {e}")))
}

fn anchor(der: Vec<u8>) -> Result<Anchor, Refusal> {
    let facts = endorsement::CertificateFacts::parse(&der)
        .map_err(|e| Refusal::AdminInput(format!("not a CA certificate: {e}")))?;
    Ok(Anchor {
        sha256: convert::sha256(&der),
        subject: facts.subject,
        root: facts.self_signed,
        not_after: facts.not_after.seconds(),
        der,
    })
}

/// The core's anchors from what the store holds.
pub fn build_anchors<'a>(known: impl IntoIterator<Item = &'a Anchor>) -> Result<Anchors, Refusal> {
    let (roots, intermediates): (Vec<_>, Vec<_>) = known.into_iter().partition(|a| a.root);
    let der = |anchors: Vec<&Anchor>| anchors.into_iter().map(|a| a.der.clone()).collect();
    Anchors::new(der(roots), der(intermediates))
        .map_err(|e| Refusal::AdminInput(format!("endorsements: {e}")))
}
