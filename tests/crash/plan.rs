//! What is run: small pipelines of one cheap shell script that tells what it does, drawn by the dice.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::dice::Dice;

/// The module of all nodes. Every line that it appends to the marks is one write, so that lines of several attempts never mix.
pub(crate) const SCRIPT: &str = r#"#!/bin/sh
# step.sh LINES SLEEP FAILS: writes lines to both streams, half of them after the sleep; fails in its first attempts.
id="$PRISMQ_RUN_ID/$PRISMQ_NODE/$PRISMQ_ATTEMPT"
echo "begin $id" >> "$CRASH_MARKS"
i=0
while [ $i -lt $1 ]; do
  i=$((i + 1))
  echo "$id out $i"
  echo "$id err $i" >&2
  [ $i != $((($1 + 1) / 2)) ] || [ "$2" = 0 ] || sleep "$2"
done
printf '%s no line end' "$id"
printf '{"v":"%s"}' "$PRISMQ_NODE" > "$PRISMQ_OUTPUT"
echo "end $id" >> "$CRASH_MARKS"
[ "$PRISMQ_ATTEMPT" -gt "$3" ] || exit 3
"#;

/// Attempts of a node that is meant to come through.
const ATTEMPTS_MAX: u64 = 60;
/// Attempts of a node that is meant to fail.
const ATTEMPTS_OF_FAILING: u64 = 2;
/// A sleep that only a cancel ends.
const LONG_SLEEP: &str = "20";

/// Standard output and standard error of an attempt that came to its end.
pub(crate) fn output_of(id: &str, lines: u64) -> [String; 2] {
    let mut streams = [String::new(), String::new()];
    for (stream, name) in streams.iter_mut().zip(["out", "err"]) {
        for line in 1..=lines {
            // Writing to memory cannot fail.
            let _ = writeln!(stream, "{id} {name} {line}");
        }
    }
    streams[0].push_str(id);
    streams[0].push_str(" no line end");
    streams
}

/// A node.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) lines: u64,
    sleep: String,
    fails: u64,
    needs: Vec<String>,
    pub(crate) slot: bool,
    wrapped: bool,
    /// Whether a lost attempt is repeated without being asked.
    repeats_lost: bool,
}

impl Node {
    fn draw(dice: &mut Dice, name: &str) -> Self {
        let sleep = dice.pick(&["0", "0", "0.01", "0.05"]);
        Self {
            name: name.to_owned(),
            lines: dice.pick(&[0, 1, 3, 20]),
            sleep: sleep.to_owned(),
            fails: 0,
            needs: Vec::new(),
            slot: dice.percent(40),
            wrapped: dice.percent(50),
            repeats_lost: dice.percent(50),
        }
    }

    /// It never comes through.
    fn is_failing(&self) -> bool {
        self.fails >= ATTEMPTS_OF_FAILING
    }

    fn value(&self) -> Value {
        let attempts = if self.is_failing() { ATTEMPTS_OF_FAILING } else { ATTEMPTS_MAX };
        let causes: &[&str] = if self.repeats_lost { &["exit", "lost"] } else { &["exit"] };
        json!({
            "module": "step",
            "needs": self.needs,
            "with": {"lines": self.lines, "sleep": self.sleep, "fails": self.fails},
            "isolation": if self.wrapped { "wrapped" } else { "direct" },
            "grace": "200ms",
            "resources": if self.slot { json!({"cpus": 0, "slot": 1}) } else { json!({"cpus": 0}) },
            "retry": {"attempts": attempts, "on": causes, "backoff": "5ms", "max_backoff": "20ms"},
        })
    }
}

/// A pipeline.
#[derive(Debug, Clone)]
pub(crate) struct Pipeline {
    pub(crate) name: String,
    pub(crate) nodes: Vec<Node>,
    /// It holds a node that only a cancel ends.
    pub(crate) endless: bool,
}

/// How a node must end where nothing was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Must {
    Complete,
    Fail,
    BeSkipped,
}

impl Must {
    pub(crate) const fn status(self) -> &'static str {
        match self {
            Self::Complete => "completed",
            Self::Fail => "failed",
            Self::BeSkipped => "skipped",
        }
    }
}

impl Pipeline {
    /// Some pipeline, one that must be cancelled among them; with wrappers for all nodes where that is wanted.
    pub(crate) fn draw(dice: &mut Dice, name: &str, all_wrapped: bool) -> Self {
        let mut pipeline = Self::any(dice, name);
        for node in &mut pipeline.nodes {
            node.wrapped |= all_wrapped;
        }
        pipeline
    }

    fn any(dice: &mut Dice, name: &str) -> Self {
        match dice.within(0..=9) {
            0..=2 => Self::of(name, Self::few(dice)),
            3..=4 => Self::of(name, Self::chain(dice)),
            5..=6 => Self::of(name, Self::retries(dice)),
            7 => Self::of(name, Self::loud(dice)),
            _ => Self { endless: true, ..Self::of(name, Self::to_cancel(dice)) },
        }
    }

    fn of(name: &str, nodes: Vec<Node>) -> Self {
        Self { name: name.to_owned(), nodes, endless: false }
    }

    fn few(dice: &mut Dice) -> Vec<Node> {
        let count = usize::try_from(dice.within(1..=4)).unwrap_or(1);
        ["a", "b", "c", "d"][..count].iter().map(|name| Node::draw(dice, name)).collect()
    }

    fn chain(dice: &mut Dice) -> Vec<Node> {
        let mut nodes: Vec<Node> = ["a", "b", "c", "d", "e"].iter().map(|name| Node::draw(dice, name)).collect();
        nodes.truncate(usize::try_from(dice.within(3..=5)).unwrap_or(3));
        for at in 1..nodes.len() {
            nodes[at].needs = vec![nodes[at - 1].name.clone()];
        }
        nodes
    }

    /// One that comes through at last, in some cases one that does not, and what follows on them.
    fn retries(dice: &mut Dice) -> Vec<Node> {
        let mut nodes = Self::few(dice);
        nodes[0].fails = dice.within(1..=2) - 1;
        let mut flaky = Node { fails: 1, repeats_lost: true, ..Node::draw(dice, "flaky") };
        flaky.needs = vec![nodes[0].name.clone()];
        let after = Node { needs: vec!["flaky".to_owned()], ..Node::draw(dice, "after") };
        nodes.extend([flaky, after]);
        if dice.percent(50) {
            let hopeless = Node { fails: 99, repeats_lost: true, ..Node::draw(dice, "hopeless") };
            nodes.push(hopeless);
            nodes.push(Node { needs: vec!["hopeless".to_owned()], ..Node::draw(dice, "never") });
        }
        nodes
    }

    fn loud(dice: &mut Dice) -> Vec<Node> {
        let mut nodes = Self::few(dice);
        for node in &mut nodes {
            node.lines = dice.within(200..=2500);
        }
        nodes
    }

    fn to_cancel(dice: &mut Dice) -> Vec<Node> {
        let mut nodes = Self::few(dice);
        nodes.push(Node { sleep: LONG_SLEEP.to_owned(), lines: 2, slot: false, repeats_lost: true, ..Node::draw(dice, "long") });
        nodes.push(Node { needs: vec!["long".to_owned()], ..Node::draw(dice, "later") });
        nodes
    }

    /// The file.
    pub(crate) fn text(&self) -> String {
        let nodes: serde_json::Map<String, Value> = self.nodes.iter().map(|node| (node.name.clone(), node.value())).collect();
        let mut file = json!({"nodes": nodes});
        if !self.endless && self.nodes.iter().all(|node| !node.is_failing()) {
            let all: Vec<String> = self.nodes.iter().map(|node| format!("nodes.{}.outputs.v", node.name)).collect();
            file["outputs"] = json!({"all": format!("${{{{ [{}] }}}}", all.join(", "))});
        }
        file.to_string()
    }

    /// What the run reports where it comes through.
    pub(crate) fn outputs(&self) -> Value {
        json!({"all": self.nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>()})
    }

    pub(crate) fn node(&self, name: &str) -> Option<&Node> {
        self.nodes.iter().find(|node| node.name == name)
    }

    /// How a node ends, unless its run is cancelled.
    pub(crate) fn must(&self, node: &Node) -> Must {
        if node.is_failing() {
            return Must::Fail;
        }
        let comes_through = |name: &String| self.node(name).is_some_and(|needed| self.must(needed) == Must::Complete);
        if node.needs.iter().all(comes_through) { Must::Complete } else { Must::BeSkipped }
    }

    /// How the run ends, unless it is cancelled.
    pub(crate) fn status(&self) -> &'static str {
        if self.nodes.iter().any(|node| self.must(node) == Must::Fail) { "failed" } else { "completed" }
    }
}
