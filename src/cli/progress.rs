//! Plain progress lines of a run: one for each thing that happened, as good in a file as on a terminal.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::output::{Output, Style};
use crate::host::index::RunRow;
use crate::host::runfile::RunFile;
use crate::host::update::{NodeChange, Update};
use crate::host::views::{Cursor, Disk, DiskLevel, Line, LogReader, Query, Stream, printable, worst_level};
use crate::host::workspace::Workspace;
use crate::host::{HealthStatus, HostHealth};
use crate::ids::AttemptNumber;

/// Runs with more nodes than this do not tell each start: the ends say enough.
const STARTS_TOLD_MAX: u64 = 100;
/// Of what a running module floods a follower with, so many mebibytes are printed before anything else is looked at, Ctrl-C for one.
const POLLS_MAX: usize = 16;
/// Lines of a failed node's output that are shown with its failure.
const FAILURE_LINES: usize = 8;

/// What of the modules' output is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// Nothing at all: the result is JSON.
    Quiet,
    /// What happens to nodes, and the last lines of those that fail.
    Nodes,
    /// That, and every line with its node before it.
    Lines,
    /// Only what the module writes, as it writes it: for a single module.
    Output,
}

impl Show {
    /// Of a run of several nodes, by the flags `--json` and `--logs`.
    pub(super) fn of_flags(json: bool, logs: bool) -> Self {
        match (json, logs) {
            (true, _) => Self::Quiet,
            (false, true) => Self::Lines,
            (false, false) => Self::Nodes,
        }
    }
}

/// Runs with more nodes than this are not compared with what was told already.
const COMPARED_MAX: u64 = 10_000;

/// Prints the progress of one run.
pub(super) struct Progress<'a> {
    output: &'a Output,
    workspace: &'a Workspace,
    show: Show,
    /// State and attempt of each node as it was last told: whoever follows is told again how nodes are when it begins, and when the
    /// run goes over to another host.
    told: HashMap<String, (String, bool, Option<AttemptNumber>)>,
    disk: DiskLevel,
    logs: HashMap<PathBuf, (LogReader, Cursor)>,
    /// It was told that the host cannot write everything down.
    unwell: bool,
}

/// What a change of the host's health means for people; nothing where they need not know. `before`: they were told of trouble.
pub(super) fn health_text(health: &HostHealth, before: bool) -> Option<String> {
    let reason = health.reason.as_deref().map(|reason| format!(" ({})", printable(reason))).unwrap_or_default();
    match health.status {
        HealthStatus::Ok if before => Some("the disk takes records again: everything goes on".to_owned()),
        HealthStatus::Ok | HealthStatus::Healing => None,
        HealthStatus::DiskFull => Some(format!("warning: the disk is full{reason}: nothing new starts until there is room; modules go on")),
        HealthStatus::ReadOnly => Some(format!("warning: nothing can be written down{reason}; modules go on, and it is tried again")),
    }
}

/// What is to be said of a disk with little space.
pub(super) fn warning(disk: &Disk) -> String {
    match disk.level() {
        DiskLevel::Enough => disk.to_string(),
        DiskLevel::Low => format!("warning: {disk}"),
        DiskLevel::Short => {
            format!("warning: {disk} (host.reserve.disk): make room, `prismq prune` for one; waiting nodes start by themselves then")
        }
    }
}

impl<'a> Progress<'a> {
    pub(super) fn new(output: &'a Output, workspace: &'a Workspace, show: Show) -> Self {
        Self { output, workspace, show, told: HashMap::new(), disk: DiskLevel::Enough, logs: HashMap::new(), unwell: false }
    }

    pub(super) fn update(&mut self, update: &Update) {
        match update {
            Update::Run(row) => self.run(row),
            Update::Node(change) => self.node_once(change),
            Update::Output { node, folder } => self.new_lines(node, folder, false),
            Update::Progress { node, done, total, message } => self.module_progress(node, *done, *total, message.as_deref()),
            Update::Host(health) => self.health(health),
            Update::Disk(disks) => self.disks(disks),
            Update::Ended(row) => self.ended(row),
            Update::Failed { .. } | Update::Leaving => {}
        }
        self.output.flush();
    }

    fn health(&mut self, health: &HostHealth) {
        if let Some(text) = health_text(health, self.unwell) {
            self.output.note(&text);
        }
        self.unwell = match health.status {
            HealthStatus::Ok => false,
            HealthStatus::Healing => self.unwell,
            HealthStatus::DiskFull | HealthStatus::ReadOnly => true,
        };
    }

    fn run(&self, row: &RunRow) {
        if row.held && self.show != Show::Quiet {
            self.output.note(&format!("run {} is held: its host is gone; `prismq resume {}` goes on", row.run_id, row.run_id));
        }
    }

    /// That nothing starts is said in any case; that little space is left only where nodes are told of.
    fn disks(&mut self, disks: &[Disk]) {
        let (before, now) = (self.disk, worst_level(disks));
        self.disk = now;
        let talks = matches!(self.show, Show::Nodes | Show::Lines);
        if before == DiskLevel::Short && now != DiskLevel::Short {
            self.output.note("there is room on the disk again: nodes start");
        }
        if before != now && (now == DiskLevel::Short || (now == DiskLevel::Low && talks)) {
            for disk in disks.iter().filter(|disk| disk.level() == now) {
                self.output.note(&warning(disk));
            }
        }
    }

    fn node_once(&mut self, change: &NodeChange) {
        if change.total <= COMPARED_MAX {
            let now = (change.status.clone(), change.unkillable, change.attempt);
            if self.told.insert(change.node.clone(), now.clone()) == Some(now) {
                return;
            }
        }
        self.node(change);
    }

    /// A short run may be over before it is followed: what was not told then is told now.
    fn ended(&mut self, row: &RunRow) {
        if self.show == Show::Quiet || row.total() > COMPARED_MAX {
            return;
        }
        let Ok(Some(file)) = RunFile::read(self.workspace, &row.run_id) else { return };
        let folder = self.workspace.run(&row.run_id);
        let progress = (row.total(), row.total());
        let mut changes: Vec<_> = file.nodes.iter().filter_map(|node| NodeChange::so_far(node, &folder, progress)).collect();
        changes.sort_by_key(|change| change.at);
        for change in &changes {
            self.node_once(change);
        }
    }

    fn node(&mut self, change: &NodeChange) {
        let over = change.exit_code.is_some() || change.duration_ms.is_some();
        if let Some(folder) = change.folder.as_deref().filter(|_| over) {
            self.new_lines(&change.node, folder, true);
        }
        match self.show {
            Show::Nodes | Show::Lines => self.node_line(change),
            // Whoever waits for nothing but the end has to know why it does not come.
            Show::Quiet | Show::Output if change.unkillable => {
                self.output.note(&format!("{}: {}", change.node, printable(change.reason.as_deref().unwrap_or("unkillable"))));
            }
            Show::Quiet | Show::Output => {}
        }
    }

    fn node_line(&self, change: &NodeChange) {
        let (word, style) = match change.status.as_str() {
            _ if change.unkillable => ("unkillable", Style::Bad),
            "completed" | "reused" => (change.status.as_str(), Style::Good),
            "failed" => ("failed", Style::Bad),
            "cancelled" => ("cancelled", Style::Warn),
            "retrying" => ("retrying", Style::Warn),
            "skipped" => ("skipped", Style::Dim),
            other => (other, Style::Busy),
        };
        if word == "running" && change.total > STARTS_TOLD_MAX {
            return;
        }
        let width = change.total.to_string().len();
        let mut line = format!(
            "{}  {:>width$}/{}  {}  {}",
            change.at.local_time(),
            change.done,
            change.total,
            self.output.styled(&format!("{word:<9}"), style),
            change.node,
        );
        if let Some(attempt) = change.attempt.filter(|attempt| attempt.0 > 1) {
            line.push_str(&format!(" (attempt {attempt})"));
        }
        if let Some(took) = change.duration_ms {
            line.push_str(&format!("  {took}"));
        }
        if let Some(reason) = &change.reason {
            line.push_str(&format!("  {}", self.output.styled(&printable(reason), Style::Dim)));
        }
        self.output.line(line);
        if word == "failed" && self.show == Show::Nodes {
            self.last_lines(change);
        }
    }

    /// The end of what a failed node wrote: mostly enough to know why.
    fn last_lines(&self, change: &NodeChange) {
        let Some(folder) = change.folder.as_deref() else { return };
        let query = Query { tail: Some(FAILURE_LINES), ..Query::default() };
        let Ok(lines) = LogReader::open(folder).lines(query) else { return };
        for line in lines.flatten() {
            self.output.line(format!("          {} {}", self.output.styled("|", Style::Dim), printable(&line.text)));
        }
    }

    fn module_progress(&self, node: &str, done: Option<f64>, total: Option<f64>, message: Option<&str>) {
        if !matches!(self.show, Show::Nodes | Show::Lines) {
            return;
        }
        let count = match (done, total) {
            (Some(done), Some(total)) => format!(" {done}/{total}"),
            (Some(done), None) => format!(" {done}"),
            (None, _) => String::new(),
        };
        let message = message.map(|message| format!(" {}", printable(message))).unwrap_or_default();
        self.output.line(self.output.styled(&format!("          {node}:{count}{message}"), Style::Dim));
    }

    fn new_lines(&mut self, node: &str, folder: &Path, over: bool) {
        if !matches!(self.show, Show::Lines | Show::Output) {
            return;
        }
        for _ in 0..if over { usize::MAX } else { POLLS_MAX } {
            let (reader, cursor) = self.logs.entry(folder.to_owned()).or_insert_with(|| (LogReader::open(folder), Cursor::default()));
            // Logs that cannot be read now can be later, by `logs`.
            let lines = reader.poll(cursor, over).unwrap_or_default();
            if lines.is_empty() {
                break;
            }
            for line in &lines {
                self.log_line(node, line);
            }
        }
        if over {
            self.logs.remove(folder);
        }
    }

    fn log_line(&self, node: &str, line: &Line) {
        let text = printable(&line.text);
        match (self.show, line.stream) {
            (Show::Output, Stream::Stderr) => self.output.note(&text),
            (Show::Output, Stream::Stdout) => self.output.line(&text),
            (Show::Lines | Show::Nodes | Show::Quiet, _) => {
                self.output.line(format!("{} {text}", self.output.styled(&format!("{node} |"), Style::Dim)));
            }
        }
    }
}
