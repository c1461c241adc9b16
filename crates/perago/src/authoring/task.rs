//! A task as the attribute declares it.

use perago_contract::{
    MetricSpec, SourceLocation, TaskControls, TaskDescription, WorkspaceSpec, normalise_prefix,
};
use perago_worker::executor::message::Ended;
use schemars::JsonSchema;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::TaskError;
use super::body::{Call, Input, SetUp, Setting, attempt};
use super::schema;

/// What a body takes: a struct with named fields that serde reads and schemars describes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the params of a task",
    label = "needs `serde::Deserialize` and `schemars::JsonSchema`",
    note = "write `#[derive(serde::Deserialize, schemars::JsonSchema)]` above the struct `{Self}`"
)]
pub trait TaskParams: DeserializeOwned + JsonSchema {}

impl<P: DeserializeOwned + JsonSchema> TaskParams for P {}

/// What a body returns when it succeeds: a struct with named fields that serde writes and schemars describes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the result of a task",
    label = "needs `serde::Serialize` and `schemars::JsonSchema`",
    note = "write `#[derive(serde::Serialize, schemars::JsonSchema)]` above the struct `{Self}`"
)]
pub trait TaskOutput: Serialize + JsonSchema {}

impl<O: Serialize + JsonSchema> TaskOutput for O {}

/// What a body returns: `Result<O, E>` of any error.
#[diagnostic::on_unimplemented(
    message = "a task cannot return `{Self}`",
    label = "needs to be `Result<Output, Error>`",
    note = "for example `Result<Output, perago::TaskError>`: with it, `?` works on any error"
)]
pub trait Returned {
    /// What Conductor gets.
    type Output;
    /// Why it gets nothing.
    type Error;

    /// The same as a plain result.
    ///
    /// # Errors
    /// What the body returned.
    fn into_result(self) -> Result<Self::Output, Self::Error>;
}

impl<O, E> Returned for Result<O, E> {
    type Output = O;
    type Error = E;

    fn into_result(self) -> Self {
        self
    }
}

/// What a body fails with: ours, or any error.
#[diagnostic::on_unimplemented(
    message = "a task cannot fail with `{Self}`",
    label = "needs to return `perago::TaskError` or a type that is an error",
    note = "`perago::TaskError` takes every error by `?`; or implement `std::error::Error` for `{Self}`"
)]
pub trait TaskFailure: Into<TaskError> {}

impl<E: Into<TaskError>> TaskFailure for E {}

/// What `new` of a state may return besides the state itself.
#[diagnostic::on_unimplemented(
    message = "`new` cannot return `{Self}`",
    label = "needs to be `Self`, or `Result<Self, Error>` of any error"
)]
pub trait Built<T> {
    /// The state.
    ///
    /// # Errors
    /// Why it could not be built.
    fn built(self) -> Result<T, TaskError>;
}

impl<T, E: Into<TaskError>> Built<T> for Result<T, E> {
    fn built(self) -> Result<T, TaskError> {
        self.map_err(Into::into)
    }
}

/// The state that `new` has built.
///
/// # Errors
/// What `new` returned.
pub fn built<T, R: Built<T>>(returned: R) -> Result<T, TaskError> {
    returned.built()
}

/// A declared task. Implemented by `#[perago::task]` and by nothing else.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task",
    label = "not declared with #[perago::task(…)]",
    note = "name the functions, or the types, that #[perago::task(…)] stands on"
)]
pub trait Task: Sized + Send + Sync + 'static {
    /// Whether something of it is awaited.
    const IS_ASYNC: bool;

    /// What the attribute says.
    fn declaration() -> Declaration;

    /// Builds the state, once an executor.
    ///
    /// # Errors
    /// What the author's `new` returns.
    fn set_up(set_up: &SetUp) -> Result<Self, TaskError>;

    /// What it takes and returns, and how it is called.
    fn body() -> Body<Self>;
}

type Run<T> = dyn Fn(&T, Input<'_>, &Setting) -> Ended + Send + Sync;

/// A body whose types are known to nobody but itself.
pub struct Body<T> {
    /// Completes a declaration with the schemas of the types.
    pub(super) describe: fn(Declaration) -> TaskDescription,
    /// Runs one attempt.
    pub(super) run: Box<Run<T>>,
}

/// The body that takes `P` and returns `R`. The one place where both are asked for, so that a type that does not fit is
/// refused once.
pub fn body<T: 'static, P: TaskParams + 'static, R: Returned + 'static>(
    call: fn(&T, Call<P>) -> Result<R, TaskError>,
) -> Body<T>
where
    R::Output: TaskOutput,
    R::Error: TaskFailure,
{
    Body {
        describe: Declaration::describe::<P, R::Output>,
        run: Box::new(move |task, input, setting| {
            attempt(input, setting, |given| {
                call(task, given).and_then(|returned| returned.into_result().map_err(Into::into))
            })
        }),
    }
}

/// What the attribute says, as plain data.
#[derive(Debug, Clone)]
pub struct Declaration {
    /// Conductor's name of the task.
    pub name: String,
    /// Who answers for it.
    pub owner_email: String,
    /// Text for Conductor's users.
    pub description: Option<String>,
    /// Whether unknown fields of the parameters are refused.
    pub strict_params: bool,
    /// What it asks of its workspace.
    pub workspace: Option<WorkspaceSpec>,
    /// Which metrics it has.
    pub metrics: Option<MetricSpec>,
    /// How Conductor treats it.
    pub controls: TaskControls,
    source: SourceLocation,
}

impl Declaration {
    /// A declaration with the defaults of the contract.
    pub fn new(name: String, owner_email: String, file: &'static str, line: u32) -> Self {
        Self {
            name,
            owner_email,
            description: None,
            strict_params: false,
            workspace: None,
            metrics: None,
            controls: TaskControls::default(),
            source: SourceLocation { file: file.to_owned(), line },
        }
    }

    /// The description that every language hands over.
    pub(super) fn describe<P: JsonSchema, O: JsonSchema>(self) -> TaskDescription {
        let workspace = self.workspace.map(|spec| WorkspaceSpec {
            // One that cannot be normalised is refused by the contract, in its own words.
            prefix: normalise_prefix(&spec.prefix).unwrap_or(spec.prefix),
            ..spec
        });
        TaskDescription {
            name: self.name,
            owner_email: self.owner_email,
            description: self.description.map(Into::into),
            strict_params: self.strict_params,
            workspace,
            metrics: self.metrics,
            controls: self.controls,
            params_schema: schema::of_params::<P>(),
            result_schema: schema::of_result::<O>(),
            source: Some(self.source),
            warnings: Vec::new(),
        }
    }
}
