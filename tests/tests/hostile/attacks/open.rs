//! Much that is begun, and neither ended nor read: connections, calls, bodies,
//! answers, watchers.

use std::time::Duration;

use anyhow::{Context, ensure};
use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{WatchCreateRequest, WatchRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::{Held, PUT, RANGE, WATCH};
use crate::frames::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PING, SETTINGS, call, call_headers, frame, hello,
};
use crate::raw::{RawConnection, framed, next_chunk};
use crate::server::{Stream, Target};
use crate::{DEADLINE, get, get_prefix, put};

pub(super) const SLOW_HEADS: u64 = 100;
pub(super) const IDLE_CONNECTIONS: u64 = 500;
pub(super) const ANNOUNCED: u32 = 4_000;
const UNFINISHED: usize = 600;
const UNFINISHED_BYTES: usize = 500_000;
/// How long a server may take to have read what it will read of bodies: a
/// connection whose window is full answers nothing.
const BODIES_DEADLINE: Duration = Duration::from_secs(2);

const WATCH_CONNECTIONS: usize = 10;
const WATCH_STREAMS: usize = 10;
const WATCHERS_PER_STREAM: usize = 1_000;
pub(super) const WATCHERS: u64 = (WATCH_CONNECTIONS * WATCH_STREAMS * WATCHERS_PER_STREAM) as u64;

/// Heads of calls that come byte by byte, and never as a whole.
pub(super) async fn slow_heads(target: Target) -> anyhow::Result<Held> {
    let mut slow = greeted(&target, SLOW_HEADS).await?;
    let call = call(1, RANGE);
    for byte in &call[..call.len() / 2] {
        for raw in &mut slow {
            raw.write_all(&[*byte]).await?;
            raw.flush().await?;
        }
    }
    Ok(Box::new(slow))
}

pub(super) async fn idle_connections(target: Target) -> anyhow::Result<Held> {
    Ok(Box::new(greeted(&target, IDLE_CONNECTIONS).await?))
}

/// Connections that are being served.
async fn greeted(target: &Target, count: u64) -> anyhow::Result<Vec<Box<dyn Stream>>> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = target.stream().await?;
        stream.write_all(&hello()).await?;
        // The head of its settings.
        stream.read_exact(&mut [0; 9]).await?;
        streams.push(stream);
    }
    Ok(streams)
}

/// Calls of which there is only the head.
pub(super) async fn open_calls(target: Target, calls: u32) -> anyhow::Result<Held> {
    let head = call_headers(RANGE);
    let all = (0..calls).flat_map(|number| frame(HEADERS, END_HEADERS, 2 * number + 1, &head));
    say(&target, [hello(), all.collect()].concat()).await
}

/// Calls of a client that opens no window, or one byte of it.
pub(super) async fn closed_windows(
    target: Target,
    window: u32,
    calls: u32,
) -> anyhow::Result<Held> {
    let mut rpc = target.try_rpc().await?;
    rpc.kv.put(put("value", vec![7; 100 << 10])).await?;
    // SETTINGS_INITIAL_WINDOW_SIZE.
    let closed = frame(SETTINGS, 0, 0, &[&[0, 4][..], &window.to_be_bytes()].concat());
    let (head, body) = (call_headers(RANGE), framed(&get("value")));
    let all = (0..calls).flat_map(|number| {
        let stream = 2 * number + 1;
        let begun = frame(HEADERS, END_HEADERS, stream, &head);
        [begun, frame(DATA, END_STREAM, stream, &body)].concat()
    });
    say(&target, [hello(), closed, all.collect()].concat()).await
}

/// Bodies that announce 1.5 MB, and bring ten bytes.
pub(super) async fn announced_bodies(target: Target) -> anyhow::Result<Held> {
    let announced = [&[0][..], &1_500_000_u32.to_be_bytes(), &[7; 10]].concat();
    let head = call_headers(PUT);
    let all = (0..ANNOUNCED).flat_map(|number| {
        let stream = 2 * number + 1;
        let begun = frame(HEADERS, END_HEADERS, stream, &head);
        [begun, frame(DATA, 0, stream, &announced)].concat()
    });
    say(&target, [hello(), all.collect()].concat()).await
}

/// Says all of it on one connection, and returns when the server has read it.
async fn say(target: &Target, said: Vec<u8>) -> anyhow::Result<Held> {
    const LAST: &[u8; 8] = b"all read";
    let (mut ear, mut mouth) = tokio::io::split(target.stream().await?);
    // What it answers to the call is heard meanwhile, so that no buffer is full.
    let hearing = tokio::spawn(async move {
        let mut heard = Vec::new();
        while !heard.windows(LAST.len()).any(|bytes| bytes == LAST) {
            let mut buffer = vec![0; 64 << 10];
            let length = ear.read(&mut buffer).await?;
            ensure!(length > 0, "the connection is closed");
            let kept = heard.len().saturating_sub(LAST.len());
            heard.drain(..kept);
            heard.extend_from_slice(&buffer[..length]);
        }
        anyhow::Ok(ear)
    });
    mouth.write_all(&[said, frame(PING, 0, 0, LAST)].concat()).await?;
    mouth.flush().await?;
    let ear = tokio::time::timeout(DEADLINE, hearing).await.context("nothing is read")???;
    Ok(Box::new((ear, mouth)))
}

/// Bodies of which a third has come.
pub(super) async fn unfinished_bodies(target: Target) -> anyhow::Result<Held> {
    let raw = RawConnection::try_open(&target).await?;
    let begun = [&[0][..], &1_500_000_u32.to_be_bytes(), &vec![7; UNFINISHED_BYTES]].concat();
    let mut open = Vec::new();
    for _ in 0..UNFINISHED {
        let (response, mut request) = raw.try_begin(PUT, &[]).await?;
        // An error: it is refused already.
        let _ = request.send_data(begun.clone().into(), false);
        open.push((response, request));
    }
    let behind = raw.call(PUT, &[], framed(&put("k", [1])));
    let _ = tokio::time::timeout(BODIES_DEADLINE, behind).await;
    Ok(Box::new((raw, open)))
}

/// Lists that are begun and not read.
pub(super) async fn unread(
    target: Target,
    connections: usize,
    calls: usize,
    path: &str,
) -> anyhow::Result<Held> {
    let mut all = Vec::new();
    for _ in 0..connections {
        let raw = RawConnection::try_open(&target).await?;
        let mut lists = Vec::new();
        for _ in 0..calls {
            let (response, mut request) = raw.try_begin(path, &[]).await?;
            request.send_data(framed(&get_prefix("v/")).into(), true)?;
            lists.push(response);
        }
        all.push((raw, lists));
    }
    Ok(Box::new(all))
}

/// Many watchers on many streams, all of which have been created.
pub(super) async fn watchers(target: Target) -> anyhow::Result<Held> {
    let mut held = Vec::new();
    let mut creating = JoinSet::new();
    for connection in 0..WATCH_CONNECTIONS {
        let raw = RawConnection::try_open(&target).await?;
        for stream in 0..WATCH_STREAMS {
            let (response, mut requests) = raw.try_begin(WATCH, &[]).await?;
            for watcher in 0..WATCHERS_PER_STREAM {
                let key = format!("watched/{connection}/{stream}/{watcher}").into();
                let create = WatchCreateRequest { key, ..Default::default() };
                let union = Some(RequestUnion::CreateRequest(create));
                let request = framed(&WatchRequest { request_union: union });
                requests.send_data(request.into(), false)?;
            }
            creating.spawn(async move {
                let mut body = response.await?.into_body();
                let (mut created, mut come) = (0, Vec::new());
                while created < WATCHERS_PER_STREAM {
                    let chunk = next_chunk(&mut body).await?.context("the stream ends")?;
                    come.extend_from_slice(&chunk);
                    created += drain_messages(&mut come);
                }
                anyhow::Ok((requests, body))
            });
        }
        held.push(raw);
    }
    let mut streams = Vec::new();
    while let Some(created) = creating.join_next().await {
        streams.push(created??);
    }
    Ok(Box::new((held, streams)))
}

/// Takes out the messages that are there as a whole; says how many.
fn drain_messages(come: &mut Vec<u8>) -> usize {
    let (mut count, mut rest) = (0, &come[..]);
    while let Some(&[_, a, b, c, d]) = rest.first_chunk::<5>() {
        let end = 5 + u32::from_be_bytes([a, b, c, d]) as usize;
        let Some(after) = rest.get(end..) else { break };
        (rest, count) = (after, count + 1);
    }
    *come = rest.to_vec();
    count
}
