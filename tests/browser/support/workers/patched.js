// The product's worker behind patches that a test names in its URL: `?lose-device&small-limits`.
import './patches.js';
import '/x2i/worker.js';
