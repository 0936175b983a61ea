//! The graph of a pipeline for the eyes: dot (Graphviz), mermaid (Markdown), json (programs).
//!
//! Sub-pipelines are drawn inside what calls them. Ids of nodes never become identifiers of the drawing's language, and every label is
//! escaped: a `when` may hold anything. Written into one text; the caller prints it.

use std::fmt::{self, Write};

use serde_json::{Value, json};

use super::analysis::{Sizes, levels};
use super::definition::{Definition, Expansion, NodeDef, Work};

/// The language of an exported graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Graphviz.
    Dot,
    /// Mermaid's flowchart.
    Mermaid,
    /// An object with `name`, `nodes`, `edges`.
    Json,
}

/// The graph of a pipeline as text.
#[must_use]
pub fn export(definition: &Definition, format: Format) -> String {
    let mut text = String::new();
    let written = match format {
        Format::Dot => dot(definition, &mut text),
        Format::Mermaid => mermaid(definition, &mut text),
        Format::Json => write!(text, "{:#}", json(definition)),
    };
    written.expect("writing to a text cannot fail");
    text
}

/// What is written in the box of a node, line by line.
fn lines(node: &NodeDef) -> Vec<String> {
    let mut lines = vec![node.id.to_string()];
    match &node.work {
        Work::Module(module) if module.id.as_str() == node.id.as_str() => {}
        Work::Module(module) => lines.push(module.id.to_string()),
        Work::Pipeline(called) => lines.push(format!("pipeline {}", called.name)),
    }
    let Some(control) = &node.control else { return lines };
    match &control.expansion {
        None => {}
        Some(Expansion::Matrix(matrix)) => lines.push(format!("matrix x {}", matrix.count().unwrap_or(u64::MAX))),
        Some(Expansion::ForEach(list)) => lines.push(match list.known_length() {
            Some(length) => format!("for each of {length}"),
            None => format!("for each of {}", list.text()),
        }),
    }
    lines.extend(control.when.iter().map(|when| format!("when {}", when.text())));
    lines
}

/// A drawn node: the identifiers of its first and last box, between which a sub-pipeline lies.
struct Ends {
    first: String,
    last: String,
    /// The frame around them, where it is a sub-pipeline.
    frame: Option<String>,
}

fn dot(definition: &Definition, out: &mut String) -> fmt::Result {
    writeln!(out, "digraph {} {{", dot_quoted(&definition.name))?;
    writeln!(out, "  rankdir=LR; compound=true;")?;
    writeln!(out, "  node [shape=box, style=rounded, fontname=\"sans-serif\"];")?;
    let mut drawing = Drawing { out, next: 0 };
    drawing.dot_nodes(definition, 1)?;
    writeln!(out, "}}")
}

fn mermaid(definition: &Definition, out: &mut String) -> fmt::Result {
    writeln!(out, "flowchart LR")?;
    let mut drawing = Drawing { out, next: 0 };
    drawing.mermaid_nodes(definition, 1).map(|_| ())
}

struct Drawing<'o> {
    out: &'o mut String,
    next: u64,
}

impl Drawing<'_> {
    fn name(&mut self) -> String {
        self.next += 1;
        format!("n{}", self.next)
    }

    fn dot_nodes(&mut self, definition: &Definition, depth: usize) -> Result<Vec<Ends>, fmt::Error> {
        let indent = "  ".repeat(depth);
        let mut drawn = Vec::with_capacity(definition.nodes.len());
        for node in &definition.nodes {
            let label = dot_quoted(&lines(node).join("\n"));
            let name = self.name();
            drawn.push(match &node.work {
                Work::Module(_) => {
                    let dashed = if is_conditional(node) { ", style=\"rounded,dashed\"" } else { "" };
                    writeln!(self.out, "{indent}{name} [label={label}{dashed}];")?;
                    Ends { first: name.clone(), last: name, frame: None }
                }
                Work::Pipeline(called) => {
                    writeln!(self.out, "{indent}subgraph cluster_{name} {{")?;
                    writeln!(self.out, "{indent}  label={label}; style=rounded;")?;
                    let inner = self.dot_nodes(called, depth + 1)?;
                    writeln!(self.out, "{indent}}}")?;
                    around(called, &inner, format!("cluster_{name}"))
                }
            });
        }
        for (from, to) in edges(definition) {
            let (from, to) = (&drawn[from as usize], &drawn[to as usize]);
            let tail = from.frame.as_ref().map(|frame| format!("ltail={frame}"));
            let head = to.frame.as_ref().map(|frame| format!("lhead={frame}"));
            let attributes: Vec<String> = tail.into_iter().chain(head).collect();
            let attributes = if attributes.is_empty() { String::new() } else { format!(" [{}]", attributes.join(", ")) };
            writeln!(self.out, "{indent}{} -> {}{attributes};", from.last, to.first)?;
        }
        Ok(drawn)
    }

    fn mermaid_nodes(&mut self, definition: &Definition, depth: usize) -> Result<Vec<String>, fmt::Error> {
        let indent = "  ".repeat(depth);
        let mut drawn = Vec::with_capacity(definition.nodes.len());
        for node in &definition.nodes {
            let label = mermaid_escaped(&lines(node).join("\n"));
            let name = self.name();
            match &node.work {
                Work::Module(_) if is_conditional(node) => writeln!(self.out, "{indent}{name}([\"{label}\"])")?,
                Work::Module(_) => writeln!(self.out, "{indent}{name}[\"{label}\"]")?,
                Work::Pipeline(called) => {
                    writeln!(self.out, "{indent}subgraph {name} [\"{label}\"]")?;
                    self.mermaid_nodes(called, depth + 1)?;
                    writeln!(self.out, "{indent}end")?;
                }
            }
            drawn.push(name);
        }
        for (from, to) in edges(definition) {
            writeln!(self.out, "{indent}{} --> {}", drawn[from as usize], drawn[to as usize])?;
        }
        Ok(drawn)
    }
}

fn is_conditional(node: &NodeDef) -> bool {
    node.control.as_ref().is_some_and(|control| control.when.is_some())
}

/// Graphviz draws edges between boxes only: those of a sub-pipeline start at its last box and end at its first one, cut off at the frame.
fn around(called: &Definition, inner: &[Ends], frame: String) -> Ends {
    let order = &called.graph.order;
    let end = |position: Option<&u32>| position.and_then(|position| inner.get(*position as usize));
    Ends {
        first: end(order.first()).map_or_else(|| frame.clone(), |ends| ends.first.clone()),
        last: end(order.last()).map_or_else(|| frame.clone(), |ends| ends.last.clone()),
        frame: Some(frame),
    }
}

/// Edges as positions, by the node that waits, in declared order.
fn edges(definition: &Definition) -> impl Iterator<Item = (u32, u32)> + '_ {
    let count = u32::try_from(definition.nodes.len()).unwrap_or(u32::MAX);
    (0..count).flat_map(|to| definition.graph.dependencies.of(to).iter().map(move |from| (*from, to)))
}

fn dot_quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            c if c.is_control() => quoted.push(' '),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

fn mermaid_escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => escaped.push_str("<br/>"),
            '"' | '#' | '<' | '>' | '&' | '`' | ';' | '[' | ']' | '{' | '}' => {
                escaped.push_str(&format!("#{};", u32::from(c)));
            }
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The graph as a JSON object: `name`, `totals`, `nodes` (with `level`, and the graph of a sub-pipeline under `graph`), `edges`.
#[must_use]
pub fn json(definition: &Definition) -> Value {
    let levels = levels(&definition.graph);
    let id = |position: u32| definition.nodes[position as usize].id.as_str();
    let nodes: Vec<Value> = definition.nodes.iter().zip(&levels).map(|(node, level)| json_node(node, *level)).collect();
    let edges: Vec<Value> = edges(definition).map(|(from, to)| json!([id(from), id(to)])).collect();
    json!({"name": definition.name, "totals": Sizes::default().of(definition), "nodes": nodes, "edges": edges})
}

fn json_node(node: &NodeDef, level: u32) -> Value {
    let mut object = serde_json::Map::new();
    object.insert("id".into(), node.id.as_str().into());
    match &node.work {
        Work::Module(module) => object.insert("module".into(), module.id.as_str().into()),
        Work::Pipeline(called) => {
            object.insert("pipeline".into(), called.name.as_str().into());
            object.insert("graph".into(), json(called))
        }
    };
    object.insert("level".into(), level.into());
    let Some(control) = &node.control else { return Value::Object(object) };
    match &control.expansion {
        None => {}
        Some(Expansion::Matrix(matrix)) => {
            object.insert("expansion".into(), json!({"kind": "matrix", "count": matrix.count()}));
        }
        Some(Expansion::ForEach(list)) => {
            object.insert("expansion".into(), json!({"kind": "foreach", "list": list.text(), "count": list.known_length()}));
        }
    }
    if let Some(when) = &control.when {
        object.insert("when".into(), when.text().into());
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;

    use super::super::testing::{Workspace, module};
    use super::*;

    fn definition() -> std::sync::Arc<Definition> {
        Workspace::of([module("fetch", "", ""), module("cut", r#"{"properties": {"x": {}}}"#, "")])
            .file("/w/clip.json", r#"{"name": "cl\"ip", "nodes": {"a": {"module": "cut"}, "end": {"module": "cut", "needs": "a"}}}"#)
            .good(
                r#"{"nodes": {"fetch": {"module": "fetch"},
                "clips": {"pipeline": "clip.json", "foreach": "${{ nodes.fetch.outputs.ideas }}"},
                "m": {"module": "cut", "matrix": {"k": [1, 2, 3]}, "needs": "clips", "when": "${{ nodes.clips.count > 0 and \"a\\\\n\" != '<b>#;`' }}"}}}"#,
            )
    }

    #[test]
    fn dot_draws_sub_pipelines_as_clusters() {
        assert_snapshot!(export(&definition(), Format::Dot), @r##"
        digraph "p" {
          rankdir=LR; compound=true;
          node [shape=box, style=rounded, fontname="sans-serif"];
          n1 [label="fetch"];
          subgraph cluster_n2 {
            label="clips\npipeline cl\"ip\nfor each of nodes.fetch.outputs.ideas"; style=rounded;
            n3 [label="a\ncut"];
            n4 [label="end\ncut"];
            n3 -> n4;
          }
          n5 [label="m\ncut\nmatrix x 3\nwhen nodes.clips.count > 0 and \"a\\\\n\" != '<b>#;`'", style="rounded,dashed"];
          n1 -> n3 [lhead=cluster_n2];
          n4 -> n5 [ltail=cluster_n2];
        }
        "##);
    }

    #[test]
    fn mermaid_escapes_what_it_would_read() {
        assert_snapshot!(export(&definition(), Format::Mermaid), @r##"
        flowchart LR
          n1["fetch"]
          subgraph n2 ["clips<br/>pipeline cl#34;ip<br/>for each of nodes.fetch.outputs.ideas"]
            n3["a<br/>cut"]
            n4["end<br/>cut"]
            n3 --> n4
          end
          n5(["m<br/>cut<br/>matrix x 3<br/>when nodes.clips.count #62; 0 and #34;a\\n#34; != '#60;b#62;#35;#59;#96;'"])
          n1 --> n2
          n2 --> n5
        "##);
    }

    #[test]
    fn json_holds_everything() {
        let text = export(&definition(), Format::Json);
        assert_eq!(serde_json::from_str::<Value>(&text).expect("JSON"), json(&definition()));
        assert_snapshot!(json(&definition()), @r##"{"name":"p","totals":{"nodes":7,"edges":3,"pipelines":1,"open":true},"nodes":[{"id":"fetch","module":"fetch","level":0},{"id":"clips","pipeline":"cl\"ip","graph":{"name":"cl\"ip","totals":{"nodes":2,"edges":1,"pipelines":0,"open":false},"nodes":[{"id":"a","module":"cut","level":0},{"id":"end","module":"cut","level":1}],"edges":[["a","end"]]},"level":1,"expansion":{"kind":"foreach","list":"nodes.fetch.outputs.ideas","count":null}},{"id":"m","module":"cut","level":2,"expansion":{"kind":"matrix","count":3},"when":"nodes.clips.count > 0 and \"a\\\\n\" != '<b>#;`'"}],"edges":[["fetch","clips"],["clips","m"]]}"##);
    }
}
