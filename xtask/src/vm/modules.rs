//! Kernel modules for the guest, uncompressed, what they depend on first.

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Names and bytes of the modules in the order in which they must be loaded. A name that is not there is taken to be
/// built into the kernel.
pub(crate) fn load_order(tree: Option<&Path>, wanted: &[&str]) -> Result<Vec<(String, Vec<u8>)>> {
    let Some(tree) = tree.filter(|_| !wanted.is_empty()) else { return Ok(Vec::new()) };
    let mut found = BTreeMap::new();
    for root in ["lib/modules", "usr/lib/modules"] {
        collect(&tree.join(root), &mut found)?;
    }
    let mut order = Vec::new();
    let mut seen = Vec::new();
    for name in wanted {
        add(name, &found, &mut seen, &mut order)?;
    }
    Ok(order)
}

/// In module names the kernel takes `-` and `_` for the same.
fn plain(name: &str) -> String {
    name.replace('-', "_")
}

fn collect(dir: &Path, found: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Ok(()) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            collect(&path, found)?;
        } else if let Some((name, _)) = path.file_name().and_then(|name| name.to_str()?.split_once(".ko")) {
            found.insert(plain(name), path.clone());
        }
    }
    Ok(())
}

fn add(
    name: &str,
    found: &BTreeMap<String, PathBuf>,
    seen: &mut Vec<String>,
    order: &mut Vec<(String, Vec<u8>)>,
) -> Result<()> {
    let name = plain(name);
    if seen.contains(&name) {
        return Ok(());
    }
    seen.push(name.clone());
    let Some(path) = found.get(&name) else { return Ok(()) };
    let bytes = uncompressed(path)?;
    for dependency in depends(&bytes) {
        add(&dependency, found, seen, order)?;
    }
    order.push((format!("{name}.ko"), bytes));
    Ok(())
}

/// The names in the `depends=` string of a module's `.modinfo`.
fn depends(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(at) = module.windows(KEY.len()).position(|window| window == KEY) else { return Vec::new() };
    let value: Vec<u8> = module[at + KEY.len()..].iter().copied().take_while(|byte| *byte != 0).collect();
    let value = String::from_utf8_lossy(&value).into_owned();
    value.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn uncompressed(path: &Path) -> Result<Vec<u8>> {
    let tool = match path.extension().and_then(|ext| ext.to_str()) {
        Some("ko") => return std::fs::read(path).with_context(|| format!("cannot read {}", path.display())),
        Some("xz") => "xz",
        Some("gz") => "gzip",
        Some("zst") => "zstd",
        _ => bail!("{}: a module in an unknown form", path.display()),
    };
    let done = Command::new(tool).arg("-dc").arg(path).stdin(Stdio::null()).output();
    let done = done.with_context(|| format!("cannot run {tool}"))?;
    if !done.status.success() {
        bail!("{tool} cannot unpack {}", path.display());
    }
    Ok(done.stdout)
}

#[cfg(test)]
mod tests {
    use super::depends;

    #[test]
    fn dependencies_of_a_module() {
        assert_eq!(depends(b"x\0depends=net_failover,virtio\0name=a\0"), ["net_failover", "virtio"]);
        assert!(depends(b"x\0depends=\0name=a\0").is_empty());
        assert!(depends(b"\x7fELF").is_empty());
    }
}
