//! Holdfast: attester.
