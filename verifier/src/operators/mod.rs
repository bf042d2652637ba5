//! Operators: the people (and programs) that call the admin service, and what
//! each may do.
//!
//! In: what the kernel says of a Unix peer, or a client certificate of the
//! operators' CA. Out: a [`Role`], or none. No role is the default.

mod certificate;
mod role;
mod unix;

pub use certificate::{
    OPERATOR_NAME_MAX, OperatorCertificate, OperatorError, OperatorsCa, operator_name, operator_uri,
};
pub use role::{Role, UnknownRole};
pub use unix::{UnixRoles, UnixRolesError};
