//! The stubs that the workloads call, on one connection.

use bytes::{Buf as _, Bytes};
use http::uri::PathAndQuery;
use t4_proto::etcdserverpb::RangeRequest;
use t4_proto::etcdserverpb::auth_client::AuthClient;
use t4_proto::etcdserverpb::kv_client::KvClient;
use t4_proto::etcdserverpb::lease_client::LeaseClient;
use t4_proto::etcdserverpb::watch_client::WatchClient;
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status, Streaming};

use crate::transport::Connection;

/// The limit of a Go client: none.
const RECEIVE_BYTES_MAX: usize = i32::MAX as usize;

/// Stubs of the measured services. Clones share the connection.
#[derive(Clone, Debug)]
pub struct Client {
    /// Keys and values.
    pub kv: KvClient<Connection>,
    /// Watches.
    pub watch: WatchClient<Connection>,
    /// Leases.
    pub lease: LeaseClient<Connection>,
    /// Logins.
    pub auth: AuthClient<Connection>,
    /// For answers that are inspected without decoding.
    raw: Grpc<Connection>,
}

impl Client {
    /// Stubs on a connection.
    #[must_use]
    pub fn new(connection: Connection) -> Client {
        let origin = connection.origin();
        Client {
            kv: KvClient::with_origin(connection.clone(), origin.clone())
                .max_decoding_message_size(RECEIVE_BYTES_MAX),
            watch: WatchClient::with_origin(connection.clone(), origin.clone())
                .max_decoding_message_size(RECEIVE_BYTES_MAX),
            lease: LeaseClient::with_origin(connection.clone(), origin.clone()),
            auth: AuthClient::with_origin(connection.clone(), origin.clone()),
            raw: Grpc::with_origin(connection, origin).max_decoding_message_size(RECEIVE_BYTES_MAX),
        }
    }

    /// A range whose answer is left encoded. Building 100k key-values is work
    /// of the client that would be attributed to the server; [`crate::wire`]
    /// inspects the answer instead.
    ///
    /// # Errors
    /// If the server fails.
    pub async fn range_raw(&mut self, request: RangeRequest) -> Result<Bytes, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.KV/Range");
        Ok(self.raw.unary(Request::new(request), path, RawAnswer).await?.into_inner())
    }

    /// The same for `RangeStream`, which etcd before 3.7 does not have.
    ///
    /// # Errors
    /// If the server fails.
    pub async fn range_stream_raw(
        &mut self,
        request: RangeRequest,
    ) -> Result<Streaming<Bytes>, Status> {
        self.ready().await?;
        let path = PathAndQuery::from_static("/etcdserverpb.KV/RangeStream");
        let answer = self.raw.server_streaming(Request::new(request), path, RawAnswer).await?;
        Ok(answer.into_inner())
    }

    async fn ready(&mut self) -> Result<(), Status> {
        self.raw.ready().await.map_err(|error| Status::unavailable(error.to_string()))
    }
}

/// Encodes requests with prost and leaves answers as they are.
#[derive(Clone, Copy, Debug, Default)]
struct RawAnswer;

impl Codec for RawAnswer {
    type Encode = RangeRequest;
    type Decode = Bytes;
    type Encoder = RawAnswer;
    type Decoder = RawAnswer;

    fn encoder(&mut self) -> RawAnswer {
        RawAnswer
    }

    fn decoder(&mut self) -> RawAnswer {
        RawAnswer
    }
}

impl Encoder for RawAnswer {
    type Item = RangeRequest;
    type Error = Status;

    fn encode(&mut self, item: RangeRequest, into: &mut EncodeBuf<'_>) -> Result<(), Status> {
        prost::Message::encode(&item, into).map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for RawAnswer {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
