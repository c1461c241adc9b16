//! Settings, poller, permits, attempt state machine, executors, leases, drain, logs
