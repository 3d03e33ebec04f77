"use strict";
// The form of a task: skeletons and tidy JSON, and saving over somebody else's edit once one has seen it.
(() => {
  const form = document.getElementById("task");
  const config = form.querySelector("[data-json]");
  const given = config.value;
  const wrong = form.querySelector('[data-error-for="task_extra_config"]');

  const trial = form.querySelector("[data-trial]");
  function judge() {
    try {
      trial.hidden = JSON.parse(config.value)?.task_type === "celery"; // that one runs in a worker, not from here
      wrong.textContent = "";
    } catch (error) {
      wrong.textContent = error.message;
    }
  }
  function put(text) {
    config.value = text;
    config.dispatchEvent(new Event("input", { bubbles: true }));
    config.focus();
  }
  // What every type of task knows stays when the type changes; the rest belongs to the type it was.
  const COMMON = ["queue", "priority", "timeout", "max_retries", "retry_backoff", "endpoint", "expect", "notify", "after", "user", "conversation"];
  function carriedOver(next, old) {
    for (const [key, value] of Object.entries(old)) if (COMMON.includes(key) || (key in next && key !== "task_type")) next[key] = value;
    return next;
  }
  config.addEventListener("input", judge);
  config.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  const skeletons = [...form.querySelectorAll("[data-skeleton]")];
  let untouched = [given.trim(), "", ...skeletons.map((button) => button.dataset.skeleton.trim())];
  if (form.elements.task_id.value) untouched = untouched.slice(1); // a task's own is no skeleton
  document.addEventListener("click", ({ target }) => {
    const skeleton = target.closest("[data-skeleton]");
    if (skeleton) {
      if (untouched.includes(config.value.trim())) put(skeleton.dataset.skeleton);
      else try { put(JSON.stringify(carriedOver(JSON.parse(skeleton.dataset.skeleton), JSON.parse(config.value)), null, 2)); } catch { judge(); }
    } else if (target.closest("[data-tidy]")) {
      try { put(JSON.stringify(JSON.parse(config.value), null, 2)); } catch { judge(); }
    } else if (target.closest("[data-keep]")) {
      form.elements.etag.value = target.closest("[data-keep]").dataset.keep;
      form.requestSubmit();
    }
  });
  judge();
})();
