//! Keeps files in the origin private file system (OPFS), in one folder. Synchronous handles (workers
//! only) keep the written bytes when the page is closed during a download.

use std::ops::Range;

use js_sys::{Promise, Uint8Array};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    Blob, File, FileSystemDirectoryHandle, FileSystemFileHandle, FileSystemGetDirectoryOptions,
    FileSystemGetFileOptions, FileSystemReadWriteOptions, FileSystemRemoveOptions,
    FileSystemSyncAccessHandle,
};

use crate::js;

const ROOT: &str = "x2i-files";
/// Where versions before 0.2 kept a folder for each model.
const OLD_ROOT: &str = "x2i-models";

type JsResult<T> = Result<T, JsValue>;

/// The folder of all files.
#[derive(Debug, Clone)]
pub struct Folder(SendWrapper<FileSystemDirectoryHandle>);

impl Folder {
    /// Opens or makes the folder.
    ///
    /// # Errors
    /// What the browser throws: no OPFS, no synchronous handles (outside of workers), storage blocked.
    pub async fn open() -> JsResult<Self> {
        let handles = js::global(&["FileSystemSyncAccessHandle"]);
        let is_worker = js::global(&["DedicatedWorkerGlobalScope"]);
        if handles.is_undefined() || is_worker.is_undefined() {
            return Err(js_sys::Error::new("no synchronous file handles here").into());
        }
        let storage = js::global(&["navigator", "storage"]);
        let root = js::call_async(&storage, "getDirectory", &[]).await?;
        let root: FileSystemDirectoryHandle = root.dyn_into()?;
        let recursive = FileSystemRemoveOptions::new();
        recursive.set_recursive(true);
        let old = root.remove_entry_with_options(OLD_ROOT, &recursive);
        let _ = JsFuture::from(old).await; // almost always there is none
        let options = FileSystemGetDirectoryOptions::new();
        options.set_create(true);
        let folder = root.get_directory_handle_with_options(ROOT, &options);
        let folder = JsFuture::from(folder).await?;
        Ok(Self(SendWrapper::new(folder.unchecked_into())))
    }

    /// Bytes of a file, complete or not; 0 if there is none.
    pub async fn len(&self, key: &str) -> u64 {
        match self.file(key).await {
            Ok(file) => file.size() as u64,
            Err(_) => 0,
        }
    }

    /// Opens a file for reading.
    ///
    /// # Errors
    /// What the browser throws.
    pub async fn reader(&self, key: &str) -> JsResult<Reader> {
        let (handle, file) = self.open_file(key).await?;
        Ok(Reader {
            handle: SendWrapper::new(handle),
            file: SendWrapper::new(file),
        })
    }

    /// Resumes writing a file at its end.
    ///
    /// # Errors
    /// What the browser throws, for example because of another tab's handle.
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
    ///
    /// # Errors
    /// What the browser throws, such as `NoModificationAllowedError` while it is being written.
    pub async fn remove(&self, key: &str) -> JsResult<()> {
        match JsFuture::from(self.0.remove_entry(key)).await {
            Err(error) if crate::failure::name(&error) != "NotFoundError" => Err(error),
            _ => Ok(()),
        }
    }

    /// The keys of all files.
    ///
    /// # Errors
    /// What the browser throws.
    pub async fn keys(&self) -> JsResult<Vec<String>> {
        let iterator = self.0.keys();
        let mut found = Vec::new();
        loop {
            let next = JsFuture::from(iterator.next()?).await?;
            if js::get(&next, "done").is_truthy() {
                return Ok(found);
            }
            found.extend(js::get(&next, "value").as_string());
        }
    }

    async fn file(&self, key: &str) -> JsResult<File> {
        Ok(self.open_file(key).await?.1)
    }

    async fn open_file(&self, key: &str) -> JsResult<(FileSystemFileHandle, File)> {
        let handle: FileSystemFileHandle = JsFuture::from(self.0.get_file_handle(key))
            .await?
            .unchecked_into();
        let file = JsFuture::from(handle.get_file()).await?.unchecked_into();
        Ok((handle, file))
    }
}

/// A file that is being read. It is opened once: each handle is a round trip to the browser's process.
pub struct Reader {
    handle: SendWrapper<FileSystemFileHandle>,
    file: SendWrapper<File>,
}

impl Reader {
    /// A range of the file.
    ///
    /// # Errors
    /// What the browser throws: the file was changed or removed since.
    pub async fn read(&self, range: Range<u64>) -> JsResult<Uint8Array> {
        let (start, end) = (range.start as f64, range.end as f64);
        let blob: Blob = self.file.slice_with_f64_and_f64(start, end)?;
        Ok(Uint8Array::new(&JsFuture::from(blob.array_buffer()).await?))
    }

    /// A large range of the file: read by a synchronous handle, which takes a millisecond, right to where it stays.
    ///
    /// # Errors
    /// What the browser throws: it locks files for reading, and another tab reads this one.
    pub async fn fill(&self, start: u64, bytes: &mut [u8]) -> JsResult<()> {
        let options = js_sys::Object::new();
        js::set(&options, "mode", "read-only"); // several tabs may have such handles, where the browser knows them
        let opened = js::call(&self.handle, "createSyncAccessHandle", &[options.into()])?;
        let access = JsFuture::from(opened.dyn_into::<Promise>()?).await?;
        let access = Access(access.unchecked_into());
        let options = FileSystemReadWriteOptions::new();
        let mut done = 0;
        while done < bytes.len() {
            options.set_at((start + done as u64) as f64);
            let rest = &mut bytes[done..];
            let read = access.0.read_with_u8_array_and_options(rest, &options)?;
            if read <= 0.0 {
                return Err(js_sys::Error::new("the file ends early").into());
            }
            done += read as usize;
        }
        Ok(())
    }
}

/// A handle that is closed in any case.
struct Access(FileSystemSyncAccessHandle);

impl Drop for Access {
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
    pub fn write(&mut self, bytes: &Uint8Array) -> JsResult<()> {
        let options = FileSystemReadWriteOptions::new();
        options.set_at(self.at);
        let written = self
            .access
            .write_with_buffer_source_and_options(bytes, &options)?;
        self.at += written;
        if written < f64::from(bytes.length()) {
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
