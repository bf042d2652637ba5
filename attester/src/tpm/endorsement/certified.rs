//! An EK's Name, certified by the AK.
//!
//! TPM2_Certify takes the ADMIN role of what it certifies, and an EK's policy
//! gives that to nobody. So something under the EK is certified: its Qualified
//! Name is over the Name of its parent (Part 1 §16).

use holdfast_proto::tpm::templates::ek_child_template;
use holdfast_proto::tpm::{Hierarchy, Public};
use tss_esapi::handles::KeyHandle;
use tss_esapi::interface_types::session_handles::AuthSession;
use tss_esapi::structures::{Data, SignatureScheme};

use crate::tpm::attestation::marshalled;
use crate::tpm::convert::{from_tss_public, to_tss_public};
use crate::tpm::engine::{Encrypt, Engine};
use crate::tpm::{Ak, Attestation, Tpm, TpmError};

impl Tpm {
    /// TPM2_Certify by the AK of an object that is made under the EK for this
    /// alone. `ek_template` is [`super::EndorsementKey::template`].
    ///
    /// # Errors
    /// [`TpmError`] of the failing command.
    pub fn certify_ek(
        &self,
        ek_template: &Public,
        ak: impl Into<Ak>,
        extra_data: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        let (ek, ak) = (ek_template.clone(), ak.into());
        self.call(move |engine| engine.certify_ek(&ek, &ak, extra_data))
    }
}

impl Engine {
    fn certify_ek(
        &mut self,
        ek: &Public,
        ak: &Ak,
        extra_data: [u8; 32],
    ) -> Result<Attestation, TpmError> {
        self.root()?;
        self.with_ek_child(ek, |engine, child| {
            engine.with_ak(ak, |engine, ak, _| {
                let session = engine.session(Encrypt::Both)?;
                let sessions = (Some(session), Some(AuthSession::Password), None);
                let (attest, signature) = engine.command("TPM2_Certify", sessions, |c| {
                    c.certify(
                        child.into(),
                        ak,
                        Data::try_from(extra_data.as_slice())?,
                        SignatureScheme::Null,
                    )
                })?;
                marshalled(&attest, &signature)
            })
        })
    }

    /// Runs `work` with the object under the EK of this template; the EK is in
    /// the TPM only to make it, once in a connection.
    pub(in crate::tpm) fn with_ek_child<T>(
        &mut self,
        ek: &Public,
        work: impl FnOnce(&mut Self, KeyHandle) -> Result<T, TpmError>,
    ) -> Result<T, TpmError> {
        let area = to_tss_public(&ek_child_template())?;
        self.with_object(
            [b"child of ", ek.encode().as_slice()].concat(),
            |engine, child, _| work(engine, child),
            |engine| {
                engine.with_primary(Hierarchy::Endorsement, ek, |engine, parent, ek| {
                    let made = engine.with_ek_auth(ek, |engine, ek_auth| {
                        let session = engine.session(Encrypt::Both)?;
                        let sessions = (Some(ek_auth), Some(session), None);
                        engine.command("TPM2_Create", sessions, |c| {
                            c.create(parent, area.clone(), None, None, None, None)
                        })
                    })?;
                    // Before it is in the TPM: nothing is left there on an error.
                    let public = from_tss_public(&made.out_public)?;
                    let child = engine.with_ek_auth(ek, |engine, ek_auth| {
                        let session = engine.session(Encrypt::Both)?;
                        let sessions = (Some(ek_auth), Some(session), None);
                        engine.command("TPM2_Load", sessions, |c| {
                            c.load(parent, made.out_private.clone(), made.out_public.clone())
                        })
                    })?;
                    Ok((child, public))
                })
            },
        )
    }
}
