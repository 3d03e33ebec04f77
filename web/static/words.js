"use strict";
// The words box: "use this" writes a reading's columns into the form, and clears what belongs to another rule.
(() => {
  const KINDS = { crontab: "crontab", interval_seconds: "interval", rrule: "rrule", run_at: "once" };
  const BESIDE = { timezone: null, calendar: "", calendar_roll: "skip", start_time: "", end_time: "", max_runs: "" };

  document.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-reading]");
    const form = document.getElementById("task");
    if (!button || !form) return;
    const columns = JSON.parse(button.dataset.reading);
    for (const [column, kind] of Object.entries(KINDS)) {
      form.elements[column].value = columns[column] ?? "";
      const radio = form.querySelector(`[name="kind"][value="${kind}"]`);
      if (column in columns && radio) radio.checked = true;
    }
    for (const [column, otherwise] of Object.entries(BESIDE)) {
      const field = form.elements[column];
      if (field && (column in columns || otherwise !== null)) field.value = columns[column] ?? otherwise;
    }
    const bounds = form.elements.start_time?.closest("details");
    if (bounds && ("start_time" in columns || "end_time" in columns || "max_runs" in columns)) bounds.open = true;
    form.dispatchEvent(new Event("input", { bubbles: true }));
    form.querySelector('[name="kind"]:checked')?.focus();
  });
})();
