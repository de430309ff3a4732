//! A set of golden folders, wherever its files are.

use x2i_core::model::ModelSource;

/// The file that makes a folder a case.
pub const GOLDEN: &str = "golden.safetensors";

/// A set of golden folders.
pub struct Goldens<'a> {
    /// Opens a file by its path from the set's root.
    pub source: &'a dyn ModelSource,
    /// Those paths, of all files.
    pub paths: &'a [String],
}

impl Goldens<'_> {
    /// The folders of all cases, in order.
    pub fn cases(&self) -> Vec<&str> {
        let folders = self.paths.iter().filter_map(|path| {
            let folder = path.strip_suffix(GOLDEN)?.strip_suffix('/')?;
            (!folder.contains('/')).then_some(folder)
        });
        let mut folders: Vec<&str> = folders.collect();
        folders.sort_unstable();
        folders
    }
}
