//! `#[derive(Job)]`: a type that is a kind of job.

use proc_macro2::TokenStream;
use quote::quote;
use syn::spanned::Spanned as _;
use syn::{DeriveInput, Error, Expr, ExprLit, Lit, LitInt, LitStr, Result};

use crate::arguments::Arguments;

const KNOWN: [&str; 7] = ["name", "queue", "attempts", "backoff", "timeout", "retain", "priority"];
const NAME_LEN_MAX: usize = 128;
const QUEUE_LEN_MAX: usize = 64;
const ATTEMPTS_MAX: u64 = 1_000;
const PRIORITY_MAX: u64 = 9;
const DAY_MS: u64 = 24 * 3_600 * 1_000;
const YEAR_MS: u64 = 365 * DAY_MS;

pub fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let mut arguments = arguments(input)?;
    let name = arguments.optional("name")?.ok_or_else(|| no_name(input))?;
    let name = named(&text("name", &name)?, NAME_LEN_MAX)?;
    let queue = match arguments.optional("queue")? {
        Some(queue) => named(&text("queue", &queue)?, QUEUE_LEN_MAX)?,
        None => LitStr::new("default", input.ident.span()),
    };
    let mut settings = TokenStream::new();
    if let Some(attempts) = arguments.optional("attempts")? {
        let attempts = number("attempts", &attempts, 1, ATTEMPTS_MAX)?;
        settings.extend(quote!(.attempts(#attempts)));
    }
    if let Some(backoff) = arguments.optional("backoff")? {
        let backoff = backoff_of(&text("backoff", &backoff)?)?;
        settings.extend(quote!(.backoff(#backoff)));
    }
    if let Some(timeout) = arguments.optional("timeout")? {
        let timeout = text("timeout", &timeout)?;
        let timeout = time(&timeout, "timeout", (1, 30 * DAY_MS, "1ms to 30d"))?;
        settings.extend(quote!(.timeout(#timeout)));
    }
    if let Some(retain) = arguments.optional("retain")? {
        let retain = text("retain", &retain)?;
        let retain = time(&retain, "retain", (0, YEAR_MS, "at most 365d"))?;
        settings.extend(quote!(.retain(#retain)));
    }
    if let Some(priority) = arguments.optional("priority")? {
        let priority = number("priority", &priority, 0, PRIORITY_MAX)?;
        settings.extend(quote!(.priority(#priority)));
    }
    let ident = &input.ident;
    let (generics, arguments, conditions) = input.generics.split_for_impl();
    Ok(quote! {
        #[automatically_derived]
        impl #generics ::sinew::job::Job for #ident #arguments #conditions {
            const NAME: &'static ::core::primitive::str = #name;
            const QUEUE: &'static ::core::primitive::str = #queue;

            fn options() -> ::sinew::job::JobOptions {
                <::sinew::job::JobOptions as ::core::default::Default>::default() #settings
            }
        }
    })
}

/// What is in `#[job(…)]`.
fn arguments(input: &DeriveInput) -> Result<Arguments> {
    let mut found = input.attrs.iter().filter(|one| one.path().is_ident("job"));
    let Some(attribute) = found.next() else { return Err(no_name(input)) };
    if let Some(second) = found.next() {
        return Err(Error::new(second.span(), "`#[job]` is given twice"));
    }
    let list = attribute.meta.require_list()?;
    Arguments::parse("job", &KNOWN, list.tokens.clone())
}

fn no_name(input: &DeriveInput) -> Error {
    let message =
        "a job needs a name that stays, whatever its type is called: `#[job(name = \"…\")]`";
    Error::new(input.ident.span(), message)
}

fn text(argument: &str, value: &Expr) -> Result<LitStr> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Ok(text.clone()),
        other => Err(Error::new_spanned(other, format!("`{argument}` takes a string"))),
    }
}

fn named(text: &LitStr, len_max: usize) -> Result<LitStr> {
    let name = text.value();
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    let is_name = (1..=len_max).contains(&name.len())
        && name.bytes().all(is_right)
        && name.bytes().any(|byte| byte != b'.');
    match is_name {
        true => Ok(text.clone()),
        false => {
            let message = format!("expected 1 to {len_max} of A-Z a-z 0-9 . _ - and not only dots");
            Err(Error::new(text.span(), message))
        }
    }
}

fn number(argument: &str, value: &Expr, from: u64, to: u64) -> Result<LitInt> {
    let message = || format!("`{argument}` takes a number of {from} to {to}");
    let Expr::Lit(ExprLit { lit: Lit::Int(number), .. }) = value else {
        return Err(Error::new_spanned(value, message()));
    };
    match number.base10_parse::<u64>() {
        Ok(parsed) if (from..=to).contains(&parsed) => Ok(number.clone()),
        _ => Err(Error::new(number.span(), message())),
    }
}

/// `exp(1s..1h)` or `fixed(5s)`.
fn backoff_of(text: &LitStr) -> Result<TokenStream> {
    let wrong = || Error::new(text.span(), "expected pauses like `exp(1s..1h)` or `fixed(5s)`");
    let written = text.value();
    let (how, pauses) =
        written.strip_suffix(')').and_then(|rest| rest.split_once('(')).ok_or_else(wrong)?;
    let pause = |pause: &str| match millis(pause.trim()) {
        Some(pause_ms) if pause_ms <= YEAR_MS => Ok(pause_ms),
        _ => Err(wrong()),
    };
    match how.trim() {
        "exp" => {
            let (first, last) = pauses.split_once("..").ok_or_else(wrong)?;
            let (first, last) = (pause(first)?, pause(last)?);
            if first > last {
                let message = "expected the first pause not to be longer than the last";
                return Err(Error::new(text.span(), message));
            }
            let (first, last) = (duration(first), duration(last));
            Ok(quote!(::sinew::job::Backoff::exponential(#first..#last)))
        }
        "fixed" => {
            let pause = duration(pause(pauses)?);
            Ok(quote!(::sinew::job::Backoff::fixed(#pause)))
        }
        _ => Err(wrong()),
    }
}

fn time(
    text: &LitStr,
    argument: &str,
    (from, to, expected): (u64, u64, &str),
) -> Result<TokenStream> {
    let Some(time_ms) = millis(&text.value()) else {
        let message = "expected a time like `250ms`, `30s`, `10m`, `36h` or `7d`";
        return Err(Error::new(text.span(), message));
    };
    match (from..=to).contains(&time_ms) {
        true => Ok(duration(time_ms)),
        false => {
            let message = format!("`{argument}` is out of bounds: expected {expected}");
            Err(Error::new(text.span(), message))
        }
    }
}

fn duration(millis: u64) -> TokenStream {
    quote!(::core::time::Duration::from_millis(#millis))
}

/// A time as people write it, of one unit.
fn millis(written: &str) -> Option<u64> {
    let (number, unit) = written.split_at(written.find(|c: char| !c.is_ascii_digit())?);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::millis;

    #[test]
    fn a_time_has_one_unit() {
        assert_eq!(millis("250ms"), Some(250));
        assert_eq!(millis("7d"), Some(7 * super::DAY_MS));
        for bad in ["", "5", "s", "1h30m", "-1s", "1.5s", "99999999999999999999d"] {
            assert_eq!(millis(bad), None, "{bad}");
        }
    }
}
