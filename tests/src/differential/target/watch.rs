//! Watch operations on a server.

use t4_proto::etcdserverpb::watch_request::RequestUnion;
use t4_proto::etcdserverpb::{
    WatchCancelRequest, WatchCreateRequest, WatchProgressRequest, WatchRequest, WatchResponse,
};

use super::super::answer::{Answer, Refusal};
use super::super::watches::WatchStream;
use super::{Outcome, Target};

impl Target {
    pub(super) async fn watch_create(
        &mut self,
        stream: u32,
        request: WatchCreateRequest,
        controls: usize,
    ) -> Outcome {
        let request = RequestUnion::CreateRequest(request);
        self.watch_send(stream, Some(request)).await?;
        self.watch_controls(stream, controls).await
    }

    pub(super) async fn watch_cancel(&mut self, stream: u32, id: i64, controls: usize) -> Outcome {
        let request = RequestUnion::CancelRequest(WatchCancelRequest { watch_id: id });
        self.watch_send(stream, Some(request)).await?;
        self.watch_controls(stream, controls).await
    }

    pub(super) async fn watch_progress(&mut self, stream: u32) -> Outcome {
        let request = RequestUnion::ProgressRequest(WatchProgressRequest {});
        self.watch_send(stream, Some(request)).await?;
        self.watch_controls(stream, 1).await
    }

    pub(super) async fn watch_nothing(&mut self, stream: u32) -> Outcome {
        self.watch_send(stream, None).await?;
        Ok(Answer::Watched(Vec::new()))
    }

    pub(super) async fn watch_join(&mut self, stream: u32, id: i64, upto: i64) -> Outcome {
        let patience = self.patience;
        let Some(open) = self.streams.get_mut(&stream) else { return Ok(not_open()) };
        match open.join(id, upto, patience).await {
            Some(events) => Ok(Answer::Events(events?)),
            None => Ok(Answer::Silence(format!("no event at revision {upto} or later"))),
        }
    }

    pub(super) async fn watch_close(&mut self, stream: u32) -> Outcome {
        let Some(open) = self.streams.remove(&stream) else { return Ok(not_open()) };
        let (controls, mut violations, ended) = open.close();
        if let Some(Refusal { code, text }) = ended {
            violations.push(format!("the stream ended with {code}: {text}"));
        }
        Ok(Answer::Closed(controls, violations))
    }

    async fn watch_send(
        &mut self,
        stream: u32,
        union: Option<RequestUnion>,
    ) -> Result<(), Refusal> {
        let request = WatchRequest { request_union: union };
        if let Some(open) = self.streams.get(&stream) {
            open.send(request).await;
            return Ok(());
        }
        let opened = WatchStream::open(&mut self.rpc, self.identity, request).await?;
        self.streams.insert(stream, opened);
        Ok(())
    }

    async fn watch_controls(&mut self, stream: u32, count: usize) -> Outcome {
        let patience = self.patience;
        let Some(open) = self.streams.get_mut(&stream) else { return Ok(not_open()) };
        if count == 0 {
            return Ok(Answer::Watched(Vec::<WatchResponse>::new()));
        }
        match open.controls(count, patience).await {
            Some(controls) => Ok(Answer::Watched(controls?)),
            None => Ok(Answer::Silence(format!("fewer than {count} responses"))),
        }
    }
}

// Only a shortened sequence closes or joins what it never opened.
fn not_open() -> Answer {
    Answer::Watched(Vec::new())
}
