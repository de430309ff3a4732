//! The workspace as the rules see it: packages, their targets, and the text of every source file.
//!
//! [`House::here`] asks `cargo metadata` for the members, so that no list of crates stands in code.
//! [`House::of`] builds a small workspace in memory, on which the rules themselves are tested.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::process::Command;
use std::rc::Rc;

use serde_json::Value;

use crate::source::Source;

/// What tools install and write beside the sources.
const NO_SOURCES: [&str; 4] = ["node_modules", "build", "browser/output", "target"];

/// All packages of the workspace. Paths are relative to its root.
pub struct House {
    /// In the order of the workspace's members.
    pub packages: Vec<Package>,
    /// The text of every `.rs`, `.wgsl` and `.md` file.
    pub files: BTreeMap<PathBuf, String>,
    /// Files that were parsed before.
    sources: RefCell<BTreeMap<PathBuf, Rc<Source>>>,
}

/// One member of the workspace.
pub struct Package {
    /// As in Cargo.toml: `x2i-core`.
    pub name: String,
    /// Where its Cargo.toml stands.
    pub folder: PathBuf,
    /// What it builds, build scripts left out.
    pub targets: Vec<Target>,
    /// Packages of this workspace that its Cargo.toml names.
    pub dependencies: Vec<String>,
}

/// One crate that a package builds.
pub struct Target {
    /// As paths in code name it: `x2i_core`.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its first source file.
    pub root: PathBuf,
}

/// The kind of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A library: its name is a path's beginning in other crates.
    Library,
    /// A program.
    Program,
    /// Integration tests, examples, benches.
    Test,
}

/// All kinds.
pub const EVERY_KIND: [Kind; 3] = [Kind::Library, Kind::Program, Kind::Test];

impl House {
    /// The workspace that these tests belong to.
    pub fn here() -> Self {
        // At run time: with `env!` a shared target folder would show one checkout another's files.
        let manifest = std::env::var("CARGO_MANIFEST_DIR").expect("cargo runs the tests");
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
        let output = Command::new(cargo)
            .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
            .current_dir(manifest)
            .output()
            .expect("cargo starts");
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo metadata: {complaint}");
        let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo writes JSON");
        let root = PathBuf::from(text(&metadata["workspace_root"]));
        let packages = list(&metadata["packages"])
            .iter()
            .map(|package| Package::read(package, &root))
            .collect();
        let mut files = BTreeMap::new();
        read_files(&root, &root, &mut files);
        Self::new(packages, files)
    }

    /// A workspace in memory. A package is a folder with `src/lib.rs` or `src/main.rs`; its name is
    /// the folder's; its dependencies are added by the test.
    pub fn of(files: &[(&str, &str)]) -> Self {
        let files: BTreeMap<PathBuf, String> = files
            .iter()
            .map(|&(path, text)| (path.into(), text.to_owned()))
            .collect();
        let mut packages: Vec<Package> = vec![];
        for path in files.keys() {
            let kind = match path.file_name().and_then(|name| name.to_str()) {
                Some("lib.rs") => Kind::Library,
                Some("main.rs") => Kind::Program,
                _ => continue,
            };
            let folder = path.iter().next().expect("a folder");
            let name = folder.to_string_lossy().into_owned();
            let target = Target {
                name: name.replace('-', "_"),
                kind,
                root: path.clone(),
            };
            match packages.iter_mut().find(|package| package.name == name) {
                Some(package) => package.targets.push(target),
                None => packages.push(Package {
                    name,
                    folder: folder.into(),
                    targets: vec![target],
                    dependencies: vec![],
                }),
            }
        }
        Self::new(packages, files)
    }

    fn new(packages: Vec<Package>, files: BTreeMap<PathBuf, String>) -> Self {
        Self {
            packages,
            files,
            sources: RefCell::default(),
        }
    }

    /// ARCHITECTURE.md.
    pub fn page(&self) -> &str {
        let page = self.files.get(Path::new("ARCHITECTURE.md"));
        page.expect("the workspace has an ARCHITECTURE.md")
    }

    /// The package of this name.
    pub fn package(&self, name: &str) -> &Package {
        self.packages
            .iter()
            .find(|package| package.name == name)
            .unwrap_or_else(|| panic!("the workspace has no package {name}"))
    }

    /// The package whose library is called `name` in code.
    pub fn package_of_library(&self, name: &str) -> Option<&Package> {
        self.packages.iter().find(|package| {
            package
                .library()
                .is_some_and(|library| library.name == name)
        })
    }

    /// The parsed source file at `path`.
    pub fn source(&self, path: &Path) -> Rc<Source> {
        if let Some(source) = self.sources.borrow().get(path) {
            return source.clone();
        }
        let text = self
            .files
            .get(path)
            .unwrap_or_else(|| panic!("{}: no such file", path.display()));
        let source = Rc::new(Source::parse(path, text));
        let mut sources = self.sources.borrow_mut();
        sources.insert(path.to_owned(), source.clone());
        source
    }

    /// All Rust files of all packages, tests and build scripts too.
    pub fn rust_files(&self) -> impl Iterator<Item = (&Path, &str)> {
        self.files
            .iter()
            .filter(|(path, _)| {
                let inside = |package: &Package| path.starts_with(&package.folder);
                path.extension().is_some_and(|found| found == "rs")
                    && self.packages.iter().any(inside)
            })
            .map(|(path, text)| (path.as_path(), text.as_str()))
    }
}

/// A path without `..`: a target may lie outside of its package.
fn straight(path: &Path) -> PathBuf {
    let mut straight = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(straight.pop()),
            part => straight.push(part),
        }
    }
    straight
}

impl Package {
    /// One package of `cargo metadata`.
    fn read(package: &Value, root: &Path) -> Self {
        let within = |path: &Value| {
            let path = straight(Path::new(text(path)));
            path.strip_prefix(root).expect("a member").to_owned()
        };
        let targets = list(&package["targets"]).iter().filter_map(|target| {
            let kind = match text(&target["kind"][0]) {
                "lib" | "rlib" | "cdylib" | "proc-macro" => Kind::Library,
                "bin" => Kind::Program,
                "test" | "example" | "bench" => Kind::Test,
                _ => return None,
            };
            Some(Target {
                name: text(&target["name"]).replace('-', "_"),
                kind,
                root: within(&target["src_path"]),
            })
        });
        let dependencies = list(&package["dependencies"])
            .iter()
            .filter(|dependency| dependency["path"].is_string())
            .map(|dependency| text(&dependency["name"]).to_owned());
        let mut folder = within(&package["manifest_path"]);
        folder.pop();
        Self {
            name: text(&package["name"]).to_owned(),
            folder,
            targets: targets.collect(),
            dependencies: dependencies.collect(),
        }
    }

    /// Its library, where it has one.
    pub fn library(&self) -> Option<&Target> {
        self.targets
            .iter()
            .find(|target| target.kind == Kind::Library)
    }
}

fn text(value: &Value) -> &str {
    value.as_str().expect("cargo metadata's layout")
}

fn list(value: &Value) -> &[Value] {
    value.as_array().expect("cargo metadata's layout")
}

fn read_files(root: &Path, folder: &Path, files: &mut BTreeMap<PathBuf, String>) {
    for entry in std::fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("a readable folder").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !name.starts_with('.') && !NO_SOURCES.iter().any(|end| path.ends_with(end)) {
                read_files(root, &path, files);
            }
        } else if [".rs", ".wgsl", ".md"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            let text = std::fs::read_to_string(&path).expect("a readable source file");
            let inside = path.strip_prefix(root).expect("a file of the workspace");
            files.insert(inside.to_owned(), text);
        }
    }
}
