//! `TCG-CSR-IDEVID`: with what a device asks its OEM's CA for IAK and IDevID
//! certificates (TCG "TPM 2.0 Keys for Device Identity and Attestation"
//! §13.1). Well formed but untrusted: who signed what is for the CA to check.
//!
//! All integers are 32 bits, big-endian. Sizes come first, then the fields in
//! the same order, then padding to a multiple of 16. A digest over all that
//! follows it is inside, and the device's signature is outside.

#[cfg(test)]
mod tests;

use thiserror::Error;

use crate::tpm::{Digest, HashAlg};

/// The only version of both structures.
const VERSION: u32 = 0x0000_0100;
/// csrContents ends on a multiple of this.
const ALIGNMENT: usize = 16;
/// The longest signature: RSA-4096 in a TPMT_SIGNATURE.
const SIGNATURE_MAX: usize = 1024;

/// Fields of csrContents after its digest, in order, with the most that each
/// may have: what TPMs and OEMs write, rounded up.
const FIELDS: [(&str, usize); FIELD_COUNT] = [
    ("prodModel", 255),
    ("prodSerial", 255),
    ("prodCaData", 4 * 1024),
    ("bootEvntLog", 1024 * 1024),
    ("ekCert", 8 * 1024),
    ("attestPub", 1024),
    ("atCreateTkt", 1024),
    ("atCertifyInfo", 1024),
    ("atCertifyInfoSignature", SIGNATURE_MAX),
    ("signingPub", 1024),
    ("sgnCertifyInfo", 1024),
    ("sgnCertifyInfoSignature", SIGNATURE_MAX),
];
const FIELD_COUNT: usize = 12;

/// The longest request that is read: all fields full, and what is around them.
pub const MAX_LEN: usize = 1024 * 1024 + 32 * 1024;

/// Why bytes are not a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum CsrError {
    /// Longer than any request.
    #[error("{0} bytes, at most {MAX_LEN} are read")]
    TooLong(usize),
    /// Ends within a field, or a size leads beyond the end.
    #[error("{0}: cut off")]
    CutOff(&'static str),
    /// A structure of another version.
    #[error("{field} is {got:#010x}, not 0x00000100")]
    Version {
        /// Which structure.
        field: &'static str,
        /// What it says.
        got: u32,
    },
    /// hashAlgoId is no hash that we take: SHA-256, SHA-384 or SHA-512.
    #[error("hashAlgoId {0:#x} is not SHA-256, SHA-384 or SHA-512")]
    Hash(u32),
    /// hashSz is not that of hashAlgoId.
    #[error("hashSz is {got}, not {expected}")]
    HashSize {
        /// What it says.
        got: u32,
        /// What it must say.
        expected: usize,
    },
    /// The digest is not that of what follows it.
    #[error("the digest is not that of what follows it")]
    Digest,
    /// A field is longer than it may be.
    #[error("{field} has {len} bytes, at most {max} are read")]
    FieldTooLong {
        /// Which.
        field: &'static str,
        /// Its length.
        len: usize,
        /// The most.
        max: usize,
    },
    /// Padding is longer than it takes, not zero, or does not align.
    #[error("padding of csrContents is not zeros to a multiple of 16")]
    Padding,
    /// Bytes after the last field.
    #[error("{0} bytes follow the request")]
    TrailingBytes(usize),
    /// A size is not that of what it counts.
    #[error("contents says {got} bytes, csrContents has {has}")]
    ContentsSize {
        /// What it says.
        got: usize,
        /// How many there are.
        has: usize,
    },
}

/// csrContents: what the device says of itself. Empty where it says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdevidCsr {
    /// hashAlgoId: of the digest inside.
    pub hash: HashAlg,
    /// prodModel
    pub product_model: Vec<u8>,
    /// prodSerial
    pub product_serial: Vec<u8>,
    /// prodCaData: what this OEM's CA asks for beyond the standard.
    pub ca_data: Vec<u8>,
    /// bootEvntLog
    pub boot_event_log: Vec<u8>,
    /// ekCert: DER.
    pub ek_certificate: Vec<u8>,
    /// attestPub: TPM2B_PUBLIC or TPMT_PUBLIC of the IAK.
    pub attest_public: Vec<u8>,
    /// atCreateTkt
    pub attest_creation_ticket: Vec<u8>,
    /// atCertifyInfo
    pub attest_certify_info: Vec<u8>,
    /// atCertifyInfoSignature
    pub attest_certify_signature: Vec<u8>,
    /// signingPub: TPM2B_PUBLIC or TPMT_PUBLIC of the IDevID.
    pub signing_public: Vec<u8>,
    /// sgnCertifyInfo: TPMS_ATTEST, the IDevID certified by the IAK.
    pub signing_certify_info: Vec<u8>,
    /// sgnCertifyInfoSignature: TPMT_SIGNATURE.
    pub signing_certify_signature: Vec<u8>,
}

impl IdevidCsr {
    fn fields(&self) -> [&Vec<u8>; FIELD_COUNT] {
        [
            &self.product_model,
            &self.product_serial,
            &self.ca_data,
            &self.boot_event_log,
            &self.ek_certificate,
            &self.attest_public,
            &self.attest_creation_ticket,
            &self.attest_certify_info,
            &self.attest_certify_signature,
            &self.signing_public,
            &self.signing_certify_info,
            &self.signing_certify_signature,
        ]
    }

    /// csrContents: the bytes that the device signs.
    ///
    /// # Panics
    /// Where a field was set by hand to 4 GiB or more.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let size = |len: usize| u32::try_from(len).expect("fields are capped").to_be_bytes();
        let fields = self.fields();
        let head = 4 + 4 + 4 + self.hash.digest_len();
        let sizes = 4 * (FIELD_COUNT + 1);
        let payload: usize = fields.iter().map(|field| field.len()).sum();
        let padding =
            (head + sizes + payload).next_multiple_of(ALIGNMENT) - (head + sizes + payload);

        let mut hashed = Vec::with_capacity(sizes + payload + padding);
        for field in fields {
            hashed.extend(size(field.len()));
        }
        hashed.extend(size(padding));
        for field in fields {
            hashed.extend_from_slice(field);
        }
        hashed.resize(hashed.len() + padding, 0);

        let mut out = VERSION.to_be_bytes().to_vec();
        out.extend(u32::from(self.hash.id()).to_be_bytes());
        out.extend(size(self.hash.digest_len()));
        out.extend_from_slice(self.hash.digest(&[&hashed]).as_bytes());
        out.extend(hashed);
        out
    }

    /// From csrContents, all of it.
    ///
    /// # Errors
    /// [`CsrError`]
    pub fn parse(contents: &[u8]) -> Result<Self, CsrError> {
        if contents.len() > MAX_LEN {
            return Err(CsrError::TooLong(contents.len()));
        }
        let mut reader = Reader(contents);
        reader.version("csrContents.structVer")?;
        let id = reader.u32("hashAlgoId")?;
        let hash = u16::try_from(id)
            .ok()
            .and_then(|id| HashAlg::from_id(id).ok())
            .filter(|hash| *hash != HashAlg::Sha1)
            .ok_or(CsrError::Hash(id))?;
        let hash_size = reader.u32("hashSz")?;
        if usize::try_from(hash_size) != Ok(hash.digest_len()) {
            return Err(CsrError::HashSize {
                got: hash_size,
                expected: hash.digest_len(),
            });
        }
        let stated = reader.take("hash", hash.digest_len())?;
        let hashed = reader.0;
        if Digest::from_bytes(hash, stated) != Ok(hash.digest(&[hashed])) {
            return Err(CsrError::Digest);
        }
        let mut sizes = [0; FIELD_COUNT];
        for (size, (field, max)) in sizes.iter_mut().zip(FIELDS) {
            *size = reader.size(field, max)?;
        }
        let padding = reader.size("padSz", ALIGNMENT - 1)?;
        let mut fields = sizes
            .into_iter()
            .zip(FIELDS)
            .map(|(size, (field, _))| reader.take(field, size).map(<[u8]>::to_vec))
            .collect::<Result<Vec<_>, _>>()?
            .into_iter();
        let pad = reader.take("pad", padding)?;
        if pad.iter().any(|byte| *byte != 0) || !contents.len().is_multiple_of(ALIGNMENT) {
            return Err(CsrError::Padding);
        }
        reader.finish()?;
        let mut next = || fields.next().expect("as many as FIELDS");
        Ok(Self {
            hash,
            product_model: next(),
            product_serial: next(),
            ca_data: next(),
            boot_event_log: next(),
            ek_certificate: next(),
            attest_public: next(),
            attest_creation_ticket: next(),
            attest_certify_info: next(),
            attest_certify_signature: next(),
            signing_public: next(),
            signing_certify_info: next(),
            signing_certify_signature: next(),
        })
    }
}

/// A request as it is sent: what is signed, and the signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIdevidCsr {
    contents: Vec<u8>,
    csr: IdevidCsr,
    /// By the IDevID key over [`SignedIdevidCsr::contents`].
    pub signature: Vec<u8>,
}

impl SignedIdevidCsr {
    /// Puts a request and its signature together.
    #[must_use]
    pub fn new(csr: IdevidCsr, signature: Vec<u8>) -> Self {
        Self {
            contents: csr.encode(),
            csr,
            signature,
        }
    }

    /// What the device says of itself.
    #[must_use]
    pub fn csr(&self) -> &IdevidCsr {
        &self.csr
    }

    /// The signed bytes.
    #[must_use]
    pub fn contents(&self) -> &[u8] {
        &self.contents
    }

    /// As it is sent.
    ///
    /// # Panics
    /// As [`IdevidCsr::encode`].
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let size = |len: usize| {
            u32::try_from(len)
                .expect("requests are short")
                .to_be_bytes()
        };
        let mut out = VERSION.to_be_bytes().to_vec();
        out.extend(size(self.contents.len()));
        out.extend(size(self.signature.len()));
        out.extend_from_slice(&self.contents);
        out.extend_from_slice(&self.signature);
        out
    }

    /// # Errors
    /// [`CsrError`]
    pub fn parse(bytes: &[u8]) -> Result<Self, CsrError> {
        if bytes.len() > MAX_LEN {
            return Err(CsrError::TooLong(bytes.len()));
        }
        let mut reader = Reader(bytes);
        reader.version("structVer")?;
        let contents = reader.size("contents", MAX_LEN)?;
        let signature = reader.size("sigSz", SIGNATURE_MAX)?;
        let contents = reader.take("csrContents", contents)?;
        let signature = reader.take("signature", signature)?;
        reader.finish()?;
        Ok(Self {
            csr: IdevidCsr::parse(contents)?,
            contents: contents.to_vec(),
            signature: signature.to_vec(),
        })
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, field: &'static str, len: usize) -> Result<&'a [u8], CsrError> {
        let (taken, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(CsrError::CutOff(field))?;
        self.0 = rest;
        Ok(taken)
    }

    fn u32(&mut self, field: &'static str) -> Result<u32, CsrError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(CsrError::CutOff(field))?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*taken))
    }

    fn version(&mut self, field: &'static str) -> Result<(), CsrError> {
        match self.u32(field)? {
            VERSION => Ok(()),
            got => Err(CsrError::Version { field, got }),
        }
    }

    fn size(&mut self, field: &'static str, max: usize) -> Result<usize, CsrError> {
        let len = usize::try_from(self.u32(field)?).unwrap_or(usize::MAX);
        if len > max {
            return Err(CsrError::FieldTooLong { field, len, max });
        }
        Ok(len)
    }

    fn finish(self) -> Result<(), CsrError> {
        match self.0.len() {
            0 => Ok(()),
            len => Err(CsrError::TrailingBytes(len)),
        }
    }
}
