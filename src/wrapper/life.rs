//! The life of an attempt: claim, start, output, stop, end, record. The order matters, and is the same on every system.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::claim::Claim;
use super::ladder::{Ladder, Step};
use super::mask::Patterns;
use super::pump::Pump;
use super::reporter::Reporter;
use super::system::{self, Guard, Process, Signals};
use super::{DONE, NOT_RECORDED, REFUSED, ending, wall_clock};
use crate::attempt::{
    AttemptSpec, ExitHow, ExitRecord, Machine, MemoryGuard, ProcessIdentity, StartRecord, StopAs, StopRequest, StreamTotals, open_private,
};
use crate::logs::Stream;
use crate::request::{Capture, Leaks};
use crate::units::{Bytes, DurationMs, Timestamp};

/// A module that lives so long gets its start made durable and reported, and the name of its exit record made durable even though the
/// host knows its end and records it durably itself. Most short ones are over before and save all of that; what is at stake is work of
/// less than the time of a sync or two, and only if host and power fail together.
const SHORT_MS: u64 = 20;
const SETTLED_AFTER: Duration = Duration::from_millis(SHORT_MS);

/// Time that the module's output and what it left behind get after its end: helpers of Python's `multiprocessing` leave by themselves,
/// and somebody else may hold the pipes open for ever.
const LEAVE: Duration = Duration::from_millis(200);

/// Pause between two rounds of a kill, doubled up to the second one: the end of a killed process takes a millisecond or for ever.
const ROUND: Duration = Duration::from_millis(4);
const ROUND_MAX: Duration = Duration::from_millis(250);

/// What a wrapper is for.
pub(super) struct Order<'a> {
    /// The attempt's folder.
    pub(super) folder: &'a Path,
    /// The module's environment; `None`: this process has it.
    pub(super) environment: Option<Vec<(OsString, OsString)>>,
    /// Standard input is at its end, so that the module can simply have it too.
    pub(super) input_is_empty: bool,
    pub(super) machine: &'a Machine,
    /// This process.
    pub(super) wrapper: ProcessIdentity,
    pub(super) reporter: Reporter,
    /// Where this process gets another order after a short life, if it can.
    pub(super) place: Option<usize>,
    /// Those of an earlier life of this process.
    pub(super) signals: Option<Signals>,
}

/// What is left of a life.
pub(super) struct Lived {
    /// The exit code of the wrapper.
    pub(super) code: u8,
    /// For another life, where this one was short and has left nothing behind.
    #[cfg_attr(windows, expect(dead_code, reason = "there is no nursery that could give another order"))]
    pub(super) signals: Option<Signals>,
}

impl Lived {
    fn once(code: u8) -> Self {
        Self { code, signals: None }
    }
}

/// Lives it.
pub(super) fn run(mut order: Order<'_>) -> Lived {
    let folder = order.folder;
    let mut claim = match Claim::take(folder) {
        Ok(Some(claim)) => claim,
        Ok(None) => {
            order.reporter.refused();
            return Lived::once(REFUSED);
        }
        Err(error) => {
            eprintln!("prismq-attempt: {} cannot be claimed: {error}", folder.display());
            return Lived::once(NOT_RECORDED);
        }
    };
    let (record, signals) = match start(&mut order, &mut claim) {
        Ok(life) => life.live(),
        Err(how) => (ExitRecord::never_started(how, wall_clock()), None),
    };
    if !ending::record(folder, &record) {
        return Lived::once(NOT_RECORDED);
    }
    claim.ended();
    let is_short = record.duration.0 < SHORT_MS;
    let is_brief = order.reporter.ended(order.place.filter(|_| is_short && signals.is_some())) && is_short;
    if !is_brief {
        ending::sync_name(folder);
    }
    // The claim, and with it the lock, is held until here.
    drop(claim);
    Lived { code: DONE, signals: signals.filter(|_| is_brief) }
}

/// Starts the module; or why it never ran.
fn start<'a>(order: &'a mut Order<'_>, claim: &'a mut Claim) -> Result<Life<'a>, ExitHow> {
    let folder = order.folder;
    let spec = AttemptSpec::read(folder).map_err(|error| failed("spec.json cannot be used", &error))?;
    // A request that cannot be read is one all the same.
    if !matches!(StopRequest::read(folder), Ok(None)) {
        return Err(ExitHow::Prevented);
    }
    let patterns = patterns(&spec, order);
    let command = command(&spec, order)?;
    system::settle_in(spec.open_files);
    let signals = match order.signals.take() {
        Some(signals) => signals,
        None => Signals::install().map_err(|error| failed("signals cannot be received", &error))?,
    };
    let guard = Guard::set_up(spec.memory);
    let mut record = StartRecord {
        wrapper: order.wrapper,
        child: None,
        boot: order.machine.boot.clone(),
        machine: order.machine.name.clone(),
        at: wall_clock(),
        memory_guard: guard.kind(),
    };
    claim.starting(&record).map_err(|error| failed("the start cannot be recorded", &error))?;
    let begun = Instant::now();
    let spawned = Process::spawn(command, signals, &guard);
    guard.leave();
    let process = spawned.map_err(|error| ExitHow::SpawnFailed { errno: error.raw_os_error().unwrap_or(0), message: error.to_string() })?;
    system::offer_to_oom(process.id());
    record.child = Some(ProcessIdentity::of(process.id()));
    // The module runs, whatever happens to its record: the one written before is enough to find it.
    let _ = claim.started(&record);
    order.reporter.started(process.id());
    Ok(Life {
        folder,
        claim,
        reporter: &mut order.reporter,
        pump: Pump::new(folder, spec.log_cap).hiding(patterns),
        ladder: Ladder::new(Duration::from_millis(spec.grace.0)),
        spec,
        guard,
        process,
        begun,
        started: record.at,
        settle_at: Some(begun + SETTLED_AFTER),
        phase: Phase::Running,
        leaked: Vec::new(),
        oom: false,
    })
}

fn failed(what: &str, error: &io::Error) -> ExitHow {
    ExitHow::SpawnFailed { errno: error.raw_os_error().unwrap_or(0), message: format!("{what}: {error}") }
}

/// What must not be shown in the output.
fn patterns(spec: &AttemptSpec, order: &Order<'_>) -> Option<Patterns> {
    if spec.secrets.is_empty() {
        return None;
    }
    let values: Vec<OsString> = match &order.environment {
        Some(all) => all.iter().filter(|(name, _)| spec.secrets.contains(name)).map(|(_, value)| value.clone()).collect(),
        None => spec.secrets.iter().filter_map(std::env::var_os).collect(),
    };
    Patterns::new(values.iter().map(|value| value.as_encoded_bytes()))
}

fn command(spec: &AttemptSpec, order: &mut Order<'_>) -> Result<Command, ExitHow> {
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).current_dir(&spec.work).env_clear();
    match order.environment.take() {
        Some(environment) => command.envs(environment),
        None => command.envs(spec.environment.iter().filter_map(|name| Some((name, std::env::var_os(name)?)))),
    };
    command.stdin(match &spec.stdin {
        // The file itself: nobody has to feed a pipe, and a module that does not read it hinders nobody.
        Some(path) => File::open(path).map_err(|error| failed("its input cannot be read", &error))?.into(),
        None if order.input_is_empty => Stdio::inherit(),
        None => Stdio::null(),
    });
    match spec.capture {
        Capture::Pump => command.stdout(Stdio::piped()).stderr(Stdio::piped()),
        Capture::Raw => {
            let log = |stream: Stream| {
                let log = open_private(OpenOptions::new().append(true).create(true), &order.folder.join(stream.file_name()));
                log.map_err(|error| failed("its logs cannot be opened", &error))
            };
            command.stdout(log(Stream::Stdout)?).stderr(log(Stream::Stderr)?)
        }
    };
    Ok(command)
}

/// A module that was started.
struct Life<'a> {
    folder: &'a Path,
    claim: &'a Claim,
    reporter: &'a mut Reporter,
    spec: AttemptSpec,
    process: Process,
    pump: Pump,
    ladder: Ladder,
    guard: Guard,
    begun: Instant,
    started: Timestamp,
    /// When the start is made durable and reported.
    settle_at: Option<Instant>,
    phase: Phase,
    leaked: Vec<u32>,
    oom: bool,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The module runs.
    Running,
    /// It has ended; the rest of its output is read, and what it left may go.
    Leaving { until: Instant },
    /// Everything is being killed.
    Killing { next: Instant, pause: Duration },
    /// All that can be waited for has happened.
    Over,
}

impl Life<'_> {
    fn live(mut self) -> (ExitRecord, Option<Signals>) {
        // Whoever asked for a stop before the start record had its name did not know whom to signal.
        self.look_for_stop(self.begun);
        while self.phase != Phase::Over {
            let woken = self.process.wait(self.next(), &mut self.pump);
            let now = Instant::now();
            if woken.term {
                let step = self.ladder.signalled(now);
                self.take(step, now);
            }
            if woken.look {
                self.look_for_stop(now);
            }
            self.on_time(now);
            self.go_on(now);
        }
        self.finish()
    }

    /// When something is due by itself.
    fn next(&self) -> Option<Instant> {
        let phase = match self.phase {
            Phase::Running => None,
            Phase::Leaving { until } => Some(until),
            Phase::Killing { next, .. } => Some(next),
            Phase::Over => Some(self.begun),
        };
        [self.settle_at, self.pump.next(), self.ladder.next(), self.guard.next(), phase].into_iter().flatten().min()
    }

    fn look_for_stop(&mut self, now: Instant) {
        let request = match StopRequest::read(self.folder) {
            Ok(None) => return,
            Ok(Some(request)) => request,
            Err(_) => StopRequest { how: StopAs::Polite, grace: self.spec.grace },
        };
        let step = self.ladder.request(request, now);
        self.take(step, now);
    }

    fn take(&mut self, step: Step, now: Instant) {
        match step {
            Step::Nothing => {}
            Step::Ask if self.process.ask() => {}
            Step::Ask => {
                let step = self.ladder.cannot_ask();
                self.take(step, now);
            }
            Step::Kill => self.phase = Phase::Killing { next: now, pause: ROUND },
        }
    }

    fn on_time(&mut self, now: Instant) {
        let due = self.ladder.due(now);
        self.take(due, now);
        if self.guard.is_passed(now) {
            self.oom = true;
            let step = self.ladder.kill();
            self.take(step, now);
        }
        if self.settle_at.is_some_and(|at| at <= now) {
            self.settle_at = None;
            self.reporter.settle();
            if self.process.end().is_none() {
                self.claim.sync();
            }
        }
        if let Some(bytes) = self.pump.announce(now) {
            self.reporter.output(bytes);
        }
    }

    /// From one phase to the next.
    fn go_on(&mut self, now: Instant) {
        match self.phase {
            Phase::Running => {
                if let Some(end) = self.process.end() {
                    self.phase = Phase::Leaving { until: end.at + LEAVE };
                    self.leave(now);
                }
            }
            Phase::Leaving { .. } => self.leave(now),
            Phase::Killing { next, pause } => {
                if next <= now {
                    self.process.kill();
                    self.phase = Phase::Killing { next: now + pause, pause: (pause * 2).min(ROUND_MAX) };
                }
                if self.process.is_alone() && self.process.end().is_some() {
                    // Only a stranger could still write; what the dead have written is read.
                    self.phase = Phase::Leaving { until: now + LEAVE };
                    self.leave(now);
                }
            }
            Phase::Over => {}
        }
    }

    fn leave(&mut self, now: Instant) {
        let Phase::Leaving { until } = self.phase else { return };
        if self.process.is_alone() && self.process.is_silent() {
            self.phase = Phase::Over;
        } else if until <= now {
            self.phase = Phase::Over;
            if !self.process.is_alone() {
                self.leaked = self.process.descendants();
                if self.spec.leaks == Leaks::End || self.ladder.is_stopping() {
                    self.phase = Phase::Killing { next: now, pause: ROUND };
                }
            }
        }
    }

    /// Whether this process is as it was before: nothing runs below it, and none of its limits has changed.
    fn is_as_before(&self) -> bool {
        self.process.is_alone()
            && self.leaked.is_empty()
            && !self.ladder.is_stopping()
            && self.spec.memory.is_none()
            && self.spec.open_files.is_none()
    }

    fn finish(self) -> (ExitRecord, Option<Signals>) {
        let ended = wall_clock();
        // What the module held is free, whatever the disk takes for the record. One that failed may want it again.
        if self.process.is_alone() && self.process.end().is_some_and(|end| end.how == ExitHow::Code(0)) {
            self.reporter.vacated();
        }
        let is_as_before = self.is_as_before();
        let usage = self.process.usage();
        let (mut streams, log_error) = self.pump.finish();
        if self.spec.capture == Capture::Raw {
            let written = |stream: Stream| self.folder.join(stream.file_name()).metadata().map_or(0, |file| file.len());
            streams = [Stream::Stdout, Stream::Stderr].map(|stream| StreamTotals { written: written(stream), ..StreamTotals::default() });
        }
        let kind = self.guard.kind();
        let (oom, peak) = self.guard.finish();
        let largest = (usage.peak_memory > 0).then_some(Bytes(usage.peak_memory));
        // The phases after `Running` are entered with an end or wait for one.
        let end = self.process.end();
        let how = end.map_or(ExitHow::Code(-1), |end| end.how.clone());
        let lasted = end.map_or(Duration::ZERO, |end| end.at.saturating_duration_since(self.begun));
        let record = ExitRecord {
            oom: (self.oom || oom) && how != ExitHow::Code(0),
            how,
            started: self.started,
            ended,
            duration: DurationMs(u64::try_from(lasted.as_millis()).unwrap_or(u64::MAX)),
            user_us: usage.user_us,
            system_us: usage.system_us,
            peak_memory: match kind {
                Some(MemoryGuard::CgroupV1 | MemoryGuard::CgroupV2 | MemoryGuard::JobObject) => peak.or(largest),
                // Whoever looks now and then may have missed the peak of the largest one.
                Some(MemoryGuard::Polling) | None => peak.max(largest),
            },
            memory: self.spec.memory.zip(kind),
            signals: self.ladder.signals(),
            escalated: self.ladder.has_escalated(),
            leaked: self.leaked,
            streams,
            log_error,
        };
        (record, is_as_before.then(|| self.process.into_signals()))
    }
}
