//! Sounds on disk: WAV, MP3, Ogg Vorbis and FLAC, as mono 16 kHz; other formats through ffmpeg.
//!
//! Source: `librosa.load(path, sr=16000, mono=True)`: the mean of the channels, then soxr's high
//! quality resampling, `ceil` of the length. Decoders are symphonia's. Left out: dithering, tags,
//! and tracks after the first.

use std::fs::File;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use symphonia::core::audio::SampleBuffer;
use symphonia::core::codecs::{CodecParameters, Decoder, DecoderOptions};
use symphonia::core::errors::Error as DecodeError;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::probe::Hint;
use x2i_core::audio::check_rate;
use x2i_core::audio::resample::Resampler;
use x2i_core::{Audio, Error, Result};

use super::input::Input;
use super::kind::Kind;
use super::sniff::{self, Format, SIGNATURE};
use super::video::ffmpeg;
use crate::files::{hash_file, io_error};

/// The longest sound that is read, in seconds: its tokens fill the longest context of a model that
/// hears (MiniCPM-o 2.6: 25 a second, 32768).
pub const MAX_SECONDS: f64 = 1310.0;
/// What [`sniff::mistaken`] says that we read.
const FORMATS: &str = "wav, mp3, ogg vorbis or flac";

/// Reads a sound, or a video's.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Io`], or [`Error::Audio`] when it is no sound, broken, cut short
/// or too long.
pub fn read(path: &Path) -> Result<Input<Audio>> {
    let name = path.display().to_string();
    if path.is_dir() {
        return Err(Error::audio(name, "is a folder, not a sound"));
    }
    let failed = |error| io_error(&name, error);
    let start = sniff::start_of(path).map_err(failed)?;
    let value = match Format::of(&start).map(Format::kind) {
        Some(Kind::Video) => decode(&name, ffmpeg::sound(&name, path, MAX_SECONDS)?)?,
        _ => {
            let file = File::open(path).map_err(failed)?;
            decode_source(&name, &start, Box::new(file))?
        }
    };
    Ok(Input {
        value,
        sha256: hash_file(path)?,
    })
}

/// The sound in `bytes`; `name` is for messages.
///
/// # Errors
/// As [`read`].
pub fn decode(name: &str, bytes: Vec<u8>) -> Result<Audio> {
    let start = bytes[..bytes.len().min(SIGNATURE)].to_vec();
    decode_source(name, &start, Box::new(Cursor::new(bytes)))
}

fn decode_source(name: &str, start: &[u8], source: Box<dyn MediaSource>) -> Result<Audio> {
    // Not left to symphonia, which looks for a frame of MP3 in anything.
    let format = match Format::of(start) {
        Some(format) if format.kind() == Kind::Audio => format,
        _ => {
            return Err(sniff::mistaken(name, start, Kind::Audio, FORMATS));
        }
    };
    let refused = |reason: String| Error::audio(name, reason);
    // A panic in a decoder is a broken file, not the end of the program.
    let decoded = catch_unwind(AssertUnwindSafe(|| Track::open(source)?.decode(format)));
    let samples = decoded
        .unwrap_or_else(|_| Err("can't be decoded: it is broken".into()))
        .map_err(refused)?;
    Audio::new(samples).map_err(|error| match error {
        Error::Audio { reason, .. } => Error::audio(name, reason),
        other => other,
    })
}

/// What is wrong with a file.
type Reason = String;

/// A file's first track of sound.
struct Track {
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn Decoder>,
    id: u32,
    rate: u32,
    /// Samples of each channel, where the file says how many.
    promised: Option<u64>,
}

impl Track {
    fn open(source: Box<dyn MediaSource>) -> Result<Self, Reason> {
        let broken = |error: DecodeError| match error {
            DecodeError::IoError(_) => "is cut short: it ends within its header".to_owned(),
            DecodeError::Unsupported(what) => format!("can't be decoded: {what} is not supported"),
            other => format!("can't be decoded: {other}"),
        };
        let stream = MediaSourceStream::new(source, Default::default());
        let gapless = FormatOptions {
            enable_gapless: true,
            ..Default::default()
        };
        let reader = symphonia::default::get_probe()
            .format(&Hint::new(), stream, &gapless, &MetadataOptions::default())
            .map_err(broken)?
            .format;
        let track = reader.default_track().ok_or("holds no sound")?;
        let (id, parameters) = (track.id, track.codec_params.clone());
        let decoder = symphonia::default::get_codecs()
            .make(&parameters, &DecoderOptions::default())
            .map_err(|error| match error {
                DecodeError::Unsupported(_) => {
                    format!("holds sound in a code that we don't read ({FORMATS})")
                }
                other => broken(other),
            })?;
        let rate = parameters.sample_rate.unwrap_or(0);
        check_rate(rate as usize)?;
        let promised = promised(&parameters);
        if let Some(promised) = promised {
            check_length(promised, rate)?;
        }
        Ok(Self {
            reader,
            decoder,
            id,
            rate,
            promised,
        })
    }

    /// Mono at 16 kHz.
    fn decode(mut self, format: Format) -> Result<Vec<f32>, Reason> {
        let mut resampler = Resampler::new(self.rate as usize, Audio::SAMPLE_RATE);
        let (mut mono, mut output) = (vec![], vec![]);
        let mut frames = 0;
        while self.next(&mut mono)? {
            // A last block is often longer than what is left of the sound.
            let left = self.promised.map_or(u64::MAX, |promised| promised - frames);
            mono.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            frames += mono.len() as u64;
            check_length(frames, self.rate)?;
            match self.rate as usize == Audio::SAMPLE_RATE {
                true => output.extend_from_slice(&mono),
                false => resampler.push(&mono, &mut output),
            }
        }
        // Only these two say in their header how much is to come.
        if let (Format::Wav | Format::Flac, Some(promised)) = (format, self.promised)
            && frames < promised
        {
            let [promised, found] = [promised, frames].map(|n| n as f64 / f64::from(self.rate));
            return Err(format!(
                "is cut short: its header promises {promised:.2} seconds, {found:.2} are there"
            ));
        }
        if frames == 0 {
            return Err("holds no sound that can be decoded".into());
        }
        if self.rate as usize != Audio::SAMPLE_RATE {
            resampler.finish(&mut output);
            // librosa fills up to the length that it expects.
            let length = (frames * Audio::SAMPLE_RATE as u64).div_ceil(u64::from(self.rate));
            output.resize(length as usize, 0.0);
        }
        Ok(output)
    }

    /// The next packet's samples into `mono`; false at the end. A broken packet is left out, as
    /// players do.
    fn next(&mut self, mono: &mut Vec<f32>) -> Result<bool, Reason> {
        loop {
            let packet = match self.reader.next_packet() {
                Ok(packet) => packet,
                Err(DecodeError::IoError(error))
                    if error.kind() == std::io::ErrorKind::UnexpectedEof =>
                {
                    return Ok(false);
                }
                Err(DecodeError::ResetRequired) => {
                    return Err("holds several sounds one after another; give one".into());
                }
                Err(error) => return Err(format!("can't be decoded: {error}")),
            };
            if packet.track_id() != self.id {
                continue;
            }
            let decoded = match self.decoder.decode(&packet) {
                Ok(decoded) => decoded,
                Err(DecodeError::DecodeError(_) | DecodeError::IoError(_)) => continue,
                Err(error) => return Err(format!("can't be decoded: {error}")),
            };
            let spec = *decoded.spec();
            if spec.rate != self.rate {
                return Err("changes its sample rate midway".into());
            }
            let channels = spec.channels.count().max(1);
            let mut samples = SampleBuffer::<f32>::new(decoded.capacity() as u64, spec);
            samples.copy_interleaved_ref(decoded);
            let share = channels as f32;
            mono.clear();
            mono.extend(
                samples
                    .samples()
                    .chunks_exact(channels)
                    .map(|frame| frame.iter().sum::<f32>() / share),
            );
            return Ok(true);
        }
    }
}

/// Samples of each channel that the header promises. Programs that write to a pipe leave the
/// greatest number of 32 bits as the length of a WAV file's data in bytes: they promise nothing.
fn promised(parameters: &CodecParameters) -> Option<u64> {
    let bytes_a_frame = parameters.bits_per_coded_sample.unwrap_or(8) / 8
        * parameters
            .channels
            .map_or(1, |channels| channels.count() as u32);
    let unknown = u64::from(u32::MAX) / u64::from(bytes_a_frame.max(1));
    parameters
        .n_frames
        .filter(|&frames| frames > 0 && frames < unknown.saturating_sub(64))
}

fn check_length(frames: u64, rate: u32) -> Result<(), Reason> {
    let seconds = frames as f64 / f64::from(rate);
    match seconds > MAX_SECONDS {
        true => Err(format!(
            "lasts more than {MAX_SECONDS} seconds, the most that a model hears; cut it"
        )),
        false => Ok(()),
    }
}
