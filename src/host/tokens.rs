//! The tokens of a workspace: files that only their owner can read.
//!
//! `.prismq/token` lets its holder do everything, `.prismq/token-read` only look. Both are made at first use. They are the only
//! credentials that lie on the disk; what a browser gets is made from them by the server. Knows nothing of HTTP.

use std::io;
use std::path::Path;

use super::workspace::{Workspace, write_synced};

/// Length of a token: 256 bits in hex.
const LENGTH: usize = 64;

/// What opens a workspace. Its text is shown to nobody by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// Everything.
    pub owner: String,
    /// Only looking.
    pub reader: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(..)")
    }
}

impl Tokens {
    /// Reads both, and makes what is missing.
    ///
    /// # Errors
    /// When a file cannot be read or made, may be read by others ([`io::ErrorKind::PermissionDenied`]), or the system has no random bits.
    pub fn of(workspace: &Workspace) -> io::Result<Self> {
        workspace.create_state()?;
        Ok(Self { owner: read_or_make(&workspace.state().join("token"))?, reader: read_or_make(&workspace.state().join("token-read"))? })
    }

    /// Makes both anew. Whoever knows the old ones is locked out as soon as the host has them.
    ///
    /// # Errors
    /// When a file cannot be written or the system has no random bits.
    pub fn rotate(workspace: &Workspace) -> io::Result<Self> {
        workspace.create_state()?;
        Ok(Self { owner: make(&workspace.state().join("token"))?, reader: make(&workspace.state().join("token-read"))? })
    }
}

/// So many random bits, in hex.
///
/// # Errors
/// When the system has none.
pub fn random_hex<const BYTES: usize>() -> io::Result<String> {
    let mut bits = [0_u8; BYTES];
    getrandom::fill(&mut bits).map_err(io::Error::other)?;
    Ok(bits.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn read_or_make(file: &Path) -> io::Result<String> {
    match std::fs::read_to_string(file) {
        Ok(text) if is_token(text.trim()) => {
            refuse_wider(file, 0o600)?;
            Ok(text.trim().to_owned())
        }
        // Cut off, or written by somebody else: worth nothing.
        Ok(_) => make(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => make(file),
        Err(error) => Err(error),
    }
}

fn is_token(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn make(file: &Path) -> io::Result<String> {
    let token = random_hex::<{ LENGTH / 2 }>()?;
    write_synced(file, token.as_bytes())?;
    Ok(token)
}

/// Makes the state's folder its owner's alone. A copy of one is often open for looking, which is mended; where others could write, nobody
/// knows what they put there.
///
/// # Errors
/// [`io::ErrorKind::PermissionDenied`] where the folder belongs to somebody else or others may write in it; what the system says.
#[cfg(unix)]
pub fn secure_state(workspace: &Workspace) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    workspace.create_state()?;
    let folder = workspace.state();
    refuse_wider(&folder, 0o755)?;
    let mut permissions = std::fs::metadata(&folder)?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o700);
        std::fs::set_permissions(&folder, permissions)?;
        tracing::warn!(folder = %folder.display(), "others could look into the state: it is its owner's alone now");
    }
    super::permissions::refused_runs(workspace).map_or(Ok(()), |refused| Err(io::Error::new(io::ErrorKind::PermissionDenied, refused)))
}

/// Elsewhere who may do what is inherited from the user's own folder.
///
/// # Errors
/// What the system says.
#[cfg(not(unix))]
pub fn secure_state(workspace: &Workspace) -> io::Result<()> {
    workspace.create_state()
}

/// Refuses what others may use in more ways than `allowed`, as `ssh` does with keys.
#[cfg(unix)]
fn refuse_wider(path: &Path, allowed: u32) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let about = std::fs::metadata(path)?;
    let mode = about.permissions().mode() & 0o777;
    let me = rustix::process::geteuid();
    if about.uid() != me.as_raw() && !me.is_root() {
        let what = format!("{} belongs to another user (uid {})", path.display(), about.uid());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    if mode & !allowed & 0o077 != 0 {
        let wanted = allowed & 0o700;
        let what = format!("others may use {} (mode {mode:03o}): chmod {wanted:03o} it", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, what));
    }
    Ok(())
}

#[cfg(not(unix))]
fn refuse_wider(_path: &Path, _allowed: u32) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_stay_the_same_until_they_are_rotated() {
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::at(folder.path()).expect("a workspace");
        let first = Tokens::of(&workspace).expect("tokens");
        assert_eq!(first.owner.len(), LENGTH);
        assert_ne!(first.owner, first.reader);
        assert_eq!(Tokens::of(&workspace).expect("tokens"), first);
        let rotated = Tokens::rotate(&workspace).expect("tokens");
        assert!(rotated.owner != first.owner && rotated.reader != first.reader);
        assert_eq!(Tokens::of(&workspace).expect("tokens"), rotated);
        assert!(!format!("{first:?}").contains(&first.owner));
        std::fs::write(workspace.state().join("token"), "cut").expect("written");
        assert_eq!(Tokens::of(&workspace).expect("tokens").owner.len(), LENGTH);
    }

    #[cfg(unix)]
    #[test]
    fn a33_a_token_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let workspace = Workspace::at(folder.path()).expect("a workspace");
        Tokens::of(&workspace).expect("tokens");
        let file = workspace.state().join("token");
        assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).expect("changed");
        let refused = Tokens::of(&workspace).expect_err("wide open");
        assert!(refused.kind() == io::ErrorKind::PermissionDenied && refused.to_string().contains("chmod 600"), "{refused}");
    }
}
