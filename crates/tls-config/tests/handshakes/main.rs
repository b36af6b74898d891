//! Real handshakes: in this process, between two, and with the real openssl.

mod clients;
mod fixture;
mod openssl;
mod options;
mod origin;
mod recipes;
mod refused;
mod reload;
mod resumption;
mod revocation;
mod rotation;
mod system_roots;
mod two_processes;
