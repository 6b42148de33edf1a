//! What the records of a pipeline are: read once, when its file is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use prost_reflect::{DescriptorPool, MessageDescriptor};

use super::levels::Levels;
use crate::decode::explode::in_common;
use crate::decode::purpose::{Purpose, fits};
use crate::decode::schema_file::{check, find, read};
use crate::model::suggest;

/// The type of a pipeline's records.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageType {
    pub(super) descriptor: MessageDescriptor,
}

impl Eq for MessageType {}

/// Where the type is described, as a pipeline file says it.
#[derive(Debug, Clone, Copy)]
pub(in crate::decode) struct Described<'c> {
    /// The full name of the message.
    pub(in crate::decode) message: &'c str,
    pub(in crate::decode) files: &'c [String],
    pub(in crate::decode) include: &'c [String],
    pub(in crate::decode) descriptor_set: Option<&'c str>,
}

impl MessageType {
    /// Reads what describes a type. Paths are looked for in the working folder, or else in `folder`.
    ///
    /// # Errors
    /// The key that is wrong, and why: a file cannot be read or compiled, or does not have the message.
    pub(in crate::decode) fn load(
        described: Described<'_>,
        folder: &Path,
    ) -> Result<Arc<Self>, (&'static str, String)> {
        let pool = match (described.descriptor_set, described.files) {
            (None, []) => {
                let message = "needs 'files' or 'descriptor_set', which say what a message is";
                return Err(("message", message.to_owned()));
            }
            (Some(_), [_, ..]) => {
                let message = "does not go with 'descriptor_set'; remove one of them";
                return Err(("files", format!("'files' {message}")));
            }
            (Some(path), []) => {
                descriptor_set(&find(path, folder)).map_err(|error| ("descriptor_set", error))?
            }
            (None, files) => compile(files, described.include, folder)?,
        };
        let name = described.message.trim_start_matches('.');
        let Some(descriptor) = pool.get_message_by_name(name) else {
            return Err(("message", no_message(&pool, name)));
        };
        Ok(Arc::new(Self { descriptor }))
    }

    /// Checks that a path leads to something that can be taken for what the pipeline wants.
    ///
    /// # Errors
    /// Why it does not.
    pub(in crate::decode) fn check(
        &self,
        keys: &[String],
        explode: Option<&[String]>,
        purpose: Purpose,
    ) -> Result<(), String> {
        let mut levels = match self.levels(explode) {
            Ok(levels) => levels,
            // What is wrong with the array is told where the array is named.
            Err(_) if explode.is_some_and(|path| in_common(keys, path) > 0) => return Ok(()),
            Err(_) => Levels::of_record(&self.descriptor),
        };
        let target = levels.add(keys, 0)?;
        fits(&[target.kind], purpose).map_err(|wanted| {
            let path = keys.join(".");
            format!("'{path}' is a {}; {wanted}", target.type_name)
        })
    }

    /// Checks that a path leads to an array.
    ///
    /// # Errors
    /// Why it does not.
    pub(in crate::decode) fn check_array(&self, keys: &[String]) -> Result<(), String> {
        Levels::to_items(&self.descriptor, keys).map(drop)
    }

    /// The levels of its records; `explode` is the path of an array of which each item is an event.
    ///
    /// # Errors
    /// The path leads to no array.
    pub(super) fn levels(&self, explode: Option<&[String]>) -> Result<Levels, String> {
        match explode {
            None => Ok(Levels::of_record(&self.descriptor)),
            Some(path) => Levels::to_items(&self.descriptor, path),
        }
    }
}

/// Where a file or folder is, so that it can be told which folder a file is in, however both are written.
fn absolute(path: &str, folder: &Path) -> PathBuf {
    let found = find(path, folder);
    std::path::absolute(&found).unwrap_or(found)
}

fn descriptor_set(path: &Path) -> Result<DescriptorPool, String> {
    let shown = path.display();
    let bytes = read(path)?;
    DescriptorPool::decode(bytes.as_slice())
        .map_err(|error| format!("{shown}: no set of file descriptors: {error}"))
}

/// Compiles .proto files. What they import is looked for in the included folders, and in their own.
fn compile(
    files: &[String],
    include: &[String],
    folder: &Path,
) -> Result<DescriptorPool, (&'static str, String)> {
    let files: Vec<_> = files.iter().map(|file| absolute(file, folder)).collect();
    let mut folders: Vec<_> = include.iter().map(|path| absolute(path, folder)).collect();
    for path in &folders {
        if !path.is_dir() {
            let message = format!("'{}' is no folder", path.display());
            return Err(("include", message));
        }
    }
    for file in &files {
        check(file).map_err(|error| ("files", error))?;
        if !folders.iter().any(|known| file.starts_with(known)) {
            folders.extend(file.parent().map(Path::to_owned));
        }
    }
    let compile = || {
        let mut compiler = protox::Compiler::new(&folders)?;
        compiler.include_imports(true).open_files(&files)?;
        Ok(compiler.descriptor_pool())
    };
    // Its way of debugging says the file, the line and the column.
    compile().map_err(|error: protox::Error| ("files", format!("{error:?}")))
}

fn no_message(pool: &DescriptorPool, name: &str) -> String {
    let messages: Vec<_> = pool
        .all_messages()
        .filter(|message| !message.is_map_entry() && !message.full_name().starts_with("google."))
        .collect();
    let mut names: Vec<_> = messages.iter().map(MessageDescriptor::full_name).collect();
    names.sort_unstable();
    let short = |full: &&str| full.rsplit('.').next() == Some(name);
    let hint = match suggest(name, names.iter().copied()).or(names.iter().copied().find(short)) {
        _ if names.is_empty() => "there are none".to_owned(),
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("the messages are {}", names.join(", ")),
    };
    format!("there is no message '{name}'; {hint}")
}
