//! How the C library's allocator shares memory out in the process of a supervisor.

/// Arenas of the supervisor: one for its own thread and one for all that move files.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const ARENAS: libc::c_int = 2;

/// Lets the threads that move files share one arena; to be called before they start.
///
/// Left alone, glibc gives nearly each of them one of its own, up to eight for each processor, and what is freed in one of
/// them serves no thread of the others: most of a supervisor's memory would be such gaps. `MALLOC_ARENA_MAX` in the
/// environment counts more.
pub(crate) fn share_arenas() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    if std::env::var_os("MALLOC_ARENA_MAX").is_none() {
        // SAFETY: it takes two numbers and may be called at any time. Where it refuses, nothing has changed.
        let _ = unsafe { libc::mallopt(libc::M_ARENA_MAX, ARENAS) };
    }
}
