//! The ground on which a gateway asks to be admitted, between step 1's look-ups
//! and what the endorsement proves of it.

use super::{convert, error::Refusal};
use crate::{
    endorsement::Endorsed,
    exchange::{Admission, AdmissionBasis},
    store::AllowedSerial,
};

/// By what a gateway is to be admitted.
pub(super) enum Ground {
    /// Settled already.
    Settled(Admission),
    /// By one of these entries of allow lists, if the endorsement proves the
    /// serial number to be of that OEM.
    Serial {
        listed: Vec<AllowedSerial>,
        /// Whether the gateway is blocked.
        standing: Result<(), Refusal>,
        /// What holds without these entries.
        otherwise: Result<Admission, Refusal>,
    },
}

impl Ground {
    /// The endorsement failed: who only names a serial number that is listed is
    /// told what who names another one is.
    pub(super) fn unproven(self, cause: Refusal) -> Refusal {
        match self {
            Self::Serial {
                otherwise: Err(told),
                ..
            } => Refusal::GroundUnproven {
                told: Box::new(told),
                cause: Box::new(cause),
            },
            Self::Serial { .. } | Self::Settled(_) => cause,
        }
    }

    /// By what it is admitted, now that it is endorsed.
    ///
    /// # Errors
    /// It is blocked, or there is no ground.
    pub(super) fn settle(self, endorsed: &Endorsed) -> Result<Admission, Refusal> {
        let (listed, standing, otherwise) = match self {
            Self::Settled(admission) => return Ok(admission),
            Self::Serial {
                listed,
                standing,
                otherwise,
            } => (listed, standing, otherwise),
        };
        let iak = endorsed
            .iak()
            .ok_or_else(|| Refusal::Internal("a serial number without an IAK".to_owned()))?;
        let own =
            |entry: &AllowedSerial| entry.oem == iak.oem().as_str() && entry.serial == iak.serial();
        let Some(entry) = listed.into_iter().find(own) else {
            // Another OEM's product has that serial number.
            return otherwise;
        };
        standing?;
        Ok(Admission {
            basis: AdmissionBasis::OemSerial {
                oem: iak.oem().clone(),
                serial: entry.serial,
            },
            class: convert::class(&entry.class)?,
        })
    }
}
