//! What the server holds for a client counts as held, for as long as it is.

use t4_etcd_api::Caller;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::kv_client::KvClient;
use t4_proto::etcdserverpb::range_request::SortTarget;
use t4_proto::v3electionpb::LeaderRequest;
use t4_proto::v3electionpb::election_client::ElectionClient;

use crate::support::{Server, put, range, within_hang};

const PAIRS: usize = 20;
const VALUE_BYTES: usize = 400 << 10;
/// Keys, and what else a pair takes.
const OVERHEAD_BYTES: usize = 64 << 10;

/// A sorted range is read as a whole and sent in chunks: what is not sent counts.
#[tokio::test]
async fn a_sorted_stream_counts_what_it_has_not_sent() {
    let server = Server::start().await;
    for n in 0..PAIRS {
        let (key, value) = (format!("k{n:02}").into(), vec![n as u8; VALUE_BYTES].into());
        server.kv().put(pb::PutRequest { key, value, ..put("", "") }).await.unwrap();
    }
    let connection = server.services.for_connection(Caller::default());
    let memory = connection.client_memory().clone();
    let mut client = KvClient::new(connection).max_decoding_message_size(usize::MAX);
    let sorted = pb::RangeRequest { sort_target: SortTarget::Mod.into(), ..range("k", "l") };

    let mut chunks = client.range_stream(sorted.clone()).await.unwrap().into_inner();
    let (mut left, mut counted, mut last) = (PAIRS, 0, PAIRS);
    while let Some(chunk) = chunks.message().await.unwrap() {
        last = chunk.range_response.unwrap().kvs.len();
        left -= last;
        let (held, rest) = (memory.held(), left * VALUE_BYTES);
        assert!(held >= rest, "{held} bytes are held of {left} pairs");
        // The chunk that comes next may count until it is taken.
        let most = rest + last * VALUE_BYTES + OVERHEAD_BYTES;
        assert!(held <= most, "{held} bytes are held of {left} pairs");
        counted += usize::from(left > 0);
    }
    assert!((left, counted > 2) == (0, true) && last > 0, "{counted} chunks, {left} left");
    assert_eq!(memory.held(), 0, "all is sent");

    // A client that goes away holds nothing.
    let mut chunks = client.range_stream(sorted).await.unwrap().into_inner();
    chunks.message().await.unwrap().unwrap();
    assert!(memory.held() > PAIRS / 2 * VALUE_BYTES);
    drop(chunks);
    assert_eq!(memory.held(), 0, "it was given up");
}

/// An observer that has fallen behind comes by history in pieces, and each counts
/// until it is sent.
#[tokio::test]
async fn history_of_an_observer_counts_until_it_is_sent() {
    const PIECE_BYTES: usize = 1 << 20;
    const LAST: u8 = 39;
    let server = Server::start().await;
    let proclaim = async |number: u8| {
        let value = vec![number; VALUE_BYTES].into();
        server.kv().put(pb::PutRequest { value, ..put("e/1", "") }).await.unwrap();
    };
    proclaim(0).await;
    let connection = server.services.for_connection(Caller::default());
    let memory = connection.client_memory().clone();
    let mut client = ElectionClient::new(connection);
    let request = LeaderRequest { name: "e".into() };
    let mut observed = client.observe(request.clone()).await.unwrap().into_inner();
    let mut other = client.observe(request).await.unwrap().into_inner();
    // Both know the leader, and fall behind.
    for stream in [&mut observed, &mut other] {
        within_hang(stream.message()).await.unwrap().unwrap();
    }
    for number in 1..=LAST {
        proclaim(number).await;
    }
    let mut most = 0;
    for number in 1..=LAST {
        let response = within_hang(observed.message()).await.unwrap().unwrap();
        assert_eq!(response.kv.unwrap().value[0], number);
        most = memory.held().max(most);
    }
    // The newest revisions, which are in memory anyway, are one piece of 4 MiB.
    assert!((PIECE_BYTES..=5 * PIECE_BYTES).contains(&most), "{most} bytes were held at most");
    // It has caught up when it is sent a change as it happens.
    proclaim(LAST + 1).await;
    within_hang(observed.message()).await.unwrap().unwrap();
    assert_eq!(memory.held(), 0, "all is sent");

    // A client that goes away in the middle of it holds nothing.
    for _ in 0..LAST {
        if memory.held() == 0 {
            within_hang(other.message()).await.unwrap().unwrap();
        }
    }
    assert!(memory.held() >= PIECE_BYTES, "{} bytes are held", memory.held());
    drop(other);
    assert_eq!(memory.held(), 0, "it was given up");
}
