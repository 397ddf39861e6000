//! Texts of the kernel's `trace_printk`: a format, and its arguments as the kernel packs them (`vbin_printf`):
//! numbers of up to 32 bits in a word, those of 64 bits in two, texts in place with their NUL, each in whole words.

use crate::machine::Machine;
use crate::print_fmt::spec::{self, Amount, Conversion, Part};
use crate::print_fmt::{Context, Forms};

/// The packed arguments, word by word.
struct Arguments<'a> {
    bytes: &'a [u8],
    at: usize,
    machine: Machine,
}

impl<'a> Arguments<'a> {
    fn number(&mut self, size: u8) -> Option<u64> {
        // Smaller ones are as wide as they are, and aligned to that.
        let size = usize::from(size);
        let at = self.at.next_multiple_of(size.min(4));
        let value = self.machine.endian.unsigned(self.bytes, at, size)?;
        self.at = at + size;
        Some(value)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().position(|byte| *byte == 0)?;
        self.at += length + 1;
        Some(&rest[..length])
    }
}

/// Writes `format` with the packed `args`. Where they end too early, the rest of the format is left as it is.
pub(crate) fn print(out: &mut Vec<u8>, format: &[u8], args: &[u8], context: &Context) {
    let mut args = Arguments { bytes: args, at: 0, machine: context.machine };
    let mut rest = format;
    loop {
        let here = rest;
        match spec::part(&mut rest, context.machine.long_size) {
            None => return,
            Some(Ok(Part::Literal(bytes))) => out.extend_from_slice(bytes),
            Some(Ok(Part::Conversion(spec))) => {
                let start = out.len();
                if one(out, &spec, &mut args, context).is_none() {
                    out.truncate(start);
                    out.extend_from_slice(here);
                    return;
                }
            }
            Some(Err(_)) => {
                out.extend_from_slice(here);
                return;
            }
        }
    }
}

fn one(out: &mut Vec<u8>, spec: &spec::Spec, args: &mut Arguments, context: &Context) -> Option<()> {
    let mut amount = |amount| match amount {
        Amount::None => Some(None),
        Amount::Fixed(value) => Some(Some(i64::from(value))),
        Amount::Argument => args.number(4).map(|value| Some(i64::from(value as i32))),
    };
    let (width, precision) = (amount(spec.width)?, amount(spec.precision)?);
    let start = out.len();
    match spec.conversion {
        Conversion::Text => {
            out.extend_from_slice(args.text()?);
            spec.pad(out, start, width, precision);
        }
        Conversion::Character => {
            out.push(args.number(1)? as u8);
            spec.pad(out, start, width, None);
        }
        Conversion::Pointer => match spec.pointer.first() {
            Some(b's' | b'f' | b'S' | b'F' | b'B') => {
                let address = args.number(context.machine.long_size)?;
                context.symbol(out, address, !matches!(spec.pointer[0], b's' | b'f'));
                spec.pad(out, start, width, None);
            }
            None | Some(b'x' | b'K') => {
                let address = args.number(context.machine.long_size)?;
                context.pointer(out, address);
                spec.pad(out, start, width, None);
            }
            // What the others point to was printed when the text was written.
            Some(_) => {
                out.extend_from_slice(args.text()?);
                spec.pad(out, start, width, precision);
            }
        },
        _ => {
            let value = args.number(spec.size)?;
            spec.number(out, value, width, precision);
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::print_fmt::Pointers;
    use crate::tables::Names;

    #[test]
    fn numbers_texts_and_what_is_missing() {
        let names = Names::default();
        let context = Context { machine: Machine::LITTLE64, names: &names, pointers: Pointers::Padded };
        let mut args = Vec::new();
        args.extend_from_slice(&7u32.to_le_bytes());
        args.extend_from_slice(&0x1_0000_0000u64.to_le_bytes());
        args.extend_from_slice(b"text\0");
        args.extend_from_slice(&[0; 3]);
        args.extend_from_slice(&(-1i32).to_le_bytes());
        let mut out = Vec::new();
        print(&mut out, b"%d of %llx: %-6s|%d 100%% %d", &args, &context);
        assert_eq!(String::from_utf8(out).unwrap(), "7 of 100000000: text  |-1 100% %d");
    }
}
