//! The service Auth: users, roles, and logging in.
//!
//! Here requests become commands of `t4-auth-rbac`. Their outcome is decided together
//! with the order of writes, on the newest state. Passwords are hashed first (`login`),
//! so that commands hold none.

mod authenticate;
mod roles;
mod users;

use prost::Message;
use t4_auth_rbac::{AuthState, Command, Identity};
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::ResponseHeader;
use tonic::Status;

use crate::api::Api;
use crate::errors::{ApiError, refused};
use crate::proof::Proof;
use crate::validate;

impl Api {
    /// Carries out a change on behalf of the caller. Returns the header of the
    /// response.
    async fn change(
        &self,
        proof: &Proof,
        command: Command,
    ) -> Result<Option<ResponseHeader>, Status> {
        let acting = self.acting(proof);
        // etcd lets users and roles grow beyond the quota that they count to.
        // Asked of the newest state that readers see: what is on its way to the log
        // may let a change grow by a record more.
        let growth = self.node.auth().growth(&command);
        if growth > 0 {
            self.check_quota(&acting, growth).await?;
        }
        acting?.auth_command(command).await.map_err(refused)?;
        Ok(Some(self.header_now()))
    }

    /// Whether a change is small enough for the log, as every other write; to be
    /// asked before anything waits or is computed for it.
    fn check_size(&self, request: &impl Message) -> Result<(), ApiError> {
        validate::size(request, self.config.max_request_bytes)
    }

    /// The present state, and the user that asks about it.
    fn ask(&self, proof: &Proof) -> Result<(std::sync::Arc<AuthState>, Identity), ApiError> {
        let state = self.node.auth();
        let who = self.who(&state, proof)?;
        Ok((state, who))
    }

    pub(crate) async fn auth_enable(
        &self,
        proof: &Proof,
        _: pb::AuthEnableRequest,
    ) -> Result<pb::AuthEnableResponse, Status> {
        Ok(pb::AuthEnableResponse { header: self.change(proof, Command::Enable).await? })
    }

    pub(crate) async fn auth_disable(
        &self,
        proof: &Proof,
        _: pb::AuthDisableRequest,
    ) -> Result<pb::AuthDisableResponse, Status> {
        Ok(pb::AuthDisableResponse { header: self.change(proof, Command::Disable).await? })
    }

    /// For every caller; but a token that is sent must be valid.
    pub(crate) async fn auth_status(
        &self,
        proof: &Proof,
        _: pb::AuthStatusRequest,
    ) -> Result<pb::AuthStatusResponse, Status> {
        let (state, _) = self.ask(proof)?;
        Ok(pb::AuthStatusResponse {
            header: Some(self.header_now()),
            enabled: state.is_enabled(),
            auth_revision: state.revision(),
        })
    }
}
