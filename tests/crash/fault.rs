//! What goes wrong in an act: a kind of fault, drawn by the dice, as arguments of `strace`.
//!
//! `strace` counts calls for each thread, and a kill comes before the call is carried out. Children are let go at their `execve`: only
//! the host is hindered, or with [`Kind::KillStart`] what it starts.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

use crate::dice::Dice;

/// What kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// F-01: the host dies at a write.
    KillWrite,
    /// F-02: at a sync, when the record is written and not acknowledged.
    KillSync,
    /// F-03: at a rename or the removal of a file.
    KillRename,
    /// F-42: when it starts a thread or a process.
    KillClone,
    /// At the opening or making of a file or folder.
    KillOpen,
    /// F-42: what it starts dies before its first instruction.
    KillStart,
    /// At a random moment, without `strace`.
    KillMoment,
    /// F-11: one sync of the journal fails.
    EioSync,
    /// F-12: from some sync on all of them do.
    EioSyncs,
    /// F-09: a write to the journal finds the disk full.
    FullWrite,
    /// F-09: and so do all that follow.
    FullWrites,
    /// A rename fails.
    EioRename,
    /// F-14: a slow disk, and a kill in the middle of it.
    SlowSync,
    /// F-32: no thread or process can be started for once.
    NoProcess,
    /// F-33: no descriptor is left for once.
    NoDescriptor,
    /// F-39, F-42: wrappers, or what starts them, die at some call; or modules at their first instruction.
    WrapperCall,
    /// F-39: wrappers, or what starts them, are killed at random moments.
    WrapperMoment,
    /// Wrappers that are slow to sync and to rename, and a host that dies meanwhile.
    WrapperSlow,
    /// The journal alone, by its own interface, with a snapshot every few records: killed or refused anywhere.
    Writer,
}

/// All kinds.
pub(crate) const KINDS: [Kind; 19] = [
    Kind::KillWrite,
    Kind::KillSync,
    Kind::KillRename,
    Kind::KillClone,
    Kind::KillOpen,
    Kind::KillStart,
    Kind::KillMoment,
    Kind::EioSync,
    Kind::EioSyncs,
    Kind::FullWrite,
    Kind::FullWrites,
    Kind::EioRename,
    Kind::SlowSync,
    Kind::NoProcess,
    Kind::NoDescriptor,
    Kind::WrapperCall,
    Kind::WrapperMoment,
    Kind::WrapperSlow,
    Kind::Writer,
];

/// The program that all modules of the harness begin with.
const SHELL: &str = "/bin/sh";

/// `-D`: our child is the program itself, and `strace` a process beside it. The name of the file for what it saw follows.
const STRACE: [&str; 8] = ["-D", "-f", "-qq", "-b", "execve", "-e", "signal=none", "-o"];

const WRITES: &[&str] = &["write", "pwrite64", "writev"];
const SYNCS: &[&str] = &["fdatasync", "fsync"];
const RENAMES: &[&str] = &["rename", "renameat", "renameat2"];
const REMOVALS: &[&str] = &["unlink", "unlinkat", "ftruncate"];
const CLONES: &[&str] = &["clone", "clone3", "vfork"];
const OPENS: &[&str] = &["open", "openat"];
const FOLDERS: &[&str] = &["mkdir", "mkdirat"];
const STARTS: &[&str] = &["execve"];

impl Kind {
    /// Its name on the command line and in the report.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::KillWrite => "kill-write",
            Self::KillSync => "kill-sync",
            Self::KillRename => "kill-rename",
            Self::KillClone => "kill-clone",
            Self::KillOpen => "kill-open",
            Self::KillStart => "kill-start",
            Self::KillMoment => "kill-moment",
            Self::EioSync => "eio-sync",
            Self::EioSyncs => "eio-syncs",
            Self::FullWrite => "full-write",
            Self::FullWrites => "full-writes",
            Self::EioRename => "eio-rename",
            Self::SlowSync => "slow-sync",
            Self::NoProcess => "no-process",
            Self::NoDescriptor => "no-descriptor",
            Self::WrapperCall => "wrapper-call",
            Self::WrapperMoment => "wrapper-moment",
            Self::WrapperSlow => "wrapper-slow",
            Self::Writer => "writer",
        }
    }

    pub(crate) fn named(name: &str) -> Result<Self, String> {
        let found = KINDS.into_iter().find(|kind| kind.name() == name);
        found.ok_or_else(|| format!("there is no kind of fault {name:?}; there are {}", KINDS.map(Self::name).join(", ")))
    }

    /// Whether the host itself is told of an error, or an attempt is lost before its eyes, so that a run may fail for it. After a kill of the
    /// host everything must come out as if nothing had happened.
    pub(crate) const fn is_error(self) -> bool {
        match self {
            Self::EioSync
            | Self::EioSyncs
            | Self::FullWrite
            | Self::FullWrites
            | Self::EioRename
            | Self::NoProcess
            | Self::NoDescriptor
            | Self::WrapperCall
            | Self::WrapperMoment => true,
            Self::KillWrite
            | Self::KillSync
            | Self::KillRename
            | Self::KillClone
            | Self::KillOpen
            | Self::KillStart
            | Self::KillMoment
            | Self::SlowSync
            | Self::WrapperSlow
            | Self::Writer => false,
        }
    }

    /// Whether it befalls the wrappers, and the host is left alone.
    pub(crate) const fn is_of_wrappers(self) -> bool {
        matches!(self, Self::WrapperCall | Self::WrapperSlow)
    }
}

/// One fault, ready to be injected.
#[derive(Debug, Clone)]
pub(crate) struct Fault {
    pub(crate) kind: Kind,
    /// The calls concerned, for the report.
    pub(crate) calls: &'static str,
    /// Arguments of `strace`; none: it is not needed.
    rules: Vec<String>,
    /// The host is killed after so many milliseconds, should it still live.
    pub(crate) kill_after: Option<u64>,
}

impl Fault {
    /// A fault of this kind. `journal` is the segment that is being written.
    pub(crate) fn draw(kind: Kind, dice: &mut Dice, journal: &Path) -> Self {
        let on_journal = dice.percent(50).then_some(journal);
        match kind {
            Kind::KillWrite => {
                let last = if on_journal.is_some() { 16 } else { 9 };
                Self::inject(kind, WRITES, "signal=KILL", &dice.within(1..=last).to_string(), on_journal)
            }
            Kind::KillSync => {
                let last = if on_journal.is_some() { 7 } else { 3 };
                Self::inject(kind, SYNCS, "signal=KILL", &dice.within(1..=last).to_string(), on_journal)
            }
            Kind::KillRename => {
                let calls = if dice.percent(75) { RENAMES } else { REMOVALS };
                Self::inject(kind, calls, "signal=KILL", &dice.within(1..=2).to_string(), None)
            }
            Kind::KillClone => Self::inject(kind, CLONES, "signal=KILL", &dice.within(1..=5).to_string(), None),
            Kind::KillOpen if dice.percent(40) => Self::inject(kind, FOLDERS, "signal=KILL", &dice.within(1..=8).to_string(), None),
            Kind::KillOpen => Self::inject(kind, OPENS, "signal=KILL", &dice.within(8..=62).to_string(), None),
            Kind::KillStart => {
                let fault = Self::inject(kind, STARTS, "signal=KILL", "1", Some(Path::new(SHELL)));
                Self { kill_after: Some(dice.within(100..=400)), ..fault }
            }
            Kind::KillMoment => Self { kind, calls: "(moment)", rules: Vec::new(), kill_after: Some(dice.within(1..=160)) },
            Kind::EioSync => Self::inject(kind, SYNCS, "error=EIO", &dice.within(1..=7).to_string(), Some(journal)),
            Kind::EioSyncs => Self::inject(kind, SYNCS, "error=EIO", &format!("{}+", dice.within(1..=7)), Some(journal)),
            Kind::FullWrite => Self::inject(kind, WRITES, "error=ENOSPC", &dice.within(1..=16).to_string(), Some(journal)),
            Kind::FullWrites => Self::inject(kind, WRITES, "error=ENOSPC", &format!("{}+", dice.within(1..=16)), Some(journal)),
            Kind::EioRename => Self::inject(kind, RENAMES, "error=EIO", &dice.within(1..=2).to_string(), None),
            Kind::SlowSync => {
                let delay = format!("delay_enter={}", dice.within(5..=60) * 1000);
                let fault = Self::inject(kind, SYNCS, &delay, "1+", None);
                Self { kill_after: dice.percent(70).then(|| dice.within(20..=500)), ..fault }
            }
            Kind::NoProcess => Self::inject(kind, CLONES, "error=EAGAIN", &dice.within(1..=6).to_string(), None),
            Kind::NoDescriptor => Self::inject(kind, OPENS, "error=EMFILE", &dice.within(8..=62).to_string(), None),
            Kind::WrapperCall => Self::of_wrappers(dice),
            Kind::WrapperMoment => Self { kind, calls: "(moment)", rules: Vec::new(), kill_after: Some(dice.within(5..=250)) },
            Kind::WrapperSlow => {
                let delay = format!("delay_enter={}", dice.within(5..=60) * 1000);
                let fault = Self::inject(kind, dice.pick(&[SYNCS, RENAMES]), &delay, "1+", None);
                Self { kill_after: dice.percent(70).then(|| dice.within(20..=400)), ..fault }
            }
            Kind::Writer => Self::of_writer(dice),
        }
    }

    /// All wrappers of the host meet it, again and again until the host is killed too.
    fn of_wrappers(dice: &mut Dice) -> Self {
        let (calls, last) = dice.pick(&[(WRITES, 14), (SYNCS, 2), (RENAMES, 2), (OPENS, 24), (CLONES, 3), (STARTS, 1)]);
        let path = (calls == STARTS).then_some(Path::new(SHELL));
        let fault = Self::inject(Kind::WrapperCall, calls, "signal=KILL", &dice.within(1..=last).to_string(), path);
        Self { kill_after: Some(dice.within(100..=700)), ..fault }
    }

    /// A fault for the program that does nothing but write a journal.
    fn of_writer(dice: &mut Dice) -> Self {
        let kind = Kind::Writer;
        let (calls, last) = dice.pick(&[(WRITES, 40), (SYNCS, 20), (RENAMES, 4), (REMOVALS, 6), (OPENS, 60), (CLONES, 4)]);
        let at = dice.within(1..=last).to_string();
        let error = match calls {
            WRITES => "error=ENOSPC",
            OPENS => "error=EMFILE",
            CLONES => "error=EAGAIN",
            _ => "error=EIO",
        };
        match dice.within(1..=10) {
            1..=7 => Self::inject(kind, calls, "signal=KILL", &at, None),
            8..=9 => Self::inject(kind, calls, error, &at, None),
            _ => Self::inject(kind, calls, error, &format!("{at}+"), None),
        }
    }

    fn inject(kind: Kind, calls: &'static [&'static str], action: &str, when: &str, path: Option<&Path>) -> Self {
        // A question mark: not every architecture has every call.
        let set = calls.iter().map(|call| format!("?{call}")).collect::<Vec<_>>().join(",");
        let mut rules = vec!["-e".to_owned(), format!("trace={set}"), "-e".to_owned(), format!("inject={set}:{action}:when={when}")];
        if let Some(path) = path {
            rules.extend(["-P".to_owned(), path.to_string_lossy().into_owned()]);
        }
        Self { kind, calls: calls[0], rules, kill_after: None }
    }

    /// The program with these arguments, under this fault. What `strace` saw goes to a file.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, program: &Path, args: &[S], trace: &Path) -> Command {
        if self.rules.is_empty() {
            let mut command = Command::new(program);
            command.args(args);
            return command;
        }
        let mut command = Command::new("strace");
        command.args(STRACE).arg(trace).args(&self.rules).arg(program).args(args);
        command
    }

    /// A shell script that is the wrapper under this fault. What `strace` saw goes to files whose names begin so.
    pub(crate) fn wrapper_script(&self, wrapper: &Path, trace: &Path) -> String {
        let quoted = |text: &str| format!("'{text}'");
        let words: Vec<String> = STRACE.into_iter().chain(self.rules.iter().map(String::as_str)).map(quoted).collect();
        let (options, rules) = words.split_at(STRACE.len());
        let (trace, wrapper) = (trace.to_string_lossy(), wrapper.to_string_lossy());
        format!("#!/bin/sh\nexec strace {} \"{trace}.$$\" {} '{wrapper}' \"$@\"\n", options.join(" "), rules.join(" "))
    }

    /// What was drawn, for people.
    pub(crate) fn describe(&self) -> String {
        let kill = self.kill_after.map(|after| format!(", killed after {after} ms")).unwrap_or_default();
        let rules = self.rules.iter().filter(|rule| *rule != "-e").map(|rule| rule.replace('?', "")).collect::<Vec<_>>().join(" ");
        format!("{} {rules}{kill}", self.kind.name())
    }

    /// Whether it came to pass, by what `strace` wrote and how the program ended.
    pub(crate) fn was_hit(&self, trace: &str, code: i32) -> bool {
        // A call that its caller did not survive has no result.
        (code == 137 && !self.kind.is_of_wrappers()) || trace.contains("(INJECTED)") || trace.contains("(DELAYED)") || trace.contains("= ?")
    }
}

/// Whether `strace` is there and may be used here.
pub(crate) fn strace_works() -> bool {
    let tried = Command::new("strace").args(["-D", "-f", "-qq", "-b", "execve", "-o", "/dev/null", "-e", "trace=?rename", "true"]).output();
    tried.is_ok_and(|output| output.status.success())
}
