//! Who is let in, by what; asked in step 1, and again in step 2.

use holdfast_proto::binding::Ueid;

use super::EnrollmentService;
use crate::{
    exchange::{Admission, AdmissionBasis, ChallengeCandidate, Class, UnixTime},
    service::{convert, error::Refusal, ground::Ground, one_tpm},
    store::{Admittance, DeviceName, Sha256, StoreError},
};

impl EnrollmentService {
    /// By token; else because the owner named the device; else to wait for a
    /// person, where that is configured; else not at all.
    async fn admit(&self, id: &Ueid, secret: &[u8], now: UnixTime) -> Result<Admission, Refusal> {
        if !secret.is_empty() {
            return self.admit_by_token(id, secret, now).await;
        }
        let store = &self.shared.store;
        if let Some(device) = store.admitted_device(&DeviceName::of_gateway(id)).await? {
            self.not_blocked(id, now).await?;
            return Ok(Admission {
                basis: AdmissionBasis::Listed,
                class: convert::class(&device.class)?,
            });
        }
        // Whether one whom nobody named is on record, blocked or denied, its
        // TPM alone is told, in step 2: an EK's public half is no secret.
        let queue = self
            .shared
            .approval
            .as_ref()
            .ok_or(Refusal::JoinToken("absent"))?;
        Ok(Admission {
            basis: AdmissionBasis::Awaiting,
            class: queue.class.clone(),
        })
    }

    /// By what a new gateway may come in: without a join token on the IAK road
    /// by its product's serial number; else as any other.
    pub(super) async fn ground(
        &self,
        id: &Ueid,
        candidate: &ChallengeCandidate,
        now: UnixTime,
    ) -> Result<Ground, Refusal> {
        match candidate.devid() {
            Some(devid) if candidate.join_token().is_empty() => {
                // Cheap, before any public-key work: whose serial it is, the
                // certificates have yet to prove.
                let listed = self.shared.store.allowed_serial(devid.serial()).await?;
                // What holds where the serial number is not the caller's to use.
                let otherwise = self.admit(id, &[], now).await;
                if listed.is_empty() {
                    return otherwise.map(Ground::Settled);
                }
                Ok(Ground::Serial {
                    listed,
                    standing: self.not_blocked(id, now).await,
                    otherwise,
                })
            }
            _ => self
                .admit(id, candidate.join_token(), now)
                .await
                .map(Ground::Settled),
        }
    }

    async fn admit_by_token(
        &self,
        id: &Ueid,
        secret: &[u8],
        now: UnixTime,
    ) -> Result<Admission, Refusal> {
        if secret.is_empty() {
            return Err(Refusal::JoinToken("absent"));
        }
        let secret_sha256 = convert::sha256(secret);
        let class = self.usable_token(&secret_sha256, now).await?;
        self.not_blocked(id, now).await?;
        Ok(Admission {
            basis: AdmissionBasis::JoinToken(hex::encode(secret_sha256)),
            class,
        })
    }

    pub(super) async fn admit_on_record(
        &self,
        id: &Ueid,
        secret: &[u8],
        now: UnixTime,
    ) -> Result<Admission, Refusal> {
        if !secret.is_empty() {
            return Err(Refusal::Invalid("recovery takes no join token"));
        }
        one_tpm::not_denied(&self.shared, id, now).await?;
        let gateway = self
            .shared
            .store
            .gateway(id)
            .await?
            .ok_or(StoreError::UnknownGateway { id: *id })?;
        gateway.may_recover(now.seconds())?;
        Ok(Admission {
            basis: AdmissionBasis::OnRecord,
            class: convert::class(&gateway.class)?,
        })
    }

    /// Looks again at what admitted the gateway in step 1; none where nobody has,
    /// and it may wait. The recording
    /// transaction has the last word; this spares public-key work.
    pub(super) async fn admit_again(
        &self,
        id: &Ueid,
        admission: &Admission,
        now: UnixTime,
    ) -> Result<Option<Admittance>, Refusal> {
        match &admission.basis {
            AdmissionBasis::JoinToken(hex_id) => {
                let mut secret_sha256: Sha256 = [0; 32];
                hex::decode_to_slice(hex_id, &mut secret_sha256).map_err(|_| {
                    Refusal::Internal("a token of ours names no join token".to_owned())
                })?;
                self.usable_token(&secret_sha256, now).await?;
                self.not_blocked(id, now).await?;
                Ok(Some(Admittance::JoinToken(secret_sha256)))
            }
            AdmissionBasis::OnRecord => {
                self.admit_on_record(id, &[], now).await?;
                Ok(Some(Admittance::Recovery))
            }
            AdmissionBasis::Listed => {
                let name = DeviceName::of_gateway(id);
                let device = self.shared.store.admitted_device(&name).await?;
                if device.is_none_or(|device| device.class != admission.class.as_str()) {
                    return Err(StoreError::UnknownDevice { name }.into());
                }
                self.not_blocked(id, now).await?;
                Ok(Some(Admittance::Listed(name)))
            }
            AdmissionBasis::Awaiting => {
                self.not_blocked(id, now).await?;
                Ok(None)
            }
            AdmissionBasis::OemSerial { oem, serial } => {
                let listed = self.shared.store.allowed_serial(serial).await?;
                if !listed
                    .iter()
                    .any(|l| l.oem == oem.as_str() && l.class == admission.class.as_str())
                {
                    return Err(Refusal::NotAdmitted("serial number on the list no more"));
                }
                self.not_blocked(id, now).await?;
                Ok(Some(Admittance::OemSerial {
                    oem: oem.as_str().to_owned(),
                    serial: serial.clone(),
                }))
            }
        }
    }

    async fn usable_token(&self, secret: &Sha256, now: UnixTime) -> Result<Class, Refusal> {
        let token = self
            .shared
            .store
            .join_token(secret)
            .await?
            .ok_or(StoreError::JoinTokenUnknown)?;
        token.usable(now.seconds())?;
        convert::class(&token.class)
    }

    /// Not while the store was brought back and nobody has confirmed that: who
    /// was turned away since the backup is not known then. The recording
    /// transaction asks again.
    pub(super) async fn doors_are_open(&self) -> Result<(), Refusal> {
        match self.shared.store.unconfirmed_restore().await? {
            None => Ok(()),
            Some(restoration) => Err(StoreError::RestoreUnconfirmed {
                backup: restoration.backup,
            }
            .into()),
        }
    }

    /// Neither by its record nor by a denial, which wins over all that admits.
    async fn not_blocked(&self, id: &Ueid, now: UnixTime) -> Result<(), Refusal> {
        one_tpm::not_denied(&self.shared, id, now).await?;
        if let Some(gateway) = self.shared.store.gateway(id).await? {
            gateway.in_good_standing()?;
        }
        Ok(())
    }
}
