//! What an EAR from outside says is out of reach until it is opened.
use holdfast_proto::result::{Ear, SignedEar};

fn peek(signed: SignedEar) -> Ear {
    signed.ear
}

fn main() {}
