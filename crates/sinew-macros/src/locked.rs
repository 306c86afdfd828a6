//! `#[locked]`: a body that runs under a lock.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Error, Expr, ExprLit, ItemFn, Lit, LitStr, Result, Type, parse_quote_spanned};

use crate::arguments::Arguments;
use crate::calls::hygienic;
use crate::function;

const DAY_MS: u64 = 24 * 3_600 * 1_000;
const YEAR_MS: u64 = 365 * DAY_MS;

pub fn expand(arguments: TokenStream, mut function: ItemFn) -> Result<ItemFn> {
    let known = ["locks", "name", "ttl", "wait", "skip_if_held"];
    let mut arguments = Arguments::parse("locked", &known, arguments)?;
    let (locks, name) = (arguments.required("locks")?, arguments.required("name")?);
    let (ttl, wait) = (arguments.optional("ttl")?, arguments.optional("wait")?);
    let skips = arguments.flag("skip_if_held")?;
    let outcome = function::outcome("locked", "the lock", &function)?;

    let bind_lock = bind_lock(&locks, &name);
    let mut settings = TokenStream::new();
    if let Some(ttl) = ttl {
        settings.extend(set("ttl", &ttl, (10, DAY_MS, "10ms to 24h"))?);
    }
    if let Some(wait) = wait {
        settings.extend(set("wait", &wait, (0, YEAR_MS, "at most a year"))?);
    }
    let run = run(&function, &outcome);
    let told = match skips {
        true => told_or_skipped(&mut function, &outcome),
        false => told(&outcome),
    };
    function::set_body(&mut function, quote!(#bind_lock #settings #run #told));
    Ok(function)
}

/// Names the lock, which all that follows finds under `lock`. It borrows nothing: the body may have
/// all arguments to itself.
fn bind_lock(locks: &Expr, name: &Expr) -> TokenStream {
    let (locks_span, name_span) = (hygienic(locks.span()), hygienic(name.span()));
    let name = match name {
        // What stands in braces is the user's, at the user's place.
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) if text.value().contains(['{', '}']) => {
            quote_spanned! {name_span=> ::std::format!(#text) }
        }
        other => quote!(#other),
    };
    // The types said here make what is wrong an error of these expressions, and let an `Arc` or a
    // `String` coerce.
    let locks = quote_spanned! {locks_span=> let locks: &::sinew::Locks = &(#locks); };
    let name = quote_spanned! {name_span=> let name: &::core::primitive::str = &(#name); };
    quote_spanned! {locks_span=> let lock = { #locks #name ::sinew::Locks::lock(locks, name) }; }
}

/// Changes a setting of `lock`, to a time that is written as text, or to any `Duration`.
fn set(setting: &str, time: &Expr, (from, to, expected): (u64, u64, &str)) -> Result<TokenStream> {
    let span = hygienic(time.span());
    let method = Ident::new(setting, span);
    let time = match time {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
            let millis = millis(text)?;
            if !(from..=to).contains(&millis) {
                let message = format!("`{setting}` is out of bounds: expected {expected}");
                return Err(Error::new(text.span(), message));
            }
            quote_spanned! {span=> ::core::time::Duration::from_millis(#millis) }
        }
        other => quote!(#other),
    };
    Ok(quote_spanned! {span=> let lock = ::sinew::LockBuilder::#method(lock, #time); })
}

/// A time as people write it, of one unit.
fn millis(text: &LitStr) -> Result<u64> {
    let written = text.value();
    let wrong = || Error::new(text.span(), "expected a time like `250ms`, `30s`, `10m` or `36h`");
    let unit_at = written.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
    let (number, unit) = written.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(wrong()),
    };
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(unit_ms).ok_or_else(wrong)
}

/// Runs the body under the lock; what comes of it is `ran`.
fn run(function: &ItemFn, outcome: &Type) -> TokenStream {
    let body = function::typed(&function.block, outcome);
    // The user's word, hence in the user's scope.
    let fence = Ident::new("fence", Span::call_site());
    quote_spanned! {hygienic(function.sig.ident.span())=>
        let ran = ::sinew::LockBuilder::run(lock, move |granted| async move {
            #[allow(unused_variables)]
            let #fence = granted;
            #body
        })
        .await;
    }
}

/// What the function returns, where a lock that is held is an error.
fn told(outcome: &Type) -> TokenStream {
    let failed = failed(outcome);
    quote_spanned! {hygienic(outcome.span())=>
        match ::sinew::__private::under_lock(ran) {
            ::core::result::Result::Ok(outcome) => outcome,
            ::core::result::Result::Err(error) => #failed,
        }
    }
}

/// The same, where it is `None`.
fn told_or_skipped(function: &mut ItemFn, outcome: &Type) -> TokenStream {
    let span = hygienic(outcome.span());
    let (value, error) = (function::part(outcome, "Value"), function::part(outcome, "Error"));
    function.sig.output = parse_quote_spanned! {span=>
        -> ::core::result::Result<::core::option::Option<#value>, #error>
    };
    let failed = failed(outcome);
    quote_spanned! {span=>
        match ::sinew::__private::under_lock_or_skipped(ran) {
            ::core::result::Result::Ok(::core::option::Option::Some(outcome)) => {
                ::core::result::Result::map(outcome, ::core::option::Option::Some)
            }
            ::core::result::Result::Ok(::core::option::Option::None) => {
                ::core::result::Result::Ok(::core::option::Option::None)
            }
            ::core::result::Result::Err(error) => #failed,
        }
    }
}

/// Placed at the return type: an error that cannot be made from Sinew's is told there.
fn failed(outcome: &Type) -> TokenStream {
    let error = function::part(outcome, "Error");
    quote_spanned! {hygienic(outcome.span())=>
        ::core::result::Result::Err(
            <#error as ::core::convert::From<::sinew::Error>>::from(error)
        )
    }
}
