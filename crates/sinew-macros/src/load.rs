//! What a load takes along: it runs in a task of its own, so it owns whatever the body uses.

use proc_macro2::{Ident, TokenStream};
use quote::quote_spanned;
use syn::visit::{self, Visit};
use syn::{
    Block, Error, Expr, FnArg, ItemFn, Lifetime, ParenthesizedGenericArguments, Pat, PatType,
    Result, TraitBound, Type, TypeBareFn, TypeReference,
};

use crate::calls::hygienic;
use crate::{mentions, receiver};

pub struct Load {
    /// Statements of the caller, whose names the load then moves in the place of the originals.
    pub clones: TokenStream,
    /// A statement of the load, where the body expects a reference to what is now owned.
    pub borrow: TokenStream,
    pub body: Block,
}

/// Readies a function's body and arguments to move into a load.
///
/// `look_up` is what the caller evaluates besides: what that names is cloned, all else moves.
pub fn take(function: &mut ItemFn, look_up: &[&Expr]) -> Result<Load> {
    let mut load = Load {
        clones: TokenStream::new(),
        borrow: TokenStream::new(),
        body: (*function.block).clone(),
    };
    for input in &mut function.sig.inputs {
        match input {
            FnArg::Receiver(receiver) => receiver::take(receiver, &mut load)?,
            FnArg::Typed(argument) => take_argument(argument, look_up, &mut load)?,
        }
    }
    Ok(load)
}

fn take_argument(argument: &mut PatType, look_up: &[&Expr], load: &mut Load) -> Result<()> {
    let name = match &mut *argument.pat {
        Pat::Ident(name) if name.by_ref.is_none() && name.subpat.is_none() => name,
        Pat::Wild(_) => return Ok(()),
        other => {
            let message = "expected a plain name: the load takes its arguments by their names, so \
                           take this apart inside the function";
            return Err(Error::new_spanned(other, message));
        }
    };
    if !mentions::in_block(&load.body, &name.ident) {
        return Ok(());
    }
    if borrows(&argument.ty) {
        let message = format!(
            "the load runs in a task of its own, which cannot borrow `{}`: take it owned, {}",
            name.ident,
            example_of_owned(&name.ident, &argument.ty),
        );
        return Err(Error::new_spanned(&*argument, message));
    }
    if mentions::in_expressions(look_up, &name.ident) {
        // What changes is the load's: a `mut` of the caller's own would be in vain.
        let mutability = name.mutability.take();
        let ident = &name.ident;
        load.clones.extend(quote_spanned! {hygienic(ident.span())=>
            #[allow(unused_variables)]
            let #mutability #ident = ::core::clone::Clone::clone(&#ident);
        });
    }
    Ok(())
}

/// Whether a type says that it holds a borrow. Where one is hidden, the compiler finds it.
fn borrows(ty: &Type) -> bool {
    let mut borrows = Borrows { found: false };
    borrows.visit_type(ty);
    borrows.found
}

struct Borrows {
    found: bool,
}

impl<'ast> Visit<'ast> for Borrows {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        if reference.lifetime.is_none() {
            self.found = true;
        }
        visit::visit_type_reference(self, reference);
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.found = true;
        }
    }

    // In the following, `fn(&str)`, `Fn(&str)` and `for<'a>`, a borrow is that of each call.
    fn visit_type_bare_fn(&mut self, _: &'ast TypeBareFn) {}

    fn visit_parenthesized_generic_arguments(&mut self, _: &'ast ParenthesizedGenericArguments) {}

    fn visit_trait_bound(&mut self, bound: &'ast TraitBound) {
        if bound.lifetimes.is_none() {
            visit::visit_trait_bound(self, bound);
        }
    }
}

fn example_of_owned(name: &Ident, ty: &Type) -> String {
    if let Type::Reference(reference) = ty
        && let Type::Path(of) = &*reference.elem
        && let Some(of) = of.path.get_ident()
    {
        return match of.to_string().as_str() {
            "str" => format!("as in `{name}: String`"),
            of => format!("as in `{name}: Arc<{of}>`"),
        };
    }
    "for example in an `Arc`".to_owned()
}
