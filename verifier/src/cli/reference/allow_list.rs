//! Allow lists: signed, sent in chunks, and listed.

use clap::Args;
use holdfast_proto::grpc::v1::{
    AllowListVersion, ImportAllowListRequest, ImportAllowListResponse, ListAllowListsRequest,
    ListAllowListsResponse, admin_client::AdminClient,
};
use serde_json::{Value, json};
use tonic::transport::Channel;

use crate::{
    cli::{DirArg, Failure, JsonArg, Outcome, client, output, owner::SignArgs},
    owner::Kind,
    reference_values::allow_list::AllowList,
};

/// Bytes of the document in one message.
const CHUNK: usize = 1024 * 1024;

#[derive(Debug, Args)]
pub(in crate::cli) struct AllowListsArgs {
    #[command(flatten)]
    dir: DirArg,
    /// Of one class alone.
    #[arg(long, default_value = "")]
    class: String,
    #[command(flatten)]
    json: JsonArg,
}

pub(super) async fn list(args: AllowListsArgs) -> Outcome {
    let mut client = client::connect(&args.dir).await?;
    let listed = versions(&mut client, args.class).await?;
    output::note_cut(listed.cut, "name a class (--class) to see its newest");
    let (lists, cut) = (listed.lists, listed.cut);
    if args.json.json {
        let lists: Vec<Value> = lists.iter().map(as_json).collect();
        return output::print_json(&json!({ "allow_lists": lists, "cut": cut }));
    }
    let rows: Vec<Vec<String>> = lists
        .into_iter()
        .map(|list| {
            vec![
                list.class,
                list.version.to_string(),
                list.entries.to_string(),
                list.keys.to_string(),
                output::when(list.imported_at),
                list.imported_by,
                list.digest,
            ]
        })
        .collect();
    let header = [
        "CLASS", "VERSION", "FILES", "KEYS", "IMPORTED", "BY", "SHA-256",
    ];
    output::print(&output::table(&header, &rows))
}

async fn versions(
    client: &mut AdminClient<Channel>,
    class: String,
) -> Result<ListAllowListsResponse, Failure> {
    let answer = client
        .list_allow_lists(ListAllowListsRequest { class })
        .await
        .map_err(|s| client::refused(&s))?;
    Ok(answer.into_inner())
}

/// Signs as the next version, or as the one in force where it is that very
/// list, and imports.
pub(super) async fn import(
    client: &mut AdminClient<Channel>,
    dir: &DirArg,
    sign: &SignArgs,
    class: &str,
    list: &AllowList,
) -> Result<ImportAllowListResponse, Failure> {
    let listed = versions(client, class.to_owned()).await?;
    let newest = listed.lists.into_iter().next();
    let version = newest.map_or(1, |newest| {
        if newest.digest == hex::encode(list.digest()) {
            newest.version
        } else {
            newest.version.saturating_add(1)
        }
    });
    let document = list.document();
    let statement = sign.sign(dir, Kind::AllowList, class, version, document)?;
    let head = ImportAllowListRequest {
        class: class.to_owned(),
        statement,
        chunk: Vec::new(),
    };
    let chunks: Vec<ImportAllowListRequest> = document
        .chunks(CHUNK)
        .map(|chunk| ImportAllowListRequest {
            chunk: chunk.to_vec(),
            ..ImportAllowListRequest::default()
        })
        .collect();
    let messages = std::iter::once(head).chain(chunks);
    let done = client
        .import_allow_list(tokio_stream::iter(messages))
        .await
        .map_err(|s| client::refused(&s))?;
    Ok(done.into_inner())
}

/// For programs.
pub(super) fn as_json(list: &AllowListVersion) -> Value {
    json!({
        "class": list.class,
        "version": list.version,
        "digest": list.digest,
        "bytes": list.bytes,
        "entries": list.entries,
        "keys": list.keys,
        "imported_at": list.imported_at,
        "imported_by": list.imported_by,
    })
}

/// For people.
pub(super) fn said(done: &ImportAllowListResponse) -> String {
    let list = done.list.clone().unwrap_or_default();
    let now = if done.changed { "is now" } else { "is already" };
    format!(
        "allow list of class {} {now} version {}: {} files, {} keys for ima-sig (SHA-256 {})",
        list.class, list.version, list.entries, list.keys, list.digest
    )
}
