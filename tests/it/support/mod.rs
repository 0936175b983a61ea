//! What the tests of the whole program stand on: a workspace of their own, the program in it, and texts without what changes.
//!
//! Nothing here sleeps for a fixed time: everything waits for a condition, with a limit after which the test fails and says what it saw.

#[cfg(unix)]
pub(crate) mod faults;
#[cfg(unix)]
pub(crate) mod http;
mod process;
mod space;
#[cfg(unix)]
pub(crate) mod sse;
mod text;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub(crate) use process::{Ran, Running};
pub(crate) use space::TestSpace;
pub(crate) use text::{json_lines, steady};

/// Longest time that a test waits for anything. Generous: it is only spent when something is broken, and machines may be busy.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
/// Pause between two looks at a condition.
const LOOK: Duration = Duration::from_millis(5);

/// The misbehaving program of `tests/stub.rs`. `cargo test --test it` alone does not build examples.
pub(crate) fn stub() -> PathBuf {
    let own = std::env::current_exe().expect("a test knows its own program");
    let profile = own.parent().and_then(Path::parent).expect("tests lie in target/<profile>/deps");
    let stub = profile.join("examples").join(format!("stub{}", std::env::consts::EXE_SUFFIX));
    assert!(stub.is_file(), "{} is not built: run `cargo build --example stub` (plain `cargo test` does it)", stub.display());
    stub
}

/// Looks at a condition until it gives something. `None` after [`LIMIT`].
pub(crate) fn until<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + LIMIT;
    loop {
        if let Some(found) = condition() {
            return Some(found);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(LOOK);
    }
}
