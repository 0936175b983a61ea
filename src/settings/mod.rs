//! `prismq.yaml`: what a workspace says about its host, its roots and the defaults of its modules.
//!
//! Built from a tree like a manifest, every mistake collected; a workspace without the file has [`Settings::default`]. Knows what the
//! numbers mean and not what the machine has: `auto` stays `auto` here and is filled in by whoever asks the machine. Used by `host`.

mod difference;
mod gpus;
mod pattern;
mod retention;
pub mod schema;
mod secrets;
mod watch;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::diagnostics::{Diagnostic, Diagnostics};
use crate::fields::{Fields, amount_of, bytes_of, cpus_of};
use crate::ids::ResourceName;
use crate::manifest::{
    DEFAULTS_SHARED_KEYS, Defaults, LATER_KEYS, NODE_SETTINGS_KEYS, lexically_joined, meant_resource, read_defaults_keys, read_format,
    rooted_python,
};
use crate::request::{PythonChoice, SecretSource};
use crate::tree::{NodeRef, Tree};
use crate::units::{Amount, Bytes, CpuMillis, DurationMs};

pub use difference::SettingChange;
pub use gpus::{GPU_KEYS, GpuSetting};
pub use pattern::Pattern;
pub use retention::{RETENTION_KEYS, Retention};
pub use secrets::SECRET_SOURCE_KEYS;
pub use watch::{WATCH_WORDS, WatchSetting};

/// Attempts at once where nothing is said: more than a workstation runs well, fewer than make it unusable.
pub const MAX_CONCURRENT_DEFAULT: u32 = 10;

/// Most attempts at once that can be asked for: a process each, and systems stop at some tens of thousands.
const MAX_CONCURRENT_MAX: u64 = 10_000;

/// Runs that may wait where nothing is said: a script gone wild is stopped before it fills the disk.
pub const MAX_QUEUED_DEFAULT: u64 = 10_000;

/// Clients of streams where nothing is said: each holds a descriptor, and a system gives 1024 to a program where nothing is said there.
pub const SSE_CLIENTS_DEFAULT: u64 = 256;

/// Least memory kept for the person at the machine and the system.
pub const RESERVE_MEMORY_LEAST: Bytes = Bytes(1 << 30);

/// Share of the memory kept, one part in so many (5 %), where that is more than [`RESERVE_MEMORY_LEAST`].
const RESERVE_MEMORY_SHARE: u64 = 20;

/// VRAM kept back of each GPU where nothing is said: what a desktop with a browser usually takes.
pub const RESERVE_VRAM_DEFAULT: Bytes = Bytes(1 << 30);

/// How long a killed process may take to go where nothing is said. The kill takes milliseconds; what is still there after a minute hangs
/// in a driver or waits for a disk that does not answer.
pub const UNKILLABLE_AFTER_DEFAULT: DurationMs = DurationMs(60_000);
/// Most that is kept free of a file system where nothing is said: room for journal, logs and the person, of however large a disk.
pub const RESERVE_DISK_MOST: Bytes = Bytes(1 << 30);

/// Share of a file system kept free, one part in so many (2 %), where that is less than [`RESERVE_DISK_MOST`].
const RESERVE_DISK_SHARE: u64 = 50;

/// Keys of the file.
pub const SETTINGS_KEYS: [&str; 7] = ["format", "host", "roots", "pipelines", "defaults", "retention", "secrets"];

/// Keys under `host:`.
pub const HOST_KEYS: [&str; 9] =
    ["max_concurrent", "max_queued", "capacity", "reserve", "runs_dir", "shared_state", "unkillable_after", "watch", "sse_clients"];

/// Keys under `defaults:` besides [`NODE_SETTINGS_KEYS`].
pub const DEFAULTS_KEYS: [&str; 6] = DEFAULTS_SHARED_KEYS;

/// Keys of the file that are known and not built yet.
pub const LATER_SETTINGS_KEYS: &[(&str, &str)] = &[
    ("log", "Host"),
    ("auth", "Host"),
    ("serve", "Host"),
    ("engines", "Slurm"),
    ("engine", "Slurm"),
    ("schedule", "Patterns"),
    ("schedules", "Patterns"),
];

/// What the host may hand out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Capacity {
    /// Processors; none: what is detected.
    pub cpus: Option<CpuMillis>,
    /// Memory; none: what is detected.
    pub memory: Option<Bytes>,
    /// GPUs that may be handed out; none: all that are detected.
    pub gpus: Option<Vec<GpuSetting>>,
    /// Counted resources, which exist by being named here.
    pub custom: BTreeMap<ResourceName, Amount>,
}

/// The settings of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Attempts at once, whatever they need.
    pub max_concurrent: u32,
    /// Runs that may wait; one more is refused.
    pub max_queued: u64,
    /// Clients of streams at once; one more is refused.
    pub sse_clients: usize,
    /// What may be handed out.
    pub capacity: Capacity,
    /// Memory kept back; none: see [`Settings::memory_reserve`].
    pub reserve_memory: Option<Bytes>,
    /// Memory kept back of each GPU.
    pub reserve_vram: Bytes,
    /// Disk kept free; none: see [`Settings::disk_reserve`].
    pub reserve_disk: Option<Bytes>,
    /// Where the folders of runs lie, absolute; none: in the state folder.
    pub runs_dir: Option<PathBuf>,
    /// The state may lie on storage that other machines share, although its locks and renames may not hold.
    pub shared_state: bool,
    /// How long a killed attempt may take to go before it is shown as one that cannot be killed.
    pub unkillable_after: DurationMs,
    /// How changes of files are noticed.
    pub watch: WatchSetting,
    /// Folders outside the workspace whose scripts may run, absolute.
    pub roots: Vec<PathBuf>,
    /// Which files are pipelines that can be listed and started by name, relative to the workspace.
    pub pipelines: Vec<Pattern>,
    /// What modules get that do not say it themselves.
    pub defaults: Defaults,
    /// How long finished runs are kept.
    pub retention: Retention,
    /// Where secrets come from that are neither kept in the workspace nor in the host's environment under their own names.
    pub secrets: BTreeMap<String, SecretSource>,
}

impl Default for Settings {
    fn default() -> Self {
        let pattern = |text| Pattern::parse(text).expect("the patterns of the design are patterns");
        Self {
            max_concurrent: MAX_CONCURRENT_DEFAULT,
            max_queued: MAX_QUEUED_DEFAULT,
            sse_clients: usize::try_from(SSE_CLIENTS_DEFAULT).unwrap_or(usize::MAX),
            capacity: Capacity::default(),
            reserve_memory: None,
            reserve_vram: RESERVE_VRAM_DEFAULT,
            reserve_disk: None,
            runs_dir: None,
            shared_state: false,
            unkillable_after: UNKILLABLE_AFTER_DEFAULT,
            watch: WatchSetting::default(),
            roots: Vec::new(),
            pipelines: ["pipelines/**/*.yaml", "examples/*/pipeline.yaml"].into_iter().map(pattern).collect(),
            defaults: Defaults::default(),
            retention: Retention::default(),
            secrets: BTreeMap::new(),
        }
    }
}

impl Settings {
    /// Reads the file of the workspace in `folder` (absolute). An empty file says nothing.
    ///
    /// # Errors
    /// All mistakes of the file, warnings among them.
    pub fn read(tree: &Tree, folder: &Path) -> Result<(Self, Diagnostics), Diagnostics> {
        let mut diagnostics = Diagnostics::new();
        let mut settings = Self::default();
        if tree.root().kind() != crate::tree::Kind::Null
            && let Some(fields) = Fields::open(tree.root(), "the settings", &SETTINGS_KEYS, LATER_SETTINGS_KEYS, &mut diagnostics)
        {
            settings.read_fields(&fields, folder, &mut diagnostics);
        }
        diagnostics.into_result(settings)
    }

    /// Memory kept back of a machine that has `total`: what is set, else 1 GiB or 5 %, whichever is more.
    #[must_use]
    pub fn memory_reserve(&self, total: Bytes) -> Bytes {
        self.reserve_memory.unwrap_or_else(|| RESERVE_MEMORY_LEAST.max(Bytes(total.0 / RESERVE_MEMORY_SHARE)))
    }

    /// Space kept free of a file system that has `total`: what is set, else 1 GiB or 2 %, whichever is less.
    #[must_use]
    pub fn disk_reserve(&self, total: Bytes) -> Bytes {
        self.reserve_disk.unwrap_or_else(|| RESERVE_DISK_MOST.min(Bytes(total.0 / RESERVE_DISK_SHARE)))
    }

    fn read_fields(&mut self, fields: &Fields<'_>, folder: &Path, diagnostics: &mut Diagnostics) {
        read_format(fields, diagnostics);
        if let Some(node) = fields.raw("host")
            && let Some(host) = Fields::open(node, "`host`", &HOST_KEYS, &[("port", "Host"), ("on_exit", "Host")], diagnostics)
        {
            self.read_host(&host, folder, diagnostics);
        }
        for (root, node) in fields.texts("roots", diagnostics).unwrap_or_default() {
            self.roots.extend(read_path(root, node, folder, diagnostics));
        }
        if let Some(patterns) = fields.texts("pipelines", diagnostics) {
            self.pipelines = patterns.into_iter().filter_map(|(text, node)| read_pattern(text, node, diagnostics)).collect();
        }
        if let Some(node) = fields.raw("defaults") {
            self.read_defaults(node, folder, diagnostics);
        }
        self.retention = Retention::read(fields, diagnostics);
        self.secrets = secrets::read(fields, folder, diagnostics);
    }

    fn read_host(&mut self, host: &Fields<'_>, folder: &Path, diagnostics: &mut Diagnostics) {
        let concurrent = host.whole("max_concurrent", 1, MAX_CONCURRENT_MAX, diagnostics);
        self.max_concurrent = concurrent.and_then(|count| u32::try_from(count).ok()).unwrap_or(self.max_concurrent);
        self.max_queued = host.whole("max_queued", 1, 1_000_000, diagnostics).unwrap_or(self.max_queued);
        let clients = host.whole("sse_clients", 1, 100_000, diagnostics);
        self.sse_clients = clients.and_then(|count| usize::try_from(count).ok()).unwrap_or(self.sse_clients);
        if let Some(map) = host.map("capacity", "a map such as `{cpus: 8, memory: auto}`", diagnostics) {
            for (key, value) in map.entries() {
                self.capacity.read(key, value, diagnostics);
            }
        }
        if let Some(node) = host.raw("reserve")
            && let Some(reserve) = Fields::open(node, "`reserve`", &["memory", "vram", "disk"], &[], diagnostics)
        {
            self.reserve_memory = reserve.bytes("memory", diagnostics);
            self.reserve_vram = reserve.bytes("vram", diagnostics).unwrap_or(self.reserve_vram);
            self.reserve_disk = reserve.bytes("disk", diagnostics);
        }
        if let (Some(path), Some(node)) = (host.filled_text("runs_dir", diagnostics), host.raw("runs_dir")) {
            self.runs_dir = read_path(path, node, folder, diagnostics);
        }
        self.shared_state = host.boolean("shared_state", diagnostics).unwrap_or(self.shared_state);
        self.unkillable_after = host.duration("unkillable_after", diagnostics).unwrap_or(self.unkillable_after);
        self.watch = WatchSetting::read(host, diagnostics);
    }

    fn read_defaults(&mut self, node: NodeRef<'_>, folder: &Path, diagnostics: &mut Diagnostics) {
        let known: Vec<&str> = NODE_SETTINGS_KEYS.iter().chain(&DEFAULTS_KEYS).chain(&["dependencies"]).copied().collect();
        let Some(fields) = Fields::open(node, "`defaults`", &known, LATER_KEYS, diagnostics) else { return };
        for key in ["dependencies", "duration", "secrets", "priority", "affinity", "any_of"].into_iter().filter(|key| fields.has(key)) {
            let refusal = Diagnostic::error(format!("`{key}` has no default")).at(fields.key_place(key));
            diagnostics.push(refusal.with_help("each module names its own in its manifest"));
        }
        self.defaults = read_defaults_keys(&fields, &self.defaults, diagnostics);
        // A manifest's paths start at its own folder, these at the file they stand in.
        let python = std::mem::replace(&mut self.defaults.python, PythonChoice::Auto);
        self.defaults.python = rooted_python(python, folder);
    }
}

impl Capacity {
    fn read(&mut self, key: NodeRef<'_>, value: NodeRef<'_>, diagnostics: &mut Diagnostics) {
        let is_auto = value.as_str() == Some("auto");
        match key.as_str().unwrap_or_default() {
            "cpus" if is_auto => self.cpus = None,
            "memory" if is_auto => self.memory = None,
            "cpus" => self.cpus = cpus_of(value, "cpus", diagnostics),
            "memory" => self.memory = bytes_of(value, "memory", diagnostics),
            "gpus" => self.gpus = if is_auto { None } else { gpus::read(value, diagnostics) },
            "vram" => {
                let refusal = Diagnostic::error("`vram` is no capacity of its own: it belongs to a GPU").at(key.place());
                diagnostics.push(refusal.with_help("write `gpus: [{uuid: GPU-..., vram: 24GiB}]`, or leave it to what is detected"));
            }
            name => self.read_custom(name, key, value, diagnostics),
        }
    }

    fn read_custom(&mut self, name: &str, key: NodeRef<'_>, value: NodeRef<'_>, diagnostics: &mut Diagnostics) {
        let refusal = if let Some(meant) = meant_resource(name) {
            Diagnostic::error(format!("unknown resource `{name}`")).with_help(format!("did you mean `{meant}`?"))
        } else if value.as_str() == Some("auto") {
            Diagnostic::error(format!("`{name}` cannot be detected")).with_help("write how many there are")
        } else {
            match ResourceName::parse(name) {
                Ok(resource) => {
                    self.custom.extend(amount_of(value, name, diagnostics).map(|amount| (resource, amount)));
                    return;
                }
                Err(error) => Diagnostic::error(error.reason).with_help_of(error.help),
            }
        };
        diagnostics.push(refusal.at(key.place()));
    }
}

fn read_path(text: &str, node: NodeRef<'_>, folder: &Path, diagnostics: &mut Diagnostics) -> Option<PathBuf> {
    let refusal = if text.trim().is_empty() || text.contains('\0') {
        Diagnostic::error(format!("{text:?} is not a path"))
    } else if text.starts_with('~') {
        Diagnostic::error("`~` is not expanded here").with_help("write the whole path, or one relative to this file")
    } else {
        return Some(lexically_joined(folder, Path::new(text)));
    };
    diagnostics.push(refusal.at(node.place()));
    None
}

fn read_pattern(text: &str, node: NodeRef<'_>, diagnostics: &mut Diagnostics) -> Option<Pattern> {
    match Pattern::parse(text) {
        Ok(pattern) => Some(pattern),
        Err(reason) => {
            let refusal = Diagnostic::error(reason).at(node.place());
            diagnostics.push(refusal.with_help("patterns are relative to the workspace: `pipelines/**/*.yaml`"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostics::Source;
    use crate::yaml::{Format, Limits, read};

    const FOLDER: &str = if cfg!(windows) { "C:\\w" } else { "/w" };

    fn settings(text: &str) -> Result<Settings, Vec<String>> {
        let tree = read(Source::new("prismq.yaml", text), Format::Yaml, &Limits::MANIFEST).expect("valid YAML");
        let read = Settings::read(&tree, Path::new(FOLDER)).map(|(settings, _)| settings);
        read.map_err(|found| found.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_whole_file() {
        let text = "
format: 1
host:
  max_concurrent: 4
  max_queued: 50
  sse_clients: 7
  capacity: {cpus: 6, memory: auto, gpus: [{uuid: GPU-1, vram: 24GiB, name: Big}, {uuid: GPU-2}], youtube-api: 4}
  reserve: {memory: 2GiB, vram: 512MiB, disk: 5GiB}
  runs_dir: ../shared/runs
  shared_state: true
  unkillable_after: 90s
  watch: poll
roots: [../tools, modules]
pipelines: ['flows/*.yaml']
retention: {keep_days: 30, keep_size: null}
defaults: {timeout: 1h, concurrency: 2, python: 'venv:.venv', pass_env: [HF_TOKEN], pin: strict, resources: {cpus: 0.5}, leaks: allow, log_cap: 10GB}
";
        let settings = settings(text).expect("good");
        let folder = Path::new(FOLDER);
        assert_eq!(settings.sse_clients, 7);
        assert_eq!((settings.max_concurrent, settings.max_queued, settings.reserve_memory), (4, 50, Some(Bytes(2 << 30))));
        assert_eq!(settings.watch, WatchSetting::Poll);
        assert_eq!((settings.capacity.cpus, settings.capacity.memory, settings.capacity.custom.len()), (Some(CpuMillis(6_000)), None, 1));
        let gpu = |uuid: &str, name: Option<&str>, vram| GpuSetting { uuid: uuid.into(), name: name.map(Into::into), vram };
        let gpus = vec![gpu("GPU-1", Some("Big"), Some(Bytes(24 << 30))), gpu("GPU-2", None, None)];
        assert_eq!((&settings.capacity.gpus, settings.reserve_vram), (&Some(gpus), Bytes(512 << 20)));
        assert_eq!(settings.unkillable_after, DurationMs(90_000));
        assert_eq!(settings.roots, [lexically_joined(folder, Path::new("../tools")), folder.join("modules")]);
        assert_eq!(settings.runs_dir, Some(lexically_joined(folder, Path::new("../shared/runs"))));
        assert!(settings.shared_state);
        assert_eq!(
            (settings.disk_reserve(Bytes(1)), settings.retention),
            (Bytes(5 << 30), Retention { keep_days: Some(30), keep_size: None })
        );
        assert!(settings.pipelines[0].matches("flows/a.yaml") && settings.pipelines.len() == 1);
        let defaults = &settings.defaults;
        assert_eq!((defaults.settings.timeout, defaults.settings.request.cpus), (Some(DurationMs(3_600_000)), CpuMillis(500)));
        assert_eq!((defaults.concurrency, defaults.pass_env.len()), (Some(2), 1));
        assert_eq!((defaults.settings.leaks, defaults.settings.log_cap), (crate::request::Leaks::Allow, Some(Bytes(10_000_000_000))));
        assert_eq!(defaults.python, PythonChoice::Venv(folder.join(".venv").to_string_lossy().into_owned()));
    }

    #[test]
    fn nothing_said_is_the_default() {
        assert_eq!(settings(""), Ok(Settings::default()));
        assert_eq!(settings("host: {}\n"), Ok(Settings::default()));
        let settings = Settings::default();
        assert_eq!(settings.memory_reserve(Bytes(8 << 30)), Bytes(1 << 30));
        assert_eq!(settings.memory_reserve(Bytes(200 << 30)), Bytes(10 << 30));
        assert_eq!(settings.disk_reserve(Bytes(5 << 30)), Bytes((5 << 30) / 50));
        assert_eq!(settings.disk_reserve(Bytes(4 << 40)), Bytes(1 << 30));
        assert!(settings.retention.keeps_all());
    }

    #[test]
    fn mistakes_come_at_once_and_later_keys_by_name() {
        let found = settings(
            "host: {max_concurent: 3, capacity: {cpu: 2, api: auto, gpus: 1, vram: 1}, reserve: {vram: x}}\nretention: {keep_days: 0, keep_size: null}\nengines: {}\nroots: ['~/x']\npipelines: ['../*.yaml']\ndefaults: {dependencies: [a], priority: 1, foreach: x}\n",
        )
        .expect_err("mistakes");
        for part in [
            "1:8: unknown field `max_concurent`",
            "1:37: unknown resource `cpu` (help: did you mean `cpus`?)",
            "1:45: `api` cannot be detected",
            "1:62: `gpus` must be a list such as",
            "1:65: `vram` is no capacity of its own",
            "1:91: `vram`",
            "2:24: `keep_days` must be a whole number from 1 to 36500, not `0`",
            "3:1: `engines` is not built yet: it comes with Slurm",
            "4:9: `~` is not expanded",
            "5:13: ",
            "6:12: `dependencies` has no default",
            "6:31: `priority` has no default",
            "6:41: `priority` must be one of `high`, `normal`, `low`, not `1`",
            "6:44: unknown field `foreach`",
        ] {
            assert!(found.iter().any(|line| line.starts_with(&format!("prismq.yaml:{part}"))), "{part} is missing in {found:#?}");
        }
        assert_eq!(found.len(), 14, "{found:#?}");
        assert!(settings("[a]").is_err());
    }
}
