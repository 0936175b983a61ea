//! Who a process is, on which machine and since which boot; and the sync of a folder.
//!
//! What the files of an attempt need of the system. A number of a process alone says nothing: it may belong to another one by now.

use std::io;
use std::path::Path;
#[cfg(target_os = "linux")]
use std::{fs::File, io::Read};

/// A process that cannot be mistaken for another one with the same number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProcessIdentity {
    /// Its number.
    pub pid: u32,
    /// When it was started: ticks since the boot on Linux, 100 ns since 1601 on Windows; 0: not known.
    pub started: u64,
}

impl ProcessIdentity {
    /// The process that has this number now. The caller makes sure that it cannot be another one yet: it is its parent, or itself.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        Self { pid, started: look(pid).map_or(0, |seen| seen.started) }
    }

    /// Whether it still lives, and is not only waiting for its parent to notice its death. Where starts are not known, whether any
    /// process has its number.
    #[must_use]
    pub fn is_alive(self) -> bool {
        look(self.pid).is_some_and(|seen| !seen.dead && (self.started == 0 || self.started == seen.started))
    }
}

struct Seen {
    started: u64,
    /// It only waits for its parent to notice its death.
    dead: bool,
}

/// The process with this number; `None` where there is none.
#[cfg(target_os = "linux")]
fn look(pid: u32) -> Option<Seen> {
    let stat = ProcessStat::read(pid)?;
    Some(Seen { started: stat.started, dead: stat.dead })
}

/// What Linux tells about a process.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessStat {
    /// It only waits for its parent to notice its death.
    pub(crate) dead: bool,
    /// Its parent; an orphan's is whoever adopted it.
    pub(crate) parent: u32,
    /// In ticks since the boot.
    pub(crate) started: u64,
}

#[cfg(target_os = "linux")]
impl ProcessStat {
    /// Of the process with this number; `None` where there is none.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        // Read at once: it is a few hundred bytes, made anew for each process that is started.
        let mut stat = [0; 1024];
        let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut stat).ok()?;
        let stat = &stat[..length];
        // The name in parentheses may hold anything, also parentheses and spaces.
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let mut fields = std::str::from_utf8(&stat[end + 1..]).ok()?.split_ascii_whitespace();
        let dead = matches!(fields.next()?, "Z" | "X" | "x");
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self { dead, parent, started })
    }
}

#[cfg(all(unix, not(target_os = "linux")))]
fn look(pid: u32) -> Option<Seen> {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).ok()?)?;
    rustix::process::test_kill_process(pid).is_ok().then_some(Seen { started: 0, dead: false })
}

/// There is no process here that is dead and still has its number for others.
#[cfg(windows)]
fn look(pid: u32) -> Option<Seen> {
    crate::win32::started(pid).map(|started| Seen { started, dead: false })
}

/// The machine as it runs now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Machine {
    /// Its name in the network; empty: not known.
    pub name: String,
    /// Differs after every boot; empty: not known.
    pub boot: String,
}

impl Machine {
    /// This one.
    #[must_use]
    pub fn this() -> Self {
        #[cfg(target_os = "linux")]
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        #[cfg(target_os = "linux")]
        let this = Self { name: read("/proc/sys/kernel/hostname"), boot: read("/proc/sys/kernel/random/boot_id") };
        #[cfg(windows)]
        let this = Self {
            name: crate::win32::computer_name().unwrap_or_default(),
            boot: crate::win32::boot().map(|boot| format!("{boot:016x}")).unwrap_or_default(),
        };
        #[cfg(not(any(target_os = "linux", windows)))]
        let this = Self::default();
        this
    }
}

/// Makes the names in a folder durable.
#[cfg(unix)]
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    std::fs::File::open(folder)?.sync_all()
}

/// Here a folder cannot be synced; the file system orders its names by itself.
#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it can fail")]
pub(super) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, any(target_os = "linux", windows)))]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_number_and_start() {
        let me = ProcessIdentity::of(std::process::id());
        assert!(me.started > 0 && me.is_alive());
        #[cfg(unix)]
        assert_eq!(ProcessStat::read(me.pid).unwrap().parent, std::os::unix::process::parent_id());
        assert!(!ProcessIdentity { started: me.started + 1, ..me }.is_alive(), "another one with the same number");
        let mut child = std::process::Command::new(if cfg!(windows) { "hostname" } else { "/bin/true" }).spawn().unwrap();
        let identity = ProcessIdentity::of(child.id());
        child.wait().unwrap();
        assert!(!identity.is_alive());
    }

    #[test]
    fn the_machine_is_known() {
        let machine = Machine::this();
        assert_eq!(machine, Machine::this());
        assert_eq!(machine.boot.len(), if cfg!(windows) { 16 } else { 36 }, "{machine:?}");
        assert!(!machine.name.is_empty());
    }
}
