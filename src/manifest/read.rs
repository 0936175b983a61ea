//! From the tree of a manifest to a module, every mistake collected.

use std::path::Path;
use std::sync::Arc;

use crate::diagnostics::{Diagnostic, Diagnostics, Place};
use crate::fields::Fields;
use crate::ids::ModuleId;
use crate::params::ParamSchema;
use crate::request::ArgumentStyle;
use crate::tree::Tree;

use super::{Defaults, LATER_KEYS, Module, Program, program, read_defaults_keys};

/// All keys of a manifest.
pub const MANIFEST_KEYS: [&str; 36] = [
    "format",
    "id",
    "name",
    "description",
    "version",
    "category",
    "tags",
    "script",
    "command",
    "runtime",
    "python",
    "params",
    "outputs",
    "arguments",
    "resources",
    "dependencies",
    "environment",
    "pass_env",
    "secrets",
    "timeout",
    "grace",
    "retry",
    "concurrency",
    "workdir",
    "isolation",
    "capture",
    "leaks",
    "log_cap",
    "duration",
    "reuse",
    "priority",
    "affinity",
    "any_of",
    "pin",
    "requires",
    "enabled",
];

/// Keys of a pipeline's node that people look for in a manifest.
const NODE_KEYS: [&str; 8] = ["foreach", "matrix", "max_parallel", "when", "needs", "allow_failure", "with", "module"];

/// Reads a manifest. `file` is its absolute path; relative paths in it start at its folder.
///
/// # Errors
/// All mistakes of the manifest, warnings among them.
pub fn read_module(tree: &Tree, file: &Path) -> Result<(Module, Diagnostics), Diagnostics> {
    read_module_with(tree, file, &Defaults::default())
}

/// The same with the workspace's defaults for what the manifest does not say.
///
/// # Errors
/// All mistakes of the manifest, warnings among them.
pub fn read_module_with(tree: &Tree, file: &Path, defaults: &Defaults) -> Result<(Module, Diagnostics), Diagnostics> {
    let mut diagnostics = Diagnostics::new();
    match build(tree, file, defaults, &mut diagnostics) {
        Some(module) => diagnostics.into_result(module),
        None => Err(diagnostics),
    }
}

/// The id of a manifest that may be broken otherwise, so that it can be listed and found under its name.
#[must_use]
pub fn readable_id(tree: &Tree) -> Option<(ModuleId, Place)> {
    let node = tree.root().get("id")?;
    Some((ModuleId::parse(node.as_str()?).ok()?, node.place()))
}

fn build(tree: &Tree, file: &Path, defaults: &Defaults, diagnostics: &mut Diagnostics) -> Option<Module> {
    let what = "a manifest";
    let known: Vec<&str> = MANIFEST_KEYS.iter().chain(&NODE_KEYS).copied().collect();
    let fields = Fields::open(tree.root(), what, &known, LATER_KEYS, diagnostics)?;
    refuse_node_keys(&fields, diagnostics);
    read_format(&fields, diagnostics);
    let id = read_id(&fields, diagnostics);
    let folder = file.parent().unwrap_or(file);
    let params = match fields.raw("params") {
        Some(node) => ParamSchema::compile(node, diagnostics),
        None => Some(ParamSchema::empty()),
    };
    let outputs = fields.raw("outputs").map(|node| ParamSchema::compile_outputs(node, diagnostics));
    let mut base = defaults.clone();
    if fields.has("command") {
        // Its arguments are spelled out in the list: more of them come only where the manifest asks for it.
        base.settings.arguments = ArgumentStyle::Env;
    }
    let shared = read_defaults_keys(&fields, &base, diagnostics);
    let python = program::rooted_python(shared.python, folder);
    let program = program::read(&fields, folder, params.as_ref(), python, diagnostics);
    let name = fields.filled_text("name", diagnostics).map(str::to_owned);
    let text = |key: &str, diagnostics: &mut Diagnostics| fields.text(key, diagnostics).map(str::to_owned);
    let (description, version) = (text("description", diagnostics), text("version", diagnostics));
    let category = read_category(&fields, diagnostics);
    let tags = read_tags(&fields, diagnostics);
    let dependencies = read_dependencies(&fields, id.as_ref().map(|(id, _)| id), diagnostics);
    let (id, id_place) = id?;
    Some(Module {
        name: name.unwrap_or_else(|| name_from(&id)),
        description,
        version,
        category,
        tags,
        program: program?,
        params: params?,
        outputs: match outputs {
            Some(outputs) => Some(outputs?),
            None => None,
        },
        settings: Arc::new(shared.settings),
        dependencies,
        concurrency: shared.concurrency,
        requires: shared.requires,
        pass_env: shared.pass_env,
        pin: shared.pin,
        enabled: shared.enabled,
        folder: folder.to_owned(),
        source: tree.source().clone(),
        id,
        id_place,
    })
}

fn refuse_node_keys(fields: &Fields<'_>, diagnostics: &mut Diagnostics) {
    for key in NODE_KEYS.iter().filter(|key| fields.has(key)) {
        let refusal = Diagnostic::error(format!("`{key}` stands in a node of a pipeline, not in a manifest"));
        diagnostics.push(refusal.at(fields.key_place(key)));
    }
}

/// `format: 1`, in every file that people write.
pub(crate) fn read_format(fields: &Fields<'_>, diagnostics: &mut Diagnostics) {
    let Some(node) = fields.raw("format") else { return };
    if node.as_u64() != Some(1) {
        let refusal = Diagnostic::error("this prismq reads `format: 1` only").at(node.place());
        diagnostics.push(refusal.with_help("the file may have been written for a newer version"));
    }
}

fn read_id(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<(ModuleId, Place)> {
    fields.required("id", "a manifest", diagnostics)?;
    let text = fields.text("id", diagnostics)?;
    let place = fields.raw("id")?.place();
    match ModuleId::parse(text) {
        Ok(id) => Some((id, place)),
        Err(error) => {
            diagnostics.push(Diagnostic::error(error.reason).at(place).with_help_of(error.help));
            None
        }
    }
}

/// `fetch-feed` is called "Fetch feed".
fn name_from(id: &ModuleId) -> String {
    let words = id.as_str().replace(['-', '_'], " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn read_category(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Option<String> {
    let category = fields.filled_text("category", diagnostics)?;
    if category.split('/').all(|part| !part.trim().is_empty() && part.trim() == part) {
        return Some(category.to_owned());
    }
    let refusal = Diagnostic::error(format!("{category:?} is not a path in the tree of modules")).at(fields.raw("category")?.place());
    diagnostics.push(refusal.with_help("write names with `/` between them: `Video/Preparation`"));
    None
}

fn read_tags(fields: &Fields<'_>, diagnostics: &mut Diagnostics) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for (tag, node) in fields.texts("tags", diagnostics).unwrap_or_default() {
        if tag.trim().is_empty() {
            diagnostics.push(Diagnostic::error("a tag cannot be empty").at(node.place()));
        } else if !tags.iter().any(|known| known == tag) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

fn read_dependencies(fields: &Fields<'_>, own: Option<&ModuleId>, diagnostics: &mut Diagnostics) -> Vec<(ModuleId, Place)> {
    let mut found: Vec<(ModuleId, Place)> = Vec::new();
    for (name, node) in fields.texts("dependencies", diagnostics).unwrap_or_default() {
        let refusal = match ModuleId::parse(name) {
            Err(error) => Diagnostic::error(error.reason).with_help_of(error.help),
            Ok(id) if own == Some(&id) => Diagnostic::error(format!("`{id}` cannot depend on itself")),
            Ok(id) => match found.iter().find(|(known, _)| *known == id) {
                Some((_, first)) => Diagnostic::error(format!("`{id}` stands twice")).with_related("first here", first.clone()),
                None => {
                    found.push((id, node.place()));
                    continue;
                }
            },
        };
        diagnostics.push(refusal.at(node.place()));
    }
    found
}

impl Module {
    /// Whether it stands for a script without a manifest: what one such script does says nothing of the next.
    #[must_use]
    pub fn is_made_up(&self) -> bool {
        self.source.name == super::EXEC_SOURCE
    }

    /// The manifest's file.
    #[must_use]
    pub fn file(&self) -> std::path::PathBuf {
        self.folder.join(std::path::Path::new(&self.source.name).file_name().unwrap_or_default())
    }

    /// The program's name for messages: the script's file name or the command's program.
    #[must_use]
    pub fn program_name(&self) -> String {
        match &self.program {
            Program::Script { path, .. } => path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
            Program::Command(parts) => match parts.first() {
                Some(crate::pipeline::expr::Template::Constant(value)) => value.as_str().unwrap_or_default().to_owned(),
                Some(_) | None => String::new(),
            },
        }
    }
}
