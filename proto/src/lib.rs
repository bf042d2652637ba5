//! Holdfast: proto.
