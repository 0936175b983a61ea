//! The life of one direct attempt, from its claim to its ending. Runs on a thread of its own and blocks there.
//!
//! The order matters: folder and parameters first, then the claim (from which on it counts as started), then the program. Knows one
//! attempt and nothing of the others; what differs between systems is behind `system`.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::super::{Ending, Exit, Fact, Sink, Spec, Stdin};
use super::capture::{ANNOUNCE_EVERY, Capture};
use super::claims::Runs;
use super::control::{Control, Stops};
use super::failure::{self, Start};
use super::prepare::prepare;
use super::system::{self, Process};
use crate::attempt::{AttemptFolder, ProgressReader, read_outputs};
use crate::event::SpawnFailure;
use crate::logs::Stream;
use crate::units::Bytes;

/// How often progress and memory of an attempt are looked at, and so how old it must be to be looked at at all.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Pause between two looks for a free descriptor.
const DESCRIPTOR_PAUSE: Duration = Duration::from_millis(50);

/// Executes an attempt to its end.
pub(super) fn execute(spec: &Spec, control: &Control, runs: &Runs, sink: &Sink, buffer: &mut [u8]) -> Ending {
    if !control.begin() {
        let ((), stops) = control.over(|| ());
        return never_started(Exit::Prevented, stops);
    }
    let folder = AttemptFolder::new(&spec.run_folder, &spec.node, spec.id.attempt);
    let begun = Instant::now();
    match start(spec, &folder, runs) {
        Ok(process) => Life::new(spec, &folder, sink, begun, process.id()).live(process, control, buffer),
        Err(failure) => {
            let ((), stops) = control.over(|| ());
            never_started(Exit::SpawnFailed(failure), stops)
        }
    }
}

pub(super) fn never_started(exit: Exit, stops: Stops) -> Ending {
    Ending {
        exit,
        duration: Duration::ZERO,
        cpu: None,
        peak_memory: None,
        memory: None,
        oom: false,
        stop_sent: stops.strongest,
        escalated: stops.escalated,
        leaked: false,
        leaked_pids: Vec::new(),
        outputs: Ok(None),
        log_lost: None,
    }
}

fn start(spec: &Spec, folder: &AttemptFolder, runs: &Runs) -> Result<Process, SpawnFailure> {
    let (run, ready) = prepare(spec, folder, false, runs)?;
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).current_dir(&ready.work).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.env_clear().envs(ready.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(match spec.stdin {
        Stdin::Nothing => Stdio::null(),
        // The file itself: nobody has to feed a pipe, and a module that does not read it hinders nobody.
        Stdin::Params => {
            File::open(spec.params.path()).map_err(|error| failure::preparing("the parameters cannot be read", &error))?.into()
        }
    });
    run.claim(&spec.node, spec.id.attempt).map_err(|error| failure::preparing("the start cannot be recorded", &error))?;
    Process::spawn(command).map_err(|error| {
        let longest_variable = ready.longest_variable();
        failure::explain(&error, Start { program: &spec.program, args: &spec.args, longest_variable, folder: &ready.work })
    })
}

/// A running attempt as its thread sees it.
pub(super) struct Life<'a> {
    spec: &'a Spec,
    folder: &'a AttemptFolder,
    sink: &'a Sink,
    capture: Capture<'a>,
    progress: ProgressReader,
    pid: u32,
    begun: Instant,
    looked: Instant,
    peak_memory: Option<Bytes>,
}

impl<'a> Life<'a> {
    fn new(spec: &'a Spec, folder: &'a AttemptFolder, sink: &'a Sink, begun: Instant, pid: u32) -> Self {
        let capture = Capture::new(&spec.id, folder, spec.log_cap, sink);
        let progress = ProgressReader::new(folder.progress());
        Self { spec, folder, sink, capture, progress, pid, begun, looked: begun, peak_memory: None }
    }

    fn live(mut self, mut process: Process, control: &Control, buffer: &mut [u8]) -> Ending {
        control.live(process.handle());
        (self.sink)(Fact::Started { id: self.spec.id.clone(), pid: self.pid });
        let ended = process.watch(buffer, &mut self);
        let (status, stops) = control.over(|| process.reap());
        let leaked = process.sweep(&self.spec.token, buffer, &mut self);
        self.capture.announce();
        self.look_at_progress();
        Ending {
            exit: status.map_or_else(|error| Exit::SpawnFailed(failure::preparing("its end cannot be learned", &error)), system::exit),
            duration: ended.duration_since(self.begun),
            cpu: None,
            peak_memory: self.peak_memory,
            memory: None,
            oom: false,
            stop_sent: stops.strongest,
            escalated: stops.escalated,
            leaked,
            leaked_pids: Vec::new(),
            outputs: self.outputs(),
            log_lost: self.capture.finish(),
        }
    }

    /// What the module reported. It is over and cannot be asked again: where no descriptor is free, one is waited for.
    fn outputs(&self) -> Result<Option<Value>, String> {
        loop {
            match read_outputs(&self.folder.output()) {
                Ok(outputs) => return outputs,
                Err(_) => std::thread::sleep(DESCRIPTOR_PAUSE),
            }
        }
    }

    /// Takes output.
    pub(super) fn output(&mut self, stream: Stream, bytes: &[u8]) {
        self.capture.write(stream, bytes);
    }

    /// Longest time after which [`Life::tick`] wants to be called, should nothing happen.
    pub(super) fn patience(&self) -> Duration {
        if self.capture.is_due() { ANNOUNCE_EVERY } else { LOOK_EVERY }
    }

    /// Something happened, or the time is over: does what is due.
    pub(super) fn tick(&mut self, idle: bool) {
        if idle {
            self.capture.announce();
        }
        if self.looked.elapsed() >= LOOK_EVERY {
            self.looked = Instant::now();
            self.peak_memory = self.peak_memory.max(system::peak_memory(self.pid));
            self.look_at_progress();
        }
    }

    fn look_at_progress(&mut self) {
        if let Some(progress) = self.progress.latest() {
            (self.sink)(Fact::Progress { id: self.spec.id.clone(), progress });
        }
    }
}
