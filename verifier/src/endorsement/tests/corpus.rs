//! Real EK certificates and vendor CAs. None is copied here; the tests skip,
//! and say so, where the corpus is absent.

use std::{
    fs,
    path::{Path, PathBuf},
};

use rustls_pki_types::{CertificateDer, pem::PemObject};

use super::*;

fn corpus(folder: &str) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let root = std::env::var_os("HOLDFAST_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/corpus"),
        PathBuf::from,
    );
    let root = root.join(folder);
    if !root.is_dir() {
        eprintln!(
            "skipped: no corpus at {} (set HOLDFAST_CORPUS)",
            root.display()
        );
        return None;
    }
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

#[test]
fn real_ek_certificates_are_read_with_their_attributes() {
    let Some(files) = corpus("ek-cert") else {
        return;
    };
    let mut read = 0;
    for (path, bytes) in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for der in certificates(&bytes) {
            let outcome = certificate::Certificate::parse(&der, 0);
            match outcome {
                Ok(certificate) => {
                    read += 1;
                    let _ = certificate.expect_strong(0);
                    let _ = certificate::display_name(certificate.issuer);
                }
                Err(error) => eprintln!("{name}: {error}"),
            }
        }
    }
    eprintln!("{read} EK certificates read");
    assert!(read >= 15, "{read}");
}

#[test]
fn real_vendor_cas_can_be_imported_or_say_why_not() {
    let Some(files) = corpus("tpm-ca") else {
        return;
    };
    let (mut taken, mut refused) = (0, 0);
    for (path, bytes) in files {
        for der in certificates(&bytes) {
            match CertificateFacts::parse(&der) {
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
