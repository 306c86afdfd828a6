//! What stands between an attribute's parentheses.

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt as _;
use syn::parse::{Parse, ParseStream, Parser as _};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, Result, Token};

/// The arguments of an attribute, each known to it and given once.
pub struct Arguments {
    attribute: &'static str,
    given: Vec<Argument>,
}

struct Argument {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        // Any word, keywords too: which ones are known, the attribute says better than the parser.
        let name = Ident::parse_any(input)?;
        let equals: Option<Token![=]> = input.parse()?;
        let value = if equals.is_some() { Some(input.parse()?) } else { None };
        Ok(Self { name, value })
    }
}

impl Arguments {
    pub fn parse(attribute: &'static str, known: &[&str], tokens: TokenStream) -> Result<Self> {
        let given = Punctuated::<Argument, Token![,]>::parse_terminated.parse2(tokens)?;
        let given: Vec<Argument> = given.into_iter().collect();
        for (at, argument) in given.iter().enumerate() {
            let name = &argument.name;
            if !known.iter().any(|known| name == *known) {
                let known: Vec<_> = known.iter().map(|known| format!("`{known}`")).collect();
                let message = format!("unknown argument `{name}`: expected {}", known.join(", "));
                return Err(Error::new(name.span(), message));
            }
            if given[..at].iter().any(|earlier| earlier.name == *name) {
                return Err(Error::new(name.span(), format!("`{name}` is given twice")));
            }
        }
        Ok(Self { attribute, given })
    }

    pub fn required(&mut self, name: &str) -> Result<Expr> {
        let value = self.optional(name)?;
        let missing = || format!("`#[{}]` needs `{name} = …`", self.attribute);
        value.ok_or_else(|| Error::new(Span::call_site(), missing()))
    }

    pub fn optional(&mut self, name: &str) -> Result<Option<Expr>> {
        match self.take(name) {
            None => Ok(None),
            Some(Argument { value: Some(value), .. }) => Ok(Some(value)),
            Some(Argument { name, value: None }) => {
                Err(Error::new(name.span(), format!("`{name}` needs a value: `{name} = …`")))
            }
        }
    }

    /// The expressions of `name = [ … ]`.
    pub fn list(&mut self, name: &str) -> Result<Vec<Expr>> {
        match self.optional(name)? {
            None => Ok(Vec::new()),
            Some(Expr::Array(list)) => Ok(list.elems.into_iter().collect()),
            Some(other) => {
                Err(Error::new_spanned(other, format!("`{name}` takes a list: `{name} = [ … ]`")))
            }
        }
    }

    /// Whether a word is there, which takes no value.
    pub fn flag(&mut self, name: &str) -> Result<bool> {
        match self.take(name) {
            None => Ok(false),
            Some(Argument { value: None, .. }) => Ok(true),
            Some(Argument { value: Some(value), .. }) => {
                Err(Error::new_spanned(value, format!("`{name}` takes no value")))
            }
        }
    }

    fn take(&mut self, name: &str) -> Option<Argument> {
        let at = self.given.iter().position(|argument| argument.name == name)?;
        Some(self.given.swap_remove(at))
    }
}
