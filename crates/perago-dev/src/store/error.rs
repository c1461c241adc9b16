//! Refusals in lakeFS's words.

/// A refused request: HTTP status and message as lakeFS gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreError {
    /// HTTP status.
    pub status: u16,
    /// lakeFS's message; none for a merge conflict, whose body is an empty reference.
    pub message: Option<String>,
}

impl StoreError {
    /// A refusal with a status and a message.
    pub fn new(status: u16, message: impl Into<String>) -> Self {
        Self { status, message: Some(message.into()) }
    }

    /// 400.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, message)
    }

    /// 404.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(404, message)
    }

    /// 501: part of lakeFS, and not of this store.
    pub fn unsupported(what: impl std::fmt::Display) -> Self {
        Self::new(501, format!("{what} is not supported by the embedded store"))
    }

    /// 500: the bytes of an object cannot be written or removed.
    pub fn disk(error: &std::io::Error) -> Self {
        Self::new(500, format!("cannot store the object: {error}"))
    }

    /// 409 of a merge: two sides changed the same paths.
    pub fn conflict() -> Self {
        Self { status: 409, message: None }
    }

    pub(super) fn no_repository() -> Self {
        Self::missing("repository not found")
    }

    pub(super) fn no_branch() -> Self {
        Self::missing("branch not found")
    }

    pub(super) fn dirty_branch() -> Self {
        Self::invalid("uncommitted changes (dirty branch)")
    }
}

/// What a reference expression failed to name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RefError {
    /// Nothing has this name.
    Missing,
    /// It names what is staged on a branch, where a commit is asked for.
    Staging,
    /// It is no expression.
    Invalid(String),
}

impl RefError {
    /// The refusal, with `context` before it (`get commit by ref main`, say).
    pub(super) fn within(self, context: impl std::fmt::Display, reference: &str) -> StoreError {
        match self {
            Self::Missing => StoreError::missing(format!("{context}: not found")),
            Self::Staging => StoreError::invalid(format!(
                "{context}: reference '{reference}': reference to staging area with $ is not a commit"
            )),
            Self::Invalid(message) => StoreError::new(500, message),
        }
    }
}
