import { paint } from '../../src/paint.js';

paint();
