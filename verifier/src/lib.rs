//! Holdfast: verifier.
