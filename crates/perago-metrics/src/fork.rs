//! What must survive a task body that forks.

use std::cell::UnsafeCell;
use std::ops::{Deref, DerefMut};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};

static EPOCH: AtomicU64 = AtomicU64::new(1);
static REGISTER: Once = Once::new();

/// A number that is another one in a forked child than in its parent.
#[inline]
pub(crate) fn epoch() -> u64 {
    EPOCH.load(Ordering::Relaxed)
}

/// Makes [`epoch`] count the forks of this process. Called before anything depends on it.
pub(crate) fn watch() {
    extern "C" fn in_child() {
        EPOCH.fetch_add(1, Ordering::Relaxed);
    }
    REGISTER.call_once(|| {
        // SAFETY: the handler only adds to an atomic, which is allowed in a forked child.
        unsafe { libc::pthread_atfork(None, None, Some(in_child)) };
    });
}

/// A lock for short sections off the hit path. A forked child whose parent held it at the fork gets a fresh value in
/// place of the half-changed one, where a usual mutex would stay locked for ever.
#[derive(Debug)]
pub(crate) struct ForkLock<T> {
    /// Zero, or the epoch of the holder.
    holder: AtomicU64,
    value: UnsafeCell<T>,
}

// SAFETY: `holder` admits one thread at a time to `value`.
unsafe impl<T: Send> Sync for ForkLock<T> {}

impl<T> ForkLock<T> {
    pub(crate) fn new(value: T) -> Self {
        watch();
        Self { holder: AtomicU64::new(0), value: UnsafeCell::new(value) }
    }

    /// Waits for the lock. `fresh` makes the value anew if the holder was left behind by a fork.
    pub(crate) fn lock(&self, fresh: impl FnOnce() -> T) -> ForkGuard<'_, T> {
        let own = epoch();
        loop {
            match self.holder.compare_exchange(0, own, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => return ForkGuard { lock: self },
                Err(holder) if holder == own => std::thread::yield_now(),
                Err(holder) => {
                    let stolen =
                        self.holder.compare_exchange(holder, own, Ordering::Acquire, Ordering::Relaxed);
                    if stolen.is_ok() {
                        // SAFETY: this thread holds the lock. The old value may be half changed, so it is not
                        // dropped, only forgotten.
                        unsafe { std::ptr::write(self.value.get(), fresh()) };
                        return ForkGuard { lock: self };
                    }
                }
            }
        }
    }
}

/// Holds a [`ForkLock`].
pub(crate) struct ForkGuard<'a, T> {
    lock: &'a ForkLock<T>,
}

impl<T> Deref for ForkGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: this guard is the only one.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for ForkGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: this guard is the only one.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for ForkGuard<'_, T> {
    fn drop(&mut self) {
        self.lock.holder.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_left_behind_by_a_fork_is_taken_with_a_fresh_value() {
        let lock = ForkLock::new(1);
        std::mem::forget(lock.lock(|| unreachable!("the lock is free")));
        // What the handler does in a child, seen by this lock alone.
        lock.holder.store(epoch() + 1_000, Ordering::Relaxed);
        assert_eq!(*lock.lock(|| 2), 2);
        assert_eq!(*lock.lock(|| unreachable!("the lock was released")), 2);
    }
}
