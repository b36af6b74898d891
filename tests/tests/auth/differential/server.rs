//! One of the two servers: asked, and its answers made comparable.

use std::time::Duration;

use bytes::Bytes;
use t4_proto::etcdserverpb as pb;
use t4_testkit::Rpc;
use t4_tls_config::ClientTls;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Response, Status};

use super::answer::{Answer, Refusal, strip};
use super::ask::{Actor, Ask, Episode, queue};
use super::rights::LeaseKeys;
use super::watches::Rulings;
use super::{ROLES, USERS};
use crate::session::{Session, shown};

/// How long an answer may take. Far more than any takes: what it bounds is the
/// wait for one that never comes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server, and the tokens that it gave out.
pub(super) struct Server {
    pub(super) session: Session,
    /// Of each login, in order.
    tokens: Vec<String>,
}

type Outcome = Result<Answer, Refusal>;

async fn answered(outcome: impl Future<Output = Outcome>) -> Answer {
    let outcome = tokio::time::timeout(PATIENCE, outcome).await;
    let silence = || Err(Refusal { code: Code::DeadlineExceeded, text: "no answer".to_owned() });
    outcome.unwrap_or_else(|_| silence()).unwrap_or_else(Answer::Refused)
}

macro_rules! other {
    ($client:expr, $method:ident, $token:expr, $message:expr) => {
        other($client.$method(shown($token, $message)).await, |it| &mut it.header)
    };
}

fn other<T: std::fmt::Debug>(
    answer: Result<Response<T>, Status>,
    header: impl FnOnce(&mut T) -> &mut Option<pb::ResponseHeader>,
) -> Outcome {
    let mut response = answer?.into_inner();
    let revision = strip(header(&mut response));
    Ok(Answer::Other(revision, format!("{response:?}")))
}

impl Server {
    /// One with users and roles, and authentication on. The first logins are
    /// those of [`USERS`].
    pub(super) async fn begin(endpoint: &str, tls: &ClientTls) -> anyhow::Result<Server> {
        let mut session = Session::over(Rpc::connect_tls(endpoint, tls).await?);
        for role in ROLES {
            session.role(role, &[]).await?;
        }
        for user in USERS {
            session.user(user, user, if user == "root" { &["root"] } else { &[] }).await?;
        }
        session.enable().await?;
        let mut tokens = Vec::new();
        for user in USERS {
            tokens.push(session.login(user, user).await?);
        }
        Ok(Server { session, tokens })
    }

    pub(super) fn token(&self, actor: Actor) -> &str {
        match actor {
            Actor::Nobody => "",
            Actor::Forger => "forged",
            Actor::Login(number) => &self.tokens[number],
        }
    }

    /// Asks, and waits for the answer.
    pub(super) async fn perform(&mut self, actor: Actor, ask: &Ask) -> Answer {
        let token = self.token(actor).to_owned();
        answered(self.ask(&token, ask.clone())).await
    }

    /// The same for watches on 3.5.1, with what it must refuse.
    pub(super) async fn perform_watch(
        &mut self,
        actor: Actor,
        episode: &Episode,
        rulings: &Rulings,
    ) -> Answer {
        let token = self.token(actor).to_owned();
        answered(self.watch(&token, episode, Some(rulings))).await
    }

    async fn ask(&mut self, token: &str, ask: Ask) -> Outcome {
        match ask {
            Ask::Range(_) | Ask::Put(_) | Ask::Delete(_) | Ask::Txn(_) | Ask::Compact(_) => {
                self.ask_keys(token, ask).await
            }
            Ask::LeaseGrant(_)
            | Ask::LeaseRevoke(_)
            | Ask::LeaseKeepAlive(_)
            | Ask::LeaseTimeToLive(_)
            | Ask::LeaseLeases => self.ask_leases(token, ask).await,
            Ask::HashKv | Ask::MemberList | Ask::Status | Ask::Alarm(_) => {
                self.ask_member(token, ask).await
            }
            Ask::Lock(_) | Ask::Unlock(_) | Ask::Leader(_) => self.ask_recipes(token, ask).await,
            Ask::Watch(episode) => self.watch(token, &episode, None).await,
            Ask::RoleAdd(_)
            | Ask::RoleGet(_)
            | Ask::RoleList
            | Ask::RoleDelete(_)
            | Ask::RoleGrantPermission(_)
            | Ask::RoleRevokePermission(_) => self.ask_roles(token, ask).await,
            _ => self.ask_users(token, ask).await,
        }
    }

    async fn ask_keys(&mut self, token: &str, ask: Ask) -> Outcome {
        let kv = &mut self.session.rpc.kv;
        match ask {
            Ask::Put(request) => other!(kv, put, token, request),
            Ask::Delete(request) => other!(kv, delete_range, token, request),
            Ask::Txn(request) => other!(kv, txn, token, request),
            Ask::Compact(request) => other!(kv, compact, token, request),
            Ask::Range(request) => {
                let mut told = kv.range(shown(token, request)).await?.into_inner();
                strip(&mut told.header);
                Ok(Answer::Range(told))
            }
            other => unreachable!("{other:?} is not about keys"),
        }
    }

    /// Of what the member tells of itself, nearly everything is its own.
    async fn ask_member(&mut self, token: &str, ask: Ask) -> Outcome {
        let Rpc { maintenance, cluster, .. } = &mut self.session.rpc;
        let (header, told) = match ask {
            Ask::HashKv => {
                let request = shown(token, pb::HashKvRequest { revision: 0 });
                let told = maintenance.hash_kv(request).await?.into_inner();
                (told.header, format!("{} {}", told.hash, told.compact_revision))
            }
            Ask::MemberList => {
                let request = shown(token, pb::MemberListRequest { linearizable: true });
                let told = cluster.member_list(request).await?.into_inner();
                (None, format!("{} member", told.members.len()))
            }
            Ask::Status => {
                let request = shown(token, pb::StatusRequest {});
                let told = maintenance.status(request).await?.into_inner();
                (told.header, format!("{:?}", told.errors))
            }
            Ask::Alarm(action) => {
                let request = pb::AlarmRequest { action: action.into(), ..Default::default() };
                let told = maintenance.alarm(shown(token, request)).await?.into_inner();
                (told.header, format!("{:?}", told.alarms))
            }
            other => unreachable!("{other:?} is not about the member"),
        };
        Ok(Answer::Other(header.map_or(0, |header| header.revision), told))
    }

    async fn ask_leases(&mut self, token: &str, ask: Ask) -> Outcome {
        let lease = &mut self.session.rpc.lease;
        match ask {
            Ask::LeaseGrant(request) => other!(lease, lease_grant, token, request),
            Ask::LeaseRevoke(id) => {
                other!(lease, lease_revoke, token, pb::LeaseRevokeRequest { id })
            }
            Ask::LeaseTimeToLive(request) => {
                let told = lease.lease_time_to_live(shown(token, request)).await;
                other(told.map(|told| told.map(without_clock)), |it| &mut it.header)
            }
            Ask::LeaseLeases => {
                let told = lease.lease_leases(shown(token, pb::LeaseLeasesRequest {})).await;
                let sorted = |mut told: pb::LeaseLeasesResponse| {
                    // Sorted by expiry in 3.5.1: by the clock.
                    told.leases.sort_by_key(|lease| lease.id);
                    told
                };
                other(told.map(|told| told.map(sorted)), |it| &mut it.header)
            }
            Ask::LeaseKeepAlive(id) => self.keep_alive(token, id).await,
            other => unreachable!("{other:?} is not about leases"),
        }
    }

    /// One request, and the end of its stream.
    async fn keep_alive(&mut self, token: &str, id: i64) -> Outcome {
        let (requests, queue) = mpsc::channel(1);
        // The queue is empty and open: this cannot fail.
        let _ = requests.try_send(pb::LeaseKeepAliveRequest { id });
        let call = shown(token, ReceiverStream::new(queue));
        let mut told = self.session.rpc.lease.lease_keep_alive(call).await?.into_inner();
        let mut first = told.message().await?;
        drop(requests);
        let revision = first.as_mut().map_or(0, |first| strip(&mut first.header));
        let then = told.message().await?;
        Ok(Answer::Other(revision, format!("{first:?}, then {then:?}")))
    }

    async fn ask_recipes(&mut self, token: &str, ask: Ask) -> Outcome {
        let Rpc { lock, election, .. } = &mut self.session.rpc;
        let answer = match ask {
            Ask::Lock(request) => other!(lock, lock, token, request),
            Ask::Unlock(request) => other!(lock, unlock, token, request),
            Ask::Leader(request) => other!(election, leader, token, request),
            other => unreachable!("{other:?} is no recipe"),
        };
        answer.map_err(|refusal| match refusal.text.as_str() {
            // It loses its code on its way through 3.5.1.
            "etcdserver: requested lease not found" => Refusal { code: Code::NotFound, ..refusal },
            _ => refusal,
        })
    }

    /// The keys of those who hold a lock or wait for it.
    pub(super) async fn queued(&mut self, name: &Bytes) -> Result<Vec<Bytes>, Status> {
        let (key, range_end) = queue(name);
        let request = pb::RangeRequest { key, range_end, ..Default::default() };
        let request = shown(&self.tokens[0], request);
        let told = self.session.rpc.kv.range(request).await?.into_inner();
        Ok(told.kvs.into_iter().map(|kv| kv.key).collect())
    }

    /// The keys of the leases that there may be, as root sees them.
    pub(super) async fn lease_keys(&mut self, ids: &[i64]) -> Result<LeaseKeys, Status> {
        let mut keys = LeaseKeys::new();
        for &id in ids {
            let request = pb::LeaseTimeToLiveRequest { id, keys: true };
            let request = shown(&self.tokens[0], request);
            let told = self.session.rpc.lease.lease_time_to_live(request).await?.into_inner();
            keys.insert(id, told.keys);
        }
        Ok(keys)
    }

    async fn ask_users(&mut self, token: &str, ask: Ask) -> Outcome {
        let auth = &mut self.session.auth;
        match ask {
            Ask::UserAdd(request) => other!(auth, user_add, token, request),
            Ask::UserList => other!(auth, user_list, token, pb::AuthUserListRequest {}),
            Ask::UserDelete(name) => {
                other!(auth, user_delete, token, pb::AuthUserDeleteRequest { name })
            }
            Ask::UserChangePassword(request) => {
                other!(auth, user_change_password, token, request)
            }
            Ask::UserGrantRole(request) => other!(auth, user_grant_role, token, request),
            Ask::UserRevokeRole(request) => other!(auth, user_revoke_role, token, request),
            Ask::UserGet(name) => {
                let request = shown(token, pb::AuthUserGetRequest { name });
                let mut told = auth.user_get(request).await?.into_inner();
                strip(&mut told.header);
                Ok(Answer::User(told))
            }
            Ask::AuthStatus => {
                let request = shown(token, pb::AuthStatusRequest {});
                let mut told = auth.auth_status(request).await?.into_inner();
                strip(&mut told.header);
                Ok(Answer::Status(told))
            }
            Ask::Authenticate(request) => {
                let mut told = auth.authenticate(request).await?.into_inner();
                let revision = strip(&mut told.header);
                self.tokens.push(told.token);
                Ok(Answer::Other(revision, "a token".to_owned()))
            }
            other => unreachable!("{other:?} is not about users"),
        }
    }

    async fn ask_roles(&mut self, token: &str, ask: Ask) -> Outcome {
        let auth = &mut self.session.auth;
        match ask {
            Ask::RoleAdd(name) => other!(auth, role_add, token, pb::AuthRoleAddRequest { name }),
            Ask::RoleList => other!(auth, role_list, token, pb::AuthRoleListRequest {}),
            Ask::RoleDelete(role) => {
                other!(auth, role_delete, token, pb::AuthRoleDeleteRequest { role })
            }
            Ask::RoleGrantPermission(request) => {
                other!(auth, role_grant_permission, token, request)
            }
            Ask::RoleRevokePermission(request) => {
                other!(auth, role_revoke_permission, token, request)
            }
            Ask::RoleGet(role) => {
                let request = shown(token, pb::AuthRoleGetRequest { role });
                let mut told = auth.role_get(request).await?.into_inner();
                strip(&mut told.header);
                // Sorted by their keys; those with one key come in any order.
                if told.perm.is_sorted_by_key(|perm| perm.key.clone()) {
                    told.perm.sort_by_key(|perm| (perm.key.clone(), perm.range_end.clone()));
                }
                Ok(Answer::Role(told))
            }
            other => unreachable!("{other:?} is not about roles"),
        }
    }
}

/// The remaining seconds are the clock's: any that can remain of what was
/// granted. A lease's keys come in no order.
fn without_clock(mut told: pb::LeaseTimeToLiveResponse) -> pb::LeaseTimeToLiveResponse {
    if (told.granted_ttl - 3600..=told.granted_ttl).contains(&told.ttl) {
        told.ttl = told.granted_ttl;
    }
    told.keys.sort();
    told
}
