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

/// What a path names that leads to a function without the attribute.
pub mod plain {
    /// Stands for a type that is not there.
    #[derive(Debug)]
    pub struct PeragoTask {}
}
