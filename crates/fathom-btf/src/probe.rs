//! Probes by argument name: `tcp_sendmsg(sk, size)` becomes the line that tracefs takes,
//! `p:GRP/tcp_sendmsg tcp_sendmsg sk=%di:x64 size=%dx:u64`.
//!
//! The offsets are worked out here, so it works on kernels whose probes cannot use BTF themselves.

use crate::{Argument, Btf, Place, Prototype, Step, Type, TypeId};

/// The machine, for the registers that arguments are in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64.
    X86_64,
    /// 64-bit Arm.
    Aarch64,
}

impl Arch {
    /// The machine that this program was built for, if it is one of them.
    pub fn native() -> Option<Arch> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Arch::X86_64),
            "aarch64" => Some(Arch::Aarch64),
            _ => None,
        }
    }

    /// Where the word of that index (from 0) is at the entry of a function, as a probe fetches it.
    fn fetch(self, index: usize) -> String {
        let (registers, first): (&[&str], usize) = match self {
            // Word 0 of the stack is the return address.
            Arch::X86_64 => (&["%di", "%si", "%dx", "%cx", "%r8", "%r9"], 1),
            Arch::Aarch64 => (&["%x0", "%x1", "%x2", "%x3", "%x4", "%x5", "%x6", "%x7"], 0),
        };
        match registers.get(index) {
            Some(register) => (*register).to_owned(),
            None => format!("$stack{}", index - registers.len() + first),
        }
    }
}

/// What is wrong with a probe's text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProbeError {
    /// It isn't `FUNCTION(ARGUMENT, …)`.
    #[error("'{0}' is not FUNCTION(ARGUMENT, …)")]
    Form(String),
    /// An argument that is not `[NAME=]PARAMETER[->MEMBER…][:TYPE]`.
    #[error("'{0}' is not [NAME=]PARAMETER[->MEMBER…][:TYPE]")]
    Argument(String),
    /// A function that the kernel's type information does not have.
    #[error("the kernel's type information (BTF) has no function '{name}'{}", hint(near))]
    Function {
        /// The name asked for.
        name: String,
        /// The nearest name, if one is near.
        near: Option<String>,
    },
    /// A parameter that the function does not have.
    #[error("{function} has no parameter '{name}'; it is {declaration}")]
    Parameter {
        /// The function.
        function: String,
        /// The name asked for.
        name: String,
        /// The function as C declares it.
        declaration: String,
    },
    /// A member that the structure does not have.
    #[error("'{path}': {holder} has no member '{member}'{}", hint(near))]
    Member {
        /// The path as written.
        path: String,
        /// The type that was searched.
        holder: String,
        /// The member asked for.
        member: String,
        /// The nearest name, if one is near.
        near: Option<String>,
    },
    /// A value that a probe cannot fetch.
    #[error("'{path}' is {what}; {instead}")]
    Value {
        /// The path as written.
        path: String,
        /// What it is.
        what: String,
        /// What to write instead.
        instead: &'static str,
    },
    /// A parameter at the return of a function, where its register no longer holds it.
    #[error("'{0}' cannot be fetched when the function returns; only 'ret' can")]
    AtReturn(String),
    /// `ret` where there is none.
    #[error("'ret' is known only at the return of a function that returns something: write {0}(ret)%return")]
    Ret(String),
}

fn hint(near: &Option<String>) -> String {
    near.as_ref().map(|name| format!(" (did you mean '{name}'?)")).unwrap_or_default()
}

/// One argument as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecArg {
    /// `*`: all parameters (all that a probe can fetch).
    All,
    /// A fetch in the kernel's own language (`%di`, `$comm`, `+8(%si):u32`), handed on as it is.
    Raw(String),
    /// `[NAME=]PARAMETER[->MEMBER…][:TYPE]`; the parameter `ret` is the value returned.
    Named {
        /// What the field is called; else the last name of the path.
        name: Option<String>,
        /// The parameter.
        param: String,
        /// Members after it.
        steps: Vec<Step>,
        /// The type asked for: one of the kernel's probe types.
        kind: Option<String>,
    },
}

/// `[[GROUP/]EVENT=]FUNCTION(ARGUMENT, …)[%return]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeSpec {
    /// The group asked for.
    pub group: Option<String>,
    /// The event's name asked for; else the function's.
    pub event: Option<String>,
    /// The function.
    pub function: String,
    /// At its return rather than at its entry.
    pub at_return: bool,
    /// The arguments in order.
    pub args: Vec<SpecArg>,
}

impl ProbeSpec {
    /// Does the text have this form at all (`NAME(…)`), rather than that of tracefs?
    pub fn looks_like(text: &str) -> bool {
        let text = text.trim();
        let text = text.strip_suffix("%return").unwrap_or(text);
        text.ends_with(')')
            && text
                .split_once('(')
                .is_some_and(|(head, _)| !head.is_empty() && !head.contains([' ', ':', '+']))
    }

    /// Reads the text; nothing is looked up yet.
    pub fn parse(text: &str) -> Result<ProbeSpec, ProbeError> {
        let form = || ProbeError::Form(text.to_owned());
        let trimmed = text.trim();
        let (trimmed, at_return) = match trimmed.strip_suffix("%return") {
            Some(rest) => (rest, true),
            None => (trimmed, false),
        };
        let (head, args) =
            trimmed.strip_suffix(')').and_then(|rest| rest.split_once('(')).ok_or_else(form)?;
        let (place, function) = match head.split_once('=') {
            Some((place, function)) => (Some(place.trim()), function.trim()),
            None => (None, head.trim()),
        };
        let (group, event) = match place {
            None => (None, None),
            Some(place) => match place.split_once('/') {
                Some((group, event)) => (Some(group), Some(event)),
                None => (None, Some(place)),
            },
        };
        if !is_symbol(function) || !group.is_none_or(is_name) || !event.is_none_or(is_name) {
            return Err(form());
        }
        let args = split_args(args).into_iter().map(parse_arg).collect::<Result<_, _>>()?;
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(ProbeSpec {
            group: owned(group),
            event: owned(event),
            function: function.to_owned(),
            at_return,
            args,
        })
    }

    /// The event's name: the one asked for or the function's, without characters that events cannot have.
    pub fn event_name(&self) -> String {
        let name = self.event.as_ref().unwrap_or(&self.function);
        name.replace(|c: char| !(c.is_ascii_alphanumeric() || c == '_'), "_")
    }

    /// The line for `kprobe_events` or `dynamic_events`; `group` is used where the text has none.
    pub fn command(&self, btf: &Btf, arch: Arch, group: &str) -> Result<String, ProbeError> {
        let group = self.group.as_deref().unwrap_or(group);
        let letter = if self.at_return { 'r' } else { 'p' };
        let mut line = format!("{letter}:{group}/{} {}", self.event_name(), self.function);
        for arg in self.fetch_args(btf, arch)? {
            line.push(' ');
            line.push_str(&arg);
        }
        Ok(line)
    }

    /// The fetch arguments alone: `sk=%di:x64`, `size=%dx:u64`.
    pub fn fetch_args(&self, btf: &Btf, arch: Arch) -> Result<Vec<String>, ProbeError> {
        let plain = self.function.split('.').next().unwrap_or(&self.function);
        let prototype = btf.prototype(plain).ok_or_else(|| ProbeError::Function {
            name: self.function.clone(),
            near: near(plain, btf.functions_like(plain.get(..3).unwrap_or(plain))),
        })?;
        let maker = Maker { btf, arch, prototype: &prototype, at_return: self.at_return };
        let mut made = Vec::new();
        for arg in &self.args {
            match arg {
                SpecArg::Raw(text) => made.push(text.clone()),
                SpecArg::All if self.at_return => made.push(maker.named(None, "ret", &[], None)?),
                SpecArg::All => made.extend(maker.all()),
                SpecArg::Named { name, param, steps, kind } => {
                    made.push(maker.named(name.as_deref(), param, steps, kind.as_deref())?);
                }
            }
        }
        Ok(made)
    }
}

struct Maker<'a> {
    btf: &'a Btf,
    arch: Arch,
    prototype: &'a Prototype,
    at_return: bool,
}

impl Maker<'_> {
    /// All parameters that can be fetched; structures by value are left out.
    fn all(&self) -> Vec<String> {
        let arguments = &self.prototype.arguments;
        arguments.iter().filter_map(|argument| self.named(None, &argument.name, &[], None).ok()).collect()
    }

    fn named(
        &self,
        name: Option<&str>,
        param: &str,
        steps: &[Step],
        kind: Option<&str>,
    ) -> Result<String, ProbeError> {
        let path = path_text(param, steps);
        let (argument, start) = self.start(param, &path)?;
        let place = self.btf.place(argument.target, steps).map_err(|(index, names)| ProbeError::Member {
            path: path.clone(),
            holder: self.holder(argument.target, &steps[..index.min(steps.len())]),
            member: steps.get(index).map(|step| step.0.clone()).unwrap_or_default(),
            near: steps.get(index).and_then(|step| near(&step.0, names.iter().map(String::as_str))),
        })?;
        if argument.aggregate {
            let what = format!("part of {}, a structure handed over by value", argument.text);
            return Err(ProbeError::Value {
                path, what, instead: "fetch a register instead (%di, %si, …)"
            });
        }
        let fetch = place.offsets.iter().fold(start, |fetch, offset| format!("+{offset}({fetch})"));
        let name = name.or(steps.last().map(|step| step.0.as_str())).unwrap_or(param);
        let user = steps.is_empty() && argument.user;
        Ok(format!("{name}={}", self.typed(&fetch, &place, user, name, kind, &path)?))
    }

    /// The argument and the fetch that the path starts at.
    fn start(&self, param: &str, path: &str) -> Result<(Argument, String), ProbeError> {
        if param == "ret" && !self.prototype.arguments.iter().any(|arg| arg.name == "ret") {
            let returns = self.prototype.returns.clone().filter(|_| self.at_return);
            let returns = returns.ok_or_else(|| ProbeError::Ret(self.prototype.name.clone()))?;
            return Ok((returns, "$retval".to_owned()));
        }
        let arguments = &self.prototype.arguments;
        let index =
            arguments.iter().position(|arg| arg.name == param).ok_or_else(|| ProbeError::Parameter {
                function: self.prototype.name.clone(),
                name: param.to_owned(),
                declaration: self.prototype.declaration(self.btf),
            })?;
        if self.at_return {
            return Err(ProbeError::AtReturn(path.to_owned()));
        }
        let word = arguments[..index].iter().map(Argument::words).sum();
        Ok((arguments[index].clone(), self.arch.fetch(word)))
    }

    /// The type's name that a path leads to, for messages.
    fn holder(&self, start: TypeId, steps: &[Step]) -> String {
        let Ok(place) = self.btf.place(start, steps) else { return "it".to_owned() };
        match self.btf.resolve(place.target) {
            Some((_, Type::Ptr(pointee))) => self.btf.type_text(pointee),
            Some((_, Type::Composite { name: "", union, .. })) => {
                format!("the unnamed {}", if union { "union" } else { "struct" })
            }
            _ => self.btf.type_text(place.target),
        }
    }

    /// The fetch with its probe type.
    fn typed(
        &self,
        fetch: &str,
        place: &Place,
        user: bool,
        name: &str,
        kind: Option<&str>,
        path: &str,
    ) -> Result<String, ProbeError> {
        let value = |what: String, instead| Err(ProbeError::Value { path: path.to_owned(), what, instead });
        let text = || self.btf.type_text(place.target);
        let in_memory = !place.offsets.is_empty();
        let (_, resolved) = self.btf.resolve(place.target).unwrap_or((place.target, Type::Void));
        if let (Some(kind @ ("string" | "ustring")), Type::Ptr(_)) = (kind, resolved) {
            return Ok(format!("+0({fetch}):{kind}"));
        }
        if let Some(kind) = kind {
            return Ok(format!("{fetch}:{kind}"));
        }
        if let (Some((width, first)), true) = (place.bits, in_memory) {
            let container =
                [8u16, 16, 32, 64].into_iter().find(|size| u16::from(first) + u16::from(width) <= *size);
            return Ok(format!("{fetch}:b{width}@{first}/{}", container.unwrap_or(64)));
        }
        Ok(match resolved {
            Type::Ptr(pointee) if self.is_text(pointee, name, user) => {
                format!("+0({fetch}):{}", if user { "ustring" } else { "string" })
            }
            Type::Ptr(_) => format!("{fetch}:x64"),
            Type::Int { size, kind, .. } => {
                let size = size.min(8) * 8;
                let letter = if self.is_wire(place.target) {
                    'x'
                } else if kind.signed {
                    's'
                } else {
                    'u'
                };
                format!("{fetch}:{letter}{size}")
            }
            Type::Enum { size, signed, .. } => {
                format!("{fetch}:{}{}", if signed { 's' } else { 'u' }, size.min(8) * 8)
            }
            Type::Array { element, count } => match self.btf.resolve(element) {
                Some((_, Type::Int { size: 1, kind, name })) if kind.char || name == "char" => {
                    format!("{fetch}:string")
                }
                // The kernel takes arrays of fewer than 64 elements.
                Some((_, Type::Int { size: size @ (1 | 2 | 4 | 8), kind, .. }))
                    if (1..64).contains(&count) =>
                {
                    format!("{fetch}:{}{}[{count}]", if kind.signed { 's' } else { 'x' }, size * 8)
                }
                Some((_, Type::Ptr(_))) if (1..64).contains(&count) => format!("{fetch}:x64[{count}]"),
                _ => return value(format!("an array ({})", text()), "give a type, such as :x64"),
            },
            Type::Composite { .. } => {
                return value(format!("a structure ({})", text()), "name one of its members");
            }
            _ => return value(format!("of the type {}", text()), "give a type, such as :x64"),
        })
    }

    /// Is a pointer to this a NUL-terminated text? A pointer to char may also be a buffer, so the name must say it.
    fn is_text(&self, pointee: TypeId, name: &str, user: bool) -> bool {
        let char = matches!(self.btf.resolve(pointee), Some((_, Type::Int { name: "char", .. })));
        char && (name.contains("name")
            || name.contains("path")
            || matches!(name, "str" | "string" | "comm" | "fmt"))
            || (char && user && name.contains("file"))
    }

    /// A number in network byte order, of which only the hexadecimal digits are of use.
    fn is_wire(&self, id: TypeId) -> bool {
        matches!(self.btf.get(id), Some(Type::Typedef { name, .. }) if name.starts_with("__be") || name == "__wsum")
    }
}

fn path_text(param: &str, steps: &[Step]) -> String {
    steps.iter().fold(param.to_owned(), |path, step| format!("{path}->{}", step.0))
}

/// Splits at commas outside of parentheses.
fn split_args(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0usize, 0);
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[from..at].trim());
                from = at + 1;
            }
            _ => {}
        }
    }
    let last = text[from..].trim();
    if !(parts.is_empty() && last.is_empty()) {
        parts.push(last);
    }
    parts
}

fn parse_arg(text: &str) -> Result<SpecArg, ProbeError> {
    if text == "*" {
        return Ok(SpecArg::All);
    }
    let (name, value) = match text.split_once('=') {
        Some((name, value)) => (Some(name.trim()), value.trim()),
        None => (None, text),
    };
    let wrong = || ProbeError::Argument(text.to_owned());
    if !name.is_none_or(is_name) {
        return Err(wrong());
    }
    if value.starts_with(['%', '$', '@', '+', '-', '\\']) {
        // One line of the kernel's language, one word an argument.
        return if value.contains(char::is_whitespace) {
            Err(wrong())
        } else {
            Ok(SpecArg::Raw(text.to_owned()))
        };
    }
    let (path, kind) = match value.split_once(':') {
        Some((path, kind)) => (path.trim(), Some(kind.trim())),
        None => (value, None),
    };
    let kind_ok = |kind: &str| {
        !kind.is_empty() && kind.chars().all(|c| c.is_ascii_alphanumeric() || "@/[]".contains(c))
    };
    if !kind.is_none_or(kind_ok) {
        return Err(wrong());
    }
    let path = path.replace("->", ".");
    let mut parts = path.split('.').map(str::trim);
    let param = parts.next().filter(|part| is_name(part)).ok_or_else(wrong)?.to_owned();
    let steps = parts
        .map(|part| if is_name(part) { Ok(Step(part.to_owned())) } else { Err(wrong()) })
        .collect::<Result<_, _>>()?;
    Ok(SpecArg::Named { name: name.map(str::to_owned), param, steps, kind: kind.map(str::to_owned) })
}

fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(|c: char| c.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn is_symbol(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
}

/// The candidate that differs in the fewest letters, if in no more than a third of them.
fn near<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let far = wanted.len() / 3 + 1;
    let best = names.take(5000).map(|name| (distance(wanted, name, far), name)).min()?;
    (best.0 <= far).then(|| best.1.to_owned())
}

/// Edits from one word to the other, at most a little more than `limit` is of interest.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    if a.len().abs_diff(b.len()) > limit || a.len() > 128 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(usize::MAX)
}
