//! `spec.json`: everything that the wrapper needs to execute an attempt, written by the host before the wrapper starts.
//!
//! Values of environment variables are not in it, only their names: a value may be a secret, and a file lives longer than a process. They
//! reach the wrapper as its own environment.

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::files::rename;
use super::flat::{self, Object, Writer};
use super::folder::open_private;
use super::identity::sync_folder;
use crate::request::{Capture, GpuShare, Leaks};
use crate::units::{Amount, Bytes, DurationMs};

/// Version of the attempt folder's files that this program writes. It reads this one and all earlier ones.
pub const FOLDER_FORMAT: u32 = 1;

/// Name of the file.
pub const SPEC: &str = "spec.json";
pub(super) const ASIDE: &str = "spec.json.tmp";

/// What is to be executed, and within which limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptSpec {
    /// `<run>/<node>/<attempt>`, for people.
    pub name: String,
    /// Its mark, see [`TOKEN_VARIABLE`](super::TOKEN_VARIABLE).
    pub token: String,
    /// The program, absolute.
    pub program: PathBuf,
    /// Arguments after the program's name.
    pub args: Vec<OsString>,
    /// Names of the variables that the module gets.
    pub environment: Vec<OsString>,
    /// Which of them are secrets: their values are masked in the output.
    pub secrets: Vec<OsString>,
    /// Where it runs.
    pub work: PathBuf,
    /// The file that it reads from standard input; none: end of file at once.
    pub stdin: Option<PathBuf>,
    /// Who writes the log files.
    pub capture: Capture,
    /// What happens to processes that are left at its end.
    pub leaks: Leaks,
    /// Most bytes of output that are kept.
    pub log_cap: Option<Bytes>,
    /// Most memory that all its processes together may use; none: no limit.
    pub memory: Option<Bytes>,
    /// Memory that was set aside for it and is no limit. For a host that starts from this folder alone, as the next.
    pub set_aside: Option<Bytes>,
    /// GPUs that it was granted: a host that starts from this folder alone learns it here.
    pub gpus: Vec<GpuShare>,
    /// Which of the alternatives of its requests it was granted, for the same reason.
    pub alternative: Option<u32>,
    /// Between the polite stop and the kill, where the request to stop does not say.
    pub grace: DurationMs,
    /// Soft limit of open files that the module gets, since the host may have raised its own.
    pub open_files: Option<u64>,
}

impl AttemptSpec {
    /// As JSON. Arguments and paths that are no Unicode are kept exactly, see `flat`.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut json = Writer::new();
        json.number("format", FOLDER_FORMAT);
        json.text("name", &self.name);
        json.text("token", &self.token);
        json.system("program", self.program.as_os_str());
        json.systems("args", &self.args);
        json.systems("environment", &self.environment);
        if !self.secrets.is_empty() {
            json.systems("secrets", &self.secrets);
        }
        json.system("work", self.work.as_os_str());
        if let Some(stdin) = &self.stdin {
            json.system("stdin", stdin.as_os_str());
        }
        json.text("capture", capture_name(self.capture));
        json.text("leaks", leaks_name(self.leaks));
        json.optional_number("log_cap", self.log_cap.map(|bytes| bytes.0));
        json.optional_number("memory", self.memory.map(|bytes| bytes.0));
        json.optional_number("set_aside", self.set_aside.map(|bytes| bytes.0));
        if !self.gpus.is_empty() {
            json.systems("gpus", &self.gpus.iter().map(gpu_text).collect::<Vec<_>>());
        }
        json.optional_number("alternative", self.alternative);
        json.number("grace_ms", self.grace.0);
        json.optional_number("open_files", self.open_files);
        json.finish()
    }

    /// From JSON.
    ///
    /// # Errors
    /// What is wrong with it: [`io::ErrorKind::InvalidData`], or [`io::ErrorKind::Unsupported`] for a newer format.
    pub fn decode(text: &str) -> io::Result<Self> {
        let json = Object::parse(text)?;
        check_format(&json)?;
        Ok(Self {
            name: json.text("name")?.to_owned(),
            token: json.text("token")?.to_owned(),
            program: json.system("program")?.into(),
            args: json.systems("args")?,
            environment: json.systems("environment")?,
            secrets: json.systems("secrets")?,
            work: json.system("work")?.into(),
            stdin: json.optional_system("stdin")?.map(PathBuf::from),
            capture: named(&json, "capture", &[Capture::Pump, Capture::Raw], capture_name)?,
            leaks: named(&json, "leaks", &[Leaks::End, Leaks::Allow], leaks_name)?,
            log_cap: json.optional_number("log_cap")?.map(Bytes),
            memory: json.optional_number("memory")?.map(Bytes),
            set_aside: json.optional_number("set_aside")?.map(Bytes),
            gpus: json.systems("gpus")?.iter().filter_map(|text| gpu_of(text.to_str()?)).collect(),
            alternative: json.optional_number("alternative")?,
            grace: DurationMs(json.number("grace_ms")?),
            open_files: json.optional_number("open_files")?,
        })
    }

    /// Reads the spec in a folder.
    ///
    /// # Errors
    /// What the system said, or what is wrong with it.
    pub fn read(folder: &Path) -> io::Result<Self> {
        Self::decode(&std::fs::read_to_string(folder.join(SPEC))?)
    }

    /// Writes the spec into a folder, which must exist. One that is there is replaced as a whole: a wrapper that comes late may be reading.
    ///
    /// `durable`: it is on the disk when this returns, name and all. That matters only where a start is repeated from the folder alone:
    /// who repeats it from his own records writes it anew.
    ///
    /// # Errors
    /// What the system said.
    pub fn write(&self, folder: &Path, durable: bool) -> io::Result<()> {
        let (path, aside) = (folder.join(SPEC), folder.join(ASIDE));
        let created = open_private(std::fs::OpenOptions::new().write(true).create_new(true), &path);
        let replaces = created.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::AlreadyExists);
        let mut file = match created {
            Err(_) if replaces => open_private(std::fs::OpenOptions::new().write(true).create(true).truncate(true), &aside)?,
            created => created?,
        };
        file.write_all(self.encode().as_bytes())?;
        if durable {
            file.sync_data()?;
        }
        drop(file);
        if replaces {
            rename(&aside, &path)?;
        }
        if durable { sync_folder(folder) } else { Ok(()) }
    }
}

/// Refuses what a later version wrote: it may mean something else by the same keys.
pub(super) fn check_format(json: &Object<'_>) -> io::Result<()> {
    let format: u32 = json.number("format")?;
    let text = || format!("it has format {format}, and this version of prismq reads up to {FOLDER_FORMAT}");
    match format {
        0 => Err(flat::invalid(&text())),
        // It means something, to somebody else.
        _ if format > FOLDER_FORMAT => Err(io::Error::new(io::ErrorKind::Unsupported, text())),
        _ => Ok(()),
    }
}

/// The choice whose name stands under a key.
pub(super) fn named<T: Copy>(json: &Object<'_>, key: &str, all: &[T], name: fn(T) -> &'static str) -> io::Result<T> {
    let text = json.text(key)?;
    let found = all.iter().copied().find(|choice| name(*choice) == text);
    found.ok_or_else(|| flat::invalid(&format!("`{key}` is `{text}`, which this version does not know")))
}

/// `SHARE VRAM UUID`.
fn gpu_text(gpu: &GpuShare) -> OsString {
    format!("{} {} {}", gpu.share.0, gpu.vram.0, gpu.gpu).into()
}

fn gpu_of(text: &str) -> Option<GpuShare> {
    let mut words = text.splitn(3, ' ');
    let (share, vram) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    Some(GpuShare { gpu: words.next()?.to_owned(), share: Amount(share), vram: Bytes(vram) })
}

fn capture_name(capture: Capture) -> &'static str {
    match capture {
        Capture::Pump => "pump",
        Capture::Raw => "raw",
    }
}

fn leaks_name(leaks: Leaks) -> &'static str {
    match leaks {
        Leaks::End => "end",
        Leaks::Allow => "allow",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec() -> AttemptSpec {
        AttemptSpec {
            name: "20251120-081152-zzzzz/clips[2].cut/1".to_owned(),
            token: "t0k".to_owned(),
            program: "/usr/bin/python3".into(),
            args: vec!["-u".into(), "ein \"Weg\"\n".into(), OsString::new()],
            environment: vec!["PATH".into(), "PRISMQ_TOKEN".into()],
            secrets: vec!["API_KEY".into()],
            work: "/w/größe".into(),
            stdin: None,
            capture: Capture::Pump,
            leaks: Leaks::End,
            log_cap: None,
            memory: Some(Bytes(u64::MAX)),
            set_aside: Some(Bytes(5)),
            gpus: vec![GpuShare { gpu: "GPU-1".to_owned(), share: Amount(1000), vram: Bytes(7) }],
            alternative: Some(1),
            grace: DurationMs(10_000),
            open_files: Some(1024),
        }
    }

    #[test]
    fn a_spec_comes_back_from_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(AttemptSpec::read(folder.path()).unwrap_err().kind(), io::ErrorKind::NotFound);
        for durable in [false, true] {
            spec().write(folder.path(), durable).unwrap();
            assert_eq!(AttemptSpec::read(folder.path()).unwrap(), spec());
        }
    }

    #[test]
    fn f40_the_first_format_is_read_for_ever() {
        let text = r#"{"format":1,"name":"r/n/1","token":"t","program":"/bin/true","args":["a"],"environment":["PATH"],"work":"/",
            "stdin":"/p.json","capture":"raw","leaks":"allow","log_cap":1,"memory":2,"grace_ms":3,"open_files":4,"of a later version":[1]}"#;
        let wanted = AttemptSpec {
            name: "r/n/1".to_owned(),
            token: "t".to_owned(),
            program: "/bin/true".into(),
            args: vec!["a".into()],
            environment: vec!["PATH".into()],
            secrets: Vec::new(),
            work: "/".into(),
            stdin: Some("/p.json".into()),
            capture: Capture::Raw,
            leaks: Leaks::Allow,
            log_cap: Some(Bytes(1)),
            memory: Some(Bytes(2)),
            set_aside: None,
            gpus: Vec::new(),
            alternative: None,
            grace: DurationMs(3),
            open_files: Some(4),
        };
        assert_eq!(AttemptSpec::decode(text).unwrap(), wanted);
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let good = spec().encode();
        let changes = [("\"format\":1", "\"format\":0"), ("\"pump\"", "\"pomp\""), ("token", "t"), ("10000", "-1")];
        for (from, to) in changes {
            let bad = good.replacen(from, to, 1);
            let error = AttemptSpec::decode(&bad).expect_err(&bad);
            assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{bad}");
        }
        let newer = AttemptSpec::decode(&good.replace("\"format\":1", "\"format\":2")).unwrap_err();
        assert_eq!(newer.kind(), io::ErrorKind::Unsupported);
        assert!(newer.to_string().contains("format 2"), "{newer}");
    }

    proptest! {
        #[test]
        fn any_spec_comes_back(name in any::<String>(), args in any::<Vec<String>>(), log_cap in any::<Option<u64>>(), stdin in any::<Option<String>>()) {
            let args = args.into_iter().map(OsString::from).collect();
            let wanted = AttemptSpec { name, args, log_cap: log_cap.map(Bytes), stdin: stdin.map(PathBuf::from), ..spec() };
            prop_assert_eq!(AttemptSpec::decode(&wanted.encode()).unwrap(), wanted);
        }
    }
}
