//! Writes the `info` file.

use super::{Class, Endian, HEADER_SIZE, Info, MAGIC};
use crate::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

impl Info {
    /// Writes the file at `path`, replacing one that is there. The file appears whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let temporary = path.with_extension("tmp");
        fs::write(&temporary, self.to_bytes()).map_err(|e| Error::io(&temporary, "write", e))?;
        fs::rename(&temporary, path).map_err(|e| Error::io(path, "create", e))
    }

    /// The contents of an `info` file. Line breaks inside items become spaces.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.header().to_vec();
        bytes.extend_from_slice(self.text().as_bytes());
        bytes
    }

    /// ```text
    /// 0       8       12   14 15 16        24        32    34      40
    /// | magic | version|size|e |c |features | items   |stack| 0     |
    /// ```
    fn header(&self) -> [u8; HEADER_SIZE] {
        let mut header = [0; HEADER_SIZE];
        let mut put = |offset: usize, bytes: &mut [u8]| {
            if self.endian == Endian::Big {
                bytes.reverse();
            }
            header[offset..offset + bytes.len()].copy_from_slice(bytes);
        };
        put(8, &mut self.version.to_le_bytes());
        put(12, &mut (HEADER_SIZE as u16).to_le_bytes());
        put(14, &mut [if self.endian == Endian::Big { 2 } else { 1 }]);
        put(15, &mut [if self.class == Class::Bits32 { 1 } else { 2 }]);
        put(16, &mut self.features.0.to_le_bytes());
        // Items that are not known here are not written, so their bits are not either.
        put(24, &mut (self.info_mask() & !self.unknown_items).to_le_bytes());
        put(32, &mut self.max_stack.to_le_bytes());
        header[..8].copy_from_slice(&MAGIC);
        header
    }

    fn text(&self) -> String {
        let mut out = String::new();
        self.write_program(&mut out);
        self.write_machine(&mut out);
        self.write_recording(&mut out);
        out
    }

    /// Items 0 to 3.
    fn write_program(&self, out: &mut String) {
        if let Some(exe) = &self.exe_name {
            line(out, "exename:", exe);
        }
        if let Some(id) = &self.build_id {
            line(out, "build_id:", id);
        }
        if let Some(status) = self.exit_status {
            _ = writeln!(out, "exit_status:{status}");
        }
        if let Some(cmdline) = &self.cmdline {
            line(out, "cmdline:", cmdline);
        }
    }

    /// Items 4 to 9.
    fn write_machine(&self, out: &mut String) {
        if let Some(cpu) = &self.cpu {
            _ = writeln!(out, "cpuinfo:lines=2");
            _ = writeln!(out, "cpuinfo:nr_cpus={} / {} (online/possible)", cpu.online, cpu.possible);
            line(out, "cpuinfo:desc=", &cpu.desc);
        }
        if let Some(m) = &self.memory {
            let ((f, f10), (t, t10)) = ((m.free / 10, m.free % 10), (m.total / 10, m.total % 10));
            _ = writeln!(out, "meminfo:{f}.{f10} / {t}.{t10} {} (free / total)", m.unit);
        }
        if let Some(os) = &self.os {
            _ = writeln!(out, "osinfo:lines=3");
            line(out, "osinfo:kernel=", &os.kernel);
            line(out, "osinfo:hostname=", &os.hostname);
            line(out, "osinfo:distro=", &os.distro);
        }
        if let Some(tids) = &self.tids {
            let list: Vec<String> = tids.iter().map(ToString::to_string).collect();
            _ = writeln!(out, "taskinfo:lines=2\ntaskinfo:nr_tid={}", tids.len());
            _ = writeln!(out, "taskinfo:tids={}", list.join(","));
        }
        if let Some(u) = &self.usage {
            let (sys, user) = (u.system_us, u.user_us);
            _ = writeln!(out, "usageinfo:lines=6");
            _ = writeln!(out, "usageinfo:systime={}.{:06}", sys / 1_000_000, sys % 1_000_000);
            _ = writeln!(out, "usageinfo:usrtime={}.{:06}", user / 1_000_000, user % 1_000_000);
            let (v, i) = (u.voluntary, u.involuntary);
            _ = writeln!(out, "usageinfo:ctxsw={v} / {i} (voluntary / involuntary)");
            _ = writeln!(out, "usageinfo:maxrss={}", u.max_rss_kib);
            let (major, minor) = (u.major_faults, u.minor_faults);
            _ = writeln!(out, "usageinfo:pagefault={major} / {minor} (major / minor)");
            _ = writeln!(out, "usageinfo:iops={} / {} (read / write)", u.read_blocks, u.written_blocks);
        }
        if let Some([a, b, c]) = self.load {
            _ = writeln!(out, "loadinfo:{a:.2} / {b:.2} / {c:.2}");
        }
    }

    /// Items 10 to 15.
    fn write_recording(&self, out: &mut String) {
        if let Some(specs) = &self.arg_specs {
            let given = [("argspec:", &specs.args), ("retspec:", &specs.retvals)];
            let given: Vec<_> = given.iter().filter_map(|(k, v)| Some((*k, v.as_ref()?))).collect();
            _ = writeln!(out, "argspec:lines={}", given.len() + 3 + usize::from(specs.auto));
            for (key, value) in given {
                line(out, key, value);
            }
            line(out, "argauto:", &specs.auto_args);
            line(out, "retauto:", &specs.auto_retvals);
            line(out, "enumauto:", &specs.enums);
            if specs.auto {
                line(out, "auto-args:", "1");
            }
        }
        if let Some(date) = &self.record_date {
            let elapsed = self.elapsed_ns.unwrap_or(0);
            line(out, "record_date:", date);
            let (s, ns) = (elapsed / 1_000_000_000, elapsed % 1_000_000_000);
            _ = writeln!(out, "elapsed_time:{s}.{ns:09} sec");
        }
        if let Some(pattern) = self.pattern_type {
            line(out, "pattern_type:", pattern.as_str());
        }
        if let Some(version) = &self.recorder_version {
            line(out, "uftrace_version:", version);
        }
        if let Some(offset) = self.utc_offset {
            _ = writeln!(out, "utc_offset:{offset}");
        }
        if let Some(s) = self.sysctl {
            let (paranoid, restrict) = (s.perf_event_paranoid, s.kptr_restrict);
            _ = writeln!(out, "sysctl:perf_event_paranoid={paranoid} kptr_restrict={restrict}");
        }
    }
}

fn line(out: &mut String, key: &str, value: &str) {
    let value = value.replace(['\n', '\0'], " ");
    _ = writeln!(out, "{key}{value}");
}
