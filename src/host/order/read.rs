//! Lines of an order read again, found by their numbers, by their ends, or by a text.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::file::Record;
use super::{Attempt, Order, OrderedLine};
use crate::logs::{Needle, Span, SpanReader, Stream};
use crate::units::Timestamp;

/// Which lines are wanted. Several conditions: those that fulfil all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this node, its instances and the nodes in it.
    pub node: Option<String>,
    /// Of this stream.
    pub stream: Option<Stream>,
    /// Read at this time or later.
    pub since: Option<Timestamp>,
}

/// Some lines, and where to go on.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Page {
    /// The lines.
    pub lines: Vec<OrderedLine>,
    /// Number behind the last line that was looked at.
    pub next: u64,
}

impl Page {
    /// The same without surplus lines, which the next page begins with.
    fn of_at_most(mut self, lines: usize) -> Self {
        if let Some(surplus) = self.lines.get(lines) {
            self.next = surplus.id;
            self.lines.truncate(lines);
        }
        self
    }
}

impl Wanted {
    /// Whether there may be wanted lines in a span.
    fn takes(&self, attempt: &Attempt, span: &Span) -> bool {
        self.takes_line(attempt, span.stream, span.at)
    }

    /// Whether lines of a node are wanted.
    #[must_use]
    pub fn takes_node(&self, path: &str) -> bool {
        let named = self.node.as_deref();
        named.is_none_or(|named| path.strip_prefix(named).is_some_and(|rest| rest.is_empty() || rest.starts_with(['[', '.'])))
    }

    /// Whether a line is wanted.
    #[must_use]
    pub fn takes_line(&self, attempt: &Attempt, stream: Stream, at: Timestamp) -> bool {
        self.takes_node(&attempt.node) && self.stream.is_none_or(|wanted| wanted == stream) && self.since.is_none_or(|since| at >= since)
    }
}

/// What an order holds at one moment.
struct View<'a> {
    order: &'a Order,
    records: u64,
    attempts: Vec<Arc<Attempt>>,
    /// The attempt whose files are open.
    open: Option<(u32, SpanReader)>,
}

impl Order {
    fn view(&self) -> View<'_> {
        let shared = self.shared();
        View { order: self, records: shared.records, attempts: shared.attempts.clone(), open: None }
    }

    /// Wanted lines from a number on: at most so many, and not many more bytes than these. What is left of a run may have fewer lines
    /// than it had; then their numbers are passed over.
    ///
    /// # Errors
    /// What the system said.
    pub fn lines(&self, from: u64, wanted: &Wanted, lines_max: usize, bytes_max: u64) -> io::Result<Page> {
        let mut view = self.view();
        let mut page = Page { lines: Vec::new(), next: from };
        let mut bytes = 0;
        view.each(from, |view, attempt, first, span| {
            if wanted.takes(&view.attempts[attempt as usize], span) {
                view.lines_of(attempt, first, span, |line| {
                    if line.id >= from && wanted.takes_line(&line.attempt, line.line.stream, line.line.at) {
                        bytes += line.line.text.len() as u64;
                        page.lines.push(line);
                    }
                })?;
            }
            page.next = first + u64::from(span.lines);
            Ok(page.lines.len() < lines_max && bytes < bytes_max)
        })?;
        Ok(page.of_at_most(lines_max))
    }

    /// The last wanted lines.
    ///
    /// # Errors
    /// What the system said.
    pub fn tail(&self, count: usize, wanted: &Wanted) -> io::Result<Page> {
        let view = self.view();
        let (mut end, mut from, mut missing) = (view.records, 1, count as u64);
        'back: while end > 0 {
            let begin = end.saturating_sub(1024);
            let block = self.reading.some(begin, end)?;
            for record in block.iter().rev() {
                if let Record::Span { attempt, first, span } = record {
                    if missing == 0 || wanted.since.is_some_and(|since| span.at < since) {
                        from = first + u64::from(span.lines);
                        break 'back;
                    }
                    if view.attempts.get(*attempt as usize).is_some_and(|attempt| wanted.takes(attempt, span)) {
                        missing = missing.saturating_sub(u64::from(span.lines));
                    }
                }
            }
            end = begin;
        }
        let mut page = self.lines(from, wanted, usize::MAX, u64::MAX)?;
        let surplus = page.lines.len().saturating_sub(count);
        page.lines.drain(..surplus);
        Ok(page)
    }

    /// Wanted lines from a number on in which a text is: at most so many, after looking at not many more bytes than these.
    ///
    /// # Errors
    /// What the system said.
    pub fn search(&self, needle: &Needle, from: u64, wanted: &Wanted, lines_max: usize, bytes_max: u64) -> io::Result<Page> {
        let mut view = self.view();
        let mut page = Page { lines: Vec::new(), next: from };
        let mut bytes = 0;
        let mut text = Vec::new();
        view.each(from, |view, attempt, first, span| {
            if wanted.takes(&view.attempts[attempt as usize], span) && !span.gap {
                text.clear();
                view.reader(attempt)?.bytes(span, |piece| {
                    text.extend_from_slice(piece);
                    true
                })?;
                bytes += span.to - span.from;
                if needle.is_in_bytes(&text) {
                    view.lines_of(attempt, first, span, |line| {
                        if line.id >= from
                            && wanted.takes_line(&line.attempt, line.line.stream, line.line.at)
                            && needle.is_in(&line.line.text)
                        {
                            page.lines.push(line);
                        }
                    })?;
                }
            }
            page.next = first + u64::from(span.lines);
            Ok(page.lines.len() < lines_max && bytes < bytes_max)
        })?;
        Ok(page.of_at_most(lines_max))
    }

    /// The raw bytes of wanted lines, one after another: gives those within a range of them to `give`, which may end it. Without `give`
    /// nothing is read. How many there are in all, at this moment.
    ///
    /// # Errors
    /// What the system said, or that bytes are not there any more.
    pub fn raw(&self, wanted: &Wanted, range: Range<u64>, mut give: impl FnMut(&[u8]) -> bool) -> io::Result<u64> {
        let mut view = self.view();
        let mut at = 0;
        view.each(1, |view, attempt, _, span| {
            if span.gap || !wanted.takes(&view.attempts[attempt as usize], span) {
                return Ok(true);
            }
            let here = at..at + (span.to - span.from);
            at = here.end;
            let part = range.start.max(here.start)..range.end.min(here.end);
            if part.start >= part.end {
                return Ok(range.end == u64::MAX || at < range.end);
            }
            let mut missing = part.end - part.start;
            let part = Span { from: span.from + (part.start - here.start), to: span.from + (part.end - here.start), ..*span };
            let mut goes_on = true;
            view.reader(attempt)?.bytes(&part, |bytes| {
                missing -= bytes.len() as u64;
                goes_on = give(bytes);
                goes_on
            })?;
            if goes_on && missing > 0 {
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "a part of the log is not kept any more"));
            }
            Ok(goes_on)
        })?;
        Ok(at)
    }
}

impl View<'_> {
    /// Goes through the spans from the one that holds a line on, until `take` says no.
    fn each(&mut self, line: u64, mut take: impl FnMut(&mut Self, u32, u64, &Span) -> io::Result<bool>) -> io::Result<()> {
        let mut at = self.order.reading.find(line, self.records)?;
        while at < self.records {
            let block = self.order.reading.some(at, self.records)?;
            at += block.len() as u64;
            for record in &block {
                if let Record::Span { attempt, first, span } = record
                    && !take(self, *attempt, *first, span)?
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn reader(&mut self, attempt: u32) -> io::Result<&mut SpanReader> {
        if self.open.as_ref().is_none_or(|(open, _)| *open != attempt) {
            self.open = Some((attempt, SpanReader::open(&self.attempts[attempt as usize].folder)?));
        }
        self.open.as_mut().map(|(_, reader)| reader).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn lines_of(&mut self, attempt: u32, first: u64, span: &Span, mut give: impl FnMut(OrderedLine)) -> io::Result<()> {
        let of = self.attempts[attempt as usize].clone();
        let end = first + u64::from(span.lines);
        let mut id = first;
        self.reader(attempt)?.lines(span, |line| {
            if id < end {
                give(OrderedLine { id, attempt: of.clone(), line });
            }
            id += 1;
        })
    }
}
