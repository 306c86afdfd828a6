//! `#[cached]`: cache-aside, and write-through with `put`.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::spanned::Spanned as _;
use syn::{Expr, ItemFn, Result, Type, parse_quote_spanned};

use crate::arguments::Arguments;
use crate::calls::{self, hygienic};
use crate::function;
use crate::load::{self, Load};

pub fn expand(arguments: TokenStream, function: ItemFn) -> Result<ItemFn> {
    let mut arguments = Arguments::parse("cached", &["cache", "key", "put"], arguments)?;
    let (cache, key) = (arguments.required("cache")?, arguments.required("key")?);
    let outcome = function::outcome("cached", "the cache", &function)?;
    if arguments.flag("put")? {
        Ok(write_through(function, &outcome, &cache, &key))
    } else {
        cache_aside(function, &outcome, &cache, &key)
    }
}

fn cache_aside(mut function: ItemFn, outcome: &Type, cache: &Expr, key: &Expr) -> Result<ItemFn> {
    let Load { clones, borrow, body } = load::take(&mut function, &[cache, key])?;
    let body = function::typed(&body, outcome);
    let bind_cache = calls::bind_cache(cache, &cache_type(outcome));
    let key_name = calls::name("key", key);
    let bind_key = calls::bind(&key_name, key);
    // What cannot be sent to the load's task is told at the function's name.
    let load = quote_spanned! {hygienic(function.sig.ident.span())=>
        ::sinew::Cache::get_or_load(cache, #key_name, move || async move { #borrow #body }).await
    };
    // The clones come last: until then, the user's names are the caller's own.
    function::set_body(&mut function, quote!(#bind_cache #bind_key #clones #load));
    let (value, error) = (function::part(outcome, "Value"), function::part(outcome, "Error"));
    function.sig.output = parse_quote_spanned! {hygienic(outcome.span())=>
        -> ::core::result::Result<::std::sync::Arc<#value>, ::sinew::LoadError<#error>>
    };
    Ok(function)
}

fn write_through(function: ItemFn, outcome: &Type, cache: &Expr, key: &Expr) -> ItemFn {
    let bind_cache = calls::bind_cache(cache, &cache_type(outcome));
    let key_name = calls::name("key", key);
    let bind_key = calls::bind(&key_name, key);
    // What could not be stored, or perhaps was not, must not leave the old value behind.
    let evict = calls::evict("invalidate", &key_name);
    let effects = quote_spanned! {key_name.span()=>
        #bind_cache
        #bind_key
        if ::sinew::Cache::put(cache, #key_name, value).await.is_err() {
            #evict
        }
    };
    function::after_ok(function, outcome, &effects)
}

/// Placed at the return type: a cache of another value type is told with both lines.
fn cache_type(outcome: &Type) -> TokenStream {
    let value = function::part(outcome, "Value");
    quote_spanned! {hygienic(outcome.span())=> &::sinew::Cache<_, #value> }
}
