//! Damaged files on the wire: an error that names the file, a watch that ends
//! with the reason, the alarm CORRUPT; and what is not damaged goes on.

use std::path::Path;

use t4_kv_types::PutRequest;
use t4_node::{Config, Node};
use t4_proto::etcdserverpb as pb;
use tonic::{Code, Status};

use crate::support::{Server, Watching, assert_error, get, put, watch, within_hang};

/// Damages every record that is in a segment file; the last write is not. The
/// footer begins with the end of the blocks.
async fn damaged_directory(dir: &Path) {
    let mut config = Config::new(dir);
    config.seal_bytes = 4 << 10;
    let node = Node::open(config).await.unwrap();
    let early = |value: &'static [u8]| PutRequest {
        key: "early".into(),
        value: value.into(),
        ..Default::default()
    };
    node.put(early(b"1")).await.unwrap();
    for n in 0..20u8 {
        let (key, value) = (vec![b'f', n].into(), vec![n; 600].into());
        node.put(PutRequest { key, value, ..Default::default() }).await.unwrap();
    }
    node.stop().await;
    let node = Node::open(Config::new(dir)).await.unwrap();
    let late = PutRequest { key: "late".into(), value: "1".into(), ..Default::default() };
    node.put(late).await.unwrap();
    node.stop().await;
    let mut damaged = 0;
    for entry in std::fs::read_dir(dir.join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "seg") {
            let mut bytes = std::fs::read(&path).unwrap();
            let footer = bytes.len() - 84;
            let end = u64::from_le_bytes(bytes[footer..footer + 8].try_into().unwrap());
            (20..end as usize).step_by(64).for_each(|at| bytes[at] ^= 0x55);
            std::fs::write(&path, bytes).unwrap();
            damaged += 1;
        }
    }
    assert!(damaged > 0, "something was sealed");
}

fn assert_damaged<T: std::fmt::Debug>(result: Result<T, Status>) {
    let status = result.unwrap_err();
    let told = status.message();
    assert_eq!(status.code(), Code::DataLoss, "{told}");
    assert!(told.starts_with("t4: ") && told.contains(".seg: corrupt"), "{told}");
    assert!(told.contains("from a backup copy"), "{told}");
}

/// The next answer is the end of the watcher, for damage.
async fn assert_ends(stream: &mut Watching) {
    let response = stream.next().await;
    assert!(response.canceled && response.events.is_empty(), "{response:?}");
    assert_eq!(response.compact_revision, 0);
    let reason = &response.cancel_reason;
    assert!(reason.starts_with("rpc error: code = DataLoss desc = t4: "), "{reason}");
    assert!(reason.contains(".seg: corrupt"), "{reason}");
}

async fn alarm(server: &Server, action: pb::alarm_request::AlarmAction) -> Vec<i32> {
    let request = pb::AlarmRequest {
        action: action.into(),
        member_id: server.node.member_id().0,
        alarm: pb::AlarmType::Corrupt.into(),
    };
    let response = server.maintenance().alarm(request).await.unwrap().into_inner();
    response.alarms.iter().map(|alarm| alarm.alarm).collect()
}

async fn wait_for_alarm(server: &Server) {
    let get = pb::alarm_request::AlarmAction::Get;
    within_hang(async {
        while alarm(server, get).await != [i32::from(pb::AlarmType::Corrupt)] {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn damage_is_told_by_name_and_what_is_sound_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    damaged_directory(dir.path()).await;
    let on_it = |config: &mut Config| config.data_dir = dir.path().to_owned();
    let server = Server::start_with(on_it, |_| {}).await;

    // A write that has to read; then the alarm refuses all of them.
    let with_prev_kv = pb::PutRequest { prev_kv: true, ..put("early", "2") };
    assert_damaged(server.kv().put(with_prev_kv).await);
    wait_for_alarm(&server).await;
    let refused = server.kv().put(put("late", "2")).await;
    assert_error(refused, Code::DataLoss, "etcdserver: corrupt cluster");

    assert_damaged(server.kv().range(get("early")).await);
    let read = pb::RequestOp { request: Some(pb::request_op::Request::RequestRange(get("early"))) };
    let txn = pb::TxnRequest { success: vec![read], ..Default::default() };
    assert_damaged(server.kv().txn(txn).await);
    let all = pb::HashKvRequest { revision: 0 };
    assert_damaged(server.maintenance().hash_kv(all).await);
    assert_eq!(server.get("late").await.as_deref(), Some(&b"1"[..]));

    let mut stream = server.watch().await;
    stream.created(pb::WatchCreateRequest { start_revision: 2, ..watch("late") }).await;
    assert_ends(&mut stream).await;

    // Disarmed, it goes on until damage is met again.
    alarm(&server, pb::alarm_request::AlarmAction::Deactivate).await;
    stream.created(watch("late")).await;
    stream.created(pb::WatchCreateRequest { prev_kv: true, ..watch("early") }).await;
    let revision = server.put("late", "2").await;
    let event = stream.next().await;
    assert_eq!((event.events.len(), event.header.unwrap().revision), (1, revision));
    // What it was before cannot be told.
    server.put("early", "2").await;
    assert_ends(&mut stream).await;
    wait_for_alarm(&server).await;
    assert_eq!(server.get("early").await.as_deref(), Some(&b"2"[..]));
    server.node.stop().await;

    // The alarm outlives the process.
    let server = Server::start_with(on_it, |_| {}).await;
    wait_for_alarm(&server).await;
    server.node.stop().await;
}
