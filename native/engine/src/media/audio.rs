//! Reads audio files as mono at 16 kHz: WAV, MP3, Ogg Vorbis and FLAC; other formats and codecs through
//! ffmpeg.
//!
//! Source: `librosa.load(path, sr=16000, mono=True)`: the mean of the channels, then soxr's high
//! quality resampling, `ceil` of the length. symphonia decodes. Not here: dithering, tags, and tracks
//! after the first.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use symphonia::core::audio::SampleBuffer;
use symphonia::core::codecs::{CodecParameters, Decoder, DecoderOptions};
use symphonia::core::errors::Error as DecodeError;
use symphonia::core::formats::{FormatOptions, FormatReader};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::probe::Hint;
use x2i_core::audio::check_rate;
use x2i_core::audio::resample::Resampler;
use x2i_core::{Audio, Error, Result};

use super::ffmpeg::Source;
use super::guard::guarded;
use super::input::Input;
use super::kind::Kind;
use super::limits::VIDEO_PIXELS;
use super::reading::{Reading, never};
use super::sniff::{self, Format};
use super::sound;
use super::wav;
use crate::files::{hash_file, io_error, open_stream};

/// The longest audio that is read, in seconds: its tokens fill the longest context of a model that
/// reads audio (MiniCPM-o 2.6: 25 tokens per second, 32768 tokens).
pub const MAX_SECONDS: f64 = 1310.0;
/// The message for a codec that is not read here.
const CODEC: &str = "has audio in a codec that is not supported (wav, mp3, ogg vorbis or flac)";
/// The formats that are read, for [`sniff::mistaken`].
pub(super) const FORMATS: &str = "wav, mp3, ogg vorbis or flac; others through ffmpeg";

/// Reads an audio file, or the audio of a video, as [`read_with`] does, with the defaults.
///
/// # Errors
/// As [`read_with`].
pub fn read(path: &Path) -> Result<Input<Audio>> {
    read_with(path, &Reading::default())
}

/// Reads an audio file, or the audio of a video.
///
/// # Errors
/// [`Error::MissingFile`], [`Error::Io`], or [`Error::Audio`] when it is not an audio file, broken,
/// cut short or longer than [`MAX_SECONDS`]; [`Error::Cancelled`].
pub fn read_with(path: &Path, reading: &Reading) -> Result<Input<Audio>> {
    let name = path.display().to_string();
    if path.is_dir() {
        return Err(Error::audio(name, "is a folder, not an audio file"));
    }
    let failed = |error| io_error(&name, error);
    let mut file = open_stream(path).map_err(failed)?;
    let mut start = vec![];
    let mut searched = file.by_ref().take(sniff::JUNK as u64);
    searched.read_to_end(&mut start).map_err(failed)?;
    let Some((format, place)) = sniff::sound_in(&start) else {
        return Err(sniff::mistaken(&name, &start, Kind::Audio, FORMATS));
    };
    let foreign = || {
        let source = Source {
            path,
            format,
            pixels: VIDEO_PIXELS,
            instead: "convert it to WAV, FLAC, MP3 or Ogg Vorbis",
            cancelled: reading.cancelled,
        };
        decode(&name, sound::wave(&name, &source, MAX_SECONDS)?)
    };
    let value = match is_native(format) {
        true => {
            file.seek(SeekFrom::Start(place as u64)).map_err(failed)?;
            let source: Box<dyn MediaSource> = match place {
                0 => Box::new(file),
                _ => Box::new(ReadOnlySource::new(file)),
            };
            match samples(format, source, reading.cancelled) {
                Ok(samples) => sound_of(&name, samples)?,
                Err(Problem::Foreign(_)) => foreign()?,
                Err(problem) => return Err(problem.error(&name)),
            }
        }
        false => foreign()?,
    };
    Ok(Input {
        value,
        sha256: hash_file(path)?,
    })
}

/// Decodes an audio file in memory, of a format that needs no ffmpeg; `name` is for messages.
///
/// # Errors
/// As [`read`].
pub fn decode(name: &str, bytes: Vec<u8>) -> Result<Audio> {
    let format = match Format::of(&bytes) {
        Some(format) if is_native(format) => format,
        _ => return Err(sniff::mistaken(name, &bytes, Kind::Audio, FORMATS)),
    };
    let samples = samples(format, Box::new(Cursor::new(bytes)), &never);
    sound_of(name, samples.map_err(|problem| problem.error(name))?)
}

/// The formats that symphonia is asked to read: it would search for a frame of MP3 in any file.
fn is_native(format: Format) -> bool {
    matches!(
        format,
        Format::Wav | Format::Flac | Format::Ogg | Format::Mp3
    )
}

fn sound_of(name: &str, samples: Vec<f32>) -> Result<Audio> {
    Audio::new(samples).map_err(|error| match error {
        Error::Audio { reason, .. } => Error::audio(name, reason),
        other => other,
    })
}

fn samples(
    format: Format,
    source: Box<dyn MediaSource>,
    cancelled: &dyn Fn() -> bool,
) -> Result<Vec<f32>, Problem> {
    let source = match format {
        Format::Wav => {
            let wav = wav::find(source).map_err(|error| format!("can't be read: {error}"))?;
            if !wav.plain {
                return Err(Problem::Foreign(CODEC.into()));
            }
            wav.source
        }
        _ => source,
    };
    let decoded = guarded(|| Track::open(source, format)?.decode(format, cancelled));
    decoded.unwrap_or_else(|| Err("can't be decoded: it is broken".into()))
}

/// The problem with a file.
enum Problem {
    /// It is broken or too long.
    Reason(String),
    /// Another program may read it.
    Foreign(String),
    Cancelled,
}

impl Problem {
    fn error(self, name: &str) -> Error {
        match self {
            Self::Reason(reason) | Self::Foreign(reason) => Error::audio(name, reason),
            Self::Cancelled => Error::Cancelled,
        }
    }
}

impl From<String> for Problem {
    fn from(reason: String) -> Self {
        Self::Reason(reason)
    }
}

impl From<&str> for Problem {
    fn from(reason: &str) -> Self {
        Self::Reason(reason.to_owned())
    }
}

/// The first audio track of a file.
struct Track {
    reader: Box<dyn FormatReader>,
    decoder: Box<dyn Decoder>,
    id: u32,
    rate: u32,
    /// Samples of each channel, if the header says how many.
    promised: Option<u64>,
}

impl Track {
    fn open(source: Box<dyn MediaSource>, format: Format) -> Result<Self, Problem> {
        let broken = |error: DecodeError| match error {
            // Ogg has codecs whose headers symphonia does not know, as Speex.
            DecodeError::IoError(_) if format == Format::Ogg => Problem::Foreign(CODEC.into()),
            DecodeError::IoError(_) => "is cut short: it ends within its header".into(),
            DecodeError::Unsupported(what) => {
                Problem::Foreign(format!("can't be decoded: {what} is not supported"))
            }
            other => Problem::Reason(format!("can't be decoded: {other}")),
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
        let track = reader
            .default_track()
            .ok_or_else(|| Problem::Foreign("has no audio".into()))?;
        let (id, parameters) = (track.id, track.codec_params.clone());
        let decoder = symphonia::default::get_codecs()
            .make(&parameters, &DecoderOptions::default())
            .map_err(|error| match error {
                DecodeError::Unsupported(_) => Problem::Foreign(CODEC.into()),
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

    /// Decodes all samples to mono at 16 kHz.
    fn decode(mut self, format: Format, cancelled: &dyn Fn() -> bool) -> Result<Vec<f32>, Problem> {
        let mut resampler = Resampler::new(self.rate as usize, Audio::SAMPLE_RATE);
        let (mut mono, mut output) = (vec![], vec![]);
        let mut frames = 0;
        while self.next(&mut mono)? {
            if cancelled() {
                return Err(Problem::Cancelled);
            }
            // The last block is often longer than the rest of the audio.
            let left = self.promised.map_or(u64::MAX, |promised| promised - frames);
            mono.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            frames += mono.len() as u64;
            check_length(frames, self.rate)?;
            match self.rate as usize == Audio::SAMPLE_RATE {
                true => output.extend_from_slice(&mono),
                false => resampler.push(&mono, &mut output),
            }
        }
        // Only the headers of these two formats state a reliable length.
        if let (Format::Wav | Format::Flac, Some(promised)) = (format, self.promised)
            && frames < promised
        {
            let [promised, found] = [promised, frames].map(|n| n as f64 / f64::from(self.rate));
            return Err(Problem::Reason(format!(
                "is cut short: its header promises {promised:.2} seconds, {found:.2} are there"
            )));
        }
        if frames == 0 {
            return Err("has no audio that can be decoded".into());
        }
        if self.rate as usize != Audio::SAMPLE_RATE {
            resampler.finish(&mut output);
            // librosa pads with zeros up to the expected length.
            let length = (frames * Audio::SAMPLE_RATE as u64).div_ceil(u64::from(self.rate));
            output.resize(length as usize, 0.0);
        }
        Ok(output)
    }

    /// Appends the next packet's samples to `mono`; false at the end. A broken packet is skipped, as
    /// players do.
    fn next(&mut self, mono: &mut Vec<f32>) -> Result<bool, Problem> {
        loop {
            let packet = match self.reader.next_packet() {
                Ok(packet) => packet,
                Err(DecodeError::IoError(error))
                    if error.kind() == std::io::ErrorKind::UnexpectedEof =>
                {
                    return Ok(false);
                }
                Err(DecodeError::ResetRequired) => {
                    let reason = "has several audio streams one after another; give one";
                    return Err(Problem::Foreign(reason.into()));
                }
                Err(error) => return Err(format!("can't be decoded: {error}").into()),
            };
            if packet.track_id() != self.id {
                continue;
            }
            let decoded = match self.decoder.decode(&packet) {
                Ok(decoded) => decoded,
                Err(DecodeError::DecodeError(_) | DecodeError::IoError(_)) => continue,
                Err(error) => return Err(format!("can't be decoded: {error}").into()),
            };
            let spec = *decoded.spec();
            if spec.rate != self.rate {
                return Err(Problem::Foreign("changes its sample rate midway".into()));
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

/// Samples of each channel according to the header; `None` when it does not say. A program that
/// writes a WAV file to a pipe leaves the greatest number of 32 bits as the length of its data.
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

fn check_length(frames: u64, rate: u32) -> Result<(), String> {
    let seconds = frames as f64 / f64::from(rate);
    match seconds > MAX_SECONDS {
        true => Err(format!(
            "is longer than {MAX_SECONDS} seconds, the most that a model reads; cut it"
        )),
        false => Ok(()),
    }
}
