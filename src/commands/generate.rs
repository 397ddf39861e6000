//! `generate`: manual pages and shell completions, from the definition that parses the options.

use crate::args::{Generate, Generated};
use crate::messages::{Failure, exit};
use crate::request;
use clap_complete::{Shell, generate_to};
use std::fs;
use std::io;
use std::path::Path;

pub(crate) fn run(args: &Generate) -> Result<u8, Failure> {
    let written = fs::create_dir_all(&args.dir).and_then(|()| match args.what {
        Generated::Man => man(&args.dir),
        Generated::Completions => completions(&args.dir),
    });
    written.map_err(|error| {
        let doing = format!("writing into '{}'", args.dir.display());
        Failure::new(exit::TROUBLE, doing, error).next("name a directory that can be written to")
    })?;
    Ok(exit::SUCCESS)
}

/// The definition without hidden commands, and without clap's help options in it twice.
fn public() -> clap::Command {
    let full = request::definition();
    let shown = full.get_subcommands().filter(|command| !command.is_hide_set());
    let mut public =
        clap::Command::new("fathom").disable_help_subcommand(true).version(env!("CARGO_PKG_VERSION"));
    if let Some(about) = full.get_about() {
        public = public.about(about.clone());
    }
    if let Some(text) = full.get_after_help() {
        public = public.after_help(text.clone());
    }
    public.subcommands(shown.cloned())
}

fn man(dir: &Path) -> io::Result<()> {
    page(&public(), "fathom", dir)
}

/// The page of a command, and those of the commands below it.
fn page(command: &clap::Command, name: &str, dir: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone()).title(name).render(&mut text)?;
    fs::write(dir.join(format!("{name}.1")), text)?;
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        page(below, &format!("{name}-{}", below.get_name()), dir)?;
    }
    Ok(())
}

fn completions(dir: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut public(), "fathom", dir)?;
    }
    Ok(())
}
