//! `record DIR PROGRAM ARG...`: records without the `fathom` program around it. `LIBCALLS=no|nested`,
//! `PATCH=PATTERN`, `AUTO_ARGS=1`.
fn main() {
    let mut args = std::env::args_os().skip(1);
    let dir = args.next().expect("a directory").into();
    let program: std::path::PathBuf = args.next().expect("a program").into();
    let options = fathom_record::Options {
        program,
        args: args.collect(),
        dir,
        cmdline: "example".into(),
        version: "v0.13".into(),
        force: true,
        randomize: true,
        libcalls: match std::env::var("LIBCALLS").as_deref() {
            Ok("no") => fathom_record::LibCalls::None,
            Ok("nested") => fathom_record::LibCalls::Nested,
            _ => fathom_record::LibCalls::Executable,
        },
        patch: std::env::var("PATCH")
            .ok()
            .map(|pattern| fathom_record::PatchSpec { pattern, unpatch: false })
            .into_iter()
            .collect(),
        selection: fathom_record::Selection {
            auto_args: std::env::var_os("AUTO_ARGS").is_some(),
            ..Default::default()
        },
        verbose: 1,
        runtime: std::env::var_os("RUNTIME").map(Into::into),
        ..Default::default()
    };
    match fathom_record::record(&options) {
        Ok(outcome) => eprintln!("{outcome:?}"),
        Err(error) => {
            eprintln!("record: {error}");
            std::process::exit(1);
        }
    }
}
