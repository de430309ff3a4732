//! The location of a model's files: a folder's URL, or one URL per file (bundlers rename files).

use std::collections::BTreeMap;

use js_sys::{Function, Object, Reflect};
use wasm_bindgen::{JsCast, JsValue};
use web_sys::Url;

use super::http::Network;
use crate::failure::{Failure, Result};
use crate::js;

/// A model's name, the URLs of its files, and the way to them.
#[derive(Debug, Clone)]
pub struct Location {
    /// The name in the cache.
    pub name: String,
    /// What requests its files.
    pub network: Network,
    base: Option<String>,
    files: BTreeMap<String, String>,
}

impl Location {
    /// Reads `{ name, base?, files?, fetch }`.
    ///
    /// # Errors
    /// `config` when it has no name, or neither a base nor files, or no function for requests.
    pub fn from_js(value: &JsValue) -> Result<Self> {
        let wrong = |reason: &str| Failure::new("config", format!("model: {reason}"));
        let name = js::get(value, "name").as_string();
        let name = name
            .filter(|name| !name.is_empty())
            .ok_or_else(|| wrong("has no name"))?;
        let base = js::get(value, "base").as_string();
        let mut files = BTreeMap::new();
        if let Some(object) = js::get(value, "files").dyn_ref::<Object>() {
            for key in Reflect::own_keys(object).unwrap_or_default().iter() {
                let path = key.as_string().unwrap_or_default();
                let url = js::get(object, &path).as_string();
                let url =
                    url.ok_or_else(|| wrong(&format!("the URL of {path} is not a string")))?;
                files.insert(path, url);
            }
        }
        if base.is_none() && files.is_empty() {
            return Err(wrong("has neither a folder's URL nor files"));
        }
        let fetch = js::get(value, "fetch").dyn_into::<Function>();
        let fetch = fetch.map_err(|_| wrong("has no function for requests"))?;
        Ok(Self {
            name,
            network: Network::new(fetch),
            base,
            files,
        })
    }

    /// The URL of a file of the model folder, if the location has one. A folder's query (the key of a
    /// presigned link) is its files', too.
    pub fn url(&self, path: &str) -> Option<String> {
        if let Some(url) = self.files.get(path) {
            return Some(url.clone());
        }
        let base = Url::new(self.base.as_deref()?).ok()?;
        let url = Url::new_with_base(path, &base.href()).ok()?;
        if url.search().is_empty() && url.origin() == base.origin() {
            url.set_search(&base.search());
        }
        Some(url.href())
    }
}
