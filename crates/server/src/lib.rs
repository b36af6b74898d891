//! Production composition: bind, build, run, drain.
