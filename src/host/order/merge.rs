//! What several attempts wrote before anybody looked, put into one order by its times.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io;

use crate::logs::{Span, Spans};
use crate::units::{DurationMs, Timestamp};

/// Attempts that wrote at the same time take turns about so often: as often as somebody who followed them would have seen it.
const TURN: DurationMs = DurationMs(100);
/// Spans that are handed over at a time.
const SPANS_MAX: usize = 4096;

/// An attempt with what was read of it and not handed over.
struct Source<'a> {
    at: usize,
    spans: &'a mut Spans,
    over: bool,
    ready: VecDeque<Span>,
    more: bool,
}

impl Source<'_> {
    /// The time of its next span; none at its end for now, and after an error.
    fn next_at(&mut self, errors: &mut Vec<(usize, io::Error)>) -> Option<Timestamp> {
        while self.ready.is_empty() && self.more {
            let Self { spans, ready, over, .. } = self;
            self.more = spans.read(*over, false, |span, _| ready.push_back(span)).unwrap_or_else(|error| {
                errors.push((self.at, error));
                false
            });
        }
        self.ready.front().map(|span| span.at)
    }
}

/// Reads attempts, each with whether it is over, to their ends and gives their spans in order, with the place of the attempt in the list.
/// Every span that was read is given, also after an error; gives the attempts that could not be read to their ends.
pub(super) fn merge<'a>(
    attempts: impl Iterator<Item = (usize, &'a mut Spans, bool)>,
    mut give: impl FnMut(&mut Vec<(usize, Span)>),
) -> Vec<(usize, io::Error)> {
    let mut errors = Vec::new();
    let mut sources: Vec<Source<'_>> =
        attempts.map(|(at, spans, over)| Source { at, spans, over, ready: VecDeque::new(), more: true }).collect();
    let mut heap = BinaryHeap::new();
    for (place, source) in sources.iter_mut().enumerate() {
        heap.extend(source.next_at(&mut errors).map(|at| Reverse((at, place))));
    }
    let mut spans = Vec::new();
    while let Some(Reverse((_, place))) = heap.pop() {
        let source = &mut sources[place];
        let until = heap.peek().map(|Reverse((at, _))| at.plus(TURN));
        while let Some(at) = source.next_at(&mut errors) {
            if until.is_some_and(|until| at > until) {
                heap.push(Reverse((at, place)));
                break;
            }
            spans.extend(source.ready.pop_front().map(|span| (source.at, span)));
            if spans.len() >= SPANS_MAX {
                give(&mut spans);
            }
        }
    }
    give(&mut spans);
    errors
}
