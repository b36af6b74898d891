//! The service `grpc.health.v1.Health`.

use std::sync::Arc;

use t4_proto::grpc_health_v1::health_check_response::ServingStatus;
use t4_proto::grpc_health_v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
};
use tokio::sync::watch;
use tonic::Status;

use crate::api::Api;
use crate::errors::ApiError;
use crate::sink::Sink;

/// Whether the server takes calls; shared by all runtimes.
#[derive(Clone, Debug)]
pub(crate) struct Health {
    serving: Arc<watch::Sender<bool>>,
}

impl Health {
    pub(crate) fn serving() -> Self {
        Health { serving: Arc::new(watch::Sender::new(true)) }
    }

    pub(crate) fn set(&self, serving: bool) {
        self.serving.send_replace(serving);
    }
}

fn response(serving: bool) -> HealthCheckResponse {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    HealthCheckResponse { status: status.into() }
}

impl Api {
    /// Only the server as a whole has a state; it has the empty name.
    pub(crate) async fn health_check(
        &self,
        request: HealthCheckRequest,
    ) -> Result<HealthCheckResponse, Status> {
        if !request.service.is_empty() {
            return Err(ApiError::UnknownHealthService.status());
        }
        Ok(response(*self.health.serving.borrow()))
    }

    pub(crate) async fn health_list(
        &self,
        _: HealthListRequest,
    ) -> Result<HealthListResponse, Status> {
        let server = (String::new(), response(*self.health.serving.borrow()));
        Ok(HealthListResponse { statuses: [server].into() })
    }

    pub(crate) async fn health_watch(
        &self,
        request: HealthCheckRequest,
        sink: &Sink<'_>,
    ) -> Result<(), Status> {
        if !request.service.is_empty() {
            // It may come to be, the protocol says; here it never does.
            let status = ServingStatus::ServiceUnknown.into();
            sink.send(&HealthCheckResponse { status }).await?;
            self.node.closed().await;
            return Err(ApiError::Stopped.status());
        }
        let mut serving = self.health.serving.subscribe();
        loop {
            let now = *serving.borrow_and_update();
            sink.send(&response(now)).await?;
            tokio::select! {
                changed = serving.changed() => changed.map_err(|_| ApiError::Stopped)?,
                _ = self.node.closed() => return Err(ApiError::Stopped.status()),
            }
        }
    }
}
