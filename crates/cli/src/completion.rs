//! `t4 completion` and `t4 man`: shell completions and manual pages, generated from the commands so
//! that they cannot go stale.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap_complete::Shell;

#[derive(Debug, clap::Args)]
#[command(after_long_help = "For example:

  t4 completion bash > /etc/bash_completion.d/t4
  t4 completion zsh > /usr/local/share/zsh/site-functions/_t4
  t4 completion fish > /etc/fish/completions/t4.fish")]
pub(crate) struct CompletionArgs {
    /// The shell
    #[arg(value_enum)]
    shell: ForShell,
}

/// Those that can be tested here and that people use on Linux.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ForShell {
    Bash,
    Zsh,
    Fish,
}

impl CompletionArgs {
    pub(crate) fn run(&self, mut command: clap::Command) -> anyhow::Result<ExitCode> {
        let shell = match self.shell {
            ForShell::Bash => Shell::Bash,
            ForShell::Zsh => Shell::Zsh,
            ForShell::Fish => Shell::Fish,
        };
        // Through memory: the generator panics when a pipe is closed.
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, "t4", &mut script);
        std::io::stdout().lock().write_all(&script)?;
        Ok(ExitCode::SUCCESS)
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct ManArgs {
    /// Write a page for each command to this directory, made if it is missing: t4.1, t4-run.1 and
    /// so on [default: print the page of t4 itself]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl ManArgs {
    pub(crate) fn run(&self, mut command: clap::Command) -> anyhow::Result<ExitCode> {
        let mut out = std::io::stdout().lock();
        let Some(dir) = &self.dir else {
            out.write_all(&page(command)?)?;
            return Ok(ExitCode::SUCCESS);
        };
        std::fs::create_dir_all(dir)
            .with_context(|| format!("--dir: cannot make {}", dir.display()))?;
        // Names of subcommands become t4-run, t4-inspect-get.
        command.build();
        write_pages(&command, dir, &mut out)?;
        Ok(ExitCode::SUCCESS)
    }
}

fn write_pages(command: &clap::Command, dir: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    let path = dir.join(format!("{name}.1"));
    std::fs::write(&path, page(command.clone())?)
        .with_context(|| format!("--dir: cannot write {}", path.display()))?;
    writeln!(out, "{}", path.display())?;
    let shown = |sub: &&clap::Command| !sub.is_hide_set() && sub.get_name() != "help";
    command.get_subcommands().filter(shown).try_for_each(|sub| write_pages(sub, dir, out))
}

fn page(command: clap::Command) -> std::io::Result<Vec<u8>> {
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page)?;
    Ok(page)
}
