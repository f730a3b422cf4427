// Asks the service: errors in words, and one that is overloaded again when it says so.

const RETRIES = 20;

/** An answer that is not the one asked for: `status`, the error's `type`, and `where` in the request it lies. */
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
   * The service's answer to a POST, and the milliseconds that its model worked for it.
   * `busy(seconds)` is called before each wait for a service that is overloaded.
   */
  async post(path, content, {signal, busy = () => {}} = {}) {
    for (let attempt = 0; ; attempt++) {
      const response = await this.#fetch(path, content, signal);
      if (response.ok) return {answer: await response.json(), milliseconds: inference(response)};
      if (response.status !== 429 || attempt === RETRIES) throw await problem(response);
      const seconds = Number(response.headers.get('retry-after')) || 1;
      busy(seconds);
      await pause(seconds * 1000, signal);
    }
  }

  /** How large a request may be. */
  async limits() {
    const response = await reach('ui/limits.json');
    if (!response.ok) throw await problem(response);
    return response.json();
  }

  #fetch(path, content, signal) {
    const headers = {'content-type': 'application/json'};
    // A header cannot carry other characters, so no service has such a key.
    if (/[^\x20-\x7e]/.test(this.key)) throw new ServiceError('This is no API key.', {status: 401});
    if (this.key) headers.authorization = `Bearer ${this.key}`;
    return reach(path, {method: 'POST', headers, body: JSON.stringify(content), signal});
  }
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    throw new ServiceError('The service cannot be reached. Is it running, and are you online?');
  }
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
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
