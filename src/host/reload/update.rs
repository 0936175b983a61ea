//! What subscribers to a workspace are told: changes of its modules, pipelines and settings, and how they are noticed.
//!
//! The same words in one process and on a stream of events. What happens to runs is told elsewhere, to those who follow one.

use serde::{Deserialize, Serialize};

use super::super::workspace::Workspace;
use crate::diagnostics::{Diagnostic, Diagnostics, Severity};
use crate::manifest::difference::{ModuleChange, ModuleChangeKind};
use crate::watch::State;

/// Something of a workspace has changed. Everything in one update was applied at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "type", content = "data")]
pub enum WorkspaceUpdate {
    /// Modules.
    Modules(Vec<ModuleNews>),
    /// Pipelines of the catalogue.
    Pipelines(Vec<PipelineNews>),
    /// Settings.
    Settings(SettingsNews),
    /// How changes are noticed from now on.
    Watch(WatchNews),
    /// The subscriber was too slow and missed updates: it has to ask for everything anew.
    Missed,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It is new.
    Added,
    /// It says something else.
    Changed,
    /// It is gone.
    Removed,
    /// It is refused.
    Broken,
    /// It was refused and is good.
    Repaired,
}

/// A change of a module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModuleNews {
    /// What happened.
    pub change: Change,
    /// Its id, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_id: Option<String>,
    /// Its manifest, relative to the workspace.
    pub file: String,
    /// Keys that are different.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub what: Vec<String>,
    /// Whether it can be run: of a broken one, that its last good version stays in use.
    pub usable: bool,
    /// What is wrong with a broken one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Mistake>,
}

/// A change of a pipeline file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PipelineNews {
    /// What happened.
    pub change: Change,
    /// The file, relative to the workspace.
    pub file: String,
    /// What is wrong with a broken one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Mistake>,
}

/// A change of the settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SettingsNews {
    /// Keys that count from now on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changed: Vec<String>,
    /// Keys that differ and count from the next start of a host on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub restart: Vec<String>,
    /// Why the file is refused; the settings before it stay in use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Mistake>,
}

/// How changes are noticed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WatchNews {
    /// By which means.
    pub by: WatchMeans,
    /// Why not by events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// By which means changes are noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchMeans {
    /// By events of the system.
    Events,
    /// By looking every few seconds.
    Polling,
    /// By a slow look at everything.
    Slow,
}

/// A finding, for readers that have no source text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mistake {
    /// What is wrong.
    pub message: String,
    /// The file, relative to the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// The column in characters, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl From<&Diagnostic> for Mistake {
    fn from(found: &Diagnostic) -> Self {
        let place = found.place.as_ref();
        let at = place.map(crate::diagnostics::Place::line_column);
        Self {
            message: found.message.clone(),
            file: place.map(|place| place.source.name.clone()),
            line: at.map(|(line, _)| line),
            column: at.map(|(_, column)| column),
            help: found.help.clone(),
        }
    }
}

/// The errors among findings.
pub(super) fn mistakes(found: &Diagnostics) -> Vec<Mistake> {
    found.iter().filter(|found| found.severity == Severity::Error).map(Mistake::from).collect()
}

impl std::fmt::Display for Mistake {
    /// `file:line:column: message (help: ...)`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let (Some(file), Some(line), Some(column)) = (&self.file, self.line, self.column) {
            write!(f, "{file}:{line}:{column}: ")?;
        }
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " (help: {help})"))
    }
}

impl Change {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Added => "added",
            Self::Changed => "changed",
            Self::Removed => "removed",
            Self::Broken => "broken",
            Self::Repaired => "repaired",
        }
    }
}

impl From<ModuleChangeKind> for Change {
    fn from(kind: ModuleChangeKind) -> Self {
        match kind {
            ModuleChangeKind::Added => Self::Added,
            ModuleChangeKind::Changed => Self::Changed,
            ModuleChangeKind::Removed => Self::Removed,
            ModuleChangeKind::Broken => Self::Broken,
            ModuleChangeKind::Repaired => Self::Repaired,
        }
    }
}

impl ModuleNews {
    pub(super) fn of(change: &ModuleChange, workspace: &Workspace) -> Self {
        Self {
            change: change.kind.into(),
            module_id: change.id.as_ref().map(ToString::to_string),
            file: workspace.display(&change.file),
            what: change.what.iter().map(|key| (*key).to_owned()).collect(),
            usable: change.usable,
            errors: mistakes(&change.diagnostics),
        }
    }
}

impl From<&State> for WatchNews {
    fn from(state: &State) -> Self {
        match state {
            State::Events => Self { by: WatchMeans::Events, reason: None },
            State::Polling(reason) => Self { by: WatchMeans::Polling, reason: Some(reason.clone()) },
            State::Slow(reason) => Self { by: WatchMeans::Slow, reason: Some(reason.clone()) },
        }
    }
}

/// Lines of one update that are shown; a branch that was checked out changes everything.
const LINES_MAX: usize = 20;

impl WorkspaceUpdate {
    /// The update for a terminal, a line for each change; many changes are cut short.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = match self {
            Self::Modules(changes) => changes.iter().flat_map(module_lines).collect(),
            Self::Pipelines(changes) => changes
                .iter()
                .flat_map(|news| {
                    let head = format!("{} pipeline {}", news.change.as_str(), news.file);
                    std::iter::once(head).chain(indented(&news.errors))
                })
                .collect(),
            Self::Settings(news) => settings_lines(news),
            Self::Watch(news) => vec![watch_line(news)],
            Self::Missed => vec!["changes came faster than they could be told; `prismq modules` shows how it is now".to_owned()],
        };
        if lines.len() > LINES_MAX {
            let more = lines.len() - LINES_MAX;
            lines.truncate(LINES_MAX);
            lines.push(format!("and {more} more lines; `prismq modules` shows how it is now"));
        }
        lines
    }
}

fn module_lines(news: &ModuleNews) -> impl Iterator<Item = String> {
    let name = news.module_id.as_deref().unwrap_or("?");
    let about = match news.change {
        Change::Broken if news.usable => "; its last good version stays in use".to_owned(),
        Change::Changed if news.what.is_empty() => ": comments or order only".to_owned(),
        Change::Changed | Change::Repaired if !news.what.is_empty() => format!(": {}", news.what.join(", ")),
        Change::Added | Change::Changed | Change::Removed | Change::Broken | Change::Repaired => String::new(),
    };
    let head = format!("{} {name} ({}){about}", news.change.as_str(), news.file);
    std::iter::once(head).chain(indented(&news.errors))
}

fn indented(errors: &[Mistake]) -> impl Iterator<Item = String> {
    errors.iter().map(|mistake| format!("  {mistake}"))
}

fn settings_lines(news: &SettingsNews) -> Vec<String> {
    if !news.errors.is_empty() {
        let head = "broken settings; those before stay in use".to_owned();
        return std::iter::once(head).chain(indented(&news.errors)).collect();
    }
    let changed = (!news.changed.is_empty()).then(|| format!("changed settings: {}", news.changed.join(", ")));
    let restart = (!news.restart.is_empty()).then(|| format!("not before this host is started again: {}", news.restart.join(", ")));
    let lines: Vec<String> = changed.into_iter().chain(restart).collect();
    if lines.is_empty() { vec!["the settings are good again".to_owned()] } else { lines }
}

fn watch_line(news: &WatchNews) -> String {
    let reason = news.reason.as_deref().unwrap_or_default();
    match news.by {
        WatchMeans::Events => "changes of files are noticed by events".to_owned(),
        WatchMeans::Polling => format!("changes of files are looked for every few seconds: {reason}"),
        WatchMeans::Slow => format!("changes of files may be noticed late: {reason}"),
    }
}
