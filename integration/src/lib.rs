//! Holdfast: integration.
