"use strict";
// The dialog that holds a queue is told which one by the button that opened it.
document.addEventListener("click", ({ target }) => {
  const button = target.closest("[data-queue]");
  if (button) document.querySelector("#hold [name=name]").value = button.dataset.queue;
}, true);
