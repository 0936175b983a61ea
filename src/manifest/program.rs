//! What a manifest runs: `script:` with `runtime:` and `python:`, or `command:`.

use std::path::{Component, Path, PathBuf};

use crate::diagnostics::{Diagnostic, Diagnostics, suggest};
use crate::fields::{Fields, text_of};
use crate::params::ParamSchema;
use crate::pipeline::expr::{Names, Step, Template};
use crate::request::{PythonChoice, Runtime};
use crate::tree::NodeRef;

use super::Program;

const RUNTIMES: [(&str, Runtime); 4] =
    [("python", Runtime::Python), ("node", Runtime::Node), ("shell", Runtime::Shell), ("executable", Runtime::Executable)];

/// Reads what the manifest in `folder` (absolute) runs. `params` is what a `command:` may refer to, where it could be read.
pub(super) fn read(
    fields: &Fields<'_>,
    folder: &Path,
    params: Option<&ParamSchema>,
    python: PythonChoice,
    diagnostics: &mut Diagnostics,
) -> Option<Program> {
    match (fields.has("script"), fields.has("command")) {
        (true, true) => {
            let refusal = Diagnostic::error("a manifest has `script` or `command`, not both").at(fields.key_place("command"));
            diagnostics.push(refusal.with_related("the script is here", fields.key_place("script")));
            None
        }
        (true, false) => read_script(fields, folder, python, diagnostics),
        (false, true) => {
            for key in ["runtime", "python"].iter().filter(|key| fields.has(key)) {
                let refusal = Diagnostic::error(format!("`{key}` belongs to a `script`, and this is a `command`"));
                diagnostics.push(refusal.at(fields.key_place(key)).with_help("the first item of the command is the program"));
            }
            read_command(fields, params, diagnostics).map(Program::Command)
        }
        (false, false) => {
            let refusal = Diagnostic::error("a manifest needs `script` or `command`").at(fields.head());
            diagnostics.push(refusal.with_help("`script: ../modules/name.py`, relative to this file"));
            None
        }
    }
}

fn read_script(fields: &Fields<'_>, folder: &Path, python: PythonChoice, diagnostics: &mut Diagnostics) -> Option<Program> {
    let script = fields.filled_text("script", diagnostics);
    let node = fields.raw("script")?;
    let given = fields.word("runtime", &RUNTIMES, diagnostics);
    let script = script?;
    let refuse = |refusal: Diagnostic, diagnostics: &mut Diagnostics| diagnostics.push(refusal.at(node.place()));
    if script.contains('\0') {
        refuse(Diagnostic::error("the path of the script holds a NUL character"), diagnostics);
        return None;
    }
    if is_batch(script) {
        refuse(refuse_batch(script), diagnostics);
        return None;
    }
    if script.contains('\\') && !script.contains('/') {
        let warning = Diagnostic::warning("a backslash separates folders on Windows only").at(node.place());
        diagnostics.push(warning.with_help(format!("write `{}`", script.replace('\\', "/"))));
    }
    let path = lexically_joined(folder, Path::new(script));
    let runtime = match given.map_or_else(|| runtime_of(&path), Ok) {
        Ok(runtime) => runtime,
        Err(refusal) => {
            refuse(refusal, diagnostics);
            return None;
        }
    };
    if fields.has("python") && runtime != Runtime::Python {
        let refusal = Diagnostic::error("`python` is for Python scripts, and this is none").at(fields.key_place("python"));
        diagnostics.push(refusal.with_help("write `runtime: python` if it is one"));
    }
    Some(Program::Script { path, runtime, python })
}

/// The path with `.` and `..` resolved by name only. Where it really lies is checked on the opened file when it is started.
#[must_use]
pub fn lexically_joined(folder: &Path, path: &Path) -> PathBuf {
    let mut whole = PathBuf::new();
    for part in folder.join(path).components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                whole.pop();
            }
            Component::Prefix(_) | Component::RootDir | Component::Normal(_) => whole.push(part),
        }
    }
    whole
}

/// Windows runs these through a command interpreter whose quoting cannot be got right, and ignores dots and spaces at the end.
fn is_batch(path: &str) -> bool {
    let name = path.trim_end_matches(['.', ' ']).to_ascii_lowercase();
    name.ends_with(".bat") || name.ends_with(".cmd")
}

fn refuse_batch(path: &str) -> Diagnostic {
    Diagnostic::error(format!("`{path}` is a batch file: its arguments cannot be quoted safely"))
        .with_help("write the script for PowerShell (`.ps1`) or Python, or name the program that the batch file starts")
}

fn runtime_of(path: &Path) -> Result<Runtime, Diagnostic> {
    let Some(extension) = path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase()) else {
        return Ok(Runtime::Executable);
    };
    match extension.as_str() {
        "py" | "pyw" => Ok(Runtime::Python),
        "js" | "mjs" | "cjs" => Ok(Runtime::Node),
        "sh" | "ps1" => Ok(Runtime::Shell),
        "exe" => Ok(Runtime::Executable),
        other => Err(Diagnostic::error(format!("it is not known what runs a `.{other}` file")).with_help(
            "say it: `runtime: python`, `node`, `shell` or `executable` (it runs by itself), or use `command: [program, file]`",
        )),
    }
}

/// Reads `python:`; `None` where it is absent or refused.
pub fn read_python(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<PythonChoice> {
    let text = fields.filled_text("python", diagnostics)?.trim();
    let node = fields.raw("python")?;
    match python_of(text) {
        Ok(choice) => Some(choice),
        Err((reason, help)) => {
            diagnostics.push(Diagnostic::error(reason).at(node.place()).with_help_of(help));
            None
        }
    }
}

fn python_of(text: &str) -> Result<PythonChoice, (String, Option<String>)> {
    let forms = "write a path, `venv:DIR`, `conda:NAME`, `uv` or `py:3.11`";
    let (prefix, rest) = match text.split_once(':') {
        // `C:\Python\python.exe` is a path.
        Some((drive, _)) if drive.len() == 1 => return Ok(PythonChoice::Path(text.to_owned())),
        Some((prefix, rest)) => (prefix, rest.trim()),
        None if text == "uv" => return Ok(PythonChoice::Uv),
        None => return Ok(PythonChoice::Path(text.to_owned())),
    };
    if prefix.contains(['/', '\\']) {
        return Ok(PythonChoice::Path(text.to_owned()));
    }
    if rest.is_empty() {
        return Err((format!("`python: {text}` says nothing after the colon"), Some(forms.into())));
    }
    match prefix {
        "venv" => Ok(PythonChoice::Venv(rest.to_owned())),
        "conda" if !rest.starts_with('-') => Ok(PythonChoice::Conda(rest.to_owned())),
        "py" => {
            let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let fits = rest.split('.').count() <= 3 && rest.split('.').all(is_number);
            fits.then(|| PythonChoice::Version(rest.to_owned()))
                .ok_or_else(|| (format!("`{rest}` is not a version of Python"), Some("write it like `py:3.11`".into())))
        }
        other => {
            let help = suggest(other, ["venv", "conda", "py"]).unwrap_or_default();
            Err((format!("`python: {text}` is not understood"), Some(if help.starts_with("did") { help } else { forms.into() })))
        }
    }
}

/// Reads `command:`. The only place that compiles templates of a manifest.
fn read_command(fields: &Fields<'_>, params: Option<&ParamSchema>, diagnostics: &mut Diagnostics) -> Option<Vec<Template>> {
    let list = fields.list("command", "a list: the program, then its arguments", diagnostics)?;
    let Some(first) = list.items().next() else {
        diagnostics.push(Diagnostic::error("`command` names no program").at(list.place()));
        return None;
    };
    check_program(first, diagnostics);
    let mut templates = Vec::with_capacity(list.len());
    for item in list.items() {
        if text_of(item, "command", diagnostics).is_none() {
            continue;
        }
        let template = Template::compile(item, diagnostics);
        template.check_names(Names::default(), diagnostics);
        check_params(&template, params, diagnostics);
        templates.push(template);
    }
    Some(templates)
}

/// The program is its author's choice: constant, and found the same way whatever folder the module runs in.
fn check_program(node: NodeRef<'_>, diagnostics: &mut Diagnostics) {
    let Some(program) = node.as_str() else { return };
    let refusal = if program.contains("${{") {
        Diagnostic::error("the program of a command cannot be an expression")
            .with_help("whoever starts the module would choose the program")
    } else if program.trim().is_empty() || program.contains('\0') {
        Diagnostic::error("`command` names no program")
    } else if is_batch(program) {
        refuse_batch(program)
    } else if program.contains(['/', '\\']) && !is_absolute_anywhere(program) {
        Diagnostic::error(format!("`{program}` is relative, and a command runs in different folders"))
            .with_help("name it absolutely, or by the name under which PATH knows it; for a file beside the manifest use `script:`")
    } else {
        return;
    };
    diagnostics.push(refusal.at(node.place()));
}

/// Absolute on Unix or on Windows: a manifest may be written on one for the other.
fn is_absolute_anywhere(path: &str) -> bool {
    let bytes = path.as_bytes();
    let has_drive = bytes.len() > 2 && bytes[0].is_ascii_alphabetic() && bytes[1] == b':' && matches!(bytes[2], b'/' | b'\\');
    path.starts_with('/') || path.starts_with("\\\\") || has_drive
}

/// A parameter that the schema does not have would be an error at every start.
fn check_params(template: &Template, params: Option<&ParamSchema>, diagnostics: &mut Diagnostics) {
    let Some(params) = params else { return };
    let names = params.property_names();
    let is_open = params.schema().get("additionalProperties") != Some(&serde_json::Value::Bool(false));
    template.visit(&mut |expression| {
        for used in expression.param_uses() {
            if let Some(Step::Key(name)) = used.path.first()
                && !is_open
                && !names.contains(&name.as_ref())
            {
                let refusal = Diagnostic::error(format!("`params` has no `{name}`")).at(used.place.clone());
                diagnostics.push(refusal.with_help_of(suggest(name, names.iter().copied())));
            }
        }
    });
}
