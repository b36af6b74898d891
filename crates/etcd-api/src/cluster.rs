//! The service Cluster, of a cluster of one member: it may change its peer URLs,
//! and cannot grow.
//!
//! Checks come in etcd's order and with its errors, so that an invalid request gets
//! etcd's answer; only one that would really change the membership is rejected as
//! unsupported.

use t4_node::Member;
use t4_proto::etcdserverpb as pb;
use tonic::Status;

use crate::api::Api;
use crate::errors::{ApiError, refused};
use crate::proof::Proof;

impl Api {
    pub(crate) async fn member_list(
        &self,
        request: pb::MemberListRequest,
    ) -> Result<pb::MemberListResponse, Status> {
        if request.linearizable {
            self.require_leader()?;
        }
        let members = self.node.members().into_iter().map(member).collect();
        Ok(pb::MemberListResponse { header: Some(self.header_without_revision()), members })
    }

    pub(crate) async fn member_add(
        &self,
        request: pb::MemberAddRequest,
    ) -> Result<pb::MemberAddResponse, Status> {
        check_urls(&request.peer_urls)?;
        if self.url_owner(&request.peer_urls).is_some() {
            return Err(ApiError::PeerUrlExists.status());
        }
        Err(ApiError::MembershipUnsupported.status())
    }

    pub(crate) async fn member_remove(
        &self,
        request: pb::MemberRemoveRequest,
    ) -> Result<pb::MemberRemoveResponse, Status> {
        self.existing_member(request.id)?;
        Err(ApiError::MemberNotEnoughStarted.status())
    }

    pub(crate) async fn member_update(
        &self,
        proof: &Proof,
        request: pb::MemberUpdateRequest,
    ) -> Result<pb::MemberUpdateResponse, Status> {
        // What the URLs look like comes last: etcd takes any text here.
        let existing = self.existing_member(request.id)?;
        if self.url_owner(&request.peer_urls).is_some_and(|owner| owner.id != existing.id) {
            return Err(ApiError::PeerUrlExists.status());
        }
        if existing.peer_urls != request.peer_urls {
            check_urls(&request.peer_urls)?;
            let node = self.acting(proof)?;
            let updated = node.update_member(existing.id, request.peer_urls).await;
            updated.map_err(refused)?.ok_or(ApiError::MemberNotFound)?;
        }
        let members = self.node.members().into_iter().map(member).collect();
        Ok(pb::MemberUpdateResponse { header: Some(self.header_without_revision()), members })
    }

    pub(crate) async fn member_promote(
        &self,
        request: pb::MemberPromoteRequest,
    ) -> Result<pb::MemberPromoteResponse, Status> {
        let existing = self.existing_member(request.id)?;
        if !existing.is_learner {
            return Err(ApiError::MemberNotLearner.status());
        }
        Err(ApiError::MembershipUnsupported.status())
    }

    fn existing_member(&self, id: u64) -> Result<Member, ApiError> {
        let mut members = self.node.members().into_iter();
        members.find(|member| member.id.0 == id).ok_or(ApiError::MemberNotFound)
    }

    /// A member that has one of the URLs.
    fn url_owner(&self, urls: &[String]) -> Option<Member> {
        let mut members = self.node.members().into_iter();
        members.find(|member| member.peer_urls.iter().any(|url| urls.contains(url)))
    }
}

fn member(member: Member) -> pb::Member {
    pb::Member {
        id: member.id.0,
        name: member.name,
        peer_urls: member.peer_urls,
        client_urls: member.client_urls,
        is_learner: member.is_learner,
    }
}

/// Peer URLs are a list that is not empty, of a scheme, a host and a port, and
/// nothing else; sockets of the file system have a path.
fn check_urls(urls: &[String]) -> Result<(), ApiError> {
    if urls.is_empty() || !urls.iter().all(|url| is_peer_url(url.trim())) {
        return Err(ApiError::MemberBadUrls);
    }
    Ok(())
}

fn is_peer_url(url: &str) -> bool {
    let Some((scheme, rest)) = url.split_once("://") else { return false };
    match scheme {
        "http" | "https" => {
            let authority = rest.split_once(['?', '#']).map_or(rest, |(authority, _)| authority);
            !authority.contains('/') && has_port(authority)
        }
        "unix" | "unixs" => true,
        _ => false,
    }
}

/// `host:port`; a host with colons stands in brackets.
fn has_port(authority: &str) -> bool {
    let Some((host, port)) = authority.rsplit_once(':') else { return false };
    let plain = !host.contains([':', '[', ']']);
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host_is_good = plain || bracketed.is_some_and(|host| !host.contains(['[', ']']));
    host_is_good && port.bytes().all(|digit| digit.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peer_urls() {
        for good in [
            "http://10.0.0.1:2380",
            "https://node-1.example.com:2380",
            "http://[::1]:2380",
            "unix://localhost:1",
            " http://a:1 ",
        ] {
            assert_eq!(check_urls(&[good.to_owned()]), Ok(()), "{good}");
        }
        for bad in [
            "",
            "a:1",
            "http://a",
            "http://a:1/",
            "http://a:1/path",
            "http://a:b",
            "http://::1:2380",
            "ftp://a:1",
            "://a:1",
        ] {
            let urls = ["http://a:1".to_owned(), bad.to_owned()];
            assert_eq!(check_urls(&urls), Err(ApiError::MemberBadUrls), "{bad}");
        }
        assert_eq!(check_urls(&[]), Err(ApiError::MemberBadUrls));
    }
}
