//! Seals and collections on a disk that fails.

use std::fs;
use std::path::PathBuf;

use anyhow::ensure;
use t4_proto::etcdserverpb::CompactionRequest;
use t4_testkit::{Metrics, Rpc, Seed, poll_until};

use crate::cases::{Case, Expected, assert_stops, case, one_of, run};
use crate::injection::{Fault, Injection, is_possible};
use crate::writers::{Writers, acknowledged, assert_kept, put_at_last};
use crate::{COMMAND, DEADLINE, Server, assert_no_backtrace};

/// Writes of this size make a seal (32 MiB) after 128 of them.
const LARGE: usize = 256 << 10;

#[test]
fn a_seal_that_fails_is_made_later_or_ends_the_server() {
    run("seals", LARGE, |server, rng| {
        let (segment, manifest) =
            (server.data("state/segment.tmp"), server.data("state/MANIFEST.tmp"));
        let room = ["ENOSPC", "EDQUOT", "EMFILE", "ENFILE", "ENOMEM"];
        let mut later = |name, calls, path: &str| {
            case(name, calls, one_of(rng, &room), "1+", path, Expected::GoesOn)
        };
        let mut cases: Vec<Case> = vec![
            later("open the segment", "openat", &segment),
            later("write the segment", "write", &segment),
            later("open the manifest", "openat", &manifest),
            later("rename the manifest", "/^rename", &manifest),
        ];
        let nth = rng.between(1, 8).to_string();
        let flush = one_of(rng, &["EIO", "ENOSPC"]);
        cases.extend([
            case("rename the segment", "/^rename", "EIO", "1+", &segment, Expected::GoesOn),
            case(
                "flush the segment",
                "fdatasync",
                flush,
                nth,
                &segment,
                Expected::Stops("segment.tmp"),
            ),
            case(
                "flush the manifest",
                "fsync",
                flush,
                "1",
                &manifest,
                Expected::Stops("MANIFEST.tmp"),
            ),
            case(
                "flush the directory",
                "fsync",
                flush,
                "1",
                &server.data("state"),
                Expected::Stops("/state"),
            ),
            // What is released, to be kept or to be removed, stays behind until the
            // next start.
            case(
                "let go of a log segment",
                "/^(unlink|rename)",
                "EIO",
                "1+",
                &first_segment(server),
                Expected::GoesOn,
            ),
        ]);
        cases
    });
}

fn first_segment(server: &Server) -> String {
    server.data("log/00000000000000000001.wal")
}

/// A server with a sealed segment that is nothing but waste, compacted: the next
/// thing that it does is to collect it.
#[test]
fn a_collection_that_fails_is_made_later_or_ends_the_server() {
    if !is_possible() {
        return;
    }
    let seed = Seed::announce("collections", COMMAND);
    let mut rng = seed.rng();
    let flush = one_of(&mut rng, &["EIO", "ENOSPC"]);
    let nth = rng.between(1, 2).to_string();
    let go_on = |calls, error| (calls, error, "1+".to_owned(), Expected::GoesOn);
    for (calls, error, when, expected) in [
        go_on("openat", "EMFILE"),
        go_on("write", "ENOSPC"),
        go_on("/^unlink", "EIO"),
        go_on("ftruncate", "EIO"),
        ("/^f(data)?sync$", flush, nth, Expected::Stops("state/")),
    ] {
        let mut server = Server::start();
        let what = format!("collections: {calls} {error} {when}: {expected:?}");
        println!("{what}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime");
        let mut writes = runtime.block_on(acknowledged(&server.endpoint, "kept", 20, 1000));
        runtime.block_on(churn(&server));
        let sealed = sealed_files(&server);
        let mut paths = vec![server.data("state/segment.tmp")];
        paths.extend(sealed.iter().map(|path| path.display().to_string()));
        let fault = Fault { calls, error, when, paths };
        let trace = server.scratch.join("trace");
        let injection =
            Injection::begin(server.program.pid(), &fault, &trace).expect("attach strace");
        writes.extend(runtime.block_on(async {
            // A seal comes first, and that comes with a write.
            let writers = Writers::start(&server.endpoint, "during", 1, 1000).await;
            compact(&server).await;
            let failed = injection.wait_for_one(DEADLINE).await;
            failed.unwrap_or_else(|error| panic!("{what}: {error:#}"));
            if let Expected::Stops(told) = expected {
                assert_stops(&mut server.program, told, &what).await;
                drop(injection);
            } else {
                injection.end().expect(&what);
                put_at_last(&server.endpoint, "after", DEADLINE).await.expect(&what);
            }
            writers.stop().await
        }));
        assert_no_backtrace(&server.program.log(), &what);
        server.start_again();
        runtime.block_on(assert_kept(&server.endpoint, &writes, &what));
    }
}

/// The same few keys again and again, until they have been sealed.
async fn churn(server: &Server) {
    let endpoint = &server.endpoint;
    for _ in 0..60 {
        acknowledged(endpoint, "churn", 4, LARGE).await;
    }
    poll_until("a seal", DEADLINE, || {
        ensure!(!sealed_files(server).is_empty(), "none");
        Ok(())
    })
    .expect("sealed");
}

fn sealed_files(server: &Server) -> Vec<PathBuf> {
    let names = fs::read_dir(server.data("state")).expect("the key space");
    let paths = names.map(|entry| entry.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|e| e == "seg")).collect()
}

async fn compact(server: &Server) {
    let revision = Metrics::read(&server.metrics).expect("metrics").sample("t4_current_revision");
    let revision = revision.expect("a revision").cast_signed();
    let mut rpc = Rpc::connect(&server.endpoint).await.expect("connect");
    let request = CompactionRequest { revision, physical: false };
    rpc.kv.compact(request).await.expect("compact");
}
