//! gRPC over HTTP/2 bodies, from the server's side: frames, deadlines,
//! response bodies. Nothing in here knows etcd.
//!
//! The generated servers would do, but they copy each request, allocate 16 KiB
//! of buffers and several boxes per call, and answer what is malformed with
//! other codes and texts than the servers that clients of etcd have met.

mod body;
mod compression;
mod deadline;
mod frame;
mod request;

pub use body::ResponseBody;
pub(crate) use body::{Outlet, error_response, streaming_response, unary_response};
pub(crate) use compression::{Encoding, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, GZIP};
pub(crate) use deadline::{parse_timeout, within};
pub(crate) use frame::{
    Answer, FRAME_HEADER_BYTES, Framed, check_sent, encode_frame, put_frame_header,
};
pub(crate) use request::{Reading, Requests, decode, read_unary};
