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
/// Bytes of a range that is worth a handle, which takes about a millisecond.
const LARGE: usize = 1 << 20;
/// The most bytes of a part of a range that is read through the browser's heap.
const PIECE: usize = 4 << 20;

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

    /// A range of a file. A large one is read by a synchronous handle, right to where it stays.
    ///
    /// # Errors
    /// What the browser throws; a `RangeError` for more than wasm's memory can address.
    pub async fn read(&self, key: &str, range: Range<u64>) -> JsResult<Vec<u8>> {
        let length = usize::try_from(range.end.saturating_sub(range.start));
        let length = length.map_err(|_| js_sys::RangeError::new("a range of 4 GiB and more"))?;
        let mut bytes = vec![0; length];
        if length >= LARGE {
            // Browsers that lock files for reading refuse while another tab reads the same one.
            if let Ok(access) = self.reader(key).await
                && access.fill(range.start, &mut bytes).is_ok()
            {
                return Ok(bytes);
            }
        }
        let file = self.file(key).await?;
        let mut at = range.start;
        // In pieces: garbage of a browser's heap is large before it is collected.
        for piece in bytes.chunks_mut(PIECE) {
            let end = at + piece.len() as u64;
            let blob: Blob = file.slice_with_f64_and_f64(at as f64, end as f64)?;
            let buffer = Uint8Array::new(&JsFuture::from(blob.array_buffer()).await?);
            if buffer.length() as usize != piece.len() {
                return Err(js_sys::Error::new("the file is shorter than it was").into());
            }
            buffer.copy_to(piece);
            at = end;
        }
        Ok(bytes)
    }

    /// A handle for reading, which other tabs may have too where the browser knows such handles.
    async fn reader(&self, key: &str) -> JsResult<Reader> {
        let handle = JsFuture::from(self.0.get_file_handle(key)).await?;
        let options = js_sys::Object::new();
        js::set(&options, "mode", "read-only");
        let opened = js::call(&handle, "createSyncAccessHandle", &[options.into()])?;
        let access = JsFuture::from(opened.dyn_into::<Promise>()?).await?;
        Ok(Reader(access.unchecked_into()))
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

/// A file that is being read.
struct Reader(FileSystemSyncAccessHandle);

impl Reader {
    fn fill(&self, start: u64, bytes: &mut [u8]) -> JsResult<()> {
        let options = FileSystemReadWriteOptions::new();
        let mut done = 0;
        while done < bytes.len() {
            options.set_at((start + done as u64) as f64);
            let rest = &mut bytes[done..];
            let read = self.0.read_with_u8_array_and_options(rest, &options)?;
            if read <= 0.0 {
                return Err(js_sys::Error::new("the file ends early").into());
            }
            done += read as usize;
        }
        Ok(())
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.close();
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
