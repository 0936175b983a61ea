//! What the wrapper needs of Unix. On Linux nothing escapes; elsewhere, where orphans cannot be adopted, the process group is all there is.

#[cfg(target_os = "linux")]
mod cgroup;
#[cfg_attr(not(target_os = "linux"), path = "unlimited.rs")]
mod memory;
mod process;
mod signals;
#[cfg_attr(not(target_os = "linux"), path = "group_only.rs")]
mod tree;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, setsid};

pub(super) use memory::Guard;
pub(super) use process::Process;
pub(super) use signals::Signals;

/// Makes this process one that stands on its own, before the module starts: away from the terminal, heir to all orphans among its
/// descendants, and with the limit of open files that the module is to have.
pub(super) fn settle_in(open_files: Option<u64>) {
    // Fails for the leader of a group, as started from a shell by hand: then the group is ours already.
    let _ = setsid();
    adopt_orphans();
    if let Some(soft) = open_files {
        let now = getrlimit(Resource::Nofile);
        let soft = now.maximum.map_or(soft, |hard| soft.min(hard));
        if now.current != Some(soft) {
            let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(soft), ..now });
        }
    }
}

#[cfg(target_os = "linux")]
fn adopt_orphans() {
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() {}

/// Tells the kernel which process to end first when the machine runs out of memory: a module, before its wrapper or the host.
#[cfg(target_os = "linux")]
pub(super) fn offer_to_oom(pid: u32) {
    let _ = std::fs::write(format!("/proc/{pid}/oom_score_adj"), "500");
}

#[cfg(not(target_os = "linux"))]
pub(super) fn offer_to_oom(_: u32) {}
