//! The simulator's hand on its TPM: the few commands that a factory and a
//! firmware use, over swtpm's data socket.
//!
//! Not tss-esapi: this is all that provisioning and booting need, and it speaks
//! to TCP and Unix sockets alike, which tss-esapi 7.7 does not.

mod wire;

use std::collections::BTreeMap;

use holdfast_proto::tpm::{ClockInfo, Digest, HashAlg, Hierarchy, PcrSelection, PcrSet, Public};

use self::wire::{Answer, tpm2b};
pub(crate) use self::wire::{Endpoint, Wire};
use crate::SimError;
use crate::boot_log::BANKS;

/// `TPMA_NV` of an EK certificate, as swtpm_setup and vendors set them:
/// PPWRITE, WRITEDEFINE, PPREAD, OWNERREAD, AUTHREAD, NO_DA, PLATFORMCREATE.
const NV_CERTIFICATE: u32 = 1 | 1 << 13 | 1 << 16 | 1 << 17 | 1 << 18 | 1 << 25 | 1 << 30;
/// `TPM_RC_HANDLE` of parameter or handle 1: no such index.
const RC_NO_INDEX: u32 = 0x18B;
/// `TPM_RC_HANDLE` of handle 1: no such object.
const RC_NO_OBJECT: u32 = 0x18B;
/// Octets that one `TPM2_NV_Write` or `TPM2_NV_Read` may carry everywhere.
const NV_CHUNK: u16 = 512;
/// PCRs that one `TPM2_PCR_Read` returns at least.
const PCR_READ_MAX: usize = 8;

/// Commands, as TPM 2.0 Library Part 3 names them.
impl Wire {
    /// `TPM2_CreatePrimary` in the endorsement hierarchy, and flushes it again:
    /// the same key comes back at each call.
    pub(crate) fn endorsement_primary(&mut self, template: &Public) -> Result<Public, SimError> {
        let (handle, public) = self.load_primary(template)?;
        self.flush(handle)?;
        Ok(public)
    }

    /// Makes an endorsement primary persistent (`TPM2_EvictControl` by the
    /// platform), unless something is there already.
    pub(crate) fn keep_primary(&mut self, template: &Public, at: u32) -> Result<(), SimError> {
        if self.is_there(at)? {
            return Ok(());
        }
        let (handle, _) = self.load_primary(template)?;
        // Handles up to 0x817FFFFF are the owner's to give (Part 2 §7.5.1).
        let owner = Hierarchy::Owner.handle();
        let kept = self.run(
            "TPM2_EvictControl",
            0x120,
            &[owner, handle],
            true,
            &at.to_be_bytes(),
        );
        self.flush(handle)?;
        kept.map(|_| ())
    }

    /// `TPM2_ReadPublic`: whether there is an object.
    fn is_there(&mut self, handle: u32) -> Result<bool, SimError> {
        match self.run("TPM2_ReadPublic", 0x173, &[handle], false, &[]) {
            Ok(_) => Ok(true),
            Err(SimError::Refused {
                code: RC_NO_OBJECT, ..
            }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn load_primary(&mut self, template: &Public) -> Result<(u32, Public), SimError> {
        let sensitive = tpm2b(&[tpm2b(&[]), tpm2b(&[])].concat());
        let creation_pcrs = 0u32.to_be_bytes();
        let parameters = [
            sensitive,
            template.encode_tpm2b(),
            tpm2b(&[]),
            creation_pcrs.to_vec(),
        ]
        .concat();
        let endorsement = [Hierarchy::Endorsement.handle()];
        let answer = self.run("TPM2_CreatePrimary", 0x131, &endorsement, true, &parameters)?;
        let (handle, mut answer) = answer.with_handle()?;
        Ok((handle, Public::parse(&answer.tpm2b()?)?))
    }

    fn flush(&mut self, handle: u32) -> Result<(), SimError> {
        self.run(
            "TPM2_FlushContext",
            0x165,
            &[],
            false,
            &handle.to_be_bytes(),
        )?;
        Ok(())
    }

    /// Writes an index of the factory's: defined by the platform, readable by
    /// all. What was there before is replaced.
    pub(crate) fn nv_store(&mut self, index: u32, data: &[u8]) -> Result<(), SimError> {
        let platform = Hierarchy::Platform.handle();
        if self.nv_size(index)?.is_some() {
            self.run(
                "TPM2_NV_UndefineSpace",
                0x122,
                &[platform, index],
                true,
                &[],
            )?;
        }
        let len = u16::try_from(data.len()).map_err(|_| SimError::Malformed {
            command: "TPM2_NV_DefineSpace",
        })?;
        let public = [
            index.to_be_bytes().as_slice(),
            &HashAlg::Sha256.id().to_be_bytes(),
            &NV_CERTIFICATE.to_be_bytes(),
            &tpm2b(&[]),
            &len.to_be_bytes(),
        ]
        .concat();
        let parameters = [tpm2b(&[]), tpm2b(&public)].concat();
        self.run("TPM2_NV_DefineSpace", 0x12A, &[platform], true, &parameters)?;
        let mut offset = 0u16;
        for chunk in data.chunks(NV_CHUNK.into()) {
            let parameters = [tpm2b(chunk).as_slice(), &offset.to_be_bytes()].concat();
            self.run(
                "TPM2_NV_Write",
                0x137,
                &[platform, index],
                true,
                &parameters,
            )?;
            offset = offset.saturating_add(NV_CHUNK);
        }
        Ok(())
    }

    /// The content of an index, if there is one.
    pub(crate) fn nv_load(&mut self, index: u32) -> Result<Option<Vec<u8>>, SimError> {
        let Some(size) = self.nv_size(index)? else {
            return Ok(None);
        };
        let platform = Hierarchy::Platform.handle();
        let mut data = Vec::new();
        for offset in (0..size).step_by(NV_CHUNK.into()) {
            let len = NV_CHUNK.min(size - offset);
            let parameters = [len.to_be_bytes(), offset.to_be_bytes()].concat();
            let answer = self.run("TPM2_NV_Read", 0x14E, &[platform, index], true, &parameters)?;
            data.extend(answer.parameters()?.tpm2b()?);
        }
        Ok(Some(data))
    }

    /// `TPM2_NV_ReadPublic`: the size of an index, if there is one.
    fn nv_size(&mut self, index: u32) -> Result<Option<u16>, SimError> {
        let mut answer = match self.run("TPM2_NV_ReadPublic", 0x169, &[index], false, &[]) {
            Err(SimError::Refused {
                code: RC_NO_INDEX, ..
            }) => return Ok(None),
            answer => answer?,
        };
        let public = answer.tpm2b()?;
        // TPMS_NV_PUBLIC ends with dataSize.
        let malformed = SimError::Malformed {
            command: "TPM2_NV_ReadPublic",
        };
        let size = public.last_chunk::<2>().ok_or(malformed)?;
        Ok(Some(u16::from_be_bytes(*size)))
    }

    /// `TPM2_PCR_Extend` with one digest for each bank.
    pub(crate) fn pcr_extend(&mut self, pcr: u32, digests: &[Digest]) -> Result<(), SimError> {
        let count = u32::try_from(digests.len()).expect("one digest for each of a few banks");
        let mut parameters = count.to_be_bytes().to_vec();
        for digest in digests {
            parameters.extend(digest.alg().id().to_be_bytes());
            parameters.extend(digest.as_bytes());
        }
        self.run("TPM2_PCR_Extend", 0x182, &[pcr], true, &parameters)?;
        Ok(())
    }

    /// `TPM2_PCR_Read`, as often as it takes.
    pub(crate) fn pcr_read(
        &mut self,
        bank: HashAlg,
        pcrs: &[u32],
    ) -> Result<BTreeMap<u32, Digest>, SimError> {
        const COMMAND: &str = "TPM2_PCR_Read";
        let mut values = BTreeMap::new();
        for some in pcrs.chunks(PCR_READ_MAX) {
            let set = PcrSet::from_indices(some.iter().copied())?;
            let selection = selection_list(&[PcrSelection {
                hash: bank,
                pcrs: set,
            }]);
            let mut answer = self.run(COMMAND, 0x17E, &[], false, &selection)?;
            let _update_counter = answer.u32()?;
            let _selection = answer.selection_list()?;
            let count = answer.u32()?;
            if usize::try_from(count) != Ok(some.len()) {
                return Err(SimError::Malformed { command: COMMAND });
            }
            for pcr in some {
                values.insert(*pcr, Digest::from_bytes(bank, &answer.tpm2b()?)?);
            }
        }
        Ok(values)
    }

    /// `TPM2_GetCapability(TPM_CAP_PCRS)`: whether the active banks are [`BANKS`].
    pub(crate) fn has_our_banks(&mut self) -> Result<bool, SimError> {
        const TPM_CAP_PCRS: u32 = 5;
        let parameters = [TPM_CAP_PCRS, 0, 1].map(u32::to_be_bytes).concat();
        let mut answer = self.run("TPM2_GetCapability", 0x17A, &[], false, &parameters)?;
        let _more_data = answer.take(1)?;
        let _capability = answer.u32()?;
        let active: Vec<u16> = answer
            .selection_list()?
            .into_iter()
            .filter(|(_, bitmap)| bitmap.iter().any(|octet| *octet != 0))
            .map(|(bank, _)| bank)
            .collect();
        Ok(active == BANKS.map(HashAlg::id))
    }

    /// `TPM2_PCR_Allocate` of [`BANKS`] and no other; counts from the next
    /// start. A bank that no log has digests for must not be active: an
    /// attacker could extend it to whatever a verifier expects.
    pub(crate) fn allocate_our_banks(&mut self) -> Result<(), SimError> {
        let all = PcrSet::from_indices(0..24)?;
        let selections = HashAlg::ALL.map(|hash| {
            let pcrs = if BANKS.contains(&hash) {
                all
            } else {
                PcrSet::EMPTY
            };
            PcrSelection { hash, pcrs }
        });
        let parameters = selection_list(&selections);
        let platform = [Hierarchy::Platform.handle()];
        self.run("TPM2_PCR_Allocate", 0x12B, &platform, true, &parameters)?;
        Ok(())
    }

    /// `TPM2_ReadClock`
    pub(crate) fn clock(&mut self) -> Result<ClockInfo, SimError> {
        let mut answer = self.run("TPM2_ReadClock", 0x181, &[], false, &[])?;
        let _time = answer.take(8)?;
        Ok(ClockInfo {
            clock: u64::from(answer.u32()?) << 32 | u64::from(answer.u32()?),
            reset_count: answer.u32()?,
            restart_count: answer.u32()?,
            safe: answer.take(1)? == [1],
        })
    }
}

fn selection_list(selections: &[PcrSelection]) -> Vec<u8> {
    let count = u32::try_from(selections.len()).expect("a selection list has a few banks");
    let mut bytes = count.to_be_bytes().to_vec();
    for PcrSelection { hash, pcrs } in selections {
        let [low, middle, high, _] = pcrs.bits().to_le_bytes();
        bytes.extend(hash.id().to_be_bytes());
        bytes.extend([3, low, middle, high]);
    }
    bytes
}

impl Answer {
    /// Bank and bitmap of each `TPMS_PCR_SELECTION`; banks that we have no name
    /// for included.
    fn selection_list(&mut self) -> Result<Vec<(u16, Vec<u8>)>, SimError> {
        let count = self.u32()?;
        (0..count)
            .map(|_| {
                let bank = self.u16()?;
                let size = self.take(1)?.first().copied().unwrap_or(0);
                Ok((bank, self.take(size.into())?))
            })
            .collect()
    }
}
