//! Boot.
/// First eight characters of an id that changes with every boot of the machine.
#[must_use]
pub fn boot_id() -> &'static str {
    ""
}
