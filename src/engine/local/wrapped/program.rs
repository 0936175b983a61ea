//! Where the wrapper's program is.

use std::env::consts::EXE_SUFFIX;
use std::path::{Path, PathBuf};

use crate::wrapper::HIDDEN_VERB;

/// Name of the small program.
const NAME: &str = "prismq-attempt";

/// Name of the program that can be the wrapper too.
const HOST: &str = "prismq";

/// How a wrapper is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Program {
    pub(in super::super) path: PathBuf,
    /// First argument, where it is not the small program.
    pub(in super::super) verb: Option<&'static str>,
}

/// The wrapper that belongs to this process: the small program beside it, else this program itself. Found once, at the start: an upgrade
/// may put another program under the same name while we run.
///
/// # Errors
/// Says what is missing where.
pub(in super::super) fn find() -> Result<Program, String> {
    let own = std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    beside(&own).ok_or_else(|| {
        let folder = own.parent().unwrap_or(Path::new("")).display();
        format!("the wrapper `{NAME}` is not in {folder}: install it beside this program, or say `isolation: direct`")
    })
}

fn beside(own: &Path) -> Option<Program> {
    let folder = own.parent()?;
    // Tests and examples lie one level below the programs that cargo builds.
    let inner = folder.file_name().is_some_and(|name| name == "deps" || name == "examples");
    let folders = [Some(folder), folder.parent().filter(|_| inner)];
    let small = folders.into_iter().flatten().map(|folder| folder.join(format!("{NAME}{EXE_SUFFIX}"))).find(|path| path.is_file());
    // Only our own program knows the verb; somebody else's that uses this library would start itself.
    let itself = || own.file_stem().is_some_and(|stem| stem == HOST).then(|| Program { path: own.to_owned(), verb: Some(HIDDEN_VERB) });
    small.map(|path| Program { path, verb: None }).or_else(itself)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_small_program_then_ourselves_then_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let own = at(&format!("prismq{EXE_SUFFIX}"));
        assert_eq!(beside(&own), Some(Program { path: own.clone(), verb: Some(HIDDEN_VERB) }));
        assert_eq!(beside(&at("somebody")), None, "another program must not be started with our verb");
        let small = at(&format!("{NAME}{EXE_SUFFIX}"));
        std::fs::write(&small, "").unwrap();
        let found = Some(Program { path: small, verb: None });
        assert_eq!(beside(&own), found);
        assert_eq!(beside(&at("somebody")), found);
        assert_eq!(beside(&at("deps/it-0123")), found, "as cargo lays it out");
        assert_eq!(beside(&at("other/it-0123")), None);
    }
}
