//! `self` in a load: a clone of it, under another name, because nothing else can be called `self`.

use std::mem;

use proc_macro2::{Group, Ident, Spacing, Span, TokenStream, TokenTree};
use quote::quote_spanned;
use syn::visit_mut::{self, VisitMut};
use syn::{Error, ExprPath, Item, Macro, Receiver, Result, Type};

use crate::calls::hygienic;
use crate::load::Load;
use crate::mentions::captures;

/// Lets a load own a clone of `self`, if its body uses it.
pub fn take(receiver: &mut Receiver, load: &mut Load) -> Result<()> {
    let is_reference = match &*receiver.ty {
        Type::Reference(reference) if reference.mutability.is_some() => {
            let message = "the load runs in a task of its own, which cannot change `self`: \
                           take `&self`";
            return Err(Error::new_spanned(&*receiver, message));
        }
        Type::Reference(_) => true,
        _ => false,
    };
    let mut renaming = Renaming { is_used: false, error: None };
    renaming.visit_block_mut(&mut load.body);
    if let Some(error) = renaming.error {
        return Err(error);
    }
    if !renaming.is_used {
        return Ok(());
    }

    // The user's own token: `self` is as hygienic as other names.
    let self_token = receiver.self_token;
    let span = hygienic(self_token.span);
    let this = this(self_token.span);
    load.clones.extend(if is_reference {
        quote_spanned! {span=> let #this = ::core::clone::Clone::clone(#self_token); }
    } else {
        let mutability = receiver.mutability.take();
        quote_spanned! {span=> let #mutability #this = ::core::clone::Clone::clone(&#self_token); }
    });
    if is_reference {
        load.borrow.extend(quote_spanned! {span=> let #this = &#this; });
    }
    Ok(())
}

fn this(span: Span) -> Ident {
    Ident::new("this", hygienic(span))
}

/// Puts [`this`] in the place of `self`.
struct Renaming {
    is_used: bool,
    error: Option<Error>,
}

impl Renaming {
    fn this(&mut self, span: Span) -> Ident {
        self.is_used = true;
        this(span)
    }

    /// In a macro's input, which is tokens only.
    fn rename_tokens(&mut self, tokens: TokenStream) -> TokenStream {
        let mut renamed = TokenStream::new();
        let mut tokens = tokens.into_iter().peekable();
        while let Some(token) = tokens.next() {
            // `self::name` is a path of the module.
            let begins_path = matches!(
                tokens.peek(),
                Some(TokenTree::Punct(next)) if next.as_char() == ':' && next.spacing() == Spacing::Joint
            );
            renamed.extend([match token {
                TokenTree::Ident(ident) if ident == "self" && !begins_path => {
                    TokenTree::Ident(self.this(ident.span()))
                }
                TokenTree::Group(group) => {
                    let inside = self.rename_tokens(group.stream());
                    let mut outside = Group::new(group.delimiter(), inside);
                    outside.set_span(group.span());
                    TokenTree::Group(outside)
                }
                TokenTree::Literal(literal) if captures(&literal.to_string(), "self") => {
                    let message = "`self` cannot be captured inside a cached function: \
                                   write `{}`, and `self` after the string";
                    self.error = Some(Error::new(literal.span(), message));
                    TokenTree::Literal(literal)
                }
                other => other,
            }]);
        }
        renamed
    }
}

impl VisitMut for Renaming {
    fn visit_expr_path_mut(&mut self, path: &mut ExprPath) {
        if path.path.is_ident("self") {
            let segment = &mut path.path.segments[0];
            segment.ident = self.this(segment.ident.span());
        } else {
            visit_mut::visit_expr_path_mut(self, path);
        }
    }

    fn visit_macro_mut(&mut self, invocation: &mut Macro) {
        invocation.tokens = self.rename_tokens(mem::take(&mut invocation.tokens));
    }

    // What an item calls `self` is its own.
    fn visit_item_mut(&mut self, _: &mut Item) {}
}
