//! The reference: the real etcd, the oracle beside it, and what both say must be
//! answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail, ensure};
use t4_proto::etcdserverpb as pb;
use t4_proto::v3lockpb::UnlockRequest;
use t4_testkit::Rng;
use tonic::Code;

use super::LEASES;
use super::answer::{Answer, Refusal};
use super::ask::{Actor, Ask, Episode, ROOT, place};
use super::generate::Generator;
use super::known::Known;
use super::old_line;
use super::rights::{LeaseKeys, Rights, Who};
use super::server::Server;

/// A request, and what must be answered.
pub(super) struct Step {
    pub(super) actor: Actor,
    /// Whose token that is.
    pub(super) who: Who,
    pub(super) ask: Ask,
    pub(super) want: Answer,
    /// What is known of users and roles, to be shown with a difference.
    pub(super) rights: Arc<Rights>,
}

pub(super) struct Reference {
    server: Server,
    known: Known,
    generator: Generator,
    /// How many changes of users and roles it was asked for besides those that
    /// T4 is asked for.
    more_changes: u64,
    /// How often each kind of request was answered how.
    pub(super) seen: BTreeMap<String, u32>,
}

impl Reference {
    pub(super) fn new(server: Server, rng: Rng) -> Reference {
        let (known, generator) = (Known::new(), Generator::new(rng));
        Reference { server, known, generator, more_changes: 0, seen: BTreeMap::new() }
    }

    /// Draws a request, and finds out what must be answered.
    ///
    /// # Errors
    /// etcd and the oracle disagree, where no difference is known.
    pub(super) async fn step(&mut self) -> anyhow::Result<Step> {
        let (actor, ask) = self.generator.next(&self.known);
        let ask = self.without_waiting(ask).await?;
        let (who, rights) = (self.known.who(actor), self.known.rights.clone());
        let want = self.answer(actor, &who, &ask).await;
        let want = want.with_context(|| format!("{who:?} asks {ask:?}\n{:#?}", self.known))?;
        let then = self.known.observe(&ask, &want);
        self.generator.plan(then);
        Ok(Step { actor, who, ask, want, rights })
    }

    /// A lock that somebody else holds is given up instead of waited for.
    async fn without_waiting(&mut self, ask: Ask) -> anyhow::Result<Ask> {
        let Ask::Lock(request) = &ask else { return Ok(ask) };
        let own = place(&request.name, request.lease);
        let queued = self.server.queued(&request.name).await.context("who holds a lock")?;
        match queued.into_iter().find(|key| *key != own) {
            Some(key) => Ok(Ask::Unlock(UnlockRequest { key })),
            None => Ok(ask),
        }
    }

    async fn answer(&mut self, actor: Actor, who: &Who, ask: &Ask) -> anyhow::Result<Answer> {
        if let Ask::Watch(episode) = ask {
            return self.watch(actor, who, episode).await;
        }
        let leases = match ask.names_leases() {
            true => self.server.lease_keys(&LEASES).await.context("the keys of leases")?,
            false => LeaseKeys::new(),
        };
        let refusal = self.known.rights.refusal(who, ask, &leases);
        let is_let_through = refusal.is_some() && !old_line::refuses(who, ask);
        let want = match refusal {
            None => self.allowed(actor, who, ask).await?,
            Some(refusal) if is_let_through => self.unasked(ask, refusal).await?,
            Some(refusal) => self.refused(actor, ask, refusal).await?,
        };
        let by = if is_let_through { " by the oracle alone" } else { "" };
        self.count(&format!("{} {}{by}", ask.kind(), outcome(&want)));
        Ok(want)
    }

    /// What the oracle lets pass.
    async fn allowed(&mut self, actor: Actor, who: &Who, ask: &Ask) -> anyhow::Result<Answer> {
        let answer = match ask {
            Ask::RoleGrantPermission(request) if old_line::keeps_what_is_no_permission(request) => {
                Answer::Refused(Refusal::invalid_management())
            }
            Ask::RoleGrantPermission(request) => self.grant(actor, ask, request).await?,
            Ask::AuthStatus => self.status(who).await?,
            _ => self.server.perform(actor, ask).await,
        };
        match answer.refusal() {
            Some(refusal) if refusal.code == Code::PermissionDenied => {
                // Nothing has happened: whoever may ask for anything is told.
                ensure!(old_line::has_keyless_range(ask), "allowed, but etcd: {refusal:?}");
                Ok(self.server.perform(ROOT, ask).await)
            }
            _ => Ok(answer),
        }
    }

    /// What both etcd and the oracle refuse.
    async fn refused(
        &mut self,
        actor: Actor,
        ask: &Ask,
        refusal: Refusal,
    ) -> anyhow::Result<Answer> {
        let answer = self.server.perform(actor, ask).await;
        match answer.refusal() {
            None => bail!("{refusal:?} expected, but etcd: {answer:?}"),
            Some(other) if other.is_for_want_of_rights() => {
                ensure!(*other == refusal, "{refusal:?} expected, but etcd: {other:?}");
            }
            // What is wrong in itself is told first.
            Some(_) => ensure!(ask.is_of_keys(), "{refusal:?} expected, but etcd: {answer:?}"),
        }
        Ok(answer)
    }

    /// What the oracle refuses and 3.5.1 would do. Whether it is wrong in itself
    /// it tells before it looks at a token, even at one that is not good.
    async fn unasked(&mut self, ask: &Ask, refusal: Refusal) -> anyhow::Result<Answer> {
        if ask.is_of_keys() {
            let answer = self.server.perform(Actor::Forger, ask).await;
            let wrong = answer.refusal().context("a forged token was good")?;
            if *wrong != Refusal::invalid_token() {
                return Ok(answer);
            }
        }
        Ok(Answer::Refused(refusal))
    }

    /// If a role has several permissions with one key, 3.5.1 may add a second one
    /// on the same range, and keeps both; today's replaces it. So it is taken
    /// from it before.
    async fn grant(
        &mut self,
        actor: Actor,
        ask: &Ask,
        request: &pb::AuthRoleGrantPermissionRequest,
    ) -> anyhow::Result<Answer> {
        if let Some(perm) = &request.perm
            && let Some(held) = self.known.rights.roles.get(&request.name)
        {
            let same_key: Vec<_> = held.iter().filter(|held| held.key == perm.key).collect();
            let is_held = same_key.iter().any(|held| held.range_end == perm.range_end);
            if is_held && same_key.len() > 1 {
                let (key, range_end) = (perm.key.clone(), perm.range_end.clone());
                let role = request.name.clone();
                let revocation = pb::AuthRoleRevokePermissionRequest { role, key, range_end };
                let revocation = Ask::RoleRevokePermission(revocation);
                let revoked = self.server.perform(actor, &revocation).await;
                ensure!(revoked.refusal().is_none(), "{revocation:?}: {revoked:?}");
                self.more_changes += 1;
                self.count("RoleGrantPermission after a revocation");
            }
        }
        Ok(self.server.perform(actor, ask).await)
    }

    /// 3.5.1 tells it root alone, today's everybody whose token is good.
    async fn status(&mut self, who: &Who) -> anyhow::Result<Answer> {
        if *who == Who::Forger {
            return Ok(self.server.perform(Actor::Forger, &Ask::AuthStatus).await);
        }
        match self.server.perform(ROOT, &Ask::AuthStatus).await {
            Answer::Status(mut told) => {
                told.auth_revision -= self.more_changes;
                Ok(Answer::Status(told))
            }
            other => bail!("etcd tells root of its status: {other:?}"),
        }
    }

    async fn watch(
        &mut self,
        actor: Actor,
        who: &Who,
        episode: &Episode,
    ) -> anyhow::Result<Answer> {
        let rulings: Vec<Option<Refusal>> = episode
            .creates
            .iter()
            .map(|it| self.known.rights.refusal_to_watch(who, &it.key, &it.range_end))
            .collect();
        let answer = self.server.perform_watch(actor, episode, &rulings).await;
        for (create, ruling) in episode.creates.iter().zip(&rulings) {
            let range = match () {
                () if old_line::is_keyless_watch(create) => " of no keys",
                () if old_line::lets_watch(create) => " without an end",
                () => "",
            };
            let how = match ruling {
                None => "served",
                Some(refusal) if *refusal == Refusal::permission_denied() => "denied",
                Some(_) => "denied to a stranger",
            };
            self.count(&format!("Watch{range} {how}"));
        }
        match answer {
            Answer::Watched(_) => Ok(answer),
            other => bail!("etcd does not watch: {other:?}"),
        }
    }

    fn count(&mut self, what: &str) {
        *self.seen.entry(what.to_owned()).or_default() += 1;
    }
}

fn outcome(answer: &Answer) -> &'static str {
    match answer.refusal() {
        None => "served",
        Some(refusal) if *refusal == Refusal::permission_denied() => "denied",
        Some(refusal) if refusal.is_for_want_of_rights() => "denied to a stranger",
        Some(_) => "in vain",
    }
}
