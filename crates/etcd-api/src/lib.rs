//! The etcd v3 gRPC services on a node.
