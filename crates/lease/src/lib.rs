//! Who may live until when: a pure lease table, time is an argument.
