use super::*;
use crate::Error;
use proptest::prelude::*;
use std::path::Path;

fn full() -> Info {
    Info {
        endian: Endian::Little,
        class: Class::Bits64,
        features: Features(0x177b),
        max_stack: 512,
        exe_name: Some("/bin/x".into()),
        build_id: Some("00ff".into()),
        exit_status: Some(-1),
        cmdline: Some("fathom record ./x \"a b\"".into()),
        cpu: Some(CpuInfo { online: 2, possible: 4, desc: "A Processor".into() }),
        memory: Some(MemoryInfo { free: 9, total: 235, unit: "GB" }),
        os: Some(OsInfo { kernel: "Linux 6.1".into(), hostname: "h".into(), distro: "\"D\"".into() }),
        tids: Some(vec![1, 22, 333]),
        usage: Some(Usage { system_us: 1_000_001, minor_faults: 7, ..Usage::default() }),
        load: Some([0.5, 1.25, 10.0]),
        arg_specs: Some(ArgSpecs { args: Some("f@arg1".into()), auto: true, ..ArgSpecs::default() }),
        record_date: Some("Mon Nov 23 02:03:05 2026".into()),
        elapsed_ns: Some(12_000_000_034),
        pattern_type: Some(PatternType::Glob),
        recorder_version: Some("v0.1".into()),
        utc_offset: Some(-5),
        sysctl: Some(Sysctl { perf_event_paranoid: -1, kptr_restrict: 2 }),
        ..Info::default()
    }
}

fn parse(bytes: &[u8]) -> Result<Info, Error> {
    Info::parse(bytes, Path::new("info"))
}

#[test]
fn layout_is_pinned() {
    let info = full();
    let bytes = info.to_bytes();
    let header = [
        0x46, 0x74, 0x72, 0x61, 0x63, 0x65, 0x21, 0, 4, 0, 0, 0, 40, 0, 1, 2, 0x7b, 0x17, 0, 0, 0, 0, 0, 0,
        0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(bytes[..HEADER_SIZE], header);
    let text = String::from_utf8(bytes[HEADER_SIZE..].to_vec()).unwrap();
    let want = "\
exename:/bin/x
build_id:00ff
exit_status:-1
cmdline:fathom record ./x \"a b\"
cpuinfo:lines=2
cpuinfo:nr_cpus=2 / 4 (online/possible)
cpuinfo:desc=A Processor
meminfo:0.9 / 23.5 GB (free / total)
osinfo:lines=3
osinfo:kernel=Linux 6.1
osinfo:hostname=h
osinfo:distro=\"D\"
taskinfo:lines=2
taskinfo:nr_tid=3
taskinfo:tids=1,22,333
usageinfo:lines=6
usageinfo:systime=1.000001
usageinfo:usrtime=0.000000
usageinfo:ctxsw=0 / 0 (voluntary / involuntary)
usageinfo:maxrss=0
usageinfo:pagefault=0 / 7 (major / minor)
usageinfo:iops=0 / 0 (read / write)
loadinfo:0.50 / 1.25 / 10.00
argspec:lines=5
argspec:f@arg1
argauto:
retauto:
enumauto:
auto-args:1
record_date:Mon Nov 23 02:03:05 2026
elapsed_time:12.000000034 sec
pattern_type:glob
uftrace_version:v0.1
utc_offset:-5
sysctl:perf_event_paranoid=-1 kptr_restrict=2
";
    assert_eq!(text, want);
}

#[test]
fn both_byte_orders_and_all_items_survive() {
    for endian in [Endian::Little, Endian::Big] {
        let info = Info { endian, ..full() };
        assert_eq!(parse(&info.to_bytes()).unwrap(), info);
    }
    let nothing = Info::default();
    assert_eq!(parse(&nothing.to_bytes()).unwrap(), nothing);
}

#[test]
fn old_forms_are_read() {
    let mut bytes = Info { features: Features(0), ..Info::default() }.to_bytes();
    bytes[8] = 3;
    bytes[24..26].copy_from_slice(&(1u16 << item::ARG_SPEC | 1 << item::CPU).to_le_bytes());
    bytes.extend(b"cpuinfo:lines=1\ncpuinfo:desc=old\nargspec:f@arg1,retval\n");
    let info = parse(&bytes).unwrap();
    assert_eq!((info.version, info.max_stack), (3, 1024));
    assert_eq!(info.cpu.unwrap().desc, "old");
    assert_eq!(info.arg_specs.unwrap().args.unwrap(), "f@arg1,retval");
}

#[test]
fn errors_name_line_and_text() {
    let with = |from: &str, to: &str| {
        let bytes = full().to_bytes();
        let text = String::from_utf8_lossy(&bytes[HEADER_SIZE..]).replace(from, to);
        parse(&[&bytes[..HEADER_SIZE], text.as_bytes()].concat()).unwrap_err().to_string()
    };
    assert_eq!(with("exit_status:-1", "exit_status:x"), "info:3: cannot make sense of \"exit_status:x\"");
    assert_eq!(with("exename", "exname"), "info:1: \"exename:\" expected, \"exname:/bin/x\" found");
    let many = "info:5: 9 lines of \"cpuinfo:\" announced, only 2 are known";
    assert_eq!(with("cpuinfo:lines=2", "cpuinfo:lines=9"), many);
    assert_eq!(with("1,22,333", "1,b"), "info:15: \"b\" is not a task id");
    assert_eq!(with("12.000000034 sec", "soon"), "info:31: cannot make sense of \"elapsed_time:soon\"");
    assert_eq!(with("GB", "PB"), "info:8: cannot make sense of \"meminfo:0.9 / 23.5 PB (free / total)\"");
}

#[test]
fn line_breaks_cannot_forge_items() {
    let info = Info { exe_name: Some("a\nbuild_id:b".into()), ..Info::default() };
    assert_eq!(parse(&info.to_bytes()).unwrap().exe_name.unwrap(), "a build_id:b");
}

#[test]
fn memory_in_the_largest_unit() {
    let memory = MemoryInfo::from_kib(22_000_000, 24_640_000);
    assert_eq!((memory.free, memory.total, memory.unit), (209, 234, "GB"));
    let small = MemoryInfo::from_kib(100, 1023);
    assert_eq!((small.free, small.total, small.unit), (1000, 10230, "KB"));
    assert_eq!(MemoryInfo::from_kib(0, u64::MAX).unit, "TB");
}

proptest! {
    #[test]
    fn any_bytes_are_survived(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120),
        lines in "((argspec|cpuinfo|taskinfo|usageinfo):(lines=[0-9]{1,20})?.{0,9}\n){0,6}",
    ) {
        let _ = parse(&bytes);
        if bytes.len() >= HEADER_SIZE {
            bytes[..16].copy_from_slice(&full().to_bytes()[..16]);
            bytes.truncate(HEADER_SIZE);
            bytes.extend(lines.as_bytes());
            let _ = parse(&bytes);
        }
    }
}
