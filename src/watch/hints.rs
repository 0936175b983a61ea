//! What the system said happened, gathered until somebody looks.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind, RenameMode};

/// Paths that are kept one by one. In a storm of events they say nothing that a look at everything does not say too.
const PATHS_MAX: usize = 4096;

/// Whether the system tells when a writer closes a file. Where it does not, that nobody closed it means nothing.
const SAYS_CLOSED: bool = cfg!(target_os = "linux");

/// Hints since the last look. They may be wrong and incomplete; nothing but the time of a look depends on them.
#[derive(Debug, Default)]
pub struct Hints {
    /// Files whose writer has closed them, or that were put in their place whole.
    closed: BTreeSet<PathBuf>,
    /// Files that were written to and not closed since.
    open: BTreeSet<PathBuf>,
    /// Everything that was named, also folders.
    named: BTreeSet<PathBuf>,
    any: bool,
}

impl Hints {
    /// Whether a file's writer is done with it: it was closed after writing, or renamed into its place.
    #[must_use]
    pub fn is_closed(&self, path: &Path) -> bool {
        self.closed.contains(path)
    }

    /// Whether a file was written to by somebody who has not closed it yet.
    #[must_use]
    pub fn is_open(&self, path: &Path) -> bool {
        self.open.contains(path)
    }

    /// Whether something happened to this path itself.
    #[must_use]
    pub fn names(&self, path: &Path) -> bool {
        self.named.contains(path)
    }

    /// Whether anything happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.any
    }

    /// Takes what the system says. Gives whether it is worth a look: that somebody reads is not, or our own looks would wake us.
    pub(super) fn take(&mut self, event: &notify::Event) -> bool {
        let worth = match event.kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Modify(ModifyKind::Name(RenameMode::To)) => {
                self.note(&event.paths, true);
                true
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
                self.note(event.paths.get(1..).unwrap_or_default(), true);
                true
            }
            EventKind::Access(_) => false,
            EventKind::Create(_) | EventKind::Modify(ModifyKind::Data(_)) if SAYS_CLOSED => {
                self.note(&event.paths, false);
                true
            }
            EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Any | EventKind::Other => true,
        };
        self.any |= worth;
        if worth && self.named.len() < PATHS_MAX {
            self.named.extend(event.paths.iter().cloned());
        }
        worth
    }

    fn note(&mut self, paths: &[PathBuf], closed: bool) {
        let (into, from) = if closed { (&mut self.closed, &mut self.open) } else { (&mut self.open, &mut self.closed) };
        for path in paths {
            from.remove(path);
            if into.len() < PATHS_MAX {
                into.insert(path.clone());
            }
        }
    }

    /// Something happened, and nobody knows what.
    pub(super) fn take_unknown(&mut self) {
        self.any = true;
    }

    /// Hints for the next look. Files that are still written to stay known.
    pub(super) fn hand_over(&mut self) -> Self {
        let open = self.open.clone();
        std::mem::replace(self, Self { open, ..Self::default() })
    }
}
