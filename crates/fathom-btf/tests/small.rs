//! What the types of `data/small.c` say, in both byte orders.

use fathom_btf::{Arch, Btf, Error, ProbeError, ProbeSpec, Step, Type, TypeId};
use std::sync::Arc;

const LITTLE: &[u8] = include_bytes!("data/small-le.btf");
const BIG: &[u8] = include_bytes!("data/small-be.btf");

fn small() -> Btf {
    Btf::parse(LITTLE.to_vec()).unwrap()
}

fn both() -> [Btf; 2] {
    [small(), Btf::parse(BIG.to_vec()).unwrap()]
}

fn steps(path: &str) -> Vec<Step> {
    path.split('.').map(|part| Step(part.to_owned())).collect()
}

fn command(text: &str, arch: Arch) -> String {
    let made = ProbeSpec::parse(text).and_then(|spec| spec.command(&small(), arch, "fathom"));
    made.unwrap_or_else(|error| format!("error: {error}"))
}

#[test]
fn prototypes() {
    for btf in both() {
        let text = |name: &str| btf.prototype(name).unwrap().declaration(&btf);
        insta::allow_duplicates! {
            insta::assert_snapshot!(
                ["tcp_sendmsg", "vfs_read", "many", "nothing", "by_value", "logged", "returns_pointer"]
                    .map(text).join("\n"),
                @r"
            int tcp_sendmsg(struct sock *sk, struct msghdr *msg, size_t size)
            ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)
            int many(int a, bool b, enum kind c, enum big d, const char *filename)
            void nothing(void)
            int by_value(struct pair p, int after)
            int logged(const char *arg1, ...)
            int (*returns_pointer(int which))(void)
            "
            );
        }
        let read = btf.prototype("vfs_read").unwrap();
        let buf = &read.arguments[1];
        assert!(buf.pointer && buf.string && !buf.signed && buf.size == 8);
        assert!(!read.arguments[0].string);
        assert!(read.returns.unwrap().signed);
        assert!(btf.prototype("vfs_reed").is_none());
        assert!(btf.prototype("sock").is_none(), "a structure is no function");
    }
}

#[test]
fn members_and_their_types() {
    for btf in both() {
        let sock = btf.type_id("struct sock_common").unwrap();
        let lines: Vec<String> = btf
            .members(sock)
            .map(|m| format!("{}+{} {}", m.bit_offset, m.bits, btf.declaration(m.target, m.name)))
            .collect();
        insta::allow_duplicates! {
            insta::assert_snapshot!(lines.join("\n"), @r"
            0+0 union {…}
            64+0 __be16 skc_dport
            80+0 __u16 skc_num
            96+0 unsigned char skc_state
            104+4 unsigned char skc_reuse
            108+1 unsigned char skc_reuseport
            128+20 unsigned int wide
            192+0 struct net *skc_net
            ");
        }
        let eight = btf.member(btf.type_id("ops").unwrap(), "eight").unwrap();
        assert_eq!(
            btf.declaration(eight.target, "eight"),
            "int (*eight)(int, char, short, long, void *, struct sock *, struct pair *, ...)"
        );
        let ops = btf.member(btf.type_id("file").unwrap(), "ops").unwrap();
        assert_eq!(btf.declaration(ops.target, "ops"), "int (*ops[4])(void)");
        assert_eq!(btf.size_of(ops.target), Some(32));
    }
}

#[test]
fn paths_go_through_anonymous_members_and_pointers() {
    let btf = small();
    let sk = btf.prototype("tcp_sendmsg").unwrap().arguments[0].target;
    assert_eq!(btf.place(sk, &steps("__sk_common.skc_rcv_saddr")).unwrap().offsets, [4]);
    assert_eq!(btf.place(sk, &steps("__sk_common.skc_dport")).unwrap().offsets, [8]);
    let (index, names) = btf.place(sk, &steps("__sk_common.skc_dprt")).unwrap_err();
    assert_eq!(index, 1);
    assert!(names.contains(&"skc_dport".to_owned()));
}

#[test]
fn probes_by_argument_name() {
    let lines = [
        "tcp_sendmsg(sk, size)",
        "net/send=tcp_sendmsg(*)",
        "tcp_sendmsg(port=sk->__sk_common.skc_dport, sk.sk_err, sk->__sk_common.skc_state:x8)",
        "tcp_sendmsg(sk->__sk_common.skc_reuse, sk->__sk_common.skc_reuseport, sk->__sk_common.wide)",
        "vfs_read(buf:ustring, pos)",
        "vfs_read(ret)%return",
        "vfs_read(*)%return",
        "many(*)",
        "by_value(after)",
        "by_value(*)",
        "vfs_read(n=$arg3:u64, %di, s=+8(%si):string, $comm)",
        "nothing()",
    ];
    let shown: Vec<String> = lines.map(|line| format!("{line}\n  {}", command(line, Arch::X86_64))).into();
    insta::assert_snapshot!(shown.join("\n"));
    assert_eq!(
        command("vfs_read(file, count)", Arch::Aarch64),
        "p:fathom/vfs_read vfs_read file=%x0:x64 count=%x2:u64"
    );
}

#[test]
fn what_is_wrong_with_a_probe_is_named() {
    let lines = [
        "tcp_sendmsg",
        "tcp_sendmsg(sk",
        "tcp sendmsg(sk)",
        "tcp_sendmsgs(sk)",
        "tcp_sendmsg(sock)",
        "tcp_sendmsg(sk->__sk_commn.skc_dport)",
        "tcp_sendmsg(sk->__sk_common.skc_dprt)",
        "tcp_sendmsg(size->x)",
        "tcp_sendmsg(sk->__sk_common)",
        "tcp_sendmsg(size)%return",
        "tcp_sendmsg(ret)",
        "nothing(ret)%return",
        "by_value(p)",
        "by_value(p.b)",
        "tcp_sendmsg(sk size)",
        "tcp_sendmsg(sk,)",
        "tcp_sendmsg(sk:)",
        "vfs_read(file->ops)",
    ];
    let shown: Vec<String> = lines.map(|line| format!("{line}\n  {}", command(line, Arch::X86_64))).into();
    insta::assert_snapshot!(shown.join("\n"));
    assert!(ProbeSpec::looks_like("tcp_sendmsg(sk, size)%return"));
    assert!(!ProbeSpec::looks_like("p:x vfs_read a=+8(%si)"));
    assert!(!ProbeSpec::looks_like("vfs_read+8 a=%di"));
}

#[test]
fn calls_with_their_values() {
    let btf = small();
    let call = |name: &str, values: &[u64]| btf.prototype(name).unwrap().call_text(&btf, values);
    assert_eq!(
        call("vfs_read", &[0xffff_8880_0123_4500, 0x7ffe_0000_1000, 4096, 0xffff_c900_0000_0010]),
        "vfs_read(file=0xffff888001234500, buf=0x7ffe00001000, count=4096, pos=0xffffc90000000010)"
    );
    assert_eq!(
        call("many", &[0xdead_beef_ffff_ffff, 0x1, 0xffff_ffff, 77]),
        "many(a=-1, b=true, c=KIND_LOST, d=77, filename=…)"
    );
    assert_eq!(call("by_value", &[1, 2, 3]), "by_value(p={0x1, 0x2}, after=3)");
    assert_eq!(call("logged", &[16]), "logged(arg1=0x10, …)");
    let read = btf.prototype("vfs_read").unwrap();
    assert_eq!(read.return_text(&btf, -11i64 as u64).unwrap(), "-11");
    assert!(btf.prototype("nothing").unwrap().return_text(&btf, 0).is_none());
}

/// A file of one section of types and one of strings, little endian.
fn made(words: &[u32], strings: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x9f, 0xeb, 1, 0];
    let types: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    for word in [24, 0, types.len() as u32, types.len() as u32, strings.len() as u32] {
        bytes.extend(word.to_le_bytes());
    }
    bytes.extend(types);
    bytes.extend(strings);
    bytes
}

#[test]
fn a_module_goes_on_where_the_kernel_ends() {
    let base = Arc::new(small());
    let next = base.len();
    let sock = base.type_id("struct sock").unwrap().0;
    // In a module's file, string offsets go on after the kernel's strings.
    let header = |at: usize| u32::from_le_bytes(LITTLE[at..at + 4].try_into().unwrap());
    let strings = b"\0my_send\0sk\0mode\0WIDE\0user\0";
    let name = |word: &str| {
        let text = std::str::from_utf8(strings).unwrap();
        header(20) + text.find(&format!("\0{word}\0")).unwrap() as u32 + 1
    };
    let char = base.type_id("char").unwrap().0;
    let words = [
        0,
        2 << 24,
        sock, // next: struct sock *
        0,
        13 << 24 | 3,
        0,
        name("sk"),
        next,
        0,
        next + 2,
        name("mode"),
        next + 4, // next + 1: the prototype
        0,
        2 << 24,
        next + 3, // next + 2: char __user *
        name("user"),
        18 << 24,
        char,
        name("mode"),
        19 << 24 | 1 << 31 | 1,
        8,
        name("WIDE"),
        5,
        1, // next + 4: enum mode
        name("my_send"),
        12 << 24,
        next + 1,
    ];
    let module = Btf::parse_split(made(&words, strings), base).unwrap();
    let send = module.prototype("my_send").unwrap();
    assert_eq!(send.declaration(&module), "void my_send(struct sock *sk, char *arg2, enum mode mode)");
    assert!(send.arguments[1].user);
    assert_eq!(send.call_text(&module, &[1, 2, 0x1_0000_0005]), "my_send(sk=0x1, arg2=0x2, mode=WIDE)");
    assert!(module.prototype("vfs_read").is_some(), "the kernel's functions are found too");
    assert!(matches!(module.get(TypeId(next + 4)), Some(Type::Enum { size: 8, signed: true, .. })));
}

#[test]
fn broken_files_say_what_is_wrong() {
    assert_eq!(Btf::parse(b"ELF".to_vec()).unwrap_err(), Error::Magic);
    assert_eq!(Btf::parse(vec![0x9f, 0xeb, 2, 0]).unwrap_err(), Error::Version(2));
    assert_eq!(Btf::parse(LITTLE[..100].to_vec()).unwrap_err(), Error::Section("type"));
    let unknown = made(&[0, 20 << 24, 0], b"\0");
    assert_eq!(Btf::parse(unknown).unwrap_err(), Error::Kind { kind: 20, id: 1, offset: 0 });
    let cut = made(&[0, 4 << 24 | 0xffff, 0], b"\0");
    assert_eq!(Btf::parse(cut).unwrap_err(), Error::Cut { id: 1, offset: 0 });
}

#[test]
fn loops_of_types_end() {
    // A typedef of itself; a structure that is its own anonymous member; an array of itself; a pointer to itself.
    let words = [
        1,
        8 << 24,
        1, //
        1,
        4 << 24 | 1,
        8,
        0,
        2,
        0, //
        0,
        3 << 24,
        0,
        3,
        1,
        2, //
        0,
        2 << 24,
        4, //
        0,
        13 << 24 | 1,
        5,
        1,
        5,
    ];
    let btf = Btf::parse(made(&words, b"\0loop\0")).unwrap();
    for id in 1..btf.len() {
        let id = TypeId(id);
        assert!(btf.type_text(id).len() < 1000);
        let _ = (btf.resolve(id), btf.size_of(id), btf.member(id, "x"), btf.value_text(id, 5));
    }
    assert!(btf.resolve(TypeId(1)).is_none());
    assert!(btf.size_of(TypeId(3)).is_none());
}

#[test]
fn the_kernel_that_runs() {
    let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
        eprintln!("skipped: /sys/kernel/btf/vmlinux cannot be read here");
        return;
    };
    let btf = Btf::parse(bytes).unwrap();
    let read = btf.prototype("vfs_read").unwrap();
    assert_eq!(
        read.declaration(&btf).replace(" __attribute__((btf_type_tag(\"user\")))", ""),
        "ssize_t vfs_read(struct file *file, char *buf, size_t count, loff_t *pos)"
    );
    let spec = ProbeSpec::parse("tcp_sendmsg(sk, size, dport=sk->__sk_common.skc_dport)").unwrap();
    match spec.fetch_args(&btf, Arch::X86_64) {
        Ok(args) => assert_eq!(args[..2], ["sk=%di:x64", "size=%dx:u64"]),
        Err(error) => assert!(matches!(error, ProbeError::Function { .. }), "{error}"),
    }
    let shown = btf.own().filter(|id| btf.type_text(*id).is_empty()).count();
    assert_eq!(shown, 0, "every type has a text");
}

proptest::proptest! {
    /// Whatever bytes are changed, nothing panics.
    #[test]
    fn changed_bytes(changes in proptest::collection::vec((0usize..3000, 0u8..), 1..20), split in proptest::bool::ANY) {
        let mut bytes = LITTLE.to_vec();
        for (at, value) in changes {
            let at = at % bytes.len();
            bytes[at] = value;
        }
        let btf = if split { Btf::parse_split(bytes, Arc::new(small())) } else { Btf::parse(bytes) };
        if let Ok(btf) = btf {
            for id in btf.own() {
                let _ = (btf.type_text(id), btf.size_of(id), btf.members(id).count(), btf.value_text(id, 7));
                let name = btf.name_of(id).to_owned();
                if let Some(prototype) = btf.prototype(&name) {
                    let _ = (prototype.declaration(&btf), prototype.call_text(&btf, &[1, 2]));
                }
            }
        }
    }
}
