// Shows every error that nothing else handles. It is loaded first, and not as a module, so that it also reports a
// script that does not load or does not parse.
(() => {
  function report(problem) {
    const alert = document.getElementById('fault');
    if (!alert) return document.addEventListener('DOMContentLoaded', () => report(problem), {once: true});
    alert.hidden = false;
    alert.textContent =
      `Something went wrong in this page: ${problem} Download the results that you have, then reload the page.`;
  }
  const sentence = (text) => (/[.!?]$/.test(text) ? text : `${text}.`);
  // Only capturing listeners get the events of files that do not load.
  addEventListener('error', ({message, target}) => {
    report(sentence(message || `${target.src || target.href || 'a file'} did not load`));
  }, true);
  addEventListener('unhandledrejection', ({reason}) => report(sentence(String(reason?.message ?? reason))));
})();
