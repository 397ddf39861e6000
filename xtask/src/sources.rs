//! The C sources of Lua and SQLite, from the crates that bundle them, fetched by cargo and pinned by a lock file.

use crate::paths::{cargo, root};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// The directories of the two sources.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    pub(crate) lua: PathBuf,
    pub(crate) sqlite: PathBuf,
}

/// Fetches the sources if they are not there yet, and says where they are.
pub(crate) fn locate() -> Result<Sources> {
    static FOUND: Mutex<Option<Sources>> = Mutex::new(None);
    let mut found = FOUND.lock().map_err(|_| anyhow::anyhow!("an earlier attempt failed"))?;
    if let Some(sources) = &*found {
        return Ok(sources.clone());
    }
    let manifest = root().join("xtask/sources/Cargo.toml");
    let out = cargo()
        .args(["metadata", "--format-version=1", "--locked", "--manifest-path"])
        .arg(&manifest)
        .output()
        .context("cannot run cargo metadata")?;
    if !out.status.success() {
        bail!("cannot fetch the sources of Lua and SQLite: {}", String::from_utf8_lossy(&out.stderr));
    }
    let metadata: Value = serde_json::from_slice(&out.stdout).context("cargo metadata is not JSON")?;
    let sources = Sources {
        lua: lua_dir(&package_dir(&metadata, "lua-src")?)?,
        sqlite: package_dir(&metadata, "libsqlite3-sys")?.join("sqlite3"),
    };
    *found = Some(sources.clone());
    Ok(sources)
}

fn package_dir(metadata: &Value, name: &str) -> Result<PathBuf> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let package = packages.iter().find(|package| package["name"] == name);
    let manifest = package.and_then(|package| package["manifest_path"].as_str());
    let manifest = manifest.with_context(|| format!("no package {name}"))?;
    Ok(Path::new(manifest).parent().unwrap_or(Path::new("/")).to_path_buf())
}

/// The crate has several Luas; the one of 5.4 is meant.
fn lua_dir(package: &Path) -> Result<PathBuf> {
    let mut dirs = std::fs::read_dir(package)?.filter_map(|entry| Some(entry.ok()?.path()));
    let found = dirs.find(|dir| {
        dir.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with("lua-5.4"))
    });
    found.with_context(|| format!("no Lua 5.4 in {}", package.display()))
}
