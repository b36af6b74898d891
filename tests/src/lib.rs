//! What the black-box suites of `tests/tests/` are made of.
//!
//! * [`differential`]: the same operations to two servers, every field compared.
//! * [`etcdctl`]: the real command line client, step by step.
//! * [`crash`]: what must survive when a server is killed under load.
//! * [`linearizability`]: what many clients see, whatever happens to the server.
//! * [`allowed`]: the one list of differences from etcd 3.5.1 that are right.
//!
//! The suites start real programs through `t4-testkit` and link none of T4 but
//! the messages of `t4-proto`.

pub mod allowed;
pub mod crash;
pub mod differential;
pub mod etcdctl;
pub mod linearizability;
