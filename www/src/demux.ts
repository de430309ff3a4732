/**
 * What is used of mediabunny, named one by one so that bundlers leave out the rest.
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
