//! The modules of a package's targets, and what a path in one of them names.
//!
//! A path is followed through `use`, `pub use`, renames and globs to the file that defines the item.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path as FilePath, PathBuf};

use syn::{Expr, Item, ItemMod, Lit, Meta};

use crate::house::{House, Kind, Package, Target};
use crate::names::{Import, Names, Path, Space};

/// All modules of a package, those of unit tests left out.
pub struct Modules<'a> {
    house: &'a House,
    package: &'a Package,
    modules: Vec<Module>,
    library: Option<usize>,
}

/// One module: a file, or `mod name { ... }` in one.
pub struct Module {
    /// Where it stands.
    pub file: PathBuf,
    /// `use` trees.
    pub imports: Vec<Import>,
    /// Paths in its code.
    pub paths: Vec<Path>,
    root: usize,
    parent: Option<usize>,
    items: BTreeSet<(Space, String)>,
    children: BTreeMap<String, Vec<usize>>,
    /// Macros by example that are in scope by the order of text, or shown by the root.
    macros: BTreeMap<String, PathBuf>,
}

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A type or trait that this file defines, or what belongs to it: a variant, an associated
    /// function.
    Type(PathBuf),
    /// A function, constant, static or macro that this file defines.
    Value(PathBuf),
    /// A module of this package.
    Module(usize),
    /// Another package of the workspace, by its name.
    Package(String),
    /// A crate from elsewhere.
    Foreign,
}

impl Place {
    /// Whether a path may go on behind it.
    fn has_parts(&self) -> bool {
        !matches!(self, Self::Value(_))
    }
}

impl<'a> Modules<'a> {
    /// Reads the modules of all targets of `package` whose kind is wanted.
    pub fn of(house: &'a House, package: &'a Package, wanted: &[Kind]) -> Self {
        let mut all = Self {
            house,
            package,
            modules: vec![],
            library: None,
        };
        // The library first: the other targets may name it.
        let mut targets: Vec<&Target> = package.targets.iter().collect();
        targets.retain(|target| wanted.contains(&target.kind));
        targets.sort_by_key(|target| target.kind != Kind::Library);
        for target in targets {
            let root = all.modules.len();
            all.read_file(None, &target.root, true);
            if target.kind == Kind::Library {
                all.library = Some(root);
            }
        }
        all
    }

    /// All modules, by their index.
    pub fn all(&self) -> &[Module] {
        &self.modules
    }

    /// The files of all modules, each once.
    pub fn files(&self) -> BTreeSet<&FilePath> {
        self.modules
            .iter()
            .map(|module| module.file.as_path())
            .collect()
    }

    fn read_file(&mut self, parent: Option<usize>, file: &FilePath, owns_folder: bool) -> usize {
        let source = self.house.source(file);
        let mut folder = file.parent().expect("a file's folder").to_owned();
        if !owns_folder {
            folder.push(file.file_stem().expect("a file's name"));
        }
        self.read_module(parent, file, &folder, &source.syntax.items)
    }

    /// Adds a module and those below it; `folder` is where its children's files stand.
    fn read_module(
        &mut self,
        parent: Option<usize>,
        file: &FilePath,
        folder: &FilePath,
        items: &[Item],
    ) -> usize {
        let names = Names::of(items);
        let index = self.modules.len();
        let root = parent.map_or(index, |parent| self.modules[parent].root);
        let mut macros = match parent {
            Some(parent) => self.modules[parent].macros.clone(),
            None => BTreeMap::new(),
        };
        for (name, exported) in names.macros {
            if exported && root != index {
                let shown = &mut self.modules[root].macros;
                shown.insert(name.clone(), file.to_owned());
            }
            macros.insert(name, file.to_owned());
        }
        self.modules.push(Module {
            file: file.to_owned(),
            imports: names.imports,
            paths: names.paths,
            root,
            parent,
            items: names.items,
            children: BTreeMap::new(),
            macros,
        });
        for module in names.modules {
            let name = module.ident.to_string();
            let child = self.read_child(index, file, folder, module);
            let children = &mut self.modules[index].children;
            children.entry(name).or_default().push(child);
        }
        index
    }

    fn read_child(
        &mut self,
        parent: usize,
        file: &FilePath,
        folder: &FilePath,
        module: &ItemMod,
    ) -> usize {
        let name = module.ident.to_string();
        if let Some((_, items)) = &module.content {
            return self.read_module(Some(parent), file, &folder.join(name), items);
        }
        if let Some(path) = path_attribute(module) {
            let beside = file.parent().expect("a file's folder");
            return self.read_file(Some(parent), &plain(&beside.join(path)), true);
        }
        let own_file = folder.join(format!("{name}.rs"));
        match self.house.files.contains_key(&own_file) {
            true => self.read_file(Some(parent), &own_file, false),
            false => self.read_file(Some(parent), &folder.join(name).join("mod.rs"), true),
        }
    }

    /// What `path` names in module `from`; several places where one name is both a module and an
    /// item, none where it is a variable, a generic parameter or of the prelude.
    pub fn resolve(&self, from: usize, path: &Path) -> Vec<Place> {
        self.follow(from, path, &Followed::default())
    }

    /// The places that `name` stands for in a module, as a path from inside it would find them.
    pub fn lookup(&self, module: usize, name: &str) -> Vec<Place> {
        self.look(module, name, &Followed::default())
    }

    fn follow(&self, from: usize, path: &Path, followed: &Followed) -> Vec<Place> {
        let mut rest = path.parts.iter();
        let Some(first) = rest.next() else {
            return vec![];
        };
        let mut at = match first.as_str() {
            name if path.absolute => self.external(name),
            "crate" => vec![Place::Module(self.modules[from].root)],
            "self" => vec![Place::Module(from)],
            "super" => self.above(from),
            "Self" => vec![],
            name => match self.look(from, name, followed) {
                found if found.is_empty() => self.external(name),
                found => found,
            },
        };
        for name in rest {
            at.retain(Place::has_parts);
            let step = |place: &Place| match place {
                Place::Module(module) if name == "super" => self.above(*module),
                Place::Module(module) => self.look(*module, name, followed),
                other => vec![other.clone()],
            };
            at = at.iter().flat_map(step).collect();
            at.sort();
            at.dedup();
        }
        at
    }

    fn above(&self, module: usize) -> Vec<Place> {
        let parent = self.modules[module].parent;
        parent.map(Place::Module).into_iter().collect()
    }

    /// What a path that begins with a crate's name begins with.
    fn external(&self, name: &str) -> Vec<Place> {
        match self.house.package_of_library(name) {
            Some(package) if package.name == self.package.name => {
                self.library.map(Place::Module).into_iter().collect()
            }
            Some(package) => vec![Place::Package(package.name.clone())],
            None => vec![],
        }
    }

    fn look(&self, module: usize, name: &str, followed: &Followed) -> Vec<Place> {
        let here = &self.modules[module];
        let mut found = vec![];
        let is_item = |space| here.items.contains(&(space, name.to_owned()));
        if is_item(Space::Type) {
            found.push(Place::Type(here.file.clone()));
        }
        if is_item(Space::Value) {
            found.push(Place::Value(here.file.clone()));
        }
        let children = here.children.get(name).into_iter().flatten();
        found.extend(children.copied().map(Place::Module));
        for (index, import) in here.imports.iter().enumerate() {
            if import.name.as_deref() == Some(name) {
                let target = followed.once((module, index), |followed| {
                    let target = self.follow(module, &import.path, followed);
                    // A name from elsewhere hides what a `*` brings.
                    match target.is_empty() {
                        true => vec![Place::Foreign],
                        false => target,
                    }
                });
                found.extend(target);
            }
        }
        if found.is_empty() {
            found.extend(here.macros.get(name).cloned().map(Place::Value));
        }
        if found.is_empty() {
            let globs = here.imports.iter().enumerate();
            for (index, import) in globs.filter(|(_, import)| import.glob) {
                found.extend(followed.once((module, index), |followed| {
                    let shown = self.follow(module, &import.path, followed);
                    let modules = shown.into_iter().filter_map(|place| match place {
                        Place::Module(shown) => Some(shown),
                        _ => None,
                    });
                    modules
                        .flat_map(|shown| self.look(shown, name, followed))
                        .collect()
                }));
            }
        }
        found.sort();
        found.dedup();
        found
    }
}

/// The files below `src/` of libraries and programs, those of unit tests left out.
pub fn source_files(house: &House, is_wanted: impl Fn(&Package) -> bool) -> BTreeSet<PathBuf> {
    let packages = house.packages.iter().filter(|package| is_wanted(package));
    let files = packages.flat_map(|package| {
        let modules = Modules::of(house, package, &[Kind::Library, Kind::Program]);
        let source = package.folder.join("src");
        let files = modules.files().into_iter().map(FilePath::to_owned);
        files
            .filter(|file| file.starts_with(&source))
            .collect::<Vec<_>>()
    });
    files.collect()
}

/// Imports that are being followed, by module and index, so that circles of `use` end.
#[derive(Default)]
struct Followed(RefCell<BTreeSet<(usize, usize)>>);

impl Followed {
    fn once(&self, import: (usize, usize), follow: impl FnOnce(&Self) -> Vec<Place>) -> Vec<Place> {
        if !self.0.borrow_mut().insert(import) {
            return vec![];
        }
        let found = follow(self);
        self.0.borrow_mut().remove(&import);
        found
    }
}

/// What `#[path = "..."]` says.
fn path_attribute(module: &ItemMod) -> Option<String> {
    module.attrs.iter().find_map(|attribute| {
        let Meta::NameValue(pair) = &attribute.meta else {
            return None;
        };
        match &pair.value {
            Expr::Lit(literal) if pair.path.is_ident("path") => match &literal.lit {
                Lit::Str(path) => Some(path.value()),
                _ => None,
            },
            _ => None,
        }
    })
}

/// A path without `..`, which takes back the folder before it.
fn plain(path: &FilePath) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, part| {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
        plain
    })
}
