//! Direct attempts on Windows: a job object for each, and a thread for each pipe.
//!
//! The job takes the program before its first instruction, so that everything it starts belongs to the job and ends with it, and with
//! the host. There is no polite stop that works without a console. The end is looked for every few milliseconds.

use std::io::{self, Read};
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::super::{Exit, StopHow};
use super::supervise::Life;
use crate::logs::Stream;
use crate::units::Bytes;
use crate::win32::{self, Job, SpawnFlags};

/// How long output is still read after the program's end while a process that it left behind holds the pipes open.
const DRAIN_LIMIT: Duration = Duration::from_millis(200);

/// How long what was left behind is waited for after its kill.
const GONE_LIMIT: Duration = Duration::from_secs(5);

/// How often the end is looked for, at most.
const LOOK_FOR_END: Duration = Duration::from_millis(10);

/// Bytes that a reader takes at once, and pieces that may wait: what a module can be ahead of the disk.
const PIECE_BYTES: usize = 64 << 10;
const PIECES_MAX: usize = 16;

/// Stack of a reader: it does nothing but read.
const READER_STACK_BYTES: usize = 128 << 10;

/// A program and its output.
pub(super) struct Process {
    child: Child,
    job: Arc<Job>,
    pieces: Receiver<Piece>,
    open: usize,
    status: Option<ExitStatus>,
}

/// Something that was read; empty at the end of the stream.
struct Piece {
    stream: Stream,
    bytes: Vec<u8>,
}

/// What a stop is sent to.
#[derive(Debug)]
pub(super) struct Handle(Arc<Job>);

impl Handle {
    /// Ends the job. A polite stop is the same here: waiting out a grace period for a message that cannot arrive helps nobody.
    pub(super) fn signal(&self, how: StopHow) {
        match how {
            StopHow::Polite | StopHow::Kill => {
                let _ = self.0.kill();
            }
        }
    }
}

impl Process {
    /// Starts a program whose standard output and error are pipes, in a job of its own.
    pub(super) fn spawn(mut command: Command) -> io::Result<Self> {
        win32::keep_streams_private();
        let job = Job::new(None)?;
        let mut child = job.spawn(&mut command, SpawnFlags::OwnGroup)?;
        let (send, pieces) = sync_channel(PIECES_MAX);
        let out = child.stdout.take().map(|pipe| reader(Stream::Stdout, pipe, send.clone()));
        let err = child.stderr.take().map(|pipe| reader(Stream::Stderr, pipe, send));
        let mut open = 0;
        for started in out.into_iter().chain(err) {
            // The job ends what was started when it is dropped.
            started?;
            open += 1;
        }
        Ok(Self { child, job: Arc::new(job), pieces, open, status: None })
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(super) fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.job))
    }

    /// Reads output until the program has ended and its output was read, but no longer than [`DRAIN_LIMIT`] after its end. Returns
    /// when it ended.
    pub(super) fn watch(&mut self, _buffer: &mut [u8], life: &mut Life<'_>) -> Instant {
        let mut pause = Duration::from_millis(1);
        loop {
            let wrote = self.take(pause.min(life.patience()), life);
            life.tick(!wrote);
            pause = if wrote { Duration::from_millis(1) } else { (pause * 2).min(LOOK_FOR_END) };
            if let Ok(Some(status)) = self.child.try_wait() {
                self.status = Some(status);
                let ended = Instant::now();
                self.drain(ended + DRAIN_LIMIT, life);
                return ended;
            }
        }
    }

    /// The exit status.
    pub(super) fn reap(&mut self) -> io::Result<ExitStatus> {
        match self.status {
            Some(status) => Ok(status),
            None => self.child.try_wait()?.ok_or_else(|| io::Error::other("it has not ended")),
        }
    }

    /// Ends what the program left behind. Tells whether there was anything.
    pub(super) fn sweep(&mut self, _token: &str, _buffer: &mut [u8], life: &mut Life<'_>) -> bool {
        let left = self.job.count().is_ok_and(|count| count > 0);
        let _ = self.job.kill();
        self.drain(Instant::now() + DRAIN_LIMIT / 4, life);
        let until = Instant::now() + GONE_LIMIT;
        while self.job.count().is_ok_and(|count| count > 0) && Instant::now() < until {
            thread::sleep(LOOK_FOR_END);
        }
        left
    }

    fn drain(&mut self, until: Instant, life: &mut Life<'_>) {
        while self.open > 0 {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.take(left, life) {
                return;
            }
        }
    }

    /// Takes what the readers bring, waiting at most this long. `false`: nothing came.
    fn take(&mut self, patience: Duration, life: &mut Life<'_>) -> bool {
        if self.open == 0 {
            thread::sleep(patience);
            return false;
        }
        match self.pieces.recv_timeout(patience) {
            Ok(piece) if piece.bytes.is_empty() => self.open -= 1,
            Ok(piece) => life.output(piece.stream, &piece.bytes),
            Err(RecvTimeoutError::Disconnected) => self.open = 0,
            Err(RecvTimeoutError::Timeout) => return false,
        }
        true
    }
}

impl Drop for Process {
    /// Only where its attempt was given up half-way: leaves no process.
    fn drop(&mut self) {
        if self.status.is_none() {
            let _ = self.job.kill();
        }
    }
}

fn reader(stream: Stream, mut pipe: impl Read + Send + 'static, send: SyncSender<Piece>) -> io::Result<()> {
    let read = move || {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            let count = match pipe.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => 0,
            };
            if send.send(Piece { stream, bytes: buffer[..count].to_vec() }).is_err() || count == 0 {
                return;
            }
        }
    };
    thread::Builder::new().name("output".to_owned()).stack_size(READER_STACK_BYTES).spawn(read).map(drop)
}

/// The exit code. Errors of the system (0xC0000005) stand in it as unsigned numbers, as people look them up.
pub(super) fn exit(status: ExitStatus) -> Exit {
    Exit::Exited(status.code().map_or(1, |code| i64::from(code.cast_unsigned())))
}

/// Not known on this system while a process runs.
pub(super) fn peak_memory(_: u32) -> Option<Bytes> {
    None
}
