//! Loads a model from a weight source of one's own, here files in memory:
//! `cargo run --release --example source -- core/models/emoji`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::future::ready;
use std::ops::Range;
use std::sync::Arc;

use x2i_core::model::ModelSource;
use x2i_core::weights::{LocalBoxFuture, WeightSource};
use x2i_engine::device::{self, DeviceChoice};
use x2i_engine::files::io_error;
use x2i_engine::{Engine, EngineOptions, Error, JobSpec, Model, Output, Result, ignore_progress};

/// The files of a model by their names: an archive, a database, an encrypted store.
struct Store(BTreeMap<String, Arc<[u8]>>);

/// One file of it.
struct Stored {
    name: String,
    bytes: Arc<[u8]>,
}

impl ModelSource for Store {
    fn name(&self) -> &str {
        "my store"
    }

    fn open<'a>(&'a self, path: &'a str) -> LocalBoxFuture<'a, Result<Arc<dyn WeightSource>>> {
        let opened = self.0.get(path).map(|bytes| {
            let (name, bytes) = (path.to_owned(), bytes.clone());
            Arc::new(Stored { name, bytes }) as Arc<dyn WeightSource>
        });
        let missing = || Error::MissingFile { file: path.into() };
        Box::pin(ready(opened.ok_or_else(missing)))
    }
}

impl WeightSource for Stored {
    fn name(&self) -> &str {
        &self.name
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Tensors are read one by one, each by its range.
    fn read(&self, range: Range<u64>) -> LocalBoxFuture<'_, Result<Cow<'_, [u8]>>> {
        let found = self.bytes.get(range.start as usize..range.end as usize);
        let outside = || Error::format(&self.name, "a tensor lies outside of the file");
        Box::pin(ready(found.map(Cow::Borrowed).ok_or_else(outside)))
    }
}

fn main() -> Result<()> {
    let folder = std::env::args()
        .nth(1)
        .unwrap_or("core/models/emoji".into());
    let failed = |error| io_error(&folder, error);
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.path().is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            files.insert(name, std::fs::read(entry.path()).map_err(failed)?.into());
        }
    }
    let model = Model::from_source(Arc::new(Store(files)))?;
    let job = JobSpec::text("a cat on a pink background").job(&model)?;
    let device = device::acquire(DeviceChoice::Auto)?;
    let options = EngineOptions::default();
    let mut engine = Engine::open(model, device, &options, &mut ignore_progress)?;
    let painted = engine.paint(&job, &mut ignore_progress)?;
    Output::File("cat.png".into()).write(&painted.png()?)
}
