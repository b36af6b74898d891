//! The service Auth, of a server whose access is open to every client.
//!
//! What asks is answered truly: authentication is off. What would change
//! users, roles or their permissions is refused (in `dispatch`), rather than
//! pretended.

use t4_proto::etcdserverpb as pb;
use tonic::Status;

use crate::api::Api;
use crate::errors::ApiError;

impl Api {
    pub(crate) async fn auth_status(
        &self,
        _: pb::AuthStatusRequest,
    ) -> Result<pb::AuthStatusResponse, Status> {
        Ok(pb::AuthStatusResponse {
            header: Some(self.header_now()),
            enabled: false,
            auth_revision: 1,
        })
    }

    /// Clients that were given a name and a password try this first, and go on
    /// without a token when they learn that authentication is off.
    pub(crate) async fn authenticate(
        &self,
        _: pb::AuthenticateRequest,
    ) -> Result<pb::AuthenticateResponse, Status> {
        Err(ApiError::AuthNotEnabled.status())
    }
}
