// The results of a job: totals, filter, order, and pages of rows.

import {at, counted, duration, element, focusIsLost, number} from './dom.js';
import {plain} from './model.js';
import {resultRow} from './row.js';
import {NONE, REJECTED} from './store.js';

const ROWS_ON_A_PAGE = 25;
const MOST_TOTALS = 8;
const ALL = '';

export class ResultsView {
  #job = null;
  #page = 0;
  #indices = [];
  #shown = []; // indices of the rows on the page
  #explain;
  #renders = 0;

  /** `explain(row, labels)` is called for the words of a row when it is opened. */
  constructor(explain) {
    this.#explain = explain;
    at('filter').addEventListener('change', () => this.#reorder());
    // The options do not change while the user chooses one.
    at('filter').addEventListener('blur', () => this.#job && this.#fillFilter());
    at('order').addEventListener('change', () => this.#reorder());
    at('previous').addEventListener('click', () => this.#turn(this.#page - 1));
    at('next').addEventListener('click', () => this.#turn(this.#page + 1));
    at('page').addEventListener('change', () => this.#turn(Number(at('page').value) - 1));
    at('rows').addEventListener('keydown', moveFocus);
  }

  /** Show a new job, which has no results yet. */
  start(job) {
    this.#job = job;
    this.#page = 0;
    this.#shown = [];
    this.#renders++;
    at('results').hidden = true;
    at('rows').replaceChildren();
    at('rows').classList.toggle('single', job.source.total === 1);
    at('totals').replaceChildren();
    at('filter').replaceChildren(new Option('all', ALL));
    at('order').value = 'row';
    at('filter').value = ALL;
    at('by-label').hidden = at('by-label').disabled = job.store.model.number;
  }

  /** Show the results so far. Rows on the page stay as they are, so that no row closes while the user reads it. */
  async update() {
    const {store} = this.#job;
    if (!store.length) return;
    at('results').hidden = false;
    at('took').textContent = this.summary();
    at('totals').replaceChildren(...totals(store));
    at('totals').hidden = at('refine').hidden = store.length < 2;
    at('filters').hidden = store.model.number && !store.rejected;
    // The scale of numbers without bounds; their points move along it when it grows.
    at('rows').classList.toggle('scaled', store.model.number && !store.model.bounded && store.highest > store.lowest);
    at('rows').style.setProperty('--lowest', store.lowest);
    at('rows').style.setProperty('--highest', store.highest);
    at('resume').hidden = this.#job.running || this.#job.finished || this.#job.failed;
    if (document.activeElement !== at('filter')) this.#fillFilter();
    const sorted = at('order').value !== 'row';
    // With every batch, sorted rows would move while the user reads them.
    if (sorted && this.#job.running) return;
    this.#select();
    await this.#render();
  }

  /** `80 of 100 texts in 1.2 s; the model worked for 1.1 s; 2 rows without a text skipped; stopped` */
  summary() {
    const {store, source, elapsed, inference, finished, running} = this.#job;
    const {noun, pair} = store.model;
    const count = store.length < source.total ? `${number(store.length)} of ${counted(source.total, noun)}` : counted(store.length, noun);
    const model = inference ? `; the model worked for ${duration(inference)}` : '';
    const skipped = source.skipped ? `; ${counted(source.skipped, 'row')} without ${pair ? 'both texts' : 'a text'} skipped` : '';
    return `${count} in ${duration(elapsed)}${model}${skipped}${finished || running ? '' : '; stopped'}`;
  }

  /** The result of a single text, or the totals, in a sentence. */
  async spoken() {
    const {store} = this.#job;
    const [first] = await store.rows(store.length ? [0] : []);
    if (store.length === 1 && first.result) return store.model.spoken(first.result);
    return [...at('totals').children].map((part) => `${part.lastChild.textContent} ${part.firstChild.textContent}`).join(', ');
  }

  #fillFilter() {
    const {store} = this.#job;
    const options = [['all', ALL, store.length]];
    if (store.model.number) options.push(['scored', NONE, store.none]);
    else options.push(...store.labels.map((label, index) => [label, index, store.counts[index]]));
    if (store.model.several) options.push(['no label', NONE, store.none]);
    if (store.rejected) options.push(['rejected', REJECTED, store.rejected]);
    const chosen = at('filter').value;
    at('filter').replaceChildren(...options.map(([name, value, count]) => new Option(`${name} (${number(count)})`, value)));
    at('filter').value = chosen;
  }

  #select() {
    const label = at('filter').value;
    this.#indices = this.#job.store.order(label === ALL ? null : Number(label), at('order').value);
  }

  #reorder() {
    this.#page = 0;
    this.#select();
    return this.#render();
  }

  async #turn(page) {
    this.#page = Number.isFinite(page) ? page : 0;
    if (at('order').value === 'row') this.#select();
    await this.#render();
    at('page').value = String(this.#page + 1);
    at('results').scrollIntoView({block: 'start'});
    if (focusIsLost()) at('results-title').focus({preventScroll: true});
  }

  async #render() {
    const count = this.#indices.length;
    const pages = Math.max(1, Math.ceil(count / ROWS_ON_A_PAGE));
    this.#page = Math.min(Math.max(0, Math.trunc(this.#page)), pages - 1);
    at('pager').hidden = pages === 1;
    at('previous').disabled = this.#page === 0;
    at('next').disabled = this.#page === pages - 1;
    if (document.activeElement !== at('page')) at('page').value = String(this.#page + 1);
    at('page').max = String(pages);
    at('pages').textContent = `of ${number(pages)}`;
    at('none').hidden = count > 0;

    const first = this.#page * ROWS_ON_A_PAGE;
    const wanted = Array.from(this.#indices.slice(first, first + ROWS_ON_A_PAGE));
    const kept = this.#shown.every((index, position) => index === wanted[position]) ? this.#shown.length : 0;
    const {store} = this.#job;
    const render = ++this.#renders;
    const rows = await store.rows(wanted.slice(kept));
    if (render !== this.#renders) return; // another page was asked for meanwhile
    if (!kept) at('rows').replaceChildren();
    at('rows').append(...rows.map((row) => resultRow(row, store.model, this.#explain)));
    this.#shown = wanted;
  }
}

/** How many texts have each label, the most frequent if there are many labels; of numbers, their range and mean. */
function totals(store) {
  const {model} = store;
  const rejected = store.rejected ? [total('rejected', number(store.rejected), 'rejected')] : [];
  if (model.number) {
    const parts = store.none ? [['lowest', store.lowest], ['mean', store.sum / store.none], ['highest', store.highest]] : [];
    return [...parts.map(([name, value]) => total(name, plain(value))), ...rejected];
  }
  const ranked = store.labels.map((label, index) => [label, store.counts[index]]);
  const many = ranked.length > MOST_TOTALS;
  if (many) ranked.sort(([, one], [, other]) => other - one);
  const shown = ranked.slice(0, MOST_TOTALS).filter(([, count]) => count || !many);
  const parts = shown.map(([label, count]) => total(label, number(count), model.tone(label)));
  const rest = ranked.reduce((sum, [, count]) => sum + count, 0) - shown.reduce((sum, [, count]) => sum + count, 0);
  if (rest) parts.push(total('other labels', number(rest), 'rest'));
  if (store.none) parts.push(total('no label', number(store.none), 'rest'));
  return [...parts, ...rejected];
}

function total(name, value, tone = '') {
  const part = element('div', tone ? 'total toned' : 'total', element('dt', '', name), element('dd', '', value));
  if (tone) part.dataset.tone = tone;
  return part;
}

function moveFocus(event) {
  const heads = [...at('rows').querySelectorAll('button.head')];
  const position = heads.indexOf(document.activeElement);
  const target = {ArrowDown: position + 1, ArrowUp: position - 1, Home: 0, End: heads.length - 1}[event.key];
  if (position < 0 || target === undefined) return;
  event.preventDefault();
  heads[target]?.focus();
}
