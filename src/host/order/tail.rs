//! The thread that continues a run's order: what attempts wrote becomes records as the host learns of it, and is told to who follows.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::file::{Reading, Writing};
use super::merge::merge;
use super::sources::Seen;
use super::{News, NewsSink, Order, OrderError, OrderedLine, Shared};
use crate::attempt::AttemptFolder;
use crate::event::RunStatus;
use crate::host::clock;
use crate::host::handle::{CommandError, Handle};
use crate::host::update::Update;
use crate::ids::{AttemptNumber, RunId};
use crate::logs::{Span, Spans};
use crate::run::NodeStatus;

/// After the first news more are waited for, so that lines go together. The index of a log and the way here add some milliseconds.
const GATHER: Duration = Duration::from_millis(20);
/// How often running attempts are looked at that nobody told of: their engine may not know of each line.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often it is asked whether anybody still wants to know, and whether a full disk has room again.
const ASK_EVERY: Duration = Duration::from_secs(1);

impl Order {
    /// Opens the order of a run and continues it until it has ended, and then until `sink` wants nothing more. A process may do this
    /// once for a run at a time, and only the host may do it.
    ///
    /// # Errors
    /// When there is no such run, nothing is left of it, or its folder cannot be written to.
    pub fn follow(handle: &Handle, run: &RunId, sink: NewsSink) -> Result<Arc<Self>, OrderError> {
        let (sender, updates) = mpsc::channel();
        // First of all, so that nothing is missed that the sources do not tell.
        let followed = match handle.follow(run, Box::new(move |update| sender.send(update).is_ok())) {
            Ok(()) => true,
            // The sources say more, and a host that can write nothing down lets nobody follow but can be looked at.
            Err(CommandError::UnknownRun(_) | CommandError::Journal(_) | CommandError::DiskFull(_)) => false,
            Err(other) => return Err(other.into()),
        };
        let sources = handle.log_sources(run)?;
        let folder = handle.workspace().run(run);
        let (writing, ends) = Writing::open(&folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => OrderError::Gone(format!("the folder of run {run} is gone, and its logs with it")),
            _ => OrderError::Io(error),
        })?;
        let order = Arc::new(Self { run: run.clone(), reading: Reading::open(&folder)?, shared: Mutex::new(Shared::default()), folder });
        let mut tail = Tail {
            order: order.clone(),
            writing,
            attempts: Vec::new(),
            known: BTreeMap::new(),
            open: BTreeSet::new(),
            dirty: BTreeSet::new(),
            looked: Instant::now(),
            unsaved: Vec::new(),
            ended: sources.ended,
            sink,
            updates: followed.then_some(updates),
            asked: Instant::now(),
        };
        for (attempt, ends) in tail.writing.attempts.clone().iter().zip(ends) {
            let spans = Spans::after(&attempt.folder, ends);
            tail.known.insert((attempt.node.clone(), attempt.attempt), tail.attempts.len());
            tail.open.insert(tail.attempts.len());
            let place = u32::try_from(tail.attempts.len()).ok();
            // Over, until somebody says that it runs.
            tail.attempts.push(Tailed { node: attempt.node.clone(), attempt: attempt.attempt, place, spans: Some(spans), over: true });
        }
        sources.attempts.into_iter().for_each(|seen| tail.saw(seen));
        tail.show();
        std::thread::Builder::new().name("order".into()).spawn(move || tail.run())?;
        Ok(order)
    }
}

/// An attempt whose output is followed.
struct Tailed {
    node: String,
    attempt: AttemptNumber,
    /// Its place among the names of the file; none before it wrote anything.
    place: Option<u32>,
    /// None once everything of it is in the order.
    spans: Option<Spans>,
    over: bool,
}

struct Tail {
    order: Arc<Order>,
    writing: Writing,
    attempts: Vec<Tailed>,
    known: BTreeMap<(String, AttemptNumber), usize>,
    /// Those of which something may still come, and of these the ones that somebody told of.
    open: BTreeSet<usize>,
    dirty: BTreeSet<usize>,
    /// When all open ones were looked at last.
    looked: Instant,
    /// Spans that were read and could not be written.
    unsaved: Vec<(usize, Span)>,
    ended: Option<RunStatus>,
    sink: NewsSink,
    /// None where the host lets nobody follow.
    updates: Option<mpsc::Receiver<Update>>,
    asked: Instant,
}

impl Tail {
    fn run(mut self) {
        match if self.writing.ended.is_none() { self.catch_up() } else { Ok(()) } {
            Ok(()) => self.advance(),
            Err(error) => self.in_trouble(&error),
        }
        let mut goes_on = (self.sink)(Some(News::Changed));
        while goes_on && self.writing.ended.is_none() {
            goes_on = self.wait() && self.is_wanted();
            if goes_on {
                self.advance();
            }
        }
        while goes_on {
            std::thread::sleep(ASK_EVERY);
            goes_on = (self.sink)(None);
        }
    }

    /// Orders what was written before anybody looked.
    fn catch_up(&mut self) -> io::Result<()> {
        let mut sources: Vec<(usize, Spans, bool)> = Vec::new();
        for (at, tailed) in self.attempts.iter_mut().enumerate() {
            sources.extend(tailed.spans.take().map(|spans| (at, spans, tailed.over)));
        }
        let borrowed = sources.iter_mut().map(|(at, spans, over)| (*at, spans, *over));
        let mut saved = Ok(());
        let errors = merge(borrowed, |spans| {
            self.unsaved.append(spans);
            saved = self.save();
            self.tell(News::Lines(Vec::new()));
        });
        for (at, spans, over) in sources {
            self.attempts[at].spans = Some(spans);
            if over && errors.iter().all(|(failed, _)| *failed != at) {
                self.close(at);
            }
        }
        saved?;
        errors.into_iter().next().map_or(Ok(()), |(_, error)| Err(error))
    }

    /// Takes what is new. Of a run that has ended the end is in it too before anybody is told that everything is.
    fn advance(&mut self) {
        match self.pass().and_then(|()| self.end()) {
            Ok(()) => {
                let mut shared = self.order.shared();
                (shared.extent.trouble, shared.extent.caught_up) = (None, true);
            }
            Err(error) => self.in_trouble(&error),
        }
    }

    /// Takes what is new.
    fn pass(&mut self) -> io::Result<()> {
        if !self.unsaved.is_empty() {
            self.save()?;
            self.tell(News::Lines(Vec::new()));
        }
        if self.looked.elapsed() >= LOOK_EVERY || self.ended.is_some() {
            self.looked = Instant::now();
            self.dirty.clone_from(&self.open);
        }
        while let Some(at) = self.dirty.pop_first() {
            let over = self.attempts[at].over;
            let Some(mut spans) = self.attempts[at].spans.take() else { continue };
            let taken = self.take(at, &mut spans, over);
            self.attempts[at].spans = Some(spans);
            taken?;
            if over {
                self.close(at);
            }
        }
        Ok(())
    }

    /// Everything of an attempt is in the order.
    fn close(&mut self, at: usize) {
        self.attempts[at].spans = None;
        self.open.remove(&at);
    }

    fn take(&mut self, at: usize, spans: &mut Spans, over: bool) -> io::Result<()> {
        loop {
            let mut lines = Vec::new();
            let unsaved = &mut self.unsaved;
            let more = spans.read(over, true, |span, texts| {
                unsaved.push((at, span));
                lines.extend(texts);
            })?;
            if !self.unsaved.is_empty() {
                let mut id = self.writing.next;
                self.save()?;
                let place = self.attempts[at].place.and_then(|place| usize::try_from(place).ok());
                if let Some(attempt) = place.and_then(|place| self.writing.attempts.get(place)) {
                    let number = |line| {
                        id += 1;
                        OrderedLine { id: id - 1, attempt: attempt.clone(), line }
                    };
                    let lines = lines.into_iter().map(number).collect();
                    self.tell(News::Lines(lines));
                }
            }
            if !more {
                return Ok(());
            }
        }
    }

    /// Writes what was read into the file, and shows that it is there.
    fn save(&mut self) -> io::Result<()> {
        let mut named = Vec::with_capacity(self.unsaved.len());
        for (at, span) in &self.unsaved {
            let tailed = &mut self.attempts[*at];
            let place = match tailed.place {
                Some(place) => place,
                None => *tailed.place.insert(self.writing.add(&tailed.node, tailed.attempt)?),
            };
            named.push((place, *span));
        }
        self.writing.append(&named)?;
        self.unsaved.clear();
        self.show();
        Ok(())
    }

    /// Ends the order with the run.
    fn end(&mut self) -> io::Result<()> {
        if self.writing.ended.is_some() {
            return Ok(());
        }
        let drained = self.unsaved.is_empty() && self.open.is_empty();
        let Some(status) = self.ended.filter(|_| drained) else { return Ok(()) };
        self.writing.end(status, clock::wall())?;
        self.show();
        self.tell(News::Changed);
        Ok(())
    }

    /// Waits for news, and for those that come with them; whether the host is still there.
    fn wait(&mut self) -> bool {
        let troubled = self.order.shared().extent.trouble.is_some();
        let patience = if troubled || self.open.is_empty() { ASK_EVERY } else { LOOK_EVERY };
        let Some(updates) = &self.updates else {
            std::thread::sleep(ASK_EVERY);
            return true;
        };
        let mut deadline = Instant::now() + patience;
        let mut gathered = Vec::new();
        let mut left = false;
        loop {
            match updates.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Update::Leaving | Update::Failed { .. }) => left = true,
                Ok(update) => {
                    if gathered.is_empty() {
                        deadline = Instant::now() + GATHER;
                    }
                    gathered.push(update);
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => {
                    left |= self.ended.is_none() && !gathered.iter().any(|update| matches!(update, Update::Ended(_)));
                    if gathered.is_empty() && !left {
                        // The run has ended, and only the disk is in the way.
                        std::thread::sleep(patience);
                    }
                    break;
                }
            }
        }
        gathered.into_iter().for_each(|update| self.update(update));
        if left {
            self.tell(News::Left);
        }
        !left
    }

    fn update(&mut self, update: Update) {
        match update {
            Update::Node(change) => {
                if let Some(attempt) = change.attempt {
                    let over = change.status != NodeStatus::Running.as_str();
                    self.saw(Seen { node: change.node, attempt, over });
                }
            }
            Update::Output { node, .. } => {
                let attempts = self.known.range((node.clone(), AttemptNumber(0))..=(node, AttemptNumber(u32::MAX)));
                self.dirty.extend(attempts.map(|(_, at)| *at).filter(|at| self.open.contains(at)));
            }
            Update::Ended(row) => {
                self.open.iter().for_each(|at| self.attempts[*at].over = true);
                self.ended = Some(row.status);
            }
            Update::Run(_) | Update::Progress { .. } | Update::Host(_) | Update::Disk(_) | Update::Failed { .. } | Update::Leaving => {}
        }
    }

    /// An attempt is there; those before it are over.
    fn saw(&mut self, seen: Seen) {
        let Seen { node, attempt, over } = seen;
        if let Some(at) = self.known.get(&(node.clone(), attempt)).copied() {
            self.attempts[at].over = over;
            self.dirty.extend(Some(at).filter(|at| self.open.contains(at)));
            return;
        }
        for (_, earlier) in self.known.range((node.clone(), AttemptNumber(0))..(node.clone(), attempt)) {
            self.attempts[*earlier].over = true;
            self.dirty.extend(Some(*earlier).filter(|at| self.open.contains(at)));
        }
        let folder = AttemptFolder::new(&self.order.folder, &node, attempt);
        let at = self.attempts.len();
        self.known.insert((node.clone(), attempt), at);
        self.open.insert(at);
        self.dirty.insert(at);
        self.attempts.push(Tailed { node, attempt, place: None, spans: Some(Spans::after(folder.path(), [0, 0])), over });
    }

    fn is_wanted(&mut self) -> bool {
        if self.asked.elapsed() < ASK_EVERY {
            return true;
        }
        self.asked = Instant::now();
        (self.sink)(None)
    }

    /// Whether anybody wants more is asked once a second.
    fn tell(&mut self, news: News) -> bool {
        (self.sink)(Some(news))
    }

    fn in_trouble(&mut self, error: &io::Error) {
        let text = error.to_string();
        tracing::warn!(run = %self.order.run, error = text, "the order of a run's log cannot be continued now");
        self.order.shared().extent.trouble = Some(text);
        self.tell(News::Changed);
    }

    fn show(&self) {
        let mut shared = self.order.shared();
        shared.records = self.writing.count;
        shared.extent.last = self.writing.next - 1;
        shared.extent.ended = self.writing.ended;
        if shared.attempts.len() < self.writing.attempts.len() {
            let known = shared.attempts.len();
            shared.attempts.extend_from_slice(&self.writing.attempts[known..]);
        }
    }
}
