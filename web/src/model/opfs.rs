//! Keeps files in the origin private file system (OPFS) as `x2i-models/<model>/<file>`. Synchronous
//! handles (workers only) keep the written bytes when the page is closed during a download.

use std::ops::Range;

use js_sys::{AsyncIterator, Promise, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions,
    FileSystemGetFileOptions, FileSystemReadWriteOptions, FileSystemRemoveOptions,
    FileSystemSyncAccessHandle,
};

use crate::js;

const ROOT: &str = "x2i-models";

type JsResult<T> = Result<T, JsValue>;

/// The folder of one model.
#[derive(Debug, Clone)]
pub struct Folder(SendWrapper<FileSystemDirectoryHandle>);

impl Folder {
    /// Opens or makes the folder of a model.
    ///
    /// # Errors
    /// What the browser throws: no OPFS, no synchronous handles (outside of workers), storage blocked.
    pub async fn open(model: &str) -> JsResult<Self> {
        let handles = js::get(&js_sys::global(), "FileSystemSyncAccessHandle");
        let is_worker = js::get(&js_sys::global(), "DedicatedWorkerGlobalScope");
        if handles.is_undefined() || is_worker.is_undefined() {
            return Err(js_sys::Error::new("no synchronous file handles here").into());
        }
        let folder = folder(&root().await?, &encode(model)).await?;
        Ok(Self(SendWrapper::new(folder)))
    }

    /// Bytes of a file, complete or not; 0 if there is none.
    pub async fn len(&self, key: &str) -> u64 {
        match self.file(key).await {
            Ok(file) => file.size() as u64,
            Err(_) => 0,
        }
    }

    /// A range of a file.
    ///
    /// # Errors
    /// What the browser throws.
    pub async fn read(&self, key: &str, range: Range<u64>) -> JsResult<Vec<u8>> {
        let file = self.file(key).await?;
        let blob: Blob = file.slice_with_f64_and_f64(range.start as f64, range.end as f64)?;
        let buffer = JsFuture::from(blob.array_buffer()).await?;
        Ok(Uint8Array::new(&buffer).to_vec())
    }

    /// Resumes writing a file at its end.
    ///
    /// # Errors
    /// What the browser throws, for example because of another tab's lock.
    pub async fn append(&self, key: &str) -> JsResult<Writer> {
        let options = FileSystemGetFileOptions::new();
        options.set_create(true);
        let handle = JsFuture::from(self.0.get_file_handle_with_options(key, &options)).await?;
        let handle: FileSystemFileHandle = handle.unchecked_into();
        let access = JsFuture::from(handle.create_sync_access_handle()).await?;
        let access: FileSystemSyncAccessHandle = access.unchecked_into();
        let at = access.get_size()?;
        Ok(Writer { access, at })
    }

    /// Removes a file, if there is one.
    pub async fn remove(&self, key: &str) {
        let _ = JsFuture::from(self.0.remove_entry(key)).await;
    }

    async fn file(&self, key: &str) -> JsResult<File> {
        let handle: FileSystemFileHandle = JsFuture::from(self.0.get_file_handle(key))
            .await?
            .unchecked_into();
        Ok(JsFuture::from(handle.get_file()).await?.unchecked_into())
    }
}

/// A file that is being written.
pub struct Writer {
    access: FileSystemSyncAccessHandle,
    at: f64,
}

impl Writer {
    /// Writes at the end.
    ///
    /// # Errors
    /// `QuotaExceededError` when the origin's share is full.
    pub fn write(&mut self, bytes: &[u8]) -> JsResult<()> {
        let options = FileSystemReadWriteOptions::new();
        options.set_at(self.at);
        let written = self
            .access
            .write_with_u8_array_and_options(bytes, &options)?;
        self.at += written;
        if written < bytes.len() as f64 {
            // Some browsers write only what fits and throw nothing.
            let error = js_sys::Error::new("the disk is full");
            error.set_name("QuotaExceededError");
            return Err(error.into());
        }
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.access.flush();
        self.access.close();
    }
}

/// The models that have a folder, and the bytes in it.
///
/// # Errors
/// What the browser throws.
pub async fn list() -> JsResult<Vec<(String, u64)>> {
    let mut models = Vec::new();
    for (name, handle) in entries(&root().await?).await? {
        let Ok(directory) = handle.dyn_into::<FileSystemDirectoryHandle>() else {
            continue;
        };
        let mut bytes = 0;
        for (_, handle) in entries(&directory).await? {
            if let Ok(handle) = handle.dyn_into::<FileSystemFileHandle>() {
                let file: File = JsFuture::from(handle.get_file()).await?.unchecked_into();
                bytes += file.size() as u64;
            }
        }
        models.push((decode(&name), bytes));
    }
    Ok(models)
}

/// Removes a model's folder.
///
/// # Errors
/// What the browser throws, such as `NoModificationAllowedError` while a file is being written.
pub async fn remove(model: &str) -> JsResult<()> {
    let options = FileSystemRemoveOptions::new();
    options.set_recursive(true);
    let Ok(root) = root().await else {
        return Ok(()); // no OPFS, nothing in it
    };
    let removed = root.remove_entry_with_options(&encode(model), &options);
    match JsFuture::from(removed).await {
        Err(error) if crate::failure::name(&error) != "NotFoundError" => Err(error),
        _ => Ok(()),
    }
}

async fn root() -> JsResult<FileSystemDirectoryHandle> {
    let storage = js::get(&js::get(&js_sys::global(), "navigator"), "storage");
    let directory: Promise = js::call(&storage, "getDirectory", &[])?.dyn_into()?;
    let directory: FileSystemDirectoryHandle = JsFuture::from(directory).await?.dyn_into()?;
    folder(&directory, ROOT).await
}

async fn folder(
    parent: &FileSystemDirectoryHandle,
    name: &str,
) -> JsResult<FileSystemDirectoryHandle> {
    let options = FileSystemGetDirectoryOptions::new();
    options.set_create(true);
    let handle = JsFuture::from(parent.get_directory_handle_with_options(name, &options)).await?;
    Ok(handle.unchecked_into())
}

async fn entries(directory: &FileSystemDirectoryHandle) -> JsResult<Vec<(String, JsValue)>> {
    let iterator: AsyncIterator = directory.entries().unchecked_into();
    let mut found = Vec::new();
    loop {
        let next = JsFuture::from(iterator.next()?).await?;
        if js::get(&next, "done").is_truthy() {
            return Ok(found);
        }
        let pair: js_sys::Array = js::get(&next, "value").unchecked_into();
        found.push((pair.get(0).as_string().unwrap_or_default(), pair.get(1)));
    }
}

/// Encodes a model's name as a file name, which can't contain `/` and some other characters.
fn encode(model: &str) -> String {
    String::from(js_sys::encode_uri_component(model))
}

fn decode(name: &str) -> String {
    js_sys::decode_uri_component(name).map_or_else(|_| name.to_owned(), String::from)
}
