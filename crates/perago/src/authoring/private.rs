//! What the code that `#[perago::task]` writes calls. Not for authors: it changes without notice.

pub use perago_contract as contract;

pub use super::body::{Call, SetUp};
pub use super::task::{
    Body, Built, Declaration, Returned, Task, TaskFailure, TaskOutput, TaskParams, body, built,
};

/// The bounds of buckets, whole numbers or not.
pub fn bounds<N: super::Number>(bounds: impl IntoIterator<Item = N>) -> Vec<f64> {
    bounds.into_iter().map(super::Number::as_f64).collect()
}
