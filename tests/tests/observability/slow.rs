//! Requests that are slow are told, at a bounded rate and without values. The
//! limits are 0 here, so that every request is slow.

use std::time::Instant;

use t4_proto::authpb::UserAddOptions;
use t4_proto::etcdserverpb::auth_client::AuthClient;
use t4_proto::etcdserverpb::request_op::Request;
use t4_proto::etcdserverpb::{AuthUserAddRequest, RequestOp, TxnRequest};
use t4_testkit::{Metrics, Rpc, T4, T4Options};

use crate::{DEADLINE, get, put, runtime};

const SECRET: &str = "a value that is nobody's business";

fn everything_is_slow() -> T4 {
    let flags = ["--warning-apply-duration=0s", "--warning-unary-request-duration=0s"];
    let flags = flags.map(str::to_owned).to_vec();
    T4::start(T4Options { flags, ..T4Options::default() }).expect("start")
}

fn lines(t4: &mut T4, text: &str) -> Vec<String> {
    t4.program().log().into_iter().filter(|line| line.contains(text)).collect()
}

#[test]
fn requests_are_told_in_etcds_words_without_values() {
    let mut t4 = everything_is_slow();
    runtime().block_on(async {
        let mut rpc = Rpc::connect(t4.endpoint()).await.expect("connect");
        rpc.kv.put(put("the-key", SECRET)).await.expect("put");
        rpc.kv.range(get("the-key")).await.expect("range");
        let op = RequestOp { request: Some(Request::RequestPut(put("in-txn", SECRET))) };
        let txn = TxnRequest { success: vec![op], ..Default::default() };
        rpc.kv.txn(txn).await.expect("txn");
        let mut auth = AuthClient::new(rpc.channel.clone());
        let options = Some(UserAddOptions { no_password: false });
        let (name, password) = ("alice".to_owned(), SECRET.to_owned());
        let user = AuthUserAddRequest { name, password, options, ..Default::default() };
        auth.user_add(user).await.expect("user");
    });
    // What is told of a request is written before its answer, but it comes by a
    // pipe.
    t4.program().wait_for_line("Auth/UserAdd", DEADLINE).expect("told");
    let calls = lines(&mut t4, "request stats").join("\n");
    for part in [
        "response type=\"/etcdserverpb.KV/Put\"",
        "request content=\"key:\\\"the-key\\\" value_size:33\"",
        "response type=\"/etcdserverpb.KV/Range\"",
        "success:<request_put:<key:\\\"in-txn\\\" value_size:33>>",
        "response type=\"/etcdserverpb.Auth/UserAdd\"",
        "time spent=",
        "remote=\"127.0.0.1:",
    ] {
        assert!(calls.contains(part), "{part}: {calls}");
    }
    let applies = lines(&mut t4, "apply request took too long").join("\n");
    for part in [
        "prefix=\"read-only range \" request=\"key:\\\"the-key\\\"\"",
        "request=\"Put writes:1 bytes:40 first_key:\\\"the-key\\\"\"",
        "expected-duration=0ns",
        "took=",
    ] {
        assert!(applies.contains(part), "{part}: {applies}");
    }
    let all = t4.program().log().join("\n");
    assert!(!all.contains(SECRET) && !all.contains("business"), "{all}");
    let metrics = Metrics::read(t4.metrics_endpoint()).expect("metrics");
    assert!(metrics.sample("etcd_server_slow_apply_total").is_some_and(|count| count > 3));
}

#[test]
fn a_crowd_of_slow_requests_is_told_at_a_bounded_rate() {
    const REQUESTS: usize = 2_000;
    let mut t4 = everything_is_slow();
    let begun = Instant::now();
    runtime().block_on(async {
        let mut rpc = Rpc::connect(t4.endpoint()).await.expect("connect");
        for _ in 0..REQUESTS {
            rpc.kv.range(get("k")).await.expect("range");
        }
    });
    let seconds = begun.elapsed().as_secs() as usize + 2;
    let mut told =
        || lines(&mut t4, "request stats").len() + lines(&mut t4, "read-only range ").len();
    // They come by a pipe.
    t4_testkit::poll_until("ten lines", DEADLINE, || {
        let count = told();
        anyhow::ensure!(count >= 10, "{count}");
        Ok(())
    })
    .expect("told");
    let count = told();
    assert!(count <= 10 * seconds, "{count} lines in {seconds} s");
    let metrics = Metrics::read(t4.metrics_endpoint()).expect("metrics");
    let slow = metrics.sample("etcd_server_slow_apply_total").expect("a number");
    assert!(slow >= REQUESTS as u64, "all are counted: {slow}");
    // The line that comes next tells how many were left out.
    t4_testkit::poll_until("a line with the number", DEADLINE, || {
        runtime().block_on(async {
            let mut rpc = Rpc::connect(t4.endpoint()).await?;
            rpc.kv.range(get("k")).await?;
            anyhow::Ok(())
        })?;
        let told = lines(&mut t4, "suppressed=");
        anyhow::ensure!(!told.is_empty(), "none yet");
        Ok(())
    })
    .expect("told");
}

#[test]
fn nothing_is_told_of_requests_that_are_not_slow() {
    let flags = ["--warning-apply-duration=1h", "--warning-unary-request-duration=1h"];
    let flags = flags.map(str::to_owned).to_vec();
    let mut t4 = T4::start(T4Options { flags, ..T4Options::default() }).expect("start");
    runtime().block_on(crate::use_everything(t4.endpoint()));
    t4.program().terminate().expect("signal");
    t4.program().wait(DEADLINE).expect("end");
    assert!(lines(&mut t4, "request stats").is_empty());
    assert!(lines(&mut t4, "took too long").is_empty());
}
