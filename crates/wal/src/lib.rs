//! An append-only local log of opaque, checksummed entries with group commit.
