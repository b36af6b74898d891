//! The commands of t4: flags over environment over file over defaults.
