//! The clocks and identities that an arena is stamped with.

use std::io::Read as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// Nanoseconds of the monotonic clock, which all processes of one boot share. No system call where the kernel
/// offers the clock in user space.
#[inline]
pub fn monotonic_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the result; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    (time.tv_sec as u64).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec as u64)
}

/// Nanoseconds since 1970.
pub fn unix_nanos() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_nanos() as u64)
}

/// The identity of this boot of the machine; all zero where the system does not tell.
pub(crate) fn boot_id() -> [u8; 16] {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).unwrap_or(0).to_be_bytes()
}

/// When the process `process_id` started, in ticks since boot; none if there is no such process.
pub(crate) fn process_started(process_id: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{process_id}/stat")).ok()?;
    // The command name, in parentheses, may hold anything; the fields after it are plain.
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 2;
    let fields = std::str::from_utf8(&stat[after_name..]).ok()?;
    let mut fields = fields.split(' ');
    if fields.next()?.starts_with(['Z', 'X']) {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Sixteen random bytes.
pub(crate) fn random_id() -> std::io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}
