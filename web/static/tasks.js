"use strict";
// Which tasks are picked, and the bar that says what can be done with them.
(() => {
  const bar = document.getElementById("bulk");
  if (!bar) return;
  const words = document.querySelector("[data-words-picked]").dataset;
  const picked = new Set();
  let every = false;
  const boxes = () => [...document.querySelectorAll("input[data-pick]")];
  const head = () => document.querySelector("input[data-pick-all]");

  function show() {
    for (const box of boxes()) box.checked = every || picked.has(box.dataset.pick);
    const shown = boxes();
    const whole = shown.length > 0 && shown.every((box) => box.checked);
    if (head()) { head().checked = whole; head().indeterminate = !whole && picked.size > 0; }
    bar.hidden = !every && picked.size === 0;
    bar.querySelector("[data-picked]").textContent = every ? words.wordsAll : words.wordsPicked.replace("{n}", picked.size.toLocaleString());
    bar.querySelector("[data-all]").hidden = every || !whole || !document.querySelector("[data-following]");
    bar.elements.ids.value = every ? "" : [...picked].join(",");
    bar.elements.all.value = every ? "true" : "";
  }
  function drop() { picked.clear(); every = false; show(); }

  document.addEventListener("change", ({ target }) => {
    if (target.matches("[data-pick]")) {
      every = false;
      target.checked ? picked.add(target.dataset.pick) : picked.delete(target.dataset.pick);
    } else if (target.matches("[data-pick-all]")) {
      every = false;
      for (const box of boxes()) target.checked ? picked.add(box.dataset.pick) : picked.delete(box.dataset.pick);
    } else return;
    show();
  });
  document.addEventListener("click", ({ target }) => {
    if (target.closest("[data-drop]")) drop();
    else if (target.closest("[data-all]")) { every = true; show(); }
  });
  document.getElementById("filters").addEventListener("input", drop); // what is picked is what is seen
  document.body.addEventListener("tasks:changed", drop);
  document.addEventListener("htmx:afterSettle", show);
})();
