//! What all attempts of a run share on disk: the claims and the files of parameters.
//!
//! A claim is the line that the engine appends just before it starts a program. It survives the death of the host, so that the next
//! one can tell an attempt that was only intended (safe to start) from one that may have done its work (never twice). It is not
//! synced: after a *reboot* a missing claim proves nothing, and the host must then treat an intended attempt as lost.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::attempt::{ParamsFile, create_private_all, open_private};
use crate::ids::AttemptNumber;

/// Name of the file in a run's folder.
const CLAIMS: &str = "claims";

/// Runs whose files are kept open. More than are ever started from at once; an evicted one is simply opened again.
const OPEN_RUNS_MAX: usize = 16;

/// Files of parameters of a run that are known to be written. Beyond it the memory is dropped, and a file may be written again.
const KNOWN_PARAMS_MAX: usize = 10_000;

/// Reads the claims of a run: within one boot of the machine, an intended attempt that is not among them was never started.
///
/// # Errors
/// When the file exists and cannot be read.
pub fn read_claims(run_folder: &Path) -> io::Result<HashSet<(String, AttemptNumber)>> {
    let mut bytes = Vec::new();
    match File::open(run_folder.join(CLAIMS)) {
        Ok(mut file) => file.read_to_end(&mut bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let claim = |line: &str| {
        let (node, attempt) = line.rsplit_once('\t')?;
        Some((node.to_owned(), AttemptNumber(attempt.parse().ok()?)))
    };
    Ok(text.lines().filter_map(claim).collect())
}

/// The open files of the runs that attempts were lately started in.
#[derive(Debug, Default)]
pub(super) struct Runs {
    recent: Mutex<Vec<Arc<Run>>>,
}

/// The open files of one run.
#[derive(Debug)]
pub(super) struct Run {
    folder: PathBuf,
    claims: File,
    /// A claim was cut short: the next one begins on a new line.
    cut: AtomicBool,
    params: Mutex<HashSet<PathBuf>>,
}

impl Runs {
    /// The files of a run, opened if need be.
    pub(super) fn open(&self, folder: &Path) -> io::Result<Arc<Run>> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(run) = recent.iter().rev().find(|run| run.folder == folder) {
            return Ok(Arc::clone(run));
        }
        create_private_all(folder)?;
        let claims = open_private(OpenOptions::new().append(true).create(true), &folder.join(CLAIMS))?;
        let run = Arc::new(Run { folder: folder.to_owned(), claims, cut: AtomicBool::new(false), params: Mutex::default() });
        if recent.len() == OPEN_RUNS_MAX {
            recent.remove(0);
        }
        recent.push(Arc::clone(&run));
        Ok(run)
    }
}

impl Run {
    /// Claims an attempt. From then on it counts as started.
    pub(super) fn claim(&self, node: &str, attempt: AttemptNumber) -> io::Result<()> {
        let begin = if self.cut.load(Ordering::Relaxed) { "\n" } else { "" };
        let line = format!("{begin}{node}\t{attempt}\n");
        // One write: with O_APPEND it lands whole, whoever else writes at the same time.
        let written = (&self.claims).write(line.as_bytes());
        let whole = written.as_ref().is_ok_and(|count| *count == line.len());
        self.cut.store(!whole, Ordering::Relaxed);
        match written {
            Ok(_) if whole => Ok(()),
            Ok(_) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            Err(error) => Err(error),
        }
    }

    /// Makes sure that the file of these parameters is there.
    pub(super) fn write_params(&self, params: &ParamsFile) -> io::Result<()> {
        let mut known = self.params.lock().unwrap_or_else(PoisonError::into_inner);
        if known.contains(params.path()) {
            return Ok(());
        }
        params.write()?;
        if known.len() >= KNOWN_PARAMS_MAX {
            known.clear();
        }
        known.insert(params.path().to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_survive_and_a_cut_line_claims_nothing_else() {
        // F-42: what decides between "start it" and "it may have run".
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join("runs/r");
        assert_eq!(read_claims(&run).unwrap(), HashSet::new(), "no file: nothing was started");
        let open = Runs::default().open(&run).unwrap();
        open.claim("clips[2].cut", AttemptNumber(1)).unwrap();
        open.claim("clips[2].cut", AttemptNumber(2)).unwrap();
        (&open.claims).write_all(b"scor").unwrap();
        open.cut.store(true, Ordering::Relaxed);
        open.claim("report", AttemptNumber(1)).unwrap();
        let wanted = [("clips[2].cut", 1), ("clips[2].cut", 2), ("report", 1)];
        let wanted: HashSet<_> = wanted.into_iter().map(|(node, attempt)| (node.to_owned(), AttemptNumber(attempt))).collect();
        assert_eq!(read_claims(&run).unwrap(), wanted);
    }

    #[test]
    fn more_runs_than_stay_open() {
        let folder = tempfile::tempdir().unwrap();
        let runs = Runs::default();
        for round in 1..3 {
            for number in 0..2 * OPEN_RUNS_MAX {
                runs.open(&folder.path().join(number.to_string())).unwrap().claim("a", AttemptNumber(round)).unwrap();
            }
        }
        assert_eq!(runs.recent.lock().unwrap().len(), OPEN_RUNS_MAX);
        assert_eq!(read_claims(&folder.path().join("0")).unwrap().len(), 2);
    }
}
