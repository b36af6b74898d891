//! The metadata of a call that the server understands, except for its credentials
//! (`proof`).

use std::time::Duration;

use http::HeaderMap;
use tonic::Status;

use crate::errors::{self, ApiError};
use crate::stats::{ClientVersions, VersionSlot};
use crate::wire::{self, Encoding};

/// What a call's metadata says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Metadata {
    /// `hasleader: true`: no leader, no service.
    pub(crate) requires_leader: bool,
    /// `grpc-timeout`: how long the client waits.
    pub(crate) timeout: Option<Duration>,
    /// `grpc-encoding`: how messages may be compressed, those of the answer too.
    pub(crate) encoding: Encoding,
    /// `client-api-version`, counted. `None`: it is not UTF-8.
    version: Option<VersionSlot>,
}

impl Metadata {
    /// Reads what a request's headers say.
    ///
    /// # Errors
    /// The headers are not those of a gRPC call that can be served.
    pub(crate) fn read(headers: &HeaderMap, versions: &ClientVersions) -> Result<Self, Status> {
        let timeout = match headers.get("grpc-timeout") {
            None => None,
            Some(value) => Some(
                wire::parse_timeout(value.as_bytes())
                    .ok_or_else(|| errors::malformed_timeout(value.as_bytes()))?,
            ),
        };
        Ok(Metadata {
            encoding: encoding(headers)?,
            requires_leader: headers.get("hasleader").is_some_and(|value| value == "true"),
            timeout,
            version: match headers.get("client-api-version") {
                None => Some(versions.slot("unknown")),
                Some(value) => {
                    std::str::from_utf8(value.as_bytes()).ok().map(|version| versions.slot(version))
                }
            },
        })
    }

    /// Which client version the call counts for.
    ///
    /// # Errors
    /// [`ApiError::InvalidClientApiVersion`].
    pub(crate) fn client_version(&self) -> Result<VersionSlot, ApiError> {
        self.version.ok_or(ApiError::InvalidClientApiVersion)
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Status> {
    let Some(name) = headers.get(wire::GRPC_ENCODING) else { return Ok(Encoding::Identity) };
    Encoding::named(name.as_bytes())
        .ok_or_else(|| errors::compressed_message(Some(&String::from_utf8_lossy(name.as_bytes()))))
}

/// The size of headers as HTTP/2 counts it: 32 bytes more than each says.
pub(crate) fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(entries: &[(&'static str, &[u8])]) -> Result<Metadata, Status> {
        let mut headers = HeaderMap::new();
        for (name, value) in entries {
            headers.insert(*name, HeaderValue::from_bytes(value).unwrap());
        }
        Metadata::read(&headers, &ClientVersions::default())
    }

    #[test]
    fn nothing_is_required_of_a_call() {
        let metadata = read(&[]).unwrap();
        assert!(!metadata.requires_leader && metadata.timeout.is_none());
        assert!(metadata.client_version().is_ok());
    }

    #[test]
    fn what_is_said_is_understood() {
        let metadata = read(&[
            ("hasleader", b"true"),
            ("grpc-timeout", b"5S"),
            ("grpc-encoding", b"identity"),
            ("client-api-version", b"3.8"),
        ])
        .unwrap();
        assert!(metadata.requires_leader);
        assert_eq!(metadata.encoding, Encoding::Identity);
        assert_eq!(read(&[("grpc-encoding", b"gzip")]).unwrap().encoding, Encoding::Gzip);
        assert_eq!(metadata.timeout, Some(Duration::from_secs(5)));
        assert!(!read(&[("hasleader", b"yes")]).unwrap().requires_leader);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let version = read(&[("client-api-version", b"\xff\xfe")]).unwrap();
        assert_eq!(version.client_version(), Err(ApiError::InvalidClientApiVersion));
        let timeout = read(&[("grpc-timeout", b"soon")]).unwrap_err();
        assert_eq!(timeout.message(), "malformed grpc-timeout: \"soon\"");
        let snappy = read(&[("grpc-encoding", b"snappy")]).unwrap_err();
        assert_eq!(snappy.code(), tonic::Code::Unimplemented);
    }
}
