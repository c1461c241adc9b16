//! What a declaration stands for: an implementation of the hidden trait `perago::__private::Task`.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Expr, Ident};

use crate::parse::{Field, Guardrail, Metrics, New, Options, Shape, Task, Workspace};
use crate::signature::{Argument, Signature};

/// The author's code, and what makes it a task.
pub(crate) fn task(task: &Task) -> TokenStream {
    let declaration = declaration(&task.options);
    match &task.shape {
        Shape::Function(function, signature) => {
            let name = &function.sig.ident;
            let visibility = &function.vis;
            let about = format!("The task that is declared by the function `{name}`.");
            let call = call(signature, &quote!(#name));
            let implementation = implementation(&quote!(#name), signature, &declaration, &call, None);
            let allowed = allowed();
            quote! {
                #allowed
                #function

                #[doc = #about]
                #[allow(non_camel_case_types)]
                #[derive(Debug)]
                #visibility struct #name {}

                #implementation
            }
        }
        Shape::State(block, signature, new) => {
            let own = &block.self_ty;
            let call = call(signature, &quote!(task.run));
            let implementation = implementation(&quote!(#own), signature, &declaration, &call, Some(new));
            let allowed = allowed();
            quote!(#allowed #block #implementation)
        }
    }
}

/// The signature of a body is not its author's choice.
fn allowed() -> TokenStream {
    quote!(#[allow(clippy::needless_pass_by_value, clippy::unnecessary_wraps, clippy::unused_async)])
}

fn implementation(
    own: &TokenStream,
    signature: &Signature,
    declaration: &TokenStream,
    call: &TokenStream,
    new: Option<&New>,
) -> TokenStream {
    let Signature { params, returned, is_async, .. } = signature;
    let is_async = *is_async || new.is_some_and(|new| new.is_async);
    let set_up = set_up(new);
    // A result that does not fit is refused where it stands.
    let place = Span::call_site().located_at(returned.span());
    let body = quote_spanned! {place=>
        ::perago::__private::body::<Self, #params, #returned>(|task, call| {
            let _ = task;
            #call
        })
    };
    quote! {
        #[allow(clippy::all, clippy::pedantic, unused_qualifications)]
        const _: () = {
            #[automatically_derived]
            impl ::perago::__private::Task for #own {
                const IS_ASYNC: bool = #is_async;

                fn declaration() -> ::perago::__private::Declaration {
                    #declaration
                }

                fn set_up(
                    set_up: &::perago::__private::SetUp,
                ) -> ::core::result::Result<Self, ::perago::TaskError> {
                    #set_up
                }

                fn body() -> ::perago::__private::Body<Self> {
                    #body
                }
            }
        };
    }
}

fn set_up(new: Option<&New>) -> TokenStream {
    let Some(new) = new else {
        return quote!(let _ = set_up; ::core::result::Result::Ok(Self {}));
    };
    let built = quote_spanned!(new.span=> Self::new());
    let built = if new.is_async { quote!(set_up.block_on(#built)) } else { built };
    match &new.result {
        None => quote!(let _ = set_up; ::core::result::Result::Ok(#built)),
        Some(result) => quote!(let _ = set_up; ::perago::__private::built::<Self, #result>(#built)),
    }
}

/// Calls the body.
fn call(signature: &Signature, body: &TokenStream) -> TokenStream {
    let given = |argument: &Argument, name: &Ident| {
        // A type that is not ours is refused where it stands.
        let place = Span::call_site().located_at(argument.ty.span());
        let name = Ident::new(&name.to_string(), place);
        if argument.is_reference() { quote_spanned!(place=> &#name,) } else { quote_spanned!(place=> #name,) }
    };
    let (workspace, metrics) = (format_ident!("workspace"), format_ident!("metrics"));
    let first = signature.workspace.as_ref().map(|argument| given(argument, &workspace));
    let last = signature.metrics.as_ref().map(|argument| given(argument, &metrics));
    let take_workspace = signature.workspace.is_some().then(|| quote!(let #workspace = call.workspace()?;));
    let take_metrics = signature.metrics.is_some().then(|| quote!(let #metrics = call.metrics();));
    let called = quote!(#body(#first params, #last));
    let returned = if signature.is_async {
        quote!(call.block_on(async move { #called.await }))
    } else {
        quote!(::core::result::Result::Ok(#called))
    };
    quote! {
        #take_workspace
        #take_metrics
        let (call, params) = call.into_params();
        let _ = &call;
        #returned
    }
}

fn declaration(options: &Options) -> TokenStream {
    let Options { name, owner_email, description, strict_params, .. } = options;
    let description =
        description.as_ref().map(|text| quote!(declaration.description = Some((#text).into());));
    let strict = strict_params.as_ref().map(|is_strict| quote!(declaration.strict_params = #is_strict;));
    let workspace = options.workspace.as_ref().map(workspace);
    let metrics = options.metrics.as_ref().map(metrics);
    let controls = options.controls.iter().map(|(group, fields)| control(group, fields));
    quote! {
        let mut declaration = ::perago::__private::Declaration::new(
            (#name).into(),
            (#owner_email).into(),
            ::core::file!(),
            ::core::line!(),
        );
        #description
        #strict
        #workspace
        #metrics
        #(#controls)*
        declaration
    }
}

fn workspace(workspace: &Workspace) -> TokenStream {
    let prefix = workspace.prefix.as_ref().map(|prefix| quote!(spec.prefix = (#prefix).into();));
    let pre = workspace.pre.iter().map(guardrail);
    let post = workspace.post.iter().map(guardrail);
    let read_only = workspace.read_only.as_ref().map(|value| quote!(spec.read_only = #value;));
    let merges = workspace
        .merges
        .then(|| quote!(spec.on_moved_head = ::perago::__private::contract::OnMovedHead::Merge;));
    quote! {
        let mut spec = ::perago::__private::contract::WorkspaceSpec::default();
        #prefix
        spec.pre = ::std::vec![#(#pre),*];
        spec.post = ::std::vec![#(#post),*];
        #read_only
        #merges
        declaration.workspace = Some(spec);
    }
}

fn guardrail(rule: &Guardrail) -> TokenStream {
    let (kind, fewest) = match rule.kind {
        "require_file" => ("RequireFile", None),
        "require_dir" => ("RequireDir", None),
        "require_glob" => ("RequireGlob", Some(quote!(1))),
        _ => ("ForbidGlob", None),
    };
    let kind = format_ident!("{kind}");
    let path = &rule.path;
    let count = |given: &Option<Expr>, usual: Option<TokenStream>| {
        let given = given.as_ref().map(|count| quote!(#count)).or(usual);
        given.map_or_else(|| quote!(None), |count| quote!(Some(#count)))
    };
    let (min_count, max_count) = (count(&rule.min_count, fewest), count(&rule.max_count, None));
    quote! {
        ::perago::__private::contract::Guardrail {
            kind: ::perago::__private::contract::GuardrailKind::#kind,
            path: (#path).into(),
            min_count: #min_count,
            max_count: #max_count,
        }
    }
}

fn metrics(metrics: &Metrics) -> TokenStream {
    let switches = metrics.switches.iter().map(|(name, value)| quote!(spec.#name = #value;));
    let buckets = metrics.buckets.iter().map(|(name, bounds)| {
        let bounds = match bounds {
            // One by one: whole numbers may stand beside others.
            Expr::Array(list) => {
                let bounds = list.elems.iter();
                quote!(::std::vec![#(::perago::Number::as_f64(#bounds)),*])
            }
            other => quote!(::perago::__private::bounds(#other)),
        };
        quote!(spec.buckets.insert(#name.into(), #bounds);)
    });
    quote! {
        let mut spec = ::perago::__private::contract::MetricSpec::default();
        #(#switches)*
        #(#buckets)*
        declaration.metrics = Some(spec);
    }
}

fn control(group: &str, fields: &[(Ident, Field)]) -> TokenStream {
    let contract = quote!(::perago::__private::contract);
    let fields: Vec<TokenStream> = fields
        .iter()
        .map(|(name, field)| match field {
            Field::Number(expr) => quote!(#name: #expr),
            Field::OptionalNumber(expr) => quote!(#name: Some(#expr)),
            Field::Word(expr, word) => {
                let kind = if name == "logic" { "RetryLogic" } else { "TimeoutAction" };
                let (kind, variant) = (format_ident!("{kind}"), format_ident!("{}", camel_case(word)));
                quote_spanned!(expr.span()=> #name: #contract::controls::#kind::#variant)
            }
        })
        .collect();
    let group = format_ident!("{group}");
    match group.to_string().as_str() {
        "publish_budget" => quote! {
            declaration.controls.publish_budget = Some(#contract::PublishBudget { #(#fields),* });
        },
        name => {
            let kind = match name {
                "retry" => "RetryPolicy",
                "timeout" => "TimeoutPolicy",
                _ => "ExecutionLimits",
            };
            let kind = format_ident!("{kind}");
            quote! {
                declaration.controls.#group = #contract::#kind {
                    #(#fields,)*
                    ..::core::default::Default::default()
                };
            }
        }
    }
}

/// Conductor's word as the contract's enums name it.
fn camel_case(word: &str) -> String {
    let parts = word.split('_').map(|part| part.split_at(1));
    parts.fold(String::new(), |camel, (first, rest)| camel + first + &rest.to_lowercase())
}
