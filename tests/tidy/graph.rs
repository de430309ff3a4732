//! Who names whose items: an edge from file to file, and from file to package.
//!
//! `mod b;` and `pub use b::X;` are no edges: a folder's `mod.rs` may gather its children. When its
//! own code then names `X`, that is one.

use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};

use crate::house::{House, Kind, Package};
use crate::modules::{Modules, Place};
use crate::names::{Import, Path};

/// The edges of one package.
#[derive(Default)]
pub struct Graph {
    /// From a file to a file that defines what it names, with every place that does.
    pub files: BTreeMap<PathBuf, BTreeMap<PathBuf, Vec<Reason>>>,
    /// From a file to another package of the workspace.
    pub packages: BTreeMap<PathBuf, BTreeMap<String, Vec<Reason>>>,
}

/// Where an edge comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reason {
    /// Counted from 1.
    pub line: usize,
    /// The path as it is written.
    pub path: String,
}

impl Graph {
    /// Reads all targets of `package` whose kind is wanted.
    pub fn of(house: &House, package: &Package, wanted: &[Kind]) -> Self {
        let modules = Modules::of(house, package, wanted);
        let mut graph = Self::default();
        for (index, module) in modules.all().iter().enumerate() {
            for import in module.imports.iter().filter(|import| !import.public) {
                let places = modules.resolve(index, &import.path);
                match import.glob {
                    true => graph.add_glob(&modules, index, import, &places),
                    false => graph.add(&module.file, &import.path, places),
                }
            }
            for path in &module.paths {
                if !stands_in_use(&modules, index, path) {
                    graph.add(&module.file, path, modules.resolve(index, path));
                }
            }
        }
        graph.sort();
        graph
    }

    /// The reasons of an edge between two files.
    pub fn reasons(&self, from: &FilePath, to: &FilePath) -> &[Reason] {
        let edges = self.files.get(from);
        edges
            .and_then(|edges| edges.get(to))
            .map_or(&[], Vec::as_slice)
    }

    fn add(&mut self, from: &FilePath, path: &Path, places: Vec<Place>) {
        let reason = Reason {
            line: path.line,
            path: path.parts.join("::"),
        };
        for place in places {
            let from = from.to_owned();
            match place {
                Place::Type(to) | Place::Value(to) if to != from => {
                    let edges = self.files.entry(from).or_default();
                    edges.entry(to).or_default().push(reason.clone());
                }
                Place::Package(to) => {
                    let edges = self.packages.entry(from).or_default();
                    edges.entry(to).or_default().push(reason.clone());
                }
                _ => {}
            }
        }
    }

    /// The names that a `*` brings are edges of their own, where code names them. Where it names
    /// none, the `*` is there for a trait's methods: an edge to the module itself.
    fn add_glob(&mut self, modules: &Modules, from: usize, import: &Import, places: &[Place]) {
        let module = &modules.all()[from];
        let path = Path {
            parts: [import.path.parts.as_slice(), &["*".to_owned()]].concat(),
            ..import.path.clone()
        };
        for place in places {
            let place = match place {
                Place::Module(shown) => {
                    let shows = |path: &Path| !modules.lookup(*shown, &path.parts[0]).is_empty();
                    if module.paths.iter().any(shows) {
                        continue;
                    }
                    Place::Type(modules.all()[*shown].file.clone())
                }
                other => other.clone(),
            };
            self.add(&module.file, &path, vec![place]);
        }
    }

    fn sort(&mut self) {
        let files = self.files.values_mut().flat_map(BTreeMap::values_mut);
        let packages = self.packages.values_mut().flat_map(BTreeMap::values_mut);
        for reasons in files.chain(packages) {
            reasons.sort();
            reasons.dedup();
        }
    }
}

/// Whether a path begins with an item that a `use` of its module names: that `use` is the edge.
fn stands_in_use(modules: &Modules, from: usize, path: &Path) -> bool {
    let imports = &modules.all()[from].imports;
    let mut same = imports
        .iter()
        .filter(|import| import.name.as_ref() == Some(&path.parts[0]));
    same.clone().next().is_some()
        && same.all(|import| {
            let places = modules.resolve(from, &import.path);
            let is_module = |place: &Place| matches!(place, Place::Module(_));
            !import.public && !places.iter().any(is_module)
        })
}
