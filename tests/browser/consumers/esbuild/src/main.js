import { paint } from './paint.js';

paint();
