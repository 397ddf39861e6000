//! Builds the runtime as a shared object, for embedding.
//!
//! A nested cargo with a target directory of its own: the outer one holds a lock on its own for as long as this
//! script runs. Flags and wrappers of the outer build are dropped, because an instrumented library in the traced
//! program would break it.

use std::env;
use std::path::PathBuf;
use std::process::Command;

/// Build-time override: copy this file instead of building.
const OVERRIDE: &str = "FATHOM_RUNTIME_SO";

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let crates = manifest.parent().expect("a crate lies in crates/").to_path_buf();
    for path in ["fathom-runtime/src", "fathom-runtime/Cargo.toml", "fathom-abi/src", "fathom-abi/Cargo.toml"]
    {
        println!("cargo::rerun-if-changed={}", crates.join(path).display());
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={OVERRIDE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let target_file = out.join("libfathom_runtime.so");
    if env::var_os("DOCS_RS").is_some() {
        std::fs::write(&target_file, b"").expect("the output directory is writable");
        return;
    }
    if let Some(ready) = env::var_os(OVERRIDE) {
        std::fs::copy(&ready, &target_file).expect("the runtime named by FATHOM_RUNTIME_SO can be copied");
        return;
    }
    let target = env::var("TARGET").expect("cargo sets it");
    let directory = out.join("runtime-target");
    let mut cargo = Command::new(env::var_os("CARGO").expect("cargo sets it"));
    cargo
        .current_dir(crates.join("fathom-runtime"))
        .args(["rustc", "--lib", "--release", "--locked", "--crate-type", "cdylib", "--target", &target])
        .arg("--target-dir")
        .arg(&directory)
        .args([
            "--",
            "--cfg",
            "fathom_preload",
            "-C",
            "relocation-model=pic",
            "-C",
            "force-unwind-tables=yes",
        ])
        .args(["-C", "link-arg=-nostartfiles", "-C", "link-arg=-nodefaultlibs"])
        .args(["-C", "link-arg=-Wl,-z,initfirst,-z,now,-z,relro"]);
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        let drop = ["CARGO_MANIFEST_", "CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "CARGO_PROFILE_"]
            .iter()
            .any(|prefix| name.starts_with(prefix))
            || matches!(
                name,
                "CARGO_ENCODED_RUSTFLAGS"
                    | "RUSTFLAGS"
                    | "RUSTC_WRAPPER"
                    | "RUSTC_WORKSPACE_WRAPPER"
                    | "CARGO_TARGET_DIR"
                    | "CARGO_BUILD_TARGET_DIR"
                    | "OUT_DIR"
                    | "TARGET"
                    | "HOST"
                    | "PROFILE"
                    | "OPT_LEVEL"
                    | "DEBUG"
            );
        if drop {
            cargo.env_remove(name);
        }
    }
    // Empty, not absent: it also overrides flags from configuration files.
    cargo.env("CARGO_ENCODED_RUSTFLAGS", "");
    for (key, value) in [
        ("LTO", "fat"),
        ("CODEGEN_UNITS", "1"),
        ("PANIC", "abort"),
        ("OPT_LEVEL", "3"),
        ("STRIP", "debuginfo"),
    ] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "building the runtime failed");
    std::fs::copy(directory.join(target).join("release/libfathom_runtime.so"), &target_file)
        .expect("the runtime was built");
}
