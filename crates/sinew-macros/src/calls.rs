//! The calls to the cache, each part of them placed at the tokens of the user that it is about.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;
use syn::Expr;
use syn::spanned::Spanned as _;

/// Errors point at `span`, and names stay apart from the user's.
pub fn hygienic(span: Span) -> Span {
    Span::mixed_site().located_at(span)
}

/// A name of ours for what the user's expression is about.
pub fn name(name: &str, expression: &Expr) -> Ident {
    Ident::new(name, hygienic(expression.span()))
}

/// Names a cache, which all calls find under `cache`. `ty` is the type of the reference to it.
pub fn bind_cache(expression: &Expr, ty: &TokenStream) -> TokenStream {
    // The type said here makes a wrong cache an error of this expression, and lets an `Arc` or a
    // `LazyLock` of a cache coerce.
    quote_spanned! {hygienic(expression.span())=> let cache: #ty = &(#expression); }
}

/// Names a reference to what the user's expression gives: nothing moves, and keys need not be `Copy`.
pub fn bind(name: &Ident, expression: &Expr) -> TokenStream {
    quote_spanned! {name.span()=> let #name = &(#expression); }
}

/// Evicts after a write. The write has been done, so a failure is told and changes nothing else.
pub fn evict(method: &str, what: &Ident) -> TokenStream {
    let span = what.span();
    let method = Ident::new(method, span);
    quote_spanned! {span=>
        if let ::core::result::Result::Err(error) = ::sinew::Cache::#method(cache, #what).await {
            ::sinew::__private::eviction_failed(&error);
        }
    }
}
