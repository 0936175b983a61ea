//! A control group for the memory of one attempt, where this process may make one.
//!
//! Version 2 where a part of the tree is delegated to us (the memory controller is handed down to the groups beside or below ours),
//! version 1 as root. The wrapper enters the group, starts the module, which is born in it, and leaves: its own memory does not count.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::attempt::MemoryGuard;
use crate::units::Bytes;

/// Names of files in a group.
#[derive(Debug, Clone, Copy)]
struct Files {
    limit: &'static str,
    /// Swap, and what is written there: without it a limit only makes the machine slow.
    swap: &'static str,
    /// Swap counts into the second limit of version 1, and has one of its own in version 2.
    swap_holds_memory: bool,
    peak: &'static str,
    events: &'static str,
}

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    swap: "memory.memsw.limit_in_bytes",
    swap_holds_memory: true,
    peak: "memory.max_usage_in_bytes",
    events: "memory.oom_control",
};
const V2: Files =
    Files { limit: "memory.max", swap: "memory.swap.max", swap_holds_memory: false, peak: "memory.peak", events: "memory.events" };

/// File by which a process enters a group; `0` stands for the one that writes.
const PROCS: &str = "cgroup.procs";

/// The group of one attempt. It is left and removed when this is dropped.
#[derive(Debug)]
pub(in crate::wrapper) struct Group {
    kind: MemoryGuard,
    files: Files,
    path: PathBuf,
    /// Where this process came from.
    home: PathBuf,
}

impl Group {
    /// A group with this limit, entered. `None` where that cannot be.
    pub(super) fn enter(limit: Bytes) -> Option<Self> {
        let (mounts, own) = (fs::read_to_string("/proc/self/mountinfo").ok()?, fs::read_to_string("/proc/self/cgroup").ok()?);
        let name = format!("prismq-{}", std::process::id());
        places(&mounts, &own).into_iter().find_map(|(kind, home)| Self::beside_or_below(kind, &home, &name, limit))
    }

    fn beside_or_below(kind: MemoryGuard, home: &Path, name: &str, limit: Bytes) -> Option<Self> {
        let make = |files, parent: &Path| Self::make(kind, files, parent.join(name), home, limit).ok();
        if kind == MemoryGuard::CgroupV1 {
            return make(V1, home);
        }
        // A group with processes hands no controller down, so that beside ours is the usual place.
        let parents = [Some(home), home.parent()].into_iter().flatten();
        let hands_down = |parent: &&Path| {
            let controllers = fs::read_to_string(parent.join("cgroup.subtree_control")).unwrap_or_default();
            controllers.split_ascii_whitespace().any(|controller| controller == "memory")
        };
        parents.filter(hands_down).find_map(|parent| make(V2, parent))
    }

    fn make(kind: MemoryGuard, files: Files, path: PathBuf, home: &Path, limit: Bytes) -> io::Result<Self> {
        match fs::create_dir(&path) {
            // Of a wrapper that was killed and had our number: it may be of use to nobody else.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => fs::remove_dir(&path).and_then(|()| fs::create_dir(&path))?,
            done => done?,
        }
        let group = Self { kind, files, path, home: home.to_owned() };
        let limit = limit.0.to_string();
        group.write(files.limit, &limit)?;
        // There may be no swap, or no accounting of it.
        let _ = group.write(files.swap, if files.swap_holds_memory { &limit } else { "0" });
        group.write(PROCS, "0")?;
        Ok(group)
    }

    fn write(&self, file: &str, text: &str) -> io::Result<()> {
        fs::write(self.path.join(file), text)
    }

    fn read(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.path.join(file)).ok()
    }

    pub(super) fn kind(&self) -> MemoryGuard {
        self.kind
    }

    /// Takes this process out of it again.
    pub(super) fn leave(&self) {
        let _ = fs::write(self.home.join(PROCS), "0");
    }

    /// Most memory that was in it.
    pub(super) fn peak(&self) -> Option<Bytes> {
        self.read(self.files.peak)?.trim().parse().ok().map(Bytes)
    }

    /// Whether the kernel killed a process because of the limit.
    pub(super) fn has_killed(&self) -> bool {
        let events = self.read(self.files.events).unwrap_or_default();
        let count = events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse::<u64>().ok());
        count.unwrap_or(0) > 0
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.leave();
        // It stays where processes are left in it on purpose.
        let _ = fs::remove_dir(&self.path);
    }
}

/// The groups of this process that rule over memory, from what `/proc/self/mountinfo` and `/proc/self/cgroup` say.
fn places(mounts: &str, own: &str) -> Vec<(MemoryGuard, PathBuf)> {
    let mut places = Vec::new();
    for mount in mounts.lines().filter_map(Mount::parse) {
        let kind = match mount.kind {
            "cgroup2" => MemoryGuard::CgroupV2,
            "cgroup" if mount.options.split(',').any(|option| option == "memory") => MemoryGuard::CgroupV1,
            _ => continue,
        };
        // "0::/path" in version 2, "4:memory:/path" in version 1.
        let path = own.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let fits = match kind {
                MemoryGuard::CgroupV2 => controllers.is_empty(),
                _ => controllers.split(',').any(|controller| controller == "memory"),
            };
            fits.then_some(path)
        });
        // In a container only a part of the tree may be mounted.
        let below = path.and_then(|path| Path::new(path).strip_prefix(mount.root).ok());
        if let Some(below) = below {
            // Without a slash at its end, which an empty path would leave.
            places.push((kind, Path::new(mount.point).join(below).components().collect()));
        }
    }
    places.sort_by_key(|(kind, _)| *kind != MemoryGuard::CgroupV2);
    places
}

/// A line of `mountinfo`.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        // "31 23 0:28 ROOT POINT rw,relatime [tags] - KIND SOURCE OPTIONS"
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(3);
        let mut tail = tail.split(' ');
        Some(Self { root: head.next()?, point: head.next()?, kind: tail.next()?, options: tail.nth(1)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:4 - cgroup cgroup rw,memory\n\
        40 31 0:37 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";

    #[test]
    fn our_groups_are_found_in_every_layout() {
        let wanted = [(MemoryGuard::CgroupV2, "/sys/fs/cgroup/unified"), (MemoryGuard::CgroupV1, "/sys/fs/cgroup/memory/a/b")];
        let wanted: Vec<_> = wanted.into_iter().map(|(kind, path)| (kind, PathBuf::from(path))).collect();
        assert_eq!(places(HYBRID, "4:memory:/a/b\n8:pids:/\n0::/\n"), wanted);

        let unified = "29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n";
        let session = "0::/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope\n";
        let place = "/sys/fs/cgroup/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope";
        assert_eq!(places(unified, session), [(MemoryGuard::CgroupV2, PathBuf::from(place))]);

        let container = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
        assert_eq!(places(container, "4:memory:/docker/abc\n"), [(MemoryGuard::CgroupV1, PathBuf::from("/sys/fs/cgroup/memory"))]);
        assert_eq!(places(container, "4:memory:/elsewhere\n"), []);
        assert_eq!(places("", ""), []);
        assert_eq!(places("garbage - \n - \n", "garbage\n::\n"), []);
    }

    /// A folder that looks like a group of version 2, whose processes are in `app/x`.
    fn tree(handed_down: &str) -> (tempfile::TempDir, PathBuf) {
        let root = tempfile::tempdir().unwrap();
        let home = root.path().join("app/x");
        fs::create_dir_all(&home).unwrap();
        fs::write(root.path().join("app/cgroup.subtree_control"), handed_down).unwrap();
        fs::write(home.join("cgroup.subtree_control"), "").unwrap();
        (root, home)
    }

    #[test]
    fn a_group_of_version_2_is_made_beside_ours() {
        let (root, home) = tree("cpu memory pids");
        let group = Group::beside_or_below(MemoryGuard::CgroupV2, &home, "prismq-1", Bytes(1 << 20)).unwrap();
        let path = root.path().join("app/prismq-1");
        let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
        assert_eq!([read("memory.max"), read("memory.swap.max"), read("cgroup.procs")], ["1048576", "0", "0"]);
        assert!(!group.has_killed() && group.peak().is_none());
        fs::write(path.join("memory.events"), "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 0\n").unwrap();
        fs::write(path.join("memory.peak"), "1048576\n").unwrap();
        assert_eq!((group.has_killed(), group.peak()), (true, Some(Bytes(1 << 20))));
        drop(group);
        assert_eq!(fs::read_to_string(home.join("cgroup.procs")).unwrap(), "0", "we went home");
    }

    #[test]
    fn no_group_where_memory_is_not_handed_down() {
        let (root, home) = tree("cpu pids");
        assert!(Group::beside_or_below(MemoryGuard::CgroupV2, &home, "prismq-1", Bytes(1)).is_none());
        assert_eq!(fs::read_dir(root.path().join("app")).unwrap().count(), 2, "nothing is left behind");
    }

    #[test]
    fn a_group_that_cannot_be_limited_is_removed() {
        let (root, home) = tree("memory");
        // A folder where a file should be: the limit cannot be written.
        let path = root.path().join("app/prismq-1");
        fs::create_dir_all(path.join("memory.max")).unwrap();
        assert!(Group::beside_or_below(MemoryGuard::CgroupV2, &home, "prismq-1", Bytes(1)).is_none());
    }
}
