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
    let public = public();
    let pages = std::iter::once(public.clone()).chain(public.get_subcommands().cloned());
    for page in pages {
        let name = match page.get_name() {
            "fathom" => "fathom".to_owned(),
            command => format!("fathom-{command}"),
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(page).title(name.clone()).render(&mut text)?;
        fs::write(dir.join(format!("{name}.1")), text)?;
    }
    Ok(())
}

fn completions(dir: &Path) -> io::Result<()> {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        generate_to(shell, &mut public(), "fathom", dir)?;
    }
    Ok(())
}
