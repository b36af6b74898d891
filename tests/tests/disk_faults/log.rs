//! The log on a disk that fails: appends, and the segments that follow.

use crate::cases::{Case, DISK_FULL, EXHAUSTED, Expected, case, one_of, run};

/// So many appends until one fails, at most.
const APPENDS: i64 = 30;

#[test]
fn appends_that_fail_are_refused_or_end_the_server() {
    run("appends", 200, |server, rng| {
        let segment = server.newest_segment();
        let mut fails = |calls, error, more: &str, expected| {
            let nth = rng.between(1, APPENDS);
            case(calls, error, format!("{nth}{more}"), &segment, expected)
        };
        use Expected::{GoesOn, Stops};
        vec![
            fails("pwrite64", "ENOSPC", "", GoesOn),
            fails("pwrite64", "EDQUOT", "", GoesOn),
            fails("pwrite64", "ENOMEM", "", GoesOn),
            fails("pwrite64", "EINTR", "+3", GoesOn),
            fails("pwrite64", "EIO", "", Stops(".wal")),
            // What was written of a refused entry cannot be taken back.
            fails("pwrite64", "ENOSPC", "+", Stops("undo a write")),
            fails("fdatasync", "EINTR", "+3", GoesOn),
            fails("fdatasync", "EIO", "", Stops(".wal")),
            fails("fdatasync", "ENOSPC", "", Stops(".wal")),
            fails("fdatasync", "EDQUOT", "+", Stops(".wal")),
        ]
    });
}

#[test]
fn a_segment_that_cannot_be_made_is_a_refusal_and_not_the_end() {
    run("segments that cannot be made", 64 << 10, |server, rng| {
        let next = server.data("log/next.tmp");
        let lacking = ["EMFILE", "ENFILE", "ENOMEM"];
        let full = ["ENOSPC", "EDQUOT"];
        let mut fails = |calls, errors: &[&'static str], text| {
            case(calls, one_of(rng, errors), "1+", &next, Expected::Refuses(text))
        };
        vec![
            case("openat", "EMFILE", "1+", &next, Expected::Refuses(EXHAUSTED)),
            fails("openat", &lacking, EXHAUSTED),
            fails("fallocate", &["ENOMEM"], EXHAUSTED),
            fails("openat", &full, DISK_FULL),
            fails("fallocate", &full, DISK_FULL),
            fails("pwrite64", &full, DISK_FULL),
            fails("/^rename", &full, DISK_FULL),
        ]
    });
}

#[test]
fn other_failures_of_a_new_segment_end_the_server_with_its_name() {
    run("segments that fail", 64 << 10, |server, rng| {
        let (next, dir) = (server.data("log/next.tmp"), server.data("log"));
        let errors = ["EIO", "EROFS"];
        let stops = Expected::Stops("next.tmp");
        let mut cases: Vec<Case> = ["openat", "fallocate", "/^rename"]
            .into_iter()
            .map(|calls| case(calls, one_of(rng, &errors), "1+", &next, stops))
            .collect();
        let flush = one_of(rng, &["EIO", "ENOSPC"]);
        cases.extend([
            case("fallocate", "EINTR", "1", &next, Expected::GoesOn),
            // The n-th flush of zeros, by the thread that prepares.
            case("fdatasync", flush, rng.between(1, 2).to_string(), &next, stops),
            case("fsync", flush, "1", &dir, Expected::Stops("directory of the log")),
        ]);
        cases
    });
}
