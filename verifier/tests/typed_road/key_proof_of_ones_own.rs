//! Nobody else can say how a key is known.
use holdfast_verifier::verification::{KeyProof, LdevidPublic};

struct TrustMe(LdevidPublic);

impl KeyProof for TrustMe {
    fn ldevid(&self) -> &LdevidPublic {
        &self.0
    }
}

fn main() {}
