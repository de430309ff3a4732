//! What NVIDIA's driver says about its GPUs, asked without opening one.
//!
//! libcuda is loaded at run time, as cubecl does: a machine without it has no CUDA devices. Left out: Windows, where
//! names and memory are not asked for.

use std::path::{Path, PathBuf};

/// A GPU of the driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gpu {
    pub(super) name: String,
    /// Bytes of its memory, where they are asked for.
    pub(super) memory: Option<u64>,
}

/// The GPUs in the driver's order.
///
/// # Errors
/// Why there is no driver.
#[cfg(unix)]
pub(super) fn gpus() -> Result<Vec<Gpu>, String> {
    let driver = unix::Driver::load()?;
    (0..driver.count()?)
        .map(|index| driver.gpu(index))
        .collect()
}

/// The GPUs in the driver's order.
///
/// # Errors
/// Why there is no driver.
#[cfg(not(unix))]
pub(super) fn gpus() -> Result<Vec<Gpu>, String> {
    use burn::tensor::{Device, DeviceType};
    let gpu = Gpu {
        name: "NVIDIA GPU".into(),
        memory: None,
    };
    match Device::enumerate(DeviceType::Cuda).into_vec().len() {
        0 => Err("no driver, or no GPU".into()),
        count => Ok(vec![gpu; count]),
    }
}

/// The file of NVIDIA's functions (`exp`, `sin`) that cubecl links to kernels, below a toolkit's folder.
const LIBDEVICE: &str = "nvvm/libdevice/libdevice.10.bc";

/// Where cubecl looks for a toolkit if `CUDA_PATH` is not set (`cubecl-llvm/src/nvptx/libdevice.rs`).
const TOOLKITS: [&str; 4] = ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"];

/// Fails where kernels can't be compiled for lack of [`LIBDEVICE`]. cubecl would say so at the first of them.
pub(super) fn check_libdevice() -> Result<(), String> {
    let toolkits = match std::env::var_os("CUDA_PATH") {
        Some(path) => vec![PathBuf::from(path)],
        None => TOOLKITS.map(PathBuf::from).to_vec(),
    };
    has_libdevice(&toolkits)
}

fn has_libdevice(toolkits: &[PathBuf]) -> Result<(), String> {
    let has = |toolkit: &PathBuf| toolkit.join(Path::new(LIBDEVICE)).is_file();
    if toolkits.iter().any(has) {
        return Ok(());
    }
    let places: Vec<String> = toolkits
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    Err(format!(
        "needs {LIBDEVICE} of the CUDA toolkit, which is in none of {}; install the toolkit, or set CUDA_PATH to a \
         folder that has it",
        places.join(", ")
    ))
}

#[cfg(unix)]
mod unix {
    use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

    use super::Gpu;

    /// libcuda, which stays loaded.
    pub(super) struct Driver {
        library: *mut c_void,
    }

    /// The longest name that is read.
    const NAME: usize = 256;

    impl Driver {
        /// Loads and starts the driver.
        ///
        /// # Errors
        /// Why it can't be.
        pub(super) fn load() -> Result<Self, String> {
            let names = [c"libcuda.so.1", c"libcuda.so"];
            // SAFETY: a name that ends in zero; constructors of the system's driver run.
            let open = |name: &CStr| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) };
            let library = names
                .into_iter()
                .map(open)
                .find(|library| !library.is_null());
            let library = library.ok_or("no driver: libcuda.so.1 is not found")?;
            let driver = Self { library };
            // SAFETY: the signature is `CUresult cuInit(unsigned int)`.
            let init: extern "C" fn(c_uint) -> c_int = unsafe { driver.function(c"cuInit")? };
            succeeded("cuInit", init(0))?;
            Ok(driver)
        }

        /// The number of GPUs.
        pub(super) fn count(&self) -> Result<c_int, String> {
            // SAFETY: the signature is `CUresult cuDeviceGetCount(int*)`.
            let get: extern "C" fn(*mut c_int) -> c_int =
                unsafe { self.function(c"cuDeviceGetCount")? };
            let mut count = 0;
            succeeded("cuDeviceGetCount", get(&mut count))?;
            Ok(count)
        }

        /// One of them.
        pub(super) fn gpu(&self, index: c_int) -> Result<Gpu, String> {
            // SAFETY: the signatures are those of cuda.h.
            let (get, name_of, memory_of) = unsafe {
                let get: extern "C" fn(*mut c_int, c_int) -> c_int =
                    self.function(c"cuDeviceGet")?;
                let name: extern "C" fn(*mut c_char, c_int, c_int) -> c_int =
                    self.function(c"cuDeviceGetName")?;
                let memory: extern "C" fn(*mut usize, c_int) -> c_int =
                    self.function(c"cuDeviceTotalMem_v2")?;
                (get, name, memory)
            };
            let (mut device, mut memory, mut name) = (0, 0, [0; NAME]);
            succeeded("cuDeviceGet", get(&mut device, index))?;
            succeeded(
                "cuDeviceGetName",
                name_of(name.as_mut_ptr(), NAME as c_int, device),
            )?;
            succeeded("cuDeviceTotalMem", memory_of(&mut memory, device))?;
            name[NAME - 1] = 0;
            // SAFETY: the last byte is zero.
            let name = unsafe { CStr::from_ptr(name.as_ptr()) };
            Ok(Gpu {
                name: name.to_string_lossy().into_owned(),
                memory: Some(memory as u64),
            })
        }

        /// # Safety
        /// `F` must be the type of a pointer to the function of this name.
        unsafe fn function<F: Copy>(&self, name: &CStr) -> Result<F, String> {
            assert_eq!(size_of::<F>(), size_of::<*mut c_void>());
            // SAFETY: the library is open, and the name ends in zero.
            let found = unsafe { libc::dlsym(self.library, name.as_ptr()) };
            match found.is_null() {
                true => Err(format!("libcuda.so.1 has no {}", name.to_string_lossy())),
                // SAFETY: the caller's, and both are pointers.
                false => Ok(unsafe { std::mem::transmute_copy(&found) }),
            }
        }
    }

    fn succeeded(call: &str, status: c_int) -> Result<(), String> {
        match status {
            0 => Ok(()),
            100 => Err("the driver is there, but no GPU".into()),
            status => Err(format!(
                "the driver does not start: {call} gives error {status}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_libdevice_is_told_with_the_places() {
        let folder = tempfile::tempdir().expect("a folder");
        let toolkits = [folder.path().join("a"), folder.path().join("b")];
        let why = has_libdevice(&toolkits).unwrap_err();
        assert!(why.contains("nvvm/libdevice/libdevice.10.bc"), "{why}");
        assert!(why.contains(&toolkits[1].display().to_string()), "{why}");
        let file = toolkits[1].join(LIBDEVICE);
        std::fs::create_dir_all(file.parent().expect("it has one")).expect("made");
        std::fs::write(file, b"BC").expect("written");
        assert_eq!(has_libdevice(&toolkits), Ok(()));
    }
}
