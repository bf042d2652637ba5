//! Holdfast: tpm-sim.
