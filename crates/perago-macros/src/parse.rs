//! What the author wrote, as plain data.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{
    Error, Expr, FnArg, Ident, ImplItem, ImplItemFn, Item as Code, ItemFn, ItemImpl, ReturnType, Type,
};

use crate::check;
use crate::literal::text_of;
use crate::options::{self, Errors, Item, Items};
use crate::signature::{self, Promised, Signature};

/// A declared task.
pub(crate) struct Task {
    /// What the attribute says.
    pub(crate) options: Options,
    /// What it stands on.
    pub(crate) shape: Shape,
}

/// What the attribute says.
pub(crate) struct Options {
    /// Conductor's name of the task.
    pub(crate) name: Expr,
    /// Who answers for it.
    pub(crate) owner_email: Expr,
    /// Text for Conductor's users.
    pub(crate) description: Option<Expr>,
    /// Whether unknown fields are refused.
    pub(crate) strict_params: Option<Expr>,
    /// What it asks of its workspace.
    pub(crate) workspace: Option<Workspace>,
    /// Which metrics it has.
    pub(crate) metrics: Option<Metrics>,
    /// How Conductor treats it: groups with their fields.
    pub(crate) controls: Vec<Control>,
}

/// A group of controls, for example `retry`, with its fields.
pub(crate) type Control = (&'static str, Vec<(Ident, Field)>);

/// The value of a field of the controls.
pub(crate) enum Field {
    /// A number of the program.
    Number(Expr),
    /// A number that may be left out.
    OptionalNumber(Expr),
    /// Conductor's word for one of several ways.
    Word(Expr, String),
}

/// `workspace(…)`.
pub(crate) struct Workspace {
    /// Part of the repository.
    pub(crate) prefix: Option<Expr>,
    /// Rules before the body.
    pub(crate) pre: Vec<Guardrail>,
    /// Rules after it.
    pub(crate) post: Vec<Guardrail>,
    /// Whether nothing is published.
    pub(crate) read_only: Option<Expr>,
    /// Whether other writers' commits are merged over.
    pub(crate) merges: bool,
}

/// One rule on a workspace.
pub(crate) struct Guardrail {
    /// Its builder's name.
    pub(crate) kind: &'static str,
    /// Path or pattern.
    pub(crate) path: Expr,
    /// Fewest matches.
    pub(crate) min_count: Option<Expr>,
    /// Most matches.
    pub(crate) max_count: Option<Expr>,
}

/// `metrics(…)`.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Switches that are given.
    pub(crate) switches: Vec<(Ident, Expr)>,
    /// Bounds by histogram.
    pub(crate) buckets: Vec<(String, Expr)>,
}

/// What the attribute stands on.
pub(crate) enum Shape {
    /// A function.
    Function(Box<ItemFn>, Box<Signature>),
    /// A type that is built once an executor.
    State(Box<ItemImpl>, Box<Signature>, Box<New>),
}

/// The function that builds a state.
pub(crate) struct New {
    /// Whether it is awaited.
    pub(crate) is_async: bool,
    /// What it returns, unless that is `Self`.
    pub(crate) result: Option<Type>,
    /// Its name, for messages about it.
    pub(crate) span: Span,
}

/// Reads an attribute and what it stands on.
pub(crate) fn task(attribute: TokenStream, item: TokenStream) -> syn::Result<Task> {
    let items = syn::parse2::<Items>(attribute)?.0;
    let code: Code = syn::parse2(item)?;
    let mut errors = Errors::default();
    let promised = Promised {
        workspace: options::find(&items, "workspace").is_some(),
        metrics: options::find(&items, "metrics").is_some(),
    };
    let options = errors.take(read_options(&items));
    let shape = errors.take(read_shape(code, promised));
    match (options, shape) {
        (Some(options), Some(shape)) => errors.finish(Task { options, shape }),
        _ => errors.finish(()).and_then(|()| Err(Error::new(Span::call_site(), "not a task"))),
    }
}

fn read_shape(code: Code, promised: Promised) -> syn::Result<Shape> {
    match code {
        Code::Fn(function) => {
            let signature = signature::read(&function.sig, function.sig.inputs.iter(), promised)?;
            Ok(Shape::Function(Box::new(function), Box::new(signature)))
        }
        Code::Impl(block) => read_state(block, promised),
        other => Err(Error::new_spanned(
            other,
            "#[perago::task] stands on a function, or on an `impl` block with `new` and `run`",
        )),
    }
}

fn read_state(block: ItemImpl, promised: Promised) -> syn::Result<Shape> {
    if let Some((_, path, _)) = &block.trait_ {
        return Err(Error::new_spanned(path, "#[perago::task] stands on an `impl` block without a trait"));
    }
    if !block.generics.params.is_empty() {
        return Err(Error::new_spanned(
            &block.generics,
            "a task has no generic parameters: Conductor knows one schema",
        ));
    }
    let new = method(&block, "new").ok_or_else(|| {
        Error::new_spanned(
            &block.self_ty,
            "the state of a task is built by `fn new() -> Self`, or a Result of it",
        )
    })?;
    let run = method(&block, "run").ok_or_else(|| {
        Error::new_spanned(&block.self_ty, "the body of a task with a state is `fn run(&self, params: …)`")
    })?;
    if let Some(argument) = new.sig.inputs.first() {
        return Err(Error::new_spanned(
            argument,
            "`new` takes no arguments: settings come from the environment",
        ));
    }
    let result = match &new.sig.output {
        ReturnType::Type(_, ty) if is_self(ty, &block.self_ty) => None,
        ReturnType::Type(_, ty) => Some((**ty).clone()),
        ReturnType::Default => {
            return Err(Error::new_spanned(&new.sig.ident, "`new` returns `Self`, or a Result of it"));
        }
    };
    let is_shared = matches!(
        run.sig.inputs.first(),
        Some(FnArg::Receiver(receiver)) if receiver.reference.is_some() && receiver.mutability.is_none()
    );
    if !is_shared {
        return Err(Error::new_spanned(
            &run.sig.ident,
            "`run` takes `&self`: threads may share the state; put what changes behind a lock",
        ));
    }
    let signature = signature::read(&run.sig, run.sig.inputs.iter().skip(1), promised)?;
    let new = New { is_async: new.sig.asyncness.is_some(), result, span: new.sig.ident.span() };
    Ok(Shape::State(Box::new(block), Box::new(signature), Box::new(new)))
}

fn method<'a>(block: &'a ItemImpl, name: &str) -> Option<&'a ImplItemFn> {
    block.items.iter().find_map(|item| match item {
        ImplItem::Fn(function) if function.sig.ident == name => Some(function),
        _ => None,
    })
}

fn is_self(ty: &Type, own: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("Self"))
        || quote!(#ty).to_string() == quote!(#own).to_string()
}

fn read_options(items: &[Item]) -> syn::Result<Options> {
    let mut errors = Errors::default();
    errors.take(options::check_names(items, options::TASK, "a task"));
    let required = |name: &str| {
        options::find(items, name).ok_or_else(|| {
            Error::new(Span::call_site(), format!("a task needs `{name} = …` in #[perago::task(…)]"))
        })
    };
    let name = errors.take(required("name").and_then(|item| checked(item, check::name)));
    let owner_email = errors.take(required("owner_email").and_then(|item| checked(item, check::owner_email)));
    let description = optional(items, "description", &mut errors, |expr| {
        check::kind(expr, "a text in quotes", serde_json::Value::is_string)
    });
    let strict_params = optional(items, "strict_params", &mut errors, is_bool);
    let workspace = options::find(items, "workspace").map(|item| errors.take(read_workspace(item)));
    let metrics = options::find(items, "metrics").map(|item| errors.take(read_metrics(item)));
    let controls = options::find(items, "controls").map(|item| errors.take(read_controls(item)));
    if let (Some(item), None) = (budget(items), &workspace) {
        let message = "publish_budget needs `workspace`: a task without one publishes nothing";
        errors.add(Error::new(item.span, message));
    }
    match (name, owner_email) {
        (Some(name), Some(owner_email)) => errors.finish(Options {
            name,
            owner_email,
            description,
            strict_params,
            workspace: workspace.flatten(),
            metrics: metrics.flatten(),
            controls: controls.flatten().unwrap_or_default(),
        }),
        _ => errors.finish(()).and_then(|()| Err(Error::new(Span::call_site(), "not a task"))),
    }
}

fn budget(items: &[Item]) -> Option<&Item> {
    options::find(options::find(items, "controls")?.group().ok()?, "publish_budget")
}

fn checked(item: &Item, check: impl Fn(&Expr) -> syn::Result<()>) -> syn::Result<Expr> {
    let expr = item.expr()?;
    check(expr)?;
    Ok(expr.clone())
}

fn optional(
    items: &[Item],
    name: &str,
    errors: &mut Errors,
    check: impl Fn(&Expr) -> syn::Result<()>,
) -> Option<Expr> {
    options::find(items, name).and_then(|item| errors.take(checked(item, check)))
}

fn is_bool(expr: &Expr) -> syn::Result<()> {
    check::kind(expr, "true or false", serde_json::Value::is_boolean)
}

fn is_integer(expr: &Expr) -> syn::Result<()> {
    check::kind(expr, "a whole number", serde_json::Value::is_i64)
}

fn read_workspace(item: &Item) -> syn::Result<Workspace> {
    let items = item.group()?;
    let mut errors = Errors::default();
    errors.take(options::check_names(items, options::WORKSPACE, "workspace"));
    let prefix = optional(items, "prefix", &mut errors, check::prefix);
    let mut rules = |name| {
        let found = options::find(items, name).and_then(|item| errors.take(read_guardrails(item)));
        found.unwrap_or_default()
    };
    let (pre, post) = (rules("pre"), rules("post"));
    let read_only = optional(items, "read_only", &mut errors, is_bool);
    let on_moved_head = optional(items, "on_moved_head", &mut errors, |expr| {
        check::one_of(expr, &["fail", "merge"]).map(drop)
    });
    let merges = on_moved_head.as_ref().and_then(text_of).as_deref() == Some("merge");
    errors.finish(Workspace { prefix, pre, post, read_only, merges })
}

fn read_guardrails(item: &Item) -> syn::Result<Vec<Guardrail>> {
    let expr = item.expr()?;
    let Expr::Array(list) = expr else {
        return Err(Error::new_spanned(expr, "guardrails are a list: [require_file(\"in/a.txt\")]"));
    };
    let mut errors = Errors::default();
    let rules = list.elems.iter().filter_map(|rule| errors.take(read_guardrail(rule))).collect();
    errors.finish(rules)
}

fn read_guardrail(rule: &Expr) -> syn::Result<Guardrail> {
    let unknown = || {
        let message = format!("not a guardrail; known guardrails: {}", options::GUARDRAILS.join(", "));
        Error::new_spanned(rule, message)
    };
    let Expr::Call(call) = rule else { return Err(unknown()) };
    let Expr::Path(function) = &*call.func else { return Err(unknown()) };
    let known = options::GUARDRAILS.iter().find(|name| function.path.is_ident(name));
    let kind = *known.ok_or_else(unknown)?;
    let mut arguments = call.args.iter();
    let path = arguments.next().ok_or_else(|| Error::new_spanned(rule, format!("{kind} needs a path")))?;
    let mut counts = Vec::new();
    for argument in arguments {
        let name = match argument {
            Expr::Assign(assigned) => match &*assigned.left {
                Expr::Path(name) => name.path.get_ident().map(|name| (name.to_string(), &*assigned.right)),
                _ => None,
            },
            _ => None,
        };
        match name.filter(|(name, _)| options::COUNTS.contains(&name.as_str())) {
            Some((name, _)) if counts.iter().any(|(earlier, _)| *earlier == name) => {
                return Err(Error::new_spanned(argument, format!("bound `{name}` of {kind} is given twice")));
            }
            Some(count) => counts.push(count),
            None => {
                let message = format!("known bounds of a guardrail: {} = …", options::COUNTS.join(" = …, "));
                return Err(Error::new_spanned(argument, message));
            }
        }
    }
    check::guardrail(kind, path, &counts, rule)?;
    let count =
        |wanted: &str| counts.iter().find(|(name, _)| name == wanted).map(|(_, expr)| (*expr).clone());
    Ok(Guardrail { kind, path: path.clone(), min_count: count("min_count"), max_count: count("max_count") })
}

fn read_metrics(item: &Item) -> syn::Result<Metrics> {
    let items = item.group()?;
    let mut errors = Errors::default();
    errors.take(options::check_names(items, options::METRICS, "metrics"));
    let mut metrics = Metrics::default();
    let is_switch = |item: &&Item| item.name != "buckets" && options::METRICS.contains(&item.name.as_str());
    for switch in items.iter().filter(is_switch) {
        if let Some(expr) = errors.take(checked(switch, is_bool)) {
            metrics.switches.push((Ident::new(&switch.name, switch.span), expr));
        }
    }
    let buckets = options::find(items, "buckets").and_then(|buckets| errors.take(buckets.group()));
    if let Some(bounds) = buckets {
        errors.take(options::check_twice(bounds, "buckets"));
        errors.take(check::buckets(bounds));
        for bound in bounds {
            if let Some(expr) = errors.take(bound.expr()) {
                metrics.buckets.push((bound.name.clone(), expr.clone()));
            }
        }
    }
    errors.finish(metrics)
}

fn read_controls(item: &Item) -> syn::Result<Vec<Control>> {
    let items = item.group()?;
    let mut errors = Errors::default();
    errors.take(options::check_names(items, options::CONTROLS, "controls"));
    let mut groups = Vec::new();
    for group in items {
        let (name, known) = match group.name.as_str() {
            "retry" => ("retry", options::RETRY),
            "timeout" => ("timeout", options::TIMEOUT),
            "limits" => ("limits", options::LIMITS),
            "publish_budget" => ("publish_budget", options::PUBLISH_BUDGET),
            _ => continue,
        };
        if let Some(fields) = errors.take(read_control(group, name, known)) {
            groups.push((name, fields));
        }
    }
    errors.finish(groups)
}

fn read_control(group: &Item, name: &str, known: &[&str]) -> syn::Result<Vec<(Ident, Field)>> {
    let items = group.group()?;
    let mut errors = Errors::default();
    errors.take(options::check_names(items, known, name));
    let mut fields = Vec::new();
    for item in items {
        if let Some(field) = errors.take(read_field(item, name)) {
            fields.push((Ident::new(&item.name, item.span), field));
        }
    }
    if name == "publish_budget" {
        let missing: Vec<&str> =
            known.iter().copied().filter(|name| options::find(items, name).is_none()).collect();
        if !missing.is_empty() {
            errors.add(Error::new(group.span, format!("publish_budget also needs {}", missing.join(", "))));
        }
    }
    let fields = errors.finish(fields)?;
    check::controls(name, items, group.span)?;
    Ok(fields)
}

fn read_field(item: &Item, group: &str) -> syn::Result<Field> {
    let expr = item.expr()?;
    let words: &[&str] = match item.name.as_str() {
        "logic" => &["FIXED", "EXPONENTIAL_BACKOFF", "LINEAR_BACKOFF"],
        "policy" => &["RETRY", "TIME_OUT_WF", "ALERT_ONLY"],
        _ => {
            is_integer(expr)?;
            let expr = expr.clone();
            return Ok(if group == "limits" { Field::OptionalNumber(expr) } else { Field::Number(expr) });
        }
    };
    check::one_of(expr, words).map(|word| Field::Word(expr.clone(), word))
}
