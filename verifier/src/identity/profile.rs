//! The LDevID certificate profile (IEEE 802.1AR-2018 §8, TCG TPM 2.0 Keys for
//! Device Identity and Attestation), and what an owner may set in it.
//! `docs/ldevid-profile.md` is its page for readers.

use std::collections::BTreeMap;

use holdfast_proto::binding::Ueid;

use super::{
    IdentityError, certificate as x509, der,
    lint::Expectation,
    names::{NAMES_MAX, NameTemplate, Variables},
    oid,
};

/// How long an LDevID lives unless the owner says otherwise: a day, so that a
/// gateway which stops attesting soon holds nothing.
pub const DEFAULT_VALIDITY_SECONDS: i64 = 24 * 3600;
/// Shortest lifetime: below it, an exchange and its renewal overlap.
pub const MIN_VALIDITY_SECONDS: i64 = 60;
/// Longest lifetime. An LDevID is renewed in hours, not years.
pub const MAX_VALIDITY_SECONDS: i64 = 7 * 24 * 3600;
/// notBefore lies this far back, for relying parties whose clock is behind.
pub const BACKDATE_SECONDS: i64 = 5 * 60;

/// ub-serial-number and ub-common-name (RFC 5280 appendix A.1).
pub(super) const MAX_NAME_CHARS: usize = 64;

/// Longest MUD URL, as of other names.
const MUD_URL_MAX: usize = 253;
/// Purposes that a profile may add to clientAuth, as the owner writes them.
pub(super) const PURPOSES: [(&str, &[u32]); 2] = [
    ("server-auth", oid::SERVER_AUTH),
    ("ipsec-ike", oid::IPSEC_IKE),
];

/// What an owner writes about the LDevIDs of a class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileSettings {
    /// Lifetime from issuance, in seconds.
    pub validity_seconds: i64,
    /// For a SPIFFE ID `spiffe://<domain>/gateway/<gateway id>`.
    pub spiffe_trust_domain: Option<String>,
    /// Templates of DNS names (docs/ldevid-profile.md), at most eight.
    pub dns_names: Vec<String>,
    /// Templates of URIs, at most eight.
    pub uris: Vec<String>,
    /// Purposes beside client-auth: `server-auth`, `ipsec-ike`.
    pub extended_key_usages: Vec<String>,
    /// Where the manufacturer describes the device (RFC 8520).
    pub mud_url: Option<String>,
}

impl Default for ProfileSettings {
    /// One day, and nothing else.
    fn default() -> Self {
        Self {
            validity_seconds: DEFAULT_VALIDITY_SECONDS,
            spiffe_trust_domain: None,
            dns_names: Vec::new(),
            uris: Vec::new(),
            extended_key_usages: Vec::new(),
            mud_url: None,
        }
    }
}

/// What an owner chose about LDevIDs, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    validity_seconds: i64,
    spiffe_trust_domain: Option<String>,
    dns_names: Vec<NameTemplate>,
    uris: Vec<NameTemplate>,
    purposes: Vec<&'static [u32]>,
    mud_url: Option<String>,
}

/// What a profile adds to one gateway's LDevID beside what each has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Additions {
    pub(super) dns_names: Vec<String>,
    pub(super) uris: Vec<String>,
    pub(super) purposes: Vec<&'static [u32]>,
    pub(super) mud_url: Option<String>,
}

impl Profile {
    /// From what the owner wrote.
    ///
    /// # Errors
    /// [`IdentityError`] names the setting and the rule that it breaks.
    pub fn from_settings(settings: &ProfileSettings) -> Result<Self, IdentityError> {
        let seconds = settings.validity_seconds;
        if !(MIN_VALIDITY_SECONDS..=MAX_VALIDITY_SECONDS).contains(&seconds) {
            return Err(IdentityError::BadValidity(seconds));
        }
        let many = settings
            .dns_names
            .get(NAMES_MAX)
            .or(settings.uris.get(NAMES_MAX));
        if let Some(template) = many {
            return Err(IdentityError::BadNameTemplate {
                template: template.escape_debug().to_string(),
                why: "there are at most eight of a kind",
            });
        }
        let all = |texts: &[String], parse: fn(&str) -> Result<NameTemplate, IdentityError>| {
            texts
                .iter()
                .map(|text| parse(text))
                .collect::<Result<Vec<_>, _>>()
        };
        let mut purposes = Vec::new();
        for name in &settings.extended_key_usages {
            let known = PURPOSES.iter().find(|(known, _)| known == name);
            match known {
                Some((_, purpose)) if !purposes.contains(purpose) => purposes.push(*purpose),
                _ => return Err(IdentityError::BadPurpose(name.escape_debug().to_string())),
            }
        }
        Ok(Self {
            validity_seconds: seconds,
            spiffe_trust_domain: settings
                .spiffe_trust_domain
                .as_deref()
                .map(parse_trust_domain)
                .transpose()?,
            dns_names: all(&settings.dns_names, NameTemplate::dns)?,
            uris: all(&settings.uris, NameTemplate::uri)?,
            purposes,
            mud_url: settings.mud_url.as_deref().map(parse_mud_url).transpose()?,
        })
    }

    /// `validity_seconds` counts from issuance; a SPIFFE ID
    /// `spiffe://<domain>/gateway/<gateway id>` is added where a trust domain
    /// is given.
    ///
    /// # Errors
    /// [`IdentityError::BadValidity`] outside [`MIN_VALIDITY_SECONDS`] to
    /// [`MAX_VALIDITY_SECONDS`]; [`IdentityError::BadTrustDomain`] for a name
    /// that SPIFFE-ID §2.1 does not allow.
    pub fn new(
        validity_seconds: i64,
        spiffe_trust_domain: Option<&str>,
    ) -> Result<Self, IdentityError> {
        Self::from_settings(&ProfileSettings {
            validity_seconds,
            spiffe_trust_domain: spiffe_trust_domain.map(str::to_owned),
            ..ProfileSettings::default()
        })
    }

    /// One day, no SPIFFE ID.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            validity_seconds: DEFAULT_VALIDITY_SECONDS,
            spiffe_trust_domain: None,
            dns_names: Vec::new(),
            uris: Vec::new(),
            purposes: Vec::new(),
            mud_url: None,
        }
    }

    /// Lifetime from issuance, in seconds.
    #[must_use]
    pub fn validity_seconds(&self) -> i64 {
        self.validity_seconds
    }

    /// The SPIFFE ID of a gateway, where there is a trust domain.
    #[must_use]
    pub fn spiffe_id(&self, gateway: &Ueid) -> Option<String> {
        self.spiffe_trust_domain
            .as_ref()
            .map(|domain| format!("spiffe://{domain}/gateway/{gateway}"))
    }

    /// What it adds to the LDevID of one gateway.
    ///
    /// # Errors
    /// [`IdentityError::BadNameTemplate`] where a name comes out too long.
    pub(super) fn additions(
        &self,
        gateway: &Ueid,
        class: &str,
        serial: &str,
    ) -> Result<Additions, IdentityError> {
        let variables = Variables {
            gateway,
            class,
            serial,
        };
        let fill = |templates: &[NameTemplate]| {
            templates
                .iter()
                .map(|template| template.fill(&variables))
                .collect::<Result<Vec<_>, _>>()
        };
        Ok(Additions {
            dns_names: fill(&self.dns_names)?,
            uris: fill(&self.uris)?,
            purposes: self.purposes.clone(),
            mud_url: self.mud_url.clone(),
        })
    }
}

/// The profile of every class.
#[derive(Clone, Debug)]
pub struct Profiles {
    default: Profile,
    classes: BTreeMap<String, Profile>,
}

impl Profiles {
    /// `default` for all classes but those named.
    #[must_use]
    pub fn new(default: Profile, classes: BTreeMap<String, Profile>) -> Self {
        Self { default, classes }
    }

    /// The profile of a class.
    #[must_use]
    pub fn of(&self, class: &str) -> &Profile {
        self.classes.get(class).unwrap_or(&self.default)
    }
}

impl From<Profile> for Profiles {
    fn from(default: Profile) -> Self {
        Self::new(default, BTreeMap::new())
    }
}

/// The extensions of an LDevID, in the order that they are written.
pub(super) fn extensions(expected: &Expectation, authority_key_id: &[u8]) -> Vec<Vec<u8>> {
    let additions = &expected.additions;
    let mut names = vec![x509::hardware_module_name(
        expected.hardware_serial.as_bytes(),
    )];
    names.extend(expected.spiffe_id.iter().map(|id| x509::uri(id)));
    names.extend(additions.dns_names.iter().map(|name| x509::dns_name(name)));
    names.extend(additions.uris.iter().map(|uri| x509::uri(uri)));
    let purposes = [&[oid::CLIENT_AUTH][..], &additions.purposes].concat();
    let mut extensions = vec![
        x509::authority_key_identifier(authority_key_id),
        x509::key_usage(x509::DIGITAL_SIGNATURE),
        x509::extended_key_usages(&purposes),
        x509::certificate_policies(&[oid::VERIFIED_TPM_RESIDENCY, oid::VERIFIED_TPM_FIXED]),
        x509::subject_alt_name(&names),
    ];
    extensions.extend(additions.mud_url.iter().map(|url| x509::mud_url(url)));
    if let Some(urls) = &expected.revocation {
        extensions.push(x509::crl_distribution_point(&urls.crl));
        extensions.push(x509::authority_info_access(&urls.ocsp, &urls.issuer));
    }
    extensions
}

/// RFC 8520 §11: https; of characters that need no quoting anywhere.
pub(super) fn parse_mud_url(text: &str) -> Result<String, IdentityError> {
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._~/:@+,=;%".contains(c);
    if rest.is_empty()
        || rest.starts_with('/')
        || text.len() > MUD_URL_MAX
        || !rest.chars().all(allowed)
    {
        return Err(IdentityError::BadMudUrl(text.escape_debug().to_string()));
    }
    Ok(text.to_owned())
}

/// SPIFFE-ID §2.1: lower-case letters, digits, dot, dash, underscore, at most
/// 255 bytes.
fn parse_trust_domain(text: &str) -> Result<String, IdentityError> {
    let allowed =
        |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    if text.is_empty() || text.len() > 255 || !text.chars().all(allowed) {
        return Err(IdentityError::BadTrustDomain(
            text.escape_debug().to_string(),
        ));
    }
    Ok(text.to_owned())
}

/// Subject serialNumber: the SHA-256 part of the gateway id in lower hex.
/// The id's type octet is left out, as 66 characters would pass
/// ub-serial-number (64).
#[must_use]
pub fn subject_serial_number(gateway: &Ueid) -> String {
    gateway.to_string().chars().skip(2).collect()
}

/// Subject commonName: for people, the first 64 bits of the serial number.
pub(super) fn common_name(gateway: &Ueid) -> String {
    let short: String = subject_serial_number(gateway).chars().take(16).collect();
    format!("gateway-{short}")
}

/// DER subject: serialNumber (PrintableString), then commonName.
pub(super) fn subject(gateway: &Ueid) -> Vec<u8> {
    x509::name(&[
        (
            oid::SERIAL_NUMBER,
            der::printable_string(&subject_serial_number(gateway)),
        ),
        (oid::COMMON_NAME, der::utf8_string(&common_name(gateway))),
    ])
}
