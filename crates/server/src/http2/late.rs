//! Clients that are still sending when they have their answer.
//!
//! A request that is refused by its head or its first bytes is answered at
//! once, and the client is told to stop sending. What is on its way by then is
//! no fault of it. The library forgets streams that are over, and counts each
//! frame on one that it has forgotten against the whole connection. So a stream
//! is listened to, for a while, after its answer.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use h2::RecvStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::body::poll_chunk;

/// How long a client may take to stop.
const PATIENCE: Duration = Duration::from_secs(5);
/// Streams of a connection that are listened to at a time. Beyond that they are
/// reset; those that we reset are known for another while.
const AT_A_TIME: usize = 1024;

/// The streams of one connection.
#[derive(Clone)]
pub(super) struct LateBodies {
    places: Arc<Semaphore>,
    drain: watch::Receiver<bool>,
}

impl LateBodies {
    /// Nobody is listened to once `drain` turns true.
    pub(super) fn new(drain: watch::Receiver<bool>) -> Self {
        LateBodies { places: Arc::new(Semaphore::new(AT_A_TIME)), drain }
    }

    /// Takes what still comes on a stream, and throws it away.
    pub(super) fn hear_out(&self, stream: RecvStream) {
        let Ok(place) = self.places.clone().try_acquire_owned() else { return };
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(listen(stream, place, self.drain.clone()));
        }
    }
}

async fn listen(
    mut stream: RecvStream,
    place: OwnedSemaphorePermit,
    mut drain: watch::Receiver<bool>,
) {
    let to_the_end =
        async { while let Some(Ok(_)) = poll_fn(|cx| poll_chunk(&mut stream, cx)).await {} };
    tokio::select! {
        () = to_the_end => {}
        () = tokio::time::sleep(PATIENCE) => {}
        _ = drain.wait_for(|drain| *drain) => {}
    }
    drop(place);
}
