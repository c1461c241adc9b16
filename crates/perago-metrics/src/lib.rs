//! Recorder, series registry, histograms and the shared-memory arena
