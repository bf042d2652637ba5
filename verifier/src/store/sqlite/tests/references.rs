//! Last quotes, golden logs, versions of reference values, approvals; and what
//! a store of before has of them.

use super::*;
use crate::store::{
    Approval, Basis, Captured, Golden, NewAllowList, NewPolicy, NewReferenceValues,
};

/// A quote of gateway `n` that was refused, as [`contraindicated`] has it.
fn refused_quote(n: u8) -> Sha256 {
    quote(n + 50).sha256()
}

/// Gateway 1 enrolled, then refused for its PCRs, under version 1.
async fn drifted() -> Fixture {
    let f = Fixture::enrolled().await;
    import(&f, reference_values(1, "{}")).await.unwrap();
    let _ = f
        .store
        .record_contraindication(against(1, 2), NOW + 9)
        .await
        .unwrap();
    f
}

/// Appraised with the first version of the reference values.
fn against(n: u8, request: u8) -> Contraindicated {
    let mut against = contraindicated(n, request);
    against.answer.basis = basis(1);
    against
}

async fn import(f: &Fixture, new: NewReferenceValues) -> Result<ReferenceRecord, StoreError> {
    f.store
        .import_reference_values(new, "uid:0", NOW + 10)
        .await
}

fn approval() -> Approval {
    Approval {
        id: id(1),
        quote_sha256: refused_quote(1),
        values: NewReferenceValues {
            captured: Some(Captured {
                gateway: id(1),
                quote_sha256: refused_quote(1),
            }),
            ..reference_values(2, "{ }")
        },
        reason: "kernel update".to_owned(),
    }
}

/// The approval is refused and nothing has changed: neither values nor state.
async fn not_approved(f: &Fixture, approval: Approval) -> StoreError {
    let before = (
        f.gateway(1).await,
        f.store.reference_versions(None, 10).await.unwrap(),
        f.store.audit(100).await.unwrap(),
    );
    let error = f
        .store
        .approve(approval, "uid:0", NOW + 20)
        .await
        .unwrap_err();
    let after = (
        f.gateway(1).await,
        f.store.reference_versions(None, 10).await.unwrap(),
        f.store.audit(100).await.unwrap(),
    );
    assert_eq!(before, after);
    error
}

#[tokio::test]
async fn versions_go_up_by_one_and_documents_are_kept_once() {
    let f = Fixture::new(1).await;
    assert_eq!(f.store.reference_values("default").await.unwrap(), None);
    let import = |version, document| import(&f, reference_values(version, document));
    assert_eq!(import(1, "{}").await.unwrap().version, 1);
    assert_eq!(import(1, "{}").await.unwrap().version, 1, "the same again");
    assert_eq!(import(2, "{ }").await.unwrap().version, 2);
    assert_eq!(
        import(3, "{}").await.unwrap().version,
        3,
        "back to the first, as a new version"
    );
    for (version, document) in [(1, "{}"), (2, "{ }"), (3, "{ }"), (5, "{}"), (0, "{}")] {
        let error = import(version, document).await.unwrap_err();
        assert!(
            matches!(error, StoreError::ReferenceVersion { stated, newest: 3, .. } if stated == version),
            "{version}: {error}"
        );
    }
    let newest = f.store.reference_values("default").await.unwrap().unwrap();
    assert_eq!((newest.version, newest.document.as_str()), (3, "{}"));
    assert_eq!(newest.statement, [1, 2, 3]);
    assert_eq!(f.store.reference_values("other").await.unwrap(), None);
    let all = f
        .store
        .reference_versions(Some("default"), 10)
        .await
        .unwrap();
    let versions: Vec<_> = all
        .iter()
        .map(|v| (v.version, v.imported_by.as_str()))
        .collect();
    assert_eq!(versions, [(3, "uid:0"), (2, "uid:0"), (1, "uid:0")]);
}

#[tokio::test]
async fn the_last_quote_is_kept_of_every_verdict() {
    let f = Fixture::enrolled().await;
    let last = || async { f.store.last_quote(&id(1)).await.unwrap().unwrap() };
    let quoted = last().await;
    assert_eq!((quoted.quoted, quoted.affirming), (quote(1), true));
    assert_eq!(quoted.boot_log_sha256, Some([1; 32]));

    let mut a = affirmed(1, 2);
    a.quote = quote(7);
    let _ = f.store.record_affirmation(a, NOW + 1).await.unwrap();
    let quoted = last().await;
    assert_eq!(
        (quoted.quoted, quoted.affirming, quoted.at),
        (quote(7), true, NOW + 1)
    );

    let against = contraindicated(1, 3);
    let _ = f
        .store
        .record_contraindication(against, NOW + 2)
        .await
        .unwrap();
    let quoted = last().await;
    assert_eq!((quoted.quoted, quoted.affirming), (quote(51), false));
    assert_eq!(quoted.boot_log_sha256, Some([51; 32]));
    assert_eq!(quoted.drift, ["kernel changed"]);
    // The log that it was affirmed with is still there, beside the new one.
    assert_eq!(f.gateway(1).await.boot_log_sha256, Some([1; 32]));
    f.store.sweep(NOW).await.unwrap();
    for log in [1, 51] {
        assert!(f.store.boot_log(&[log; 32]).await.unwrap().is_some());
    }

    let mut r = refused(1, 4);
    r.quote = quote(8);
    let _ = f.store.record_refusal(r, NOW + 3).await.unwrap();
    assert_eq!(last().await.quoted, quote(8));
    assert_eq!(f.store.last_quote(&id(9)).await.unwrap(), None);
}

#[tokio::test]
async fn adv_a21_a_stranger_who_is_refused_leaves_no_log_and_no_quote() {
    let f = Fixture::new(10).await;
    let _ = f.store.record_refusal(refused(3, 1), NOW).await.unwrap();
    assert_eq!(f.store.last_quote(&id(3)).await.unwrap(), None);
    assert_eq!(f.store.boot_log(&[53; 32]).await.unwrap(), None);

    // Nor does one on record that was appraised as something else.
    let f = Fixture::enrolled().await;
    let mut other = refused(1, 2);
    other.class = "other".to_owned();
    let _ = f.store.record_refusal(other, NOW).await.unwrap();
    assert_eq!(
        f.store.last_quote(&id(1)).await.unwrap().unwrap().quoted,
        quote(1)
    );
    assert_eq!(f.store.boot_log(&[51; 32]).await.unwrap(), None);
}

#[tokio::test]
async fn a_refusal_stands_without_a_log_that_is_gone() {
    let f = Fixture::enrolled().await;
    let mut against = contraindicated(1, 2);
    against.boot_log = Some(BootLogRef::Known([99; 32]));
    let _ = f.store.record_contraindication(against, NOW).await.unwrap();
    let quoted = f.store.last_quote(&id(1)).await.unwrap().unwrap();
    assert_eq!((quoted.boot_log_sha256, quoted.affirming), (None, false));
}

#[tokio::test]
async fn golden_logs_stay_when_the_gateway_moves_on() {
    let f = Fixture::enrolled().await;
    let captured = |quote_sha256| NewReferenceValues {
        captured: Some(Captured {
            gateway: id(1),
            quote_sha256,
        }),
        ..reference_values(1, "{}")
    };
    let error = import(&f, captured([0; 32])).await.unwrap_err();
    assert!(matches!(error, StoreError::QuoteChanged { .. }));
    assert_eq!(f.store.reference_values("default").await.unwrap(), None);
    let record = import(&f, captured(quote(1).sha256())).await.unwrap();
    let golden = Some(Golden {
        gateway: id(1),
        boot_log_sha256: Some([1; 32]),
    });
    assert_eq!(record.golden, golden);
    let mut a = affirmed(1, 2);
    a.answer.basis = basis(1);
    a.boot_log = Some(BootLogRef::Content {
        sha256: [7; 32],
        bytes: vec![7; 10],
    });
    let _ = f.store.record_affirmation(a, NOW).await.unwrap();
    f.store.sweep(NOW).await.unwrap();
    assert_eq!(f.store.boot_log(&[1; 32]).await.unwrap(), Some(vec![1; 10]));
    let newest = f.store.reference_values("default").await.unwrap().unwrap();
    assert_eq!(newest.golden, golden);
}

#[tokio::test]
async fn an_approval_imports_and_resumes_in_one() {
    let f = drifted().await;
    let (record, gateway) = f
        .store
        .approve(approval(), "uid:0", NOW + 20)
        .await
        .unwrap();
    assert_eq!((record.version, record.document.as_str()), (2, "{ }"));
    assert_eq!(record.golden.unwrap().boot_log_sha256, Some([51; 32]));
    assert_eq!(gateway.lifecycle, Lifecycle::Active);
    gateway.may_recover(NOW + 20).unwrap();
    let audit = f.store.audit(3).await.unwrap();
    let actions: Vec<_> = audit.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["approved", "resumed", "reference-imported"]);
    assert!(
        audit[0].detail.contains("kernel update"),
        "{}",
        audit[0].detail
    );
    // Once is enough.
    let mut again = approval();
    again.values.version = 3;
    assert!(matches!(
        not_approved(&f, again).await,
        StoreError::NotForEvidence { .. }
    ));
}

#[tokio::test]
async fn only_the_quote_that_was_shown_is_approved() {
    let f = drifted().await;
    let mut other = approval();
    other.quote_sha256 = quote(1).sha256();
    assert!(matches!(
        not_approved(&f, other).await,
        StoreError::QuoteChanged { .. }
    ));
    // A later refusal, with other PCRs, overtakes it.
    let mut later = against(1, 3);
    later.quote = quote(99);
    let _ = f
        .store
        .record_contraindication(later, NOW + 12)
        .await
        .unwrap();
    assert!(matches!(
        not_approved(&f, approval()).await,
        StoreError::QuoteChanged { .. }
    ));
}

#[tokio::test]
async fn only_what_reference_values_can_answer_is_approved() {
    for codes in [
        vec![],
        vec!["secure-boot-off"],
        vec!["pcr-mismatch", "policy-error"],
        vec!["no-reference-values"],
    ] {
        let f = Fixture::enrolled().await;
        import(&f, reference_values(1, "{}")).await.unwrap();
        let mut against = against(1, 2);
        against.reasons = codes.iter().copied().map(reason).collect();
        let _ = f.store.record_contraindication(against, NOW).await.unwrap();
        let error = not_approved(&f, approval()).await;
        assert!(
            matches!(error, StoreError::NotApprovable { .. }),
            "{codes:?}: {error}"
        );
    }
    let f = Fixture::enrolled().await;
    import(&f, reference_values(1, "{}")).await.unwrap();
    let mut against = against(1, 2);
    against.reasons = vec![reason("pcr-mismatch"), reason("pcr-not-covered")];
    let _ = f.store.record_contraindication(against, NOW).await.unwrap();
    f.store.approve(approval(), "uid:0", NOW).await.unwrap();
}

#[tokio::test]
async fn what_is_not_suspended_for_its_evidence_is_not_approved() {
    let f = Fixture::enrolled().await;
    import(&f, reference_values(1, "{}")).await.unwrap();
    let mut active = approval();
    active.quote_sha256 = quote(1).sha256();
    assert!(matches!(
        not_approved(&f, active.clone()).await,
        StoreError::NotForEvidence { .. }
    ));
    for kind in [SuspensionKind::Silence, SuspensionKind::Operator] {
        f.store
            .suspend(&id(1), kind, "", "uid:0", NOW)
            .await
            .unwrap();
        assert!(matches!(
            not_approved(&f, active.clone()).await,
            StoreError::NotForEvidence { .. }
        ));
    }
    let f = drifted().await;
    f.store
        .revoke(&id(1), RevocationReason::Unspecified, "", "uid:0", NOW)
        .await
        .unwrap();
    assert!(matches!(
        not_approved(&f, approval()).await,
        StoreError::NotForEvidence { .. }
    ));
    let mut unknown = approval();
    unknown.id = id(9);
    assert!(matches!(
        not_approved(&f, unknown).await,
        StoreError::UnknownGateway { .. }
    ));
}

#[tokio::test]
async fn an_approval_is_made_on_the_values_that_it_was_shown_with() {
    let f = drifted().await;
    // Somebody imported another version meanwhile.
    import(&f, reference_values(2, "{  }")).await.unwrap();
    assert!(matches!(
        not_approved(&f, approval()).await,
        StoreError::ReferenceVersion { newest: 2, .. }
    ));
    // Not even the very document that is in use.
    let mut same = approval();
    same.values.document = "{  }".to_owned();
    assert!(matches!(
        not_approved(&f, same).await,
        StoreError::ReferenceVersion { newest: 2, .. }
    ));
    let mut other_class = approval();
    other_class.values.class = "other".to_owned();
    other_class.values.version = 1;
    assert!(matches!(
        not_approved(&f, other_class).await,
        StoreError::QuoteChanged { .. }
    ));
}

/// A store as the version before left it, made by its own migrations.
#[tokio::test]
async fn a_store_of_schema_2_is_taken_over_with_its_data() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("holdfast.db");
    let options = SqliteConnectOptions::new()
        .filename(&path)
        .create_if_missing(true)
        .foreign_keys(true);
    let old = SqlitePoolOptions::new()
        .connect_with(options)
        .await
        .unwrap();
    let mut migrator = sqlx::migrate!("./migrations");
    migrator.migrations.to_mut().retain(|m| m.version <= 2);
    migrator.run(&old).await.unwrap();
    let rows = "\
        INSERT INTO boot_logs VALUES (zeroblob(32), x'0102', 1);
        INSERT INTO gateways SELECT x'01ZERO', 'default', 'active', NULL, '', x'', \
          x'000bZERO', x'', x'', x'000bZERO', x'', zeroblob(32), \
          zeroblob(32), '{\"manufacturer\":\"\",\"model\":\"\",\"version\":\"\",\"issuer\":\"\",\
          \"ek_certificate_serial\":\"\",\"ek_certificate_aki\":\"\",\"ek_certificate_sha256\":\"\",\
          \"ek_template\":\"\"}', 5, 1, 0, 1, 7, zeroblob(32), '[]', 1, 2;
        INSERT INTO reference_documents VALUES (zeroblob(32), '{}');
        INSERT INTO reference_values VALUES ('default', 1, zeroblob(32), 3);
        INSERT INTO reference_values VALUES ('default', 2, zeroblob(32), 4);";
    for statement in rows.split(";\n") {
        sqlx::query(sqlx::AssertSqlSafe(
            statement.replace("ZERO", &"00".repeat(32)),
        ))
        .execute(&old)
        .await
        .unwrap();
    }
    old.close().await;

    let store = SqliteStore::open(&path).await.unwrap();
    let page = store.gateways(None, 10).await.unwrap();
    let gateway = page.gateways.first().unwrap();
    assert_eq!(
        (gateway.tpm.firmware_version, gateway.last_affirmed),
        (7, 2)
    );
    assert_eq!(store.last_quote(&gateway.id).await.unwrap(), None);
    let newest = store.reference_values("default").await.unwrap().unwrap();
    assert_eq!((newest.version, newest.document.as_str()), (2, "{}"));
    assert!(newest.statement.is_empty(), "unsigned, and so not used");
    assert_eq!(newest.golden, None);
    // The same document, signed, is the next version.
    let import = |new| store.import_reference_values(new, "uid:0", NOW);
    let again = import(reference_values(2, "{}")).await.unwrap_err();
    assert!(matches!(
        again,
        StoreError::ReferenceVersion { newest: 2, .. }
    ));
    assert_eq!(import(reference_values(3, "{}")).await.unwrap().version, 3);
    store.sweep(NOW).await.unwrap();
    assert!(store.boot_log(&[0; 32]).await.unwrap().is_some());
}

/// A26: what was appraised by what the owner has replaced since is not recorded,
/// whichever way it went, and can be done again.
#[tokio::test]
async fn adv_a26_a_verdict_of_the_past_is_not_recorded() {
    let f = Fixture::enrolled().await;
    let superseded = |result: Result<Recorded, StoreError>, what: &str| match result {
        Err(StoreError::Superseded { what: told, class }) => {
            assert_eq!((told, class.as_str()), (what, "default"));
        }
        other => panic!("{what}: {other:?}"),
    };
    let all_are = async |request: u8, basis: &Basis, what: &str| {
        let mut affirmed = affirmed(1, request);
        affirmed.answer.basis = basis.clone();
        superseded(f.store.record_affirmation(affirmed, NOW).await, what);
        let mut against = contraindicated(1, request);
        against.answer.basis = basis.clone();
        superseded(f.store.record_contraindication(against, NOW).await, what);
        let mut refused = refused(1, request);
        refused.answer.basis = basis.clone();
        superseded(f.store.record_refusal(refused, NOW).await, what);
        let mut enrolled = enrolled(1);
        enrolled.answer = answer(request);
        enrolled.answer.basis = basis.clone();
        superseded(f.store.record_enrolment(enrolled, NOW).await, what);
    };

    let mut now = basis(0);
    let values = reference_values(1, "{}");
    let _ = f
        .store
        .import_reference_values(values, "x", NOW)
        .await
        .unwrap();
    all_are(50, &now, "reference values").await;
    now.in_force = f.store.in_force("default").await.unwrap();
    assert_eq!(now, basis(1));

    let list = NewAllowList {
        class: "default".to_owned(),
        version: 1,
        sha256: [5; 32],
        document: vec![1],
        statement: vec![2],
        entries: 0,
        keys: 0,
    };
    let _ = f.store.import_allow_list(list, "x", NOW).await.unwrap();
    all_are(51, &now, "allow list").await;
    now.in_force = f.store.in_force("default").await.unwrap();
    assert_eq!(now.in_force.allow_list, 1);

    let policy = NewPolicy {
        version: 1,
        sha256: [6; 32],
        source: String::new(),
        statement: vec![3],
    };
    let _ = f.store.apply_policy(policy, "x", NOW).await.unwrap();
    all_are(52, &now, "policy").await;
    now.policy_id = [6; 32];

    // Of another class nothing is asked.
    let mut other = reference_values(1, "{}");
    other.class = "other".to_owned();
    let _ = f
        .store
        .import_reference_values(other, "x", NOW)
        .await
        .unwrap();
    // The challenge was not spent: the same request is recorded now.
    let mut again = affirmed(1, 52);
    again.answer.basis = now;
    let recorded = f.store.record_affirmation(again, NOW).await.unwrap();
    assert_eq!(recorded, Recorded::Now);
}
