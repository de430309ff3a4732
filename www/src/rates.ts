/**
 * Reads the sample rate of an audio file from its first bytes: WAV, FLAC, Ogg (Vorbis, Opus) and MP3.
 *
 * @module
 */

/** The rates of MPEG 1 in hertz; those of versions 2 and 2.5 are a half and a quarter of them. */
const MP3_RATES = [44_100, 48_000, 32_000];
/** The divisor of the rate, by the two bits of the version; undefined for the reserved value. */
const MP3_DIVISORS = [4, undefined, 2, 1];

/** The sample rate in hertz; undefined if it is not found. */
export function sampleRateOf(file: DataView): number | undefined {
  try {
    const start = textAt(file, 0, 4);
    if (start === 'RIFF') return ofWave(file);
    // The header of a block, the sizes of blocks and frames in 10 bytes, then the rate in 20 bits.
    if (start === 'fLaC') return file.getUint32(18) >>> 12;
    if (start === 'OggS') return ofOgg(file);
    return ofMp3(file, start.startsWith('ID3') ? lengthOfId3(file) : 0);
  } catch (error) {
    // The file ends before the rate.
    if (error instanceof RangeError) return undefined;
    throw error;
  }
}

function ofWave(file: DataView): number {
  let at = 12;
  while (textAt(file, at, 4) !== 'fmt ') {
    const size = file.getUint32(at + 4, true);
    // A chunk of odd length is padded with a byte.
    at += 8 + size + (size % 2);
  }
  return file.getUint32(at + 12, true);
}

function ofOgg(file: DataView): number | undefined {
  const packet = 27 + file.getUint8(26);
  if (textAt(file, packet, 7) === '\x01vorbis') return file.getUint32(packet + 12, true);
  return textAt(file, packet, 8) === 'OpusHead' ? 48_000 : undefined;
}

function ofMp3(file: DataView, at: number): number | undefined {
  const header = file.getUint32(at);
  const rate = MP3_RATES[(header >>> 10) & 3];
  const divisor = MP3_DIVISORS[(header >>> 19) & 3];
  return header >>> 21 === 0x7ff && rate && divisor ? rate / divisor : undefined;
}

/** The length of the tags before the audio, which is stored in four times seven bits. */
function lengthOfId3(file: DataView): number {
  const sizes = [6, 7, 8, 9].map((at) => file.getUint8(at));
  return 10 + sizes.reduce((length, seven) => length * 128 + seven, 0);
}

function textAt(file: DataView, at: number, length: number): string {
  return Array.from({ length }, (_, index) => String.fromCharCode(file.getUint8(at + index))).join('');
}
