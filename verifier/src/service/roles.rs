//! The role table: every method of every service, and who may call it.
//!
//! Deny by default: the gate refuses a method that has no row here before
//! anything of the request is read, and a test reads the compiled descriptors
//! and fails for a method without a row. Whoever adds a method adds its row.

use self::Access::{Anyone, Gateway, Person};
use crate::operators::Role::{self, Admin, Operator, Viewer};

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Whoever reaches the gateways' port. The handler admits, or not.
    Anyone,
    /// Whoever offers a certificate of the owner's root there. The handler
    /// looks whether it is the LDevID, on record, of a gateway in good standing.
    Gateway,
    /// A person of this role or a higher one, on an admin door.
    Person(Role),
}

/// Path without the leading slash → access. By service, then as in the `.proto`.
const TABLE: &[(&str, Access)] = &[
    ("holdfast.v1.Enrollment/RequestChallenge", Anyone),
    ("holdfast.v1.Enrollment/Enroll", Anyone),
    ("holdfast.v1.Enrollment/RequestRecoveryChallenge", Anyone),
    ("holdfast.v1.Enrollment/Recover", Anyone),
    (
        "holdfast.v1.Attestation/RequestAttestationChallenge",
        Gateway,
    ),
    ("holdfast.v1.Attestation/Attest", Gateway),
    ("holdfast.v1.Attestation/GetStatus", Gateway),
    ("holdfast.v1.Heartbeat/Beat", Gateway),
    ("grpc.health.v1.Health/Check", Anyone),
    ("grpc.health.v1.Health/Watch", Anyone),
    (
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        Anyone,
    ),
    ("holdfast.v1.Admin/CreateToken", Person(Operator)),
    ("holdfast.v1.Admin/ImportEndorsements", Person(Admin)),
    ("holdfast.v1.Admin/ListEndorsements", Person(Viewer)),
    ("holdfast.v1.Admin/ImportReferenceValues", Person(Operator)),
    ("holdfast.v1.Admin/ImportAllowList", Person(Operator)),
    ("holdfast.v1.Admin/ListAllowLists", Person(Viewer)),
    ("holdfast.v1.Admin/ListReferenceValues", Person(Viewer)),
    ("holdfast.v1.Admin/ProposeReferenceValues", Person(Viewer)),
    ("holdfast.v1.Admin/DiffGateway", Person(Viewer)),
    ("holdfast.v1.Admin/ApproveGateway", Person(Operator)),
    ("holdfast.v1.Admin/ApplyPolicy", Person(Admin)),
    ("holdfast.v1.Admin/GetPolicy", Person(Viewer)),
    ("holdfast.v1.Admin/ListPolicies", Person(Viewer)),
    ("holdfast.v1.Admin/ListGateways", Person(Viewer)),
    ("holdfast.v1.Admin/GetGateway", Person(Viewer)),
    ("holdfast.v1.Admin/SuspendGateway", Person(Operator)),
    ("holdfast.v1.Admin/ResumeGateway", Person(Operator)),
    ("holdfast.v1.Admin/RevokeGateway", Person(Operator)),
    ("holdfast.v1.Admin/ResetGatewayClock", Person(Operator)),
    ("holdfast.v1.Admin/Watch", Person(Viewer)),
    ("holdfast.v1.Admin/WhoAmI", Person(Viewer)),
    ("holdfast.v1.Admin/AddOperator", Person(Admin)),
    ("holdfast.v1.Admin/ListOperators", Person(Viewer)),
    ("holdfast.v1.Admin/RevokeOperator", Person(Admin)),
    ("holdfast.v1.Admin/ListAudit", Person(Viewer)),
    ("holdfast.v1.Admin/ReloadKeys", Person(Admin)),
    ("holdfast.v1.Admin/ConfirmRestore", Person(Admin)),
    ("holdfast.v1.Admin/ApplyEndorsements", Person(Admin)),
    ("holdfast.v1.Admin/CreateBundle", Person(Viewer)),
    ("holdfast.v1.Admin/AdmitDevice", Person(Operator)),
    ("holdfast.v1.Admin/RemoveDevice", Person(Operator)),
    ("holdfast.v1.Admin/ListDevices", Person(Viewer)),
    ("holdfast.v1.Admin/ListPending", Person(Viewer)),
    ("holdfast.v1.Admin/ApprovePending", Person(Operator)),
    ("holdfast.v1.Admin/DenyPending", Person(Operator)),
    ("holdfast.v1.Admin/ReplaceGateway", Person(Operator)),
    ("holdfast.v1.Admin/ImportOemAnchors", Person(Admin)),
    ("holdfast.v1.Admin/ListOemAnchors", Person(Viewer)),
    ("holdfast.v1.Admin/WithdrawOem", Person(Admin)),
    ("holdfast.v1.Admin/AllowOemSerials", Person(Operator)),
    ("holdfast.v1.Admin/RemoveOemSerials", Person(Operator)),
    ("holdfast.v1.Admin/ListOemSerials", Person(Viewer)),
    ("holdfast.v1.Admin/PutSecret", Person(Admin)),
    ("holdfast.v1.Admin/RevokeSecret", Person(Admin)),
    ("holdfast.v1.Admin/ListSecrets", Person(Operator)),
];

impl Access {
    /// The row of a method, by the path of its HTTP/2 request.
    pub(super) fn of(path: &str) -> Option<Self> {
        let method = path.strip_prefix('/')?;
        TABLE
            .iter()
            .find(|(row, _)| *row == method)
            .map(|(_, access)| *access)
    }
}

/// Every row, for tests that call each method.
#[cfg(test)]
pub(super) fn table() -> &'static [(&'static str, Access)] {
    TABLE
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// Methods of every service that is compiled in, as paths.
    fn compiled() -> BTreeSet<String> {
        let sets = [
            holdfast_proto::grpc::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let mut methods = BTreeSet::new();
        for set in sets {
            for file in FileDescriptorSet::decode(set).unwrap().file {
                for service in &file.service {
                    for method in &service.method {
                        methods.insert(format!(
                            "{}.{}/{}",
                            file.package(),
                            service.name(),
                            method.name()
                        ));
                    }
                }
            }
        }
        methods
    }

    #[test]
    fn adv_a19_every_method_has_one_row_and_every_row_is_a_method() {
        let rows: BTreeSet<String> = TABLE.iter().map(|(m, _)| (*m).to_owned()).collect();
        assert_eq!(rows.len(), TABLE.len(), "a method has two rows");
        let compiled = compiled();
        let missing: Vec<_> = compiled.difference(&rows).collect();
        assert!(
            missing.is_empty(),
            "add rows to service/roles.rs: {missing:?}"
        );
        let stale: Vec<_> = rows.difference(&compiled).collect();
        assert!(stale.is_empty(), "no such methods: {stale:?}");
    }

    #[test]
    fn adv_a19_admin_methods_are_for_people_and_no_others_are() {
        for (method, access) in TABLE {
            let admin = method.starts_with("holdfast.v1.Admin/");
            assert_eq!(matches!(access, Person(_)), admin, "{method}");
            let gateway = method.starts_with("holdfast.v1.Attestation/")
                || method.starts_with("holdfast.v1.Heartbeat/");
            assert_eq!(*access == Gateway, gateway, "{method}");
        }
    }

    /// What docs/roles.md tells people, method by method: a role that is changed
    /// in one of the two places alone is found.
    #[test]
    fn adv_a19_roles_are_as_documented() {
        let document = include_str!("../../../docs/roles.md");
        let section = document.split("\n## Every method\n").nth(1).unwrap();
        let section = section.split("\n## ").next().unwrap();
        let documented: BTreeSet<(String, &str)> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| ")?.split_once(" | "))
            .flat_map(|(role, methods)| {
                let methods = methods.split('`').skip(1).step_by(2);
                methods.map(move |method| (format!("holdfast.v1.Admin/{method}"), role))
            })
            .collect();
        let in_code: BTreeSet<(String, &str)> = TABLE
            .iter()
            .filter_map(|(method, access)| match access {
                Person(role) => Some(((*method).to_owned(), role.name())),
                Anyone | Gateway => None,
            })
            .collect();
        assert_eq!(documented, in_code);
    }

    #[test]
    fn a_path_is_matched_whole() {
        assert_eq!(
            Access::of("/holdfast.v1.Admin/ListGateways"),
            Some(Person(Viewer))
        );
        for bad in [
            "",
            "/",
            "holdfast.v1.Admin/ListGateways",
            "//holdfast.v1.Admin/ListGateways",
            "/holdfast.v1.Admin/ListGateways/",
            "/holdfast.v1.admin/listgateways",
            "/holdfast.v1.Admin/ListGateway",
        ] {
            assert_eq!(Access::of(bad), None, "{bad:?}");
        }
    }
}
