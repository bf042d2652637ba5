//! TPM2_Quote: these PCRs, by this AK, bound to these claims (TPM 2.0 Part 3
//! §18.4; ADVERSARY A09, A10).

use holdfast_proto::{
    binding::quote_extra_data,
    tpm::{Attested, ClockInfo, PcrSelection},
};

use super::{
    error::VerificationError,
    evidence::{PcrValues, SignedAttest},
    keys::AkPublic,
    signature::verify_signature,
};

/// A quote that holds, and the PCR values that it covers.
#[derive(Debug)]
pub struct Quote {
    /// Exactly the required selection.
    pub(super) pcrs: PcrValues,
    /// pcrDigest.
    pub(super) pcr_digest: Vec<u8>,
    /// Qualified name of the key that signed.
    pub(super) qualified_signer: Vec<u8>,
    /// TPM clock.
    pub(super) clock: ClockInfo,
    /// Vendor-specific.
    pub(super) firmware_version: u64,
}

impl Quote {
    /// The PCR values that the quote covers.
    #[must_use]
    pub fn pcrs(&self) -> &PcrValues {
        &self.pcrs
    }
}

/// Verifies a quote that stands alone; for `inspect` and benches.
///
/// `extra_data` is what the caller expects to find, e.g.
/// [`quote_extra_data`] of the claims.
///
/// # Errors
/// The first check that does not hold, the signature last.
pub fn verify_quote(
    ak: &AkPublic,
    attest: &[u8],
    signature: &[u8],
    extra_data: &[u8],
    required: &PcrSelection,
    values: Vec<(u32, Vec<u8>)>,
) -> Result<Quote, VerificationError> {
    let signed = SignedAttest::parse("quote_attest", attest, "quote_signature", signature)?;
    verify(signed, ak, extra_data, required, values)
}

/// The quote of Evidence whose COSE_Sign1 bytes are `claims`.
pub(super) fn verify_bound(
    signed: SignedAttest,
    ak: &AkPublic,
    claims: &[u8],
    required: &PcrSelection,
    values: Vec<(u32, Vec<u8>)>,
) -> Result<Quote, VerificationError> {
    verify(signed, ak, &quote_extra_data(claims), required, values)
}

fn verify(
    signed: SignedAttest,
    ak: &AkPublic,
    extra_data: &[u8],
    required: &PcrSelection,
    values: Vec<(u32, Vec<u8>)>,
) -> Result<Quote, VerificationError> {
    let SignedAttest {
        bytes,
        attest,
        signature,
    } = signed;
    let Attested::Quote {
        selection,
        pcr_digest,
    } = attest.attested
    else {
        return Err(VerificationError::NotAQuote);
    };
    if attest.extra_data != extra_data {
        return Err(VerificationError::QuoteBinding);
    }
    // Equal, not merely covering: what is not required is not appraised, and
    // an empty or other bank must not pass for the required one (C17, C22).
    if selection != [*required] {
        let got = selection
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("+");
        return Err(VerificationError::Selection {
            got,
            required: required.to_string(),
        });
    }
    if !values
        .iter()
        .map(|(index, _)| *index)
        .eq(required.pcrs.iter())
    {
        return Err(VerificationError::PcrList {
            got: values.iter().map(|(index, _)| *index).collect(),
            required: required.pcrs.iter().collect(),
        });
    }
    let len = required.hash.digest_len();
    if let Some((index, value)) = values.iter().find(|(_, value)| value.len() != len) {
        return Err(VerificationError::PcrLength {
            index: *index,
            len: value.len(),
        });
    }
    let parts: Vec<&[u8]> = values.iter().map(|(_, value)| value.as_slice()).collect();
    expect_digest(ak, &parts, &pcr_digest)?;
    verify_signature(ak, &bytes, &signature).map_err(VerificationError::QuoteSignature)?;
    Ok(Quote {
        pcrs: PcrValues::new(*required, values),
        pcr_digest,
        qualified_signer: attest.qualified_signer,
        clock: attest.clock_info,
        firmware_version: attest.firmware_version,
    })
}

/// pcrDigest is over these values, by the hash of the AK's scheme (Part 2
/// §10.12.1).
pub(super) fn expect_digest(
    ak: &AkPublic,
    values: &[&[u8]],
    pcr_digest: &[u8],
) -> Result<(), VerificationError> {
    if ak.scheme().hash().digest(values).as_bytes() == pcr_digest {
        Ok(())
    } else {
        Err(VerificationError::PcrDigest)
    }
}
