//! The bytes of an entry: a checksum, then a GGUF file, which holds f16, bf16 and blocks of 8 bits.

use std::sync::Arc;

use burn::tensor::{Device, Tensor, TensorData};
use x2i_core::weights::gguf::GgufWriter;
use x2i_core::weights::{MemorySource, StoredType, WeightFile, quant};
use x2i_core::{Error, Result};

/// What an entry begins with.
const MAGIC: &[u8; 8] = b"x2icache";
/// The magic, a CRC-32 of the rest, and four bytes that align it.
const FRONT: usize = 16;

/// Numbers with a name and a shape.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The name.
    pub name: String,
    /// The shape, rows first; at most four axes.
    pub shape: Vec<usize>,
    /// The numbers.
    pub values: Vec<f32>,
}

impl Array {
    /// The numbers of a tensor, read from its device.
    ///
    /// # Errors
    /// [`Error::Device`] when the device failed.
    pub fn of<const D: usize>(name: &str, tensor: Tensor<D>) -> Result<Self> {
        let shape = tensor.dims().to_vec();
        let data = pollster::block_on(tensor.into_data_async())?;
        let values = data
            .try_to_vec_as::<f32>()
            .map_err(|error| Error::format(name, format!("{error:?}")))?;
        let name = name.to_owned();
        Ok(Self {
            name,
            shape,
            values,
        })
    }

    /// A tensor of the numbers.
    ///
    /// # Errors
    /// [`Error::Format`] when it has another number of axes.
    pub fn to_tensor<const D: usize>(&self, device: &Device) -> Result<Tensor<D>> {
        if self.shape.len() != D {
            let reason = format!("has the shape {:?}, {D} axes are wanted", self.shape);
            return Err(Error::format(format!("array `{}`", self.name), reason));
        }
        let data = TensorData::new(self.values.clone(), self.shape.clone());
        Ok(Tensor::from_data(data, device))
    }
}

/// How numbers are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// 4 bytes: nothing is lost.
    F32,
    /// 2 bytes, 11 bits of precision, up to 65504: latents.
    F16,
    /// 2 bytes, 8 bits of precision, f32's range: states of T5 and CLIP.
    Bf16,
    /// Blocks of 32 numbers of 8 bits with a scale: all layers' states of an LLM, which would take 100 MB.
    /// A row that does not divide into blocks is kept as bf16.
    Q8,
}

impl Encoding {
    fn stored(self, shape: &[usize]) -> StoredType {
        match self {
            Self::F32 => StoredType::F32,
            Self::F16 => StoredType::F16,
            Self::Bf16 => StoredType::BF16,
            Self::Q8 => match shape.last() {
                Some(row) if *row > 0 && row.is_multiple_of(32) => StoredType::Q8_0,
                _ => StoredType::BF16,
            },
        }
    }
}

/// The bytes of an entry.
///
/// # Errors
/// [`Error::Format`] for arrays whose shape has another number of values, with one name, or with
/// numbers that the encoding can't hold.
pub(super) fn encode(arrays: &[Array], encoding: Encoding) -> Result<Vec<u8>> {
    let mut planned = Vec::with_capacity(arrays.len());
    for array in arrays {
        let bad = |reason: String| Error::format(format!("array `{}`", array.name), reason);
        if array.shape.iter().product::<usize>() != array.values.len() {
            let (shape, count) = (&array.shape, array.values.len());
            return Err(bad(format!("has {count} numbers for the shape {shape:?}")));
        }
        let most = if encoding == Encoding::F16 {
            65504.0
        } else {
            f32::MAX
        };
        if let Some(value) = array
            .values
            .iter()
            .find(|value| value.is_nan() || value.abs() > most)
        {
            return Err(bad(format!("holds {value}, which {encoding:?} can't keep")));
        }
        let stored = encoding.stored(&array.shape);
        planned.push((array.name.clone(), stored, array.shape.clone()));
    }
    let writer = GgufWriter::new(vec![], planned)?;
    let mut bytes = vec![0; FRONT];
    bytes.reserve(writer.file_len() as usize);
    let mut body = writer.start("cache entry", &mut bytes)?;
    for array in arrays {
        let stored = encoding.stored(&array.shape);
        body.write_tensor(&quant::quantize(&array.values, stored))?;
    }
    body.finish()?;
    let checksum = crc32fast::hash(&bytes[FRONT..]);
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
    Ok(bytes)
}

/// The arrays of an entry in the order of their names; none for what is no entry, or damaged.
pub(super) fn decode(name: &str, bytes: &[u8]) -> Option<Vec<Array>> {
    let (front, rest) = bytes.split_first_chunk::<FRONT>()?;
    let checksum = u32::from_le_bytes(front[8..12].try_into().ok()?);
    if !front.starts_with(MAGIC) || crc32fast::hash(rest) != checksum {
        return None;
    }
    let source = Arc::new(MemorySource::new(name, rest.to_vec()));
    pollster::block_on(async {
        let file = WeightFile::open(source).await.ok()?;
        let mut arrays = vec![];
        for (name, info) in file.tensors() {
            let values = file.read(name).await.ok()?.to_f32();
            arrays.push(Array {
                name: name.clone(),
                shape: info.shape.clone(),
                values,
            });
        }
        Some(arrays)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn array(name: &str, shape: &[usize]) -> Array {
        let count = shape.iter().product::<usize>();
        Array {
            name: name.into(),
            shape: shape.to_vec(),
            values: (0..count).map(|at| (at as f32 * 0.7).sin() * 3.0).collect(),
        }
    }

    #[test]
    fn every_encoding_gives_back_what_it_was_given_within_its_precision() {
        let arrays = [array("txt", &[2, 5, 64]), array("vec", &[1, 7])];
        for (encoding, error) in [
            (Encoding::F32, 0.0),
            (Encoding::F16, 3.0 / 2048.0),
            (Encoding::Bf16, 3.0 / 256.0),
            (Encoding::Q8, 3.0 / 200.0),
        ] {
            let bytes = encode(&arrays, encoding).unwrap();
            let decoded = decode("e", &bytes).unwrap();
            assert_eq!(decoded.len(), 2);
            for (found, given) in decoded.iter().zip(&arrays) {
                assert_eq!((&found.name, &found.shape), (&given.name, &given.shape));
                for (found, given) in found.values.iter().zip(&given.values) {
                    assert!(
                        (found - given).abs() <= error,
                        "{encoding:?} {found} {given}"
                    );
                }
            }
        }
        // 8 bits and a scale for 32 numbers.
        let q8 = encode(&[array("h", &[37, 2048])], Encoding::Q8).unwrap();
        assert!(q8.len() < 37 * 2048 * 34 / 32 + 200);
    }

    #[test]
    fn tensors_become_arrays_and_come_back() {
        let given = array("txt", &[2, 3, 4]);
        let tensor = given.to_tensor::<3>(&Device::flex()).unwrap();
        assert_eq!(Array::of("txt", tensor).unwrap(), given);
        let error = given.to_tensor::<2>(&Device::flex()).unwrap_err();
        let said = "array `txt`: has the shape [2, 3, 4], 2 axes are wanted";
        assert_eq!(error.to_string(), said);
    }

    #[test]
    fn a_damaged_entry_is_none() {
        let bytes = encode(&[array("a", &[3, 32])], Encoding::F16).unwrap();
        for end in 0..bytes.len() {
            assert_eq!(decode("e", &bytes[..end]), None, "{end}");
        }
        for at in (0..12).chain(FRONT..bytes.len()) {
            let mut bytes = bytes.clone();
            bytes[at] ^= 1;
            assert_eq!(decode("e", &bytes), None, "{at}");
        }
    }

    #[test]
    fn numbers_that_an_encoding_can_not_keep_are_refused() {
        let mut large = array("a", &[1, 4]);
        large.values[2] = 70_000.0;
        assert!(encode(&[large.clone()], Encoding::F16).is_err());
        assert!(encode(&[large.clone()], Encoding::Bf16).is_ok());
        large.values[2] = f32::NAN;
        let error = encode(&[large.clone()], Encoding::Bf16)
            .unwrap_err()
            .to_string();
        assert_eq!(error, "array `a`: holds NaN, which Bf16 can't keep");
        large.shape = vec![5];
        assert!(encode(&[large], Encoding::F32).is_err());
    }
}
