// A row of the results, which opens to its probabilities and its words.

import {button, element, excerpt, number, percent} from './dom.js';
import {explanationOf} from './explanation.js';
import {tone} from './labels.js';

const MOST_CHARACTERS = 300;
const MOST_BARS = 8;
const MOST_PARTS = 4;

/** A row; `explain(row)` is called for its words when it is first opened. */
export function resultRow(row, labels, explain) {
  const item = element('li', 'row');
  const text = element('span', 'text', excerpt(row.text, MOST_CHARACTERS));
  const count = element('span', 'row-number quiet', number(row.number));
  count.title = `Row ${row.number}`;
  if (row.problem) {
    item.append(element('div', 'head', count, text, element('span', 'problem', row.problem)));
    return item;
  }
  const {label, score, scores} = row.result;
  const ranked = Object.entries(scores).sort(([, one], [, other]) => other - one);
  const verdict = element('span', 'verdict', `${label} `, element('span', 'number', percent(score)));
  const detail = element('div', 'detail');
  const head = button('head', '', () => {
    if (!detail.childElementCount) fill(detail, row, ranked, labels, explain);
    detail.hidden = !detail.hidden;
    head.setAttribute('aria-expanded', String(!detail.hidden));
  });
  head.append(count, text, verdict, split(ranked, labels));
  detail.id = `row-${row.number}`;
  detail.hidden = true;
  head.setAttribute('aria-expanded', 'false');
  head.setAttribute('aria-controls', detail.id);
  item.dataset.tone = tone(label, labels);
  item.append(head, detail);
  return item;
}

function fill(detail, row, ranked, labels, explain) {
  // A few labels stay in the order of the model, so that rows can be compared.
  const shown = ranked.length > MOST_BARS ? ranked.slice(0, MOST_BARS) : Object.entries(row.result.scores);
  const list = bars(shown, labels);
  detail.append(list);
  if (ranked.length > shown.length) {
    const all = button('plain', `Show all ${number(ranked.length)} labels`, () => {
      all.remove();
      list.replaceWith(bars(ranked, labels));
    });
    detail.append(all);
  }
  if (row.text.length > MOST_CHARACTERS) detail.append(element('p', 'full quiet', row.text));
  if (row.result.truncated) {
    detail.append(element('p', 'quiet', `Only the beginning was read, ${row.result.tokens} tokens.`));
  }
  detail.append(explanationOf(row, explain));
}

/** Probabilities as bars with names and numbers. */
function bars(scores, labels) {
  return element('dl', 'bars', ...scores.map(([label, score]) => {
    const filled = element('span', 'fill');
    filled.style.setProperty('--share', score);
    const value = element('dd', '', element('span', 'track', filled), percent(score));
    const bar = element('div', 'bar', element('dt', '', label), value);
    bar.dataset.tone = tone(label, labels);
    return bar;
  }));
}

/** The highest probabilities in a thin bar, for a glance down a list. */
function split(ranked, labels) {
  const bar = element('span', 'split');
  bar.setAttribute('aria-hidden', 'true');
  const shown = ranked.slice(0, MOST_PARTS);
  const order = ([label]) => labels.indexOf(label);
  for (const [label, score] of shown.sort((one, other) => order(one) - order(other))) {
    const part = element('span');
    part.dataset.tone = tone(label, labels);
    part.style.setProperty('--share', score);
    bar.append(part);
  }
  return bar;
}
