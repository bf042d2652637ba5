//! Real EK certificates and vendor CAs. None is copied here; the tests skip,
//! and say so, where the corpus is absent.

use std::{fs, path::PathBuf};

use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::*;
use crate::time::UnixTime;

fn corpus(folder: &str) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let root = crate::verification::tests::corpus::corpus(folder)?;
    let mut found = Vec::new();
    let mut folders = vec![root];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = fs::read(&path).unwrap();
                found.push((path, bytes));
            }
        }
    }
    Some(found)
}

fn certificates(bytes: &[u8]) -> Vec<Vec<u8>> {
    let pem: Vec<Vec<u8>> = CertificateDer::pem_slice_iter(bytes)
        .flatten()
        .map(|c| c.to_vec())
        .collect();
    if pem.is_empty() {
        vec![bytes.to_vec()]
    } else {
        pem
    }
}

/// Files that are not one DER certificate. The attester trims what it reads
/// from NV; what still arrives so is refused, with the reason.
fn expected_refusal(name: &str, error: &EndorsementError) -> bool {
    match name {
        // A header before the certificate.
        "v1-EKCertData" | "ek_cert_untouched.cer" | "ek_cert_with_security_assertions.cer" => {
            matches!(
                error,
                EndorsementError::Malformed {
                    part: "certificate",
                    ..
                }
            )
        }
        // Padding after it.
        "ECC_EK_cert.bin" | "ek_cert_with_padded_bytes.cer" | "st_sha256_with_rsa.der" => {
            matches!(error, EndorsementError::TrailingBytes { .. })
        }
        _ => false,
    }
}

#[test]
fn real_ek_certificates_are_read_or_refused_for_the_known_reason() {
    let Some(files) = corpus("ek-cert") else {
        return;
    };
    for (path, bytes) in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for der in certificates(&bytes) {
            match EkChain::parse(&[der]) {
                Ok(_) => {}
                Err(error) => assert!(expected_refusal(&name, &error), "{name}: {error}"),
            }
        }
    }
}

/// The EK that a certificate is for, as its TPM would have sent it.
fn ek_of(leaf: &[u8]) -> Option<EkPublic> {
    let key = certificate::Certificate::parse(leaf, 0).ok()?.key;
    let public = match key {
        certificate::SubjectKey::Rsa { n, .. } => Public {
            unique: Unique::Rsa(n.to_vec()),
            ..EkTemplate::L1.public()
        },
        certificate::SubjectKey::Ec { point, .. } => {
            let (x, y) = point.get(1..)?.split_at(point.len() / 2);
            let unique = Unique::Ecc {
                x: x.to_vec(),
                y: y.to_vec(),
            };
            Public {
                unique,
                ..EkTemplate::L2.public()
            }
        }
        certificate::SubjectKey::Other { .. } => return None,
    };
    EkPublic::parse(&public.encode()).ok()
}

/// Everything before the end of the outer SEQUENCE, as the attester trims.
fn trimmed(bytes: &[u8]) -> Vec<u8> {
    let whole = der::Reader::new(bytes).next().map(|e| e.whole.to_vec());
    whole.unwrap_or_else(|_| bytes.to_vec())
}

#[test]
fn real_chips_are_endorsed_by_their_vendors() {
    let (Some(leaves), Some(cas)) = (corpus("ek-cert"), corpus("tpm-ca")) else {
        return;
    };
    let (mut roots, mut intermediates) = (Vec::new(), Vec::new());
    for der in cas.iter().flat_map(|(_, bytes)| certificates(bytes)) {
        match CertificateFacts::parse(&der, &Leniencies::default()) {
            Ok(facts) if facts.root => roots.push(der),
            Ok(_) => intermediates.push(der),
            // ST's and Intel's: see `Anchors::new`.
            Err(EndorsementError::CriticalExtension { oid, .. }) if oid == "2.5.29.32" => {
                roots.push(der);
            }
            Err(_) => {}
        }
    }
    let anchors = Anchors::new(roots, intermediates).unwrap();
    let mut endorsed = Vec::new();
    for (path, bytes) in leaves {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for leaf in certificates(&bytes).iter().map(|c| trimmed(c)) {
            let Some(ek) = ek_of(&leaf) else { continue };
            // In the last year of each: many have expired.
            let not_after = certificate::Certificate::parse(&leaf, 0).unwrap().not_after;
            let at = not_after
                .plus(-365 * 86_400)
                .min(UnixTime::from_seconds(1_790_000_000));
            match anchors.endorse(&chain(std::slice::from_ref(&leaf)), ek, at) {
                Ok(ek) => endorsed.push((name.clone(), ek.facts().manufacturer.clone())),
                Err(error) => eprintln!("{name}: {error}"),
            }
        }
    }
    eprintln!("endorsed: {endorsed:?}");
    for (name, manufacturer) in [
        ("st_ecdsa_sha256.der", "id:53544D20"),
        ("st_sha256_with_rsa.der", "id:53544D20"),
    ] {
        assert!(
            endorsed.contains(&(name.into(), manufacturer.into())),
            "{name}"
        );
    }
}

#[test]
fn real_vendor_cas_can_be_imported_or_say_why_not() {
    let Some(files) = corpus("tpm-ca") else {
        return;
    };
    let (mut taken, mut refused) = (0, 0);
    for (path, bytes) in files {
        for der in certificates(&bytes) {
            match CertificateFacts::parse(&der, &Leniencies::default()) {
                Ok(_) => taken += 1,
                Err(error) => {
                    refused += 1;
                    eprintln!("{}: {error}", path.display());
                }
            }
        }
    }
    eprintln!("{taken} vendor CAs taken, {refused} refused");
    assert!(taken > refused, "{taken} taken, {refused} refused");
}
