//! The options of the attribute as written: a tree of names, with expressions at its leaves.

use proc_macro2::Span;
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, LitStr, Token, parenthesized, token};

/// What a task may say of itself.
pub(crate) const TASK: &[&str] =
    &["name", "owner_email", "description", "strict_params", "workspace", "metrics", "controls"];
/// What it may say of its workspace.
pub(crate) const WORKSPACE: &[&str] = &["prefix", "pre", "post", "read_only", "on_moved_head"];
/// What it may say of its metrics.
pub(crate) const METRICS: &[&str] = &["attempts", "workspace_io", "worker_capacity", "buckets"];
/// What it may say of how Conductor treats it.
pub(crate) const CONTROLS: &[&str] = &["retry", "timeout", "limits", "publish_budget"];
/// The fields of each of its controls.
pub(crate) const RETRY: &[&str] = &["count", "logic", "delay_seconds", "max_delay_seconds", "jitter_ms"];
/// See [`RETRY`].
pub(crate) const TIMEOUT: &[&str] =
    &["policy", "seconds", "response_seconds", "poll_seconds", "total_seconds"];
/// See [`RETRY`].
pub(crate) const LIMITS: &[&str] =
    &["concurrent_exec_limit", "rate_limit_frequency_in_seconds", "rate_limit_per_frequency"];
/// See [`RETRY`]; all of them are required.
pub(crate) const PUBLISH_BUDGET: &[&str] = &[
    "observed_merge_p99_seconds",
    "safety_margin_seconds",
    "lakefs_merge_timeout_seconds",
    "conductor_completion_timeout_seconds",
    "worker_shutdown_grace_seconds",
    "heartbeat_interval_seconds",
];
/// The rules on a workspace.
pub(crate) const GUARDRAILS: &[&str] = &["require_file", "require_dir", "require_glob", "forbid_glob"];
/// The bounds of a rule that counts.
pub(crate) const COUNTS: &[&str] = &["min_count", "max_count"];

/// One option.
pub(crate) struct Item {
    /// Its name, or a name in quotes.
    pub(crate) name: String,
    /// Where the name stands.
    pub(crate) span: Span,
    /// What it is given.
    pub(crate) value: Value,
}

/// What an option is given.
pub(crate) enum Value {
    /// Nothing: `metrics`.
    Flag,
    /// `name = "…"`.
    Expr(Box<Expr>),
    /// `retry(count = 5)`.
    Group(Vec<Item>),
}

/// Options between commas.
pub(crate) struct Items(pub(crate) Vec<Item>);

impl Parse for Items {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let items = Punctuated::<Item, Token![,]>::parse_terminated(input)?;
        Ok(Self(items.into_iter().collect()))
    }
}

impl Parse for Item {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let (name, span) = if input.peek(LitStr) {
            let text: LitStr = input.parse()?;
            (text.value(), text.span())
        } else {
            let name = input.call(Ident::parse_any)?;
            (name.to_string(), name.span())
        };
        let value = if input.peek(token::Paren) {
            let inner;
            parenthesized!(inner in input);
            Value::Group(inner.parse::<Items>()?.0)
        } else if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Value::Expr(Box::new(input.parse()?))
        } else {
            Value::Flag
        };
        Ok(Self { name, span, value })
    }
}

impl Item {
    /// The expression after `=`.
    pub(crate) fn expr(&self) -> syn::Result<&Expr> {
        match &self.value {
            Value::Expr(expr) => Ok(expr),
            _ => Err(self.wants(&format!("{} = …", self.name))),
        }
    }

    /// The options in parentheses; none for a bare name.
    pub(crate) fn group(&self) -> syn::Result<&[Self]> {
        match &self.value {
            Value::Group(items) => Ok(items),
            Value::Flag => Ok(&[]),
            Value::Expr(_) => Err(self.wants(&format!("{}(…)", self.name))),
        }
    }

    fn wants(&self, form: &str) -> Error {
        Error::new(self.span, format!("`{}` is written as `{form}`", self.name))
    }
}

/// Refuses names that are not known, and those that stand twice.
pub(crate) fn check_names(items: &[Item], known: &[&str], owner: &str) -> syn::Result<()> {
    let mut errors = Errors::default();
    for item in items.iter().filter(|item| !known.contains(&item.name.as_str())) {
        let message =
            format!("unknown option `{}` of {owner}; known options: {}", item.name, known.join(", "));
        errors.add(Error::new(item.span, message));
    }
    errors.take(check_twice(items, owner));
    errors.finish(())
}

/// Refuses names that stand twice.
pub(crate) fn check_twice(items: &[Item], owner: &str) -> syn::Result<()> {
    let mut errors = Errors::default();
    for (index, item) in items.iter().enumerate() {
        if items[..index].iter().any(|earlier| earlier.name == item.name) {
            errors.add(Error::new(item.span, format!("option `{}` of {owner} is given twice", item.name)));
        }
    }
    errors.finish(())
}

/// The option of this name.
pub(crate) fn find<'a>(items: &'a [Item], name: &str) -> Option<&'a Item> {
    items.iter().find(|item| item.name == name)
}

/// Errors of several places, all of which the author sees at once.
#[derive(Default)]
pub(crate) struct Errors(Option<Error>);

impl Errors {
    /// Adds one.
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(first) => first.combine(error),
            None => self.0 = Some(error),
        }
    }

    /// Takes the value of a result and keeps its error.
    pub(crate) fn take<T>(&mut self, result: syn::Result<T>) -> Option<T> {
        result.map_err(|error| self.add(error)).ok()
    }

    /// The value, if there was no error.
    pub(crate) fn finish<T>(self, value: T) -> syn::Result<T> {
        self.0.map_or(Ok(value), Err)
    }
}
