//! What every attempt needs before its program starts, wrapped or not: its folder, its parameters, its environment.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::sync::Arc;

use super::super::{Spec, WorkIn};
use super::claims::{Run, Runs};
use super::failure;
use crate::attempt::{AttemptFolder, Marks};
use crate::event::SpawnFailure;

/// What was prepared.
pub(super) struct Ready {
    /// Where the program runs.
    pub(super) work: PathBuf,
    /// Its whole environment; where a name stands twice the later one counts.
    pub(super) environment: Vec<(OsString, OsString)>,
}

impl Ready {
    /// Name and length of the longest variable.
    pub(super) fn longest_variable(&self) -> Option<(&OsStr, usize)> {
        let longest = self.environment.iter().max_by_key(|(_, value)| value.len());
        longest.map(|(name, value)| (name.as_os_str(), value.len()))
    }
}

/// Makes the folder, unless it was made ahead, and the file of parameters. Nothing is started, and the attempt may still be given up without
/// a trace.
pub(super) fn prepare(spec: &Spec, folder: &AttemptFolder, is_made: bool, runs: &Runs) -> Result<(Arc<Run>, Ready), SpawnFailure> {
    let run = runs.open(&spec.run_folder).map_err(|error| failure::preparing("the run's folder cannot be written", &error))?;
    if !is_made {
        let fresh = spec.work == WorkIn::Fresh;
        folder.create(fresh).map_err(|error| failure::preparing("the attempt's folder cannot be made", &error))?;
    }
    run.write_params(&spec.params).map_err(|error| failure::preparing("the parameters cannot be written", &error))?;
    let work = match &spec.work {
        WorkIn::Folder(path) => path.clone(),
        WorkIn::Fresh => folder.work(),
    };
    failure::fits(&work)?;
    let (id, node, token) = (&spec.id, spec.node.as_str(), spec.token.as_str());
    let marks = Marks {
        id,
        node,
        folder,
        params: &spec.params,
        token,
        cpus: spec.cpus,
        memory: spec.memory,
        gpus: &spec.gpus,
        alternative: spec.alternative,
    };
    Ok((run, Ready { work, environment: spec.environment.complete(marks) }))
}
