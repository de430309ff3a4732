// The routes of /openapi.json as a page: what each takes and answers, a command for each, and a way to try it.

const description = await (await fetch('openapi.json')).json();
const routes = document.getElementById('routes');
/** The sections in their order; those that are not here stand before the last. */
const SECTIONS = { openai: 'OpenAI', jobs: 'Jobs', chat: 'Chat', conditioning: 'Conditioning', a1111: 'A1111', operations: 'Operations' };
/** Longer texts of an answer are cut on the page. */
const LONGEST = 300;

/** An element with properties and children. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** A text whose `names` are code. */
function prose(text = '') {
  return text.split('`').map((part, index) => (index % 2 === 1 ? make('code', {}, part) : part));
}

/** A schema behind its references. */
function resolve(schema) {
  if (schema?.$ref === undefined) return schema ?? {};
  return resolve(description.components.schemas[schema.$ref.split('/').pop()]);
}

/** What a schema is, in words: `integer, 1 to 64`. */
function kindOf(schema) {
  if (schema?.$ref !== undefined) return kindOf(resolve(schema));
  const choices = (schema.oneOf ?? schema.anyOf ?? []).filter((choice) => choice.type !== 'null');
  if (choices.length > 0) return choices.map(kindOf).join(' or ');
  if (schema.enum !== undefined) return schema.enum.map((value) => JSON.stringify(value)).join(' or ');
  if (schema.properties !== undefined) return 'object';
  const types = [schema.type ?? 'anything'].flat().filter((type) => type !== 'null');
  if (types.includes('array')) return `list of ${kindOf(schema.items ?? {})}`;
  const { minimum, maximum } = schema;
  const range = minimum !== undefined && maximum !== undefined ? `, ${minimum} to ${maximum}` : '';
  return types.join(' or ') + range;
}

/** A row of a name, what it is, and what it does. The roles are told since a narrow page shows rows as blocks. */
function row(name, kind, text) {
  const cells = [make('td', { role: 'cell', className: 'kind' }, kind), make('td', { role: 'cell' }, ...prose(text))];
  return make('tr', { role: 'row' }, make('th', { role: 'rowheader', scope: 'row' }, make('code', {}, name)), ...cells);
}

/** A row of a field or a parameter. */
function fieldRow(name, isRequired, schema, text) {
  return row(name, `${kindOf(schema)}${isRequired ? ', required' : ''}`, text);
}

function table(caption, rows) {
  if (rows.length === 0) return '';
  return make('table', { role: 'table' }, make('caption', {}, caption), make('tbody', { role: 'rowgroup' }, ...rows));
}

/** The fields of a body, required ones first. */
function fields(schema) {
  const { properties = {}, required = [] } = resolve(schema);
  const isRequired = ([name]) => required.includes(name);
  const entries = Object.entries(properties).sort((a, b) => isRequired(b) - isRequired(a));
  return entries.map(([name, field]) => fieldRow(name, required.includes(name), field, field.description ?? resolve(field).description));
}

/** The fields that a first try needs. */
function example(schema) {
  const { properties = {}, required = [] } = resolve(schema);
  const body = {};
  for (const name of required) {
    if (name === 'prompt') body.prompt = 'a red apple on a blue background';
    else if (name === 'messages') body.messages = [{ role: 'user', content: 'a red apple' }];
    else body[name] = '';
  }
  if (properties.prompt !== undefined) body.prompt ??= 'a red apple on a blue background';
  if (properties.seed !== undefined) body.seed = 7;
  return JSON.stringify(body);
}

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** An answer as text with its long texts cut, and the images that it has. */
function shown(json) {
  const images = [];
  const cut = (_, value) => {
    if (typeof value !== 'string' || value.length < LONGEST) return value;
    const data = value.match(/data:image\/\w+;base64,[A-Za-z0-9+/=]+/)?.[0];
    if (data !== undefined) images.push(data);
    else if (/^(iVBOR|\/9j\/|UklGR)/.test(value)) images.push(`data:image/png;base64,${value}`);
    return `${value.slice(0, 60)}… (${value.length} characters)`;
  };
  const text = JSON.stringify(json, cut, 2);
  return [make('pre', {}, text), ...[...new Set(images)].map((src) => make('img', { src, alt: 'the image' }))];
}

/** Asks the server, and shows what it answers. */
async function ask(method, path, body, answer) {
  answer.replaceChildren('…');
  try {
    const headers = body === undefined ? {} : { 'content-type': 'application/json' };
    const response = await fetch(path.slice(1), { method, headers, body });
    const kind = response.headers.get('content-type') ?? '';
    const status = make('p', {}, `${response.status} ${kind}`);
    if (kind.startsWith('image/')) {
      answer.replaceChildren(status, make('img', { src: URL.createObjectURL(await response.blob()), alt: 'the image' }));
    } else if (kind.includes('json')) answer.replaceChildren(status, ...shown(await response.json()));
    else answer.replaceChildren(status, make('pre', {}, (await response.text()).slice(0, 20000)));
  } catch (error) {
    answer.replaceChildren(String(error));
  }
}

function trial(method, path, schema) {
  const answer = make('div', { className: 'answer' });
  answer.setAttribute('aria-live', 'polite');
  const where = make('input', { value: path, ariaLabel: 'Path' });
  const body = schema === undefined ? undefined : make('textarea', { value: example(schema), rows: 3, ariaLabel: 'Body' });
  const command = make('pre');
  const write = () => {
    const data = body === undefined ? '' : ` -H 'content-type: application/json' -d ${quoted(body.value)}`;
    const verb = method === 'get' ? '' : ` -X ${method.toUpperCase()}`;
    command.textContent = `curl${verb} ${location.origin}${where.value}${data}`;
  };
  for (const field of [where, body]) field?.addEventListener('input', write);
  write();
  const button = make('button', { type: 'button' }, 'Try it');
  button.addEventListener('click', () => ask(method, where.value, body?.value, answer));
  return make('div', { className: 'trial' }, where, button, ...(body === undefined ? [] : [body]), command, answer);
}

function route(path, method, operation) {
  const content = operation.requestBody?.content ?? {};
  const schema = content['application/json']?.schema;
  const parameters = (operation.parameters ?? []).map((parameter) => fieldRow(parameter.name, parameter.required, parameter.schema, parameter.description));
  const answers = Object.entries(operation.responses).map(([status, response]) => row(status, Object.keys(response.content ?? {}).join(', '), response.description));
  const words = [operation.summary, operation.description].filter(Boolean);
  const body = make('div', { className: 'body' });
  if (operation.description) body.append(make('p', {}, ...prose(operation.description)));
  const details = make('details', {}, make('summary', {}, make('span', { className: 'method' }, method.toUpperCase()), ' ', make('code', {}, path), ' ', ...prose(operation.summary)), body);
  details.dataset.words = [path, method, ...words, ...Object.keys(resolve(schema).properties ?? {})].join(' ').toLowerCase();
  // Large tables are made when someone looks.
  details.addEventListener('toggle', () => {
    body.append(table('Parameters', parameters), table(`Body: ${Object.keys(content).join(' or ')}`, fields(schema)), table('Answers', answers), trial(method, path, schema));
  }, { once: true });
  return details;
}

/** The section of a route: its tag, but for two that have sections of their own. */
function sectionOf(path, [tag = 'other'] = []) {
  if (path.startsWith('/v1/chat/')) return 'chat';
  return path === '/v1/x2i/conditioning' ? 'conditioning' : tag;
}

/** The place of a section. */
function placeOf(section) {
  const names = Object.keys(SECTIONS);
  const place = names.indexOf(section);
  return place === -1 ? names.length - 1.5 : place;
}

const groups = new Map();
for (const [path, item] of Object.entries(description.paths)) {
  for (const method of ['get', 'post', 'put', 'delete']) {
    const operation = item[method];
    if (operation === undefined) continue;
    const section = sectionOf(path, operation.tags);
    groups.set(section, [...(groups.get(section) ?? []), route(path, method, operation)]);
  }
}
for (const [section, list] of [...groups].sort(([a], [b]) => placeOf(a) - placeOf(b))) {
  routes.append(make('section', {}, make('h2', {}, SECTIONS[section] ?? section), ...list));
}
document.getElementById('about').textContent = `${description.info.description} Version ${description.info.version}.`;

document.getElementById('find').addEventListener('input', ({ target }) => {
  const wanted = target.value.trim().toLowerCase();
  for (const section of routes.children) {
    const all = [...section.querySelectorAll('details')];
    for (const details of all) details.hidden = !details.dataset.words.includes(wanted);
    section.hidden = all.every((details) => details.hidden);
  }
});
