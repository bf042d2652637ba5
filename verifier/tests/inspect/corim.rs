//! CoRIMs of the draft and of Veraison: what is stated to be valid is read,
//! what is stated to be invalid is refused, and what is something else is
//! refused as what it is. A CoMID that lies by itself is read inside a CoRIM
//! that is made around it.

use ciborium::Value;
use holdfast_verifier::{
    reference_values::import::corim::{self, Corim, CorimError, Origin, SignerKey},
    time::UnixTime,
};

use super::{
    corpus::{Corpus, corpus, settle},
    diag,
};

/// 2024-01-01: all dates of the corpus hold.
const IN_TIME: UnixTime = UnixTime::from_seconds(1_704_067_200);
/// 2027-01-01: after all of them.
const TOO_LATE: UnixTime = UnixTime::from_seconds(1_798_761_600);

/// What is stated, what we say, and why.
const EXPLAINED: &[(&str, &str, &str)] = &[
    ("coev/ce-evidence.cbor", "CoEV", EVIDENCE),
    ("coev/ce-identity.cbor", "CoEV", EVIDENCE),
    ("coev/ce-pce-evidence.cbor", "CoEV", EVIDENCE),
    ("coserv/discovery-unsigned.cbor", "CoSERV", COSERV),
    ("coserv/example-group-selector.cbor", "CoSERV", COSERV),
    ("coserv/rv-class-simple-results.cbor", "CoSERV", COSERV),
    ("coserv/rv-class-simple.cbor", "CoSERV", COSERV),
    ("coserv/rv-class-stateful.cbor", "CoSERV", COSERV),
    (
        "coserv/sample_key.cbor",
        "COSE key",
        "the key that Veraison's examples are signed with; used as such here",
    ),
    (
        "cmw-corim-collection.diag",
        "CMW",
        "two CoRIMs in a CMW collection, whose type is still to be assigned (TBD1) in the draft: each is to be imported by itself",
    ),
    ("cotl-1.diag", "CoTL", "a list of tags has no values"),
    ("intrep-acs-1.diag", "something else", INTERNAL),
    ("intrep-acs-2.diag", "something else", INTERNAL),
    ("intrep-acs-3.diag", "something else", INTERNAL),
    ("intrep-acs-psa-2.diag", "something else", INTERNAL),
    ("intrep-rel-ae-1.diag", "internal representation", INTERNAL),
    (
        "intrep-rel-domain-1.diag",
        "internal representation",
        INTERNAL,
    ),
    ("intrep-rel-ev-1.diag", "internal representation", INTERNAL),
    ("intrep-rel-rv-1.diag", "internal representation", INTERNAL),
    (
        "intrep-rel-rv-psa-2.diag",
        "internal representation",
        INTERNAL,
    ),
    (
        "protected-header-map-hash-envelope.diag",
        "header",
        "a header by itself; where a message has it, it is refused: the CoRIM is not inside",
    ),
    (
        "profiles/no-profile.cbor",
        "read",
        "wrong for Veraison's reader of CCA profiles; without a profile it is a CoRIM whose digests are of no PCR, and nothing of it is used",
    ),
    ("src/corim-cca-realm.json", "CBOR", TEMPLATE),
    ("src/corim-cca.json", "CBOR", TEMPLATE),
    ("src/corim-psa.json", "CBOR", TEMPLATE),
];

const EVIDENCE: &str = "evidence in CoRIM's terms: no reference values";
const COSERV: &str = "asks for endorsements, or answers: not a document that an owner imports";
const INTERNAL: &str = "how a verifier of the draft keeps what it has read; no document";
const TEMPLATE: &str = "what Veraison's cocli makes CBOR from: it has no tags yet";

/// Read, and its values taken.
fn used(bytes: &[u8], origin: &Origin<'_>) -> Result<Corim, CorimError> {
    let corim = corim::read(bytes, origin, IN_TIME)?;
    corim.environments()?;
    Ok(corim)
}

fn in_a_corim(comid: &[u8]) -> Vec<u8> {
    let tag = |number, value| Value::Tag(number, Box::new(value));
    let corim = Value::Map(vec![
        (0.into(), "made here".into()),
        (1.into(), vec![tag(506, comid.into())].into()),
    ]);
    let mut bytes = Vec::new();
    ciborium::into_writer(&tag(501, corim), &mut bytes).unwrap();
    bytes
}

/// Whom Veraison's examples are signed by.
fn veraison(corpus: &Corpus) -> SignerKey {
    let key = corpus.read("corim/veraison__corim/coserv/sample_key.cbor");
    let key: Value = ciborium::from_reader(key.as_slice()).unwrap();
    let coordinate = |label: i64| {
        let entries = key.as_map().unwrap();
        let found = entries.iter().find(|(key, _)| *key == label.into());
        found.unwrap().1.as_bytes().unwrap().clone()
    };
    let spki = hex::decode("3059301306072a8648ce3d020106082a8648ce3d03010703420004").unwrap();
    SignerKey::read(&[spki, coordinate(-2), coordinate(-3)].concat()).unwrap()
}

fn bytes_of(corpus: &Corpus, path: &str) -> Vec<u8> {
    let file = corpus.read(path);
    if path.ends_with(".diag") {
        let text = String::from_utf8(file).unwrap();
        diag::encode(&text).unwrap_or_else(|why| panic!("{path}: {why}"))
    } else {
        file
    }
}

#[test]
fn every_file_is_as_stated_or_explained() {
    let Some(corpus) = corpus() else { return };
    let key = veraison(&corpus);
    let files = corpus.files("corim");
    let mut found = Vec::new();
    for path in &files {
        let bytes = bytes_of(&corpus, path);
        let origin = if bytes.starts_with(&[0xD2]) {
            Origin::Signed(&key)
        } else {
            Origin::DangerUnsigned
        };
        let mut read = corim::read(&bytes, &origin, IN_TIME);
        if matches!(&read, Err(CorimError::Other(what)) if what.starts_with("a CoMID")) {
            read = corim::read(&in_a_corim(&bytes), &origin, IN_TIME);
        }
        let stated = corpus.stated(path);
        let refused = match &read {
            Err(error) => Some(error.clone()),
            Ok(corim) => corim.environments().err(),
        };
        let differs = if stated.starts_with("VALID") {
            // Valid, and perhaps for a profile that is not known here.
            read.err().map(|error| error.to_string())
        } else {
            refused.is_none().then(|| "read".to_owned())
        };
        found.extend(differs.map(|what| (path.clone(), what)));
    }
    settle("corim", &found, EXPLAINED, files.len());
}

#[test]
fn dates_and_signatures_count() {
    let Some(corpus) = corpus() else { return };
    let key = veraison(&corpus);
    let signed = "corim/veraison__corim/corim/signed-good-corim.cbor";
    let bytes = corpus.read(signed);
    let read = corim::read(&bytes, &Origin::Signed(&key), IN_TIME).unwrap();
    assert_eq!(read.id, "test corim id");
    assert!(matches!(
        corim::read(&bytes, &Origin::Signed(&key), TOO_LATE),
        Err(CorimError::Validity { .. })
    ));
    assert_eq!(
        corim::read(&bytes, &Origin::DangerUnsigned, IN_TIME).unwrap_err(),
        CorimError::NoKey
    );
    // Every byte counts: of header, payload and signature.
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(
            corim::read(&changed, &Origin::Signed(&key), IN_TIME).is_err(),
            "byte {at}"
        );
    }
    let expired = corpus.read("corim/veraison__services/input/cca-endorsements.cbor");
    assert!(matches!(
        corim::read(&expired, &Origin::DangerUnsigned, TOO_LATE),
        Err(CorimError::Validity { .. })
    ));
    assert_eq!(
        corim::read(&expired, &Origin::Signed(&key), IN_TIME).unwrap_err(),
        CorimError::Unsigned
    );
    assert!(matches!(
        used(&expired, &Origin::DangerUnsigned),
        Err(CorimError::Profile(_))
    ));
}

/// The drafts' examples in diagnostic notation are those that Veraison has in
/// CBOR, byte for byte: our reader of the notation is right.
#[test]
fn notation_and_cbor_agree() {
    let Some(corpus) = corpus() else { return };
    let mut compared = 0;
    for path in corpus.files("corim") {
        let Some(name) = path
            .strip_suffix(".diag")
            .and_then(|p| p.rsplit('/').next())
        else {
            continue;
        };
        let twin = ["comid", "corim"].map(|f| format!("corim/veraison__corim/{f}/{name}.cbor"));
        let Some(twin) = twin.iter().find(|path| corpus.path(path).exists()) else {
            continue;
        };
        assert_eq!(bytes_of(&corpus, &path), corpus.read(twin), "{name}");
        compared += 1;
    }
    assert!(compared >= 10, "{compared}");
}
