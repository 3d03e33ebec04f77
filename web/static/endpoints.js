"use strict";
// Rows of the form that holds the limits of agents: one more, one fewer.
document.addEventListener("click", ({ target }) => {
  const form = target.closest("form");
  if (target.closest("[data-add-row]")) {
    const rows = form.querySelector("tbody");
    rows.append(form.querySelector("template").content.cloneNode(true));
    rows.lastElementChild.querySelector("input").focus();
  } else if (target.closest("[data-drop-row]")) {
    target.closest("tr").remove();
    form.querySelector("[data-add-row]").focus();
  }
});
