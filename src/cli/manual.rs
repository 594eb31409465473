//! `stratus completions` and `stratus man`: what a shell and a reader of manuals want, made of the same arguments.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use super::{Failed, fail, help, say};

/// What the page of the program says beside what the arguments say.
const SECTIONS: &str = r#".SH EXIT STATUS
.TP
0
done
.TP
1
it was tried and failed
.TP
2
bad arguments or a bad configuration: nothing was done
.SH ENVIRONMENT
.TP
STRATUS__SECTION__KEY
a setting: STRATUS__SERVER__LISTEN is server.listen
.TP
NO_COLOR, CLICOLOR_FORCE, TERM
with NO_COLOR set to anything, or TERM=dumb, there are no colours; with CLICOLOR_FORCE=1 there are, also off a terminal
.SH SEE ALSO
.BR redis\-server (1),
the folder docs of the source, /usr/share/doc/stratus/docs in the Debian package
"#;

/// Prints the completions for `shell`.
pub(super) fn completions(shell: Shell) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut help::command(), "stratus", &mut script);
    print(&script);
}

/// Prints the page of the program, or writes all pages into a folder.
pub(super) fn man(dir: Option<&Path>) -> Result<(), Failed> {
    let mut command = help::command().disable_help_subcommand(true);
    command.build();
    let Some(dir) = dir else {
        let page = page(&command).map_err(|error| fail(1, format!("the page cannot be made: {error}")))?;
        print(&page);
        return Ok(());
    };
    let written = fs::create_dir_all(dir).and_then(|()| write(&command, dir));
    for path in written.map_err(|error| fail(1, format!("{}: {error}", dir.display())))? {
        say(format!("written  {}", path.display()));
    }
    Ok(())
}

/// To a reader that may have gone away, which is no error.
fn print(bytes: &[u8]) {
    let _ = io::stdout().write_all(bytes);
}

/// Writes the page of a command and of all below it.
fn write(command: &Command, dir: &Path) -> io::Result<Vec<PathBuf>> {
    let path = dir.join(Man::new(command.clone()).get_filename());
    fs::write(&path, page(command)?)?;
    let mut written = vec![path];
    for below in command.get_subcommands() {
        written.extend(write(below, dir)?);
    }
    Ok(written)
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let source = format!("stratus {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("Stratus");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(after) = command.get_after_help() {
        page.write_all(as_written(&after.to_string()).as_bytes())?;
    }
    if command.get_name() == "stratus" {
        page.write_all(SECTIONS.as_bytes())?;
    }
    Ok(page)
}

/// A text with its lines as they are: an example that is filled like a paragraph is none.
fn as_written(text: &str) -> String {
    let mut roff = String::from(".SH EXAMPLES\n.nf\n");
    for line in text.lines().filter(|line| *line != "Examples:") {
        // Hyphens that are to be typed are no hyphens between words, and a line must not look like a request.
        let escaped = line.replace('\\', "\\e").replace('-', "\\-").replace('\'', "\\(aq");
        roff.push_str(if escaped.starts_with('.') { "\\&" } else { "" });
        roff.push_str(&escaped);
        roff.push('\n');
    }
    roff + ".fi\n"
}
