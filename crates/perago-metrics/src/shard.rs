//! Cells: one shard for each recording thread, a sample written so that a kill never leaves half of it.
//!
//! Every thread owns a shard and is the only one to write it, so a sample needs no atomic read-modify-write. It changes
//! three words of a cell. They are first written to the shard's redo record, which is then armed: whoever finds an
//! armed record whose count is one above the cell's, after the writer died, finishes the sample. Program order is
//! enough, because the memory outlives the process; the release stores keep the compiler (and another core) in order.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, compiler_fence};

use crate::clock;
use crate::fork;
use crate::layout::{
    CELL_COUNTS, CELL_FIRST, CELL_SECOND, REDO_ARMED, REDO_COUNT, REDO_FIRST, REDO_SECOND, REDO_TARGET,
    SHARD_OWNER, SHARD_OWNER_STARTED, SHARD_USED, SHARD_WORDS, USED,
};
use crate::mapping::Mapping;

/// How often a thread without a shard of its own tries for the shared one before the sample is dropped.
const SHARED_ATTEMPTS: u32 = 100_000;
/// After how many samples a thread without a shard of its own looks again whether one has become free.
const CLAIM_EVERY: u32 = 4_096;

/// The words of a shard that this thread may write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shard {
    words: *mut u64,
}

impl Shard {
    #[inline]
    fn word<'a>(self, index: usize) -> &'a AtomicU64 {
        // SAFETY: shards are made from a mapping that their user keeps, and indices come from its directory.
        unsafe { AtomicU64::from_ptr(self.words.add(index)) }
    }

    /// Adds one to the count at `index` of the cell and sets its first two words, all or nothing.
    #[inline]
    fn write(self, cell: usize, index: usize, first: u64, second: u64) {
        let base = SHARD_WORDS + cell;
        let count = self.word(base + CELL_COUNTS + index);
        let next = count.load(Ordering::Relaxed) + 1;
        self.word(REDO_TARGET).store((cell as u64) << 32 | index as u64, Ordering::Relaxed);
        self.word(REDO_FIRST).store(first, Ordering::Relaxed);
        self.word(REDO_SECOND).store(second, Ordering::Relaxed);
        self.word(REDO_COUNT).store(next, Ordering::Relaxed);
        self.word(REDO_ARMED).store(1, Ordering::Release);
        self.word(base + CELL_FIRST).store(first, Ordering::Release);
        self.word(base + CELL_SECOND).store(second, Ordering::Release);
        count.store(next, Ordering::Release);
        self.word(REDO_ARMED).store(0, Ordering::Release);
        // A release store does not keep what follows it from moving before it: the next sample's record must not.
        compiler_fence(Ordering::SeqCst);
    }

    /// Records a histogram's `value`, which falls into `bucket`.
    #[inline]
    pub(crate) fn add(self, cell: usize, bucket: usize, value: f64) {
        let base = SHARD_WORDS + cell;
        let sum = f64::from_bits(self.word(base + CELL_FIRST).load(Ordering::Relaxed));
        let lost = f64::from_bits(self.word(base + CELL_SECOND).load(Ordering::Relaxed));
        let (sum, lost) = add_compensated(sum, lost, value);
        self.write(cell, bucket, sum.to_bits(), lost.to_bits());
    }

    /// Records a gauge's `value` as written at `time`.
    #[inline]
    pub(crate) fn set(self, cell: usize, value: f64, time: u64) {
        self.write(cell, 0, value.to_bits(), time);
    }

    /// Finishes the sample that a dead owner had begun.
    fn recover(self, cell_words: usize) {
        if self.word(REDO_ARMED).load(Ordering::Acquire) == 1 {
            let target = self.word(REDO_TARGET).load(Ordering::Relaxed);
            let (cell, index) = ((target >> 32) as usize, (target & 0xffff_ffff) as usize);
            if cell + CELL_COUNTS + index < cell_words {
                let base = SHARD_WORDS + cell;
                let next = self.word(REDO_COUNT).load(Ordering::Relaxed);
                let count = self.word(base + CELL_COUNTS + index);
                if count.load(Ordering::Relaxed) + 1 == next {
                    self.word(base + CELL_FIRST)
                        .store(self.word(REDO_FIRST).load(Ordering::Relaxed), Ordering::Release);
                    self.word(base + CELL_SECOND)
                        .store(self.word(REDO_SECOND).load(Ordering::Relaxed), Ordering::Release);
                    count.store(next, Ordering::Release);
                }
            }
        }
        self.word(REDO_ARMED).store(0, Ordering::Release);
    }

    /// Takes the shard if it has no owner, or a dead one.
    fn claim(self, cell_words: usize, owner: u64, started: u64) -> bool {
        let current = self.word(SHARD_OWNER).load(Ordering::Acquire);
        if current != 0 && self.has_living_owner(current) {
            return false;
        }
        let taken =
            self.word(SHARD_OWNER).compare_exchange(current, owner, Ordering::AcqRel, Ordering::Relaxed);
        if taken.is_err() {
            return false;
        }
        self.word(SHARD_OWNER_STARTED).store(started, Ordering::Release);
        self.recover(cell_words);
        self.word(SHARD_USED).store(USED, Ordering::Release);
        true
    }

    fn has_living_owner(self, owner: u64) -> bool {
        owner_lives(owner, self.word(SHARD_OWNER_STARTED).load(Ordering::Acquire))
    }

    fn release(self) {
        self.word(SHARD_OWNER_STARTED).store(0, Ordering::Release);
        self.word(SHARD_OWNER).store(0, Ordering::Release);
    }
}

/// Whether the thread that a shard names as its owner lives, in the process that started at `expected`.
pub(crate) fn owner_lives(owner: u64, expected: u64) -> bool {
    let (process, thread) = ((owner >> 32) as u32, owner as u32);
    let Some(started) = clock::process_started(process) else { return false };
    // Zero: the owner is between its claim and this word.
    (expected == 0 || expected == started)
        && std::fs::exists(format!("/proc/{process}/task/{thread}")).unwrap_or(true)
}

/// Neumaier's sum of values that are not negative: `lost` collects what rounding takes from `sum`. A sum beyond the
/// largest number stays there: an infinite one would spoil every average from then on.
#[inline]
pub(crate) fn add_compensated(sum: f64, lost: f64, value: f64) -> (f64, f64) {
    let total = sum + value;
    if total.is_infinite() {
        return (f64::MAX.copysign(total), lost);
    }
    let rounding = if sum >= value { (sum - total) + value } else { (value - total) + sum };
    (total, lost + rounding)
}

/// The shard that this thread used last, with what makes it valid: the mapping's number and the fork epoch.
#[derive(Clone, Copy)]
struct Current {
    mapping: u64,
    epoch: u64,
    shard: Shard,
}

thread_local! {
    /// No destructor, so that reading it costs an address and nothing more.
    static CURRENT: Cell<Current> =
        const { Cell::new(Current { mapping: 0, epoch: 0, shard: Shard { words: std::ptr::null_mut() } }) };
    /// The mapping and epoch in which this thread found no shard, and the samples since.
    static UNSHARDED: Cell<(u64, u64, u32)> = const { Cell::new((0, 0, 0)) };
    static CLAIMS: RefCell<Claims> = const { RefCell::new(Claims(Vec::new())) };
}

struct Claim {
    shards: Arc<Shards>,
    epoch: u64,
    shard: Shard,
}

/// The shards of this thread, given back when it ends.
struct Claims(Vec<Claim>);

impl Claims {
    fn give_back(claim: &Claim) {
        // After a fork the shard is still the parent's.
        if claim.epoch == fork::epoch() {
            claim.shard.release();
        }
    }
}

impl Drop for Claims {
    fn drop(&mut self) {
        CURRENT.with(|current| current.set(Current { mapping: 0, ..current.get() }));
        self.0.iter().for_each(Self::give_back);
    }
}

/// All shards of a mapped arena.
#[derive(Debug)]
pub(crate) struct Shards {
    mapping: Mapping,
    number: u64,
}

// SAFETY: the raw pointers made from the mapping point into shared memory that is accessed by atomics only.
unsafe impl Send for Shards {}
// SAFETY: as above.
unsafe impl Sync for Shards {}

impl Shards {
    pub(crate) fn new(mapping: Mapping) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        fork::watch();
        Self { mapping, number: NEXT.fetch_add(1, Ordering::Relaxed) }
    }

    pub(crate) fn mapping(&self) -> &Mapping {
        &self.mapping
    }

    /// A number that no other mapping of this process ever has.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// The shard of this thread's last sample, if it may be used for the next one too.
    #[inline]
    pub(crate) fn current(&self) -> Option<Shard> {
        let current = CURRENT.get();
        (current.mapping == self.number && current.epoch == fork::epoch()).then_some(current.shard)
    }

    /// Runs `write` on this thread's shard. False if it had to use the shared one and that stayed busy.
    pub(crate) fn with(self: &Arc<Self>, write: impl FnOnce(&Shard)) -> bool {
        match self.current().or_else(|| self.find_or_claim()) {
            Some(shard) => {
                CURRENT.set(Current { mapping: self.number, epoch: fork::epoch(), shard });
                write(&shard);
                true
            }
            None => self.with_shared(write),
        }
    }

    fn find_or_claim(self: &Arc<Self>) -> Option<Shard> {
        let epoch = fork::epoch();
        let (mapping, without_since, samples) = UNSHARDED.get();
        if mapping == self.number && without_since == epoch && samples < CLAIM_EVERY {
            UNSHARDED.set((mapping, epoch, samples + 1));
            return None;
        }
        let shard = self.find_or_claim_now(epoch);
        UNSHARDED.set(if shard.is_some() { (0, 0, 0) } else { (self.number, epoch, 0) });
        shard
    }

    fn find_or_claim_now(self: &Arc<Self>, epoch: u64) -> Option<Shard> {
        CLAIMS
            .try_with(|claims| {
                let mut claims = claims.try_borrow_mut().ok()?;
                claims.0.retain(|claim| {
                    let kept = claim.epoch == epoch && Arc::strong_count(&claim.shards) > 1;
                    if !kept {
                        Claims::give_back(claim);
                    }
                    kept
                });
                if let Some(claim) = claims.0.iter().find(|claim| claim.shards.number == self.number) {
                    return Some(claim.shard);
                }
                let shard = self.claim()?;
                claims.0.push(Claim { shards: Arc::clone(self), epoch, shard });
                Some(shard)
            })
            .ok()
            .flatten()
    }

    fn claim(&self) -> Option<Shard> {
        let options = self.mapping.header().options;
        let (owner, started) = identity();
        let cell_words = options.cell_words as usize;
        let mut shards = (0..options.shards).map(|index| Shard { words: self.mapping.shard(index) });
        // Whether an owner lives is a question of files, so free shards come first.
        shards
            .clone()
            .find(|shard| {
                shard.word(SHARD_OWNER).load(Ordering::Relaxed) == 0
                    && shard.claim(cell_words, owner, started)
            })
            .or_else(|| shards.find(|shard| shard.claim(cell_words, owner, started)))
    }

    /// Threads beyond the shards take the last one in turns, each for one sample.
    fn with_shared(&self, write: impl FnOnce(&Shard)) -> bool {
        let options = self.mapping.header().options;
        let shard = Shard { words: self.mapping.shard(options.shards) };
        let (owner, started) = identity();
        for attempt in 0..SHARED_ATTEMPTS {
            // Looking whether the owner lives costs files; a living one is done in nanoseconds.
            let free = shard.word(SHARD_OWNER).load(Ordering::Relaxed) == 0;
            if (free || attempt % 1_000 == 999) && shard.claim(options.cell_words as usize, owner, started) {
                write(&shard);
                shard.release();
                return true;
            }
            if attempt % 16 == 15 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        false
    }
}

/// This thread as a shard's owner, and when its process started.
fn identity() -> (u64, u64) {
    thread_local! {
        static IDENTITY: Cell<(u64, u64, u64)> = const { Cell::new((0, 0, 0)) };
    }
    let (epoch, owner, started) = IDENTITY.get();
    if epoch == fork::epoch() {
        return (owner, started);
    }
    let process = std::process::id();
    // SAFETY: a plain call without arguments.
    let thread = unsafe { libc::syscall(libc::SYS_gettid) } as u32;
    let owner = u64::from(process) << 32 | u64::from(thread);
    let started = clock::process_started(process).unwrap_or(0);
    IDENTITY.set((fork::epoch(), owner, started));
    (owner, started)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(words: &mut [u64; 64]) -> Shard {
        Shard { words: words.as_mut_ptr() }
    }

    #[test]
    fn a_sample_is_finished_after_a_kill_at_any_store() {
        let mut before = [0; 64];
        shard(&mut before).add(0, 3, 1.5);
        let mut after = before;
        shard(&mut after).add(0, 5, 2.25);
        let target = REDO_TARGET..=REDO_COUNT;
        let cell = SHARD_WORDS;
        let stores: Vec<usize> = target
            .chain([REDO_ARMED, cell + CELL_FIRST, cell + CELL_SECOND, cell + CELL_COUNTS + 5])
            .collect();
        for done in 0..=stores.len() {
            let mut killed = before;
            for index in &stores[..done] {
                killed[*index] = if *index == REDO_ARMED { 1 } else { after[*index] };
            }
            shard(&mut killed).recover(48);
            let expected = if done < 5 { before } else { after };
            assert_eq!(killed[cell..], expected[cell..], "killed after {done} stores");
            assert_eq!(killed[REDO_ARMED], 0);
        }
    }

    #[test]
    fn sums_keep_what_rounding_takes() {
        let (mut sum, mut lost) = (0.0, 0.0);
        for _ in 0..1_000_000 {
            (sum, lost) = add_compensated(sum, lost, 0.1);
        }
        assert!(((sum + lost) / 100_000.0 - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_sum_never_becomes_infinite() {
        let (mut sum, mut lost) = (0.0, 0.0);
        for value in [1e308, 1e308, 3.0, f64::MAX] {
            (sum, lost) = add_compensated(sum, lost, value);
        }
        assert_eq!(sum.to_bits(), f64::MAX.to_bits());
        assert!(lost.is_finite());
    }

    #[test]
    fn a_dead_owner_is_told_from_a_living_one() {
        let mut words = [0; 64];
        let shard = shard(&mut words);
        let (owner, started) = identity();
        assert!(shard.claim(48, owner, started));
        assert!(!shard.claim(48, owner + 1, started), "the owner lives");
        shard.word(SHARD_OWNER_STARTED).store(started + 1, Ordering::Relaxed);
        assert!(shard.claim(48, owner, started), "another process had this number");
        shard.word(SHARD_OWNER).store(u64::from(u32::MAX) << 32, Ordering::Relaxed);
        assert!(shard.claim(48, owner, started), "no such process");
    }
}
