//! An OEM's CA: IDevID and IAK certificates (IEEE 802.1AR-2018 §8; TCG "TPM 2.0
//! Keys for Device Identity and Attestation" §8), for an OEM that makes them
//! with Holdfast. What is certified is decided in [`crate::oem`].
//!
//! Both certificates have the subject O, CN = model, serialNumber; no end; keyUsage
//! digitalSignature; the HardwareModuleName of the TPM; the TCG's residency
//! policies. The IAK's has the purpose tcg-kp-AIKCertificate beside, so that it
//! serves for nothing else; the IDevID's has none, since what a device identity
//! is for is its owner's to say.

use std::fmt;

use holdfast_proto::tpm::devid::DevidKey;
use picky_asn1_x509::{Certificate, ExtensionView, KeyUsage, SubjectPublicKeyInfo};
use ring::rand::SecureRandom;
use rustls_pki_types::{CertificateDer, Der, TrustAnchor};
use webpki::{EndEntityCert, KeyUsage as PathUsage};

use super::{
    IdentityError, KeyedCertificate, SecretKey,
    ca::{ca_extensions, ca_name},
    ca_public::CaPublic,
    certificate::{self as x509, SERIAL_OCTETS, Template},
    der,
    lint::{CaFacts, LintError, device_names, residency_policies, unix_time},
    oid,
    profile::{BACKDATE_SECONDS, MAX_NAME_CHARS},
    signer::{CaSigner as _, FileSigner, generate_pkcs8},
};
use crate::time::UnixTime;

/// 99991231235959Z: no well-defined end (RFC 5280 §4.1.2.5). A DevID lives as
/// long as its device, so its issuers must too.
const NO_END: UnixTime = UnixTime::from_seconds(253_402_300_799);
/// Longest hwSerialNum: vendor, AKI and serial number of an EK certificate.
const HARDWARE_SERIAL_MAX: usize = 255;

/// Why a product cannot be named in a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DevidSubjectError {
    /// Not a text for serialNumber, which is a PrintableString.
    #[error(
        "product serial {0:?}: 1 to 64 of A-Z a-z 0-9 space ' ( ) + , - . / : = ?, no space at its ends"
    )]
    Serial(String),
    /// Not a text for commonName here.
    #[error(
        "product model {0:?}: 1 to 64 visible ASCII characters or spaces, no space at its ends"
    )]
    Model(String),
    /// Not a text for hwSerialNum here.
    #[error("hardware serial {0:?}: 1 to 255 visible ASCII characters")]
    Hardware(String),
}

/// What both certificates say of the product. Inert wherever it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevidSubject {
    model: String,
    serial: String,
    hardware_serial: String,
}

impl DevidSubject {
    /// From what a request says of the product, and a proven hardware serial.
    ///
    /// # Errors
    /// [`DevidSubjectError`] with the text, escaped.
    pub fn new(
        model: &[u8],
        serial: &[u8],
        hardware_serial: &str,
    ) -> Result<Self, DevidSubjectError> {
        let shown = |bytes: &[u8]| -> String {
            bytes.escape_ascii().to_string().chars().take(80).collect()
        };
        // X.680 §41.4, in one way only, so that none is taken for another.
        let printable = |b: u8| b.is_ascii_alphanumeric() || b" '()+,-./:=?".contains(&b);
        let visible = |b: u8| b.is_ascii_graphic() || b == b' ';
        let text = |bytes: &[u8], fits: &dyn Fn(u8) -> bool| {
            let text = std::str::from_utf8(bytes).ok()?;
            let sound = (1..=MAX_NAME_CHARS).contains(&text.len())
                && text.bytes().all(fits)
                && text.trim() == text;
            sound.then(|| text.to_owned())
        };
        let hardware = (1..=HARDWARE_SERIAL_MAX).contains(&hardware_serial.len())
            && hardware_serial.bytes().all(|b| b.is_ascii_graphic());
        if !hardware {
            return Err(DevidSubjectError::Hardware(shown(
                hardware_serial.as_bytes(),
            )));
        }
        Ok(Self {
            model: text(model, &visible).ok_or_else(|| DevidSubjectError::Model(shown(model)))?,
            serial: text(serial, &printable)
                .ok_or_else(|| DevidSubjectError::Serial(shown(serial)))?,
            hardware_serial: hardware_serial.to_owned(),
        })
    }

    /// commonName.
    #[must_use]
    pub fn model(&self) -> &str {
        &self.model
    }

    /// serialNumber.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.serial
    }

    fn name(&self, organization: &str) -> Vec<u8> {
        x509::name(&[
            (oid::ORGANIZATION, der::utf8_string(organization)),
            (oid::COMMON_NAME, der::utf8_string(&self.model)),
            (oid::SERIAL_NUMBER, der::printable_string(&self.serial)),
        ])
    }
}

/// A new OEM CA: a root and, below it, the CA that certifies devices.
#[derive(Debug)]
pub struct NewDevidCa {
    /// The root, whose key is needed no more until the device CA is replaced.
    pub root: KeyedCertificate,
    /// The device CA.
    pub device: KeyedCertificate,
}

impl NewDevidCa {
    /// Makes both. Neither ends.
    ///
    /// # Errors
    /// [`IdentityError::BadOrganization`], [`IdentityError::NoRandomness`].
    pub fn make(
        organization: &str,
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<Self, IdentityError> {
        let root_key = SecretKey::generate(rng)?;
        let signer = root_key.signer()?;
        let root_id = signer.public().key_identifier();
        let root_name = ca_name(organization, "OEM Root CA", &root_id)?;
        let certify = |public: &CaPublic, subject: &[u8], path_len: u8| {
            let template = Template {
                serial: &x509::random_serial(rng)?,
                issuer: &root_name,
                not_before: now.plus(-BACKDATE_SECONDS),
                not_after: NO_END,
                subject,
                spki: &public.spki(),
                extensions: &ca_extensions(path_len, &public.key_identifier(), &root_id),
            };
            Ok::<_, IdentityError>(x509::sign(
                &template.to_be_signed(signer.public())?,
                &signer,
            )?)
        };
        let root = certify(signer.public(), &root_name, 1)?;
        let device_key = SecretKey::generate(rng)?;
        let device_public = device_key.signer()?;
        let device_public = device_public.public();
        let device_name = ca_name(
            organization,
            "OEM Device CA",
            &device_public.key_identifier(),
        )?;
        let device = certify(device_public, &device_name, 0)?;
        Ok(Self {
            root: KeyedCertificate {
                certificate: root,
                key: root_key,
            },
            device: KeyedCertificate {
                certificate: device,
                key: device_key,
            },
        })
    }
}

/// The CA that certifies devices, with its key.
pub struct DevidCa {
    facts: CaFacts,
    organization: String,
    signer: FileSigner,
}

impl fmt::Debug for DevidCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DevidCa")
            .field("organization", &self.organization)
            .finish_non_exhaustive()
    }
}

impl DevidCa {
    /// From its DER certificate and its key.
    ///
    /// # Errors
    /// [`IdentityError::BadCaCertificate`], [`IdentityError::KeyMismatch`].
    pub fn open(certificate: &[u8], signer: FileSigner) -> Result<Self, IdentityError> {
        let facts = CaFacts::parse(certificate)?;
        if facts.public.as_ref() != Some(signer.public()) {
            return Err(IdentityError::KeyMismatch);
        }
        let organization = super::CaCertificate::parse(certificate)?
            .organization()
            .ok_or(IdentityError::BadCaCertificate(
                "no organizationName in its subject",
            ))?
            .to_owned();
        Ok(Self {
            facts,
            organization,
            signer,
        })
    }

    /// Its certificate, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.facts.der
    }

    /// Prepares, lints and signs one certificate. DER.
    ///
    /// # Errors
    /// [`IdentityError::Lint`] before anything is signed;
    /// [`IdentityError::CaNotValid`]; [`IdentityError::Sign`].
    pub(crate) fn issue(
        &self,
        of: DevidKey,
        subject: &DevidSubject,
        spki: &[u8],
        now: UnixTime,
        rng: &dyn SecureRandom,
    ) -> Result<Vec<u8>, IdentityError> {
        let (not_before, not_after) = (self.facts.not_before, self.facts.not_after);
        if now < not_before || now >= not_after {
            return Err(IdentityError::CaNotValid {
                not_before,
                not_after,
                now,
            });
        }
        let wanted = Wanted {
            of,
            subject: subject.name(&self.organization),
            hardware_serial: &subject.hardware_serial,
            spki,
            not_before: now.plus(-BACKDATE_SECONDS).max(not_before),
            now,
        };
        let mut extensions = vec![
            x509::authority_key_identifier(&self.facts.key_identifier),
            x509::key_usage(x509::DIGITAL_SIGNATURE),
            x509::certificate_policies(&policies(of)),
            x509::subject_alt_name(&[x509::hardware_module_name(
                subject.hardware_serial.as_bytes(),
            )]),
        ];
        extensions.extend(purpose(of).map(x509::extended_key_usage));
        let template = Template {
            serial: &x509::random_serial(rng)?,
            issuer: &self.facts.subject,
            not_before: wanted.not_before,
            not_after: NO_END,
            subject: &wanted.subject,
            spki,
            extensions: &extensions,
        };
        let to_be_signed = template.to_be_signed(self.signer.public())?;
        lint(&to_be_signed, &self.facts, &wanted, rng)?;
        let certificate = x509::sign(&to_be_signed, &self.signer)?;
        let own = self.signer.public().spki_content();
        path(&certificate, &own, &self.facts, &wanted)?;
        Ok(certificate)
    }
}

fn policies(of: DevidKey) -> [&'static [u32]; 2] {
    match of {
        DevidKey::Idevid => [oid::VERIFIED_TPM_RESIDENCY, oid::VERIFIED_TPM_FIXED],
        DevidKey::Iak => [oid::VERIFIED_TPM_RESIDENCY, oid::VERIFIED_TPM_RESTRICTED],
    }
}

fn purpose(of: DevidKey) -> Option<&'static [u32]> {
    match of {
        DevidKey::Idevid => None,
        DevidKey::Iak => Some(oid::AIK_CERTIFICATE),
    }
}

/// What the certificate must say.
struct Wanted<'a> {
    of: DevidKey,
    /// DER Name.
    subject: Vec<u8>,
    hardware_serial: &'a str,
    spki: &'a [u8],
    not_before: UnixTime,
    now: UnixTime,
}

/// Signs with a throw-away key and reads back with decoders that share no code
/// with the encoder, before the CA's key is touched.
fn lint(
    to_be_signed: &[u8],
    ca: &CaFacts,
    wanted: &Wanted<'_>,
    rng: &dyn SecureRandom,
) -> Result<(), IdentityError> {
    let throw_away = FileSigner::from_pkcs8(&generate_pkcs8(rng)?)?;
    let der = x509::sign(to_be_signed, &throw_away)?;
    let certificate: Certificate = picky_asn1_der::from_bytes(&der)
        .map_err(|error| LintError::Unreadable(error.to_string()))?;
    fields(&certificate, ca, wanted)?;
    extensions(&certificate, ca, wanted)?;
    path(&der, &throw_away.public().spki_content(), ca, wanted)?;
    Ok(())
}

fn fields(certificate: &Certificate, ca: &CaFacts, wanted: &Wanted<'_>) -> Result<(), LintError> {
    let tbs = &certificate.tbs_certificate;
    let serial = tbs.serial_number.as_signed_bytes_be();
    let octets = tbs.serial_number.as_unsigned_bytes_be().len();
    if serial.first().is_none_or(|&byte| byte >= 0x80) || !(8..=SERIAL_OCTETS).contains(&octets) {
        return Err(LintError::SerialNumber(octets));
    }
    let encoded = |name| picky_asn1_der::to_vec(name).unwrap_or_default();
    if encoded(&tbs.issuer) != ca.subject {
        return Err(LintError::Issuer);
    }
    if encoded(&tbs.subject) != wanted.subject {
        return Err(LintError::Subject);
    }
    let times = (
        unix_time(&tbs.validity.not_before),
        unix_time(&tbs.validity.not_after),
    );
    if times != (Some(wanted.not_before), Some(NO_END)) {
        return Err(LintError::Validity {
            not_before: wanted.not_before,
            not_after: times.1.unwrap_or(NO_END),
        });
    }
    let key: SubjectPublicKeyInfo = picky_asn1_der::from_bytes(wanted.spki)
        .map_err(|error| LintError::Unreadable(error.to_string()))?;
    if tbs.subject_public_key_info != key {
        return Err(LintError::SubjectKey);
    }
    Ok(())
}

fn extensions(
    certificate: &Certificate,
    ca: &CaFacts,
    wanted: &Wanted<'_>,
) -> Result<(), LintError> {
    let mut profile: Vec<(&[u32], bool)> = vec![
        (oid::AUTHORITY_KEY_IDENTIFIER, false),
        (oid::KEY_USAGE, true),
        (oid::CERTIFICATE_POLICIES, false),
        (oid::SUBJECT_ALT_NAME, false),
    ];
    profile.extend(purpose(wanted.of).map(|_| (oid::EXTENDED_KEY_USAGE, false)));
    let found = certificate.extensions();
    if let Some((missing, _)) = profile.get(found.len()) {
        return Err(LintError::MissingExtension(oid::dotted(missing)));
    }
    for (position, extension) in found.iter().enumerate() {
        let name: String = (&extension.extn_id().0).into();
        let Some((arcs, critical)) = profile.get(position) else {
            return Err(LintError::UnexpectedExtension(name));
        };
        if oid::dotted(arcs) != name {
            return Err(LintError::UnexpectedExtension(name));
        }
        if extension.critical() != *critical {
            return Err(LintError::Criticality(name));
        }
        content(extension.extn_value(), ca, wanted, &name)?;
    }
    Ok(())
}

fn content(
    value: ExtensionView<'_>,
    ca: &CaFacts,
    wanted: &Wanted<'_>,
    name: &str,
) -> Result<(), LintError> {
    let holds = |holds: bool, error| if holds { Ok(()) } else { Err(error) };
    match value {
        ExtensionView::AuthorityKeyIdentifier(id) => holds(
            id.key_identifier() == Some(ca.key_identifier.as_slice())
                && id.authority_cert_issuer().is_none()
                && id.authority_cert_serial_number().is_none(),
            LintError::AuthorityKeyIdentifier,
        ),
        ExtensionView::KeyUsage(usage) => {
            let mut only = KeyUsage::new(1);
            only.set_digital_signature(true);
            holds(*usage == only, LintError::KeyUsage)
        }
        ExtensionView::ExtendedKeyUsage(usage) => {
            let purposes: Vec<String> = usage.iter().map(|purpose| (&purpose.0).into()).collect();
            let only: Vec<String> = purpose(wanted.of).map(oid::dotted).into_iter().collect();
            holds(purposes == only, LintError::ExtendedKeyUsage)
        }
        ExtensionView::SubjectAltName(names) => {
            let names = device_names(&names.0);
            holds(
                names.is_some_and(|names| {
                    names.hardware_serial == wanted.hardware_serial
                        && names.spiffe_id.is_none()
                        && names.dns_names.is_empty()
                        && names.uris.is_empty()
                }),
                LintError::SubjectAltName,
            )
        }
        ExtensionView::Generic(value) => residency_policies(&value.0, policies(wanted.of)),
        _ => Err(LintError::UnexpectedExtension(name.to_owned())),
    }
}

/// rustls-webpki builds a path for the certificate's purpose to a CA of this
/// name with this key (content of its SubjectPublicKeyInfo), now and at the end
/// of all time.
fn path(der: &[u8], key: &[u8], ca: &CaFacts, wanted: &Wanted<'_>) -> Result<(), LintError> {
    /// Contents of the OIDs tcg-kp-AIKCertificate and clientAuth.
    const AIK: &[u8] = &[0x67, 0x81, 0x05, 0x08, 0x03];
    const CLIENT_AUTH: &[u8] = &[0x2B, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
    let broken = |error: webpki::Error| LintError::Path(error.to_string());
    let der = CertificateDer::from(der);
    let leaf =
        EndEntityCert::try_from(&der).map_err(|error| LintError::Unreadable(error.to_string()))?;
    if leaf.subject_public_key_info().as_ref() != wanted.spki {
        return Err(LintError::SubjectKey);
    }
    let ca_der = CertificateDer::from(ca.der.as_slice());
    let real = webpki::anchor_from_trusted_cert(&ca_der).map_err(broken)?;
    let anchor = TrustAnchor {
        subject: real.subject,
        subject_public_key_info: Der::from(key),
        name_constraints: real.name_constraints,
    };
    let usage = || match wanted.of {
        DevidKey::Iak => PathUsage::required(AIK),
        DevidKey::Idevid => PathUsage::required_if_present(CLIENT_AUTH),
    };
    for at in [wanted.now, NO_END] {
        leaf.verify_for_usage(
            &[webpki::ring::ECDSA_P256_SHA256],
            std::slice::from_ref(&anchor),
            &[],
            at.to_pki(),
            usage(),
            None,
            None,
        )
        .map_err(broken)?;
    }
    Ok(())
}
