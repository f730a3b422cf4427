// Calls the service, puts its errors in words, and retries when an overloaded service says so.

import {Model} from './model.js';

const ATTEMPTS = 20;
const RETRIED = [429, 503];
const MOST_SECONDS_TO_WAIT = 60;

/** A request that failed: `status` of the response, `type` of the error, and `where` in the request the fault is. */
export class ServiceError extends Error {
  constructor(message, {status = 0, type = '', where = ''} = {}) {
    super(message);
    Object.assign(this, {status, type, where});
  }
}

export class Service {
  /** The API key, in the memory of this page and nowhere else. */
  key = '';

  /**
   * The service's answer to a POST, and the milliseconds that its model worked on it.
   * `busy(seconds)` is called before each wait for a service that is overloaded.
   */
  async post(path, content, {signal, busy = () => {}} = {}) {
    const headers = {'content-type': 'application/json'};
    for (let attempt = 1; ; attempt++) {
      const response = await this.#fetch(path, {method: 'POST', headers, body: JSON.stringify(content), signal});
      if (response.ok) return {answer: await json(response, signal), milliseconds: inference(response)};
      const seconds = waiting(response);
      if (!seconds || attempt === ATTEMPTS) throw await problem(response);
      busy(seconds);
      await pause(seconds * 1000, signal);
    }
  }

  /** The model, its labels, and how large a request may be. */
  async model() {
    const response = await this.#fetch('ui/model.json');
    if (!response.ok) throw await problem(response);
    return new Model(await json(response));
  }

  async #fetch(path, options = {}) {
    // A header cannot have other characters, so no service accepts such a key.
    if (/[^\x20-\x7e]/.test(this.key)) throw new ServiceError('This is not a valid API key.', {status: 401});
    const headers = {...options.headers, ...(this.key && {authorization: `Bearer ${this.key}`})};
    try {
      return await fetch(path, {...options, headers});
    } catch (error) {
      if (error.name === 'AbortError') throw error;
      throw new ServiceError('The service cannot be reached. Is it running, and are you online?');
    }
  }
}

async function json(response, signal) {
  let content;
  try {
    content = await response.text();
    return JSON.parse(content);
  } catch {
    signal?.throwIfAborted();
    if (content === undefined) throw new ServiceError('The connection was lost before the service had answered.');
    throw new ServiceError('The answer is not from the service: a proxy or a login page may be in between. Reload the page.');
  }
}

/** Seconds after which to retry; 0 if the response does not ask for a retry. */
function waiting(response) {
  const header = response.headers.get('retry-after');
  if (!RETRIED.includes(response.status) || (!header && response.status !== 429)) return 0;
  const seconds = Number(header ?? 1) || (Date.parse(header) - Date.now()) / 1000; // a number or a date
  return Math.min(MOST_SECONDS_TO_WAIT, Math.max(1, Math.ceil(seconds || 1)));
}

async function problem(response) {
  const {status} = response;
  const {error} = (await response.json().catch(() => null)) ?? {};
  const {type, where, message} = error ?? {};
  return new ServiceError(sentence(message ?? `the service answered with status ${status}`), {status, type, where});
}

function sentence(message) {
  return `${message[0].toUpperCase()}${message.slice(1)}${/[.!?]$/.test(message) ? '' : '.'}`;
}

function inference(response) {
  const found = /inference;dur=([\d.]+)/.exec(response.headers.get('server-timing') ?? '');
  return found ? Number(found[1]) : 0;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener('abort', stop, {once: true});
  });
}
