'use client';

import { useEffect } from 'react';
import { paint } from '../src/paint.js';

export default function Page() {
  useEffect(() => {
    paint();
  }, []);
  return (
    <>
      <canvas />
      <output />
    </>
  );
}
