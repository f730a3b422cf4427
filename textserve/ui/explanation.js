// The words of a text, coloured by their influence on one label: by how much its log-odds fall without the word. The
// score itself hardly moves where it is close to 1, as for most texts; it is used only where there are no odds.

import {button, element} from './dom.js';
import {plain} from './model.js';

// If no influence is as large as this, the colours stay weak: differences so small say nothing about a word.
const LEAST_SCALE = {log_odds: 0.2, influence: 0.001};
const LEAST_SHARE = 0.05;
const STRONGEST = 5;
// Statuses of a text that will not be explained at a second attempt either.
const REJECTED = [400, 413];

/** The explanation of a row, filled in when `explain(row, labels)` has answered: `{answer, took}`. */
export function explanationOf(row, model, explain) {
  const view = element('div', 'explanation');
  const words = element('div');
  words.setAttribute('aria-live', 'polite');
  const known = new Map(); // the answers so far, by label
  const ranked = model.ranked(row.result);
  const [[best]] = model.several && model.applied(row.result).length ? model.applied(row.result) : ranked;
  let chosen = best;

  const show = async (labels) => {
    const label = chosen;
    words.dataset.tone = model.tone(label);
    if (!known.has(label)) words.replaceChildren(element('p', 'quiet', 'Looking at each word…'));
    try {
      if (!known.has(label)) {
        const {answer, took} = await explain(row, labels);
        for (const one of answer.explained) known.set(one, {words: wordsFor(answer.words, one), took});
      }
      if (label === chosen) words.replaceChildren(...explanation(row, known.get(label), label, model));
    } catch (error) {
      if (label !== chosen) return; // another label was chosen meanwhile
      const problem = element('p', 'problem', `The words are not explained. ${error.message} `);
      if (!REJECTED.includes(error.status)) problem.append(button('plain', 'Try again', () => show(labels)));
      words.replaceChildren(problem);
    }
  };
  if (ranked.length > 1) {
    const choice = element('select', '', ...ranked.map(([label, score]) => new Option(`${label} (${model.format(score)})`, label)));
    choice.value = chosen;
    choice.addEventListener('change', () => {
      chosen = choice.value;
      show([chosen]);
    });
    view.append(element('label', 'choices', element('span', '', 'Words that speak for ', choice)));
  }
  view.append(words);
  show(); // without labels, the service explains all that apply
  return view;
}

/** The words with their influence on one of the explained labels. */
function wordsFor(words, label) {
  return words.map((word) => ({...word, ...word.labels?.[label]}));
}

/** The texts with their words coloured, and the strongest words as a list with numbers. */
function explanation({text, text_pair}, {words, took}, label, model) {
  const kind = words.some((word) => 'log_odds' in word) ? 'log_odds' : 'influence';
  const scale = words.reduce((most, word) => Math.max(most, Math.abs(word[kind])), LEAST_SCALE[kind]);
  const of = (key) => words.filter((word) => word.in === key);
  const texts = [coloured(text, of('text'), kind, scale)];
  if (text_pair !== undefined) texts.push(coloured(text_pair, of('text_pair'), kind, scale));
  const strongest = words
    .filter((word) => Math.abs(word[kind]) >= scale * LEAST_SHARE)
    .sort((one, other) => Math.abs(other[kind]) - Math.abs(one[kind]))
    .slice(0, STRONGEST);
  const what = model.number ? 'the score' : `“${label}”`;
  if (!strongest.length) return [...texts, element('p', 'quiet', `No single word decides it. Computed in ${took}.`)];
  const list = element('ul', 'strongest', ...strongest.map((word) => {
    const item = element('li', direction(word[kind]), word.text, ' ', element('span', 'number', effect(word, kind)));
    item.title = meaning(word, what, model);
    return item;
  }));
  const note = kind === 'log_odds'
    ? `How many times lower (×) or higher (÷) the odds of ${what} are when the word is left out.`
    : `How much lower (+) or higher (−) ${model.number ? what : `the score of ${what}`} is when the word is left out.`;
  return [...texts, list, element('p', 'quiet', `${note} Computed in ${took}.`)];
}

function coloured(text, words, kind, scale) {
  const characters = [...text]; // the service counts code points, as this does, and JavaScript's strings do not
  const shown = element('p', 'words');
  let position = 0;
  for (const word of words) {
    shown.append(characters.slice(position, word.start).join(''), marked(word, kind, scale));
    position = word.end;
  }
  shown.append(characters.slice(position).join(''));
  return shown;
}

function marked(word, kind, scale) {
  const share = Math.abs(word[kind]) / scale;
  if (share < LEAST_SHARE) return word.text;
  const mark = element('mark', direction(word[kind]), word.text);
  mark.style.setProperty('--strength', share.toFixed(3));
  mark.title = effect(word, kind);
  return mark;
}

function direction(value) {
  return value > 0 ? 'for' : 'against';
}

function meaning({influence}, what, model) {
  const points = model.probabilities ? `${Math.abs(influence * 100).toFixed(1)} percentage points` : plain(Math.abs(influence));
  return `Without it, ${what} ${influence > 0 ? 'falls' : 'rises'} by ${points}`;
}

/** The change of the odds, such as ×2.60: the word makes the label 2.6 times as likely; or of the score, such as +0.26. */
function effect(word, kind) {
  if (kind === 'influence') return `${word.influence > 0 ? '+' : '−'}${plain(Math.abs(word.influence))}`;
  return `${word.log_odds > 0 ? '×' : '÷'}${Math.exp(Math.abs(word.log_odds)).toFixed(2)}`;
}
