//! Fans committed events out to many watchers: none lost, doubled or reordered, slow ones bounded.
