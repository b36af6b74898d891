//! Generated messages and service traits of the etcd v3 API.
