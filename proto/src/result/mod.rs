//! Attestation Results (EAR, draft-ietf-rats-ear-04).
