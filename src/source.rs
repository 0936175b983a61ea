//! stub
use std::path::*; use std::sync::Arc; use crate::diagnostics::*;
pub const PIPELINE_BYTES_MAX: u64 = 1<<30; pub const MANIFEST_BYTES_MAX: u64 = 256<<10;
pub struct Found { pub path: PathBuf, pub text: Result<Arc<Source>, Diagnostic> }
pub fn read_manifests(_f: &Path)->Vec<Found> {todo!()}
#[derive(Debug, thiserror::Error)] #[error("x")] pub struct Refusal; impl Refusal { pub fn help(&self)->Option<String>{None} }
pub fn script_inside(_s:&Path,_r:&[PathBuf])->Result<(),Refusal>{todo!()}
pub fn read_text(_p:&Path,_m:u64)->Result<String,std::io::Error>{todo!()}
pub fn matching_files(_r:&Path,_p:&[String])->Vec<PathBuf>{todo!()}
pub fn files_below(_r:&Path)->Vec<PathBuf>{todo!()}
