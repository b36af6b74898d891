//! A new `t4 etcd` has the ids that etcd gives to these flags; one that is
//! there keeps its own.

use t4_proto::etcdserverpb::MemberListRequest;
use t4_testkit::{Etcd, EtcdOptions, Rpc};

use crate::{EtcdCommand, runtime};

/// The ids of the cluster and of its member, and the member's peer URL.
fn ids(endpoint: &str) -> (u64, u64, String) {
    runtime().block_on(async {
        let mut rpc = Rpc::connect(endpoint).await.expect("connect");
        let request = MemberListRequest { linearizable: true };
        let list = rpc.cluster.member_list(request).await.expect("members").into_inner();
        let header = list.header.expect("a header");
        let [member] = &list.members[..] else { panic!("{:?}", list.members) };
        assert_eq!(member.id, header.member_id);
        (header.cluster_id, member.id, member.peer_urls[0].clone())
    })
}

#[test]
fn the_same_flags_give_the_same_ids() {
    for token in ["etcd-cluster", "another-token"] {
        let flags = vec![format!("--initial-cluster-token={token}")];
        let etcd = Etcd::start(EtcdOptions { fsync: false, flags, ..EtcdOptions::default() });
        let etcd = etcd.expect("etcd");
        let (cluster, member, peer) = ids(etcd.endpoint());
        let t4 = EtcdCommand::start(&[
            "--name=default",
            &format!("--listen-peer-urls={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
            &format!("--initial-cluster=default={peer}"),
            &format!("--initial-cluster-token={token}"),
        ]);
        assert_eq!(ids(&t4.endpoint), (cluster, member, peer));
    }
}
