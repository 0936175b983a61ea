//! A client of a run's log: what it has seen, and what comes next for it.

use std::sync::Arc;

use axum::body::Bytes;
use futures_util::{Stream, stream};
use serde_json::json;
use tokio::sync::watch;

use super::batch::Batch;
use super::ring::At;
use super::sse::{COMMENT, GREETING, KEEP_ALIVE, event};
use super::{Hub, Slot, Streams};
use crate::api::error::ApiError;
use crate::event::RunStatus;
use crate::host::order::Wanted;

/// Lines and bytes read from the disk at a time.
const LINES_MAX: usize = 1000;
const BYTES_MAX: u64 = 32 << 10;

/// What a client asked for.
#[derive(Debug, Default)]
pub(in crate::api) struct Asked {
    /// The first line.
    pub(in crate::api) from: u64,
    /// Which lines.
    pub(in crate::api) wanted: Wanted,
    /// In arrays.
    pub(in crate::api) batch: bool,
    /// The stream ends with the run.
    pub(in crate::api) close: bool,
}

struct Client {
    streams: Arc<Streams>,
    hub: Arc<Hub>,
    bell: watch::Receiver<()>,
    asked: Asked,
    next: u64,
    stage: Stage,
    _slot: Slot,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    /// The place that was asked for may not exist.
    Checking,
    Lines,
    /// The end of the run was told.
    Ended,
    Over,
}

/// The events for a client.
pub(in crate::api) fn events(streams: Arc<Streams>, hub: Arc<Hub>, asked: Asked, slot: Slot) -> impl Stream<Item = Bytes> + Send {
    let (bell, next) = (hub.listen(), asked.from.max(1));
    let client = Client { streams, hub, bell, asked, next, stage: Stage::Greeting, _slot: slot };
    stream::unfold(client, |mut client| async move { client.step().await.map(|bytes| (bytes, client)) })
}

impl Client {
    /// What is sent next; none at the end.
    async fn step(&mut self) -> Option<Bytes> {
        match self.stage {
            Stage::Greeting => {
                self.stage = if self.next > 1 { Stage::Checking } else { Stage::Lines };
                return Some(Bytes::from_static(GREETING.as_bytes()));
            }
            Stage::Checking => {
                self.stage = Stage::Lines;
                let extent = self.hub.caught_up().await;
                if self.next > extent.last.saturating_add(1) {
                    let reason = format!("there is no line {} yet, so the place is of another log: all lines follow", self.next - 1);
                    self.next = 1;
                    return Some(event("reset", Some(0), &json!({ "reason": reason })));
                }
            }
            Stage::Lines | Stage::Ended => {}
            Stage::Over => return None,
        }
        loop {
            self.bell.borrow_and_update();
            match self.hub.at(self.next) {
                At::Here(batch) => {
                    let events = batch.events(self.next, &self.asked.wanted, self.asked.batch);
                    self.next = batch.last() + 1;
                    if events.is_some() {
                        return events;
                    }
                }
                At::Before => match self.read().await {
                    Ok(Some(bytes)) => return Some(bytes),
                    Ok(None) => {}
                    Err(error) => {
                        self.stage = Stage::Over;
                        return Some(event("error", None, error.reply()));
                    }
                },
                At::Ahead => {
                    if let Some(status) = self.ended() {
                        return self.end(status).await;
                    }
                    if self.hub.has_left() {
                        return None;
                    }
                    if !self.news().await {
                        return Some(Bytes::from_static(COMMENT.as_bytes()));
                    }
                }
            }
        }
    }

    /// How the run ended, if the client has seen everything of it.
    fn ended(&self) -> Option<RunStatus> {
        let extent = self.hub.extent();
        extent.ended.filter(|_| extent.last == self.hub.last())
    }

    async fn end(&mut self, status: RunStatus) -> Option<Bytes> {
        if self.stage != Stage::Ended {
            self.stage = if self.asked.close { Stage::Over } else { Stage::Ended };
            return Some(event("end", None, &json!({ "status": status })));
        }
        // It is kept open: a browser would come again and again to one that is closed.
        tokio::time::sleep(KEEP_ALIVE).await;
        Some(Bytes::from_static(COMMENT.as_bytes()))
    }

    /// Waits for something new; false where it is time for a comment.
    async fn news(&mut self) -> bool {
        tokio::time::timeout(KEEP_ALIVE, self.bell.changed()).await.is_ok_and(|changed| changed.is_ok())
    }

    /// Reads what is no longer in the ring.
    async fn read(&mut self) -> Result<Option<Bytes>, ApiError> {
        let Some(order) = self.hub.order().cloned() else { return Ok(None) };
        let (next, wanted) = (self.next, self.asked.wanted.clone());
        let page = self.streams.reading(move || order.lines(next, &wanted, LINES_MAX, BYTES_MAX)).await??;
        // Lines that were lost have left their numbers behind.
        self.next = page.next.max(self.next + 1);
        let texts: Vec<Bytes> =
            Batch::of(page.lines).iter().filter_map(|batch| batch.events(0, &Wanted::default(), self.asked.batch)).collect();
        Ok((!texts.is_empty()).then(|| texts.concat().into()))
    }
}
