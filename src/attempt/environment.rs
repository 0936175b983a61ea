//! The environment of a module: an allow-list of the host's, what the manifest says, and the `PRISMQ_` variables.
//!
//! Pure: the host's variables come in as an argument. Everything that is not listed stays outside, so that a module does not depend
//! on the shell that happened to start the host, and a secret in that shell does not reach it.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use super::folder::{AttemptFolder, ParamsFile};
use crate::ids::AttemptId;
use crate::request::GpuShare;
use crate::units::{Bytes, CpuMillis};

/// The variable by which processes of an attempt are known again.
pub const TOKEN_VARIABLE: &str = "PRISMQ_TOKEN";

/// Variables of the host that every module gets: where programs and the user's files are, the language, the way to the network,
/// caches of models, the tools of a GPU. No loader paths and no package indexes, which may hold a password: `pass_env:` adds those
/// where they are meant. Names ending in `*` stand for all that begin so.
const ALLOWED: [&str; 44] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "DISPLAY",
    "WAYLAND_DISPLAY",
    "XDG_*",
    "DBUS_SESSION_BUS_ADDRESS",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "HF_HOME",
    "HF_HUB_CACHE",
    "TORCH_HOME",
    "CUDA_PATH",
    "CUDA_HOME",
    "CUDA_CACHE_PATH",
    "CONDA_*",
    "MAMBA_*",
    "PYENV_ROOT",
    "PYENV_VERSION",
    "UV_CACHE_DIR",
    "UV_PYTHON",
    "UV_PYTHON_INSTALL_DIR",
    "NVM_DIR",
    "VOLTA_HOME",
];

/// What programs on Windows cannot live without, beyond [`ALLOWED`].
const ALLOWED_WINDOWS: [&str; 18] = [
    "USERPROFILE",
    "APPDATA",
    "LOCALAPPDATA",
    "PROGRAMDATA",
    "ALLUSERSPROFILE",
    "PUBLIC",
    "SYSTEMROOT",
    "SYSTEMDRIVE",
    "WINDIR",
    "COMSPEC",
    "PATHEXT",
    "HOMEDRIVE",
    "HOMEPATH",
    "USERNAME",
    "PROGRAMFILES*",
    "COMMONPROGRAMFILES*",
    "NUMBER_OF_PROCESSORS",
    "PROCESSOR_*",
];

/// What a module finds in its environment beside the `PRISMQ_` variables.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// The host's share, see [`HostEnvironment::share`]; the same for all attempts of a module.
    pub base: Arc<Vec<(OsString, OsString)>>,
    /// What the manifest, the node or the interpreter adds; wins over `base`, later over earlier.
    pub own: Vec<(OsString, OsString)>,
}

/// The host's variables, read once.
#[derive(Debug, Clone, Default)]
pub struct HostEnvironment {
    all: BTreeMap<OsString, OsString>,
}

/// What distinguishes an attempt from others.
#[derive(Debug, Clone, Copy)]
pub struct Marks<'a> {
    /// The attempt.
    pub id: &'a AttemptId,
    /// Path of its node.
    pub node: &'a str,
    /// Its folder.
    pub folder: &'a AttemptFolder,
    /// Its parameters.
    pub params: &'a ParamsFile,
    /// Its token.
    pub token: &'a str,
    /// Processors granted.
    pub cpus: CpuMillis,
    /// Memory granted; 0: none declared.
    pub memory: Bytes,
    /// GPUs granted.
    pub gpus: &'a [GpuShare],
    /// Which of the alternatives of its requests was granted, if there are some.
    pub alternative: Option<u32>,
}

impl HostEnvironment {
    /// From the variables of a process, usually `std::env::vars_os()`.
    #[must_use]
    pub fn new(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        Self { all: variables.into_iter().collect() }
    }

    /// A variable of the host.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&OsStr> {
        if !cfg!(windows) {
            return self.all.get(OsStr::new(name)).map(OsString::as_os_str);
        }
        self.all.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_os_str())
    }

    /// The share of a module: the allow-list and the names in `pass` (a name may end in `*`). Compute it once for each module.
    #[must_use]
    pub fn share(&self, pass: &[String]) -> Arc<Vec<(OsString, OsString)>> {
        let wanted = |name: &OsStr| {
            let name = name.to_str()?;
            let windows: &[&str] = if cfg!(windows) { &ALLOWED_WINDOWS } else { &[] };
            let listed = ALLOWED.iter().chain(windows).any(|pattern| matches(pattern, name));
            Some(listed || pass.iter().any(|pattern| matches(pattern, name)))
        };
        let share = self.all.iter().filter(|(name, _)| wanted(name).unwrap_or(false));
        Arc::new(share.map(|(name, value)| (name.clone(), value.clone())).collect())
    }
}

/// Whether a variable's name fits a name of the list. Windows does not tell capitals from small letters.
fn matches(pattern: &str, name: &str) -> bool {
    let (wanted, prefix) = pattern.strip_suffix('*').map_or((pattern, false), |start| (start, true));
    let Some(head) = name.get(..wanted.len()) else { return false };
    let same = if cfg!(windows) { head.eq_ignore_ascii_case(wanted) } else { head == wanted };
    same && (prefix || name.len() == wanted.len())
}

impl Environment {
    /// The complete environment of an attempt. Where a name stands twice the later one counts, and so does it for
    /// `std::process::Command`: host, defaults, manifest, `PRISMQ_` variables.
    #[must_use]
    pub fn complete(&self, marks: Marks<'_>) -> Vec<(OsString, OsString)> {
        let mut all = Vec::with_capacity(self.base.len() + self.own.len() + 18);
        all.extend(self.base.iter().cloned());
        let mut set = |name: &str, value: OsString| all.push((name.into(), value));
        // A library that starts a thread for every processor of the machine is the usual reason why eight modules at once crawl.
        set("OMP_NUM_THREADS", (marks.cpus.0 / 1000).max(1).to_string().into());
        set("PYTHONUNBUFFERED", "1".into());
        if cfg!(windows) {
            set("PYTHONUTF8", "1".into());
        }
        all.extend(self.own.iter().cloned());
        let mut set = |name: &str, value: OsString| all.push((name.into(), value));
        set("PRISMQ_RUN_ID", marks.id.run.as_str().into());
        set("PRISMQ_NODE", marks.node.into());
        set("PRISMQ_ATTEMPT", marks.id.attempt.to_string().into());
        set("PRISMQ_PARAMS", marks.params.path().into());
        set("PRISMQ_OUTPUT", marks.folder.output().into());
        set("PRISMQ_PROGRESS", marks.folder.progress().into());
        set("PRISMQ_ARTIFACTS", marks.folder.artifacts().into());
        set("PRISMQ_CPUS", marks.cpus.to_string().into());
        if marks.memory.0 > 0 {
            set("PRISMQ_MEMORY_BYTES", marks.memory.0.to_string().into());
        }
        if let Some(alternative) = marks.alternative {
            set("PRISMQ_ALTERNATIVE", alternative.to_string().into());
            if marks.gpus.is_empty() {
                // It got the alternative without a GPU: a library that finds one would use it all the same.
                set("CUDA_VISIBLE_DEVICES", "".into());
            }
        }
        if let Some(first) = marks.gpus.first() {
            let uuids = marks.gpus.iter().map(|gpu| gpu.gpu.as_str()).collect::<Vec<_>>().join(",");
            // By UUID: the number of a card is another in every library, and changes when one is added.
            set("CUDA_DEVICE_ORDER", "PCI_BUS_ID".into());
            set("CUDA_VISIBLE_DEVICES", uuids.clone().into());
            set("PRISMQ_GPUS", uuids.into());
            if first.vram.0 > 0 {
                set("PRISMQ_VRAM_BYTES", first.vram.0.to_string().into());
            }
        }
        set(TOKEN_VARIABLE, marks.token.into());
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{AttemptNumber, NodeIndex, RunId};
    use serde_json::json;
    use std::path::Path;

    fn pairs(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        list.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect()
    }

    fn complete(environment: &Environment) -> BTreeMap<String, String> {
        let id = AttemptId { run: RunId::parse("20251120-081152-zzzzz").unwrap(), node: NodeIndex(3), attempt: AttemptNumber(2) };
        let run_folder = Path::new("/w/.prismq/runs/r");
        let folder = AttemptFolder::new(run_folder, "a[1]", id.attempt);
        let params = ParamsFile::new(run_folder, &json!({}));
        let gpu = |uuid: &str| GpuShare { gpu: uuid.into(), share: crate::units::Amount(1000), vram: Bytes(7) };
        let gpus = [gpu("GPU-1"), gpu("GPU-2")];
        let (cpus, memory) = (CpuMillis(2500), Bytes(1 << 30));
        let marks = Marks {
            id: &id,
            node: "a[1]",
            folder: &folder,
            params: &params,
            token: "t0k",
            cpus,
            memory,
            gpus: &gpus,
            alternative: Some(1),
        };
        let all = environment.complete(marks);
        all.into_iter().map(|(name, value)| (name.into_string().unwrap(), value.into_string().unwrap())).collect()
    }

    #[test]
    fn only_listed_and_passed_names_reach_a_module() {
        let host = HostEnvironment::new(pairs(&[
            ("PATH", "/bin"),
            ("LC_ALL", "C.UTF-8"),
            ("AWS_SECRET_ACCESS_KEY", "x"),
            ("PATHOLOGY", "y"),
            ("MY_A", "1"),
            ("MY_B", "2"),
            ("YOURS", "3"),
        ]));
        let names = |pass: &[&str]| {
            let pass: Vec<String> = pass.iter().map(|name| (*name).to_owned()).collect();
            let share = host.share(&pass);
            share.iter().map(|(name, _)| name.to_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["LC_ALL", "PATH"]);
        assert_eq!(names(&["MY_*", "YOURS", "ABSENT"]), ["LC_ALL", "MY_A", "MY_B", "PATH", "YOURS"]);
    }

    #[test]
    fn the_manifest_wins_over_defaults_and_never_over_our_names() {
        let environment = Environment {
            base: Arc::new(pairs(&[("PATH", "/bin"), ("OMP_NUM_THREADS", "64")])),
            own: pairs(&[("PYTHONUNBUFFERED", "0"), ("PRISMQ_NODE", "forged"), ("CUDA_VISIBLE_DEVICES", "0")]),
        };
        let all = complete(&environment);
        assert_eq!(all["PATH"], "/bin");
        assert_eq!(all["OMP_NUM_THREADS"], "2", "the grant counts, not the host's shell");
        assert_eq!(all["PYTHONUNBUFFERED"], "0");
        assert_eq!(all["PRISMQ_NODE"], "a[1]");
        assert_eq!((all["PRISMQ_ATTEMPT"].as_str(), all["PRISMQ_CPUS"].as_str()), ("2", "2.5"));
        assert_eq!(all["PRISMQ_MEMORY_BYTES"], (1u64 << 30).to_string());
        assert_eq!((all["CUDA_VISIBLE_DEVICES"].as_str(), all["CUDA_DEVICE_ORDER"].as_str()), ("GPU-1,GPU-2", "PCI_BUS_ID"));
        assert_eq!((all["PRISMQ_GPUS"].as_str(), all["PRISMQ_VRAM_BYTES"].as_str()), ("GPU-1,GPU-2", "7"));
        assert_eq!(all["PRISMQ_ALTERNATIVE"], "1");
        assert_eq!(all[TOKEN_VARIABLE], "t0k");
    }
}
