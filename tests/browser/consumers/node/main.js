/** What a page does that is rendered on a server: it imports everything, and calls what it should not. */

import { createPipeline, describeModel, listDevices, recordAudio } from '@x2i/web';
import { X2iImage } from '@x2i/web/element';
import { useX2i } from '@x2i/web/react';
import { createElement } from 'react';
import { renderToString } from 'react-dom/server';

const calls = {
  createPipeline: () => createPipeline({ model: 'emoji' }),
  listDevices: () => listDevices(),
  describeModel: () => describeModel('https://example.org/model/'),
  recordAudio: () => recordAudio(),
};
for (const [name, call] of Object.entries(calls)) {
  const told = await call().then(
    () => 'worked',
    (error) => `${error.name} ${error.code}: ${error.message}`,
  );
  console.log(`${name}: ${told}`);
}
const Component = () => createElement('p', null, useX2i({ model: 'emoji' }).status);
console.log(`useX2i renders ${renderToString(createElement(Component)).replace(/<.*?>/g, '')}`);
console.log(`X2iImage is a ${typeof X2iImage}`);
