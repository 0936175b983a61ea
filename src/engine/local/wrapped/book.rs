//! The wrapped attempts of this host that are not over, and what is to be done for them.
//!
//! Reports come under numbers that this host gives; a number is never given twice. Only data: who waits for what is in `mod.rs`.

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::super::super::{Left, Spec};
use super::super::control::Stops;
use super::system::{Homes, Nest, Watch};
use crate::attempt::{AttemptFolder, ProgressReader};
use crate::ids::AttemptId;

/// An attempt.
pub(super) struct Entry {
    pub(super) left: Left,
    pub(super) folder: AttemptFolder,
    pub(super) phase: Phase,
    /// The stops that were asked for.
    pub(super) stops: Stops,
    /// A stop could not be delivered, and is tried again.
    pub(super) undelivered: bool,
    /// Since when this host knows of it.
    pub(super) since: Instant,
    /// Shared, so that its file is read without holding up the book.
    pub(super) progress: Arc<Mutex<ProgressReader>>,
    /// Bytes of output that the host was told of.
    pub(super) announced: u64,
    /// The longest variable of its environment, for the words about a start that failed.
    pub(super) longest_variable: Option<(OsString, usize)>,
    /// How often a wrapper was sent for.
    pub(super) tries: u32,
}

/// How far it is.
pub(super) enum Phase {
    /// Not handed over: a stop now prevents it.
    Queued(Box<Spec>),
    /// A wrapper is on its way to it, out of this nest.
    Hatched { nest: u64, spec: Box<Spec> },
    /// Its wrapper has said that the module runs.
    Running {
        /// Which nursery it is a child of.
        #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "elsewhere each wrapper is a child of the host"))]
        nest: u64,
    },
    /// Its wrapper is not ours: its end is seen by the watch.
    Adopted(Watch),
    /// An earlier host's; nobody has looked yet.
    Found,
    /// Somebody prepares it, or works out how it ended.
    Ending,
}

/// What the thread that prepares has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Start(u64),
    Adopt(u64),
    Stop(u64),
    /// What starts wrappers is dead.
    #[cfg_attr(not(target_os = "linux"), expect(dead_code, reason = "only Linux has one process that starts them all"))]
    Bury,
}

/// All of it.
#[derive(Default)]
pub(super) struct Book {
    pub(super) entries: HashMap<u64, Entry>,
    numbers: HashMap<AttemptId, u64>,
    last: u64,
    pub(super) orders: VecDeque<Order>,
    /// Folders to be made when there are no orders, and whether each has a working directory in it.
    pub(super) expected: VecDeque<(AttemptFolder, bool)>,
    /// An order is being carried out.
    pub(super) busy: bool,
    /// Nests that the monitor does not know yet.
    pub(super) nests: Vec<Nest>,
    /// Wrappers that are free.
    pub(super) homes: Homes,
    /// Endings on their way to the sink.
    pub(super) reporting: usize,
    /// The monitor was started.
    pub(super) monitored: bool,
    /// The thread that carries out orders is there.
    pub(super) served: bool,
    pub(super) closed: bool,
}

impl Book {
    /// Takes an attempt in.
    pub(super) fn insert(&mut self, left: Left, phase: Phase) -> u64 {
        self.last += 1;
        self.numbers.insert(left.id.clone(), self.last);
        let folder = left.folder();
        let progress = Arc::new(Mutex::new(ProgressReader::new(folder.progress())));
        let entry = Entry {
            left,
            folder,
            phase,
            stops: Stops::default(),
            undelivered: false,
            since: Instant::now(),
            progress,
            announced: 0,
            longest_variable: None,
            tries: 0,
        };
        self.entries.insert(self.last, entry);
        self.last
    }

    /// The number of an attempt.
    pub(super) fn number(&self, id: &AttemptId) -> Option<u64> {
        self.numbers.get(id).copied()
    }

    /// Takes an attempt out: it is over.
    pub(super) fn remove(&mut self, number: u64) -> Option<Entry> {
        let entry = self.entries.remove(&number)?;
        if self.numbers.get(&entry.left.id) == Some(&number) {
            self.numbers.remove(&entry.left.id);
        }
        Some(entry)
    }

    /// Whether every attempt that was handed over has found its wrapper.
    pub(super) fn is_settled(&self) -> bool {
        let on_its_way = |entry: &Entry| matches!(entry.phase, Phase::Queued(_) | Phase::Hatched { .. });
        !self.busy && self.orders.is_empty() && !self.entries.values().any(on_its_way)
    }
}
