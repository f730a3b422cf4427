// Shows results: a row a text, its probabilities as bars, and its words coloured by their influence.

// Below these nothing is coloured: differences so small say nothing about a word.
const LEAST_SCALE = 0.05;
const LEAST_SHARE = 0.05;
const STRONGEST = 5;
// Statuses that say that the same text will never be explained.
const REFUSED = [400, 413];

/** `<name class>` with children, which are nodes or plain text: no text is ever read as HTML. */
export function element(name, className = '', ...children) {
  const node = document.createElement(name);
  if (className) node.className = className;
  node.append(...children);
  return node;
}

/** How many texts got each label. */
export function totals(rows) {
  const results = rows.flatMap((row) => row.result ?? []);
  const labels = Object.keys(results[0]?.scores ?? {});
  return labels.map((label) => {
    const count = results.filter((result) => result.label === label).length;
    const part = element('div', 'total', element('dt', '', label), element('dd', '', String(count)));
    part.dataset.label = label;
    return part;
  });
}

/** A row that opens to its bars and words; `explain(row)` is asked for the words when it first does. */
export function resultRow(row, explain) {
  const item = element('li', 'row');
  const text = element('span', 'text', row.text);
  if (row.problem) {
    item.append(element('div', 'head', text, element('span', 'problem', row.problem)));
    return item;
  }
  const {label, score, scores} = row.result;
  const verdict = element('span', 'verdict', `${label} `, element('span', 'number', percent(score)));
  const head = element('button', 'head', text, verdict, split(scores));
  const detail = element('div', 'detail');
  head.type = 'button';
  detail.id = `row-${row.number}`;
  detail.hidden = true;
  head.setAttribute('aria-expanded', 'false');
  head.setAttribute('aria-controls', detail.id);
  item.dataset.label = label;
  head.addEventListener('click', () => {
    const open = detail.hidden;
    if (open && !detail.childElementCount) fill(detail, row, explain);
    detail.hidden = !open;
    head.setAttribute('aria-expanded', String(open));
  });
  item.append(head, detail);
  return item;
}

async function fill(detail, row, explain) {
  const words = element('div', 'explanation', element('p', 'quiet', 'Looking at each word…'));
  words.setAttribute('aria-live', 'polite');
  detail.append(bars(row.result.scores));
  if (row.result.truncated) {
    detail.append(element('p', 'quiet', `Only the beginning was read, ${row.result.tokens} tokens.`));
  }
  detail.append(words);
  try {
    const {answer, took} = await explain(row);
    words.replaceChildren(...explanation(row.text, answer, took));
  } catch (error) {
    const again = element('button', 'plain', 'Try again');
    again.type = 'button';
    again.addEventListener('click', () => {
      detail.replaceChildren();
      fill(detail, row, explain);
    });
    const problem = element('p', 'problem', `The words are not explained. ${error.message} `);
    if (!REFUSED.includes(error.status)) problem.append(again);
    words.replaceChildren(problem);
  }
}

/** Every label's probability as a bar with its name and number. */
function bars(scores) {
  const list = element('dl', 'bars');
  for (const [label, score] of Object.entries(scores)) {
    const fill = element('span', 'fill');
    fill.style.setProperty('--share', score);
    const bar = element('div', 'bar', element('dt', '', label), element('dd', '', element('span', 'track', fill), percent(score)));
    bar.dataset.label = label;
    list.append(bar);
  }
  return list;
}

/** All probabilities in one thin bar, for a glance down a list. */
function split(scores) {
  const bar = element('span', 'split');
  bar.setAttribute('aria-hidden', 'true');
  for (const [label, score] of Object.entries(scores)) {
    const part = element('span');
    part.dataset.label = label;
    part.style.setProperty('--share', score);
    bar.append(part);
  }
  return bar;
}

/** The text with its words coloured, and the strongest of them as a list with numbers. */
export function explanation(text, answer, took) {
  const characters = [...text]; // the service counts code points, as this does, and JavaScript's strings do not
  const scale = Math.max(LEAST_SCALE, ...answer.words.map((word) => Math.abs(word.influence)));
  const shown = element('p', 'words');
  let place = 0;
  for (const word of answer.words) {
    shown.append(characters.slice(place, word.start).join(''), coloured(word, scale));
    place = word.end;
  }
  shown.append(characters.slice(place).join(''));
  const strongest = answer.words
    .filter((word) => Math.abs(word.influence) >= scale * LEAST_SHARE)
    .sort((one, other) => Math.abs(other.influence) - Math.abs(one.influence))
    .slice(0, STRONGEST);
  const list = element('ul', 'strongest', ...strongest.map((word) => {
    const item = element('li', direction(word), word.text, ' ', element('span', 'number', points(word.influence)));
    item.title = meaning(word, answer.label);
    return item;
  }));
  const note = strongest.length
    ? `By how many percentage points “${answer.label}” falls when the word is left out; below zero it rises. Asked in ${took}.`
    : `No single word decides it. Asked in ${took}.`;
  return strongest.length ? [shown, list, element('p', 'quiet', note)] : [shown, element('p', 'quiet', note)];
}

function coloured(word, scale) {
  const share = Math.abs(word.influence) / scale;
  if (share < LEAST_SHARE) return word.text;
  const mark = element('mark', direction(word), word.text);
  mark.style.setProperty('--strength', share.toFixed(3));
  mark.title = points(word.influence);
  return mark;
}

function direction(word) {
  return word.influence > 0 ? 'for' : 'against';
}

function meaning(word, label) {
  return `Without it, ${label} ${word.influence > 0 ? 'falls' : 'rises'} by ${Math.abs(word.influence * 100).toFixed(1)} points`;
}

function percent(share) {
  return `${(share * 100).toFixed(1)}%`;
}

function points(influence) {
  return `${influence > 0 ? '+' : '−'}${Math.abs(influence * 100).toFixed(1)}`;
}
