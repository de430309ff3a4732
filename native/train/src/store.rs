//! Where results of frozen encoders are kept: on disk where the run has a cache, and small ones in memory.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;

use x2i_core::Result;

use crate::cache::{Array, Cache, Encoding, Key};

/// Bytes of what is kept in memory. Like a cache on disk, it keeps what it has when it is full.
const MEMORY: usize = 256 << 20;

/// How results are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keeping {
    /// On disk.
    pub(crate) encoding: Encoding,
    /// Whether results are small enough for the memory.
    pub(crate) in_memory: bool,
}

/// The results.
pub(crate) struct Store {
    cache: Option<Cache>,
    memory: RefCell<HashMap<Key, Vec<Array>>>,
    room: Cell<usize>,
}

impl Store {
    pub(crate) fn new(cache: Option<Cache>) -> Self {
        Self {
            cache,
            memory: RefCell::default(),
            room: Cell::new(MEMORY),
        }
    }

    /// Whether anything is kept on disk.
    pub(crate) fn has_cache(&self) -> bool {
        self.cache.is_some()
    }

    /// What `make` makes of one key, see [`all`](Self::all).
    pub(crate) fn one(
        &self,
        key: &Key,
        keeping: Keeping,
        make: impl FnOnce() -> Result<Vec<Array>>,
    ) -> Result<Vec<Array>> {
        let make = |_: &[usize]| Ok(vec![make()?]);
        Ok(self
            .all(std::slice::from_ref(key), keeping, make)?
            .remove(0))
    }

    /// The results of all keys. `make` hears the numbers of those that are not kept and makes them, in this order; the
    /// first use of a result gives what later ones give.
    pub(crate) fn all(
        &self,
        keys: &[Key],
        keeping: Keeping,
        make: impl FnOnce(&[usize]) -> Result<Vec<Vec<Array>>>,
    ) -> Result<Vec<Vec<Array>>> {
        let found = keys.iter().map(|key| self.find(key, keeping));
        let mut found: Vec<Option<Vec<Array>>> = found.collect::<Result<_>>()?;
        let missing = found.iter().enumerate();
        let missing = missing.filter_map(|(number, found)| found.is_none().then_some(number));
        let missing: Vec<usize> = missing.collect();
        if !missing.is_empty() {
            for (&number, made) in missing.iter().zip(make(&missing)?) {
                let key = &keys[number];
                let made = match &self.cache {
                    Some(cache) => cache.through(key, keeping.encoding, || Ok(made))?,
                    None => made,
                };
                if keeping.in_memory {
                    self.remember(key, &made);
                }
                found[number] = Some(made);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    fn find(&self, key: &Key, keeping: Keeping) -> Result<Option<Vec<Array>>> {
        if let Some(found) = self.memory.borrow().get(key) {
            return Ok(Some(found.clone()));
        }
        let Some(cache) = &self.cache else {
            return Ok(None);
        };
        let found = cache.get(key)?;
        if let Some(found) = found.as_ref().filter(|_| keeping.in_memory) {
            self.remember(key, found);
        }
        Ok(found)
    }

    fn remember(&self, key: &Key, arrays: &[Array]) {
        let numbers: usize = arrays.iter().map(|array| array.values.len()).sum();
        if let Some(room) = self.room.get().checked_sub(numbers * size_of::<f32>()) {
            self.room.set(room);
            self.memory
                .borrow_mut()
                .insert(key.clone(), arrays.to_vec());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_in_memory_is_made_once_and_other_results_again() {
        let store = Store::new(None);
        let keys = ["a", "b", "c"].map(|text| Key::of("t").content(text.as_bytes()));
        let made = |number: f32| {
            vec![Array {
                name: "x".to_owned(),
                shape: vec![1],
                values: vec![number],
            }]
        };
        for (in_memory, again) in [
            (false, vec![0, 1, 2]),
            (true, vec![0, 1, 2]),
            (true, vec![]),
        ] {
            let keeping = Keeping {
                encoding: Encoding::F16,
                in_memory,
            };
            let mut asked = vec![];
            let found = store.all(&keys, keeping, |missing| {
                asked = missing.to_vec();
                Ok(missing.iter().map(|&number| made(number as f32)).collect())
            });
            let values = found.unwrap().into_iter().map(|arrays| arrays[0].values[0]);
            assert_eq!(values.collect::<Vec<_>>(), [0.0, 1.0, 2.0]);
            assert_eq!(asked, again, "in memory: {in_memory}");
        }
    }
}
