//! What `state.json` and `pending.json` hold. Strict JSON, all bytes in hex:
//! a field that is missing, unknown or malformed is an error with its name.

use holdfast_proto::claims::{Purpose, Ueid};
use holdfast_proto::grpc::v1::EnrollRequest;
use holdfast_proto::tpm::devid::{DevidKey, DevidTemplate, DevidUnique};
use holdfast_proto::tpm::{Name, Public};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::StateError;
use crate::names;
use crate::tpm::{Ak, AttestationKey, DeviceKeySource, KeyBlob, PinnedEk};

const VERSION: u32 = 1;

/// Where the Verifier is, and the only CA that may vouch for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// `host:port` to dial.
    pub address: String,
    /// The name that its certificate must have.
    pub name: String,
    /// DER of the CA certificate.
    pub ca_der: Vec<u8>,
}

/// The keys of one enrolment, as this TPM makes or loads them again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    /// Persistent handle of the storage root.
    pub srk_handle: u32,
    /// Its pinned Name.
    pub srk_name: Name,
    /// What makes the EK.
    pub ek_template: Public,
    /// On the IAK road, once granted, the UEID that the EK makes; `None` on the EK
    /// road, where that is the gateway's id, and in records of before it was kept.
    pub ek_ueid: Option<Ueid>,
    /// What makes the AK.
    pub ak: Ak,
    /// The AK's Name.
    pub ak_name: Name,
    /// The LDevID key.
    pub ldevid: KeyBlob,
}

/// A granted enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    /// The Verifier that granted it.
    pub server: Server,
    /// The gateway's id there.
    pub gateway_id: Ueid,
    /// The bundle's class.
    pub class: String,
    /// Name of the policy root, from the bundle.
    pub policy_root_name: Name,
    /// The keys.
    pub keys: Keys,
    /// DER: the LDevID first, then the issuing CA.
    pub ldevid_chain: Vec<Vec<u8>>,
    /// Seconds since the Unix epoch: when to renew.
    pub renew_after: i64,
    /// Seconds since the Unix epoch: when the LDevID ends.
    pub not_after: i64,
}

/// An enrolment that is about to be sent, or was sent and not answered.
#[derive(Clone, Debug, PartialEq)]
pub struct Pending {
    /// The Verifier.
    pub server: Server,
    /// Enrol or recover.
    pub purpose: Purpose,
    /// The bundle's class.
    pub class: String,
    /// Name of the policy root, from the bundle.
    pub policy_root_name: Name,
    /// The keys.
    pub keys: Keys,
    /// The very message: only the same bytes get the recorded answer.
    pub request: EnrollRequest,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerJson {
    address: String,
    name: String,
    ca: Hex,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeysJson {
    srk_handle: u32,
    srk_name: Hex,
    ek_template: Hex,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ek_ueid: Option<Hex>,
    /// An algorithm of ours, or `iak`.
    ak_alg: String,
    /// Of a key of ours; else empty.
    ak_unique: Hex,
    /// TPMT_PUBLIC that makes the IAK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iak_area: Option<Hex>,
    /// Where the IAK is kept: handle and its public area.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    iak_handle: Option<u32>,
    ak_name: Hex,
    ldevid_public: Hex,
    ldevid_private: Hex,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EnrolledJson {
    version: u32,
    server: ServerJson,
    gateway_id: Hex,
    class: String,
    policy_root_name: Hex,
    keys: KeysJson,
    ldevid_chain: Vec<Hex>,
    renew_after: i64,
    not_after: i64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PendingJson {
    version: u32,
    server: ServerJson,
    purpose: String,
    class: String,
    policy_root_name: Hex,
    keys: KeysJson,
    request: Hex,
}

impl Enrolled {
    /// The EK of the enrolment: what secrets are encrypted to on the bus, and
    /// what the Verifier wraps for.
    ///
    /// # Errors
    /// [`StateError::EkUnknown`].
    pub fn pinned_ek(&self) -> Result<PinnedEk, StateError> {
        let ueid = match (&self.keys.ak, self.keys.ek_ueid) {
            (Ak::Own(_), _) => self.gateway_id,
            (Ak::Iak { .. }, ueid) => ueid.ok_or(StateError::EkUnknown)?,
        };
        Ok(PinnedEk {
            template: self.keys.ek_template.clone(),
            ueid,
        })
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        pretty(&EnrolledJson {
            version: VERSION,
            server: (&self.server).into(),
            gateway_id: hex(self.gateway_id.as_bytes()),
            class: self.class.clone(),
            policy_root_name: hex(self.policy_root_name.as_bytes()),
            keys: (&self.keys).into(),
            ldevid_chain: self.ldevid_chain.iter().map(hex).collect(),
            renew_after: self.renew_after,
            not_after: self.not_after,
        })
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let json: EnrolledJson = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        version(json.version)?;
        Ok(Self {
            server: json.server.into(),
            gateway_id: field("gateway_id", Ueid::parse(&json.gateway_id.0))?,
            class: json.class,
            policy_root_name: field("policy_root_name", Name::parse(&json.policy_root_name.0))?,
            keys: json.keys.try_into()?,
            ldevid_chain: json.ldevid_chain.into_iter().map(|c| c.0).collect(),
            renew_after: json.renew_after,
            not_after: json.not_after,
        })
    }
}

impl Pending {
    pub(super) fn to_json(&self) -> Vec<u8> {
        pretty(&PendingJson {
            version: VERSION,
            server: (&self.server).into(),
            purpose: self.purpose.name().to_owned(),
            class: self.class.clone(),
            policy_root_name: hex(self.policy_root_name.as_bytes()),
            keys: (&self.keys).into(),
            request: hex(Zeroizing::new(self.request.encode_to_vec()).as_slice()),
        })
    }

    pub(super) fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let json: PendingJson = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
        version(json.version)?;
        let purpose = [Purpose::Enrol, Purpose::Recover]
            .into_iter()
            .find(|purpose| purpose.name() == json.purpose)
            .ok_or_else(|| format!("purpose: {:?}", json.purpose))?;
        Ok(Self {
            server: json.server.into(),
            purpose,
            class: json.class,
            policy_root_name: field("policy_root_name", Name::parse(&json.policy_root_name.0))?,
            keys: json.keys.try_into()?,
            request: field("request", EnrollRequest::decode(json.request.0.as_slice()))?,
        })
    }
}

impl From<&Server> for ServerJson {
    fn from(server: &Server) -> Self {
        Self {
            address: server.address.clone(),
            name: server.name.clone(),
            ca: hex(&server.ca_der),
        }
    }
}

impl From<ServerJson> for Server {
    fn from(json: ServerJson) -> Self {
        Self {
            address: json.address,
            name: json.name,
            ca_der: json.ca.0,
        }
    }
}

impl From<&Keys> for KeysJson {
    fn from(keys: &Keys) -> Self {
        let (ak_unique, iak_area, iak_handle) = match &keys.ak {
            Ak::Own(key) => (hex(key.unique), None, None),
            Ak::Iak { source, template } => match source {
                DeviceKeySource::Template(area) => (hex([]), Some(hex(area.encode())), None),
                // Any area of the template says which it is.
                DeviceKeySource::Persistent { handle, .. } => {
                    let area = template.public(DevidKey::Iak, DevidUnique::Zeros);
                    (hex([]), Some(hex(area.encode())), Some(*handle))
                }
            },
        };
        Self {
            srk_handle: keys.srk_handle,
            srk_name: hex(keys.srk_name.as_bytes()),
            ek_template: hex(keys.ek_template.encode()),
            ek_ueid: keys.ek_ueid.map(|ueid| hex(ueid.as_bytes())),
            ak_alg: names::ak(&keys.ak).to_owned(),
            ak_unique,
            iak_area,
            iak_handle,
            ak_name: hex(keys.ak_name.as_bytes()),
            ldevid_public: hex(keys.ldevid.encode_public()),
            ldevid_private: hex(keys.ldevid.encode_private()),
        }
    }
}

impl TryFrom<KeysJson> for Keys {
    type Error = String;

    fn try_from(json: KeysJson) -> Result<Self, String> {
        let ak_name = field("ak_name", Name::parse(&json.ak_name.0))?;
        let ak = match &json.iak_area {
            None => Ak::Own(AttestationKey {
                alg: names::parse_ak_alg(&json.ak_alg)?,
                unique: field(
                    "ak_unique",
                    <[u8; 32]>::try_from(json.ak_unique.0.as_slice()),
                )?,
            }),
            Some(area) => {
                let area = field("iak_area", Public::parse(&area.0))?;
                let template = DevidTemplate::matching(&area, DevidKey::Iak)
                    .ok_or("iak_area: not the template of an IAK")?;
                if json.ak_alg != names::IAK || !json.ak_unique.0.is_empty() {
                    return Err("ak_alg, ak_unique: not those of an IAK".to_owned());
                }
                Ak::Iak {
                    source: match json.iak_handle {
                        None => DeviceKeySource::Template(Box::new(area)),
                        Some(handle) => DeviceKeySource::Persistent {
                            handle,
                            name: ak_name.clone(),
                        },
                    },
                    template,
                }
            }
        };
        let ek_ueid = match (&ak, json.ek_ueid) {
            (Ak::Own(_), Some(_)) => {
                return Err("ek_ueid: only of an enrolment by an IAK".to_owned());
            }
            (_, ueid) => ueid.map(|ueid| field("ek_ueid", Ueid::parse(&ueid.0))),
        }
        .transpose()?;
        Ok(Self {
            srk_handle: json.srk_handle,
            srk_name: field("srk_name", Name::parse(&json.srk_name.0))?,
            ek_template: field("ek_template", Public::parse(&json.ek_template.0))?,
            ek_ueid,
            ak,
            ak_name,
            ldevid: field(
                "ldevid_public, ldevid_private",
                KeyBlob::parse(&json.ldevid_public.0, &json.ldevid_private.0),
            )?,
        })
    }
}

/// Bytes as lower-case hex in JSON.
struct Hex(Vec<u8>);

fn hex(bytes: impl AsRef<[u8]>) -> Hex {
    Hex(bytes.as_ref().to_vec())
}

impl Serialize for Hex {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        hex::decode(text)
            .map(Self)
            .map_err(serde::de::Error::custom)
    }
}

fn version(found: u32) -> Result<(), String> {
    if found == VERSION {
        Ok(())
    } else {
        Err(format!(
            "version {found} where this program writes {VERSION}"
        ))
    }
}

fn field<T, E: std::fmt::Display>(name: &str, value: Result<T, E>) -> Result<T, String> {
    value.map_err(|e| format!("{name}: {e}"))
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut json =
        serde_json::to_vec_pretty(value).expect("a struct of strings and numbers serialises");
    json.push(b'\n');
    json
}
