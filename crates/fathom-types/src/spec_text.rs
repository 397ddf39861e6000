//! Specs as text: the inverse of [`fathom_filter::args::parse_items`].

use fathom_filter::args::{ArgFormat, ArgLocation, ArgSlot, ArgSpec};

/// Who is to read it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reader {
    /// uftrace 0.13, which knows names only of enumerations and structs.
    Peer,
    /// Fathom.
    Own,
}

/// `@arg1,arg2/s`; none if there are no specs.
pub(crate) fn list<'s>(specs: impl Iterator<Item = &'s ArgSpec>, reader: Reader) -> Option<String> {
    let items: Vec<String> = specs.map(|spec| one(spec, reader)).collect();
    (!items.is_empty()).then(|| format!("@{}", items.join(",")))
}

fn one(spec: &ArgSpec, reader: Reader) -> String {
    let slot = match spec.slot {
        ArgSlot::Integer(n) => format!("arg{n}"),
        ArgSlot::Float(n) => format!("fparg{n}"),
        ArgSlot::Return => "retval".to_owned(),
    };
    let location = match &spec.location {
        ArgLocation::Index => String::new(),
        ArgLocation::Registers(names) => format!("%{}", names.join("+")),
        ArgLocation::Memory(name, offset) => format!("%{name}{offset:+}"),
        ArgLocation::Stack(word) => format!("%stack+{word}"),
    };
    format!("{slot}{}{location}", format_text(spec, reader))
}

fn format_text(spec: &ArgSpec, reader: Reader) -> String {
    let bits = spec.size * 8;
    let text = match (spec.format, spec.slot) {
        (ArgFormat::Auto, ArgSlot::Integer(_) | ArgSlot::Return) if spec.size == 8 => return String::new(),
        (ArgFormat::Float, ArgSlot::Float(_)) => format!("/{bits}"),
        (ArgFormat::Struct, _) => format!("/t{}", spec.size),
        (format, _) => {
            let usual = match format {
                ArgFormat::Char => 1,
                // The reader takes nothing else, or there is nothing else.
                ArgFormat::Enum | ArgFormat::String | ArgFormat::StdString => spec.size,
                ArgFormat::Float => 0,
                _ => 8,
            };
            if spec.size == usual {
                format!("/{}", format.letter())
            } else {
                format!("/{}{bits}", format.letter())
            }
        }
    };
    let named = reader == Reader::Own || matches!(spec.format, ArgFormat::Enum | ArgFormat::Struct);
    match &spec.type_name {
        Some(name) if named => format!("{text}:{name}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fathom_filter::args::{Class, parse_items};
    use proptest::prelude::*;

    fn again(text: &str, reader: Reader) -> String {
        let specs = parse_items(text, Class::Bits64).unwrap().specs;
        list(specs.iter(), reader).unwrap_or_default()
    }

    #[test]
    fn as_the_peer_writes_them() {
        for text in [
            "@arg1,arg2/s,arg3/p,arg4/c,arg7%stack+1",
            "@fparg1/32,fparg2/64%xmm1,fparg3/80%stack+1",
            "@arg1/t16:mix%xmm0+rsi,arg2/t8,arg3/t0:empty",
            "@arg1/e:hue,arg2/d32,arg3/u,arg4/u16,arg5/S%rsi,arg6/c32",
            "@retval/f64",
            "@retval/f80",
        ] {
            assert_eq!(again(&text[1..], Reader::Peer), text);
        }
        assert_eq!(again("arg1/s:Option<&str>", Reader::Peer), "@arg1/s");
        assert_eq!(again("arg1/s:Option<&str>", Reader::Own), "@arg1/s:Option<&str>");
        assert_eq!(list([].iter(), Reader::Own), None);
    }

    proptest! {
        #[test]
        fn what_is_written_means_the_same(
            text in "(arg[1-9]|fparg[1-9]|retval)(/([diuxpsce]|[diux](8|16|32|64)|t[0-9]{1,3}:[a-z]))?(%(r8|xmm0|stack\\+1))?",
        ) {
            let specs = parse_items(&text, Class::Bits64).unwrap().specs;
            let written = list(specs.iter(), Reader::Own).unwrap();
            prop_assert_eq!(parse_items(&written[1..], Class::Bits64).unwrap().specs, specs, "{}", written);
        }
    }
}
