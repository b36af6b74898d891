//! What is wrong with a call before any service is asked: the frames, the head, the
//! path. The texts are grpc-go's.

use tonic::Status;

/// A message is over the limit of the receiver, in bytes.
pub(crate) fn message_too_large(found: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "grpc: received message larger than max ({found} vs. {limit})"
    ))
}

/// A message would be over the limit of what is sent, in bytes.
pub(crate) fn sent_message_too_large(found: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "grpc: trying to send message larger than max ({found} vs. {limit})"
    ))
}

/// A message is not what its method takes.
pub(crate) fn malformed_message(error: &prost::DecodeError) -> Status {
    Status::internal(format!("grpc: error unmarshalling request: {error}"))
}

/// A unary call came without its message.
pub(crate) fn missing_message() -> Status {
    Status::internal(
        "cardinality violation: received no request message from non-client-streaming RPC",
    )
}

/// A unary call came with more than one message.
pub(crate) fn surplus_message() -> Status {
    Status::internal(
        "cardinality violation: received multiple request messages for non-client-streaming RPC",
    )
}

/// The request ended inside a message.
pub(crate) fn truncated_message() -> Status {
    Status::internal("unexpected EOF")
}

/// The byte before a message's length is neither 0 nor 1.
pub(crate) fn bad_compression_flag(flag: u8) -> Status {
    Status::internal(format!("grpc: received unexpected payload format {flag}"))
}

/// A message is compressed.
pub(crate) fn compressed_message(encoding: Option<&str>) -> Status {
    match encoding {
        None | Some("identity") => {
            Status::internal("grpc: compressed flag set with identity or empty encoding")
        }
        Some(name) => Status::unimplemented(format!(
            "grpc: Decompressor is not installed for grpc-encoding {name:?}"
        )),
    }
}

/// A compressed message is over the limit, in bytes, when it is decompressed.
pub(crate) fn decompressed_too_large(limit: usize) -> Status {
    Status::resource_exhausted(format!(
        "grpc: received message after decompression larger than max {limit}"
    ))
}

/// A message is said to be compressed, and is not.
pub(crate) fn cannot_decompress(error: &std::io::Error) -> Status {
    Status::internal(format!("grpc: failed to decompress the received message: {error}"))
}

/// The metadata of a call is over the limit, in bytes.
pub(crate) fn metadata_too_large(found: usize, limit: usize) -> Status {
    Status::resource_exhausted(format!("grpc: metadata larger than max ({found} vs. {limit})"))
}

/// A client has begun more requests than there is memory for, and ended none.
pub(crate) fn too_much_unfinished() -> Status {
    Status::resource_exhausted("grpc: too many bytes in unfinished requests of this connection")
}

/// A connection has so many calls open that another one is beyond its share of
/// the memory. etcd's text, with the code that its clients have for it: they try
/// again later.
pub(crate) fn too_many_calls() -> Status {
    Status::resource_exhausted("etcdserver: too many requests")
}

/// The path of a request does not name a method.
pub(crate) fn unknown_path(path: &str, service_is_known: impl Fn(&str) -> bool) -> Status {
    let name = path.strip_prefix('/').unwrap_or(path);
    match name.rsplit_once('/') {
        None => Status::unimplemented(format!("malformed method name: {path:?}")),
        Some((service, method)) if service_is_known(service) => {
            Status::unimplemented(format!("unknown method {method} for service {service}"))
        }
        Some((service, _)) => Status::unimplemented(format!("unknown service {service}")),
    }
}

/// The `grpc-timeout` of a request is not one.
pub(crate) fn malformed_timeout(value: &[u8]) -> Status {
    let value = String::from_utf8_lossy(value);
    Status::internal(format!("malformed grpc-timeout: {value:?}"))
}

/// The request's content type is not gRPC's.
pub(crate) fn bad_content_type(value: &[u8]) -> Status {
    let value = String::from_utf8_lossy(value);
    Status::invalid_argument(format!("invalid gRPC request content-type {value:?}"))
}

/// The request's method is not POST.
pub(crate) fn not_post(method: &http::Method) -> Status {
    Status::internal(format!(
        "Received a HEADERS frame with :method {:?} which should be POST",
        method.as_str()
    ))
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn unknown_paths_are_told_in_the_words_of_grpc_go() {
        let message = |path| {
            let status = unknown_path(path, |service| service == "etcdserverpb.KV");
            assert_eq!(status.code(), Code::Unimplemented);
            status.message().to_owned()
        };
        assert_eq!(message("/nonsense"), "malformed method name: \"/nonsense\"");
        assert_eq!(message("/a.B/C"), "unknown service a.B");
        assert_eq!(
            message("/etcdserverpb.KV/Got"),
            "unknown method Got for service etcdserverpb.KV"
        );
    }
}
