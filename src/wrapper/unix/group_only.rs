//! Descendants where orphans cannot be adopted: the module's process group is all that can be found.

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

/// Whether nothing of the group is left. Its number cannot be given to somebody else while it has a member.
pub(super) fn is_gone(group: Pid) -> bool {
    test_kill_process_group(group).is_err()
}

/// Their numbers are not known.
pub(super) fn living() -> Vec<u32> {
    Vec::new()
}

/// Ends the group, also after the module was waited for: then [`is_gone`] has just said that it has members.
pub(super) fn kill(group: Pid, _: bool) {
    let _ = kill_process_group(group, Signal::KILL);
}
