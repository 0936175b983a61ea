//! What the wrapper writes down: `start.json`, which it holds a lock on for life, and `exit.json`.
//!
//! Both are one flat JSON object in a line. Who reads them, and when which of them counts, is in `standing`.

use std::io;

use super::flat::{self, Object, Writer};
use super::identity::ProcessIdentity;
use super::spec::{FOLDER_FORMAT, check_format, named};
use crate::units::{Bytes, DurationMs, Timestamp};

pub use crate::request::MemoryGuard;

/// `start.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartRecord {
    /// The wrapper.
    pub wrapper: ProcessIdentity,
    /// The module; none while it is just being started, which the wrapper writes down before it does so: of a wrapper that died in
    /// that moment nobody knows whether it had started the module.
    pub child: Option<ProcessIdentity>,
    /// The boot of the machine.
    pub boot: String,
    /// Name of the machine.
    pub machine: String,
    /// Wall clock.
    pub at: Timestamp,
    /// What holds it to its memory limit, where it has one.
    pub memory_guard: Option<MemoryGuard>,
}

/// How the program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExitHow {
    /// With a code.
    Code(i64),
    /// By a signal.
    Signal {
        /// Its number.
        number: i32,
        /// It left a memory image.
        core: bool,
    },
    /// The system refused to start it, with this number of an error (`errno`, or that of Windows).
    SpawnFailed {
        /// The number; 0: not the system but we.
        errno: i32,
        /// In words.
        message: String,
    },
    /// It was stopped before it had been started.
    Prevented,
}

/// Bytes of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct StreamTotals {
    /// Written by the module.
    pub written: u64,
    /// Dropped because of the cap.
    pub dropped: u64,
    /// Lost because the disk did not take them.
    pub lost: u64,
}

/// `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExitRecord {
    /// How.
    pub how: ExitHow,
    /// Wall clock of its start and end.
    pub started: Timestamp,
    /// The same.
    pub ended: Timestamp,
    /// By a monotonic clock.
    pub duration: DurationMs,
    /// Time on processors in user mode, of all its processes that were waited for, in microseconds.
    pub user_us: u64,
    /// The same in the kernel.
    pub system_us: u64,
    /// Most memory: of all processes together where a guard knows, else of the largest one.
    pub peak_memory: Option<Bytes>,
    /// Its memory limit and what held it.
    pub memory: Option<(Bytes, MemoryGuard)>,
    /// It was killed for using more memory than its limit.
    pub oom: bool,
    /// Signals that were sent to stop it, in order: `TERM`, `KILL`.
    pub signals: Vec<String>,
    /// The kill was needed after the polite stop.
    pub escalated: bool,
    /// Processes that it left behind and that were ended (or live on, with `leaks: allow`).
    pub leaked: Vec<u32>,
    /// Standard output and standard error.
    pub streams: [StreamTotals; 2],
    /// The first error in writing the logs.
    pub log_error: Option<String>,
}

impl StartRecord {
    /// As JSON, one line.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut json = Writer::new();
        json.number("format", FOLDER_FORMAT);
        json.number("wrapper_pid", self.wrapper.pid);
        json.number("wrapper_started", self.wrapper.started);
        if let Some(child) = self.child {
            json.number("child_pid", child.pid);
            json.number("child_started", child.started);
        }
        json.text("boot", &self.boot);
        json.text("machine", &self.machine);
        json.number("at_us", self.at.micros());
        json.optional_text("memory_guard", self.memory_guard.map(MemoryGuard::as_str));
        json.finish()
    }

    /// From JSON.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`], or [`io::ErrorKind::Unsupported`] for a newer format.
    pub fn decode(text: &str) -> io::Result<Self> {
        let json = Object::parse(text)?;
        check_format(&json)?;
        let child = json.optional_number("child_pid")?;
        Ok(Self {
            wrapper: ProcessIdentity { pid: json.number("wrapper_pid")?, started: json.number("wrapper_started")? },
            child: match child {
                Some(pid) => Some(ProcessIdentity { pid, started: json.number("child_started")? }),
                None => None,
            },
            boot: json.text("boot")?.to_owned(),
            machine: json.text("machine")?.to_owned(),
            at: Timestamp::from_micros(json.number("at_us")?),
            memory_guard: guard(&json)?,
        })
    }
}

impl ExitRecord {
    /// Of an attempt whose program never ran.
    #[must_use]
    pub fn never_started(how: ExitHow, at: Timestamp) -> Self {
        Self {
            how,
            started: at,
            ended: at,
            duration: DurationMs(0),
            user_us: 0,
            system_us: 0,
            peak_memory: None,
            memory: None,
            oom: false,
            signals: Vec::new(),
            escalated: false,
            leaked: Vec::new(),
            streams: [StreamTotals::default(); 2],
            log_error: None,
        }
    }

    /// As JSON, one line.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut json = Writer::new();
        json.number("format", FOLDER_FORMAT);
        self.how.encode(&mut json);
        json.number("started_us", self.started.micros());
        json.number("ended_us", self.ended.micros());
        json.number("duration_ms", self.duration.0);
        json.number("user_us", self.user_us);
        json.number("system_us", self.system_us);
        json.optional_number("peak_memory", self.peak_memory.map(|bytes| bytes.0));
        json.optional_number("memory_limit", self.memory.map(|(limit, _)| limit.0));
        json.optional_text("memory_guard", self.memory.map(|(_, guard)| guard.as_str()));
        json.flag("oom", self.oom);
        json.texts("signals", self.signals.iter().map(String::as_str));
        json.flag("escalated", self.escalated);
        json.numbers("leaked", &self.leaked);
        for (stream, keys) in self.streams.iter().zip(STREAM_KEYS) {
            for (number, key) in [stream.written, stream.dropped, stream.lost].into_iter().zip(keys) {
                json.number(key, number);
            }
        }
        json.optional_text("log_error", self.log_error.as_deref());
        json.finish()
    }

    /// From JSON.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`], or [`io::ErrorKind::Unsupported`] for a newer format.
    pub fn decode(text: &str) -> io::Result<Self> {
        let json = Object::parse(text)?;
        check_format(&json)?;
        let stream = |[written, dropped, lost]: [&str; 3]| -> io::Result<StreamTotals> {
            Ok(StreamTotals { written: json.number(written)?, dropped: json.number(dropped)?, lost: json.number(lost)? })
        };
        let limit = json.optional_number("memory_limit")?.map(Bytes);
        Ok(Self {
            how: ExitHow::decode(&json)?,
            started: Timestamp::from_micros(json.number("started_us")?),
            ended: Timestamp::from_micros(json.number("ended_us")?),
            duration: DurationMs(json.number("duration_ms")?),
            user_us: json.number("user_us")?,
            system_us: json.number("system_us")?,
            peak_memory: json.optional_number("peak_memory")?.map(Bytes),
            memory: limit.zip(guard(&json)?),
            oom: json.flag("oom")?,
            signals: json.texts("signals")?,
            escalated: json.flag("escalated")?,
            leaked: json.numbers("leaked")?,
            streams: [stream(STREAM_KEYS[0])?, stream(STREAM_KEYS[1])?],
            log_error: json.optional_text("log_error")?.map(str::to_owned),
        })
    }
}

/// Keys of [`StreamTotals`].
const STREAM_KEYS: [[&str; 3]; 2] = [["stdout", "stdout_dropped", "stdout_lost"], ["stderr", "stderr_dropped", "stderr_lost"]];

impl ExitHow {
    fn encode(&self, json: &mut Writer) {
        match self {
            Self::Code(code) => json.number("code", *code),
            Self::Signal { number, core } => {
                json.number("signal", *number);
                json.flag("core", *core);
            }
            Self::SpawnFailed { errno, message } => {
                json.number("spawn_errno", *errno);
                json.text("spawn_error", message);
            }
            Self::Prevented => json.flag("prevented", true),
        }
    }

    /// The first of the four that is there; exactly one is.
    fn decode(json: &Object<'_>) -> io::Result<Self> {
        if let Some(code) = json.optional_number("code")? {
            return Ok(Self::Code(code));
        }
        if let Some(number) = json.optional_number("signal")? {
            return Ok(Self::Signal { number, core: json.flag("core")? });
        }
        if let Some(errno) = json.optional_number("spawn_errno")? {
            return Ok(Self::SpawnFailed { errno, message: json.text("spawn_error")?.to_owned() });
        }
        if json.flag("prevented")? { Ok(Self::Prevented) } else { Err(flat::invalid("it does not say how the attempt ended")) }
    }
}

fn guard(json: &Object<'_>) -> io::Result<Option<MemoryGuard>> {
    const ALL: [MemoryGuard; 4] = [MemoryGuard::CgroupV2, MemoryGuard::CgroupV1, MemoryGuard::JobObject, MemoryGuard::Polling];
    match json.optional_text("memory_guard")? {
        Some(_) => named(json, "memory_guard", &ALL, MemoryGuard::as_str).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::attempt) fn start() -> StartRecord {
        StartRecord {
            wrapper: ProcessIdentity { pid: 10, started: 1000 },
            child: Some(ProcessIdentity { pid: 11, started: 1001 }),
            boot: "b00t".to_owned(),
            machine: "größe".to_owned(),
            at: Timestamp::from_micros(1_763_626_312_000_001),
            memory_guard: Some(MemoryGuard::Polling),
        }
    }

    pub(in crate::attempt) fn exit() -> ExitRecord {
        ExitRecord {
            how: ExitHow::Code(0),
            started: Timestamp::from_micros(1_763_626_312_000_001),
            ended: Timestamp::from_micros(1_763_626_313_000_000),
            duration: DurationMs(999),
            user_us: 1,
            system_us: 2,
            peak_memory: Some(Bytes(3)),
            memory: Some((Bytes(4), MemoryGuard::CgroupV1)),
            oom: true,
            signals: vec!["TERM".to_owned(), "KILL".to_owned()],
            escalated: true,
            leaked: vec![5, 6],
            streams: [StreamTotals { written: 7, dropped: 8, lost: 9 }, StreamTotals { written: u64::MAX, dropped: 11, lost: 12 }],
            log_error: Some("no space\n".to_owned()),
        }
    }

    #[test]
    fn a_start_comes_back() {
        for guard in [None, Some(MemoryGuard::CgroupV2), Some(MemoryGuard::CgroupV1), Some(MemoryGuard::JobObject)] {
            for child in [None, start().child] {
                let wanted = StartRecord { child, memory_guard: guard, ..start() };
                assert_eq!(StartRecord::decode(&wanted.encode()).unwrap(), wanted);
            }
        }
    }

    #[test]
    fn the_record_before_the_start_is_shorter_than_the_one_behind_it() {
        // The wrapper writes the second over the first.
        let none = ProcessIdentity { pid: 0, started: 0 };
        let before = StartRecord { child: None, ..start() };
        assert!(before.encode().len() < StartRecord { child: Some(none), ..start() }.encode().len());
    }

    #[test]
    fn every_way_to_end_comes_back() {
        let hows = [
            ExitHow::Code(-1),
            ExitHow::Code(0xC000_0005),
            ExitHow::Signal { number: 9, core: false },
            ExitHow::Signal { number: 11, core: true },
            ExitHow::SpawnFailed { errno: 2, message: "no such file".to_owned() },
            ExitHow::SpawnFailed { errno: 0, message: String::new() },
            ExitHow::Prevented,
        ];
        for how in hows {
            let wanted = ExitRecord { how, ..exit() };
            assert_eq!(ExitRecord::decode(&wanted.encode()).unwrap(), wanted);
        }
        let plain = ExitRecord { peak_memory: None, memory: None, log_error: None, signals: Vec::new(), leaked: Vec::new(), ..exit() };
        assert_eq!(ExitRecord::decode(&plain.encode()).unwrap(), plain);
    }

    #[test]
    fn f40_the_first_format_is_read_for_ever() {
        let text = r#"{"format":1,"wrapper_pid":10,"wrapper_started":1000,"child_pid":11,"child_started":1001,"boot":"b00t",
            "machine":"größe","at_us":1763626312000001,"memory_guard":"polling","more":null}"#;
        assert_eq!(StartRecord::decode(text).unwrap(), start());
        let text = r#"{"format":1,"code":0,"started_us":1763626312000001,"ended_us":1763626313000000,"duration_ms":999,"user_us":1,"system_us":2,
            "peak_memory":3,"memory_limit":4,"memory_guard":"cgroup-v1","oom":true,"signals":["TERM","KILL"],"escalated":true,"leaked":[5,6],
            "stdout":7,"stdout_dropped":8,"stdout_lost":9,"stderr":18446744073709551615,"stderr_dropped":11,"stderr_lost":12,
            "log_error":"no space\n"}"#;
        assert_eq!(ExitRecord::decode(text).unwrap(), exit());
    }

    #[test]
    fn no_cut_of_a_record_is_a_record() {
        let (start, exit) = (start().encode(), exit().encode());
        for cut in (0..start.trim_end().len()).filter(|cut| start.is_char_boundary(*cut)) {
            assert!(StartRecord::decode(&start[..cut]).is_err(), "{cut}");
        }
        for cut in 0..exit.trim_end().len() {
            assert!(ExitRecord::decode(&exit[..cut]).is_err(), "{cut}");
        }
        assert!(ExitRecord::decode(&exit.replace("\"code\":0,", "")).is_err());
    }
}
