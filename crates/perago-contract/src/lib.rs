//! The task contract: specs, controls, envelope, TaskDef mapping, failure catalogue
