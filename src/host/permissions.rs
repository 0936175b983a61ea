//! Who else may change what is about to be run: a manifest, a script or the settings that others may write to is refused, as `ssh` refuses
//! such keys. Whoever may write to a folder may exchange what lies in it.
//!
//! On Windows who may do what is inherited from the user's own folder, and is not looked at.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::workspace::Workspace;
use crate::diagnostics::{Diagnostic, Source};

/// A file whose text was read, if nobody else may change it.
pub(super) fn vouched(workspace: &Workspace, file: &Path, text: Result<Arc<Source>, Diagnostic>) -> Result<Arc<Source>, Diagnostic> {
    let text = text?;
    refusal(workspace, file, &[workspace.root().to_owned()]).map_or(Ok(text), Err)
}

/// Why a file is not used: others may change it, or put another one in its place. The folders up to that of `roots` in which it lies count.
pub(super) fn refusal(workspace: &Workspace, file: &Path, roots: &[PathBuf]) -> Option<Diagnostic> {
    if workspace.is_any_permission_allowed() {
        return None;
    }
    let root = roots.iter().filter(|root| file.starts_with(root)).max_by_key(|root| root.as_os_str().len());
    let last = root.map_or_else(|| file.parent().unwrap_or(file), PathBuf::as_path);
    let up_to_root = file.ancestors().take_while(|path| path.starts_with(last));
    let (path, reason) = up_to_root.filter_map(|path| Some((path, others_may_write(path, workspace.root())?))).next()?;
    let what = if path == file { "it".to_owned() } else { workspace.display(path) };
    let message = format!("{} is not used: {what} {reason}", workspace.display(file));
    let help = format!("`chmod go-w {}`; where nobody else uses this machine, `--insecure-perms`", path.display());
    Some(Diagnostic::error(message).with_help(help))
}

/// Why the folder of runs is not used: what lies there says what is started.
#[cfg(unix)]
pub(super) fn refused_runs(workspace: &Workspace) -> Option<String> {
    let runs = workspace.runs();
    let reason = others_may_write(&runs, workspace.root()).filter(|_| !workspace.is_any_permission_allowed())?;
    Some(format!("the folder of runs {} {reason}: chmod go-w it, or `--insecure-perms`", runs.display()))
}

/// Whether others may write there, in words. What cannot be looked at is told by whoever reads it.
#[cfg(unix)]
fn others_may_write(path: &Path, workspace: &Path) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let about = std::fs::metadata(path).ok()?;
    let me = rustix::process::geteuid();
    let is_ours = about.uid() == me.as_raw() || about.uid() == 0;
    // In a container files often are those of the user outside: root trusts whose workspace it works in.
    let is_ours = is_ours || me.is_root() && std::fs::metadata(workspace).is_ok_and(|root| root.uid() == about.uid());
    if !is_ours {
        return Some(format!("belongs to another user (uid {})", about.uid()));
    }
    let mode = about.mode() & 0o7777;
    // In a sticky folder, such as /tmp, nobody may exchange the files of others.
    let is_sticky = about.is_dir() && mode & 0o1000 != 0;
    // Many systems give each user a group of the same number, and let it write by default.
    let group_is_private = about.gid() == about.uid() || about.gid() == 0;
    match mode {
        _ if is_sticky => None,
        _ if mode & 0o002 != 0 => Some(format!("can be written to by everybody (mode {:03o})", mode & 0o777)),
        _ if mode & 0o020 != 0 && !group_is_private => {
            Some(format!("can be written to by its group (gid {}, mode {:03o})", about.gid(), mode & 0o777))
        }
        _ => None,
    }
}

#[cfg(not(unix))]
fn others_may_write(_: &Path, _: &Path) -> Option<String> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a14_what_others_may_write_to_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::at(folder.path()).expect("a workspace");
        let roots = [workspace.root().to_owned()];
        let (inner, file) = (workspace.root().join("in"), workspace.root().join("in/file"));
        fs::create_dir(&inner).and_then(|()| fs::write(&file, "")).expect("a file");
        let set = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("it is ours");
        let said = || refusal(&workspace, &file, &roots).map(|found| found.message);
        set(&inner, 0o755);
        set(&file, 0o644);
        assert_eq!(said(), None);
        set(&file, 0o666);
        assert_eq!(said().as_deref(), Some("in/file is not used: it can be written to by everybody (mode 666)"));
        assert!(refusal(&workspace.clone().with_any_permissions(), &file, &roots).is_none());
        set(&file, 0o600);
        set(&inner, 0o757);
        assert_eq!(said().as_deref(), Some("in/file is not used: in can be written to by everybody (mode 757)"));
        set(&inner, 0o1777);
        assert_eq!(said(), None, "sticky");
        set(&inner, 0o700);
        set(workspace.root(), 0o777);
        assert!(said().is_some_and(|said| said.contains("by everybody")), "the workspace itself");
        assert!(refusal(&workspace, &file, &[inner]).is_none(), "what lies above the root is not looked at");
        set(workspace.root(), 0o700);
        if rustix::process::geteuid().is_root() {
            let owned = |uid: u32, gid: u32| std::os::unix::fs::chown(&file, Some(uid), Some(gid)).expect("root may");
            owned(0, 4);
            set(&file, 0o664);
            assert_eq!(said().as_deref(), Some("in/file is not used: it can be written to by its group (gid 4, mode 664)"));
            owned(12, 12);
            assert_eq!(said().as_deref(), Some("in/file is not used: it belongs to another user (uid 12)"));
            std::os::unix::fs::chown(workspace.root(), Some(12), Some(12)).expect("root may");
            assert_eq!(said(), None, "the user whose workspace it is, with a group of the same number");
        }
    }
}
