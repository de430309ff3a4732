/**
 * Exports the used parts of mediabunny by name, so that bundlers drop the rest.
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
