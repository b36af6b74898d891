//! What a request is for: gRPC, metrics, health, version.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use t4_etcd_api::{ETCD_VERSION, Services};
use t4_node::Node;

use crate::body::{JSON, PLAIN, ResponseBody, text};
use crate::health::{self, Checks};
use crate::metrics::Metrics;

/// Everything that one shard serves.
pub(crate) struct Front {
    pub(crate) services: Services,
    pub(crate) node: Node,
    pub(crate) metrics: Arc<Metrics>,
}

impl Front {
    /// The same, with calls served on the runtime that this is called on.
    pub(crate) fn on_this_runtime(self) -> Front {
        Front { services: self.services.on_this_runtime(), ..self }
    }

    /// The same, for one connection.
    pub(crate) fn for_connection(&self) -> Front {
        let Front { services, node, metrics } = self;
        let (node, metrics) = (node.clone(), metrics.clone());
        Front { services: services.for_connection(), node, metrics }
    }

    /// A request on the client port.
    pub(crate) async fn client(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        if is_grpc(&request) {
            return self.services.serve(request).await.map(ResponseBody::Grpc);
        }
        let path = request.uri().path();
        match path {
            "/version" => self.version(&request),
            _ if path.starts_with("/v3/") || path.starts_with("/v3beta/") => text(
                StatusCode::NOT_IMPLEMENTED,
                JSON,
                r#"{"code":12,"message":"the JSON gateway is not part of this version; use gRPC"}"#,
            ),
            _ => self.common(request).await,
        }
    }

    /// A request on the metrics port.
    pub(crate) async fn metrics(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        match request.uri().path() {
            "/healthz" => health::healthz(&self.node),
            "/healthz/leader" => health::leader(&self.node),
            _ => self.common(request).await,
        }
    }

    /// What both ports serve.
    async fn common(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let path = request.uri().path();
        let query = request.uri().query().unwrap_or_default();
        if path == "/metrics" {
            let text_format = "text/plain; version=0.0.4; charset=utf-8";
            return text(StatusCode::OK, text_format, self.metrics.render(&self.node));
        }
        if path == "/health" {
            if request.method() != Method::GET {
                let mut refused =
                    text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "Method Not Allowed\n");
                refused.headers_mut().insert(header::ALLOW, http::HeaderValue::from_static("GET"));
                return refused;
            }
            return health::health(&self.node, &self.metrics, query).await;
        }
        for (root, checks) in [("/livez", Checks::Live), ("/readyz", Checks::Ready)] {
            let Some(rest) = path.strip_prefix(root) else { continue };
            match rest.strip_prefix('/') {
                Some(check) if !check.is_empty() => {
                    return health::one(&self.node, &self.metrics, checks, check).await;
                }
                None | Some("") if rest.len() <= 1 => {
                    return health::all(&self.node, &self.metrics, checks, query).await;
                }
                _ => {}
            }
        }
        text(StatusCode::NOT_FOUND, PLAIN, "404 page not found\n")
    }

    fn version(&self, request: &Request<Incoming>) -> Response<ResponseBody> {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, PLAIN, "Method Not Allowed\n");
        }
        let body = format!(
            r#"{{"etcdserver":"{ETCD_VERSION}","etcdcluster":"{ETCD_VERSION}","storage":"{ETCD_VERSION}"}}"#
        );
        text(StatusCode::OK, JSON, body)
    }
}

fn is_grpc(request: &Request<Incoming>) -> bool {
    request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}
