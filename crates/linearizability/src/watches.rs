//! etcd's guarantees for watches: ordered, unique, reliable, atomic, resumable,
//! bookmarkable; and a watch without a start revision starts now.

use t4_kv_types::EventKind;

use crate::order::{By, Sight};
use crate::verdict::{Fault, Verdict, Violation};
use crate::{Watch, WatchEvent, WatchNews, WatchResponse};

/// The revisions that watches show.
pub(crate) fn sights(watches: &[Watch]) -> Vec<Sight> {
    let mut sights = Vec::new();
    for (index, watch) in watches.iter().enumerate() {
        let by = By::Watch(index);
        let Some((returned, revision)) = watch.created else { continue };
        let invoked = watch.invoked;
        sights.push(Sight { invoked, returned, revision: revision.0, wrote: false, by });
        for response in &watch.responses {
            // It is unknown when the server read its state, except that it was
            // before the response arrived.
            let (invoked, returned) = (0, response.at);
            sights.push(Sight { invoked, returned, revision: shown(response), wrote: false, by });
        }
    }
    sights
}

fn shown(response: &WatchResponse) -> i64 {
    let last = match &response.news {
        WatchNews::Events { events, .. } => events.last().map_or(0, |event| event.revision().0),
        _ => 0,
    };
    last.max(response.revision.0)
}

/// The server's log, with the data needed to judge watches.
#[derive(Clone, Copy)]
pub(crate) struct Log<'a> {
    pub(crate) events: &'a [WatchEvent],
    /// Previous key-values may be missing below this because they were compacted.
    pub(crate) compacted: i64,
}

/// Judges one watch. A watch without a start revision starts after `floor`, which
/// had been seen before the watch was requested, and at the latest after the
/// revision in the answer to its creation, which etcd fills in shortly after the
/// watch has started.
pub(crate) fn check(log: Log<'_>, index: usize, watch: &Watch, floor: i64, verdict: &mut Verdict) {
    let Some((_, created)) = watch.created else { return };
    let first = watch.start.map_or(floor + 1, |start| start.0);
    let mut reader = Reader {
        log,
        watch,
        place: log.events.partition_point(|event| event.revision().0 < first),
        first,
        begins_by: watch.start.map_or(created.0, |_| 0),
        delivered: 0,
        torn: false,
    };
    for response in &watch.responses {
        if let Err((fault, detail)) = reader.take(response) {
            let detail = format!("client {}: {detail}", watch.client);
            verdict.push(Violation { fault, detail, calls: Vec::new(), watches: vec![index] });
            // Everything after it is shifted.
            return;
        }
    }
}

struct Reader<'a> {
    log: Log<'a>,
    watch: &'a Watch,
    // The index of the next event of the log to compare.
    place: usize,
    first: i64,
    // Until something is delivered, the watch may start anywhere up to here.
    begins_by: i64,
    // The last delivered revision.
    delivered: i64,
    // Whether the last response was a fragment.
    torn: bool,
}

impl<'a> Reader<'a> {
    /// The next event that the watch must deliver.
    fn next(&mut self) -> Option<&'a WatchEvent> {
        let Watch { range, no_put, no_delete, .. } = self.watch;
        let events = self.log.events;
        while let Some(event) = events.get(self.place) {
            let left_out = if event.kind == EventKind::Put { *no_put } else { *no_delete };
            if !left_out && range.contains(&event.kv.key) {
                return Some(event);
            }
            self.place += 1;
        }
        None
    }

    fn take(&mut self, response: &WatchResponse) -> Result<(), (Fault, String)> {
        if self.delivered == 0 {
            self.begin(response);
        }
        match &response.news {
            WatchNews::Events { events, fragment } => self.events(response, events, *fragment),
            WatchNews::Progress => self.progress(response.revision.0),
            WatchNews::Compacted(_) => Ok(()),
        }
    }

    /// The watch has started before its first event, or by now.
    fn begin(&mut self, response: &WatchResponse) {
        let first = match &response.news {
            WatchNews::Events { events, .. } => events.first().map(WatchEvent::revision),
            _ => None,
        };
        let begun = first.map_or(i64::MAX, |first| first.0).min(self.begins_by + 1);
        let before = self.log.events.partition_point(|event| event.revision().0 < begun);
        self.place = self.place.max(before);
    }

    fn events(
        &mut self,
        response: &WatchResponse,
        events: &[WatchEvent],
        fragment: bool,
    ) -> Result<(), (Fault, String)> {
        for (number, event) in events.iter().enumerate() {
            let at = event.revision().0;
            if number == 0 && at == self.delivered && !self.torn {
                let detail = format!("revision {at} came in two responses: {event:?}");
                return Err((Fault::WatchSplit, detail));
            }
            self.event(event)?;
            self.delivered = at;
        }
        self.torn = fragment;
        let header = response.revision.0;
        if header < self.delivered {
            let detail = format!("header {header} with events up to {}", self.delivered);
            return Err((Fault::WatchHeader, detail));
        }
        let delivered = self.delivered;
        match self.next() {
            Some(rest) if rest.revision().0 == delivered && !fragment => Err((
                Fault::WatchSplit,
                format!("revision {delivered} is not whole: {rest:?} is missing"),
            )),
            _ => Ok(()),
        }
    }

    fn event(&mut self, event: &WatchEvent) -> Result<(), (Fault, String)> {
        let at = event.revision().0;
        let expected = self.next();
        let due = expected.map_or(i64::MAX, |expected| expected.revision().0);
        if at < due {
            let since = format!("from {} on, {} delivered", self.first, self.delivered);
            return Err((Fault::WatchExtra, format!("{event:?} is not due ({since})")));
        }
        let Some(expected) = expected else { return Ok(()) };
        if at > due {
            return Err((Fault::WatchMissed, format!("{event:?} came, {expected:?} did not")));
        }
        if event.kv.key != expected.kv.key {
            let detail = format!("{event:?} came where {expected:?} is due");
            return Err((Fault::WatchExtra, detail));
        }
        self.same(event, expected)?;
        self.place += 1;
        Ok(())
    }

    fn same(&self, event: &WatchEvent, expected: &WatchEvent) -> Result<(), (Fault, String)> {
        let prev_kv = match (&event.prev_kv, &expected.prev_kv) {
            (None, None) => true,
            (None, Some(_)) => !self.watch.prev_kv || event.revision().0 <= self.log.compacted,
            (Some(_), None) => event.revision().0 <= self.log.compacted,
            (Some(event), Some(expected)) => event == expected,
        };
        if event.kind == expected.kind && event.kv == expected.kv && prev_kv {
            return Ok(());
        }
        Err((Fault::WatchEvent, format!("{event:?} should be {expected:?}")))
    }

    fn progress(&mut self, revision: i64) -> Result<(), (Fault, String)> {
        match self.next() {
            Some(event) if event.revision().0 <= revision => Err((
                Fault::WatchMissed,
                format!("progress {revision}, and {event:?} did not come"),
            )),
            _ => Ok(()),
        }
    }
}
