//! The worker's own metrics, recorded by the supervisor.

use std::cell::Cell;

use perago_metrics::{GaugeHandle, HistogramHandle};

/// The built-in series of one worker; without any when its task has none.
#[derive(Debug, Default)]
pub struct Instruments {
    busy: Cell<u32>,
    attempt_duration: Option<HistogramHandle>,
    busy_slots: Option<GaugeHandle>,
}

impl Instruments {
    /// Instruments that record what the task's `MetricSpec` has switched on.
    pub fn new(attempt_duration: Option<HistogramHandle>, busy_slots: Option<GaugeHandle>) -> Self {
        let this = Self { busy: Cell::new(0), attempt_duration, busy_slots };
        this.show_busy();
        this
    }

    /// A task took a slot.
    pub fn slot_taken(&self) {
        self.busy.set(self.busy.get() + 1);
        self.show_busy();
    }

    /// A slot is free again.
    pub fn slot_freed(&self) {
        self.busy.set(self.busy.get().saturating_sub(1));
        self.show_busy();
    }

    /// An attempt ended after `seconds`, whatever its outcome.
    pub fn attempt_ended(&self, seconds: f64) {
        if let Some(histogram) = &self.attempt_duration {
            histogram.record(seconds);
        }
    }

    /// Slots that hold a task.
    pub fn busy(&self) -> u32 {
        self.busy.get()
    }

    fn show_busy(&self) {
        if let Some(gauge) = &self.busy_slots {
            gauge.set(f64::from(self.busy.get()));
        }
    }
}
