//! Limits of the control group (version 2) that this process lives in, and of those around it.

use std::path::Path;

use crate::units::{Bytes, CpuMillis};

/// What the groups allow; none: they set no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// Memory, the least of all groups.
    pub memory: Option<Bytes>,
    /// What of it can still be had, the least of all groups that have a limit.
    pub memory_free: Option<Bytes>,
    /// Processors, the least of all groups.
    pub cpus: Option<CpuMillis>,
}

/// Looks at the groups of this process.
pub(super) fn limits() -> Limits {
    let membership = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    limits_in(Path::new("/sys/fs/cgroup"), &membership)
}

/// The same for a tree of groups below `root` and a text as in `/proc/self/cgroup`.
#[must_use]
pub fn limits_in(root: &Path, membership: &str) -> Limits {
    let mut limits = Limits::default();
    let Some(path) = membership.lines().find_map(|line| line.strip_prefix("0::")) else { return limits };
    // In a container the path may lead out of what is mounted: then the root is the group itself.
    let inner = root.join(path.trim().trim_start_matches('/'));
    let innermost = if inner.is_dir() && !path.contains("..") { inner } else { root.to_owned() };
    for group in innermost.ancestors().take_while(|group| group.starts_with(root)) {
        limits.take(group);
    }
    limits
}

impl Limits {
    fn take(&mut self, group: &Path) {
        let text = |name: &str| std::fs::read_to_string(group.join(name)).ok();
        let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
        // `max` is no number.
        if let Some(most) = number("memory.max") {
            self.memory = least(self.memory, Bytes(most));
            let used = number("memory.current").unwrap_or(0);
            // The cache of files is given up when somebody needs memory.
            let stat = text("memory.stat").unwrap_or_default();
            let cache: u64 = ["inactive_file", "active_file"].iter().filter_map(|key| value(&stat, key)).sum();
            let free = most.saturating_sub(used.saturating_sub(cache));
            self.memory_free = least(self.memory_free, Bytes(free));
        }
        if let Some(cpus) = text("cpu.max").and_then(|quota| cpus(&quota)) {
            self.cpus = least(self.cpus, cpus);
        }
    }
}

fn least<T: Ord>(known: Option<T>, other: T) -> Option<T> {
    Some(match known {
        Some(known) => known.min(other),
        None => other,
    })
}

/// `QUOTA PERIOD` in microseconds.
fn cpus(text: &str) -> Option<CpuMillis> {
    let mut words = text.split_whitespace();
    let (quota, period) = (words.next()?.parse::<u64>().ok()?, words.next()?.parse::<u64>().ok()?);
    let millis = quota.checked_mul(1000)?.checked_div(period)?;
    (millis > 0).then_some(CpuMillis(millis))
}

fn value(stat: &str, key: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix(key)?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let file = folder.path().join(name);
            std::fs::create_dir_all(file.parent().expect("a parent")).expect("folders");
            std::fs::write(file, text).expect("a file");
        }
        folder
    }

    #[test]
    fn the_tightest_group_counts() {
        let tree = tree(&[
            ("user.slice/memory.max", "8589934592\n"),
            ("user.slice/memory.current", "6442450944\n"),
            ("user.slice/memory.stat", "anon 1\ninactive_file 1073741819\nactive_file 5\n"),
            ("user.slice/cpu.max", "150000 100000\n"),
            ("user.slice/app.scope/memory.max", "max\n"),
            ("user.slice/app.scope/cpu.max", "max 100000\n"),
        ]);
        let limits = limits_in(tree.path(), "0::/user.slice/app.scope\n");
        let wanted = Limits { memory: Some(Bytes(8 * GIB)), memory_free: Some(Bytes(3 * GIB)), cpus: Some(CpuMillis(1500)) };
        assert_eq!(limits, wanted);
    }

    #[test]
    fn a_container_sees_its_group_as_the_root() {
        let tree = tree(&[("memory.max", "4294967296"), ("memory.current", "1073741824"), ("cpu.max", "400000 100000")]);
        let wanted = Limits { memory: Some(Bytes(4 * GIB)), memory_free: Some(Bytes(3 * GIB)), cpus: Some(CpuMillis(4000)) };
        assert_eq!(limits_in(tree.path(), "0::/\n"), wanted);
        assert_eq!(limits_in(tree.path(), "0::/../../elsewhere\n"), wanted);
        assert_eq!(limits_in(tree.path(), "0::/not/mounted\n"), wanted);
    }

    #[test]
    fn no_limit_no_group_and_nonsense_limit_nothing() {
        let tree = tree(&[("a/memory.max", "lots"), ("a/cpu.max", "1 0"), ("b/memory.max", "max"), ("c/cpu.max", "")]);
        for membership in ["0::/a", "0::/b", "0::/c", "", "4:memory:/a\n"] {
            assert_eq!(limits_in(tree.path(), membership), Limits::default(), "{membership:?}");
        }
        assert_eq!(limits_in(Path::new("/nowhere"), "0::/a"), Limits::default());
    }

    #[test]
    fn more_in_use_than_allowed_leaves_nothing() {
        let tree = tree(&[("memory.max", "10"), ("memory.current", "12")]);
        assert_eq!(limits_in(tree.path(), "0::/").memory_free, Some(Bytes(0)));
    }
}
