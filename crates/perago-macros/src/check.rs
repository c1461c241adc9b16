//! The contract's rules on what stands in the attribute as a literal.

use perago_contract::{
    ContractError, Guardrail, MetricSpec, TaskControls, check_owner_email, check_task_name, normalise_prefix,
};
use proc_macro2::Span;
use serde_json::{Map, Value, json};
use syn::{Error, Expr};

use crate::literal::{text_of, value_of};
use crate::options::{Errors, Item, Value as Given};

/// Checks the name of a task.
pub(crate) fn name(expr: &Expr) -> syn::Result<()> {
    judge(text(expr)?.map(|name| check_task_name(&name)), expr)
}

/// Checks its owner.
pub(crate) fn owner_email(expr: &Expr) -> syn::Result<()> {
    judge(text(expr)?.map(|owner| check_owner_email(&owner)), expr)
}

/// Checks the prefix of a workspace.
pub(crate) fn prefix(expr: &Expr) -> syn::Result<()> {
    judge(text(expr)?.map(|prefix| normalise_prefix(&prefix).map(drop)), expr)
}

/// The text of a literal; another literal is refused, and any other expression is left to the compiler.
fn text(expr: &Expr) -> syn::Result<Option<String>> {
    kind(expr, "a text in quotes", Value::is_string).map(|()| text_of(expr))
}

fn judge(judged: Option<Result<(), ContractError>>, expr: &Expr) -> syn::Result<()> {
    match judged {
        Some(Err(error)) => Err(Error::new_spanned(expr, message(&error))),
        _ => Ok(()),
    }
}

/// Checks a guardrail with its literal path and counts.
pub(crate) fn guardrail(kind: &str, path: &Expr, counts: &[(String, &Expr)], call: &Expr) -> syn::Result<()> {
    let Some(path) = text(path)? else { return Ok(()) };
    let mut guardrail = json!({"kind": kind, "path": path});
    for (name, expr) in counts {
        let Some(count) = value_of(expr) else { return Ok(()) };
        guardrail[name] = count;
    }
    let guardrail: Guardrail =
        serde_json::from_value(guardrail).map_err(|error| Error::new_spanned(call, error))?;
    let mut errors = Errors::default();
    for violation in guardrail.violations() {
        errors.add(Error::new_spanned(call, message(&violation)));
    }
    errors.finish(())
}

/// Checks the bounds of buckets.
pub(crate) fn buckets(items: &[Item]) -> syn::Result<()> {
    let mut errors = Errors::default();
    for item in items {
        let Some(bounds) = item.expr().ok().and_then(value_of) else { continue };
        let spec: Result<MetricSpec, _> =
            serde_json::from_value(json!({"buckets": {item.name.clone(): bounds}}));
        match spec {
            Ok(spec) => {
                for violation in spec.violations() {
                    errors.add(Error::new(item.span, message(&violation)));
                }
            }
            Err(_) => errors.add(Error::new(
                item.span,
                format!("bounds of {} are a list of numbers: \"{}\" = [0.1, 1.0]", item.name, item.name),
            )),
        }
    }
    errors.finish(())
}

/// Checks one group of controls, for example `retry(…)`, unless it holds something that is not a literal.
pub(crate) fn controls(group: &str, items: &[Item], span: Span) -> syn::Result<()> {
    let mut fields = Map::new();
    for item in items {
        let Given::Expr(expr) = &item.value else { return Ok(()) };
        let Some(value) = value_of(expr) else { return Ok(()) };
        fields.insert(item.name.clone(), value);
    }
    let controls: TaskControls =
        serde_json::from_value(json!({group: fields})).map_err(|error| Error::new(span, error))?;
    let mut errors = Errors::default();
    for violation in controls.violations() {
        let said = message(&violation);
        let at = items.iter().find(|item| said.contains(&format!(".{} ", item.name)));
        errors.add(Error::new(at.map_or(span, |item| item.span), said));
    }
    errors.finish(())
}

fn message(error: &ContractError) -> String {
    match error.hint() {
        Some(hint) => format!("{error}\nhint: {hint}"),
        None => error.to_string(),
    }
}

/// The value of a literal of a wrong kind, named for the author.
pub(crate) fn one_of(expr: &Expr, names: &[&str]) -> syn::Result<String> {
    match text_of(expr) {
        Some(text) if names.contains(&text.as_str()) => Ok(text),
        _ => Err(Error::new_spanned(
            expr,
            format!(
                "expected one of {}",
                names.iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
            ),
        )),
    }
}

/// Whether a literal is a value of this kind; an expression is left to the compiler.
pub(crate) fn kind(expr: &Expr, what: &str, is_kind: impl Fn(&Value) -> bool) -> syn::Result<()> {
    match value_of(expr) {
        Some(value) if !is_kind(&value) => Err(Error::new_spanned(expr, format!("expected {what}"))),
        _ => Ok(()),
    }
}
