//! The attempt state machine: pure and synchronous, time as an argument.
//!
//! | phase | what may be in flight | leaves by |
//! | --- | --- | --- |
//! | running | a beat, a status read, a fence | the body ends; the status read says that the task is not ours |
//! | stopping | a beat, a status read | the body ends: closed as lost |
//! | reporting | a beat that was under way, then the update | the update is accepted or can never be |
//! | verifying | a read-back | the server shows a terminal task, or another claim |
//! | closed | nothing that matters | never |
//!
//! A beat never overlaps the update: the real server rewrites the whole task record without a lock, so a late
//! beat can turn a completed task back to in progress. The update waits for the beat in flight, no beat is sent
//! after it, and if one was ever sent the task is read back and reported again until it is seen terminal. It is read
//! before an update that was tried before or comes after the lease: by then the task may be another claim's, which an
//! update would end, or have ended without our outcome, which the server accepts and ignores.
//!
//! A fence stands before an effect that only the holder of the task may have. It holds once the lease lasts for the
//! effect and a read that was sent after that shows the task as ours; an unreachable server leaves it open.

use std::time::Duration;

use super::lease::{Lease, Moment};

/// What has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The body has ended by itself or with its executor; the outcome is ready to be reported.
    BodyEnded,
    /// The server has answered the beat.
    BeatAnswered(BeatAnswer),
    /// The server has answered the status read.
    StatusAnswered(Ownership),
    /// The server has answered the update.
    UpdateAnswered(UpdateAnswer),
    /// The server has answered the read before or after an update.
    ReadBackAnswered(ReadBack),
    /// Something outside is about to happen that takes this long and needs the task to be ours.
    FenceAsked(Duration),
    /// The worker must stop now: give the task back.
    Abandon,
    /// Time has passed; nothing else.
    Tick,
}

/// The answer to a beat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeatAnswer {
    /// Accepted.
    Accepted,
    /// Refused or never sent: the server did not act on it.
    Refused,
    /// No answer: the server may still act on it.
    Unknown,
}

/// What the server says about whose task it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ownership {
    /// In progress under our claim.
    Ours,
    /// No longer ours.
    Lost(LostReason),
    /// The server could not be asked, which says nothing.
    Unreachable,
}

/// Why a task is no longer ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostReason {
    /// The server has no such task.
    Unknown,
    /// It is terminal: timed out, cancelled, or its workflow ended.
    Terminal,
    /// It waits in the queue, or another claim holds it.
    ClaimedAgain,
}

/// The answer to the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpdateAnswer {
    /// Accepted. The server also answers so when it ignores the update.
    Accepted,
    /// Not delivered, may be sent again.
    Retryable,
    /// Will never be accepted.
    Permanent,
}

/// What the task looks like after the update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadBack {
    /// Terminal, with our outcome.
    Settled,
    /// Terminal or gone, without our outcome: it will never take it.
    Ended(LostReason),
    /// Still in progress under our claim: the update was undone, or never came.
    Undone,
    /// The server could not be asked.
    Unreachable,
}

/// What must be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Extend the lease.
    SendBeat,
    /// The task is ours and the lease lasts: what the fence was asked for may happen.
    LiftFence,
    /// Read the task's status.
    ReadStatus,
    /// Stop the body and everything it started.
    StopBody(LostReason),
    /// Send the outcome.
    SendUpdate,
    /// Read the task back.
    ReadBack,
    /// The slot is free for other work.
    FreeSlot,
    /// Give the task back to the queue, without burning a retry.
    Release,
    /// The attempt has ended.
    Close(Closing),
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closing {
    /// The server has the outcome.
    Delivered,
    /// The task was no longer ours; nothing was reported.
    Lost(LostReason),
    /// The outcome can never be delivered.
    Undeliverable,
    /// The outcome was not delivered when the worker had to stop.
    Waiting,
    /// The server will not take the outcome: another claim holds the task, or it has ended without it.
    Superseded(LostReason),
    /// Given back at shutdown.
    Released,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Running,
    Stopping(LostReason),
    Reporting { not_before: Moment },
    Updating,
    Verifying { not_before: Moment, round: usize },
    Reading { round: usize },
    Closed,
}

/// Delays before the read-backs that follow a beat of unknown fate: it may be applied late.
const LATE_BEAT_READ_BACKS: [Duration; 3] =
    [Duration::from_secs(1), Duration::from_secs(5), Duration::from_secs(30)];

/// How far the update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Update {
    /// Never sent, and the lease has not run out.
    Untried,
    /// It may be too late for it, or the server may have it already.
    Tried,
    /// The server said that it took it.
    Accepted,
}

/// A fence that was asked for and does not hold yet.
#[derive(Debug, Clone, Copy)]
struct Fence {
    /// How much of the lease must be left.
    needs: Duration,
    not_before: Moment,
    /// A read is under way that was sent for it.
    is_read: bool,
}

/// Beside the effect itself, the lease must last this long.
const FENCE_MARGIN: Duration = Duration::from_secs(2);

/// The state of one attempt.
#[derive(Debug)]
pub struct Machine {
    phase: Phase,
    lease: Lease,
    beat_sent_at: Option<Moment>,
    next_beat: Moment,
    beats_sent: u32,
    beat_fate_unknown: bool,
    status_in_flight: bool,
    next_status: Moment,
    status_interval: Duration,
    fence: Option<Fence>,
    failures: u32,
    update: Update,
    slot_freed: bool,
}

impl Machine {
    /// An attempt whose body has just been handed to an executor.
    ///
    /// `jitter` in 0..1 spreads the status reads of many workers.
    pub fn new(lease: Lease, now: Moment, jitter: f64) -> Self {
        let status_interval = lease.status_interval().mul_f64(1.0 - 0.2 * jitter.clamp(0.0, 1.0));
        Self {
            phase: Phase::Running,
            next_beat: lease.next_beat(),
            lease,
            beat_sent_at: None,
            beats_sent: 0,
            beat_fate_unknown: false,
            status_in_flight: false,
            next_status: now + status_interval,
            status_interval,
            fence: None,
            failures: 0,
            update: Update::Untried,
            slot_freed: false,
        }
    }

    /// Whether the attempt has ended.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Whether the lease has run out without contact.
    pub fn is_lapsed(&self, now: Moment) -> bool {
        now >= self.lease.deadline()
    }

    /// When [`Event::Tick`] is due at the latest.
    pub fn deadline(&self) -> Option<Moment> {
        match self.phase {
            Phase::Running => {
                let beat = self.beat_sent_at.is_none().then_some(self.next_beat);
                let status = (!self.status_in_flight).then_some(self.next_status);
                let fence = self.fence.filter(|_| self.beat_sent_at.is_none() && !self.status_in_flight);
                beat.into_iter().chain(status).chain(fence.map(|fence| fence.not_before)).min()
            }
            Phase::Reporting { not_before } if self.beat_sent_at.is_none() => Some(not_before),
            Phase::Verifying { not_before, .. } => Some(not_before),
            _ => None,
        }
    }

    /// Takes an event in and returns what must be done, in order.
    pub fn handle(&mut self, event: Event, now: Moment) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::BodyEnded => self.on_body_ended(now, &mut effects),
            Event::BeatAnswered(answer) => self.on_beat_answered(answer, now),
            Event::StatusAnswered(answer) => self.on_status_answered(answer, now, &mut effects),
            Event::UpdateAnswered(answer) => self.on_update_answered(answer, now, &mut effects),
            Event::ReadBackAnswered(answer) => self.on_read_back_answered(answer, now, &mut effects),
            Event::FenceAsked(effect) => {
                self.fence = Some(Fence { needs: effect + FENCE_MARGIN, not_before: now, is_read: false });
            }
            Event::Abandon => self.on_abandon(&mut effects),
            Event::Tick => {}
        }
        self.advance(now, &mut effects);
        effects
    }

    fn on_body_ended(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Running if self.is_lapsed(now) => {
                self.update = Update::Tried;
                self.phase = Phase::Verifying { not_before: now, round: 0 };
            }
            Phase::Running => self.phase = Phase::Reporting { not_before: now },
            Phase::Stopping(reason) => self.close(Closing::Lost(reason), effects),
            _ => {}
        }
    }

    fn on_beat_answered(&mut self, answer: BeatAnswer, now: Moment) {
        let Some(sent_at) = self.beat_sent_at.take() else { return };
        match answer {
            BeatAnswer::Accepted => {
                self.failures = 0;
                self.lease.extend(sent_at);
                self.next_beat = self.lease.next_beat();
            }
            BeatAnswer::Refused | BeatAnswer::Unknown => {
                self.beat_fate_unknown |= answer == BeatAnswer::Unknown;
                self.failures = self.failures.saturating_add(1);
                self.next_beat = now + retry_delay(self.failures).min(self.lease.beat_interval());
                if let Some(fence) = &mut self.fence {
                    fence.not_before = self.next_beat;
                }
            }
        }
    }

    fn on_status_answered(&mut self, answer: Ownership, now: Moment, effects: &mut Vec<Effect>) {
        self.status_in_flight = false;
        self.next_status = now + self.status_interval;
        if self.phase != Phase::Running {
            return;
        }
        if let Ownership::Lost(reason) = answer {
            self.phase = Phase::Stopping(reason);
            self.fence = None;
            effects.push(Effect::StopBody(reason));
        }
        let Some(fence) = self.fence.as_mut().filter(|fence| fence.is_read) else { return };
        if answer == Ownership::Ours {
            self.fence = None;
            effects.push(Effect::LiftFence);
        } else {
            self.failures = self.failures.saturating_add(1);
            (fence.is_read, fence.not_before) = (false, now + retry_delay(self.failures));
        }
    }

    fn on_update_answered(&mut self, answer: UpdateAnswer, now: Moment, effects: &mut Vec<Effect>) {
        if self.phase != Phase::Updating {
            return;
        }
        match answer {
            UpdateAnswer::Accepted => {
                self.failures = 0;
                let before = std::mem::replace(&mut self.update, Update::Accepted);
                self.free_slot(effects);
                if self.beats_sent == 0 && before == Update::Untried && !self.is_lapsed(now) {
                    self.close(Closing::Delivered, effects);
                } else {
                    self.phase = Phase::Verifying { not_before: now, round: 0 };
                }
            }
            UpdateAnswer::Retryable => {
                self.update = Update::Tried;
                self.failures = self.failures.saturating_add(1);
                self.phase = Phase::Verifying { not_before: now + retry_delay(self.failures), round: 0 };
            }
            UpdateAnswer::Permanent => self.close(Closing::Undeliverable, effects),
        }
    }

    fn on_read_back_answered(&mut self, answer: ReadBack, now: Moment, effects: &mut Vec<Effect>) {
        let Phase::Reading { round } = self.phase else { return };
        match answer {
            ReadBack::Settled => match LATE_BEAT_READ_BACKS.get(round) {
                Some(delay) if self.beat_fate_unknown => {
                    self.phase = Phase::Verifying { not_before: now + *delay, round: round + 1 };
                }
                _ => self.close(Closing::Delivered, effects),
            },
            // Not undone: never done.
            ReadBack::Undone if self.update != Update::Accepted => {
                self.phase = Phase::Reporting { not_before: now }
            }
            ReadBack::Undone => {
                self.failures = self.failures.saturating_add(1);
                self.phase = Phase::Reporting { not_before: now + retry_delay(self.failures - 1) };
            }
            ReadBack::Ended(reason) => self.close(Closing::Superseded(reason), effects),
            ReadBack::Unreachable => {
                self.failures = self.failures.saturating_add(1);
                self.phase = Phase::Verifying { not_before: now + retry_delay(self.failures), round };
            }
        }
    }

    fn on_abandon(&mut self, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Running => {
                effects.push(Effect::Release);
                self.close(Closing::Released, effects);
            }
            Phase::Stopping(reason) => self.close(Closing::Lost(reason), effects),
            // What was accepted and not read back may have been ignored.
            Phase::Reporting { .. } | Phase::Updating | Phase::Verifying { .. } | Phase::Reading { .. } => {
                self.close(Closing::Waiting, effects);
            }
            Phase::Closed => {}
        }
    }

    /// Starts what is due.
    fn advance(&mut self, now: Moment, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Running => {
                let fence = self.fence.filter(|fence| !fence.is_read && now >= fence.not_before);
                let lasts = fence.is_none_or(|fence| self.lease.lasts(fence.needs, now));
                if self.beat_sent_at.is_none() && (now >= self.next_beat || !lasts) {
                    self.beat_sent_at = Some(now);
                    self.beats_sent += 1;
                    effects.push(Effect::SendBeat);
                }
                let may_read = self.beat_sent_at.is_none() && lasts;
                if let Some(fence) = self.fence.as_mut().filter(|_| fence.is_some() && may_read)
                    && !self.status_in_flight
                {
                    fence.is_read = true;
                    self.status_in_flight = true;
                    effects.push(Effect::ReadStatus);
                } else if !self.status_in_flight && now >= self.next_status {
                    self.status_in_flight = true;
                    effects.push(Effect::ReadStatus);
                }
            }
            Phase::Reporting { not_before } if self.beat_sent_at.is_none() && now >= not_before => {
                self.phase = Phase::Updating;
                effects.push(Effect::SendUpdate);
            }
            Phase::Verifying { not_before, round } if now >= not_before => {
                self.phase = Phase::Reading { round };
                effects.push(Effect::ReadBack);
            }
            _ => {}
        }
    }

    fn free_slot(&mut self, effects: &mut Vec<Effect>) {
        if !self.slot_freed {
            self.slot_freed = true;
            effects.push(Effect::FreeSlot);
        }
    }

    fn close(&mut self, closing: Closing, effects: &mut Vec<Effect>) {
        self.free_slot(effects);
        self.phase = Phase::Closed;
        effects.push(Effect::Close(closing));
    }
}

/// 0, 0.25, 0.5, 1, 2 … at most 10 seconds after failure number `failures`.
fn retry_delay(failures: u32) -> Duration {
    match failures {
        0 => Duration::ZERO,
        n => Duration::from_millis(250 << (n - 1).min(6)).min(Duration::from_secs(10)),
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
