//! The crash harness: the real program under injected faults, again and again, and one checker after each of them.
//!
//! ```text
//! cargo test --test crash -- --cycles 200 --seed 7        (--help has all options)
//! ```
//!
//! A plain `cargo test` plays a dozen cycles. A cycle is drawn by the seed and its number: a fault ([`fault`]), what is run ([`plan`]), who
//! hosts and who attaches ([`cycle`]). `strace` kills the host at its n-th call of some kind, lets that call fail or holds it up. What was
//! acknowledged is noted ([`acks`]); the next host goes on; at last everything is brought to its end without a fault ([`settle`]), and the
//! checker ([`check`]) asserts the invariants I1 to I7. Without `strace` only `kill -9` at random moments is left, and the report says so.
//!
//! A cycle that fails keeps its folder, with the story of what was done, and says by which command it is repeated.
#![cfg_attr(
    target_os = "linux",
    expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "it starts programs, reads files and looks at the clock")
)]

// A program of its own needs a `main` on every system, and `strace` is on one.
#[cfg(target_os = "linux")]
include!("harness.rs");

#[cfg(not(target_os = "linux"))]
fn main() {}
