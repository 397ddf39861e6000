//! Calls functions by way of the probe, and says before each what its values are.

use std::fmt::Debug;
use std::io::{Read, Write};
use std::num::NonZeroU32;
use std::ops::Range;

core::arch::global_asm!(include_str!("probe.s"), options(att_syntax));

unsafe extern "C" {
    fn probe();
    static mut probe_target: usize;
    static probe_registers: u8;
}

fn stop(what: &str) {
    println!("{what} {:x}", (&raw const probe_registers) as usize);
    std::io::stdout().flush().unwrap();
    if std::io::stdin().read_exact(&mut [0]).is_err() {
        // Whoever watched has seen enough.
        std::process::exit(1);
    }
}

#[unsafe(no_mangle)]
extern "C" fn probe_entry() {
    stop("entry");
}

#[unsafe(no_mangle)]
extern "C" fn probe_exit() {
    stop("exit");
}

fn say(what: &str, value: &dyn Debug) {
    println!("{what} {value:?}");
}

/// Defines a function that returns its last value, and calls it.
macro_rules! case {
    ($name:ident($($arg:ident: $ty:ty = $value:expr),*) -> $ret:ty = $result:expr) => {{
        #[inline(never)]
        fn $name($($arg: $ty),*) -> $ret {
            $(std::hint::black_box(&$arg);)*
            $result
        }
        println!("function {}", stringify!($name));
        $(let $arg: $ty = $value; say("value", &$arg);)*
        say("returned", &{ let r: $ret = $result; r });
        // The function's own address is called by nobody else, so the compiler can't change how it is called.
        let function: fn($($ty),*) -> $ret = std::hint::black_box($name);
        unsafe { probe_target = function as usize };
        let by_probe: fn($($ty),*) -> $ret = unsafe { std::mem::transmute(probe as *const ()) };
        std::hint::black_box(by_probe($($arg),*));
    }};
}

#[derive(Clone, Copy, Debug)]
struct P { x: i32, y: i32 }
#[derive(Clone, Copy, Debug)]
struct Three { x: i32, y: i32, z: u8 }
#[derive(Clone, Copy, Debug)]
struct Wide { a: [u64; 4], b: bool }
#[derive(Clone, Copy, Debug)]
struct Floats(f32, f32);
#[derive(Clone, Copy, Debug)]
struct Mixed(f64, u8);
#[derive(Clone, Copy, Debug)]
struct Wrapped(u64);
#[derive(Clone, Copy, Debug)]
struct Marker;
#[derive(Clone, Copy, Debug)]
#[allow(dead_code)]
enum Color { Red, Green = 5, Blue }
#[derive(Clone, Copy, Debug)]
enum Shape { Circle(f64), Rect { w: u32, h: u32 }, Unit }
#[derive(Clone, Copy, Debug)]
enum Narrow { A(u8, u8), B }
#[derive(Clone, Copy, Debug)]
enum Same { A(f64), B(f64) }
#[derive(Clone, Debug)]
#[allow(dead_code)]
enum Tree { Leaf(u8), Nodes(Vec<Tree>) }

fn main() {
    case!(integers(a: i8 = -1, b: u8 = 200, c: i16 = -300, d: u16 = 60000, e: i32 = -70000, f: u32 = 4_000_000_000,
        g: i64 = -5_000_000_000, h: u64 = u64::MAX, i: isize = -9, j: usize = 10) -> u64 = u64::MAX - 1);
    case!(wide(a: u128 = 1 << 70, b: i128 = -5, c: u8 = 3) -> i128 = -(1 << 90));
    case!(scalars(a: bool = true, b: char = 'é', c: f32 = 1.5, d: f64 = -2.25, e: bool = false) -> char = '\n');
    case!(texts(a: &'static str = "ab\"c", b: String = "déf".to_owned(), c: &'static str = "") -> &'static str = "static");
    case!(owned(a: Box<str> = "boxed".into(), b: Option<&'static str> = Some("x"), c: Option<&'static str> = None)
        -> String = "owned".to_owned());
    case!(maybe(a: Option<String> = Some("s".to_owned()), b: Option<String> = None, c: u8 = 1)
        -> Option<String> = Some("back".to_owned()));
    case!(none(a: Option<Vec<u8>> = None, b: Option<Vec<u8>> = Some(vec![7])) -> Option<String> = None);
    case!(slices(a: &'static [i32] = &[1, 2, 3], b: Vec<u8> = vec![4, 5], c: [u8; 3] = [9, 10, 11], d: &'static [P] = &[P { x: 1, y: 2 }],
        e: Vec<u64> = Vec::new()) -> Vec<u16> = vec![1, 2]);
    case!(many(a: Vec<u8> = (0..56).collect(), b: &'static [bool] = &[true, false]) -> &'static [char] = &['a', 'b']);
    case!(options(a: Option<i32> = Some(5), b: Option<i32> = None, c: Option<u8> = Some(7), d: Option<P> = Some(P { x: 1, y: -1 }))
        -> Option<i64> = Some(-3));
    case!(niches(a: Option<bool> = Some(false), b: Option<bool> = None, c: Option<NonZeroU32> = NonZeroU32::new(8),
        d: Option<char> = Some('q'), e: Option<Color> = None) -> Option<Option<u32>> = Some(Some(1)));
    case!(structs(a: P = P { x: 1, y: -2 }, b: Three = Three { x: 3, y: 4, z: 5 }, c: Wrapped = Wrapped(9), d: Marker = Marker)
        -> P = P { x: 7, y: 8 });
    case!(large(a: Wide = Wide { a: [1, 2, 3, 4], b: true }, b: u8 = 2) -> Wide = Wide { a: [5, 6, 7, 8], b: false });
    case!(floats(a: Floats = Floats(1.5, 2.5), b: Mixed = Mixed(3.5, 4), c: Option<f32> = Some(0.5)) -> Floats = Floats(8.0, 9.0));
    case!(mixed(a: (u8, f64) = (1, 2.5)) -> Mixed = Mixed(6.5, 7));
    case!(tuples(a: (i32, u8) = (1, 2), b: (u64, u64, u64) = (3, 4, 5), c: () = (), d: (u8,) = (6,)) -> (u16, u64) = (7, 8));
    case!(enums(a: Color = Color::Green, b: Shape = Shape::Circle(1.5), c: Shape = Shape::Rect { w: 1, h: 2 }, d: Shape = Shape::Unit)
        -> Color = Color::Blue);
    case!(small(a: Narrow = Narrow::A(1, 2), b: Narrow = Narrow::B, c: Same = Same::B(2.5), d: Same = Same::A(0.5)) -> Same = Same::A(4.5));
    case!(results(a: Result<i32, u8> = Ok(-1), b: Result<(), std::num::ParseIntError> = Ok(()),
        c: Result<u8, std::num::ParseIntError> = "x".parse::<u8>()) -> Result<u32, ()> = Ok(12));
    case!(references(a: &'static i32 = &-5, b: &'static P = &P { x: 3, y: 4 }, c: &'static Shape = &Shape::Unit,
        d: Box<i32> = Box::new(6), e: &'static (u8, u16) = &(1, 2)) -> &'static Option<u8> = &Some(3));
    case!(indirect(a: &'static String = Box::leak(Box::new("far".to_owned())), b: &'static Vec<i16> = Box::leak(Box::new(vec![-1, 2])),
        c: &'static Option<u64> = &None) -> Box<u64> = Box::new(77));
    case!(perhaps(a: Option<&'static u64> = Some(&7), b: Option<&'static u64> = None, c: Option<Box<P>> = Some(Box::new(P { x: 8, y: 9 })))
        -> Option<&'static i16> = Some(&-3));
    case!(ranges(a: Range<usize> = 1..20, b: std::cmp::Ordering = std::cmp::Ordering::Greater) -> std::time::Duration
        = std::time::Duration::new(3, 4));
    case!(trees(a: Vec<Tree> = vec![Tree::Leaf(1)], b: u8 = 3) -> u8 = 4);
    case!(stack(a: u64 = 1, b: u64 = 2, c: u64 = 3, d: u64 = 4, e: u64 = 5, f: &'static str = "split", g: Option<u16> = Some(8),
        h: i8 = -8, i: &'static [u8] = &[1], j: Three = Three { x: 1, y: 2, z: 3 }) -> (f64, f64) = (1.0, 2.0));
}
