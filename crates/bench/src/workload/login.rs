//! Logins: one user logs in repeatedly with its password, as every client does
//! at its start and when its token has expired.
//!
//! Both servers hash with bcrypt at their default cost, which is 10.

use anyhow::ensure;
use t4_proto::etcdserverpb::{
    AuthEnableRequest, AuthRoleAddRequest, AuthUserAddRequest, AuthUserGrantRoleRequest,
    AuthenticateRequest,
};

use super::{Bench, Family, Workload};
use crate::client::Client;
use crate::closed_loop::{Operation, connect};
use crate::server::Server;
use crate::target::Target;

const CLIENTS: usize = 16;
const USER: &str = "root";
const PASSWORD: &str = "correct horse battery staple";

pub(super) fn family() -> Family {
    let operation = "login of one user by its password; authentication is on";
    let targets = [Target::throughput(20.0)];
    let workload =
        Workload::new(format!("login-{CLIENTS}"), operation, targets, |bench, server| {
            let outcome = bench.closed_loop(server, CLIENTS, |_, client| Login { client })?;
            Ok(outcome.window.sample())
        });
    Family { fill: Box::new(enable), workloads: vec![workload], tls: None }
}

/// Creates the user and enables authentication.
fn enable(bench: &Bench, server: &mut Server) -> anyhow::Result<()> {
    let (core, mut client) = connect(&bench.cores, server, 1)?.remove(0);
    let enabling = bench.cores.of(core).spawn(async move {
        let user = AuthUserAddRequest {
            name: USER.into(),
            password: PASSWORD.into(),
            ..AuthUserAddRequest::default()
        };
        client.auth.user_add(user).await?;
        client.auth.role_add(AuthRoleAddRequest { name: USER.into() }).await?;
        let grant = AuthUserGrantRoleRequest { user: USER.into(), role: USER.into() };
        client.auth.user_grant_role(grant).await?;
        client.auth.auth_enable(AuthEnableRequest {}).await?;
        anyhow::Ok(())
    });
    bench.cores.wait(enabling)?
}

struct Login {
    client: Client,
}

impl Operation for Login {
    async fn run(&mut self) -> anyhow::Result<bool> {
        let request = AuthenticateRequest { name: USER.into(), password: PASSWORD.into() };
        let answer = self.client.auth.authenticate(request).await?.into_inner();
        ensure!(!answer.token.is_empty(), "a login without a token");
        Ok(true)
    }
}
