//! A revisioned key space: a counted index in memory over immutable, revision-ordered segments.
