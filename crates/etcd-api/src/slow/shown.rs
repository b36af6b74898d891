//! The text of a request, as etcd's logs have it: the fields of the message,
//! keys escaped, sizes in the place of values. It is bounded, whatever the
//! request is.

use std::fmt::Write as _;

use bytes::Bytes;
use prost::Message;
use t4_proto::etcdserverpb as pb;
use t4_proto::etcdserverpb::compare::CompareTarget;
use t4_proto::etcdserverpb::request_op::Request;

use crate::method::Method;

/// How much of a key is shown.
const KEY_BYTES_MAX: usize = 128;
/// How many entries of each list of a transaction are shown.
const LISTED_MAX: usize = 8;
/// How much of it all is shown.
const TEXT_BYTES_MAX: usize = 4096;
/// How deep transactions are shown.
const DEPTH_MAX: usize = 2;

/// Whether the log may show what a request of this method asks for: not if
/// it may contain a password, a token, or the value of a lock's holder.
pub(crate) fn can_be_shown(method: Method) -> bool {
    matches!(
        method,
        Method::Range
            | Method::Put
            | Method::Txn
            | Method::DeleteRange
            | Method::Compact
            | Method::LeaseGrant
            | Method::LeaseRevoke
            | Method::LeaseTimeToLive
    )
}

/// The text of a request of that method; empty where nothing may be shown.
pub(super) fn request(method: Method, encoded: &Bytes) -> String {
    let mut text = Text::default();
    if !can_be_shown(method) {
        return text.0;
    }
    match method {
        Method::Range => text.decoded(encoded, Text::range),
        Method::Put => text.decoded(encoded, Text::put),
        Method::DeleteRange => text.decoded(encoded, Text::delete_range),
        Method::Txn => text.decoded(encoded, |text, txn| text.txn(txn, 0)),
        Method::Compact => text.decoded(encoded, |text, it: &pb::CompactionRequest| {
            text.number("revision", it.revision);
            text.flag("physical", it.physical);
        }),
        Method::LeaseGrant => text.decoded(encoded, |text, it: &pb::LeaseGrantRequest| {
            text.number("TTL", it.ttl);
            text.number("ID", it.id);
        }),
        Method::LeaseRevoke => text.decoded(encoded, |text, it: &pb::LeaseRevokeRequest| {
            text.number("ID", it.id);
        }),
        Method::LeaseTimeToLive => {
            text.decoded(encoded, |text, it: &pb::LeaseTimeToLiveRequest| {
                text.number("ID", it.id);
                text.flag("keys", it.keys);
            })
        }
        _ => {}
    }
    text.0.truncate(text.0.trim_end().len());
    if text.0.len() > TEXT_BYTES_MAX {
        text.0.truncate(text.0.floor_char_boundary(TEXT_BYTES_MAX));
        text.0.push('…');
    }
    text.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    fn decoded<M: Message + Default>(&mut self, encoded: &Bytes, show: impl FnOnce(&mut Self, &M)) {
        if let Ok(message) = M::decode(encoded.clone()) {
            show(self, &message);
        }
    }

    fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = write!(self.0, "{name}:{value} ");
    }

    /// As protobuf's text has it: what has its default is left out.
    fn number(&mut self, name: &str, value: i64) {
        if value != 0 {
            self.field(name, value);
        }
    }

    fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.field(name, true);
        }
    }

    fn key(&mut self, name: &str, key: &[u8]) {
        if key.is_empty() {
            return;
        }
        let shown = key[..key.len().min(KEY_BYTES_MAX)].escape_ascii();
        let cut = if key.len() > KEY_BYTES_MAX { "…" } else { "" };
        let _ = write!(self.0, "{name}:\"{shown}{cut}\" ");
    }

    fn within(&mut self, name: &str, show: impl FnOnce(&mut Self)) {
        let _ = write!(self.0, "{name}:<");
        show(self);
        self.0.truncate(self.0.trim_end().len());
        self.0.push_str("> ");
    }

    fn range(&mut self, it: &pb::RangeRequest) {
        self.key("key", &it.key);
        self.key("range_end", &it.range_end);
        self.number("limit", it.limit);
        self.number("revision", it.revision);
        self.number("sort_order", it.sort_order.into());
        self.number("sort_target", it.sort_target.into());
        self.flag("serializable", it.serializable);
        self.flag("keys_only", it.keys_only);
        self.flag("count_only", it.count_only);
    }

    fn put(&mut self, it: &pb::PutRequest) {
        self.key("key", &it.key);
        self.field("value_size", it.value.len());
        self.number("lease", it.lease);
        self.flag("prev_kv", it.prev_kv);
    }

    fn delete_range(&mut self, it: &pb::DeleteRangeRequest) {
        self.key("key", &it.key);
        self.key("range_end", &it.range_end);
        self.flag("prev_kv", it.prev_kv);
    }

    fn txn(&mut self, it: &pb::TxnRequest, depth: usize) {
        if depth >= DEPTH_MAX {
            self.0.push('…');
            return;
        }
        self.list("compare", &it.compare, |text, compare| text.compare(compare));
        self.list("success", &it.success, |text, op| text.op(op, depth));
        self.list("failure", &it.failure, |text, op| text.op(op, depth));
    }

    fn list<T>(&mut self, name: &str, all: &[T], mut show: impl FnMut(&mut Self, &T)) {
        for one in all.iter().take(LISTED_MAX) {
            self.within(name, |text| show(text, one));
        }
        if all.len() > LISTED_MAX {
            let _ = write!(self.0, "{name}:…{} more ", all.len() - LISTED_MAX);
        }
    }

    fn compare(&mut self, it: &pb::Compare) {
        let target = match CompareTarget::try_from(it.target) {
            Ok(CompareTarget::Version) => "VERSION",
            Ok(CompareTarget::Create) => "CREATE",
            Ok(CompareTarget::Mod) => "MOD",
            Ok(CompareTarget::Value) => "VALUE",
            Ok(CompareTarget::Lease) => "LEASE",
            Err(_) => "?",
        };
        self.field("target", target);
        self.key("key", &it.key);
        self.key("range_end", &it.range_end);
    }

    fn op(&mut self, op: &pb::RequestOp, depth: usize) {
        match &op.request {
            Some(Request::RequestRange(it)) => self.within("request_range", |text| text.range(it)),
            Some(Request::RequestPut(it)) => self.within("request_put", |text| text.put(it)),
            Some(Request::RequestDeleteRange(it)) => {
                self.within("request_delete_range", |text| text.delete_range(it));
            }
            Some(Request::RequestTxn(it)) => {
                self.within("request_txn", |text| text.txn(it, depth + 1));
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(method: Method, message: &impl Message) -> String {
        request(method, &message.encode_to_vec().into())
    }

    fn put(value: &str) -> pb::PutRequest {
        pb::PutRequest { key: "k\n".into(), value: value.to_owned().into(), ..Default::default() }
    }

    #[test]
    fn values_are_never_shown() {
        assert_eq!(shown(Method::Put, &put("secret")), r#"key:"k\n" value_size:6"#);
        let compare = pb::Compare {
            target: CompareTarget::Value.into(),
            key: "k".into(),
            target_union: Some(pb::compare::TargetUnion::Value("secret".into())),
            ..Default::default()
        };
        let op = pb::RequestOp { request: Some(Request::RequestPut(put("secret"))) };
        let txn = pb::TxnRequest {
            compare: vec![compare],
            success: vec![op.clone()],
            failure: Vec::new(),
        };
        assert_eq!(
            shown(Method::Txn, &txn),
            r#"compare:<target:VALUE key:"k"> success:<request_put:<key:"k\n" value_size:6>>"#
        );
        let nested = pb::RequestOp { request: Some(Request::RequestTxn(txn)) };
        let outer = pb::TxnRequest { failure: vec![nested], ..Default::default() };
        assert!(!shown(Method::Txn, &outer).contains("secret"));
    }

    #[test]
    fn passwords_are_not_read() {
        let login = pb::AuthenticateRequest { name: "alice".into(), password: "secret".into() };
        assert_eq!(shown(Method::Authenticate, &login), "");
        for method in Method::ALL.iter().filter(|it| it.service().ends_with("Auth")) {
            assert!(!can_be_shown(*method), "{method:?}");
        }
    }

    #[test]
    fn the_text_is_bounded() {
        let long = pb::PutRequest { key: vec![b'\0'; 300].into(), ..Default::default() };
        let long = pb::RequestOp { request: Some(Request::RequestPut(long)) };
        let mut txn = pb::TxnRequest { success: vec![long; 100], ..Default::default() };
        let text = shown(Method::Txn, &txn);
        assert!(text.len() <= TEXT_BYTES_MAX + '…'.len_utf8(), "{}", text.len());
        assert!(text.ends_with('…'), "{text}");
        for _ in 0..2 {
            let nested = pb::RequestOp { request: Some(Request::RequestTxn(txn)) };
            txn = pb::TxnRequest { success: vec![nested; 12], ..Default::default() };
            let text = shown(Method::Txn, &txn);
            assert!(text.len() <= TEXT_BYTES_MAX + '…'.len_utf8(), "{}", text.len());
        }
        let many = pb::RequestOp { request: Some(Request::RequestPut(put("v"))) };
        let many = pb::TxnRequest { success: vec![many; 12], ..Default::default() };
        assert!(shown(Method::Txn, &many).ends_with("success:…4 more"));
    }

    #[test]
    fn numbers_and_flags_as_in_protobufs_text() {
        let range = pb::RangeRequest {
            key: "a".into(),
            range_end: "b".into(),
            limit: 3,
            serializable: true,
            ..Default::default()
        };
        assert_eq!(
            shown(Method::Range, &range),
            r#"key:"a" range_end:"b" limit:3 serializable:true"#
        );
        let compact = pb::CompactionRequest { revision: 5, physical: true };
        assert_eq!(shown(Method::Compact, &compact), "revision:5 physical:true");
    }
}
