"use strict";
// Crontabs in words: the title of <code data-cron>, the text of <p data-cron-of="id of an input">.
(() => {
  const locale = document.documentElement.lang === "zh-CN" ? "zh_CN" : "en";
  function inWords(text) {
    const fields = text.trim().split(/\s+/).length;
    if (fields < 5 || fields > 6) return "";
    try {
      return cronstrue.toString(text, { locale, use24HourTimeFormat: true, verbose: false, logicalAndDayFields: false });
    } catch {
      return "";
    }
  }
  function all(root = document) {
    for (const code of root.querySelectorAll("[data-cron]")) code.title = inWords(code.dataset.cron);
    for (const place of root.querySelectorAll("[data-cron-of]")) {
      const source = document.getElementById(place.dataset.cronOf);
      place.textContent = inWords(source ? source.value : place.dataset.cronOf);
    }
  }
  document.addEventListener("input", ({ target }) => {
    for (const place of document.querySelectorAll("[data-cron-of]")) {
      if (place.dataset.cronOf === target.id) place.textContent = inWords(target.value);
    }
  });
  document.addEventListener("htmx:afterSettle", () => all());
  all();
})();
