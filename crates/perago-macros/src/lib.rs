//! The `#[task]` attribute of Perago: `parse` reads what the author wrote, `generate` writes what it stands for.
//!
//! Use it as `perago::task`; the crate `perago` documents it. What the contract can judge without running the author's
//! program it judges here, so that a mistake is an error of the compiler at the place where it stands.

mod check;
mod generate;
mod literal;
mod options;
mod parse;
mod signature;

use proc_macro::TokenStream;

#[proc_macro_attribute]
#[expect(missing_docs, reason = "documented, with examples, where `perago` exports it")]
pub fn task(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    let expanded = parse::task(attribute.into(), item.clone()).map(|task| generate::task(&task));
    match expanded {
        Ok(tokens) => tokens.into(),
        // The author's own code stays, so that the compiler reports nothing else about it.
        Err(error) => {
            let errors = error.into_compile_error();
            quote::quote!(#item #errors).into()
        }
    }
}
