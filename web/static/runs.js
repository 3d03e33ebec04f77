"use strict";
// The list's filters, and a run that goes on: its answer while it arrives, its log, and its pieces fetched anew.
(() => {
  const $ = (selector, root = document) => root.querySelector(selector);

  // -- the list: a changed filter is a new address; empty ones stay out of it
  const filters = $("form[data-filters]");
  function search() {
    const asked = new URLSearchParams([...new FormData(filters)].filter(([, value]) => value));
    if (asked.get("span") !== "own") { asked.delete("first"); asked.delete("last"); }
    location.assign(`/runs${asked.size ? `?${asked}` : ""}`);
  }
  filters?.addEventListener("change", ({ target }) => {
    if (target.name === "span") {
      const own = target.value === "own";
      $("[data-own]").hidden = !own;
      if (own) { $("[name=first]").focus(); return; }
    }
    if (target.type === "datetime-local") return; // it changes with each key; Enter or the button searches
    search();
  });
  filters?.addEventListener("submit", (event) => { event.preventDefault(); search(); });

  // -- copying
  document.addEventListener("click", async ({ target }) => {
    const button = target.closest("[data-copy], [data-copy-from]");
    if (!button) return;
    await navigator.clipboard.writeText(button.dataset.copy ?? $(button.dataset.copyFrom).textContent);
    button.classList.add("ok-text");
    setTimeout(() => button.classList.remove("ok-text"), 1200);
  });

  // -- how long a call has been going on
  const ahead = Date.parse($("meta[name=server-now]").content) - Date.now();
  setInterval(() => {
    if (document.hidden) return;
    for (const time of document.querySelectorAll("time[data-running]")) {
      time.textContent = consolePage.duration(Math.max((Date.now() + ahead - Date.parse(time.dateTime)) / 1000, 0));
    }
  }, 1000);

  // -- a run that goes on
  const run = $("#run[data-live]");
  if (!run) return;
  const answer = $("#answer"), text = $("#answer-text"), note = $("#answer-note"), log = $("#log");
  const wasFinal = run.dataset.final === "yes";
  const known = new Set();
  let source = null, over = false, first = true;

  function show(piece) {
    if (wasFinal) return; // the answer itself stands there
    const follows = text.scrollHeight - text.scrollTop - text.clientHeight < 40;
    if (piece.at === 0) text.textContent = "";
    text.append(piece.text);
    text.hidden = !text.textContent;
    $("#answer-waits").hidden = !text.hidden;
    answer.classList.toggle("coming", !text.hidden);
    if (follows) text.scrollTop = text.scrollHeight;
  }
  function tell(line) {
    const key = `${line.at} ${line.text}`;
    if (known.has(key)) return; // a stream that was opened again tells them again
    known.add(key);
    const item = document.createElement("li");
    item.className = line.level;
    const time = Object.assign(document.createElement("time"), { dateTime: line.at, textContent: new Date(line.at).toLocaleTimeString(document.documentElement.lang, { hour12: false, timeZone: run.dataset.zone }) });
    item.append(time, Object.assign(document.createElement("span"), { textContent: line.text }));
    log.append(item);
    log.hidden = false;
    $("#log-none").hidden = true;
    log.scrollTop = log.scrollHeight;
  }
  function say(sentence) {
    note.textContent = sentence;
    note.hidden = !sentence;
  }
  function refresh() {
    for (const piece of [$("#run-head"), $("#run-side")]) htmx.trigger(piece, "console:refresh");
  }
  async function finish() {
    if (wasFinal) return;
    answer.classList.remove("coming");
    const kept = [...log.children];
    await htmx.ajax("GET", location.pathname, { target: "#run", select: "#run", swap: "outerHTML" });
    if (!kept.length) return;
    $("#log").append(...kept);
    $("#log").hidden = false;
    $("#log-none").hidden = true;
  }
  function open() {
    source = new EventSource(run.dataset.live);
    source.addEventListener("text", ({ data }) => show(JSON.parse(data)));
    source.addEventListener("line", ({ data }) => tell(JSON.parse(data)));
    source.addEventListener("note", ({ data }) => { if (!wasFinal) say(JSON.parse(data).text); });
    source.addEventListener("run", () => { if (!first && !wasFinal) refresh(); first = false; });
    source.addEventListener("end", () => { over = true; source.close(); finish(); });
    source.addEventListener("refused", () => { over = true; source.close(); location.reload(); });
    source.addEventListener("open", () => say(""));
    source.addEventListener("error", () => { if (!over) say(run.dataset.lost); });
  }
  document.addEventListener("visibilitychange", () => {
    if (over) return;
    source?.close();
    if (!document.hidden) { refresh(); open(); }
  });
  if (!document.hidden) open();
})();
