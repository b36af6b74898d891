//! One running replica and the embedding API.
