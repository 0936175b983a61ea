//! What waits for a follower that reads slower than its run goes on, or not at all: a terminal that was stopped, a dead link.
//!
//! Bounded, so that nobody's stillness costs the host its memory. Who falls behind too far is told to come again, and is told anew
//! then how the run is. Knows nothing of HTTP.

use tokio::sync::mpsc::{Receiver, channel};

use crate::host::FollowSink;
use crate::host::update::Update;

/// Updates that wait for one follower; about two mebibytes. A burst of a large run passes through, since it is read meanwhile.
pub(super) const WAITING_MAX: usize = 8192;

/// A follower's queue: what the host puts updates into, and what they are read from.
pub(super) fn backlog(waiting_max: usize) -> (FollowSink, Receiver<Update>) {
    // One place more than wanted: for the last word to somebody who fell behind.
    let (sender, receiver) = channel(waiting_max + 1);
    let sink = move |update: Update| {
        let room = sender.capacity();
        // Hints that there is more to read are worth nothing to somebody who does not even read the hints.
        let is_hint = matches!(update, Update::Output { .. } | Update::Progress { .. });
        if is_hint && room <= waiting_max / 2 {
            return !sender.is_closed();
        }
        if room <= 1 {
            // A dropped receiver needs no word.
            let _ = sender.try_send(Update::Leaving);
            return false;
        }
        sender.try_send(update).is_ok()
    };
    (Box::new(sink), receiver)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hint() -> Update {
        Update::Output { node: "a".into(), folder: "/x".into() }
    }

    fn failed() -> Update {
        Update::Failed { reason: "x".into() }
    }

    #[test]
    fn f48_a_follower_that_never_reads_is_sent_away() {
        let (sink, mut receiver) = backlog(4);
        assert!((0..100).all(|_| sink(hint())), "hints are dropped, not the follower");
        let taken = (0..100).take_while(|_| sink(failed())).count();
        assert!(taken <= 4, "{taken} updates were taken");
        assert!(!sink(failed()), "the host forgets it");
        let mut last = None;
        while let Ok(update) = receiver.try_recv() {
            last = Some(update);
        }
        assert!(matches!(last, Some(Update::Leaving)), "the last word says to come again: {last:?}");
    }

    #[test]
    fn who_reads_gets_everything() {
        let (sink, mut receiver) = backlog(4);
        for _ in 0..100 {
            assert!(sink(failed()));
            assert!(matches!(receiver.try_recv(), Ok(Update::Failed { .. })));
        }
        drop(receiver);
        assert!(!sink(failed()), "nobody listens any more");
    }
}
