//! Whether a name is used, which decides what a load takes along.

use proc_macro2::{Ident, TokenStream, TokenTree};
use syn::ext::IdentExt as _;
use syn::visit::{self, Visit};
use syn::{Block, Expr, ExprPath, Item, Macro};

/// Whether a body uses an argument.
pub fn in_block(block: &Block, name: &Ident) -> bool {
    let mut mentions = Mentions { name, found: false };
    mentions.visit_block(block);
    mentions.found
}

/// Whether one of some expressions uses an argument.
pub fn in_expressions(expressions: &[&Expr], name: &Ident) -> bool {
    let mut mentions = Mentions { name, found: false };
    for expression in expressions {
        mentions.visit_expr(expression);
    }
    mentions.found
}

/// Whether a format string captures a variable: `{name}`, `{name:?}`, `{:name$}`.
pub fn captures(literal: &str, name: &str) -> bool {
    literal.match_indices(name).any(|(at, _)| {
        let (before, after) = (&literal[..at], &literal[at + name.len()..]);
        (before.ends_with('{') && after.starts_with(['}', ':'])) || after.starts_with('$')
    })
}

struct Mentions<'a> {
    name: &'a Ident,
    found: bool,
}

impl Mentions<'_> {
    /// A macro's input is tokens only: a field of that name counts as well.
    fn in_tokens(&self, tokens: &TokenStream) -> bool {
        tokens.clone().into_iter().any(|token| match token {
            TokenTree::Group(group) => self.in_tokens(&group.stream()),
            TokenTree::Ident(ident) => ident == *self.name,
            TokenTree::Literal(literal) => {
                captures(&literal.to_string(), &self.name.unraw().to_string())
            }
            TokenTree::Punct(_) => false,
        })
    }
}

impl<'ast> Visit<'ast> for Mentions<'_> {
    fn visit_expr_path(&mut self, path: &'ast ExprPath) {
        if path.path.is_ident(self.name) {
            self.found = true;
        }
        visit::visit_expr_path(self, path);
    }

    fn visit_macro(&mut self, invocation: &'ast Macro) {
        if self.in_tokens(&invocation.tokens) {
            self.found = true;
        }
    }

    // Items do not see the function's arguments.
    fn visit_item(&mut self, _: &'ast Item) {}
}
