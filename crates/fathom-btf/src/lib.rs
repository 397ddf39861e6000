//! The kernel's own type information, BTF: what functions take and return, where members of structures are, how values are
//! shown, and from these the arguments of probes by name (`tcp_sendmsg(sk, size)`).
//!
//! Not for reading a running kernel: what it is given are the bytes of `/sys/kernel/btf/vmlinux` or of a module's file
//! beside it, which only adds to that of the kernel ("split" BTF).
//!
//! The format is that of the kernel's *Documentation/bpf/btf.rst*. Bytes are hostile: nothing panics, nothing is allocated
//! by a length field, chains of types are followed for a bounded number of steps.

#![forbid(unsafe_code)]

mod data;
mod members;
mod names;
mod probe;
mod proto;
mod text;

pub use data::{Btf, Enumerator, Error, IntKind, Member, Param, Type, TypeId};
pub use members::{Place, Step};
pub use probe::{Arch, ProbeError, ProbeSpec, SpecArg};
pub use proto::{Argument, Prototype};
