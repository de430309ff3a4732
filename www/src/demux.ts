/**
 * Exports the used parts of mediabunny by name; `scripts/bundle.js` puts them here and drops the rest.
 *
 * @module
 */

export {
  BlobSource,
  EncodedPacketSink,
  Input,
  MATROSKA,
  MP4,
  QTFF,
  VideoSampleSink,
  WEBM,
} from 'mediabunny';
