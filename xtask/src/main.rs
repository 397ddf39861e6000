//! The project's own commands: `cargo xtask demo`, `test`, `e2e`, `bench`, `licences`.
//!
//! Not part of the product: nothing here is linked into `fathom`, which is driven as a user would drive it.

mod bench;
mod blocks;
mod demo;
mod e2e;
mod fuzz;
mod guest;
mod licences;
mod live;
mod paths;
mod run;
mod setup;
mod sources;
mod state;
mod terminal;
mod test;
mod vm;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  demo                           build everything, record Lua, show its call graph and report
  test [--tier full|vm|torture]  install what the tests need and run all of them
  e2e [OPTIONS] [FILTER...]      the end-to-end cases only (see tests/e2e/README.md)
      --fathom PATH              the program to test instead of building it
      --list                     print the names of the cases and stop
      --bless                    write the expected replays anew (then read the difference); print what option rows show
      --long                     with the long workloads of the full tier
  vm [OPTIONS] [FILTER...]       the cases on live kernels only (see tests/vm/README.md)
      --kernel NAME              only on this one: 6.1, 6.12, extra
      --fathom PATH, --list      as above
      --script FILE              run this shell script in the guest instead, and show what it printed
  bench record [--quick] [--only NAME]  cost of a traced call against uftrace and two clock reads,
                                 and of options
  bench read [--records 1M,10M]  reading speed and memory against uftrace
  bench script                   calls of a counting script a second, against uftrace
  bench tui [--records 1M,10M]   how long the terminal user interface takes to show its first screen
  bench kernel [--quick] [--only text|binary|memory|record]  decoding against trace-cmd and perf, memory,
                                 recording under load in a virtual machine
  fuzz [SECONDS [live]]          each fuzz target and a live receiver for that long (60), or only the receiver
  licences                       check the licences of all dependencies
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let result = match args.first().map(String::as_str) {
        Some("demo") => demo::main(),
        Some("test") => test::main(rest),
        Some("e2e") => e2e::main(rest),
        Some("bench") => bench::main(rest),
        Some("vm") => live::main(rest),
        Some("guest") => guest::main(rest),
        Some("fuzz") => fuzz::main(rest),
        Some("licences") => licences::main(),
        Some("-h" | "--help" | "help") => {
            print!("{USAGE}");
            Ok(true)
        }
        other => {
            if let Some(name) = other {
                eprintln!("xtask: no command '{name}'");
            }
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
