//! Specs of arguments and return values: which values are recorded with a call, and of which types.
//!
//! ```text
//! item := ('arg' N | 'fparg' N | 'retval') ['/' FORMAT] [location]
//! FORMAT := [letter] [bits] [':' type name]
//! location := '%' REGISTER ['+' REGISTER ...] | '%stack' ['+'] OFFSET
//! ```

/// Word size of the traced program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// ELF `EI_CLASS` 1.
    Bits32,
    /// ELF `EI_CLASS` 2.
    Bits64,
}

impl Class {
    /// Bytes of a pointer.
    pub fn pointer_size(self) -> usize {
        match self {
            Class::Bits32 => 4,
            Class::Bits64 => 8,
        }
    }
}

/// Which value of a call it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ArgSlot {
    /// The integer or pointer argument of that number, from 1.
    Integer(u16),
    /// The floating-point argument of that number, from 1, counted apart from the others.
    Float(u16),
    /// The return value.
    Return,
}

/// How a value was recorded and is to be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArgFormat {
    /// `d` or none: a signed number, large ones in hex.
    Auto,
    /// `i`: a signed number.
    Signed,
    /// `u`: an unsigned number, large ones in hex.
    Unsigned,
    /// `x`: hex.
    Hex,
    /// `o`: octal.
    Octal,
    /// `s`: text that the argument points to.
    String,
    /// `c`: a character.
    Char,
    /// `f`: a floating-point number.
    Float,
    /// `S`: the text of a C++ string.
    StdString,
    /// `p`: a pointer, shown as a symbol where there is one.
    Pointer,
    /// `e`: an enumeration, [`ArgSpec::type_name`] says which.
    Enum,
    /// `t`: a struct passed by value.
    Struct,
}

impl ArgFormat {
    /// The letter in specs.
    pub fn letter(self) -> char {
        match self {
            ArgFormat::Auto => 'd',
            ArgFormat::Signed => 'i',
            ArgFormat::Unsigned => 'u',
            ArgFormat::Hex => 'x',
            ArgFormat::Octal => 'o',
            ArgFormat::String => 's',
            ArgFormat::Char => 'c',
            ArgFormat::Float => 'f',
            ArgFormat::StdString => 'S',
            ArgFormat::Pointer => 'p',
            ArgFormat::Enum => 'e',
            ArgFormat::Struct => 't',
        }
    }

    fn from_letter(letter: char) -> Option<ArgFormat> {
        use ArgFormat::*;
        [Auto, Signed, Unsigned, Hex, Octal, String, Char, Float, StdString, Pointer, Enum, Struct]
            .into_iter()
            .find(|format| format.letter() == letter)
    }
}

/// Where the recorder took the value from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ArgLocation {
    /// Where the calling convention puts the argument of that number.
    Index,
    /// In registers, lower case; a struct can be in several.
    Registers(Vec<String>),
    /// In memory: so many bytes behind the address that a register holds.
    Memory(String, i32),
    /// On the stack: the word of that number, from 1.
    Stack(u32),
}

/// Says how one value of a function was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArgSpec {
    /// Which value.
    pub slot: ArgSlot,
    /// How it is shown.
    pub format: ArgFormat,
    /// Bytes of it that were recorded; that of a pointer for strings, which are as long as they are.
    pub size: u16,
    /// Where it was.
    pub location: ArgLocation,
    /// Name of the enumeration or struct.
    pub type_name: Option<String>,
}

impl ArgSpec {
    /// Whether two specs are about the same place, so that the later replaces the earlier.
    pub fn same_place(&self, other: &ArgSpec) -> bool {
        if self.slot == ArgSlot::Return || other.slot == ArgSlot::Return {
            return self.slot == other.slot;
        }
        match (&self.location, &other.location) {
            (ArgLocation::Index, ArgLocation::Index) => self.slot == other.slot,
            (a, b) => a == b,
        }
    }
}

/// The values of one function that several specs ask for.
#[derive(Clone, Debug, Default)]
pub struct Values(Vec<(ArgSpec, bool)>);

impl Values {
    /// Adds one. `exact` tells whether it was asked for by the function's name: then it stays when a pattern asks for
    /// another kind of the same value.
    pub fn add(&mut self, spec: ArgSpec, exact: bool) {
        match self.0.iter_mut().find(|(known, _)| known.same_place(&spec)) {
            Some((_, true)) if !exact => {}
            Some(known) => *known = (spec, exact),
            None => self.0.push((spec, exact)),
        }
    }

    /// Whether there is a return value (`returns`) or an argument among them.
    pub fn any(&self, returns: bool) -> bool {
        self.0.iter().any(|(spec, _)| (spec.slot == ArgSlot::Return) == returns)
    }

    /// Takes the return value (`returns`) or the arguments away.
    pub fn clear(&mut self, returns: bool) {
        self.0.retain(|(spec, _)| (spec.slot == ArgSlot::Return) != returns);
    }

    /// All, in the order in which they are recorded.
    pub fn into_specs(self) -> impl Iterator<Item = ArgSpec> {
        self.0.into_iter().map(|(spec, _)| spec)
    }
}

/// What the text after `@` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Items {
    /// The values, in the order given.
    pub specs: Vec<ArgSpec>,
    /// The values follow from the types that are known.
    pub auto: bool,
    /// Only functions of the module whose file name begins so.
    pub module: Option<String>,
}

/// Parses a list of items, e.g. `arg1,arg2/s`. An item that makes no sense spoils the list: then the error says
/// which one.
///
/// # Errors
///
/// The item.
pub fn parse_items(text: &str, class: Class) -> Result<Items, String> {
    let mut items = Items::default();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        match parse_item(item, class) {
            Some(Ok(spec)) => items.specs.push(spec),
            Some(Err(())) => return Err(item.to_owned()),
            None if starts_with(item, "auto-args").is_some() => items.auto = true,
            None => items.module = items.module.or_else(|| Some(item.to_owned())),
        }
    }
    Ok(items)
}

/// None if the item is about something else than values.
fn parse_item(item: &str, class: Class) -> Option<Result<ArgSpec, ()>> {
    let number = |rest: &str| {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, rest) = rest.split_at(digits);
        let number: u16 = number.parse().ok().filter(|n| *n > 0)?;
        Some((number, rest.to_owned()))
    };
    let (slot, rest) = if let Some(rest) = starts_with(item, "fparg") {
        let Some((n, rest)) = number(rest) else { return Some(Err(())) };
        (ArgSlot::Float(n), rest)
    } else if let Some(rest) = starts_with(item, "arg") {
        let Some((n, rest)) = number(rest) else { return Some(Err(())) };
        (ArgSlot::Integer(n), rest)
    } else {
        (ArgSlot::Return, starts_with(item, "retval")?.to_owned())
    };
    Some(parse_rest(slot, &rest, class).ok_or(()))
}

/// The text after a prefix, whatever the case of its letters.
fn starts_with<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(prefix.len())?;
    head.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// Format and location.
fn parse_rest(slot: ArgSlot, rest: &str, class: Class) -> Option<ArgSpec> {
    let (format, location) = match rest.split_once('%') {
        Some((format, location)) => (format, Some(location)),
        None => (rest, None),
    };
    let location = location.map_or(Some(ArgLocation::Index), parse_location)?;
    let float = matches!(slot, ArgSlot::Float(_));
    let plain = if float { ArgFormat::Float } else { ArgFormat::Auto };
    let Some(text) = format.strip_prefix('/') else {
        let size = default_size(plain, class);
        return format.is_empty().then_some(ArgSpec { slot, format: plain, size, location, type_name: None });
    };
    let (text, type_name) = match text.split_once(':') {
        Some((text, name)) => (text, Some(name.to_owned())),
        None => (text, None),
    };
    let letter = text.chars().next().filter(|c| !c.is_ascii_digit());
    let format = letter.map_or(Some(plain), ArgFormat::from_letter)?;
    let bits = text.get(letter.map_or(0, char::len_utf8)..)?;
    let size = if bits.is_empty() {
        default_size(format, class)
    } else {
        let number: u16 = bits.parse().ok()?;
        match (format, number) {
            (ArgFormat::Struct, bytes) => bytes,
            (ArgFormat::Float, 32 | 64 | 80) | (_, 8 | 16 | 32 | 64) => number / 8,
            // A float that is given as a number of another kind has its size all the same.
            (_, 80) if float => 10,
            _ => return None,
        }
    };
    Some(ArgSpec { slot, format, size, location, type_name })
}

fn default_size(format: ArgFormat, class: Class) -> u16 {
    match format {
        ArgFormat::Char => 1,
        ArgFormat::Float => 8,
        ArgFormat::Struct => 0,
        _ => class.pointer_size() as u16,
    }
}

fn parse_location(text: &str) -> Option<ArgLocation> {
    if let Some(offset) = starts_with(text, "stack") {
        return offset.strip_prefix('+').unwrap_or(offset).parse().ok().map(ArgLocation::Stack);
    }
    let behind = text.find(['+', '-']).filter(|at| text[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    if let Some(at) = behind {
        let (register, offset) = text.split_at(at);
        return (!register.is_empty())
            .then_some(ArgLocation::Memory(register.to_ascii_lowercase(), offset.parse().ok()?));
    }
    let registers: Vec<String> = text.split('+').map(str::to_ascii_lowercase).collect();
    (!registers.iter().any(String::is_empty)).then_some(ArgLocation::Registers(registers))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn one(text: &str) -> ArgSpec {
        let mut items = parse_items(text, Class::Bits64).unwrap();
        assert_eq!(items.specs.len(), 1, "{text}");
        items.specs.remove(0)
    }

    #[test]
    fn slots_formats_and_sizes() {
        use ArgFormat::*;
        let seen = |text: &str| {
            let spec = one(text);
            (spec.slot, spec.format, spec.size)
        };
        assert_eq!(seen("arg1"), (ArgSlot::Integer(1), Auto, 8));
        assert_eq!(seen("arg2/d32"), (ArgSlot::Integer(2), Auto, 4));
        assert_eq!(seen("arg12/s"), (ArgSlot::Integer(12), String, 8));
        assert_eq!(seen("arg1/c"), (ArgSlot::Integer(1), Char, 1));
        assert_eq!(seen("fparg1"), (ArgSlot::Float(1), Float, 8));
        assert_eq!(seen("fparg3/80"), (ArgSlot::Float(3), Float, 10));
        assert_eq!(seen("fparg2/f32"), (ArgSlot::Float(2), Float, 4));
        assert_eq!(seen("retval/f64"), (ArgSlot::Return, Float, 8));
        assert_eq!(seen("RETVAL"), (ArgSlot::Return, Auto, 8));
        assert_eq!(seen("arg1/o16"), (ArgSlot::Integer(1), Octal, 2));
        assert_eq!(one("arg1/i").size, 8);
        assert_eq!(parse_items("arg1/i", Class::Bits32).unwrap().specs[0].size, 4);
    }

    #[test]
    fn types_and_places() {
        let spec = one("arg1/t24:st%stack+1");
        assert_eq!((spec.format, spec.size), (ArgFormat::Struct, 24));
        assert_eq!((spec.type_name.as_deref(), spec.location), (Some("st"), ArgLocation::Stack(1)));
        let spec = one("arg2/e:hue%RDI");
        assert_eq!((spec.format, spec.type_name.as_deref()), (ArgFormat::Enum, Some("hue")));
        assert_eq!(spec.location, ArgLocation::Registers(vec!["rdi".into()]));
        let two = ArgLocation::Registers(vec!["rdi".into(), "rsi".into()]);
        assert_eq!(one("arg1/t16%rdi+rsi").location, two);
        assert_eq!(one("arg7%stack2").location, ArgLocation::Stack(2));
        assert_eq!(one("arg1/i32%RSI+16").location, ArgLocation::Memory("rsi".into(), 16));
        assert_eq!(one("arg1/s%rdi-8").location, ArgLocation::Memory("rdi".into(), -8));
        assert!(parse_items("arg1%+8", Class::Bits64).is_err());
    }

    #[test]
    fn lists() {
        let items = parse_items("libc,arg1,retval", Class::Bits64).unwrap();
        assert_eq!((items.specs.len(), items.module.as_deref(), items.auto), (2, Some("libc"), false));
        assert!(parse_items("auto-args", Class::Bits64).unwrap().auto);
        for bad in ["arg1/q", "arg0", "argx", "arg1/d33", "fparg1/16x", "arg1%", "retvalue", "arg1/ü"] {
            assert_eq!(parse_items(bad, Class::Bits64), Err(bad.to_owned()));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "((fp)?arg|retval)?[0-9]{0,6}(/[a-zé]?[0-9:]{0,4})?(%.{0,8})?") {
            let _ = parse_items(&text, Class::Bits64);
        }
    }
}
