/** Two components with one model, in strict mode, which mounts everything twice in development. */

import { useX2i } from '@x2i/web/react';
import React, { StrictMode, useEffect, useRef, useState } from 'react';
import { createRoot } from 'react-dom/client';

function Picture({ name, prompt, steps }) {
  const { status, step, result, error, generate, stop } = useX2i({ model: 'emoji', device: 'cpu' });
  const canvas = useRef(null);
  useEffect(() => {
    const context = canvas.current.getContext('2d');
    if (result) context.drawImage(result.image, 0, 0);
  }, [result]);
  return (
    <section id={name}>
      <canvas ref={canvas} width="64" height="64" />
      <output>{error ? `${error.code}: ${error.message}` : status}</output>
      <span>{step?.phase}</span>
      <button onClick={() => generate({ prompt, seed: 7, steps })}>Paint</button>
      <button onClick={() => generate({ prompt, seed: 7, width: 65 })}>Fail</button>
      <button onClick={stop}>Stop</button>
    </section>
  );
}

/** Paints as soon as it is mounted. */
function Eager() {
  const { status, generate } = useX2i({ model: 'emoji', device: 'cpu' });
  useEffect(() => {
    generate({ prompt: 'a red apple', seed: 7, steps: 1 });
  }, [generate]);
  return <output id="eager">{status}</output>;
}

function App() {
  const [shown, setShown] = useState(true);
  return (
    <>
      <Picture name="first" prompt="蓝色背景上的红苹果" />
      {shown && <Picture name="second" prompt="a red apple" steps={1000} />}
      <Eager />
      <button id="toggle" onClick={() => setShown(!shown)}>
        Toggle
      </button>
    </>
  );
}

createRoot(document.getElementById('root')).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
