//! The log on a disk that fails: appends, and the segments that follow.

use crate::cases::{Case, DISK_FULL, EXHAUSTED, Expected, case, one_of, run};

/// So many appends until one fails, at most.
const APPENDS: i64 = 30;

#[test]
fn appends_that_fail_are_refused_or_end_the_server() {
    run("appends", 200, |server, rng| {
        let segment = server.newest_segment();
        let mut fails = |name, calls, error, more: &str, expected| {
            let nth = rng.between(1, APPENDS);
            case(name, calls, error, format!("{nth}{more}"), &segment, expected)
        };
        use Expected::{GoesOn, Stops};
        vec![
            fails("a write without room", "pwrite64", "ENOSPC", "", GoesOn),
            fails("a write over the quota", "pwrite64", "EDQUOT", "", GoesOn),
            fails("a write without memory", "pwrite64", "ENOMEM", "", GoesOn),
            fails("writes that are interrupted", "pwrite64", "EINTR", "+3", GoesOn),
            fails("a write that fails", "pwrite64", "EIO", "", Stops(".wal")),
            // What was written of a refused entry cannot be taken back.
            fails("no room from a write on", "pwrite64", "ENOSPC", "+", Stops("undo a write")),
            fails("flushes that are interrupted", "fdatasync", "EINTR", "+3", GoesOn),
            fails("a flush that fails", "fdatasync", "EIO", "", Stops(".wal")),
            fails("a flush without room", "fdatasync", "ENOSPC", "", Stops(".wal")),
            fails("over the quota from a flush on", "fdatasync", "EDQUOT", "+", Stops(".wal")),
        ]
    });
}

#[test]
fn a_segment_that_cannot_be_made_is_a_refusal_and_not_the_end() {
    run("segments that cannot be made", 64 << 10, |server, rng| {
        let next = server.data("log/next.tmp");
        let lacking = ["EMFILE", "ENFILE", "ENOMEM"];
        let full = ["ENOSPC", "EDQUOT"];
        let mut fails = |name, calls, errors: &[&'static str], text| {
            case(name, calls, one_of(rng, errors), "1+", &next, Expected::Refuses(text))
        };
        vec![
            case("no open files", "openat", "EMFILE", "1+", &next, Expected::Refuses(EXHAUSTED)),
            fails("open lacks something", "openat", &lacking, EXHAUSTED),
            fails("reserve without memory", "fallocate", &["ENOMEM"], EXHAUSTED),
            fails("open on a full disk", "openat", &full, DISK_FULL),
            fails("reserve on a full disk", "fallocate", &full, DISK_FULL),
            fails("zeros on a full disk", "pwrite64", &full, DISK_FULL),
            fails("rename on a full disk", "/^rename", &full, DISK_FULL),
        ]
    });
}

#[test]
fn other_failures_of_a_new_segment_end_the_server_with_its_name() {
    run("segments that fail", 64 << 10, |server, rng| {
        let (next, dir) = (server.data("log/next.tmp"), server.data("log"));
        let errors = ["EIO", "EROFS"];
        let stops = Expected::Stops("next.tmp");
        let calls = [("open", "openat"), ("reserve", "fallocate"), ("rename", "/^rename")];
        let mut cases: Vec<Case> = calls
            .into_iter()
            .map(|(name, calls)| case(name, calls, one_of(rng, &errors), "1+", &next, stops))
            .collect();
        let flush = one_of(rng, &["EIO", "ENOSPC"]);
        cases.extend([
            case("reserve is interrupted", "fallocate", "EINTR", "1", &next, Expected::GoesOn),
            // The n-th flush of zeros, by the thread that prepares.
            case(
                "a flush of zeros",
                "fdatasync",
                flush,
                rng.between(1, 2).to_string(),
                &next,
                stops,
            ),
            case(
                "the directory",
                "fsync",
                flush,
                "1",
                &dir,
                Expected::Stops("directory of the log"),
            ),
        ]);
        cases
    });
}
