//! What the server holds for a client counts as held, for as long as it is.

use t4_etcd_api::Caller;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::kv_client::KvClient;
use t4_proto::etcdserverpb::range_request::SortTarget;

use crate::support::{Server, put, range};

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
