//! The API as clients meet it: generated clients on the services, on a real
//! node, in one process. One binary, as each is a link.

mod auth;
mod cluster;
mod damage;
mod held;
mod hyper_server;
mod kv;
mod lease;
mod protocol;
mod recipes;
mod support;
mod txn;
mod watch;
