//! The one deterministic apply: log payloads in, effects and events out.
