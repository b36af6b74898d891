//! Why a call was refused: the words are shared, because every operation on the
//! key space can be refused with them.

pub use t4_kv_types::AuthError;
