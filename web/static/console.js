"use strict";
// What every page of the console does in the browser: keys, toasts, questions, times that go on, and pieces that are
// fetched anew. Pieces rest while the tab is hidden.
(() => {
  const YEAR = 365 * 86400;
  const words = JSON.parse(document.body.dataset.words);
  const ahead = Date.parse(document.querySelector("meta[name=server-now]").content) - Date.now();
  const $ = (selector, root = document) => root.querySelector(selector);
  const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
  const say = (text, values) => text.replace(/\{(\w+)\}/g, (_, name) => values[name]);
  const remember = (name, value) => {
    document.cookie = `agent_scheduler_${name}=${value}; path=/; max-age=${YEAR}; samesite=lax`;
  };

  // -- times: as web/moments.py writes them
  function duration(seconds) {
    let left = Math.round(seconds);
    const parts = [];
    for (const [unit, size] of [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]]) {
      if (left >= size || parts.length || unit === "s") {
        const n = Math.floor(left / size);
        left -= n * size;
        parts.push(n || (!parts.length && unit === "s") ? say(words[unit], { n }) : "");
      }
      if (parts.length === 2) break;
    }
    return parts.filter(Boolean).join(words.join);
  }
  function tick() {
    if (document.hidden) return;
    const now = Date.now() + ahead;
    for (const time of $$("time[data-away]")) {
      const apart = (Date.parse(time.dateTime) - now) / 1000;
      const text = Math.abs(apart) < 1 ? words.now
        : say(apart > 0 ? words.in : words.ago, { duration: duration(Math.abs(apart)) });
      if (time.textContent !== text) time.textContent = text;
    }
  }
  setInterval(tick, 1000);

  // -- toasts
  const KEPT = "console:toasts";
  function toast({ text, kind = "ok", undo = null, stays = kind === "bad" }) {
    const box = document.createElement("div");
    box.className = `toast ${kind}`;
    box.append(Object.assign(document.createElement("span"), { textContent: text }));
    if (undo) {
      const button = Object.assign(document.createElement("button"), { type: "button", className: "small", textContent: words.undo });
      button.addEventListener("click", () => { box.remove(); htmx.ajax("POST", undo, { swap: "none", source: document.body }); });
      box.append(button);
    }
    const close = Object.assign(document.createElement("button"), { type: "button", className: "quiet small", textContent: "✕" });
    close.setAttribute("aria-label", words.close);
    close.addEventListener("click", () => box.remove());
    box.append(close);
    const place = $("#toasts");
    place.append(box);
    if (place.matches(":popover-open")) place.hidePopover();
    place.showPopover(); // above a dialog that is open
    if (!stays) setTimeout(() => box.remove(), undo ? 15000 : 5000);
    return box;
  }
  document.body.addEventListener("console:toast", (event) => {
    // An answer that leads to another page is told about there.
    const { text, kind, undo } = event.detail;
    sessionStorage.setItem(KEPT, JSON.stringify([{ text, kind, undo }]));
    setTimeout(() => sessionStorage.removeItem(KEPT), 400);
    toast({ text, kind, undo });
  });
  for (const kept of JSON.parse(sessionStorage.getItem(KEPT) || "[]")) toast(kept);
  sessionStorage.removeItem(KEPT);

  // -- refusals: the sentence under its field where there is one, else in a toast
  function problemOf(xhr) {
    try { return JSON.parse(xhr.responseText); } catch { return {}; }
  }
  function showRefusal(source, problem) {
    const form = source.closest("form") || document;
    const left = [];
    for (const { field, parameter, message } of problem.errors || []) {
      const name = field || parameter || "";
      const place = $(`[data-error-for="${CSS.escape(name)}"]`, form);
      if (!place) { left.push(message); continue; }
      place.textContent = place.textContent ? `${place.textContent} ${message}` : message;
      $(`[name="${CSS.escape(name)}"]`, form)?.setAttribute("aria-invalid", "true");
    }
    if (left.length) toast({ text: left.join("; "), kind: "bad" });
    else if (!(problem.errors || []).length) toast({ text: problem.detail || words.failed, kind: "bad" });
    $("[aria-invalid=true]", form)?.focus();
  }
  document.body.addEventListener("htmx:beforeRequest", ({ detail }) => {
    const form = detail.elt.closest("form");
    if (!form) return;
    for (const place of $$("[data-error-for]", form)) place.textContent = "";
    for (const input of $$("[aria-invalid]", form)) input.removeAttribute("aria-invalid");
  });
  let offline = null; // its toast stays until an answer comes: what the page shows is old
  let ended = null;
  const isAway = () => { offline ??= toast({ text: words.offline, kind: "warn", stays: true }); };
  document.body.addEventListener("htmx:responseError", ({ detail }) => {
    if (detail.xhr.status === 401) {
      // The login page, in this page's place; but what somebody has written stays to be copied.
      if (detail.elt.closest("form[hx-post]")) ended ??= toast({ text: words.ended, kind: "bad" });
      else location.reload();
    } else if (detail.elt.matches("[data-every]") && detail.xhr.status >= 500) isAway(); // tried again by itself
    else {
      delete detail.elt.dataset.every; // what it showed is gone
      showRefusal(detail.elt, problemOf(detail.xhr));
    }
  });
  for (const name of ["htmx:sendError", "htmx:timeout"]) document.body.addEventListener(name, isAway);
  document.body.addEventListener("htmx:afterRequest", ({ detail }) => {
    if (!detail.successful) return;
    offline?.remove();
    offline = null;
  });

  document.body.addEventListener("htmx:configRequest", ({ detail }) => {
    if (detail.verb !== "get") return; // an empty filter stays out of the address
    for (const [name, value] of Object.entries(detail.parameters)) if (value === "") delete detail.parameters[name];
  });

  // -- questions before something happens
  document.body.addEventListener("htmx:confirm", (event) => {
    if (!event.detail.question) return;
    event.preventDefault();
    const dialog = $("#confirm");
    $("#confirm-text").textContent = event.detail.question;
    dialog.returnValue = "";
    dialog.onclose = () => { if (dialog.returnValue === "yes") event.detail.issueRequest(true); };
    dialog.showModal();
    $("[value=yes]", dialog).focus();
  });

  // -- dialogs that an answer brings, and closes
  document.body.addEventListener("htmx:afterSettle", () => {
    for (const dialog of $$("dialog[data-show]:not([open])")) { delete dialog.dataset.show; dialog.showModal(); }
  });
  document.body.addEventListener("console:close", () => { for (const dialog of $$("dialog[open]")) dialog.close(); });

  // -- pieces that are fetched anew: data-every="seconds", and sooner where data-stream="address" tells of a change by
  // server-sent events. While such a stream is open the clock only catches what it would miss.
  const QUIET = 60, AGAIN = 30; // seconds
  const streams = new Map();
  function refresh(piece) {
    const told = streams.get(piece)?.readyState === EventSource.OPEN;
    piece.nextRefresh = Date.now() + 1000 * (told ? QUIET : piece.dataset.every);
    htmx.trigger(piece, "console:refresh");
  }
  function everySecond() {
    if (document.hidden) return;
    const now = Date.now();
    for (const piece of $$("[data-every]")) {
      piece.nextRefresh ??= now + 1000 * piece.dataset.every;
      if (now >= piece.nextRefresh) refresh(piece);
    }
    for (const [piece, source] of streams) if (!piece.isConnected || !piece.dataset.every) { source.close(); streams.delete(piece); }
    for (const piece of $$("[data-every][data-stream]")) if (!streams.has(piece) && now >= (piece.nextStream ?? 0)) listen(piece);
  }
  function listen(piece) {
    const source = new EventSource(piece.dataset.stream);
    streams.set(piece, source);
    source.addEventListener("open", () => { piece.nextRefresh = Date.now() + 1000 * QUIET; });
    source.addEventListener(piece.dataset.event, ({ data }) => {
      if (data === piece.dataset.heard) return; // the page shows that already
      piece.dataset.heard = data;
      refresh(piece);
    });
    source.addEventListener("error", () => { // the clock takes over; a stream that was refused is asked for again later
      piece.nextRefresh = Math.min(piece.nextRefresh, Date.now() + 1000 * piece.dataset.every);
      if (source.readyState !== EventSource.CLOSED) return;
      streams.delete(piece);
      piece.nextStream = Date.now() + 1000 * AGAIN;
    });
  }
  setInterval(everySecond, 1000);
  everySecond();
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      for (const source of streams.values()) source.close();
      streams.clear();
      return;
    }
    for (const piece of $$("[data-every]")) refresh(piece);
    everySecond();
    tick();
  });

  // -- the frame
  function switchTheme() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    const shown = document.documentElement.dataset.theme;
    const isDark = shown === "dark" || (shown === "auto" && dark);
    const next = isDark ? "light" : "dark";
    document.documentElement.dataset.theme = next;
    remember("theme", next);
    document.dispatchEvent(new CustomEvent("console:theme"));
  }
  async function logOut() {
    const headers = JSON.parse(document.body.getAttribute("hx-headers"));
    await fetch("/logout", { method: "POST", headers });
    location.assign("/");
  }
  document.addEventListener("click", ({ target }) => {
    const at = (selector) => target.closest(selector);
    if (at("[data-theme-switch]")) switchTheme();
    else if (at("[data-language-switch]")) { remember("language", at("[data-language-switch]").dataset.languageSwitch); location.reload(); }
    else if (at("[data-help]")) $("#keys").showModal();
    else if (at("[data-log-out]")) logOut();
    else if (at("[data-open]")) $(at("[data-open]").dataset.open).showModal();
    else if (at("[data-close]")) at("dialog").close();
    else if (at("[data-menu]")) menu(!document.body.classList.contains("menu-open"));
    else if (!at(".nav")) menu(false);
  });
  function menu(open) {
    document.body.classList.toggle("menu-open", open);
    $("[data-menu]")?.setAttribute("aria-expanded", String(open));
  }

  // -- keys; who speaks to the machine, or hits keys unmeant, switches the single ones off in this browser (WCAG 2.1.4)
  const KEYS = "agent_scheduler_keys";
  const areKeysOff = () => { try { return localStorage.getItem(KEYS) === "off"; } catch { return false; } };
  function showKeys() {
    document.documentElement.toggleAttribute("data-keys-off", areKeysOff());
    $("[data-keys-switch]").checked = !areKeysOff();
  }
  $("[data-keys-switch]")?.addEventListener("change", ({ target }) => {
    try { localStorage.setItem(KEYS, target.checked ? "on" : "off"); } catch { toast({ text: words.failed, kind: "bad" }); }
    showKeys();
  });
  if ($("[data-keys-switch]")) showKeys();
  let afterG = 0;
  const rows = () => $$("tbody[data-rows] > tr");
  function move(step) {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.classList.contains("current"));
    const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
    all[at]?.classList.remove("current");
    next.classList.add("current");
    next.scrollIntoView({ block: "nearest" });
  }
  function go(letter) {
    const link = $$("[data-go]").find((each) => each.dataset.go === letter);
    if (link) location.assign(link.href);
  }
  document.addEventListener("keydown", (event) => {
    const typing = event.target.matches("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
    if (event.key === "Escape") {
      menu(false);
      if (!typing || $("dialog[open]")) return;
      event.preventDefault(); // it would empty a search field, and the list would go on showing what was found
      event.target.blur();
      return;
    }
    if (typing || event.ctrlKey || event.metaKey || event.altKey || $("dialog[open]") || areKeysOff()) return;
    if (Date.now() - afterG < 1500) { afterG = 0; event.preventDefault(); go(event.key); return; }
    const current = () => $("tbody[data-rows] > tr.current");
    const acts = {
      "/": () => { const find = $("[data-search]") || $("[data-find]"); menu(find.matches("[data-find]")); find.focus(); find.select(); },
      "?": () => $("#keys").showModal(),
      g: () => { afterG = Date.now(); },
      t: switchTheme,
      j: () => move(1),
      k: () => move(-1),
      x: () => $("input[data-pick]", current() || document.createElement("tr"))?.click(),
      Enter: () => { if (event.target === document.body || event.target.id === "main") $("a.row", current() || document.createElement("tr"))?.click(); },
    };
    const own = $$("[data-key]").find((each) => each.dataset.key === event.key && each.offsetParent);
    const act = own ? () => own.click() : acts[event.key];
    if (!act) return;
    if (event.key !== "Enter") event.preventDefault();
    act();
  });

  window.consolePage = { toast, words, duration };
})();
