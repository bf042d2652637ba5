//! Signs a document of reference values and sends it.

use holdfast_proto::grpc::v1::{
    ImportReferenceValuesRequest, ImportReferenceValuesResponse, ListReferenceValuesRequest,
    admin_client::AdminClient,
};
use tonic::transport::Channel;

use crate::{
    cli::{DirArg, Failure, client, owner::SignArgs},
    digest::sha256,
    owner::Kind,
};

/// What is to be signed.
pub(super) struct Document<'a> {
    pub(super) class: &'a str,
    pub(super) text: &'a str,
    pub(super) version: u64,
    /// Gateway and SHA-256 of its quote, where it was captured.
    pub(super) captured: Option<(&'a str, &'a [u8])>,
}

/// The version that `text` would be: the next one, or the newest where it is
/// that very document, in force.
pub(super) async fn version(
    client: &mut AdminClient<Channel>,
    class: &str,
    text: &str,
) -> Result<u64, Failure> {
    let request = ListReferenceValuesRequest {
        class: class.to_owned(),
    };
    let versions = client
        .list_reference_values(request)
        .await
        .map_err(|s| client::refused(&s))?
        .into_inner()
        .versions;
    let digest = hex::encode(sha256(&[text.as_bytes()]));
    Ok(versions.first().map_or(1, |newest| {
        if newest.in_force && newest.digest == digest {
            newest.version
        } else {
            newest.version.saturating_add(1)
        }
    }))
}

/// Signs, and imports.
pub(super) async fn import(
    client: &mut AdminClient<Channel>,
    dir: &DirArg,
    sign: &SignArgs,
    document: &Document<'_>,
) -> Result<ImportReferenceValuesResponse, Failure> {
    let Document {
        class,
        text,
        version,
        captured,
    } = document;
    let kind = Kind::ReferenceValues;
    let statement = sign.sign(dir, kind, class, *version, text.as_bytes())?;
    let (gateway, quote) = captured.unwrap_or_default();
    let done = client
        .import_reference_values(ImportReferenceValuesRequest {
            class: (*class).to_owned(),
            document: (*text).to_owned(),
            statement,
            captured_gateway_id: gateway.to_owned(),
            captured_quote_sha256: quote.to_vec(),
        })
        .await
        .map_err(|s| client::refused(&s))?;
    Ok(done.into_inner())
}

/// For people.
pub(super) fn said(done: &ImportReferenceValuesResponse) -> String {
    format!(
        "reference values of class {} are now version {} (SHA-256 {})",
        done.class, done.version, done.digest
    )
}
