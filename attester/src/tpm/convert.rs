//! Between `holdfast_proto::tpm` and tss-esapi. Both sides meet as
//! marshalled bytes, so that no second reading of a structure can differ.

use holdfast_proto::tpm::{HashAlg, PcrSelection, Public};
use tss_esapi::interface_types::algorithm::HashingAlgorithm;
use tss_esapi::structures::{self, PcrSelectionList, PcrSlot};
use tss_esapi::traits::{Marshall, UnMarshall};

use super::TpmError;

pub(super) fn to_tss_public(public: &Public) -> Result<structures::Public, TpmError> {
    structures::Public::unmarshall(&public.encode())
        .map_err(|e| TpmError::from_tss("TPMT_PUBLIC for libtss2", e))
}

pub(super) fn from_tss_public(public: &structures::Public) -> Result<Public, TpmError> {
    let bytes = public
        .marshall()
        .map_err(|e| TpmError::from_tss("TPMT_PUBLIC of the TPM", e))?;
    Public::parse(&bytes).map_err(|source| TpmError::Malformed {
        what: "TPMT_PUBLIC of the TPM",
        source,
    })
}

pub(super) fn to_tss_hash(alg: HashAlg) -> HashingAlgorithm {
    match alg {
        HashAlg::Sha1 => HashingAlgorithm::Sha1,
        HashAlg::Sha256 => HashingAlgorithm::Sha256,
        HashAlg::Sha384 => HashingAlgorithm::Sha384,
        HashAlg::Sha512 => HashingAlgorithm::Sha512,
    }
}

pub(super) fn to_tss_selection(selection: &PcrSelection) -> Result<PcrSelectionList, TpmError> {
    let slots = selection
        .pcrs
        .iter()
        .map(|index| PcrSlot::try_from(1u32 << index))
        .collect::<Result<Vec<_>, _>>();
    slots
        .and_then(|slots| {
            PcrSelectionList::builder()
                .with_selection(to_tss_hash(selection.hash), &slots)
                .build()
        })
        .map_err(|e| TpmError::from_tss("PCR selection for libtss2", e))
}
