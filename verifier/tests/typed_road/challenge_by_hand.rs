//! A challenge is fresh because a sealer opened its token.
use holdfast_verifier::freshness::{AttestationState, FreshChallenge, TokenId};

fn forge(state: AttestationState, token_id: TokenId) -> FreshChallenge<AttestationState> {
    FreshChallenge { state, token_id }
}

fn main() {}
