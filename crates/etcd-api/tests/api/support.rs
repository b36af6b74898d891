//! A node with its services, and clients of them.

use std::time::Duration;

use bytes::Bytes;
use t4_etcd_api::{ApiConfig, Services, services};
use t4_node::{Config, Node};
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::v3electionpb::election_client::ElectionClient;
use t4_proto::v3lockpb::lock_client::LockClient;
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

/// Nothing here takes that long: a test that waits in vain fails.
const HANG: Duration = Duration::from_secs(60);

pub(crate) struct Server {
    pub(crate) services: Services,
    pub(crate) node: Node,
    _dir: TempDir,
}

impl Server {
    pub(crate) async fn start() -> Server {
        Server::start_with(|_| {}, |_| {}).await
    }

    pub(crate) async fn start_with(
        node: impl FnOnce(&mut Config),
        api: impl FnOnce(&mut ApiConfig),
    ) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let mut config = Config::new(dir.path());
        config.name = "one".to_owned();
        config.advertise_client_urls = vec!["http://127.0.0.1:3379".to_owned()];
        config.advertise_peer_urls = vec!["http://127.0.0.1:3380".to_owned()];
        config.log_segment_bytes = 4 << 20;
        node(&mut config);
        let mut api_config = ApiConfig::default();
        api(&mut api_config);
        let node = Node::open(config).await.unwrap();
        Server { services: services(node.clone(), api_config), node, _dir: dir }
    }

    pub(crate) fn kv(&self) -> pb::kv_client::KvClient<Services> {
        pb::kv_client::KvClient::new(self.services.clone())
    }

    pub(crate) fn lease(&self) -> pb::lease_client::LeaseClient<Services> {
        pb::lease_client::LeaseClient::new(self.services.clone())
    }

    pub(crate) fn cluster(&self) -> pb::cluster_client::ClusterClient<Services> {
        pb::cluster_client::ClusterClient::new(self.services.clone())
    }

    pub(crate) fn maintenance(&self) -> pb::maintenance_client::MaintenanceClient<Services> {
        pb::maintenance_client::MaintenanceClient::new(self.services.clone())
    }

    pub(crate) fn auth(&self) -> pb::auth_client::AuthClient<Services> {
        pb::auth_client::AuthClient::new(self.services.clone())
    }

    pub(crate) fn lock(&self) -> LockClient<Services> {
        LockClient::new(self.services.clone())
    }

    pub(crate) fn election(&self) -> ElectionClient<Services> {
        ElectionClient::new(self.services.clone())
    }

    /// Puts a key; gives the revision.
    pub(crate) async fn put(&self, key: &'static str, value: &'static str) -> i64 {
        let response = self.kv().put(put(key, value)).await.unwrap().into_inner();
        response.header.unwrap().revision
    }

    pub(crate) async fn delete(&self, key: &'static str) -> i64 {
        let delete = pb::DeleteRangeRequest { key: key.into(), ..Default::default() };
        let response = self.kv().delete_range(delete).await.unwrap().into_inner();
        response.header.unwrap().revision
    }

    pub(crate) async fn compact(&self, revision: i64) {
        let request = pb::CompactionRequest { revision, physical: true };
        self.kv().compact(request).await.unwrap();
    }

    /// Reads a key; gives its value.
    pub(crate) async fn get(&self, key: &'static str) -> Option<Bytes> {
        let found = self.kv().range(get(key)).await.unwrap().into_inner();
        found.kvs.into_iter().next().map(|kv| kv.value)
    }

    pub(crate) async fn watch(&self) -> Watching {
        self.watch_through(self.services.clone()).await
    }

    /// Opens a watch stream with a metadata entry.
    pub(crate) async fn watch_through<T>(&self, transport: T) -> Watching
    where
        T: tonic::client::GrpcService<tonic::body::Body>,
        T::Error: std::fmt::Debug + Into<tonic::codegen::StdError>,
        T::ResponseBody: http_body::Body<Data = Bytes> + Send + 'static,
        <T::ResponseBody as http_body::Body>::Error: Into<tonic::codegen::StdError> + Send,
    {
        let (requests, receiver) = mpsc::channel(64);
        let mut client = pb::watch_client::WatchClient::new(transport);
        let responses = client.watch(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        Watching { requests: Some(requests), responses }
    }
}

/// A watch stream from the client's side.
pub(crate) struct Watching {
    pub(crate) requests: Option<mpsc::Sender<pb::WatchRequest>>,
    responses: Streaming<pb::WatchResponse>,
}

impl Watching {
    pub(crate) async fn send(&self, request: Option<RequestUnion>) {
        let request = pb::WatchRequest { request_union: request };
        self.requests.as_ref().unwrap().send(request).await.unwrap();
    }

    pub(crate) async fn create(&self, request: pb::WatchCreateRequest) {
        self.send(Some(RequestUnion::CreateRequest(request))).await;
    }

    /// Creates a watcher and takes the answer.
    pub(crate) async fn created(&mut self, request: pb::WatchCreateRequest) -> pb::WatchResponse {
        self.create(request).await;
        let response = self.next().await;
        assert!(response.created, "{response:?}");
        response
    }

    pub(crate) async fn cancel(&self, watch_id: i64) {
        let request = pb::WatchCancelRequest { watch_id };
        self.send(Some(RequestUnion::CancelRequest(request))).await;
    }

    pub(crate) async fn request_progress(&self) {
        self.send(Some(RequestUnion::ProgressRequest(pb::WatchProgressRequest {}))).await;
    }

    pub(crate) async fn next(&mut self) -> pb::WatchResponse {
        self.try_next().await.unwrap().expect("the stream has ended")
    }

    pub(crate) async fn try_next(&mut self) -> Result<Option<pb::WatchResponse>, Status> {
        within_hang(self.responses.message()).await
    }
}

/// Fails the test instead of hanging.
pub(crate) async fn within_hang<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, work).await.expect("nothing happens")
}

pub(crate) fn put(key: &'static str, value: &'static str) -> pb::PutRequest {
    pb::PutRequest { key: key.into(), value: value.into(), ..Default::default() }
}

pub(crate) fn get(key: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), ..Default::default() }
}

pub(crate) fn range(key: &'static str, range_end: &'static str) -> pb::RangeRequest {
    pb::RangeRequest { key: key.into(), range_end: range_end.into(), ..Default::default() }
}

pub(crate) fn watch(key: &'static str) -> pb::WatchCreateRequest {
    pb::WatchCreateRequest { key: key.into(), ..Default::default() }
}

#[track_caller]
pub(crate) fn assert_error<T: std::fmt::Debug>(result: Result<T, Status>, code: Code, text: &str) {
    let status = result.unwrap_err();
    assert_eq!((status.code(), status.message()), (code, text));
}
