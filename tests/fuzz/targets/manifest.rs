//! A manifest: mistakes have places inside the text, and what is good can be asked for its parameters.

use std::path::Path;

use prismq::diagnostics::{Diagnostics, Source};
use prismq::manifest::read_module;
use prismq::yaml::{Format, Limits, read};

use super::{Play, Target, way};

pub(crate) fn target() -> Target {
    Target {
        name: "manifest",
        words: &[
            "\nid: m\n",
            "\nscript: a.py\n",
            "\ncommand: [echo, \"${{ params.a }}\"]\n",
            "\nparams: {properties: {a: {type: integer}}}\n",
            "\nresources: {cpus: 2, memory: 1GiB, vram: 1GiB}\n",
            "\nretry: {attempts: 3, on: [oom]}\n",
            "\nenvironment: {A: \"1\"}\n",
            "\nsecrets: [A]\n",
            "\ndependencies: [b]\n",
            "\ntimeout: 30m\n",
            "\npython: \"venv:x\"\n",
            "${{ ",
            " }}",
            "&a ",
            "*a",
            "<<: ",
            "!!python/object ",
            "---\n",
            "{",
            "}",
            "[",
            "]",
            "|\n",
            ">-\n",
            "\"\\u0000\"",
            "\u{202e}",
            "\t",
            "# ",
            "$ref: \"#/a\"",
            "pattern: \"(a+)+$\"",
            "if: ",
            "allOf: [",
        ],
        begin,
    }
}

fn begin() -> Play {
    Box::new(|input| {
        let text = String::from_utf8_lossy(input).into_owned();
        let lines = text.lines().count() + 1;
        let source = Source::new("m.yaml", text);
        let read_text = read(source, Format::Yaml, &Limits::MANIFEST);
        match read_text.and_then(|tree| read_module(&tree, Path::new("/w/manifests/m.yaml"))) {
            Ok((module, warnings)) => {
                assert!(!warnings.has_errors(), "a module with errors");
                let violations = module.params.check_with_defaults(serde_json::Map::new());
                way(&format!("module {} {}", violations.len(), told(&warnings, lines)))
            }
            Err(mistakes) => {
                assert!(mistakes.has_errors(), "refused without a reason");
                way(&told(&mistakes, lines))
            }
        }
    })
}

/// The messages; each place must be one of the text.
fn told(diagnostics: &Diagnostics, lines: usize) -> String {
    let mut texts = Vec::new();
    for diagnostic in diagnostics.iter() {
        let text = diagnostic.to_string();
        if let Some(rest) = text.strip_prefix("m.yaml:") {
            let line: usize = rest.split(':').next().and_then(|number| number.parse().ok()).expect("a place has a line");
            assert!((1..=lines).contains(&line), "line {line} of {lines}: {text}");
            texts.push(rest.split(": ").skip(1).collect::<String>());
        } else {
            texts.push(text);
        }
    }
    texts.sort();
    texts.dedup();
    texts.truncate(3);
    texts.concat()
}
