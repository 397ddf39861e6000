//! Prototypes of kernel functions, and calls with their arguments as text.

use crate::{Btf, Type, TypeId};
use std::fmt::Write as _;

/// A parameter with what a tracer needs to know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Argument {
    /// Its name; `argN`, counted from 1, where the kernel does not say.
    pub name: String,
    /// Its type as C writes it.
    pub text: String,
    /// The type's number.
    pub target: TypeId,
    /// Bytes; 0 if not known.
    pub size: u64,
    /// Is it a signed integer or enumeration?
    pub signed: bool,
    /// A pointer.
    pub pointer: bool,
    /// A pointer to characters.
    pub string: bool,
    /// A pointer whose type says that it is user space's (`__user`; only some compilers keep that).
    pub user: bool,
    /// A structure, handed over by value.
    pub aggregate: bool,
}

/// What a function takes and returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prototype {
    /// The function.
    pub name: String,
    /// Its parameters without a trailing `...`.
    pub arguments: Vec<Argument>,
    /// More arguments may follow (`...`).
    pub variadic: bool,
    /// What it returns; nothing for `void`.
    pub returns: Option<Argument>,
}

impl Btf {
    /// The prototype of the function of that name. A suffix of the compiler (`.isra.0`, `.constprop.0`) must have been taken
    /// off, and then the arguments may differ from the source's.
    pub fn prototype(&self, name: &str) -> Option<Prototype> {
        let Type::Func { proto, .. } = self.get(self.function_id(name)?)? else { return None };
        let Type::FuncProto { returns } = self.get(proto)? else { return None };
        let mut prototype = Prototype {
            name: name.to_owned(),
            arguments: Vec::new(),
            variadic: false,
            returns: (returns != TypeId::VOID).then(|| self.argument(returns, "ret")),
        };
        for (index, param) in self.params(proto).enumerate() {
            if param.target == TypeId::VOID {
                prototype.variadic = true;
                break;
            }
            let unnamed = format!("arg{}", index + 1);
            let name = if param.name.is_empty() { &unnamed } else { param.name };
            prototype.arguments.push(self.argument(param.target, name));
        }
        Some(prototype)
    }

    fn argument(&self, target: TypeId, name: &str) -> Argument {
        let resolved = self.resolve(target).map(|(_, kind)| kind);
        let (string, user) = match resolved {
            Some(Type::Ptr(pointee)) => (self.is_char(pointee), self.is_user(pointee)),
            _ => (false, false),
        };
        Argument {
            name: name.to_owned(),
            text: self.type_text(target),
            target,
            size: self.size_of(target).unwrap_or(0),
            signed: match resolved {
                Some(Type::Int { kind, .. }) => kind.signed && !kind.bool,
                Some(Type::Enum { signed, .. }) => signed,
                _ => false,
            },
            pointer: matches!(resolved, Some(Type::Ptr(_))),
            string,
            user,
            aggregate: matches!(resolved, Some(Type::Composite { .. } | Type::Array { .. })),
        }
    }

    fn is_char(&self, id: TypeId) -> bool {
        match self.resolve(id) {
            Some((_, Type::Int { name, size: 1, kind })) => kind.char || name == "char",
            _ => false,
        }
    }

    /// Is the type tagged `user` on the way to what it resolves to?
    fn is_user(&self, id: TypeId) -> bool {
        let mut id = id;
        for _ in 0..crate::text::DEEP {
            match self.get(id) {
                Some(Type::TypeTag { name: "user", .. }) => return true,
                Some(
                    Type::TypeTag { target, .. }
                    | Type::Qualified { target, .. }
                    | Type::Typedef { target, .. },
                ) => id = target,
                _ => return false,
            }
        }
        false
    }
}

impl Prototype {
    /// A call as text, from the values of the registers that hold arguments, in order: `vfs_read(file=0xffff…, buf=0x7f…,
    /// count=4096, pos=0xffff…)`. Arguments beyond those values are `…`; a structure by value takes as many of them as it needs.
    pub fn call_text(&self, btf: &Btf, values: &[u64]) -> String {
        let mut text = format!("{}(", self.name);
        let mut values = values.iter();
        for (index, argument) in self.arguments.iter().enumerate() {
            if index > 0 {
                text.push_str(", ");
            }
            let words = argument.words();
            let parts: Vec<u64> = values.by_ref().take(words).copied().collect();
            let shown = match parts.as_slice() {
                [] => "…".to_owned(),
                [value] if !argument.aggregate => btf.value_text(argument.target, *value),
                parts => {
                    let parts: Vec<String> = parts.iter().map(|part| format!("{part:#x}")).collect();
                    format!("{{{}}}", parts.join(", "))
                }
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "{}={shown}", argument.name);
        }
        if self.variadic {
            text.push_str(if self.arguments.is_empty() { "…" } else { ", …" });
        }
        text.push(')');
        text
    }

    /// The value returned as text.
    pub fn return_text(&self, btf: &Btf, value: u64) -> Option<String> {
        Some(btf.value_text(self.returns.as_ref()?.target, value))
    }

    /// The declaration as C writes it, without a semicolon.
    pub fn declaration(&self, btf: &Btf) -> String {
        let mut parts: Vec<String> =
            self.arguments.iter().map(|arg| btf.declaration(arg.target, &arg.name)).collect();
        if self.variadic {
            parts.push("...".to_owned());
        }
        let parts = if parts.is_empty() { "void".to_owned() } else { parts.join(", ") };
        match &self.returns {
            Some(returns) => btf.declaration(returns.target, &format!("{}({parts})", self.name)),
            None => format!("void {}({parts})", self.name),
        }
    }
}

impl Argument {
    /// How many registers it takes: structures of up to 16 bytes go in one or two, others and integers in one (larger structures
    /// go to memory, and on some machines a pointer to them in one).
    pub fn words(&self) -> usize {
        if self.aggregate && self.size > 8 && self.size <= 16 { 2 } else { 1 }
    }
}
