//! `flags!`: a struct with a method for each flag.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned as _;
use syn::{Attribute, Error, Expr, Ident, LitStr, Result, Token, Type, Visibility, braced};

use crate::calls::hygienic;

const KEY_LEN_MAX: usize = 100;
/// What the struct has besides its flags.
const TAKEN: [&str; 2] = ["new", "overdue"];

/// `pub struct Features { … }`.
struct Flags {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    name: Ident,
    flags: Vec<Flag>,
}

/// `#[key("…")] #[expires("…")] name: Type = default`.
struct Flag {
    attributes: Vec<Attribute>,
    name: Ident,
    key: LitStr,
    expires: Option<LitStr>,
    ty: Type,
    default: Expr,
}

pub fn expand(tokens: TokenStream) -> Result<TokenStream> {
    let Flags { attributes, visibility, name, flags } = syn::parse2(tokens)?;
    check(&flags)?;
    let keys = flags.iter().map(|flag| &flag.key);
    let expiries = flags.iter().filter_map(|flag| {
        let (key, expires) = (&flag.key, flag.expires.as_ref()?);
        Some(quote!((#key, #expires)))
    });
    let methods = flags.iter().map(|flag| method(&visibility, flag));
    let own = quote_spanned! {hygienic(name.span())=>
        impl #name {
            /// The keys of the flags, in the order in which they are written.
            #[allow(dead_code)]
            #visibility const KEYS: &'static [&'static ::core::primitive::str] = &[#(#keys),*];

            /// They are evaluated by these. One whose day to be removed has come is told in the log.
            #[must_use]
            #visibility fn new(flags: ::sinew::flag::Flags) -> Self {
                ::sinew::__private::warn_of_overdue(::core::stringify!(#name), Self::overdue);
                Self { flags }
            }

            /// The keys of the flags whose day to be removed has come by `today`, such as `2027-01-31`.
            #[allow(dead_code)]
            #[must_use]
            #visibility fn overdue(
                today: &::core::primitive::str,
            ) -> ::std::vec::Vec<&'static ::core::primitive::str> {
                ::sinew::__private::overdue(&[#(#expiries),*], today)
            }
        }
    };
    Ok(quote! {
        #(#attributes)*
        #[derive(::core::clone::Clone)]
        #visibility struct #name {
            flags: ::sinew::flag::Flags,
        }

        #own

        impl #name {
            #(#methods)*
        }
    })
}

/// Each part is placed at the tokens of the user that it is about; names are ours.
fn method(visibility: &Visibility, flag: &Flag) -> TokenStream {
    let Flag { attributes, name, key, ty, default, .. } = flag;
    let span = hygienic(name.span());
    let about = format!("\n\nThe flag `{}`.", key.value());
    let bind = quote_spanned! {hygienic(default.span())=> let default: #ty = #default; };
    let evaluate = match is_bool(ty) {
        true => quote_spanned! {span=>
            ::sinew::flag::Flags::enabled_or(&self.flags, #key, cx, default)
        },
        false => quote_spanned! {hygienic(ty.span())=>
            ::sinew::flag::Flags::evaluate::<#ty>(&self.flags, #key, cx, default).value
        },
    };
    quote_spanned! {span=>
        #(#attributes)*
        #[doc = #about]
        #[must_use]
        #visibility fn #name(&self, cx: &::sinew::flag::EvalContext) -> #ty {
            #bind
            #evaluate
        }
    }
}

fn is_bool(ty: &Type) -> bool {
    matches!(ty, Type::Path(path) if path.path.is_ident("bool"))
}

/// What each flag says for itself is right; whether they get along is not known before all are read.
fn check(flags: &[Flag]) -> Result<()> {
    for (at, flag) in flags.iter().enumerate() {
        if TAKEN.iter().any(|taken| flag.name == *taken) {
            let message = format!(
                "`{}` is a function of the struct: call the flag otherwise, and say its key by `#[key(\"…\")]`",
                flag.name
            );
            return Err(Error::new(flag.name.span(), message));
        }
        let same = flags[..at].iter().find(|other| other.key.value() == flag.key.value());
        if same.is_some() {
            let message = format!("the flag `{}` is there twice", flag.key.value());
            return Err(Error::new(flag.key.span(), message));
        }
    }
    Ok(())
}

impl Parse for Flags {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attributes = Attribute::parse_outer(input)?;
        let visibility = input.parse()?;
        input.parse::<Token![struct]>()?;
        let name = input.parse()?;
        let content;
        braced!(content in input);
        let flags = Punctuated::<Flag, Token![,]>::parse_terminated(&content)?;
        Ok(Self { attributes, visibility, name, flags: flags.into_iter().collect() })
    }
}

impl Parse for Flag {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut attributes = Attribute::parse_outer(input)?;
        let key = take(&mut attributes, "key")?;
        let expires = take(&mut attributes, "expires")?;
        let name: Ident = input.parse()?;
        input.parse::<Token![:]>()?;
        let ty = input.parse()?;
        if !input.peek(Token![=]) {
            let message = format!("expected what `{name}` is without a flag: `{name}: … = …`");
            return Err(input.error(message));
        }
        input.parse::<Token![=]>()?;
        let default = input.parse()?;
        let key = match key {
            Some(key) => check_key(key)?,
            None => LitStr::new(&name.unraw().to_string().replace('_', "-"), name.span()),
        };
        if let Some(day) = &expires {
            check_day(day)?;
        }
        Ok(Self { attributes, name, key, expires, ty, default })
    }
}

/// The text of `#[name("…")]`, which goes no further.
fn take(attributes: &mut Vec<Attribute>, name: &str) -> Result<Option<LitStr>> {
    let Some(at) = attributes.iter().position(|one| one.path().is_ident(name)) else {
        return Ok(None);
    };
    let attribute = attributes.remove(at);
    if let Some(second) = attributes.iter().find(|one| one.path().is_ident(name)) {
        return Err(Error::new(second.span(), format!("`#[{name}]` is given twice")));
    }
    let text = attribute.parse_args::<LitStr>();
    let wrong = || Error::new(attribute.span(), format!("expected `#[{name}(\"…\")]`"));
    text.map(Some).map_err(|_| wrong())
}

fn check_key(key: LitStr) -> Result<LitStr> {
    let text = key.value();
    let is_right = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=KEY_LEN_MAX).contains(&text.len()) && text.bytes().all(is_right) {
        return Ok(key);
    }
    let message = format!("expected a key of 1 to {KEY_LEN_MAX} of A-Z a-z 0-9 . _ -");
    Err(Error::new(key.span(), message))
}

fn check_day(day: &LitStr) -> Result<()> {
    match is_day(&day.value()) {
        true => Ok(()),
        false => Err(Error::new(day.span(), "expected a day like `2027-01-31`")),
    }
}

fn is_day(text: &str) -> bool {
    let [year, month, day] = text.split('-').collect::<Vec<_>>()[..] else { return false };
    let number = |text: &str, digits: usize| {
        let is_right = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        is_right.then(|| text.parse::<u32>().ok()).flatten()
    };
    let (Some(year), Some(month), Some(day)) = (number(year, 4), number(month, 2), number(day, 2))
    else {
        return false;
    };
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day)
}

#[cfg(test)]
mod tests {
    use super::is_day;

    #[test]
    fn a_day_is_one_of_the_calendar() {
        for day in ["2027-01-31", "2028-02-29", "2000-02-29", "2026-12-01"] {
            assert!(is_day(day), "{day}");
        }
        for day in [
            "2027-02-29",
            "2100-02-29",
            "2027-13-01",
            "2027-00-01",
            "2027-01-00",
            "2027-04-31",
            "2027-1-1",
            "27-01-01",
            "2027-01",
            "2027-01-01T00",
            "+027-01-01",
            "",
        ] {
            assert!(!is_day(day), "{day}");
        }
    }
}
