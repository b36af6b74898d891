//! What the suites share: a real etcd, a real t4, seeds, scratch directories.
