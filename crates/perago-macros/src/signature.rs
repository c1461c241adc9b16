//! The signature of a body: which of its parameters is what.

use proc_macro2::Span;
use syn::{Error, FnArg, PatType, ReturnType, Type};

use crate::options::Errors;

const NAMED_FIELDS: &str =
    "params are a struct with named fields: their names are the keys in the input of the task";

/// Types that authors try first.
const WITHOUT_FIELDS: &[&str] = &[
    "String", "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "isize", "u8", "u16", "u32", "u64",
    "usize", "Vec", "Option", "PathBuf",
];

/// A body, as it is called.
pub(crate) struct Signature {
    /// Whether it is awaited.
    pub(crate) is_async: bool,
    /// The type of its parameters.
    pub(crate) params: Type,
    /// How it takes its workspace.
    pub(crate) workspace: Option<Argument>,
    /// How it takes its metrics.
    pub(crate) metrics: Option<Argument>,
    /// The whole type that it returns.
    pub(crate) returned: Type,
}

/// A parameter that Perago provides.
pub(crate) struct Argument {
    /// Its type as written.
    pub(crate) ty: Type,
}

impl Argument {
    /// Whether it is lent rather than given.
    pub(crate) fn is_reference(&self) -> bool {
        matches!(self.ty, Type::Reference(_))
    }
}

/// What the attribute promises of the parameters.
#[derive(Clone, Copy)]
pub(crate) struct Promised {
    /// `workspace(…)` is given.
    pub(crate) workspace: bool,
    /// `metrics` is given.
    pub(crate) metrics: bool,
}

impl Promised {
    fn parameters(self) -> String {
        let names = [(self.workspace, "workspace"), (true, "params"), (self.metrics, "metrics")];
        let names: Vec<&str> =
            names.iter().filter(|(is_there, _)| *is_there).map(|(_, name)| *name).collect();
        format!("({})", names.join(", "))
    }
}

/// Reads the signature of a body. `&self` of a method is left out by the caller.
pub(crate) fn read<'a>(
    signature: &syn::Signature,
    inputs: impl Iterator<Item = &'a FnArg>,
    promised: Promised,
) -> syn::Result<Signature> {
    let mut errors = Errors::default();
    check_qualifiers(signature, &mut errors);
    let returned = errors.take(returned(signature));
    let arguments: Vec<&PatType> = inputs
        .filter_map(|input| match input {
            FnArg::Typed(argument) => Some(argument),
            FnArg::Receiver(receiver) => {
                errors.add(Error::new_spanned(
                    receiver,
                    "a task that needs a state is an `impl` block with the attribute above it",
                ));
                None
            }
        })
        .collect();
    let order = errors.take(check_order(&arguments, promised, signature.paren_token.span.join()));
    let (Some(returned), Some(())) = (returned, order) else {
        return errors.finish(()).and_then(|()| Err(Error::new(signature.ident.span(), "not a task")));
    };
    let at = usize::from(promised.workspace);
    let argument = |index: usize| Argument { ty: (*arguments[index].ty).clone() };
    let params = argument(at).ty;
    errors.take(check_params(&params));
    errors.finish(Signature {
        is_async: signature.asyncness.is_some(),
        params,
        workspace: promised.workspace.then(|| argument(0)),
        metrics: promised.metrics.then(|| argument(at + 1)),
        returned,
    })
}

fn check_qualifiers(signature: &syn::Signature, errors: &mut Errors) {
    if !signature.generics.params.is_empty() {
        errors.add(Error::new_spanned(
            &signature.generics,
            "a task has no generic parameters: Conductor knows one schema",
        ));
    }
    if let Some(keyword) = &signature.constness {
        errors.add(Error::new_spanned(keyword, "a task is no `const fn`"));
    }
    if let Some(keyword) = &signature.unsafety {
        errors.add(Error::new_spanned(keyword, "a task is no `unsafe fn`: its caller is the worker"));
    }
    if let Some(abi) = &signature.abi {
        errors.add(Error::new_spanned(abi, "a task is no `extern fn`"));
    }
}

fn returned(signature: &syn::Signature) -> syn::Result<Type> {
    match &signature.output {
        ReturnType::Type(_, ty) => Ok((**ty).clone()),
        ReturnType::Default => Err(Error::new(
            signature.paren_token.span.close(),
            "a task returns `Result<Output, Error>`, for example `Result<Output, perago::TaskError>`",
        )),
    }
}

/// Refuses types that are no struct of the author's, as far as their text tells.
fn check_params(params: &Type) -> syn::Result<()> {
    let message = match params {
        Type::Reference(_) => "the body owns its params: take them without `&`",
        Type::ImplTrait(_) => "a task has no generic parameters: Conductor knows one schema",
        Type::Tuple(_) | Type::Array(_) | Type::Slice(_) => NAMED_FIELDS,
        _ if type_name(params).is_some_and(|name| WITHOUT_FIELDS.contains(&name.as_str())) => NAMED_FIELDS,
        _ => return Ok(()),
    };
    Err(Error::new_spanned(params, message))
}

/// Holds number and kinds of the parameters against what the attribute promises.
fn check_order(arguments: &[&PatType], promised: Promised, parentheses: Span) -> syn::Result<()> {
    let wanted = promised.parameters();
    let position =
        |name: &str| arguments.iter().position(|argument| type_name(&argument.ty) == Some(name.into()));
    let (workspace, metrics) = (position("Workspace"), position("Metrics"));
    let refuse = |index: usize, message: String| Err(Error::new_spanned(&arguments[index].ty, message));
    match (workspace, promised.workspace) {
        (Some(index), false) => {
            return refuse(index, "a body with a workspace needs `workspace` in #[perago::task(…)]".into());
        }
        (Some(index), true) if index != 0 => {
            return refuse(index, format!("the workspace comes first: the body takes {wanted}"));
        }
        _ => {}
    }
    match (metrics, promised.metrics) {
        (Some(index), false) => {
            return refuse(index, "a body with metrics needs `metrics` in #[perago::task(…)]".into());
        }
        (Some(index), true) if index + 1 != arguments.len() || index == 0 => {
            return refuse(index, format!("the metrics come last: the body takes {wanted}"));
        }
        _ => {}
    }
    let number = 1 + usize::from(promised.workspace) + usize::from(promised.metrics);
    if arguments.len() == number {
        return Ok(());
    }
    let missing = match (promised.workspace && workspace.is_none(), promised.metrics && metrics.is_none()) {
        _ if arguments.len() > number => "",
        (true, _) => ", and `workspace: perago::Workspace` is missing",
        (_, true) => ", and `metrics: perago::Metrics` is missing",
        _ => ", and `params` is missing",
    };
    let message = format!("the body of this task takes {wanted}{missing}");
    Err(match arguments.get(number) {
        Some(extra) => Error::new_spanned(extra, message),
        None => Error::new(parentheses, message),
    })
}

/// The last name in a type's path, behind any `&`.
fn type_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Reference(reference) => type_name(&reference.elem),
        Type::Group(group) => type_name(&group.elem),
        Type::Paren(group) => type_name(&group.elem),
        Type::Path(path) => path.path.segments.last().map(|segment| segment.ident.to_string()),
        _ => None,
    }
}
