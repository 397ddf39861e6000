//! Generated functions do the same patched and unpatched: every register and the memory that they change, whatever a stub
//! does to flags and below rsp. They are run in a child process, by `patched/harness.c`, which applies what the analysis
//! says. Needs a C compiler, like everything that tests a tracer.

#[path = "patched/generate.rs"]
mod generate;

use fathom_patch::{Analysis, FixupKind, Options, Reason, Site, Summary, analyse};
use fathom_symbols::Image;
use std::path::Path;
use std::process::Command;

const FUNCTIONS: usize = 150;

fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), format!("{text}({})", output.status))
}

fn build(dir: &Path, text: &str, options: &[&str]) -> Image {
    std::fs::write(dir.join("functions.s"), text).unwrap();
    let harness = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/patched/harness.c");
    let mut command = Command::new("cc");
    command.current_dir(dir).args(["-O1", "-o", "program"]).args(options).arg(harness).arg("functions.s");
    let (built, text) = run(&mut command);
    assert!(built, "{text}");
    Image::open(dir.join("program")).unwrap()
}

/// Only what was generated: the harness must not trace itself.
fn sites(image: &Image, analysis: &Analysis) -> Vec<Site> {
    let symbols = image.symbols();
    let is_generated = |name: &str| {
        let digits = name.strip_prefix(['f', 'g']).unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let functions = analysis
        .functions
        .iter()
        .filter(|function| symbols.find(function.start).is_some_and(|symbol| is_generated(symbol.name)));
    functions.filter_map(|function| function.verdict.clone().ok()).collect()
}

fn plan(sites: &[Site]) -> Vec<u8> {
    let mut plan = (sites.len() as u32).to_le_bytes().to_vec();
    for site in sites {
        plan.extend(site.at.to_le_bytes());
        plan.push(site.original.len() as u8);
        plan.extend(&site.original);
        plan.push(site.island.is_some().into());
        plan.extend(site.island.map_or(0, |island| island.at).to_le_bytes());
        plan.extend(site.island.map_or([0; 5], |island| island.original));
        plan.extend(site.hop().unwrap_or_default());
        plan.push(site.code.len() as u8);
        plan.extend(&site.code);
        plan.push(site.fixups.len() as u8);
        for fixup in &site.fixups {
            plan.extend([fixup.at, u8::from(fixup.kind == FixupKind::Address)]);
            plan.extend(fixup.to.to_le_bytes());
        }
    }
    plan
}

/// Generates, runs, compares. Gives what was decided.
fn check(seed: u64, options: &[&str]) -> Analysis {
    let dir = tempfile::tempdir().unwrap();
    let text = generate::program(seed, FUNCTIONS);
    let image = build(dir.path(), &text, options);
    let analysis = analyse(&image, &Options { threads: 2 });
    let sites = sites(&image, &analysis);
    std::fs::write(dir.path().join("plan"), plan(&sites)).unwrap();
    let mut command = Command::new(dir.path().join("program"));
    let (same, said) = run(command.arg(dir.path().join("plan")).args(["12", &seed.to_string()]));
    if !same {
        let kept = std::env::temp_dir().join(format!("fathom-patch-{seed}"));
        let _ = std::fs::create_dir_all(&kept);
        let _ = std::fs::copy(dir.path().join("program"), kept.join("program"));
        let _ = std::fs::copy(dir.path().join("functions.s"), kept.join("functions.s"));
        let _ = std::fs::copy(dir.path().join("plan"), kept.join("plan"));
        panic!("seed {seed} {options:?}, kept in {}: {said}", kept.display());
    }
    let calls =
        said.split(", ").nth(1).and_then(|part| part.split(' ').next()).and_then(|n| n.parse::<u64>().ok());
    assert!(calls.is_some_and(|calls| calls >= 12 * sites.len() as u64 / 2), "stubs are not run: {said}");
    assert!(sites.len() > FUNCTIONS / 2, "{} sites", sites.len());
    analysis
}

/// How many programs: more with `FATHOM_PATCH_PROGRAMS=1000`.
fn programs() -> u64 {
    std::env::var("FATHOM_PATCH_PROGRAMS").ok().and_then(|count| count.parse().ok()).unwrap_or(6)
}

#[test]
fn patched_functions_do_the_same() {
    let options: [&[&str]; 3] = [&["-pie", "-fPIE"], &["-no-pie", "-fno-pie"], &["-static-pie", "-fPIE"]];
    let mut total = Summary::default();
    for seed in 1..=programs() {
        let analysis = check(seed, options[seed as usize % options.len()]);
        let summary = Summary::of(&analysis);
        total.islands += summary.islands;
        total.padded += summary.padded;
        for (sum, count) in total.reasons.iter_mut().zip(summary.reasons) {
            *sum += count;
        }
    }
    // All that should be there is there: the generator would be worth little otherwise.
    assert!(total.islands > 0 && total.padded > 0, "{total:?}");
    for reason in [
        Reason::Loop,
        Reason::Target,
        Reason::ReturnAddress,
        Reason::FlagsIn,
        Reason::FlagsOut,
        Reason::Frame,
    ] {
        assert!(total.reasons[reason as usize] > 0, "nothing is refused as {}: {total:?}", reason.name());
    }
}
