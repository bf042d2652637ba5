//! A set made from another and from what a gateway quoted: golden capture, and
//! the approval of a drift. Pure; what comes out is proposed to the owner, who
//! signs it or does not.

use std::collections::BTreeMap;

use holdfast_proto::tpm::HashAlg;

use super::{Banks, ReferenceValues, ReferenceValuesError, subtract, unite};
use crate::time::UnixTime;

/// What becomes of the values that were accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// They stay: the quoted values are accepted beside them.
    Add,
    /// They stay, and the quoted values are accepted until then.
    AddUntil(UnixTime),
    /// The quoted values are accepted in their place.
    Replace,
    /// In their place, and those before until then.
    ReplaceUntil(UnixTime),
}

impl ReferenceValues {
    /// The set that accepts `quoted`, made from `before`. What `before` says of
    /// other PCRs and banks stays; ends that have passed at `now` go.
    ///
    /// # Errors
    /// The rules of [`ReferenceValues::parse`], and
    /// [`ReferenceValuesError::EndPassed`].
    pub fn changed(
        before: Option<&Self>,
        bank: HashAlg,
        quoted: &BTreeMap<u32, Vec<u8>>,
        change: Change,
        now: UnixTime,
    ) -> Result<Self, ReferenceValuesError> {
        let (mut banks, mut windows) = before.map_or_else(Default::default, |set| {
            (set.banks.clone(), set.windows.clone())
        });
        windows.retain(|end, _| now < *end);
        if let Change::AddUntil(end) | Change::ReplaceUntil(end) = change
            && end <= now
        {
            return Err(ReferenceValuesError::EndPassed(end));
        }
        let captured = BTreeMap::from([(
            bank,
            quoted
                .iter()
                .map(|(index, value)| (*index, [value.clone()].into()))
                .collect::<BTreeMap<_, _>>(),
        )]);
        if let Change::Replace | Change::ReplaceUntil(_) = change {
            let of_quoted = |index: &u32| quoted.contains_key(index);
            let mut replaced = Banks::new();
            let mut taken = |banks: &mut Banks| {
                if let Some(pcrs) = banks.get_mut(&bank) {
                    let pcrs = pcrs.extract_if(.., |index, _| of_quoted(index));
                    unite(&mut replaced, &BTreeMap::from([(bank, pcrs.collect())]));
                }
            };
            taken(&mut banks);
            if let Change::ReplaceUntil(end) = change {
                // What was to end later ends then, too; what ends before does so.
                windows.range_mut(end..).for_each(|(_, later)| taken(later));
                unite(windows.entry(end).or_default(), &replaced);
            } else {
                windows.values_mut().for_each(taken);
            }
        }
        match change {
            Change::AddUntil(end) => unite(windows.entry(end).or_default(), &captured),
            _ => unite(&mut banks, &captured),
        }
        // Drops the banks and PCRs that have no value left.
        subtract(&mut banks, &BTreeMap::new());
        for window in windows.values_mut() {
            subtract(window, &BTreeMap::new());
        }
        if banks.is_empty() {
            return Err(ReferenceValuesError::Empty);
        }
        let set = Self::new(banks, windows)?;
        let len = set.canonical_json().len();
        if len > super::MAX_DOCUMENT_BYTES {
            return Err(ReferenceValuesError::TooLong(len));
        }
        Ok(set)
    }
}
