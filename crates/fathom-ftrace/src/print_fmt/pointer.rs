//! What the kernel's `%p` and the letters behind it print: symbols, network addresses, identifiers, bytes, bitmaps.
//! The rules are those of the kernel's *printk-formats*.

use crate::machine::Machine;
use crate::number;
use crate::tables::Kallsyms;

/// What is printed for an address, or for the bytes at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pointer {
    /// `%p`, `%px`, `%pK`: the address itself.
    Address,
    /// `%pS`, `%pB`: symbol, offset and size.
    SymbolOffset,
    /// `%ps`: the symbol.
    Symbol,
    /// `%pI4`, `%pi4`: (with zeros in front; in which order the bytes are).
    Ip4 { zeros: bool, reversed: bool },
    /// `%pI6`, `%pi6`, `%pI6c`.
    Ip6 { colons: bool, compressed: bool },
    /// `%pIS` and its letters: an address of a socket.
    Socket { compressed: bool, port: bool, flow: bool, scope: bool },
    /// `%pM`, `%pMF`, `%pm`, …: a hardware address.
    Mac { separator: Option<u8>, reversed: bool },
    /// `%pU`: an identifier of 16 bytes.
    Uuid { upper: bool, little: bool },
    /// `%*ph`: bytes, as many as the width says.
    Bytes { separator: Option<u8> },
    /// `%*pb`, `%*pbl`: a bitmap, of as many bits as the width says.
    Bits { list: bool },
}

impl Pointer {
    /// By the letters behind `%p`. None: not known, or known to need the kernel's memory.
    pub(crate) fn of(letters: &[u8]) -> Option<Pointer> {
        let rest = letters.get(1..).unwrap_or_default();
        let has = |letter: &u8| rest.contains(letter);
        Some(match letters.first() {
            None | Some(b'x' | b'K') => Pointer::Address,
            Some(b'S' | b'B' | b'F') => Pointer::SymbolOffset,
            Some(b's' | b'f') => Pointer::Symbol,
            Some(b'I' | b'i') => {
                let small = letters[0] == b'i';
                match rest.first() {
                    Some(b'4') => Pointer::Ip4 { zeros: small, reversed: has(&b'l') },
                    Some(b'6') => Pointer::Ip6 { colons: !small, compressed: has(&b'c') },
                    Some(b'S') => Pointer::Socket {
                        compressed: has(&b'c'),
                        port: has(&b'p'),
                        flow: has(&b'f'),
                        scope: has(&b's'),
                    },
                    _ => return None,
                }
            }
            Some(b'M') => {
                Pointer::Mac { separator: Some(if has(&b'F') { b'-' } else { b':' }), reversed: has(&b'R') }
            }
            Some(b'm') => Pointer::Mac { separator: None, reversed: has(&b'R') },
            Some(b'U') => Pointer::Uuid { upper: has(&b'B') || has(&b'L'), little: has(&b'l') || has(&b'L') },
            Some(b'h') => Pointer::Bytes {
                separator: match rest.first() {
                    None => Some(b' '),
                    Some(b'C') => Some(b':'),
                    Some(b'D') => Some(b'-'),
                    Some(b'N') => None,
                    Some(_) => return None,
                },
            },
            Some(b'b') => Pointer::Bits { list: has(&b'l') },
            Some(_) => return None,
        })
    }

    /// Whether it prints the bytes at the address.
    pub(crate) fn wants_bytes(self) -> bool {
        !matches!(self, Pointer::Address | Pointer::SymbolOffset | Pointer::Symbol)
    }

    /// Whether the width says how much is printed, not how wide.
    pub(crate) fn width_is_length(self) -> bool {
        matches!(self, Pointer::Bytes { .. } | Pointer::Bits { .. })
    }

    /// Prints `bytes`; `length` is the width, where that is a length. None when there are too few; with `lenient`
    /// those that are there are enough where their number is asked for.
    pub(crate) fn print(
        self,
        out: &mut Vec<u8>,
        bytes: &[u8],
        length: Option<i64>,
        machine: Machine,
        lenient: bool,
    ) -> Option<()> {
        // A negative one is none for the kernel; trace-cmd takes it as one without a sign.
        let length = length.and_then(|length| usize::try_from(length).ok().or(lenient.then_some(usize::MAX)));
        match self {
            Pointer::Ip4 { zeros, reversed } => ip4(out, *bytes.first_chunk()?, zeros, reversed),
            Pointer::Ip6 { colons, compressed: false } => ip6(out, *bytes.first_chunk()?, colons),
            Pointer::Ip6 { compressed: true, .. } => ip6_compressed(out, *bytes.first_chunk()?),
            Pointer::Socket { .. } => self.socket(out, bytes, machine, lenient)?,
            Pointer::Mac { separator, reversed } => {
                let mut bytes: [u8; 6] = *bytes.first_chunk()?;
                if reversed {
                    bytes.reverse();
                }
                separated(out, &bytes, separator);
            }
            Pointer::Uuid { upper, little } => uuid(out, *bytes.first_chunk()?, upper, little),
            // The kernel prints one byte without a length, and 64 at most.
            Pointer::Bytes { separator } => {
                let length = length.unwrap_or(1).min(64);
                separated(out, bytes.get(..length).or(lenient.then_some(bytes))?, separator);
            }
            Pointer::Bits { list } => {
                let bits = length.unwrap_or(0).min(bytes.len() * 8);
                if list { bit_list(out, bytes, bits, machine) } else { bit_words(out, bytes, bits, machine) }
            }
            Pointer::Address | Pointer::SymbolOffset | Pointer::Symbol => return None,
        }
        Some(())
    }

    /// Prints a `struct sockaddr`.
    fn socket(self, out: &mut Vec<u8>, bytes: &[u8], machine: Machine, lenient: bool) -> Option<()> {
        let Pointer::Socket { compressed, port, flow, scope } = self else { return None };
        let network = |at: usize| Some(u16::from_be_bytes(bytes.get(at..)?.first_chunk().copied()?));
        match machine.endian.u16(bytes, 0)? {
            2 => {
                ip4(out, *bytes.get(4..)?.first_chunk()?, false, false);
                if port {
                    out.push(b':');
                    number::decimal(out, u64::from(network(2)?));
                }
            }
            10 => {
                let brackets = port || flow || scope;
                if brackets {
                    out.push(b'[');
                }
                let address = *bytes.get(8..)?.first_chunk()?;
                if compressed {
                    ip6_compressed(out, address);
                } else {
                    ip6(out, address, true);
                }
                if brackets {
                    out.push(b']');
                }
                if port {
                    out.push(b':');
                    number::decimal(out, u64::from(network(2)?));
                }
                if flow {
                    out.push(b'/');
                    let word = u32::from_be_bytes(*bytes.get(4..)?.first_chunk()?);
                    number::decimal(out, u64::from(word & 0x0fff_ffff));
                }
                if scope {
                    out.push(b'%');
                    number::decimal(out, u64::from(machine.endian.u32(bytes, 24)?));
                }
            }
            _ if lenient => return None,
            _ => out.extend_from_slice(b"(einval)"),
        }
        Some(())
    }
}

/// `symbol`, or `symbol+0x4/0xf0` with `offset`, with ` [module]`; the address in hexadecimal where none is known.
#[inline]
pub(crate) fn symbol(out: &mut Vec<u8>, symbols: &Kallsyms, address: u64, offset: bool) {
    let Some(symbol) = symbols.find(address) else {
        out.extend_from_slice(b"0x");
        number::hex(out, address);
        return;
    };
    out.extend_from_slice(symbol.name.as_bytes());
    if offset {
        out.extend_from_slice(b"+0x");
        number::hex(out, address - symbol.address);
        out.extend_from_slice(b"/0x");
        number::hex(out, symbol.size.unwrap_or(0));
    }
    if let Some(module) = symbol.module {
        out.extend_from_slice(b" [");
        out.extend_from_slice(module.as_bytes());
        out.push(b']');
    }
}

fn ip4(out: &mut Vec<u8>, mut bytes: [u8; 4], zeros: bool, reversed: bool) {
    if reversed {
        bytes.reverse();
    }
    for (index, byte) in bytes.into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        number::zero_padded(out, u64::from(byte), if zeros { 3 } else { 1 });
    }
}

fn ip6(out: &mut Vec<u8>, bytes: [u8; 16], colons: bool) {
    for (index, byte) in bytes.into_iter().enumerate() {
        if colons && index > 0 && index % 2 == 0 {
            out.push(b':');
        }
        number::hex_fixed(out, u64::from(byte), 2);
    }
}

/// The longest run of zeros (of two groups at least) is `::`; addresses that hold one of IPv4 end with it.
fn ip6_compressed(out: &mut Vec<u8>, bytes: [u8; 16]) {
    let group = |index: usize| u16::from_be_bytes([bytes[2 * index], bytes[2 * index + 1]]);
    let mapped = bytes[..10] == [0; 10] && bytes[10..12] == [0xff; 2];
    let isatap = group(4) | 0x0200 == 0x0200 && group(5) == 0x5efe;
    let groups = if mapped || isatap { 6 } else { 8 };
    let (mut best, mut longest) = (0, 1);
    for start in 0..groups {
        let length = (start..groups).take_while(|index| group(*index) == 0).count();
        if length > longest {
            (best, longest) = (start, length);
        }
    }
    let (mut index, mut colon) = (0, false);
    while index < groups {
        if longest > 1 && index == best {
            out.extend_from_slice(if index == 0 || colon { b"::" } else { b":" });
            (index, colon) = (index + longest, false);
            continue;
        }
        if colon {
            out.push(b':');
        }
        number::hex(out, u64::from(group(index)));
        (index, colon) = (index + 1, true);
    }
    if groups == 6 {
        if colon {
            out.push(b':');
        }
        ip4(out, [bytes[12], bytes[13], bytes[14], bytes[15]], false, false);
    }
}

fn uuid(out: &mut Vec<u8>, bytes: [u8; 16], upper: bool, little: bool) {
    const LITTLE: [usize; 16] = [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15];
    let start = out.len();
    for index in 0..16 {
        if matches!(index, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        let byte = bytes[if little { LITTLE[index] } else { index }];
        number::hex_fixed(out, u64::from(byte), 2);
    }
    if upper && let Some(written) = out.get_mut(start..) {
        written.make_ascii_uppercase();
    }
}

/// Bytes as two digits each.
pub(crate) fn separated(out: &mut Vec<u8>, bytes: &[u8], separator: Option<u8>) {
    for (index, byte) in bytes.iter().enumerate() {
        if index > 0 {
            out.extend(separator);
        }
        number::hex_fixed(out, u64::from(*byte), 2);
    }
}

/// Whether a bit of a bitmap in `long`s is set.
fn bit(bytes: &[u8], index: usize, machine: Machine) -> bool {
    let long = usize::from(machine.long_size).max(1);
    let value = machine.long(bytes, index / (8 * long) * long).unwrap_or(0);
    value >> (index % (8 * long)) & 1 != 0
}

/// Words of 32 bits in hexadecimal, the highest first, with commas; the first may be shorter.
pub(crate) fn bit_words(out: &mut Vec<u8>, bytes: &[u8], bits: usize, machine: Machine) {
    let words = bits.div_ceil(32);
    for word in (0..words).rev() {
        let width = if word + 1 == words { bits - word * 32 } else { 32 };
        let value = (0..width).filter(|index| bit(bytes, word * 32 + index, machine));
        let value = value.fold(0u64, |value, index| value | 1 << index);
        if word + 1 != words {
            out.push(b',');
        }
        number::hex_fixed(out, value, width.div_ceil(4));
    }
}

/// Ranges of the bits that are set: `0-3,7`.
pub(crate) fn bit_list(out: &mut Vec<u8>, bytes: &[u8], bits: usize, machine: Machine) {
    let mut index = 0;
    let mut first = true;
    while index < bits {
        if !bit(bytes, index, machine) {
            index += 1;
            continue;
        }
        let end = (index..bits).take_while(|index| bit(bytes, *index, machine)).last().unwrap_or(index);
        if !std::mem::replace(&mut first, false) {
            out.push(b',');
        }
        number::decimal(out, index as u64);
        if end > index {
            out.push(b'-');
            number::decimal(out, end as u64);
        }
        index = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(letters: &str, bytes: &[u8], length: Option<i64>) -> String {
        let mut out = Vec::new();
        let pointer = Pointer::of(letters.as_bytes()).unwrap();
        pointer.print(&mut out, bytes, length, Machine::LITTLE64, false).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn network_addresses() {
        assert_eq!(print("I4", &[127, 0, 0, 1], None), "127.0.0.1");
        assert_eq!(print("i4", &[127, 0, 0, 1], None), "127.000.000.001");
        let mut mapped = [0; 16];
        mapped[10..].copy_from_slice(&[0xff, 0xff, 127, 0, 0, 1]);
        assert_eq!(print("I6", &mapped, None), "0000:0000:0000:0000:0000:ffff:7f00:0001");
        assert_eq!(print("i6", &mapped, None), "00000000000000000000ffff7f000001");
        assert_eq!(print("I6c", &mapped, None), "::ffff:127.0.0.1");
        let address = |text: &str| text.parse::<std::net::Ipv6Addr>().unwrap().octets();
        for text in
            ["::", "::1", "fe80::1", "2001:db8::1:0:0:1", "1:0:2:3:4:5:6:7", "1:2:3:4:5:6::", "ff02::1:2"]
        {
            assert_eq!(print("I6c", &address(text), None), text);
        }
        let mut socket = vec![2, 0, 0x1f, 0x90, 10, 0, 2, 15];
        socket.resize(28, 0);
        assert_eq!(print("ISpc", &socket, None), "10.0.2.15:8080");
        socket[0] = 10;
        socket[8..24].copy_from_slice(&address("::1"));
        assert_eq!(print("ISpc", &socket, None), "[::1]:8080");
        assert_eq!(print("ISc", &socket, None), "::1");
        socket[0] = 1;
        assert_eq!(print("ISpc", &socket, None), "(einval)");
    }

    #[test]
    fn identifiers_bytes_and_bitmaps() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(print("U", &bytes, None), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(print("UL", &bytes, None), "03020100-0504-0706-0809-0A0B0C0D0E0F");
        assert_eq!(print("M", &bytes, None), "00:01:02:03:04:05");
        assert_eq!(print("MR", &bytes, None), "05:04:03:02:01:00");
        assert_eq!(print("hD", &bytes, Some(3)), "00-01-02");
        assert_eq!(print("hN", &bytes, Some(3)), "000102");
        assert_eq!(print("h", &bytes, Some(3)), "00 01 02");
        assert_eq!(print("bl", &[0x8f, 0, 0, 0, 0, 0, 0, 0], Some(64)), "0-3,7");
        assert_eq!(print("b", &[0x8f, 0, 0, 0, 1, 0, 0, 0], Some(64)), "00000001,0000008f");
        assert_eq!(print("b", &[0x8f, 0, 0, 0, 1, 0, 0, 0], Some(36)), "1,0000008f");
        let short = Pointer::of(b"I4").unwrap().print(&mut Vec::new(), &[1], None, Machine::LITTLE64, false);
        assert!(short.is_none());
    }
}
