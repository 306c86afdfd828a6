//! The function under an attribute: what it has to be, and another body for it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;
use syn::spanned::Spanned as _;
use syn::{Block, Error, Expr, ItemFn, Result, ReturnType, Stmt, Type};

use crate::calls::hygienic;

/// The type that an `async fn` is written to return, which has to be a `Result`. `awaited` is what it
/// has to be async for.
pub fn outcome(attribute: &str, awaited: &str, function: &ItemFn) -> Result<Type> {
    let signature = &function.sig;
    if signature.asyncness.is_none() {
        let message = format!("`#[{attribute}]` takes an `async fn`, because it awaits {awaited}");
        return Err(Error::new(signature.fn_token.span, message));
    }
    let message = || format!("`#[{attribute}]` takes a function that returns a `Result`");
    match &signature.output {
        ReturnType::Type(_, outcome) if is_named_result(outcome) => Ok((**outcome).clone()),
        ReturnType::Type(_, other) => Err(Error::new_spanned(other, message())),
        ReturnType::Default => Err(Error::new(signature.ident.span(), message())),
    }
}

/// By its name only, for a plain error. What an alias stands for, the compiler finds out.
fn is_named_result(outcome: &Type) -> bool {
    match outcome {
        // From a macro's `$outcome:ty`.
        Type::Group(group) => is_named_result(&group.elem),
        Type::Paren(paren) => is_named_result(&paren.elem),
        Type::Path(path) => {
            let last = path.path.segments.last();
            last.is_some_and(|last| last.ident.to_string().ends_with("Result"))
        }
        _ => false,
    }
}

/// The `Value` or the `Error` of a `Result` type, aliases included.
pub fn part(outcome: &Type, part: &str) -> TokenStream {
    let span = hygienic(outcome.span());
    let part = Ident::new(part, span);
    quote_spanned! {span=> <#outcome as ::sinew::__private::Outcome>::#part }
}

/// A body as that of an async block which knows its type, as the `async fn` did.
pub fn typed(body: &Block, outcome: &Type) -> TokenStream {
    // An async block has no place to write its type. A return that never happens says it, so that
    // bodies that rely on a coercion compile, and others get the errors they had without us.
    quote_spanned! {hygienic(outcome.span())=>
        #[allow(unreachable_code)]
        if let ::core::option::Option::Some(never) = ::core::option::Option::None::<#outcome> {
            return never;
        }
        // The body keeps its braces, which a function needs and a value does not.
        #[allow(unused_braces)]
        let value: #outcome = #body;
        value
    }
}

/// Runs the body, and after an `Ok` the effects, which know the value as `value`, and the user's
/// expressions in them as `result`.
pub fn after_ok(mut function: ItemFn, outcome: &Type, effects: &TokenStream) -> ItemFn {
    let body = typed(&function.block, outcome);
    // The user's word, hence in the user's scope.
    let result = Ident::new("result", Span::call_site());
    set_body(
        &mut function,
        // A block of its own, so that its `return` and `?` do not skip the effects.
        quote_spanned! {hygienic(outcome.span())=>
            let outcome = async { #body }.await;
            if let ::core::result::Result::Ok(value) = &outcome {
                #[allow(unused_variables)]
                let #result = value;
                #effects
            }
            outcome
        },
    );
    function
}

/// Puts another body between the same braces.
pub fn set_body(function: &mut ItemFn, body: TokenStream) {
    // Verbatim: nobody needs to parse what was just put together.
    function.block.stmts = vec![Stmt::Expr(Expr::Verbatim(body), None)];
}
