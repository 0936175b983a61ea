//! Which boot of the machine this is: after another one, no process of before can be alive.

use std::sync::OnceLock;

/// First eight characters of an id that changes with every boot of the machine.
///
/// Where the system names no boot (all but Linux and Windows) it is made up once per process. That errs to the safe side: a restart of the host
/// looks like a restart of the machine, never the other way round; there, whether an attempt lives must be told by its lock.
#[must_use]
pub fn boot_id() -> &'static str {
    static BOOT: OnceLock<String> = OnceLock::new();
    BOOT.get_or_init(|| {
        let named = named();
        match named.get(..8) {
            Some(head) if head.bytes().all(|byte| byte.is_ascii_hexdigit()) => head.to_ascii_lowercase(),
            _ => random_hex(4),
        }
    })
}

/// What Linux calls its boot.
#[cfg(not(windows))]
fn named() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default()
}

/// When Windows was started, the part that changes fastest first.
#[cfg(windows)]
fn named() -> String {
    crate::win32::boot().map(|boot| format!("{:016x}", boot.swap_bytes())).unwrap_or_default()
}

/// `length` random bytes, hexadecimal. Without a source of randomness: the clock, since these ids only tell things apart.
pub(super) fn random_hex(length: usize) -> String {
    let mut bytes = vec![0; length];
    if getrandom::fill(&mut bytes).is_err() {
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |passed| passed.as_nanos());
        for (byte, of_clock) in bytes.iter_mut().zip(clock.to_le_bytes()) {
            *byte = of_clock;
        }
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
