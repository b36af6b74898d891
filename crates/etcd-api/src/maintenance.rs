//! The service Maintenance. Its stream, Snapshot, is refused in `dispatch`.

use t4_kv_types::{AlarmKind, NodeId, Revision};
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::alarm_request::AlarmAction;
use t4_proto::etcdserverpb::downgrade_request::DowngradeAction;
use tonic::Status;

use crate::api::Api;
use crate::config::ETCD_VERSION;
use crate::errors::{ApiError, refused};
use crate::proof::Proof;

impl Api {
    pub(crate) async fn alarm(
        &self,
        proof: &Proof,
        request: pb::AlarmRequest,
    ) -> Result<pb::AlarmResponse, Status> {
        if AlarmAction::try_from(request.action) != Ok(AlarmAction::Get) {
            self.require_admin(proof)?;
        }
        let member = NodeId(request.member_id);
        let unknown = |_| ApiError::UnknownAlarm.status();
        let action = AlarmAction::try_from(request.action).map_err(unknown)?;
        // NONE is never on.
        let kind = match pb::AlarmType::try_from(request.alarm).map_err(unknown)? {
            pb::AlarmType::None => None,
            pb::AlarmType::Nospace => Some(AlarmKind::NoSpace),
            pb::AlarmType::Corrupt => Some(AlarmKind::Corrupt),
        };
        let alarms = match (action, kind) {
            (AlarmAction::Get, None) => self.node.alarms(),
            (AlarmAction::Get, Some(kind)) => {
                self.node.alarms().into_iter().filter(|(_, on)| *on == kind).collect()
            }
            (AlarmAction::Activate, Some(kind)) => {
                self.acting(proof)?.set_alarm(member, kind, true).await.map_err(refused)?;
                vec![(member, kind)]
            }
            (AlarmAction::Deactivate, Some(kind)) => {
                self.acting(proof)?.set_alarm(member, kind, false).await.map_err(refused)?
            }
            (AlarmAction::Activate | AlarmAction::Deactivate, None) => vec![],
        };
        Ok(pb::AlarmResponse {
            header: Some(self.header_now()),
            alarms: alarms.into_iter().map(alarm_member).collect(),
        })
    }

    pub(crate) async fn status(&self, _: pb::StatusRequest) -> Result<pb::StatusResponse, Status> {
        let status = self.node.status();
        let mut errors = Vec::new();
        if status.leader.0 == 0 {
            errors.push(ApiError::NoLeader.text().to_owned());
        }
        errors.extend(status.alarms.iter().map(|alarm| alarm_text(*alarm)));
        Ok(pb::StatusResponse {
            header: Some(self.header(status.revision)),
            version: ETCD_VERSION.to_owned(),
            db_size: signed(status.size()),
            leader: status.leader.0,
            raft_index: status.log_index.0,
            raft_term: status.epoch.0,
            raft_applied_index: status.applied_index.0,
            errors,
            db_size_in_use: signed(status.size_in_use()),
            is_learner: false,
            storage_version: ETCD_VERSION.to_owned(),
            db_size_quota: status.quota_bytes.map_or(0, signed),
            downgrade_info: Some(pb::DowngradeInfo::default()),
        })
    }

    /// Space comes back by itself, so there is nothing to do; the answer has
    /// no header, as etcd's.
    pub(crate) async fn defragment(
        &self,
        _: pb::DefragmentRequest,
    ) -> Result<pb::DefragmentResponse, Status> {
        Ok(pb::DefragmentResponse { header: None })
    }

    /// etcd hashes its file; here it is the hash of all history.
    pub(crate) async fn hash(&self, _: pb::HashRequest) -> Result<pb::HashResponse, Status> {
        let found = self.node.hash().await.map_err(refused)?;
        Ok(pb::HashResponse { header: Some(self.header(found.revision)), hash: found.hash })
    }

    pub(crate) async fn hash_kv(
        &self,
        request: pb::HashKvRequest,
    ) -> Result<pb::HashKvResponse, Status> {
        let found = self.node.hash_kv(Revision(request.revision)).await.map_err(refused)?;
        Ok(pb::HashKvResponse {
            header: Some(self.header(found.revision)),
            hash: found.hash,
            compact_revision: found.compact_revision,
            hash_revision: found.hash_revision,
        })
    }

    pub(crate) async fn move_leader(
        &self,
        request: pb::MoveLeaderRequest,
    ) -> Result<pb::MoveLeaderResponse, Status> {
        let status = self.node.status();
        if status.leader != self.node.identity().member_id {
            return Err(ApiError::NotLeader.status());
        }
        let target = self.node.members().into_iter().find(|it| it.id.0 == request.target_id);
        match target {
            Some(target) if target.id == status.leader => {
                Ok(pb::MoveLeaderResponse { header: None })
            }
            Some(target) if !target.is_learner => Err(ApiError::MembershipUnsupported.status()),
            _ => Err(ApiError::BadLeaderTransferee.status()),
        }
    }

    pub(crate) async fn downgrade(
        &self,
        request: pb::DowngradeRequest,
    ) -> Result<pb::DowngradeResponse, Status> {
        match DowngradeAction::try_from(request.action) {
            Ok(DowngradeAction::Validate) => {
                check_downgrade(&request.version)?;
                Ok(self.version_as_it_is())
            }
            Ok(DowngradeAction::Enable) => {
                check_downgrade(&request.version)?;
                Err(ApiError::DowngradeUnsupported.status())
            }
            // There is none under way, and since 3.6 that is no error to etcd.
            Ok(DowngradeAction::Cancel) => Ok(self.version_as_it_is()),
            Err(_) => Err(ApiError::UnknownMethod.status()),
        }
    }

    fn version_as_it_is(&self) -> pb::DowngradeResponse {
        let (major, minor) = cluster_version();
        pb::DowngradeResponse {
            header: Some(self.header_now()),
            version: format!("{major}.{minor}"),
        }
    }
}

fn alarm_type(kind: AlarmKind) -> pb::AlarmType {
    match kind {
        AlarmKind::NoSpace => pb::AlarmType::Nospace,
        AlarmKind::Corrupt => pb::AlarmType::Corrupt,
    }
}

fn alarm_member((member, kind): (NodeId, AlarmKind)) -> pb::AlarmMember {
    pb::AlarmMember { member_id: member.0, alarm: alarm_type(kind).into() }
}

/// An alarm as etcd prints it among the errors of a member.
fn alarm_text((member, kind): (NodeId, AlarmKind)) -> String {
    format!("memberID:{member} alarm:{}", alarm_type(kind).as_str_name())
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Major and minor of the version that is followed.
fn cluster_version() -> (u64, u64) {
    parse_version(ETCD_VERSION).expect("our own version is one")
}

/// Only the minor version below can be gone back to.
fn check_downgrade(target: &str) -> Result<(), ApiError> {
    let (major, minor) = parse_version(target).ok_or(ApiError::WrongDowngradeVersionFormat)?;
    let (own_major, own_minor) = cluster_version();
    if major == own_major && minor.checked_add(1) == Some(own_minor) {
        Ok(())
    } else {
        Err(ApiError::InvalidDowngradeTargetVersion)
    }
}

/// Major and minor of `major.minor` or `major.minor.patch`; what follows a `-`
/// or `+` is left aside.
fn parse_version(text: &str) -> Option<(u64, u64)> {
    let plain = text.split(['-', '+']).next()?;
    let mut parts = plain.split('.').map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|digit| digit.is_ascii_digit());
        if digits { part.parse::<u64>().ok() } else { None }
    });
    let (major, minor) = (parts.next()??, parts.next()??);
    match (parts.next(), parts.next()) {
        (None | Some(Some(_)), None) => Some((major, minor)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn downgrades_go_one_minor_version_back() {
        assert_eq!(check_downgrade("3.6.0"), Ok(()));
        assert_eq!(check_downgrade("3.6"), Ok(()));
        assert_eq!(check_downgrade("3.6.4-rc.1"), Ok(()));
        for target in ["3.7.0", "3.5.0", "4.6.0", "3.18446744073709551615.0"] {
            assert!(check_downgrade(target).is_err(), "{target}");
        }
        for target in ["", "3", "three", "3.x", "3.6.0.1", "3.6.", "-3.6"] {
            let wrong = ApiError::WrongDowngradeVersionFormat;
            assert_eq!(check_downgrade(target), Err(wrong), "{target}");
        }
    }

    #[test]
    fn alarms_read_as_those_of_etcd() {
        let text = alarm_text((NodeId(7), AlarmKind::NoSpace));
        assert_eq!(text, "memberID:7 alarm:NOSPACE");
    }
}
