// A row of the results, which opens to show its scores and its words.

import {button, element, excerpt, number} from './dom.js';
import {explanationOf} from './explanation.js';

const MOST_CHARACTERS = 300;
const MOST_BARS = 5;
const MOST_PARTS = 4;
const MOST_CHIPS = 5;

/** A row; `explain(row, labels)` is called for its words when it is first opened. */
export function resultRow(row, model, explain) {
  const item = element('li', 'row');
  const texts = element('span', 'texts', ...textsOf(row).map((text) => element('span', 'text', excerpt(text, MOST_CHARACTERS))));
  const count = element('span', 'row-number quiet', number(row.number));
  count.title = `Row ${row.number}`;
  if (row.problem) {
    item.append(element('div', 'head', count, texts, element('span', 'problem', row.problem)));
    return item;
  }
  const detail = element('div', 'detail');
  const head = button('head', '', () => {
    if (!detail.childElementCount) fill(detail, row, model, explain);
    detail.hidden = !detail.hidden;
    head.setAttribute('aria-expanded', String(!detail.hidden));
  });
  head.append(count, texts, ...answer(row.result, model));
  detail.id = `row-${row.number}`;
  detail.hidden = true;
  head.setAttribute('aria-expanded', 'false');
  head.setAttribute('aria-controls', detail.id);
  const [[best]] = model.ranked(row.result);
  item.dataset.tone = model.tone(best);
  item.append(head, detail);
  return item;
}

function textsOf({text, text_pair}) {
  return text_pair === undefined ? [text] : [text, text_pair];
}

/** The result in short: the label, the labels that apply, or the number. */
function answer(result, model) {
  if (model.number) return [element('span', 'verdict', element('span', 'number', model.format(result.score))), gauge(result, model)];
  const applied = model.applied(result);
  if (model.several) return [element('span', 'verdict'), chips(applied, model)];
  const [[label, score]] = applied;
  const verdict = element('span', 'verdict', `${label} `, element('span', 'number', model.format(score)));
  return model.probabilities ? [verdict, split(model.ranked(result), model)] : [verdict];
}

function fill(detail, row, model, explain) {
  if (!model.number) detail.append(...scores(row.result, model));
  for (const text of textsOf(row)) if (text.length > MOST_CHARACTERS) detail.append(element('p', 'full quiet', text));
  if (row.result.truncated) {
    detail.append(element('p', 'quiet', `Cut off: the model read only ${number(row.result.tokens)} tokens.`));
  }
  detail.append(explanationOf(row, model, explain));
}

/** The scores as bars: the best ones, and the others on demand. */
function scores(result, model) {
  const ranked = model.ranked(result);
  if (ranked.length <= MOST_BARS) return [bars(inOrder(result.scores, model), model)];
  const list = bars(ranked.slice(0, MOST_BARS), model);
  const all = button('plain', `Show all ${number(ranked.length)} labels`, () => {
    all.remove();
    list.append(...bars(ranked, model).children);
    for (let index = 0; index < MOST_BARS; index++) list.firstChild.remove();
  });
  return [list, all];
}

/** Scores in the order of the model's labels: an object has those of its keys that are whole numbers first. */
function inOrder(scores, {labels}) {
  return [...new Set([...labels, ...Object.keys(scores)])].filter((label) => label in scores).map((label) => [label, scores[label]]);
}

/** Scores as bars with names and numbers; bars of scores without bounds reach from the lowest to the highest. */
function bars(scores, model) {
  const values = scores.map(([, score]) => score);
  const [lowest, highest] = model.bounded ? [0, 1] : [Math.min(0, ...values), Math.max(0, ...values)];
  return element('dl', 'bars', ...scores.map(([label, score]) => {
    const filled = element('span', 'fill');
    filled.style.setProperty('--share', (score - lowest) / (highest - lowest || 1));
    const track = element('span', 'track', filled);
    if (model.several) {
      const threshold = element('span', 'threshold');
      threshold.style.setProperty('--share', model.threshold(label));
      threshold.title = `The label applies from ${model.format(model.threshold(label))} on`;
      track.append(threshold);
    }
    const bar = element('div', 'bar', element('dt', '', label), element('dd', '', track, model.format(score)));
    bar.dataset.tone = model.tone(label);
    return bar;
  }));
}

/** The highest probabilities in a thin bar. */
function split(ranked, model) {
  const bar = element('span', 'split');
  bar.setAttribute('aria-hidden', 'true');
  const shown = ranked.slice(0, MOST_PARTS);
  const order = ([label]) => model.labels.indexOf(label);
  for (const [label, score] of shown.sort((one, other) => order(one) - order(other))) {
    const part = element('span');
    part.dataset.tone = model.tone(label);
    part.style.setProperty('--share', score);
    bar.append(part);
  }
  return bar;
}

/** The labels that apply with their scores. */
function chips(applied, model) {
  const shown = applied.slice(0, MOST_CHIPS).map(([label, score]) => {
    const chip = element('span', 'applied', label, ' ', element('span', 'number quiet', model.format(score)));
    chip.dataset.tone = model.tone(label);
    return chip;
  });
  if (!applied.length) shown.push(element('span', 'quiet', 'no label applies'));
  if (applied.length > MOST_CHIPS) shown.push(element('span', 'quiet', `and ${number(applied.length - MOST_CHIPS)} more`));
  return element('span', 'chips', ...shown);
}

/** A number as a bar from 0 to 1, or as a point, which style.css places on the scale of all results. */
function gauge({score}, model) {
  const track = element('span', model.bounded ? 'gauge' : 'gauge point', element('span'));
  track.setAttribute('aria-hidden', 'true');
  track.style.setProperty(model.bounded ? '--share' : '--value', score);
  return track;
}
