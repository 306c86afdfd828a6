//! `#[evicts]`: invalidation after an `Ok`.

use proc_macro2::{Span, TokenStream};
use quote::quote_spanned;
use syn::spanned::Spanned as _;
use syn::{Error, ItemFn, Result};

use crate::arguments::Arguments;
use crate::calls::{self, hygienic};
use crate::function;

pub fn expand(arguments: TokenStream, function: ItemFn) -> Result<ItemFn> {
    let known = ["cache", "key", "keys", "tags"];
    let mut arguments = Arguments::parse("evicts", &known, arguments)?;
    let cache = arguments.required("cache")?;
    let (key, keys) = (arguments.optional("key")?, arguments.optional("keys")?);
    let tags = arguments.list("tags")?;
    if key.is_none() && keys.is_none() && tags.is_empty() {
        let message =
            "`#[evicts]` needs what to evict: `key = …`, `keys = [ … ]` or `tags = [ … ]`";
        return Err(Error::new(Span::call_site(), message));
    }
    let outcome = function::outcome("evicts", "the cache", &function)?;

    let any_cache = quote_spanned! {hygienic(cache.span())=> &::sinew::Cache<_, _> };
    let mut effects = calls::bind_cache(&cache, &any_cache);
    let mut evictions = TokenStream::new();
    let keys = key
        .map(|key| ("invalidate", key))
        .into_iter()
        .chain(keys.map(|keys| ("invalidate_many", keys)));
    let tags = tags.into_iter().map(|tag| ("invalidate_tag", tag));
    for (index, (method, what)) in keys.chain(tags).enumerate() {
        let name = calls::name(&format!("evicted_{index}"), &what);
        // All are evaluated first: of the value, only what they name is then held over the awaits.
        effects.extend(calls::bind(&name, &what));
        evictions.extend(calls::evict(method, &name));
    }
    effects.extend(evictions);
    Ok(function::after_ok(function, &outcome, &effects))
}
